//! SQLite when the file is locked, missing, garbage or full: calls are answered in time, and
//! service resumes by itself.

use super::*;
use crate::origin::Health;
use standin_testkit::{Scratch, wait_until};

fn quick(path: &Path, init: &str) -> OriginConfig {
    OriginConfig { timeout: Duration::from_millis(200), ..sqlite_config(path, init) }
}

fn is_down(bench: &Bench) -> bool {
    matches!(bench.origin.health(), Health::Down { .. })
}

#[test]
fn a_locked_file_fails_writes_in_time_and_reads_go_on() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let bench = Bench::start(&quick(&file, SQLITE_KV), &kv()).unwrap();
    wait_until(SOON, "a first write", || bench.put("a", "1") == ONE_ROW);
    let lock = rusqlite::Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begin = Micros::boottime();
    let writes: Vec<u64> =
        (0..20).map(|n| bench.send(KV, format!("w{n}").as_bytes(), put("2"))).collect();
    assert_eq!(bench.get("a"), value("1"));
    for write in writes {
        assert_unavailable(&bench.wait(write));
    }
    let took = Micros::boottime().since(begin);
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(2), "{took:?}");
    lock.execute_batch("COMMIT").unwrap();
    wait_until(SOON, "writes to succeed again", || bench.put("a", "3") == ONE_ROW);
    // They were certainly refused: none of them happened later.
    for n in 0..20 {
        assert_eq!(bench.get(&format!("w{n}")), NOTHING);
    }
}

#[test]
fn a_file_that_is_locked_for_long_serves_reads_as_usual() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let init =
        format!("{SQLITE_KV}; CREATE TABLE IF NOT EXISTS other (k TEXT PRIMARY KEY, v TEXT)");
    let keyspaces = [keyspace(KV, "kv"), keyspace(2, "other")];
    let bench = &Bench::start(&quick(&file, &init), &keyspaces).unwrap();
    wait_until(SOON, "a first write", || bench.put("a", "1") == ONE_ROW);
    wait_until(SOON, "a first write", || bench.run(2, b"a", put("1")) == ONE_ROW);
    let lock = rusqlite::Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let until = Micros::boottime() + Duration::from_millis(1_500);
    std::thread::scope(|scope| {
        for writer in 0..40 {
            scope.spawn(move || {
                while Micros::boottime() < until {
                    assert_unavailable(&bench.put(&format!("w{writer}"), "v"));
                }
            });
        }
        let mut took = Vec::new();
        while Micros::boottime() < until {
            let begin = Micros::boottime();
            assert_eq!(bench.get("a"), value("1"));
            assert_eq!(bench.run(2, b"a", Operation::Get), value("1"));
            took.push(Micros::boottime().since(begin));
            assert!(!is_down(bench));
        }
        took.sort_unstable();
        let median = took[took.len() / 2];
        assert!(median < Duration::from_millis(50), "{median:?} of {}", took.len());
    });
    lock.execute_batch("COMMIT").unwrap();
    wait_until(SOON, "writes to succeed again", || bench.put("a", "2") == ONE_ROW);
}

#[test]
fn slow_reads_of_one_keyspace_hold_up_no_other() {
    let scratch = Scratch::new("origin");
    let mut keyspaces = kv();
    keyspaces
        .push(KeyspaceConfig { get: format!("{ENDLESS} WHERE :key = :key"), ..keyspace(2, "kv") });
    let config = OriginConfig {
        timeout: Duration::from_secs(3),
        ..sqlite_config(&scratch.file("db"), SQLITE_KV)
    };
    let bench = Bench::start(&config, &keyspaces).unwrap();
    let slow: Vec<u64> = (0..50).map(|_| bench.send(2, b"k", Operation::Get)).collect();
    let begin = Micros::boottime();
    for _ in 0..20 {
        assert_eq!(bench.get("a"), NOTHING);
    }
    let took = Micros::boottime().since(begin);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(bench.stray_answers(), 0, "a slow read was over, and proves nothing");
    for token in slow {
        assert_eq!(bench.wait(token), Outcome::Failed(Failure::Timeout));
    }
}

/// All keyspaces share one writer and one lock, but not one keyspace's queue.
#[test]
fn slow_writes_of_one_keyspace_hold_up_another_for_one_of_them() {
    let scratch = Scratch::new("origin");
    let mut keyspaces = kv();
    let count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT max(i) FROM n";
    let slow = format!("INSERT INTO kv SELECT :key, ({count})");
    keyspaces.push(KeyspaceConfig { put: Some(slow), ..keyspace(2, "kv") });
    let config = OriginConfig {
        timeout: Duration::from_secs(60),
        ..sqlite_config(&scratch.file("db"), SQLITE_KV)
    };
    let bench = Bench::start(&config, &keyspaces).unwrap();
    let slow: Vec<u64> =
        (0..200).map(|n| bench.send(2, format!("s{n}").as_bytes(), put("0"))).collect();
    for n in 0..3 {
        assert_eq!(bench.put(&format!("k{n}"), "v"), ONE_ROW);
    }
    let over = bench.stray_answers();
    assert!(over < 150, "{over} of 200 slow writes went before three of another keyspace");
    for token in slow {
        assert_eq!(bench.wait(token), ONE_ROW);
    }
}

#[test]
fn a_deadline_shorter_than_the_timeout_is_kept() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let bench = Bench::start(&sqlite_config(&file, SQLITE_KV), &kv()).unwrap();
    let lock = rusqlite::Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begin = Micros::boottime();
    let deadline = begin + Duration::from_millis(50);
    let write = bench.send_by(KV, b"k", put("v"), deadline).unwrap();
    assert_unavailable(&bench.wait(write));
    let took = Micros::boottime().since(begin);
    assert!(took >= Duration::from_millis(50) && took < Duration::from_secs(2), "{took:?}");
}

/// A statement that computes for minutes.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)
                       SELECT max(i) FROM n";

#[test]
fn a_read_that_takes_too_long_is_interrupted_and_frees_its_thread() {
    let scratch = Scratch::new("origin");
    let mut keyspaces = kv();
    keyspaces
        .push(KeyspaceConfig { get: format!("{ENDLESS} WHERE :key = :key"), ..keyspace(2, "kv") });
    let bench = Bench::start(&quick(&scratch.file("db"), SQLITE_KV), &keyspaces).unwrap();
    let slow: Vec<u64> = (0..4).map(|_| bench.send(2, b"k", Operation::Get)).collect();
    for token in slow {
        assert_eq!(bench.wait(token), Outcome::Failed(Failure::Timeout));
    }
    wait_until(SOON, "the reader threads to be free", || bench.get("a") == NOTHING);
}

#[test]
fn a_write_that_takes_too_long_is_undone_and_does_not_fail_the_others() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let mut keyspaces = kv();
    let endless = format!("INSERT INTO kv SELECT :key, ({ENDLESS})");
    keyspaces.push(KeyspaceConfig { put: Some(endless), ..keyspace(2, "kv") });
    let config =
        OriginConfig { timeout: Duration::from_secs(2), ..sqlite_config(&file, SQLITE_KV) };
    let bench = Bench::start(&config, &keyspaces).unwrap();
    let lock = rusqlite::Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = bench.send(KV, b"a", put("1"));
    let before = bench.send(KV, b"b", put("2"));
    let deadline = Micros::boottime() + Duration::from_millis(300);
    let slow = bench.send_by(2, b"slow", put("0"), deadline).unwrap();
    let after = bench.send(KV, b"c", put("3"));
    lock.execute_batch("COMMIT").unwrap();
    // The overdue thread may answer first, and can't know that the write will be undone.
    let outcome = bench.wait(slow);
    if outcome != Outcome::Failed(Failure::OutcomeUnknown) {
        assert_unavailable(&outcome);
    }
    for token in [first, before, after] {
        assert_eq!(bench.wait(token), ONE_ROW);
    }
    assert_eq!(bench.get("slow"), NOTHING);
    assert_eq!(bench.get("c"), value("3"));
}

#[test]
fn a_deleted_file_is_noticed_and_not_written_to() {
    let scratch = Scratch::new("origin");
    let (file, away) = (scratch.file("db"), scratch.file("away"));
    let bench = Bench::start(&quick(&file, SQLITE_KV), &kv()).unwrap();
    wait_until(SOON, "a first write", || bench.put("a", "1") == ONE_ROW);
    std::fs::rename(&file, &away).unwrap();
    assert_unavailable(&bench.put("a", "2"));
    wait_until(SOON, "reads to fail", || matches!(bench.get("a"), Outcome::Failed(_)));
    assert!(is_down(&bench));
    assert!(!file.exists(), "an empty database was made in its place");
    std::fs::rename(&away, &file).unwrap();
    // There is no call, so only the health can show it.
    wait_until(SOON, "the origin to be up again", || !is_down(&bench));
    assert_eq!(bench.get_once_open("a"), value("1"));
    // On a busy machine a write may take longer than the time that it has here.
    wait_until(SOON, "a write", || bench.put("a", "3") == ONE_ROW);
    assert_eq!(bench.get_once_open("a"), value("3"));
}

#[test]
fn a_replaced_file_is_noticed() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let bench = Bench::start(&quick(&file, SQLITE_KV), &kv()).unwrap();
    assert_eq!(bench.put("a", "old"), ONE_ROW);
    let restored = scratch.file("restored");
    let copy = rusqlite::Connection::open(&restored).unwrap();
    copy.execute_batch(&format!("{SQLITE_KV}; INSERT INTO kv VALUES ('a', 'new')")).unwrap();
    drop(copy);
    // SQLite would use the old file's log for the new file.
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(scratch.file(&format!("db{suffix}")));
    }
    std::fs::rename(&restored, &file).unwrap();
    wait_until(SOON, "the new file to be read", || bench.get("a") == value("new"));
    wait_until(SOON, "a write", || bench.put("b", "1") == ONE_ROW);
    let direct = rusqlite::Connection::open(&file).unwrap();
    let rows: u32 = direct.query_row("SELECT count(*) FROM kv", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn a_file_that_is_no_database_is_unavailable_until_it_is_one() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    std::fs::write(&file, "this is not a database, and it is longer than a header ".repeat(50))
        .unwrap();
    let bench = Bench::start(&quick(&file, SQLITE_KV), &kv()).unwrap();
    assert!(is_down(&bench));
    assert_unavailable(&bench.get("a"));
    assert_unavailable(&bench.put("a", "1"));
    std::fs::remove_file(&file).unwrap();
    // The start could not run `init`, so it is run now.
    wait_until(SOON, "the file to be made", || bench.put("a", "1") == ONE_ROW);
    wait_until(SOON, "reads", || bench.get("a") == value("1"));
}

#[test]
fn a_directory_that_comes_later() {
    let scratch = Scratch::new("origin");
    let directory = scratch.file("later");
    let bench = Bench::start(&quick(&directory.join("db"), SQLITE_KV), &kv()).unwrap();
    assert!(is_down(&bench));
    assert_unavailable(&bench.get("a"));
    std::fs::create_dir(&directory).unwrap();
    wait_until(SOON, "the origin to be up", || !is_down(&bench) && bench.put("a", "1") == ONE_ROW);
}

#[test]
fn a_dropped_table_is_a_rejection_until_it_is_back() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let bench = Bench::start(&quick(&file, SQLITE_KV), &kv()).unwrap();
    wait_until(SOON, "a first write", || bench.put("a", "1") == ONE_ROW);
    let direct = rusqlite::Connection::open(&file).unwrap();
    direct.busy_timeout(SOON).unwrap();
    direct.execute_batch("ALTER TABLE kv RENAME TO away").unwrap();
    assert_rejected(&bench.get("a"), "no such table");
    assert_rejected(&bench.put("a", "2"), "no such table");
    assert!(!is_down(&bench));
    direct.execute_batch("ALTER TABLE away RENAME TO kv").unwrap();
    assert_eq!(bench.get("a"), value("1"));
    assert_eq!(bench.put("a", "2"), ONE_ROW);
}

#[test]
fn a_full_database_refuses_writes_and_serves_reads() {
    let scratch = Scratch::new("origin");
    // A limit of the writer's connection, which is the one that runs `init`.
    let init = format!("{SQLITE_KV}; PRAGMA max_page_count = 12");
    let bench = Bench::start(&quick(&scratch.file("db"), &init), &kv()).unwrap();
    let big = "x".repeat(8_000);
    let mut written = 0;
    while bench.put(&format!("k{written}"), &big) == ONE_ROW {
        written += 1;
        assert!(written < 12, "the limit is not in force");
    }
    assert!(matches!(
        bench.put("another", &big),
        Outcome::Failed(Failure::Refused(text)) if text.contains("full")
    ));
    for n in 0..written {
        assert_eq!(bench.get(&format!("k{n}")), value(&big));
    }
    assert_eq!(bench.get("another"), NOTHING);
    assert_eq!(bench.delete("k0"), Outcome::changed(1));
    assert_eq!(bench.put("another", &big), ONE_ROW);
}

#[test]
fn a_full_queue_gives_calls_back() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let config = OriginConfig { queue: 8, ..sqlite_config(&file, SQLITE_KV) };
    let bench = Bench::start(&config, &kv()).unwrap();
    let lock = rusqlite::Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut accepted = Vec::new();
    // The write that the writer has taken is no longer waiting.
    wait_until(SOON, "the queue to be full", || {
        match bench.try_send(KV, format!("k{}", accepted.len()).as_bytes(), put("v")) {
            Some(token) => accepted.push(token),
            None => return true,
        }
        false
    });
    assert!(accepted.len() >= 8);
    lock.execute_batch("COMMIT").unwrap();
    for token in accepted {
        assert_eq!(bench.wait(token), ONE_ROW);
    }
    // The call that was given back has no answer.
    assert_eq!(bench.stray_answers(), 0);
    assert_eq!(bench.put("k", "v"), ONE_ROW);
}

#[test]
fn a_shutdown_during_a_lock_answers_everything_in_time() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let bench = Bench::start(&quick(&file, SQLITE_KV), &kv()).unwrap();
    let lock = rusqlite::Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for n in 0..500 {
        let _ = bench.send(KV, format!("k{n}").as_bytes(), put("v"));
    }
    let begin = Micros::boottime();
    bench.origin.clone().shutdown();
    assert!(Micros::boottime().since(begin) < Duration::from_secs(3));
    assert_eq!(bench.stray_answers(), 500);
}
