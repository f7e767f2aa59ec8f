//! Statements on a real SQLite file, and what is refused. Statements that have no end are in sqlite.rs and postgres.rs.

mod postgres;
mod sqlite;

use standin_testkit::Scratch;

use super::*;

fn keyspace() -> KeyspaceConfig {
    let mut keyspace = KeyspaceConfig::new(1, "t", "SELECT value FROM t WHERE id = :key");
    keyspace.put = Some(
        "INSERT INTO t (id, value) VALUES (:key, :value) ON CONFLICT (id) DO UPDATE SET value = excluded.value"
            .to_owned(),
    );
    keyspace.delete = Some("DELETE FROM t WHERE id = :key".to_owned());
    keyspace
}

/// Gives the database a call and waits for its end.
fn ask(caller: &Caller, done: &Done, statement: Statement, key: &str, value: &[u8]) -> Ended {
    let (key, value) = (key.as_bytes().to_vec(), value.to_vec());
    assert!(caller.call(Call { ticket: 7, statement, key, value, by: None }));
    end(done)
}

/// Waits for the end of the only call.
fn end(done: &Done) -> Ended {
    let mut ended = Vec::new();
    standin_testkit::wait_until(Duration::from_secs(20), "the end of a call", || {
        ended.append(&mut done.take());
        !ended.is_empty()
    });
    let [(7, ended)] = <[Finished; 1]>::try_from(ended).expect("one call has one end") else {
        panic!("another ticket")
    };
    ended
}

#[test]
fn sqlite_does_what_the_keyspace_says_and_reads_are_counted() {
    let scratch = Scratch::new("database-sqlite");
    let path = scratch.file("t.sqlite");
    let done = Done::new().unwrap();
    let place = DatabasePlace::Sqlite(path.clone());
    let database = Database::new(place, &keyspace()).unwrap();
    let error = database.connect(&done, &|| false).unwrap_err().to_string();
    assert!(error.contains("t.sqlite"), "{error}");
    assert!(!path.exists(), "a wrong path makes no database");

    let own = rusqlite::Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE t (id TEXT PRIMARY KEY, value TEXT)").unwrap();
    let caller = database.connect(&done, &|| false).unwrap();
    let ask = |statement, key: &str, value: &[u8]| ask(&caller, &done, statement, key, value);
    assert_eq!(ask(Statement::Get, "a", b""), Ok(None));
    assert_eq!(ask(Statement::Put, "a", b"one"), Ok(None));
    assert_eq!(ask(Statement::Put, "a", b"two"), Ok(None));
    assert_eq!(ask(Statement::Get, "a", b""), Ok(Some(b"two".to_vec())));
    let kind: String = own.query_row("SELECT typeof(id) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(kind, "text", "a key is found by others too");
    assert_eq!(ask(Statement::Delete, "a", b""), Ok(None));
    assert_eq!(ask(Statement::Get, "a", b""), Ok(None));
    assert_eq!(database.reads(), 3);
    own.execute_batch("DROP TABLE t").unwrap();
    let failure = ask(Statement::Get, "a", b"").unwrap_err();
    assert_eq!(failure.kind, FailureKind::OriginRejected);
    let read_only = KeyspaceConfig { put: None, delete: None, ..keyspace() };
    let place = DatabasePlace::Sqlite(path);
    let database = Database::new(place, &read_only).unwrap();
    assert!(database.put.is_none() && database.delete.is_none());
    assert!(database.statement(Statement::Put).unwrap_err().text.contains("`put`"));
}

#[test]
fn what_has_no_database_is_refused() {
    let origin = OriginConfig::postgres("postgres://a@b/c");
    let place = || Database::place(&origin).unwrap();
    let error = Database::new(place(), &KeyspaceConfig::cache(1, "notes")).unwrap_err();
    assert!(error.to_string().contains("notes"), "{error}");
    let wrong = KeyspaceConfig { get: "SELECT :other".to_owned(), ..keyspace() };
    let error = Database::new(place(), &wrong).unwrap_err().to_string();
    assert!(error.contains(":other"), "{error}");
    let database = Database::new(place(), &keyspace()).unwrap();
    assert!(database.put.as_ref().unwrap().text.contains("$2"));
    let origin = OriginConfig::postgres("postgres://app:s3cret@db/app?sslmode=verify-full");
    let Err(error) = Database::place(&origin) else { panic!("it is a key of the file") };
    let said = error.to_string();
    assert!(said.contains("write `sslmode = …` there") && !said.contains("s3cret"), "{said}");
}
