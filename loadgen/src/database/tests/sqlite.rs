//! Statements that SQLite does not end by itself: their time, and what ends them before.

use std::sync::mpsc;
use std::thread::{park_timeout, spawn};

use standin_testkit::wait_until;

use super::*;

const SOON: Duration = Duration::from_secs(20);
/// Numbers without an end.
const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";

/// A database whose `get` has no end for the key `slow`.
fn database(scratch: &Scratch, timeout: Duration) -> Database {
    let path = scratch.file("t.sqlite");
    let own = rusqlite::Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE t (id TEXT PRIMARY KEY, value TEXT)").unwrap();
    let get = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c \
               LIMIT CASE WHEN :key = 'slow' THEN -1 ELSE 1 END) SELECT max(x) FROM c, (SELECT count(*) FROM t)";
    let keyspace = KeyspaceConfig { get: get.to_owned(), put: None, delete: None, ..keyspace() };
    let mut database = Database::new(DatabasePlace::Sqlite(path), &keyspace).unwrap();
    database.timeout = timeout;
    database
}

#[test]
fn a_statement_has_its_time_from_its_turn_on() {
    let scratch = Scratch::new("database-slow");
    let database = database(&scratch, Duration::from_millis(200));
    let done = Done::new().unwrap();
    let caller = database.connect(&done, &|| false).unwrap();
    // On one connection, those behind a slow one wait for longer than their own time.
    for (ticket, key) in (0..).zip(["slow", "slow", "quick"]) {
        let (statement, key, value) = (Statement::Get, key.into(), Vec::new());
        assert!(caller.call(Call { ticket, statement, key, value, by: None }));
    }
    let mut ended = Vec::new();
    wait_until(SOON, "the ends", || {
        ended.append(&mut done.take());
        ended.len() == 3
    });
    let [(0, Err(first)), (1, Err(second)), (2, Ok(Some(third)))] = &ended[..] else {
        panic!("{ended:?}")
    };
    for failure in [first, second] {
        assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
        assert!(failure.text.contains("no answer within 200ms"), "{failure:?}");
    }
    assert_eq!(third, b"1");
    // One that nobody waits for any more is not begun.
    let (statement, key, value) = (Statement::Get, b"quick".to_vec(), Vec::new());
    let by = Some(Micros::boottime());
    assert!(caller.call(Call { ticket: 7, statement, key, value, by }));
    let failure = end(&done).unwrap_err();
    assert!(failure.text.contains("its turn did not come"), "{failure:?}");
}

#[test]
fn a_locked_file_is_waited_for_and_not_for_long() {
    let scratch = Scratch::new("database-locked");
    let database = database(&scratch, Duration::from_millis(300));
    let done = Done::new().unwrap();
    let caller = database.connect(&done, &|| false).unwrap();
    let other = rusqlite::Connection::open(scratch.file("t.sqlite")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let failure = ask(&caller, &done, Statement::Get, "quick", b"").unwrap_err();
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
    assert!(failure.text.contains("locked for 300ms"), "{failure:?}");
    let error = database.connect(&done, &|| false).map(drop).unwrap_err().to_string();
    assert!(error.contains("t.sqlite") && error.contains("locked"), "{error}");
    let none = &mut |_: Option<&[u8]>| Ok(true);
    let error = database.keys("SELECT id FROM t", None, &Arc::default(), none).unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");

    // It comes free while a statement waits.
    let patient = Database { timeout: SOON, ..database };
    let freeing = spawn(move || {
        park_timeout(Duration::from_millis(200));
        other.execute_batch("COMMIT").unwrap();
    });
    let mut keys = Vec::new();
    let take = &mut |key: Option<&[u8]>| {
        keys.push(key.map(<[u8]>::to_vec));
        Ok(true)
    };
    patient.keys("SELECT 'a'", None, &Arc::default(), take).unwrap();
    assert_eq!(keys, [Some(b"a".to_vec())]);
    freeing.join().unwrap();
}

#[test]
fn what_is_under_way_ends_with_its_client() {
    let scratch = Scratch::new("database-dropped");
    let database = database(&scratch, Duration::from_secs(3_600));
    let done = Done::new().unwrap();
    let caller = database.connect(&done, &|| false).unwrap();
    let call = |ticket| {
        let (statement, key, value) = (Statement::Get, b"slow".to_vec(), Vec::new());
        Call { ticket, statement, key, value, by: None }
    };
    assert!(caller.call(call(1)) && caller.call(call(2)));
    drop(caller);
    // The thread was waited for, and has let go of what it had of this: its connection is closed.
    assert!(done.is_last());
    let ended = done.take();
    assert!(ended.iter().all(|(ticket, end)| *ticket == 1 && end.is_err()), "{ended:?}");
}

#[test]
fn a_statement_for_keys_is_interrupted_before_it_has_one() {
    let scratch = Scratch::new("database-keys");
    let database = database(&scratch, SOON);
    let (begun, has_begun) = mpsc::channel();
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_interrupted);
    let reading = spawn(move || {
        let take = &mut |_: Option<&[u8]>| {
            begun.send(()).unwrap();
            Ok(true)
        };
        // The second row does not come.
        database.keys(&format!("SELECT 'a' UNION ALL SELECT * FROM ({ENDLESS})"), None, &flag, take)
    });
    has_begun.recv_timeout(SOON).expect("the first row");
    // It may still look at the flag by itself; then this shows less.
    park_timeout(Duration::from_millis(100));
    is_interrupted.store(true, Ordering::Release);
    wait_until(SOON, "the end", || reading.is_finished());
    let ended = reading.join().unwrap();
    assert!(matches!(ended, Err(KeysError::Interrupted)), "{ended:?}");
}

#[test]
fn the_opening_of_a_locked_file_can_be_ended() {
    let scratch = Scratch::new("database-locked");
    let database = database(&scratch, Duration::from_secs(3_600));
    let DatabasePlace::Sqlite(path) = &database.place else { panic!("it is a file") };
    let owner = rusqlite::Connection::open(path).unwrap();
    owner.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let looks = std::sync::atomic::AtomicU64::new(0);
    let opening = spawn(move || {
        let done = Done::new().unwrap();
        // It waits for the lock by then.
        database.connect(&done, &|| looks.fetch_add(1, Ordering::Relaxed) >= 2).map(drop)
    });
    wait_until(SOON, "the end", || opening.is_finished());
    let ended = opening.join().unwrap();
    assert!(matches!(ended, Err(DatabaseError::Interrupted)), "{ended:?}");
}
