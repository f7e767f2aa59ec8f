//! PostgreSQL's errors are classified by their SQLSTATE, in any language, and reach the caller.

use super::session::Session;
use super::*;
use crate::origin::Health;
use standin_testkit::postgres::REQUIRE;
use standin_testkit::{Postgres, wait_until};

/// A keyspace whose reads and writes raise the error with the key as its SQLSTATE.
const RAISE: u8 = 2;

const INIT: &str = "CREATE TABLE kv (k text PRIMARY KEY, v text);
    CREATE SEQUENCE tries;
    CREATE FUNCTION raise(state text, until bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('tries') < until THEN
            RAISE EXCEPTION 'the text of it' USING ERRCODE = state, DETAIL = 'the detail';
        END IF;
        RETURN state;
    END $$";

fn keyspaces() -> Vec<KeyspaceConfig> {
    let raise = KeyspaceConfig {
        get: "SELECT raise(:key, 1000000)".to_owned(),
        put: Some("INSERT INTO kv VALUES (raise(:key, (:value)::bigint), '')".to_owned()),
        delete: None,
        ..keyspace(RAISE, "raise")
    };
    vec![keyspace(KV, "kv"), raise]
}

/// Returns the answers to a read and a write that raise the error.
fn answers(bench: &Bench, state: &str) -> [Outcome; 2] {
    [Operation::Get, put("1000000")].map(|operation| bench.run(RAISE, state.as_bytes(), operation))
}

#[test]
fn each_state_has_its_answer_and_the_text_is_passed_on() {
    let Some(postgres) = Postgres::start_or_skip("each_state_has_its_answer") else { return };
    let bench = Bench::start(&postgres_config(&postgres.url(), INIT), &keyspaces()).unwrap();
    let is_told = |text: &str, state: &str| {
        text.contains(state) && text.contains("the text of it: the detail")
    };
    for state in ["25006", "57014", "53100", "53200", "53300", "55P03", "58030", "08006", "40001"] {
        for outcome in answers(&bench, state) {
            assert!(
                matches!(&outcome, Outcome::Failed(Failure::Refused(text)) if is_told(text, state)),
                "{state}: {outcome:?}"
            );
        }
    }
    for state in ["22003", "23505", "23514", "42501", "42P01", "0A000", "XX000", "P0001"] {
        for outcome in answers(&bench, state) {
            assert!(
                matches!(&outcome, Outcome::Failed(Failure::Rejected(text)) if is_told(text, state)),
                "{state}: {outcome:?}"
            );
        }
    }
    let [read, write] = answers(&bench, "40003");
    assert!(matches!(&read, Outcome::Failed(Failure::Refused(_))), "{read:?}");
    assert!(
        matches!(&write, Outcome::Failed(Failure::Doubtful(text)) if is_told(text, "40003")),
        "{write:?}"
    );
    assert_eq!(bench.origin.health(), Health::Up);
}

#[test]
fn what_was_rolled_back_because_of_others_is_repeated_and_nothing_else_is() {
    let Some(postgres) = Postgres::start_or_skip("what_was_rolled_back") else { return };
    let bench = Bench::start(&postgres_config(&postgres.url(), INIT), &keyspaces()).unwrap();
    let session = Session::open(&postgres);
    for state in ["40001", "40P01"] {
        session.run("ALTER SEQUENCE tries RESTART");
        // The first two attempts fail.
        assert_eq!(bench.run(RAISE, state.as_bytes(), put("3")), ONE_ROW, "{state}");
        session.run("ALTER SEQUENCE tries RESTART");
        assert_unavailable(&bench.run(RAISE, b"40001", put("5")));
    }
    session.run("ALTER SEQUENCE tries RESTART");
    assert_unavailable(&bench.run(RAISE, b"57014", put("2")));
    assert_eq!(bench.run(RAISE, b"57014", put("2")), ONE_ROW);
}

/// The words "cached plan" in a message do not matter.
#[test]
fn a_changed_column_type_is_recovered_from_in_any_language() {
    let Some(mut postgres) = Postgres::start_or_skip("in_any_language") else { return };
    let url = match postgres.speak_german() {
        Ok(url) => url,
        Err(missing) => return standin_testkit::skip("in_any_language", REQUIRE, &missing),
    };
    let mut keyspaces = keyspaces();
    keyspaces.push(keyspace(3, "missing"));
    let bench = Bench::start(&postgres_config(&url, INIT), &keyspaces).unwrap();
    assert_rejected(&bench.run(3, b"k", Operation::Get), "existiert nicht");
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    let session = Session::open(&postgres);
    for to in ["varchar(9)", "integer USING v::integer", "text"] {
        // More at once than there are connections, so that each has a plan, and several find it stale.
        let all = || {
            let tokens: Vec<u64> = (0..100).map(|_| bench.send(KV, b"a", Operation::Get)).collect();
            tokens.into_iter().for_each(|token| assert_eq!(bench.wait(token), value("1")));
        };
        all();
        session.run(&format!("ALTER TABLE kv ALTER v TYPE {to}"));
        all();
    }
    assert_eq!(bench.put("a", "2"), ONE_ROW);
}

#[test]
fn a_primary_that_becomes_read_only_refuses_writes_with_its_reason_and_serves_reads() {
    let Some(postgres) = Postgres::start_or_skip("read_only") else { return };
    let bench = Bench::start(&postgres_config(&postgres.url(), INIT), &keyspaces()).unwrap();
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    let session = Session::open(&postgres);
    let all = |setting: &str| {
        session.run("SET default_transaction_read_only = off");
        session.run(&format!("ALTER SYSTEM SET default_transaction_read_only = {setting}"));
        session.run("SELECT pg_reload_conf()");
    };
    all("on");
    wait_until(
        SOON,
        "writes to be refused",
        || matches!(bench.put("a", "2"), Outcome::Failed(Failure::Refused(text)) if text.contains("25006")),
    );
    assert!(matches!(bench.get("a"), Outcome::Value(Some(_))));
    assert_eq!(bench.origin.health(), Health::Up);
    all("off");
    wait_until(SOON, "writes to succeed", || bench.put("a", "3") == ONE_ROW);
}

#[test]
fn a_terminated_session_says_so_to_the_writer() {
    let Some(postgres) = Postgres::start_or_skip("a_terminated_session") else { return };
    let mut keyspaces = keyspaces();
    let slow = "INSERT INTO kv SELECT :key, :value FROM pg_sleep(10)";
    keyspaces.push(KeyspaceConfig { put: Some(slow.to_owned()), ..keyspace(3, "kv") });
    let bench = Bench::start(&postgres_config(&postgres.url(), INIT), &keyspaces).unwrap();
    let session = Session::open(&postgres);
    let write = bench.send(3, b"a", put("1"));
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE query LIKE 'INSERT INTO kv SELECT%' AND state = 'active'";
    wait_until(SOON, "the write to be terminated", || {
        session.run(terminate);
        bench.stray_answers() == 1
    });
    let outcome = bench.wait(write);
    assert!(
        matches!(&outcome, Outcome::Failed(Failure::Doubtful(text)) if text.contains("57P01")),
        "{outcome:?}"
    );
}

#[test]
fn too_few_connections_are_used_as_they_are_and_none_is_an_outage_with_its_reason() {
    let Some(postgres) = Postgres::start_or_skip("too_few_connections") else { return };
    let session = Session::open(&postgres);
    session.run("CREATE TABLE kv (k text PRIMARY KEY, v text); CREATE TABLE slow (k text)");
    session.run("CREATE ROLE app LOGIN CONNECTION LIMIT 3; GRANT ALL ON kv TO app");
    let url = postgres.url().replace("standin@", "app@");
    let bench = Bench::start(&postgres_config(&url, ""), &kv()).unwrap();
    for n in 0..50 {
        assert_eq!(bench.put("a", &n.to_string()), ONE_ROW);
        assert_eq!(bench.get("a"), value(&n.to_string()));
    }
    assert_eq!(bench.origin.health(), Health::Up);

    session.run("ALTER ROLE app CONNECTION LIMIT 0");
    session.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    wait_until(SOON, "the reason to be known", || {
        bench.origin.outage().is_some_and(|reason| reason.contains("too many connections"))
    });
    assert!(matches!(
        bench.get("a"),
        Outcome::Failed(Failure::Refused(text)) if text.contains("too many connections")
    ));
    // Another reason takes its place.
    session.run("ALTER ROLE app NOLOGIN");
    wait_until(SOON, "the new reason", || {
        bench.origin.outage().is_some_and(|reason| reason.contains("not permitted to log in"))
    });
    session.run("ALTER ROLE app LOGIN CONNECTION LIMIT -1");
    wait_until(SOON, "the origin to be up again", || bench.origin.health() == Health::Up);
    assert_eq!(bench.get("a"), value("49"));
    assert_eq!(bench.origin.outage(), None);
}
