//! SQLite: statements have their effect.

use super::*;
use standin_testkit::Scratch;

/// A bench on a new file, with the file's directory.
fn bench(init: &str, keyspaces: &[KeyspaceConfig]) -> (Bench, Scratch) {
    let scratch = Scratch::new("origin");
    let bench = Bench::start(&sqlite_config(&scratch.file("db"), init), keyspaces).unwrap();
    (bench, scratch)
}

#[test]
fn reads_writes_and_deletes() {
    let (bench, _scratch) = bench(SQLITE_KV, &kv());
    assert_eq!(bench.get("a"), NOTHING);
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    assert_eq!(bench.get("a"), value("1"));
    assert_eq!(bench.put("a", "2"), ONE_ROW);
    assert_eq!(bench.get("a"), value("2"));
    assert_eq!(bench.put("", ""), ONE_ROW);
    assert_eq!(bench.get(""), value(""));
    assert_eq!(bench.delete("a"), Outcome::changed(1));
    assert_eq!(bench.delete("a"), Outcome::changed(0));
    assert_eq!(bench.get("a"), NOTHING);
    assert_eq!(bench.stray_answers(), 0);
}

#[test]
fn a_read_after_an_answered_write_sees_it() {
    let (bench, _scratch) = bench(SQLITE_KV, &kv());
    for round in 0..200 {
        let text = round.to_string();
        assert_eq!(bench.put("k", &text), ONE_ROW);
        assert_eq!(bench.get("k"), value(&text));
    }
}

#[test]
fn column_types_and_nulls() {
    let init =
        "CREATE TABLE b (k BLOB PRIMARY KEY, v BLOB); CREATE TABLE i (k INTEGER PRIMARY KEY, v);
                INSERT INTO i VALUES (1, NULL), (2, 42), (3, 1.5);";
    let blobs = KeyspaceConfig {
        key_type: ColumnType::Bytes,
        value_type: ColumnType::Bytes,
        ..keyspace(2, "b")
    };
    let numbers = KeyspaceConfig { key_type: ColumnType::Integer, ..keyspace(200, "i") };
    let (bench, scratch) = bench(init, &[blobs, numbers]);
    let odd = [0, 0xff, b'\'', 0];
    let operation = Operation::Put { value: Bytes::copy_from_slice(&odd), flags: 0 };
    assert_eq!(bench.run(2, &odd, operation), ONE_ROW);
    assert_eq!(
        bench.run(2, &odd, Operation::Get),
        Outcome::Value(Some(Bytes::copy_from_slice(&odd).into()))
    );

    assert_eq!(bench.run(200, b"1", Operation::Get), NOTHING);
    assert_eq!(bench.run(200, b"2", Operation::Get), value("42"));
    assert_rejected(&bench.run(200, b"3", Operation::Get), "CAST");
    assert_eq!(bench.run(200, b"-9223372036854775808", put("least")), ONE_ROW);
    assert_eq!(bench.run(200, b"-9223372036854775808", Operation::Get), value("least"));
    for key in [&b"01"[..], b"1.0", b"one", b"", &[0xff]] {
        assert_rejected(&bench.run(200, key, Operation::Get), "not a 64-bit integer");
        assert_rejected(&bench.run(200, key, put("v")), "not a 64-bit integer");
    }
    assert_rejected(
        &bench.run(200, b"5", Operation::Put { value: Bytes::from_static(&[0xff]), flags: 0 }),
        "the value is not UTF-8",
    );
    let direct = rusqlite::Connection::open(scratch.file("db")).unwrap();
    let kind: String =
        direct.query_row("SELECT typeof(k) || typeof(v) FROM b", [], |row| row.get(0)).unwrap();
    assert_eq!(kind, "blobblob");
    let rows: u32 = direct.query_row("SELECT count(*) FROM i", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 4);
}

#[test]
fn a_keyspace_that_cannot_do_it_says_so() {
    let read_only = KeyspaceConfig { put: None, delete: None, ..keyspace(KV, "kv") };
    let (bench, _scratch) = bench(SQLITE_KV, &[read_only]);
    assert_rejected(&bench.put("k", "v"), "keyspace kv has no `put`");
    assert_rejected(&bench.delete("k"), "keyspace kv has no `delete`");
    assert_rejected(&bench.run(9, b"k", Operation::Get), "no keyspace 9");
}

#[test]
fn statements_may_return_rows_and_use_parameters_as_they_like() {
    let init = "CREATE TABLE kv (k TEXT PRIMARY KEY, v TEXT, n INTEGER DEFAULT 0)";
    let unusual = KeyspaceConfig {
        get: "SELECT v || :key || ':key' FROM kv WHERE k = :key -- :value".to_owned(),
        put: Some("INSERT INTO kv (v, k) VALUES (:value, :key) RETURNING v, k".to_owned()),
        delete: Some("UPDATE kv SET v = NULL WHERE k >= :key".to_owned()),
        ..keyspace(KV, "kv")
    };
    let (bench, _scratch) = bench(init, &[unusual]);
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    assert_eq!(bench.put("b", "2"), ONE_ROW);
    assert_eq!(bench.get("a"), value("1a:key"));
    assert_eq!(bench.delete("a"), Outcome::changed(2));
    assert_eq!(bench.get("a"), NOTHING);
}

/// Sends all at once while the writer is held up, so that they share a batch.
fn in_one_batch(bench: &Bench, file: &Path, writes: &[(&str, &str)]) -> Vec<Outcome> {
    let lock = rusqlite::Connection::open(file).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = bench.send(KV, b"held up", put("0"));
    let tokens: Vec<u64> =
        writes.iter().map(|(k, v)| bench.send(KV, k.as_bytes(), put(v))).collect();
    lock.execute_batch("COMMIT").unwrap();
    assert_eq!(bench.wait(first), ONE_ROW);
    tokens.into_iter().map(|token| bench.wait(token)).collect()
}

#[test]
fn one_writes_constraint_does_not_fail_the_others_of_its_batch() {
    let init = "CREATE TABLE kv (k TEXT PRIMARY KEY, v TEXT CHECK (v <> 'bad')) WITHOUT ROWID";
    let (bench, scratch) = bench(init, &kv());
    let outcomes = in_one_batch(
        &bench,
        &scratch.file("db"),
        &[("a", "1"), ("b", "bad"), ("c", "3"), ("d", "bad")],
    );
    assert_eq!((&outcomes[0], &outcomes[2]), (&ONE_ROW, &ONE_ROW));
    assert_rejected(&outcomes[1], "CHECK constraint failed");
    assert_rejected(&outcomes[3], "CHECK constraint failed");
    assert_eq!(bench.get("a"), value("1"));
    assert_eq!(bench.get("b"), NOTHING);
    assert_eq!(bench.get("c"), value("3"));
}

#[test]
fn a_failure_that_takes_the_transaction_with_it_does_not_fail_the_others() {
    let init = "CREATE TABLE kv (k TEXT PRIMARY KEY, v TEXT UNIQUE) WITHOUT ROWID";
    let rolls_back = KeyspaceConfig {
        put: Some("INSERT OR ROLLBACK INTO kv VALUES (:key, :value)".to_owned()),
        ..keyspace(KV, "kv")
    };
    let (bench, scratch) = bench(init, &[rolls_back]);
    let outcomes = in_one_batch(&bench, &scratch.file("db"), &[("a", "1"), ("b", "1"), ("c", "3")]);
    assert_eq!((&outcomes[0], &outcomes[2]), (&ONE_ROW, &ONE_ROW));
    assert_rejected(&outcomes[1], "UNIQUE constraint failed");
    assert_eq!(bench.get("a"), value("1"));
    assert_eq!(bench.get("b"), NOTHING);
    assert_eq!(bench.get("c"), value("3"));
}

#[test]
fn a_constraint_that_is_checked_at_commit_fails_only_its_write() {
    let init = "CREATE TABLE parent (id TEXT PRIMARY KEY); INSERT INTO parent VALUES ('0'), ('1'), ('3');
                CREATE TABLE kv (k TEXT PRIMARY KEY, v TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED)";
    let (bench, scratch) = bench(init, &kv());
    let outcomes =
        in_one_batch(&bench, &scratch.file("db"), &[("a", "1"), ("b", "orphan"), ("c", "3")]);
    assert_eq!((&outcomes[0], &outcomes[2]), (&ONE_ROW, &ONE_ROW));
    assert_rejected(&outcomes[1], "FOREIGN KEY constraint failed");
    assert_eq!(bench.get("a"), value("1"));
    assert_eq!(bench.get("b"), NOTHING);
}

#[test]
fn wrong_statements_are_named_at_start() {
    let start = |change: &dyn Fn(&mut KeyspaceConfig), init: &str| {
        let scratch = Scratch::new("origin");
        let mut keyspaces = kv();
        change(&mut keyspaces[0]);
        match Bench::start(&sqlite_config(&scratch.file("db"), init), &keyspaces) {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    };
    let error = start(&|_| {}, "CREATE TABLE other (k)");
    assert!(
        error.contains("keyspace kv")
            && error.contains("`get`")
            && error.contains("no such table: kv"),
        "{error}"
    );
    let error =
        start(&|k| k.put = Some("INSERT INTO kv VALUES (:key, :value, 3)".to_owned()), SQLITE_KV);
    assert!(error.contains("`put`") && error.contains("3 values"), "{error}");
    let error =
        start(&|k| k.get = "DELETE FROM kv WHERE k = :key RETURNING v".to_owned(), SQLITE_KV);
    assert!(error.contains("must be a SELECT"), "{error}");
    let error = start(&|k| k.delete = Some("SELECT :key".to_owned()), SQLITE_KV);
    assert!(error.contains("`delete`") && error.contains("changes nothing"), "{error}");
    let error = start(&|_| {}, "CREATE TABEL kv (k, v)");
    assert!(error.contains("init") && error.contains("syntax error"), "{error}");
}
