//! Checker, workload and recorder together, from several threads, against caches of which it
//! is known how they behave: a correct one is never accused, and one that keeps an old copy
//! for after its failover is caught.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use standin_loadgen::checker::{Checker, Initial, Seen, Verdict, WriteKind};
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::{Counts, Displaced, Ending, OpKind, Recorder, Recording, Sample};
use standin_loadgen::request::{Access, ValueSizes};
use standin_loadgen::schedule::{Arrivals, Schedule};
use standin_loadgen::workload::{Cold, Mix, Others, Supply};
use standin_protocol::frame::response_flags::HIT;
use standin_protocol::time::Micros;

const RUN: u32 = 9;
const WORKERS: u32 = 4;
const REQUESTS: usize = 20_000;
const MIX: Mix = Mix {
    keys: 200,
    popularity: Popularity::ranked(0.99),
    reads_percent: 80.0,
    reads_first: false,
    others: Others::NONE,
    sizes: ValueSizes::between(32, 64),
    cold: Cold { keys: 0, percent: 0.0 },
};

/// A store of two copies. Reads come from the second one while `use_second` says so.
struct Store {
    copies: [Mutex<HashMap<u32, Vec<u8>>>; 2],
    reads: AtomicU64,
    /// Whether writes reach both copies, or, as in caches that eject a node, only the one in use.
    is_correct: bool,
}

impl Store {
    fn new(is_correct: bool) -> Self {
        let filled =
            || (0..MIX.keys).map(|key| (key, Checker::first_value(RUN, key, 40))).collect();
        let copies = [Mutex::new(filled()), Mutex::new(filled())];
        Self { copies, reads: AtomicU64::new(0), is_correct }
    }

    /// The copy in use changes every few thousand requests, as if nodes failed and returned.
    fn current(&self) -> usize {
        usize::from(self.reads.fetch_add(1, Ordering::Relaxed) / 5_000 % 2 == 1)
    }

    fn get(&self, key: u32) -> Option<Vec<u8>> {
        self.copies[self.current()].lock().unwrap().get(&key).cloned()
    }

    fn put(&self, key: u32, value: &[u8]) {
        if !self.is_correct {
            self.copies[self.current()].lock().unwrap().insert(key, value.to_vec());
            return;
        }
        let mut first = self.copies[0].lock().unwrap();
        let mut second = self.copies[1].lock().unwrap();
        first.insert(key, value.to_vec());
        second.insert(key, value.to_vec());
    }
}

fn work(worker: u32, start: Micros, store: &Store, checker: &Checker) -> Recording {
    let mut recorder = Recorder::new(start, 1, Duration::from_millis(100));
    let schedule = Schedule::new(Arrivals::Poisson, 1_000_000, worker, WORKERS, 5);
    let supply = Supply::mixed(MIX, 5, worker, WORKERS);
    for (offset, wanted) in schedule.zip(supply).take(REQUESTS) {
        let key = wanted.key;
        let sent = Micros::boottime();
        let write = match wanted.access {
            Access::Write { .. } => checker.begin_write(key, WriteKind::Put, sent),
            _ => None,
        };
        let (op, verdict) = match write {
            Some(write) => {
                store.put(key, &checker.value(&write, 40));
                checker.end_write(write, Micros::boottime(), true);
                (OpKind::Write, None)
            }
            None => {
                let floor = checker.before_read(key, sent);
                let value = store.get(key);
                let seen = value.as_deref().map_or(Seen::Absent, Seen::Value);
                (OpKind::Read, Some(checker.after_read(key, floor, seen)))
            }
        };
        let ending = Ending::Answered { flags: HIT, is_absent: false, verdict };
        let (due, ended) = ((start + offset).min(sent), Micros::boottime());
        recorder.record(
            0,
            &Sample {
                is_fill: false,
                is_scheduled: true,
                op,
                phase: 0,
                due,
                sent,
                ended,
                sends: 1,
                displaced: Displaced::default(),
                ending,
            },
        );
    }
    recorder.finish()
}

fn run(store: &Store) -> Counts {
    let checker = Checker::new(MIX.keys, RUN, Initial::Filled);
    let start = Micros::boottime();
    let recordings: Vec<Recording> = std::thread::scope(|scope| {
        let checker = &checker;
        let threads: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || work(worker, start, store, checker)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut parts = recordings.into_iter();
    let mut whole = parts.next().unwrap();
    parts.for_each(|part| whole.merge(part));
    let counts = whole.counts();
    assert_eq!(counts.requests, u64::from(WORKERS) * REQUESTS as u64);
    assert_eq!(whole.latency().len(), counts.requests);
    let in_timeline: u64 = whole.timeline().iter().map(|point| point.requests).sum();
    assert_eq!(in_timeline, counts.requests);
    counts
}

#[test]
fn a_correct_store_is_never_accused() {
    let counts = run(&Store::new(true));
    assert_eq!((counts.stale, counts.wrong, counts.failed), (0, 0, 0));
    assert!(counts.checked > 40_000, "{}", counts.checked);
}

#[test]
fn a_copy_that_missed_writes_is_caught() {
    let counts = run(&Store::new(false));
    assert!(counts.stale > 1_000, "only {} of {} reads", counts.stale, counts.checked);
    assert_eq!(counts.wrong, 0);
}

#[test]
fn a_value_under_the_wrong_key_is_caught() {
    let checker = Checker::new(2, RUN, Initial::Filled);
    let floor = checker.before_read(0, Micros::boottime());
    let other = Checker::first_value(RUN, 1, 40);
    assert!(matches!(checker.after_read(0, floor, Seen::Value(&other)), Verdict::Wrong(_)));
}
