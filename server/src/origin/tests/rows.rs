//! The number of rows that a write has changed: no client may be told of a row that does not exist.

use super::*;
use standin_testkit::{Postgres, Scratch};

/// The answer to a put that changed none.
const NO_ROW: Outcome = Outcome::Written { rows: 0, stored: Stored::Sent };

/// A keyspace on `kv` with these statements.
fn statements(id: u8, put: &str, delete: &str) -> KeyspaceConfig {
    KeyspaceConfig {
        put: Some(put.to_owned()),
        delete: Some(delete.to_owned()),
        ..keyspace(id, "kv")
    }
}

const UPDATE: u8 = 2;
const ONCE: u8 = 3;
const UPSERT_WHERE: u8 = 4;
const VIEW: u8 = 5;
const TRIGGER: u8 = 6;
const FUNCTION: u8 = 7;
const CALL: u8 = 8;
const DELETE: &str = "DELETE FROM kv WHERE k = :key";

fn common() -> Vec<KeyspaceConfig> {
    let once = "INSERT INTO kv (k, v) VALUES (:key, :value) ON CONFLICT DO NOTHING";
    let upsert = "INSERT INTO kv (k, v) VALUES (:key, :value)
                  ON CONFLICT (k) DO UPDATE SET v = excluded.v WHERE kv.v <> 'fixed'";
    let mut keyspaces = kv();
    keyspaces.extend([
        statements(UPDATE, "UPDATE kv SET v = :value WHERE k = :key", DELETE),
        statements(ONCE, once, DELETE),
        statements(UPSERT_WHERE, upsert, DELETE),
    ]);
    keyspaces
}

fn check_common(bench: &Bench) {
    assert_eq!(bench.run(UPDATE, b"nobody", put("7")), NO_ROW);
    assert_eq!(bench.get("nobody"), NOTHING);
    assert_eq!(bench.run(ONCE, b"a", put("first")), ONE_ROW);
    assert_eq!(bench.run(ONCE, b"a", put("second")), NO_ROW);
    assert_eq!(bench.run(UPDATE, b"a", put("fixed")), ONE_ROW);
    assert_eq!(bench.run(UPSERT_WHERE, b"a", put("third")), NO_ROW);
    assert_eq!(bench.get("a"), value("fixed"));
    assert_eq!(bench.delete("a"), Outcome::changed(1));
    assert_eq!(bench.delete("a"), Outcome::changed(0));
    // In one batch, each with its own result.
    let tokens: Vec<(bool, u64)> = (0..100)
        .map(|n| {
            let keyspace = if n % 2 == 0 { ONCE } else { UPDATE };
            (n % 2 == 0, bench.send(keyspace, format!("k{n}").as_bytes(), put("v")))
        })
        .collect();
    for (is_stored, token) in tokens {
        assert_eq!(bench.wait(token), if is_stored { ONE_ROW } else { NO_ROW });
    }
}

#[test]
fn sqlite_says_whether_a_write_changed_a_row() {
    // A BEFORE trigger writes `seen`, even if the row is then ignored.
    let init = format!(
        "{SQLITE_KV};
         CREATE TABLE IF NOT EXISTS seen (k TEXT, v TEXT);
         CREATE TABLE IF NOT EXISTS audited (k TEXT PRIMARY KEY, v TEXT);
         CREATE VIEW IF NOT EXISTS window AS SELECT k, v FROM kv;
         CREATE TRIGGER IF NOT EXISTS put INSTEAD OF INSERT ON window BEGIN
            INSERT INTO kv SELECT new.k, new.v WHERE new.v <> 'none' ON CONFLICT DO UPDATE SET v = excluded.v;
         END;
         CREATE TRIGGER IF NOT EXISTS gone INSTEAD OF DELETE ON window BEGIN
            DELETE FROM kv WHERE k = old.k;
         END;
         CREATE TRIGGER IF NOT EXISTS seen BEFORE INSERT ON audited BEGIN
            INSERT INTO seen VALUES (new.k, new.v);
         END"
    );
    let mut keyspaces = common();
    keyspaces.extend([
        statements(
            VIEW,
            "INSERT INTO window VALUES (:key, :value)",
            "DELETE FROM window WHERE k = :key",
        ),
        statements(TRIGGER, "INSERT OR IGNORE INTO audited VALUES (:key, :value)", DELETE),
    ]);
    let scratch = Scratch::new("origin");
    let bench = Bench::start(&sqlite_config(&scratch.file("db"), &init), &keyspaces).unwrap();
    check_common(&bench);
    assert_eq!(bench.run(VIEW, b"v", put("none")), NO_ROW);
    assert_eq!(bench.run(VIEW, b"v", put("some")), ONE_ROW);
    assert_eq!(bench.get("v"), value("some"));
    assert_eq!(bench.run(VIEW, b"v", Operation::Delete), Outcome::changed(1));
    assert_eq!(bench.run(VIEW, b"v", Operation::Delete), Outcome::changed(0));
    assert_eq!(bench.run(TRIGGER, b"t", put("1")), ONE_ROW);
    assert_eq!(bench.run(TRIGGER, b"t", put("2")), NO_ROW, "only the trigger has changed a row");
}

#[test]
fn postgresql_says_whether_a_write_changed_a_row() {
    let Some(postgres) = Postgres::start_or_skip("whether_a_write_changed_a_row") else { return };
    let init = format!(
        "{POSTGRES_KV};
         CREATE FUNCTION store(text, text) RETURNS SETOF text LANGUAGE sql AS
            $$ UPDATE kv SET v = $2 WHERE k = $1 RETURNING k $$;
         CREATE PROCEDURE store_all(text, text) LANGUAGE sql AS
            $$ INSERT INTO kv VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v $$;
         CREATE PROCEDURE gone(text) LANGUAGE sql AS $$ DELETE FROM kv WHERE k = $1 $$;
         CREATE VIEW shown AS SELECT k, v FROM kv WHERE v <> 'hidden'"
    );
    let mut keyspaces = common();
    keyspaces.extend([
        statements(FUNCTION, "SELECT store(:key, :value)", DELETE),
        statements(CALL, "/* a procedure */ call store_all(:key, :value)", "CALL gone(:key)"),
        statements(VIEW, "UPDATE shown SET v = :value WHERE k = :key", DELETE),
    ]);
    let bench = Bench::start(&postgres_config(&postgres.url(), &init), &keyspaces).unwrap();
    check_common(&bench);
    assert_eq!(bench.run(FUNCTION, b"f", put("1")), NO_ROW, "it has returned no row");
    assert_eq!(bench.run(CALL, b"f", put("2")), ONE_ROW, "it is not counted");
    assert_eq!(bench.get("f"), value("2"));
    assert_eq!(bench.run(FUNCTION, b"f", put("hidden")), ONE_ROW);
    assert_eq!(bench.run(VIEW, b"f", put("3")), NO_ROW);
    assert_eq!(bench.get("f"), value("hidden"));
    assert_eq!(bench.run(CALL, b"f", Operation::Delete), Outcome::changed(1));
    assert_eq!(bench.get("f"), NOTHING);
}
