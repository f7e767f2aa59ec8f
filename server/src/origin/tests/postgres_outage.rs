//! PostgreSQL when it is killed, stopped, slow or missing: calls are answered in time, and service
//! resumes by itself.

use super::*;
use crate::origin::Health;
use standin_testkit::{Postgres, wait_until};

/// A keyspace whose `put` first sleeps for as many seconds as the value says.
const SLOW: u8 = 2;

fn keyspaces() -> Vec<KeyspaceConfig> {
    let slow = KeyspaceConfig {
        get: "SELECT v FROM pg_sleep(10) LEFT JOIN kv ON k = :key".to_owned(),
        put: Some("INSERT INTO kv SELECT :key, :value FROM pg_sleep((:value)::float8)".to_owned()),
        ..keyspace(SLOW, "slow")
    };
    vec![keyspace(KV, "kv"), slow]
}

/// Counts the sessions that execute a statement like the key.
fn sleeping() -> KeyspaceConfig {
    let get =
        "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE :key AND state = 'active'";
    KeyspaceConfig { get: get.to_owned(), put: None, delete: None, ..keyspace(KV, "sleeping") }
}

fn start(postgres: &Postgres, timeout: Duration) -> Bench {
    let config = OriginConfig { timeout, ..postgres_config(&postgres.url(), POSTGRES_KV) };
    Bench::start(&config, &keyspaces()).unwrap()
}

fn is_down(bench: &Bench) -> bool {
    matches!(bench.origin.health(), Health::Down { .. })
}

/// Asserts that no call waits while the database is known to be down.
#[track_caller]
fn assert_fails_fast(bench: &Bench) {
    wait_until(SOON, "the origin to be known as down", || is_down(bench));
    let begin = Micros::boottime();
    for n in 0..100 {
        assert_unavailable(&bench.get("a"));
        assert_unavailable(&bench.put(&n.to_string(), "v"));
    }
    let took = Micros::boottime().since(begin);
    assert!(took < Duration::from_millis(100), "200 calls took {took:?}");
}

/// Waits until the database is up again, which needs no call.
#[track_caller]
fn assert_comes_back(bench: &Bench, a: &str) {
    wait_until(SOON, "the origin to be up again", || !is_down(bench));
    assert_eq!(bench.get("a"), value(a));
    assert_eq!(bench.put("after", "1"), ONE_ROW);
}

#[test]
fn a_killed_server() {
    let Some(mut postgres) = Postgres::start_or_skip("a_killed_server") else { return };
    let mut config = postgres_config(&postgres.url(), POSTGRES_KV);
    if let OriginKind::Postgres { connections, .. } = &mut config.kind {
        *connections = 1;
    }
    let bench = Bench::start(&config, &keyspaces()).unwrap();
    let watcher = Bench::start(&postgres_config(&postgres.url(), ""), &[sleeping()]).unwrap();
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    let reads: Vec<u64> = (0..4).map(|_| bench.send(SLOW, b"a", Operation::Get)).collect();
    let writes: Vec<u64> =
        (0..4).map(|n| bench.send(SLOW, format!("w{n}").as_bytes(), put("10"))).collect();
    wait_until(SOON, "a read and a write to be under way", || {
        watcher.get("%pg_sleep(%") == value("2")
    });
    postgres.kill();
    for read in reads {
        assert_unavailable(&bench.wait(read));
    }
    let mut begun = 0;
    for write in writes {
        match bench.wait(write) {
            Outcome::Failed(Failure::OutcomeUnknown) => begun += 1,
            outcome => assert_unavailable(&outcome),
        }
    }
    // The others had not been sent: after one quick write, a connection has two.
    assert!((1..=2).contains(&begun), "{begun} writes were under way");
    assert_fails_fast(&bench);
    postgres.restart();
    assert_comes_back(&bench, "1");
}

#[test]
fn a_stopped_server_times_out_once_and_is_then_known_to_be_down() {
    let Some(mut postgres) = Postgres::start_or_skip("a_stopped_server") else { return };
    let timeout = Duration::from_millis(300);
    let bench = start(&postgres, timeout);
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    postgres.pause();
    let begin = Micros::boottime();
    let tokens: Vec<(u64, Outcome)> = (0..20)
        .flat_map(|n| {
            let key = n.to_string();
            [
                (bench.send(KV, b"a", Operation::Get), Outcome::Failed(Failure::Timeout)),
                (
                    bench.send(KV, key.as_bytes(), put("v")),
                    Outcome::Failed(Failure::OutcomeUnknown),
                ),
            ]
        })
        .collect();
    for (token, expected) in tokens {
        let outcome = bench.wait(token);
        // A call whose connection was given up because of another's silence has not timed out; nor
        // has a write that was not sent.
        if outcome != expected {
            assert_unavailable(&outcome);
        }
    }
    let took = Micros::boottime().since(begin);
    assert!(took < timeout * 4, "{took:?}");
    // A dead connection without calls under way is noticed by its first call.
    wait_until(SOON, "every connection to be given up", || {
        matches!(bench.get("a"), Outcome::Failed(Failure::Refused(_))) && is_down(&bench)
    });
    assert_fails_fast(&bench);
    postgres.resume();
    assert_comes_back(&bench, "1");
}

#[test]
fn a_server_that_comes_after_the_start() {
    let Some(mut postgres) = Postgres::start_or_skip("a_server_that_comes_after_the_start") else {
        return;
    };
    postgres.stop();
    let bench = start(&postgres, Duration::from_secs(5));
    assert_fails_fast(&bench);
    postgres.restart();
    wait_until(SOON, "the origin to be up", || !is_down(&bench));
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    postgres.restart();
    wait_until(SOON, "the restarted server to answer", || bench.get("a") == value("1"));
}

#[test]
fn a_lost_connection_loses_no_read() {
    let Some(postgres) = Postgres::start_or_skip("a_lost_connection_loses_no_read") else { return };
    let mut keyspaces = keyspaces();
    keyspaces.push(KeyspaceConfig {
        get: "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
              WHERE application_name = :key AND pid <> pg_backend_pid() LIMIT 1"
            .to_owned(),
        ..keyspace(3, "terminate")
    });
    let bench = Bench::start(&postgres_config(&postgres.url(), POSTGRES_KV), &keyspaces).unwrap();
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    for _ in 0..20 {
        let reads: Vec<u64> = (0..20).map(|_| bench.send(KV, b"a", Operation::Get)).collect();
        let killer = bench.send(3, b"standin", Operation::Get);
        let more: Vec<u64> = (0..20).map(|_| bench.send(KV, b"a", Operation::Get)).collect();
        for token in reads.into_iter().chain(more) {
            assert_eq!(bench.wait(token), value("1"));
        }
        let killed = bench.wait(killer);
        assert!(matches!(killed, Outcome::Value(_)), "{killed:?}");
    }
    assert!(!is_down(&bench));
}

#[test]
fn a_slow_statement_is_cancelled_and_its_outcome_known() {
    let Some(postgres) = Postgres::start_or_skip("a_slow_statement_is_cancelled") else { return };
    let timeout = Duration::from_millis(500);
    let bench = start(&postgres, timeout);
    let begin = Micros::boottime();
    let read = bench.send(SLOW, b"a", Operation::Get);
    let write = bench.send(SLOW, b"w", put("10"));
    let outcome = bench.wait(read);
    let is_told =
        matches!(&outcome, Outcome::Failed(Failure::Refused(text)) if text.contains("57014"));
    assert!(is_told || outcome == Outcome::Failed(Failure::Timeout), "{outcome:?}");
    // The server reported it in time, or, on a busy machine, this side gave up first.
    let outcome = bench.wait(write);
    if outcome != Outcome::Failed(Failure::OutcomeUnknown) {
        assert_unavailable(&outcome);
    }
    assert!(Micros::boottime().since(begin) < timeout * 4);
    assert_eq!(bench.get("w"), NOTHING);
    assert!(!is_down(&bench));
}

#[test]
fn a_full_queue_gives_calls_back() {
    let Some(postgres) = Postgres::start_or_skip("a_full_queue_gives_calls_back") else { return };
    let config =
        OriginConfig { concurrency: 2, queue: 8, ..postgres_config(&postgres.url(), POSTGRES_KV) };
    let bench = Bench::start(&config, &keyspaces()).unwrap();
    let mut accepted = Vec::new();
    wait_until(SOON, "the queue to be full", || {
        let key = format!("k{}", accepted.len());
        match bench.try_send(SLOW, key.as_bytes(), put("0.2")) {
            Some(token) => accepted.push(token),
            None => return true,
        }
        false
    });
    // Two belong to the other keyspace, and as many as there are connections may have been taken.
    assert!((6..=9).contains(&accepted.len()), "{}", accepted.len());
    assert_eq!(
        bench.try_send(KV, b"other", put("v")).map(|token| bench.wait(token)),
        Some(ONE_ROW)
    );
    for token in accepted {
        assert_eq!(bench.wait(token), ONE_ROW);
    }
    assert_eq!(bench.stray_answers(), 0);
    assert_eq!(bench.put("k", "v"), ONE_ROW);
}

#[test]
fn a_shutdown_finishes_what_is_under_way() {
    let Some(postgres) = Postgres::start_or_skip("a_shutdown_finishes_what_is_under_way") else {
        return;
    };
    let bench = start(&postgres, Duration::from_secs(5));
    let tokens: Vec<u64> =
        (0..50).map(|n| bench.send(SLOW, format!("k{n}").as_bytes(), put("0.01"))).collect();
    bench.origin.clone().shutdown();
    assert_eq!(bench.stray_answers(), 50);
    for token in tokens {
        assert_eq!(bench.wait(token), ONE_ROW);
    }
    assert_eq!(bench.get("a"), UNAVAILABLE);
}
