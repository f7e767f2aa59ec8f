//! Keys that the database considers equal are one key to the cache; otherwise a server does not
//! start.

use super::fit::{accepted, refused};
use super::*;
use standin_testkit::{Postgres, Scratch};

fn compared(how: &str) -> KeyspaceConfig {
    KeyspaceConfig {
        get: format!("SELECT v FROM kv WHERE {how}"),
        put: Some(format!("UPDATE kv SET v = :value WHERE {how}")),
        delete: Some(format!("DELETE FROM kv WHERE {how}")),
        ..keyspace(KV, "kv")
    }
}

fn with_case(key_case: KeyCase, keyspace: KeyspaceConfig) -> KeyspaceConfig {
    KeyspaceConfig { key_case, ..keyspace }
}

fn with_key(key_type: ColumnType, keyspace: KeyspaceConfig) -> KeyspaceConfig {
    KeyspaceConfig { key_type, ..keyspace }
}

#[test]
fn sqlite_refuses_to_start_where_a_column_makes_one_row_of_several_keys() {
    let scratch = Scratch::new("origin");
    let init =
        "CREATE TABLE IF NOT EXISTS kv (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE UNIQUE,
                    t TEXT, b COLLATE RTRIM, n NUMERIC, x, v TEXT);
                CREATE VIEW IF NOT EXISTS seen AS SELECT k AS name, v FROM kv";
    let config = sqlite_config(&scratch.file("db"), init);
    let nocase = ["COLLATE NOCASE", "column k", "key_case = \"ascii\""];
    for how in ["k = :key", ":key == kv.\"k\"", "t = 1 AND k = :key"] {
        refused(&config, &compared(how), &nocase);
        accepted(&config, &with_case(KeyCase::Ascii, compared(how)));
        accepted(&config, &with_key(ColumnType::Uuid, compared(how)));
    }
    for how in ["id = :key", "rowid = :key", "_rowid_ = :key"] {
        refused(&config, &compared(how), &["INTEGER", "key = \"integer\""]);
        accepted(&config, &with_key(ColumnType::Integer, compared(how)));
    }
    refused(&config, &compared("b = :key"), &["RTRIM", "column b"]);
    for how in
        ["t = :key", "x = :key", "n = :key", "k = :key COLLATE BINARY", "k > 'a' AND t = :key"]
    {
        accepted(&config, &compared(how));
    }
    let view = KeyspaceConfig {
        get: "SELECT v FROM seen WHERE name = :key".to_owned(),
        put: None,
        delete: None,
        ..keyspace(KV, "kv")
    };
    accepted(&config, &view);
}

#[test]
fn sqlite_finds_a_row_by_its_uuid_in_text() {
    let scratch = Scratch::new("origin");
    let config = sqlite_config(&scratch.file("db"), SQLITE_KV);
    let uuids = with_key(ColumnType::Uuid, keyspace(KV, "kv"));
    let bench = Bench::start(&config, &[uuids]).unwrap();
    let key = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert_eq!(bench.put(key, "1"), ONE_ROW);
    assert_eq!(bench.get(key), value("1"));
    assert_rejected(&bench.get("a0eebc99"), "not a UUID");
}

#[test]
fn postgresql_refuses_to_start_where_the_key_is_no_text() {
    let Some(postgres) = Postgres::start_or_skip("the_key_is_no_text") else { return };
    let init = "CREATE TABLE IF NOT EXISTS kv (k text PRIMARY KEY, u uuid, i int, n numeric, at timestamptz,
                    c char(4), b bytea, v text);
                DO $$ BEGIN CREATE DOMAIN number AS int; EXCEPTION WHEN duplicate_object THEN END $$;
                DO $$ BEGIN CREATE TYPE colour AS ENUM ('red'); EXCEPTION WHEN duplicate_object THEN END $$;
                ALTER TABLE kv ADD COLUMN IF NOT EXISTS d number, ADD COLUMN IF NOT EXISTS e colour";
    let config = postgres_config(&postgres.url(), init);
    for (how, remedy) in [
        ("u = :key", "key = \"uuid\""),
        ("u = :key::uuid", "key = \"uuid\""),
        ("i = :key", "key = \"integer\""),
        ("i = :key::int", "key = \"integer\""),
        ("d = CAST(:key AS number)", "key = \"integer\""),
        ("b = :key::bytea", "key = \"bytes\""),
        ("n = :key::numeric", "column::text = :key"),
        ("at = :key::timestamptz", "column::text = :key"),
    ] {
        refused(&config, &compared(how), &["several keys to one row", remedy]);
    }
    for how in ["k = :key", "u::text = :key", "c = :key", "e = :key::colour", "k = concat(:key)"] {
        accepted(&config, &compared(how));
    }
    for how in ["u = :key", "u = :key::uuid", "k = :key::text"] {
        accepted(&config, &with_key(ColumnType::Uuid, compared(how)));
    }
    for how in ["i = :key", "i = :key::int", "d = :key", "n = :key"] {
        accepted(&config, &with_key(ColumnType::Integer, compared(how)));
    }
    accepted(&config, &with_key(ColumnType::Bytes, compared("b = :key")));
}

#[test]
fn postgresql_finds_a_row_by_its_uuid() {
    let Some(postgres) = Postgres::start_or_skip("a_row_by_its_uuid") else { return };
    let init = "CREATE TABLE IF NOT EXISTS kv (k uuid PRIMARY KEY, v text)";
    let uuids = with_key(ColumnType::Uuid, keyspace(KV, "kv"));
    let bench = Bench::start(&postgres_config(&postgres.url(), init), &[uuids]).unwrap();
    let key = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert_eq!(bench.put(key, "1"), ONE_ROW);
    assert_eq!(bench.get(key), value("1"));
    assert_rejected(&bench.get("a0eebc99"), "not a UUID");
}

/// Runs one statement by itself.
fn run_once(postgres: &Postgres, sql: &str) {
    let keyspace =
        KeyspaceConfig { get: "SELECT :key".to_owned(), ..KeyspaceConfig::new(9, "x", "") };
    Bench::start(&postgres_config(&postgres.url(), sql), &[keyspace]).unwrap();
}

const CITEXT: &str = "CREATE EXTENSION IF NOT EXISTS citext;
                      CREATE TABLE IF NOT EXISTS kv (k citext PRIMARY KEY, v text)";

/// Creates a separate database with a table of citext.
fn in_locale(postgres: &Postgres, name: &str, locale: &str) -> OriginConfig {
    run_once(postgres, &format!("CREATE DATABASE {name} TEMPLATE template0 {locale}"));
    let url = postgres.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    postgres_config(&format!("{server}/{name}"), CITEXT)
}

#[test]
fn postgresql_refuses_to_start_with_citext_but_for_a_case_that_fits_its_locale() {
    let Some(postgres) = Postgres::start_or_skip("a_case_that_fits") else { return };
    let kv = || keyspace(KV, "kv");
    let in_c = postgres_config(&postgres.url(), CITEXT);
    refused(&in_c, &kv(), &["citext", "key_case = \"unicode\""]);
    refused(&in_c, &with_case(KeyCase::Unicode, kv()), &["key_case = \"ascii\""]);
    accepted(&in_c, &with_case(KeyCase::Ascii, kv()));

    let in_utf8 = in_locale(&postgres, "utf", "LC_CTYPE 'C.UTF-8'");
    refused(&in_utf8, &with_case(KeyCase::Ascii, kv()), &["key_case = \"unicode\""]);
    let bench = Bench::start(&in_utf8, &[with_case(KeyCase::Unicode, kv())]).unwrap();
    assert_eq!(bench.put("größe", "1"), ONE_ROW);
    assert_eq!(bench.get("größe"), value("1"));

    // The database also folds text by a function in the statement.
    let folded = compared("lower(k::text) = lower(:key)");
    refused(&in_c, &with_case(KeyCase::Unicode, folded.clone()), &["key_case = \"ascii\""]);
    accepted(&in_c, &with_case(KeyCase::Ascii, folded));
}

#[test]
fn a_letter_that_the_database_folds_otherwise_is_in_no_key() {
    let Some(postgres) = Postgres::start_or_skip("folds_otherwise") else { return };
    let icu = in_locale(&postgres, "icu", "LOCALE_PROVIDER icu ICU_LOCALE 'en' LC_CTYPE 'C.UTF-8'");
    let bench = Bench::start(&icu, &[with_case(KeyCase::Unicode, keyspace(KV, "kv"))]).unwrap();
    assert_eq!(bench.put("größe", "1"), ONE_ROW);
    assert_eq!(bench.get("größe"), value("1"));
    // ICU maps Σ to ς at the end of a word and otherwise to σ, and İ to two characters.
    for key in ["ΑΣ", "İ"] {
        assert_rejected(&bench.get(key), "as key_case does");
        assert_rejected(&bench.put(key, "1"), "as key_case does");
    }
}
