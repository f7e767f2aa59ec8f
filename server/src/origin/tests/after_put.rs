//! After a put, the cached value is the row's content.

use super::*;
use standin_testkit::{Postgres, Scratch};

/// A keyspace on `kv` that stores values in capitals, so that a read differs from what was sent.
fn capitals(id: u8, after_put: AfterPut) -> KeyspaceConfig {
    let returning = if after_put == AfterPut::Returning { " RETURNING v" } else { "" };
    KeyspaceConfig {
        after_put,
        put: Some(format!(
            "INSERT INTO kv (k, v) VALUES (:key, upper(:value))
             ON CONFLICT (k) DO UPDATE SET v = excluded.v WHERE kv.v <> 'FIXED'{returning}"
        )),
        ..keyspace(id, "kv")
    }
}

const REREAD: u8 = 2;
const RETURNING: u8 = 3;
const DROP: u8 = 4;
const KEEP: u8 = 5;
const ADDS: u8 = 6;
const FILTERED: u8 = 7;
const UNREADABLE: u8 = 8;

fn keyspaces(unreadable: &str) -> Vec<KeyspaceConfig> {
    let reread =
        |id, get: &str| KeyspaceConfig { get: get.to_owned(), ..capitals(id, AfterPut::Reread) };
    let mut adds = capitals(ADDS, AfterPut::Reread);
    adds.get = "SELECT CAST(n AS text) FROM numbers WHERE k = :key".to_owned();
    adds.put = Some("UPDATE numbers SET n = n + CAST(:value AS integer) WHERE k = :key".to_owned());
    vec![
        capitals(REREAD, AfterPut::Reread),
        capitals(RETURNING, AfterPut::Returning),
        capitals(DROP, AfterPut::Drop),
        capitals(KEEP, AfterPut::Keep),
        adds,
        reread(FILTERED, "SELECT v FROM kv WHERE k = :key AND v <> 'HIDDEN'"),
        reread(UNREADABLE, unreadable),
    ]
}

fn stored(text: &str) -> Outcome {
    let row = Some(Bytes::copy_from_slice(text.as_bytes()).into());
    Outcome::Written { rows: 1, stored: Stored::Row(row) }
}

fn check(bench: &Bench) {
    for keyspace in [REREAD, RETURNING] {
        assert_eq!(bench.run(keyspace, b"a", put("ape")), stored("APE"));
        assert_eq!(bench.run(keyspace, b"a", put("fixed")), stored("FIXED"));
        match bench.run(keyspace, b"a", put("no")) {
            Outcome::Written { rows: 0, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.run(keyspace, b"a", Operation::Delete), Outcome::changed(1));
    }
    assert_eq!(bench.run(DROP, b"a", put("bee")), Outcome::changed(1));
    assert_eq!(
        bench.run(KEEP, b"a", put("cat")),
        Outcome::Written { rows: 1, stored: Stored::Sent }
    );
    assert_eq!(bench.run(ADDS, b"n", put("5")), stored("6"));
    assert_eq!(bench.run(ADDS, b"n", put("-2")), stored("4"));
    let nothing = Outcome::Written { rows: 1, stored: Stored::Row(None) };
    assert_eq!(bench.run(FILTERED, b"a", put("hidden")), nothing);
    // Many at once: each gets its own answer.
    let tokens: Vec<(String, u64)> = (0..200)
        .map(|n| {
            (format!("k{n}"), bench.send(REREAD, format!("k{n}").as_bytes(), put(&format!("v{n}"))))
        })
        .collect();
    for (key, token) in tokens {
        assert_eq!(bench.wait(token), stored(&key.replace('k', "V")));
    }
}

const TABLES: &str =
    "CREATE TABLE numbers (k TEXT PRIMARY KEY, n INTEGER); INSERT INTO numbers VALUES ('n', 1)";

#[test]
fn sqlite_says_what_the_row_holds_after_a_put() {
    let scratch = Scratch::new("origin");
    let config = sqlite_config(&scratch.file("db"), &format!("{SQLITE_KV}; {TABLES}"));
    let bench = Bench::start(&config, &keyspaces("SELECT 1.5 FROM kv WHERE k = :key")).unwrap();
    check(&bench);
    // A failed read does not undo the write.
    assert_eq!(bench.run(UNREADABLE, b"u", put("v")), Outcome::changed(1));
    assert_eq!(bench.run(REREAD, b"u", Operation::Get), value("V"));
}

#[test]
fn postgresql_says_what_the_row_holds_after_a_put() {
    let Some(postgres) = Postgres::start_or_skip("what_the_row_holds_after_a_put") else { return };
    let config = postgres_config(&postgres.url(), &format!("{POSTGRES_KV}; {TABLES}"));
    let unreadable = "SELECT (1 / (length(v) - 1))::text FROM kv WHERE k = :key";
    let bench = Bench::start(&config, &keyspaces(unreadable)).unwrap();
    check(&bench);
    // Both are one transaction: if one fails, neither has happened.
    assert_rejected(&bench.run(UNREADABLE, b"u", put("v")), "division by zero");
    assert_eq!(bench.run(REREAD, b"u", Operation::Get), NOTHING);
    assert_eq!(bench.run(UNREADABLE, b"u", put("four")), stored("0"));
}

#[test]
fn a_transaction_that_fails_at_its_commit_has_not_happened() {
    let Some(postgres) = Postgres::start_or_skip("fails_at_its_commit") else { return };
    let init = format!(
        "{POSTGRES_KV};
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not at the commit'; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON kv DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (new.v = 'BAD') EXECUTE FUNCTION refuse()"
    );
    let keyspaces = [AfterPut::Reread, AfterPut::Returning, AfterPut::Drop];
    let keyspaces: Vec<_> = (2..).zip(keyspaces).map(|(id, how)| capitals(id, how)).collect();
    let bench = Bench::start(&postgres_config(&postgres.url(), &init), &keyspaces).unwrap();
    for keyspace in 2..5 {
        assert_rejected(&bench.run(keyspace, b"a", put("bad")), "not at the commit");
        assert_eq!(bench.run(keyspace, b"a", Operation::Get), NOTHING);
        // The connection's next transaction is not affected.
        assert_eq!(bench.run(keyspace, b"b", put("good")).rows(), Some(1));
        assert_eq!(bench.run(keyspace, b"b", Operation::Get), value("GOOD"));
    }
}

#[test]
fn a_put_and_its_read_take_one_round_trip() {
    let Some(postgres) = Postgres::start_or_skip("one_round_trip") else { return };
    let one_way = Duration::from_millis(50);
    let port = postgres::slow_network(postgres.port(), one_way);
    let url = format!("postgres://standin@127.0.0.1:{port}/postgres");
    let config = postgres_config(&url, POSTGRES_KV);
    let bench = Bench::start(&config, &[capitals(REREAD, AfterPut::Reread)]).unwrap();
    let took = |key: &[u8]| {
        let begin = Micros::boottime();
        assert_eq!(bench.run(REREAD, key, put("x")), stored("X"));
        Micros::boottime().since(begin)
    };
    // The first ones prepare the statements on their connections.
    let best = (0..20).map(|n: u8| took(&[n + 65])).min().unwrap();
    assert!(best >= one_way * 2, "{best:?}");
    assert!(best < one_way * 4, "two round trips: {best:?}");
}
