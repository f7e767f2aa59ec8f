//! SQLite when its files are deleted, replaced or truncated while they are open: acknowledged
//! writes are not lost.

use super::*;
use crate::origin::Health;
use standin_testkit::{Scratch, wait_until};

/// Writes numbered keys until told to stop, and remembers which were acknowledged.
struct Written<'b> {
    bench: &'b Bench,
    acknowledged: Vec<String>,
    in_doubt: usize,
    next: usize,
}

impl<'b> Written<'b> {
    fn new(bench: &'b Bench) -> Self {
        Self { bench, acknowledged: Vec::new(), in_doubt: 0, next: 0 }
    }

    fn write(&mut self) -> Outcome {
        let key = format!("k{}", self.next);
        self.next += 1;
        let outcome = self.bench.put(&key, "v");
        match &outcome {
            &ONE_ROW => self.acknowledged.push(key),
            Outcome::Failed(failure) => self.in_doubt += usize::from(failure.is_in_doubt()),
            other => panic!("{other:?}"),
        }
        outcome
    }

    /// Asserts that acknowledged writes are visible through Standin and to another client that
    /// opens the file.
    fn assert_kept(&self, file: &Path) {
        for key in &self.acknowledged {
            assert_eq!(self.bench.get_once_open(key), value("v"), "{key} was acknowledged");
        }
        let direct = rusqlite::Connection::open(file).unwrap();
        direct.busy_timeout(SOON).unwrap();
        for key in &self.acknowledged {
            let sql = "SELECT v FROM kv WHERE k = ?1";
            let found: String = direct.query_row(sql, [key], |row| row.get(0)).unwrap();
            assert_eq!(found, "v", "{key} was acknowledged");
        }
        let check: String =
            direct.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

fn config(file: &Path) -> OriginConfig {
    OriginConfig { concurrency: 4, ..sqlite_config(file, SQLITE_KV) }
}

fn delete(file: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        std::fs::remove_file(format!("{}{suffix}", file.display())).unwrap();
    }
}

#[test]
fn a_log_that_is_deleted_loses_nothing_that_was_acknowledged() {
    for suffixes in [&["-wal", "-shm"][..], &["-wal"], &["-shm"]] {
        let scratch = Scratch::new("origin");
        let file = scratch.file("db");
        let bench = Bench::start(&config(&file), &kv()).unwrap();
        let mut written = Written::new(&bench);
        for _ in 0..20 {
            assert_eq!(written.write(), ONE_ROW);
        }
        // Every reader has it open.
        let reads: Vec<u64> = (0..50).map(|_| bench.send(KV, b"k0", Operation::Get)).collect();
        reads.into_iter().for_each(|read| assert_eq!(bench.wait(read), value("v")));
        delete(&file, suffixes);
        for _ in 0..3 {
            written.write();
        }
        wait_until(SOON, "writes to go on", || written.write() == ONE_ROW);
        written.assert_kept(&file);
        drop(written);
        bench.origin.clone().shutdown();
    }
}

/// The files are deleted in the middle of writes and reads, again and again.
#[test]
fn a_log_that_is_deleted_under_load_loses_nothing_that_was_acknowledged() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let bench = Bench::start(&config(&file), &kv()).unwrap();
    // All threads have opened it. Had it been deleted while it was opened for the first time, there
    // would be nothing to save.
    let reads: Vec<u64> = (0..50).map(|_| bench.send(KV, b"k0", Operation::Get)).collect();
    reads.into_iter().for_each(|read| assert_eq!(bench.wait(read), NOTHING));
    let stop = &std::sync::atomic::AtomicBool::new(false);
    let count = &std::sync::atomic::AtomicUsize::new(0);
    let written = std::thread::scope(|scope| {
        let (bench, path) = (&bench, &file);
        for _ in 0..3 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let outcome = bench.get("k0");
                    assert!(matches!(outcome, Outcome::Value(_) | Outcome::Failed(_)));
                }
            });
        }
        let deleter = scope.spawn(move || {
            for _ in 0..10 {
                let log = std::path::PathBuf::from(format!("{}-wal", path.display()));
                wait_until(SOON, "a log", || log.exists());
                for suffix in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                }
                let enough = count.load(Ordering::Relaxed) + 5;
                wait_until(SOON, "some writes", || count.load(Ordering::Relaxed) >= enough);
            }
        });
        let mut written = Written::new(bench);
        while !deleter.is_finished() {
            written.write();
            count.store(written.acknowledged.len(), Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        deleter.join().unwrap();
        wait_until(SOON, "writes to go on", || written.write() == ONE_ROW);
        written
    });
    assert!(written.acknowledged.len() > 20);
    written.assert_kept(&file);
}

/// Another server of the cluster has the same file open, and notices later.
#[test]
fn a_log_that_is_deleted_loses_nothing_of_two_servers() {
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let config = config(&file);
    let benches = [(); 2].map(|()| Bench::start(&config, &kv()).unwrap());
    let [mut one, mut other] = [0, 1].map(|index| Written::new(&benches[index]));
    (one.next, other.next) = (0, 1_000);
    for _ in 0..10 {
        assert_eq!(one.write(), ONE_ROW);
        assert_eq!(other.write(), ONE_ROW);
    }
    delete(&file, &["-wal", "-shm"]);
    for written in [&mut one, &mut other] {
        wait_until(SOON, "writes to go on", || written.write() == ONE_ROW);
    }
    one.assert_kept(&file);
    other.assert_kept(&file);
}

#[test]
fn a_main_file_that_is_cut_off_is_not_written_to_and_not_made_anew() {
    let scratch = Scratch::new("origin");
    let (file, copy) = (scratch.file("db"), scratch.file("copy"));
    let bench = Bench::start(&config(&file), &kv()).unwrap();
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    let direct = rusqlite::Connection::open(&file).unwrap();
    direct.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    direct.execute_batch(&format!("VACUUM INTO '{}'", copy.display())).unwrap();
    drop(direct);
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    let outcome = bench.put("b", "2");
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    wait_until(SOON, "it to be known", || {
        bench
            .origin
            .outage()
            .is_some_and(|reason| reason.contains("is empty, although it was not before"))
    });
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0, "it was made anew");
    delete(&file, &["-wal", "-shm"]);
    std::fs::copy(&copy, &file).unwrap();
    wait_until(SOON, "the restored file", || bench.origin.health() == Health::Up);
    assert_eq!(bench.get_once_open("a"), value("1"));
    wait_until(SOON, "a write", || bench.put("b", "2") == ONE_ROW);
}

#[test]
fn a_file_that_was_replaced_without_its_log_is_not_opened_with_the_old_ones() {
    let scratch = Scratch::new("origin");
    let (file, restored) = (scratch.file("db"), scratch.file("restored"));
    let bench = Bench::start(&config(&file), &kv()).unwrap();
    for n in 0..50 {
        assert_eq!(bench.put(&format!("old{n}"), "old"), ONE_ROW);
    }
    let copy = rusqlite::Connection::open(&restored).unwrap();
    copy.execute_batch(&format!("{SQLITE_KV}; INSERT INTO kv VALUES ('a', 'new')")).unwrap();
    drop(copy);
    std::fs::rename(&restored, &file).unwrap();
    let outcome = bench.put("b", "1");
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    wait_until(SOON, "it to be known", || {
        bench
            .origin
            .outage()
            .is_some_and(|reason| reason.contains("delete the -wal and -shm files"))
    });
    delete(&file, &["-wal", "-shm"]);
    wait_until(SOON, "the new file", || bench.origin.health() == Health::Up);
    assert_eq!(bench.get_once_open("a"), value("new"));
    assert_eq!(bench.get_once_open("old1"), NOTHING);
    wait_until(SOON, "a write", || bench.put("b", "1") == ONE_ROW);
}

#[test]
fn a_folder_that_is_moved_away_and_back_loses_nothing() {
    let scratch = Scratch::new("origin");
    let (folder, away) = (scratch.file("folder"), scratch.file("away"));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("db");
    let bench = Bench::start(&config(&file), &kv()).unwrap();
    let mut written = Written::new(&bench);
    for _ in 0..20 {
        assert_eq!(written.write(), ONE_ROW);
    }
    std::fs::rename(&folder, &away).unwrap();
    assert!(matches!(written.write(), Outcome::Failed(_)));
    std::fs::rename(&away, &folder).unwrap();
    wait_until(SOON, "writes to go on", || written.write() == ONE_ROW);
    written.assert_kept(&file);
}
