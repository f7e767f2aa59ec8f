//! PostgreSQL: statements have their effect, also many at a time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;
use standin_testkit::{Postgres, free_ports};

#[test]
fn reads_writes_and_deletes() {
    let Some(postgres) = Postgres::start_or_skip("reads_writes_and_deletes") else { return };
    let bench = Bench::start(&postgres_config(&postgres.url(), POSTGRES_KV), &kv()).unwrap();
    assert_eq!(bench.get("a"), NOTHING);
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    assert_eq!(bench.get("a"), value("1"));
    assert_eq!(bench.put("a", ""), ONE_ROW);
    assert_eq!(bench.get("a"), value(""));
    assert_eq!(bench.delete("a"), Outcome::changed(1));
    assert_eq!(bench.delete("a"), Outcome::changed(0));
    assert_eq!(bench.get("a"), NOTHING);
    // The read sees the write on whatever connection it uses.
    for round in 0..200 {
        let text = round.to_string();
        assert_eq!(bench.put("k", &text), ONE_ROW);
        assert_eq!(bench.get("k"), value(&text));
    }
    assert_eq!(bench.stray_answers(), 0);
}

#[test]
fn column_types_and_nulls() {
    let Some(postgres) = Postgres::start_or_skip("column_types_and_nulls") else { return };
    let init = "CREATE DOMAIN word AS varchar(20); CREATE TYPE mood AS ENUM ('happy', 'sad');
        CREATE TABLE b (k bytea PRIMARY KEY, v bytea);
        CREATE TABLE i (k int4 PRIMARY KEY, v text);
        CREATE TABLE u (k uuid PRIMARY KEY, v jsonb);
        CREATE TABLE many (k text, n int8, w word, m mood, c char(3), j jsonb, f float8);
        INSERT INTO i VALUES (1, NULL);
        INSERT INTO many VALUES ('k', -5, 'w', 'sad', 'x', '{\"a\": 1}', 1.5);";
    let column = |id, sql: &str| KeyspaceConfig {
        get: format!("SELECT {sql} FROM many WHERE k = :key"),
        ..keyspace(id, "many")
    };
    let keyspaces = [
        KeyspaceConfig {
            key_type: ColumnType::Bytes,
            value_type: ColumnType::Bytes,
            ..keyspace(2, "b")
        },
        KeyspaceConfig { key_type: ColumnType::Integer, ..keyspace(3, "i") },
        KeyspaceConfig {
            key_type: ColumnType::Uuid,
            get: "SELECT v FROM u WHERE k = :key::uuid".to_owned(),
            put: Some("INSERT INTO u (v, k) VALUES (:value::jsonb, :key::uuid)".to_owned()),
            delete: None,
            ..keyspace(4, "u")
        },
        column(10, "n"),
        column(11, "w"),
        column(12, "m"),
        column(13, "c"),
        column(15, "f::text"),
        column(16, "NULL"),
    ];
    let bench = Bench::start(&postgres_config(&postgres.url(), init), &keyspaces).unwrap();
    let odd = Bytes::from_static(&[0, 0xff, b'\'', 0]);
    assert_eq!(bench.run(2, &odd, Operation::Put { value: odd.clone(), flags: 0 }), ONE_ROW);
    assert_eq!(bench.run(2, &odd, Operation::Get), Outcome::Value(Some(odd.clone().into())));
    assert_eq!(bench.run(3, b"1", Operation::Get), NOTHING);
    assert_eq!(bench.run(3, b"-7", put("seven")), ONE_ROW);
    assert_eq!(bench.run(3, b"-7", Operation::Get), value("seven"));
    assert_rejected(&bench.run(3, b"007", Operation::Get), "not a 64-bit integer");
    assert_rejected(&bench.run(3, b"9999999999", put("too big for int4")), "out of range");
    assert_rejected(&bench.run(3, b"2", Operation::Put { value: odd, flags: 0 }), "not UTF-8");
    assert_rejected(&bench.run(3, b"2", put("a\0b")), "0x00");

    let uuid = b"00000000-0000-0000-0000-00000000002a";
    assert_eq!(bench.run(4, uuid, put("{\"b\":2}")), ONE_ROW);
    assert_eq!(bench.run(4, uuid, Operation::Get), value("{\"b\": 2}"));
    assert_rejected(&bench.run(4, b"no uuid", Operation::Get), "not a UUID");
    assert_rejected(&bench.run(4, uuid, Operation::Delete), "no `delete`");

    for (keyspace, text) in [(10, "-5"), (11, "w"), (12, "sad"), (13, "x  "), (15, "1.5")] {
        assert_eq!(bench.run(keyspace, b"k", Operation::Get), value(text));
    }
    assert_eq!(bench.run(16, b"k", Operation::Get), NOTHING);
    assert_rejected(&bench.run(99, b"k", Operation::Get), "no keyspace");
}

/// Returns the process ids of the connections, as the server sees them.
fn sessions(bench: &Bench) -> Outcome {
    bench.run(SESSIONS, b"standin", Operation::Get)
}

const SESSIONS: u8 = 50;

fn sessions_keyspace() -> KeyspaceConfig {
    KeyspaceConfig {
        get: "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE application_name = :key"
            .to_owned(),
        put: None,
        delete: None,
        ..keyspace(SESSIONS, "sessions")
    }
}

#[test]
fn a_rejected_statement_is_that_calls_own_affair() {
    let Some(postgres) = Postgres::start_or_skip("a_rejected_statement") else { return };
    let init = "CREATE TABLE kv (k text PRIMARY KEY, v text CHECK (v <> 'bad'));
                CREATE TABLE make (k text PRIMARY KEY, v text)";
    // A trigger, because one statement cannot both create a table and take a parameter.
    let init = format!(
        "{init};
         CREATE FUNCTION make() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE new.v; RETURN new; END $$;
         CREATE TRIGGER make BEFORE INSERT ON make FOR EACH ROW EXECUTE FUNCTION make()"
    );
    let keyspaces =
        [keyspace(KV, "kv"), keyspace(2, "later"), keyspace(3, "make"), sessions_keyspace()];
    let bench = Bench::start(&postgres_config(&postgres.url(), &init), &keyspaces).unwrap();
    // Four for reads, four for writes, one for health checks.
    let all = |outcome: &Outcome| matches!(outcome, Outcome::Value(Some(pids)) if pids.bytes.split(|&b| b == b' ').count() == 9);
    standin_testkit::wait_until(SOON, "all connections", || all(&sessions(&bench)));
    let before = sessions(&bench);

    let tokens: Vec<u64> = (0..100)
        .map(|n| {
            bench.send(KV, format!("k{n}").as_bytes(), put(if n % 3 == 0 { "bad" } else { "good" }))
        })
        .collect();
    for (n, token) in tokens.into_iter().enumerate() {
        match bench.wait(token) {
            outcome if n % 3 == 0 => assert_rejected(&outcome, "SQLSTATE 23514"),
            outcome => assert_eq!(outcome, ONE_ROW),
        }
    }

    for _ in 0..20 {
        assert_rejected(&bench.run(2, b"k", Operation::Get), "\"later\" does not exist");
        assert_rejected(&bench.run(2, b"k", put("v")), "\"later\" does not exist");
    }
    let make = "CREATE TABLE later (k text PRIMARY KEY, v text)";
    assert_eq!(bench.run(3, b"1", put(make)), ONE_ROW);
    for n in 0..20 {
        assert_eq!(bench.run(2, format!("k{n}").as_bytes(), put("v")), ONE_ROW);
        assert_eq!(bench.run(2, format!("k{n}").as_bytes(), Operation::Get), value("v"));
    }

    // Plans that have become wrong are prepared again, without a failure.
    assert_eq!(bench.run(3, b"2", put("ALTER TABLE later ALTER v TYPE varchar(9)")), ONE_ROW);
    for n in 0..20 {
        assert_eq!(bench.run(2, format!("k{n}").as_bytes(), Operation::Get), value("v"));
        assert_eq!(bench.run(2, format!("k{n}").as_bytes(), put("w")), ONE_ROW);
    }
    assert_eq!(sessions(&bench), before, "a connection was given up");
}

#[test]
fn what_cannot_work_is_refused_at_start() {
    let fail = |url: &str, init: &str| match Bench::start(&postgres_config(url, init), &kv()) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };
    let error = fail("postgres:/nonsense", "");
    assert!(error.contains("url") && error.contains("postgres://user@host"), "{error}");
    let error = fail("postgres://u@127.0.0.1/db?sslmode=verify-full", "");
    assert!(error.contains("write `sslmode = "), "{error}");
    let Some(postgres) = Postgres::start_or_skip("what_cannot_work_is_refused_at_start") else {
        return;
    };
    let error = fail(&postgres.url(), "CREATE TABEL kv (k text)");
    assert!(error.contains("init failed") && error.contains("syntax error"), "{error}");
}

#[test]
fn many_start_at_once_on_an_empty_database() {
    let Some(postgres) = Postgres::start_or_skip("many_start_at_once") else { return };
    let config = postgres_config(&postgres.url(), POSTGRES_KV);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let config = &config;
            scope.spawn(move || {
                let bench = Bench::start(config, &kv()).unwrap();
                assert_eq!(bench.put(&n.to_string(), "v"), ONE_ROW);
            });
        }
    });
}

/// Forwards bytes after a delay, as a network would, however many are under way.
pub(super) fn slow_network(to: u16, delay: Duration) -> u16 {
    let port = free_ports(1)[0];
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            client.set_nodelay(true).unwrap();
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            server.set_nodelay(true).unwrap();
            for (from, to) in [(&client, &server), (&server, &client)] {
                delay_line(from.try_clone().unwrap(), to.try_clone().unwrap(), delay);
            }
        }
    });
    port
}

fn delay_line(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (entry, exit) = mpsc::channel::<(Micros, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let _ = entry.send((Micros::boottime() + delay, buffer[..length].to_vec()));
        }
    });
    std::thread::spawn(move || {
        let (_never, nothing) = mpsc::channel::<()>();
        for (due, bytes) in exit {
            let _ = nothing.recv_timeout(due.since(Micros::boottime()));
            let _ = to.write_all(&bytes);
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

#[test]
fn calls_are_pipelined_on_a_connection() {
    let Some(postgres) = Postgres::start_or_skip("calls_are_pipelined") else { return };
    let one_way = Duration::from_millis(20);
    let port = slow_network(postgres.port(), one_way);
    let mut config =
        postgres_config(&format!("postgres://standin@127.0.0.1:{port}/postgres"), POSTGRES_KV);
    if let OriginKind::Postgres { connections, .. } = &mut config.kind {
        *connections = 1;
    }
    let bench = Bench::start(&config, &kv()).unwrap();
    let round_trip = one_way * 2;
    let begin = Micros::boottime();
    assert_eq!(bench.put("k", "v"), ONE_ROW);
    let one = Micros::boottime().since(begin);
    assert!(one >= round_trip, "{one:?}");
    let begin = Micros::boottime();
    let calls = 60;
    let reads: Vec<u64> = (0..calls).map(|_| bench.send(KV, b"k", Operation::Get)).collect();
    for token in reads {
        assert_eq!(bench.wait(token), value("v"));
    }
    let all = Micros::boottime().since(begin);
    assert!(all < round_trip * calls / 4, "{calls} calls took {all:?}, one takes {one:?}");
}

#[test]
fn connections_work_side_by_side_up_to_the_concurrency() {
    let Some(postgres) = Postgres::start_or_skip("connections_work_side_by_side") else { return };
    let sleep =
        KeyspaceConfig { get: "SELECT :key FROM pg_sleep(0.2)".to_owned(), ..keyspace(2, "sleep") };
    let time = |concurrency| {
        let config = OriginConfig { concurrency, ..postgres_config(&postgres.url(), POSTGRES_KV) };
        let bench = Bench::start(&config, &[sleep.clone(), sessions_keyspace()]).unwrap();
        standin_testkit::wait_until(
            SOON,
            "all connections",
            || matches!(sessions(&bench), Outcome::Value(Some(pids)) if pids.bytes.split(|&b| b == b' ').count() == 2 * concurrency.min(4) as usize + 1),
        );
        let begin = Micros::boottime();
        let tokens: Vec<u64> = (0..8).map(|_| bench.send(2, b"z", Operation::Get)).collect();
        for token in tokens {
            assert_eq!(bench.wait(token), value("z"));
        }
        let took = Micros::boottime().since(begin);
        bench.origin.shutdown();
        standin_testkit::wait_until(SOON, "its connections to be closed", || {
            let other = Bench::start(&postgres_config(&postgres.url(), ""), &[sessions_keyspace()])
                .unwrap();
            matches!(sessions(&other), Outcome::Value(Some(pids)) if pids.bytes.split(|&b| b == b' ').count() <= 4)
        });
        took
    };
    // 8 × 200 ms one after another, and over four connections. A busy machine adds to both.
    let (alone, together) = (time(1), time(20));
    assert!(alone >= Duration::from_millis(1_600), "{alone:?}");
    assert!(together >= Duration::from_millis(400), "{together:?}");
    assert!(together < Duration::from_millis(1_500), "{together:?}");
}
