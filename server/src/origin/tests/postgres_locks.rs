//! PostgreSQL with locked tables: only statements that need the lock wait.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::session::Session;
use super::*;
use crate::origin::Health;
use standin_testkit::{Postgres, wait_until};

/// The keyspace of another table.
const OTHER: u8 = 2;
/// Writers of the locked table.
const WRITERS: usize = 60;
/// The longest usual time of a call. A call that waits for the lock takes at least 875 ms; a busy
/// machine delays the others.
const USUAL_MOST: Duration = Duration::from_millis(800);
const USUAL_MEDIAN: Duration = Duration::from_millis(100);

fn two_tables(timeout: Duration, postgres: &Postgres) -> Bench {
    let init =
        format!("{POSTGRES_KV}; CREATE TABLE IF NOT EXISTS other (k text PRIMARY KEY, v text)");
    let config = OriginConfig { timeout, ..postgres_config(&postgres.url(), &init) };
    Bench::start(&config, &[keyspace(KV, "kv"), keyspace(OTHER, "other")]).unwrap()
}

/// Runs calls one after another until told to stop, and checks that they take about as long as
/// usual. Other tests share the machine, so one in a hundred may be slow or overdue. If a lock
/// starved others, most would be.
fn goes_on(bench: &Bench, stop: &AtomicBool, call: impl Fn(&Bench) -> bool) {
    let (mut took, mut failed) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let begin = Micros::boottime();
        failed += usize::from(!call(bench));
        assert_eq!(bench.origin.health(), Health::Up);
        took.push(Micros::boottime().since(begin));
    }
    took.sort_unstable();
    let (calls, median) = (took.len(), took[took.len() / 2]);
    let slow = took.iter().filter(|took| **took >= USUAL_MOST).count();
    println!("{calls} calls, median {median:?}, {slow} slow, {failed} failed");
    assert!(median < USUAL_MEDIAN, "median {median:?}");
    assert!(slow.max(failed) * 100 <= calls, "of {calls} calls {slow} are slow, {failed} failed");
}

/// Locks the table, lets sixty clients write to it all the time, and makes other calls meanwhile.
fn under_lock(lock: &str, held: Duration, calls: &[fn(&Bench) -> bool]) {
    let Some(postgres) = Postgres::start_or_skip("locks") else { return };
    let bench = &two_tables(Duration::from_secs(1), &postgres);
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    assert_eq!(bench.run(OTHER, b"a", put("1")), ONE_ROW);
    let session = Session::open(&postgres);
    session.run(&format!("BEGIN; LOCK TABLE kv IN {lock} MODE"));
    let (stop, released) = (AtomicBool::new(false), AtomicBool::new(false));
    let (stop, released) = (&stop, &released);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match bench.put(&format!("w{writer}"), "v") {
                        ONE_ROW => assert!(released.load(Ordering::Relaxed)),
                        // Sent, and not answered in time.
                        Outcome::Failed(Failure::OutcomeUnknown) => {}
                        outcome => assert_unavailable(&outcome),
                    }
                }
            });
        }
        let others: Vec<_> =
            calls.iter().map(|call| scope.spawn(move || goes_on(bench, stop, call))).collect();
        let until = Micros::boottime() + held;
        wait_until(SOON, "the lock to be held for long", || Micros::boottime() >= until);
        stop.store(true, Ordering::Relaxed);
        released.store(true, Ordering::Relaxed);
        session.run("COMMIT");
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    wait_until(SOON, "writes to go on", || bench.put("a", "2") == ONE_ROW);
    assert_eq!(bench.get("a"), value("2"));
}

fn reads_the_table(bench: &Bench) -> bool {
    bench.get("a") == value("1")
}

fn reads_another(bench: &Bench) -> bool {
    bench.run(OTHER, b"a", Operation::Get) == value("1")
}

fn writes_another(bench: &Bench) -> bool {
    bench.run(OTHER, b"a", put("1")) == ONE_ROW
}

#[test]
fn writers_of_a_locked_table_hold_up_neither_its_reads_nor_other_tables() {
    let held = Duration::from_secs(4);
    under_lock("SHARE", held, &[reads_the_table, reads_another, writes_another]);
}

#[test]
fn a_table_that_cannot_be_read_holds_up_no_other() {
    let Some(postgres) = Postgres::start_or_skip("a_table_that_cannot_be_read") else { return };
    let bench = &two_tables(Duration::from_secs(1), &postgres);
    assert_eq!(bench.run(OTHER, b"a", put("1")), ONE_ROW);
    let session = Session::open(&postgres);
    session.run("BEGIN; LOCK TABLE kv IN ACCESS EXCLUSIVE MODE");
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(matches!(bench.get("a"), Outcome::Failed(_)));
                }
            });
        }
        let others: Vec<_> = [reads_another, writes_another]
            .into_iter()
            .map(|call| scope.spawn(move || goes_on(bench, stop, call)))
            .collect();
        let until = Micros::boottime() + Duration::from_secs(3);
        wait_until(SOON, "the lock to be held for long", || Micros::boottime() >= until);
        stop.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    session.run("COMMIT");
    wait_until(SOON, "reads to go on", || bench.get("a") == NOTHING);
}

/// The server reports the outcome of a write that waited for a lock, even if the write had waited
/// here for most of its time.
#[test]
fn a_write_that_waited_for_its_connection_still_has_a_definite_answer() {
    let Some(postgres) = Postgres::start_or_skip("a_definite_answer") else { return };
    let bench = two_tables(Duration::from_secs(2), &postgres);
    let session = Session::open(&postgres);
    session.run("BEGIN; LOCK TABLE kv IN SHARE MODE");
    let begin = Micros::boottime();
    let deadline = begin + Duration::from_millis(800);
    let write = bench.send_by(KV, b"a", put("1"), deadline).unwrap();
    assert_unavailable(&bench.wait(write));
    assert!(Micros::boottime() < deadline, "nobody but the server can know so early");
    session.run("COMMIT");
    assert_eq!(bench.get("a"), NOTHING);
}

#[test]
fn who_holds_the_lock_is_known_while_calls_wait_for_it() {
    let Some(postgres) = Postgres::start_or_skip("who_holds_the_lock") else { return };
    let bench = &two_tables(Duration::from_secs(1), &postgres);
    assert_eq!(bench.put("a", "1"), ONE_ROW);
    let holder = || bench.origin.state().lock_wait.map(|wait| wait.holder);
    let session = Session::open(&postgres);
    for (lock, call) in [
        ("LOCK TABLE kv IN ACCESS EXCLUSIVE MODE", get_a as fn(&Bench)),
        ("UPDATE kv SET v = 'x' WHERE k = 'a'", put_a),
    ] {
        assert_eq!(holder(), None);
        session.run(&format!("BEGIN; {lock}"));
        wait_until(SOON, "the holder to be known", || {
            call(bench);
            holder().is_some()
        });
        let text = holder().expect("it was there");
        assert!(text.starts_with("table kv, held by process "), "{text}");
        assert!(text.contains("idle in transaction"), "{text}");
        assert_eq!(bench.origin.health(), Health::Up);
        session.run("COMMIT");
        wait_until(SOON, "the wait to be over", || holder().is_none());
    }
}

fn get_a(bench: &Bench) {
    bench.get("a");
}

fn put_a(bench: &Bench) {
    bench.put("a", "2");
}

#[test]
fn a_row_that_is_locked_holds_up_no_other_row_of_its_table() {
    let Some(postgres) = Postgres::start_or_skip("a_row_that_is_locked") else { return };
    let bench = &two_tables(Duration::from_secs(2), &postgres);
    let session = Session::open(&postgres);
    assert_eq!(bench.put("locked", "1"), ONE_ROW);
    let stop = &AtomicBool::new(false);
    let (all, slow) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Many, so that connections have several at once.
        for writer in 0..WRITERS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let begin = Micros::boottime();
                    assert_eq!(bench.put(&format!("w{writer}"), "v"), ONE_ROW);
                    let is_slow = Micros::boottime().since(begin) >= USUAL_MOST;
                    slow.fetch_add(usize::from(is_slow), Ordering::Relaxed);
                    all.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        session.run("BEGIN; UPDATE kv SET v = 'x' WHERE k = 'locked'");
        for _ in 0..3 {
            match bench.put("locked", "2") {
                Outcome::Failed(Failure::OutcomeUnknown) => {}
                outcome => assert_unavailable(&outcome),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (all, slow) = (all.load(Ordering::Relaxed), slow.load(Ordering::Relaxed));
    assert!(slow * 20 <= all, "of {all} writes {slow} are slow");
    session.run("COMMIT");
    wait_until(SOON, "the row to be written", || bench.put("locked", "3") == ONE_ROW);
    assert_eq!(bench.get("locked"), value("3"));
}

/// A write that waits among many others is cancelled and sent once more.
#[test]
fn a_write_that_had_to_wait_is_executed_once() {
    let Some(postgres) = Postgres::start_or_skip("is_executed_once") else { return };
    let appends = "INSERT INTO kv (k, v) VALUES (:key, :value)
                   ON CONFLICT (k) DO UPDATE SET v = kv.v || excluded.v";
    let appending = KeyspaceConfig { put: Some(appends.to_owned()), ..keyspace(KV, "kv") };
    let timeout = Duration::from_secs(10);
    let config = OriginConfig { timeout, ..postgres_config(&postgres.url(), POSTGRES_KV) };
    let bench = &Bench::start(&config, &[appending]).unwrap();
    let session = Session::open(&postgres);
    assert_eq!(bench.put("locked", "0"), ONE_ROW);
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        // So that connections have several at once.
        for writer in 0..WRITERS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(bench.put(&format!("w{writer}"), "v"), ONE_ROW);
                }
            });
        }
        for round in 1..=5 {
            session.run("BEGIN; SELECT v FROM kv WHERE k = 'locked' FOR UPDATE");
            let write = bench.send(KV, b"locked", put(&round.to_string()));
            let until = Micros::boottime() + Duration::from_millis(400);
            wait_until(SOON, "the lock to be held for long", || Micros::boottime() >= until);
            session.run("COMMIT");
            assert_eq!(bench.wait(write), ONE_ROW, "round {round}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(bench.get("locked"), value("012345"));
}
