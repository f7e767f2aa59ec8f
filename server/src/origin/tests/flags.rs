//! Flags of clients in a column of their own: `put` writes them as `:flags`, and `get` returns them
//! after the value.

use super::*;
use crate::origin::RowValue;
use standin_testkit::{Postgres, Scratch};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v TEXT, f BIGINT)";

fn flagged(after_put: AfterPut) -> KeyspaceConfig {
    let returning = if after_put == AfterPut::Returning { " RETURNING v, f" } else { "" };
    KeyspaceConfig {
        get: "SELECT v, f FROM kv WHERE k = :key".to_owned(),
        put: Some(format!(
            "INSERT INTO kv (f, k, v) VALUES (:flags, :key, :value)
             ON CONFLICT (k) DO UPDATE SET v = excluded.v, f = excluded.f{returning}"
        )),
        after_put,
        ..keyspace(KV, "kv")
    }
}

fn put(text: &'static str, flags: u32) -> Operation {
    Operation::Put { value: Bytes::from_static(text.as_bytes()), flags }
}

fn row(text: &'static str, flags: u32) -> Option<RowValue> {
    Some(RowValue { bytes: Bytes::from_static(text.as_bytes()), flags })
}

/// `set`: a statement that other programs run.
fn check(config: &OriginConfig, set: &dyn Fn(&str)) {
    for after_put in [AfterPut::Reread, AfterPut::Returning] {
        let bench = Bench::start(config, &[flagged(after_put)]).unwrap();
        for flags in [0, 7, u32::MAX] {
            let stored = Stored::Row(row("value", flags));
            let written = Outcome::Written { rows: 1, stored };
            assert_eq!(bench.run(KV, b"k", put("value", flags)), written);
            assert_eq!(bench.get("k"), Outcome::Value(row("value", flags)));
        }
        set("UPDATE kv SET f = NULL");
        assert_eq!(bench.get("k"), Outcome::Value(row("value", 0)), "of another program");
        for wrong in ["-1", "4294967296"] {
            set(&format!("UPDATE kv SET f = {wrong}"));
            match bench.get("k") {
                Outcome::Failed(Failure::Rejected(text)) => assert!(text.contains(wrong), "{text}"),
                other => panic!("{other:?}"),
            }
        }
        set("UPDATE kv SET v = NULL");
        assert_eq!(bench.get("k"), NOTHING);
    }
    let bench = Bench::start(config, &[flagged(AfterPut::Keep)]).unwrap();
    assert_eq!(bench.run(KV, b"k", put("value", 9)), ONE_ROW);
    assert_eq!(bench.get("k"), Outcome::Value(row("value", 9)));
    let two = "two columns, the value and the flags";
    for get in ["SELECT v FROM kv WHERE k = :key", "SELECT v, f, f FROM kv WHERE k = :key"] {
        let keyspace = KeyspaceConfig { get: get.to_owned(), ..flagged(AfterPut::Keep) };
        fit::refused(config, &keyspace, &["`get`", two, ":flags"]);
    }
    let mut returning = flagged(AfterPut::Returning);
    returning.put = returning.put.map(|put| put.replace("RETURNING v, f", "RETURNING v"));
    fit::refused(config, &returning, &["`put`", "RETURNING", "flags"]);
}

#[test]
fn sqlite_keeps_flags_in_a_column_of_their_own() {
    let scratch = Scratch::new("origin");
    let path = scratch.file("db");
    let config = sqlite_config(&path, TABLE);
    check(&config, &|sql| {
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    });
}

#[test]
fn postgresql_keeps_flags_in_a_column_of_their_own() {
    let Some(postgres) = Postgres::start_or_skip("flags_in_a_column") else { return };
    let config = postgres_config(&postgres.url(), TABLE);
    let session = session::Session::open(&postgres);
    check(&config, &|sql| session.run(sql));
    let mut keyspace = flagged(AfterPut::Keep);
    keyspace.get = "SELECT v, f::text FROM kv WHERE k = :key".to_owned();
    fit::refused(&config, &keyspace, &["`get`", "as an integer"]);
}
