//! A statement that can't work is refused when it is prepared, with what to do about it.

use super::*;
use standin_testkit::{Postgres, Scratch};

fn reads(get: &str) -> KeyspaceConfig {
    KeyspaceConfig { get: get.to_owned(), ..keyspace(KV, "kv") }
}

fn returns(after_put: AfterPut, returning: &str) -> KeyspaceConfig {
    let put = format!("UPDATE kv SET v = :value WHERE k = :key {returning}");
    KeyspaceConfig { put: Some(put), after_put, ..keyspace(KV, "kv") }
}

#[track_caller]
pub(super) fn refused(config: &OriginConfig, keyspace: &KeyspaceConfig, parts: &[&str]) {
    match Bench::start(config, std::slice::from_ref(keyspace)) {
        Ok(_) => panic!("it started: {keyspace:?}"),
        Err(error) => {
            let text = error.to_string();
            let has_all = parts.iter().all(|part| text.contains(part));
            assert!(has_all && text.contains("keyspace kv"), "{text}");
        }
    }
}

#[track_caller]
pub(super) fn accepted(config: &OriginConfig, keyspace: &KeyspaceConfig) {
    if let Err(error) = Bench::start(config, std::slice::from_ref(keyspace)) {
        panic!("{error}");
    }
}

#[test]
fn sqlite_refuses_to_start_with_what_cannot_be_sent() {
    let scratch = Scratch::new("origin");
    let init = "CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v TEXT, r REAL, n NUMERIC, x)";
    let config = sqlite_config(&scratch.file("db"), init);
    refused(&config, &reads("SELECT v, k FROM kv WHERE k = :key"), &["`get`", "2 columns"]);
    refused(&config, &reads("SELECT r FROM kv WHERE k = :key"), &["column r", "CAST(r AS TEXT)"]);
    refused(&config, &returns(AfterPut::Returning, ""), &["`put`", "RETURNING"]);
    for column in ["v", "n", "x", "CAST(r AS TEXT)", "NULL", "count(*)"] {
        accepted(&config, &reads(&format!("SELECT {column} FROM kv WHERE k = :key")));
    }
    accepted(&config, &returns(AfterPut::Returning, "RETURNING v"));
    accepted(&config, &returns(AfterPut::Reread, ""));
}

#[test]
fn postgresql_refuses_to_start_with_what_cannot_be_sent() {
    let Some(postgres) = Postgres::start_or_skip("what_cannot_be_sent") else { return };
    let init = "CREATE TABLE IF NOT EXISTS kv (k text PRIMARY KEY, v text, f float8, n numeric, j jsonb, a text[])";
    let config = postgres_config(&postgres.url(), init);
    refused(&config, &reads("SELECT v, k FROM kv WHERE k = :key"), &["`get`", "2 columns"]);
    refused(&config, &reads("SELECT FROM kv WHERE k = :key"), &["no column"]);
    for column in ["f", "n", "a"] {
        let get = format!("SELECT {column} FROM kv WHERE k = :key");
        refused(&config, &reads(&get), &[column, &format!("{column}::text")]);
    }
    refused(&config, &reads("SELEC v FROM kv WHERE k = :key"), &["syntax error"]);
    refused(&config, &returns(AfterPut::Returning, ""), &["RETURNING"]);
    refused(&config, &returns(AfterPut::Returning, "RETURNING n"), &["n::text"]);
    for column in ["v", "j", "n::text", "NULL", "count(*)"] {
        accepted(&config, &reads(&format!("SELECT {column} FROM kv WHERE k = :key")));
    }
    accepted(&config, &returns(AfterPut::Returning, "RETURNING v, n"));
    // The table may be created later.
    accepted(&config, &reads("SELECT v FROM later WHERE k = :key"));
}

#[test]
fn a_column_that_gets_a_type_that_cannot_be_sent_is_a_rejection_with_the_remedy() {
    let Some(postgres) = Postgres::start_or_skip("a_column_that_gets_a_type") else { return };
    let init = format!(
        "{POSTGRES_KV};
         CREATE TABLE IF NOT EXISTS make (k text PRIMARY KEY, v text);
         CREATE OR REPLACE FUNCTION make() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE new.v; RETURN new; END $$;
         CREATE OR REPLACE TRIGGER make BEFORE INSERT ON make FOR EACH ROW EXECUTE FUNCTION make()"
    );
    let keyspaces = [keyspace(KV, "kv"), keyspace(2, "make")];
    let bench = Bench::start(&postgres_config(&postgres.url(), &init), &keyspaces).unwrap();
    assert_eq!(bench.put("a", "1.5"), ONE_ROW);
    let alter = |type_: &str| format!("ALTER TABLE kv ALTER v TYPE {type_} USING v::{type_}");
    assert_eq!(bench.run(2, b"1", put(&alter("numeric"))), ONE_ROW);
    assert_rejected(&bench.get("a"), "v::text");
    assert_eq!(bench.run(2, b"2", put(&alter("text"))), ONE_ROW);
    assert_eq!(bench.get("a"), value("1.5"));
}
