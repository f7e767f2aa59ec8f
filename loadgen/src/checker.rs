//! Judges what reads return: fresh, stale or wrong.
//!
//! Every value carries the number of its write ([`crate::value`]). A read is *stale* if its
//! number is lower than that of a write of the key that was acknowledged before the read
//! was sent; it is *wrong* if nobody can have written it under this key. A write that failed
//! or whose outcome is unknown may take effect at any later time, so its value is never
//! stale. One write of a key is under way at a time: numbers and effects have one order.
//!
//! Shared by all workers. The paths that every request takes are a few atomic operations;
//! a lock is taken only after a write has failed, and for a read that looks stale.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::value::{BadValue, Stamp};

/// What the database holds before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// Every key, in a value with sequence 0.
    Filled,
    /// No key.
    Empty,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// A new value.
    Put,
    /// The row goes.
    Delete,
}

/// A write under way; give it back to [`Checker::end_write`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "until the write is ended, the key can't be written again"]
pub struct Write {
    /// Index of the key.
    pub key: u32,
    /// Its number.
    pub sequence: u32,
    kind: WriteKind,
}

/// The highest write of a key that was acknowledged before a read was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor(u32);

/// What a read returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A value.
    Value(&'a [u8]),
    /// No such row.
    Absent,
}

/// What a read is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As new as it must be.
    Fresh,
    /// Older than an acknowledged write, but of a write that failed or whose outcome is
    /// unknown, and which may have taken effect late.
    Late,
    /// Older than an acknowledged write.
    Stale {
        /// How many writes older; for an absent row all of them.
        behind: u32,
    },
    /// Nobody can have written this here.
    Wrong(Wrong),
}

/// Why a value is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not a value of the load generator.
    NotOurs,
    /// Its checksum or length does not fit.
    Damaged,
    /// Of another run, which wrote the same database.
    OtherRun,
    /// Of another key.
    OtherKey,
    /// With a number that no write has had.
    NeverWritten,
}

#[derive(Debug, Default)]
struct Slot {
    /// Highest number given to a write.
    issued: AtomicU32,
    /// Highest number acknowledged.
    acknowledged: AtomicU32,
    /// Highest number given to a delete.
    deleted: AtomicU32,
    is_busy: AtomicBool,
}

/// Writes without an acknowledgement, by key.
type Unsettled = HashMap<u32, Vec<(u32, WriteKind)>>;

/// See the head of the file.
#[derive(Debug)]
pub struct Checker {
    run: u32,
    initial: Initial,
    slots: Box<[Slot]>,
    unsettled: Mutex<Unsettled>,
}

impl Checker {
    /// A checker for keys `0..keys`, written by run `run`.
    #[must_use]
    pub fn new(keys: u32, run: u32, initial: Initial) -> Self {
        let slots = (0..keys).map(|_| Slot::default()).collect();
        Self { run, initial, slots, unsettled: Mutex::default() }
    }

    /// The value that is in the database before the first write.
    #[must_use]
    pub fn first_value(run: u32, key: u32, value_bytes: u32) -> Vec<u8> {
        Stamp { run, key, sequence: 0 }.to_value(value_bytes)
    }

    /// Begins a write; `None` while another one of the key is under way.
    ///
    /// # Panics
    /// If there is no such key.
    pub fn begin_write(&self, key: u32, kind: WriteKind) -> Option<Write> {
        let slot = &self.slots[key as usize];
        if slot.is_busy.swap(true, Ordering::Acquire) {
            return None;
        }
        let sequence = slot.issued.load(Ordering::Relaxed) + 1;
        slot.issued.store(sequence, Ordering::Release);
        if kind == WriteKind::Delete {
            slot.deleted.store(sequence, Ordering::Release);
        }
        Some(Write { key, sequence, kind })
    }

    /// The value that a write carries.
    #[must_use]
    pub fn value(&self, write: &Write, value_bytes: u32) -> Vec<u8> {
        let Write { key, sequence, .. } = *write;
        Stamp { run: self.run, key, sequence }.to_value(value_bytes)
    }

    /// Ends a write. If it is not acknowledged, it may take effect at any time, or never.
    pub fn end_write(&self, write: Write, is_acknowledged: bool) {
        let slot = &self.slots[write.key as usize];
        if is_acknowledged {
            slot.acknowledged.store(write.sequence, Ordering::Release);
        } else {
            self.unsettled().entry(write.key).or_default().push((write.sequence, write.kind));
        }
        slot.is_busy.store(false, Ordering::Release);
    }

    /// Call it right before a read is sent.
    #[must_use]
    pub fn before_read(&self, key: u32) -> Floor {
        Floor(self.slots[key as usize].acknowledged.load(Ordering::Acquire))
    }

    /// Judges what a read has returned.
    #[must_use]
    pub fn after_read(&self, key: u32, floor: Floor, seen: Seen<'_>) -> Verdict {
        match seen {
            Seen::Value(bytes) => self.judge_value(key, floor, bytes),
            Seen::Absent => self.judge_absence(key, floor),
        }
    }

    fn judge_value(&self, key: u32, Floor(floor): Floor, bytes: &[u8]) -> Verdict {
        let stamp = match Stamp::of(bytes) {
            Ok(stamp) => stamp,
            Err(BadValue::NotOurs) => return Verdict::Wrong(Wrong::NotOurs),
            Err(BadValue::Damaged) => return Verdict::Wrong(Wrong::Damaged),
        };
        let sequence = stamp.sequence;
        if stamp.run != self.run {
            return Verdict::Wrong(Wrong::OtherRun);
        }
        if stamp.key != key {
            return Verdict::Wrong(Wrong::OtherKey);
        }
        let issued = self.slots[key as usize].issued.load(Ordering::Acquire);
        if sequence > issued || (sequence == 0 && self.initial == Initial::Empty) {
            return Verdict::Wrong(Wrong::NeverWritten);
        }
        if sequence >= floor {
            return Verdict::Fresh;
        }
        if self.is_unsettled(key, |number, kind| number == sequence && kind == WriteKind::Put) {
            return Verdict::Late;
        }
        Verdict::Stale { behind: floor - sequence }
    }

    fn judge_absence(&self, key: u32, Floor(floor): Floor) -> Verdict {
        let deleted = self.slots[key as usize].deleted.load(Ordering::Acquire);
        let was_deleted = deleted > 0 && deleted >= floor;
        if was_deleted || (floor == 0 && self.initial == Initial::Empty) {
            return Verdict::Fresh;
        }
        if self.is_unsettled(key, |_, kind| kind == WriteKind::Delete) {
            return Verdict::Late;
        }
        Verdict::Stale { behind: floor.max(1) }
    }

    fn is_unsettled(&self, key: u32, is_meant: impl Fn(u32, WriteKind) -> bool) -> bool {
        let unsettled = self.unsettled();
        unsettled.get(&key).is_some_and(|writes| writes.iter().any(|w| is_meant(w.0, w.1)))
    }

    fn unsettled(&self) -> MutexGuard<'_, Unsettled> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: u32 = 77;

    fn filled() -> Checker {
        Checker::new(4, RUN, Initial::Filled)
    }

    fn put(checker: &Checker, key: u32, is_acknowledged: bool) -> Vec<u8> {
        let write = checker.begin_write(key, WriteKind::Put).unwrap();
        let value = checker.value(&write, 50);
        checker.end_write(write, is_acknowledged);
        value
    }

    fn read(checker: &Checker, key: u32, value: &[u8]) -> Verdict {
        checker.after_read(key, checker.before_read(key), Seen::Value(value))
    }

    #[test]
    fn an_old_value_is_stale_once_a_newer_one_is_acknowledged() {
        let checker = filled();
        let old = Checker::first_value(RUN, 2, 50);
        assert_eq!(read(&checker, 2, &old), Verdict::Fresh);
        let before = checker.before_read(2);
        let new = put(&checker, 2, true);
        assert_eq!(read(&checker, 2, &new), Verdict::Fresh);
        assert_eq!(read(&checker, 2, &old), Verdict::Stale { behind: 1 });
        let sent_before = checker.after_read(2, before, Seen::Value(&old));
        assert_eq!(sent_before, Verdict::Fresh, "it was sent before the acknowledgement");
    }

    #[test]
    fn a_write_under_way_may_be_seen_and_need_not() {
        let checker = filled();
        let write = checker.begin_write(0, WriteKind::Put).unwrap();
        let value = checker.value(&write, 50);
        assert_eq!(checker.begin_write(0, WriteKind::Put), None, "one at a time");
        assert_eq!(read(&checker, 0, &value), Verdict::Fresh);
        assert_eq!(read(&checker, 0, &Checker::first_value(RUN, 0, 50)), Verdict::Fresh);
        checker.end_write(write, true);
        assert!(checker.begin_write(0, WriteKind::Put).is_some());
    }

    #[test]
    fn a_failed_write_may_take_effect_late() {
        let checker = filled();
        let lost = put(&checker, 1, false);
        assert_eq!(read(&checker, 1, &lost), Verdict::Fresh);
        assert_eq!(read(&checker, 1, &Checker::first_value(RUN, 1, 50)), Verdict::Fresh);
        put(&checker, 1, true);
        assert_eq!(read(&checker, 1, &lost), Verdict::Late);
        let first = Checker::first_value(RUN, 1, 50);
        assert_eq!(read(&checker, 1, &first), Verdict::Stale { behind: 2 });
    }

    #[test]
    fn what_nobody_wrote_is_wrong() {
        let checker = filled();
        let wrong = |bytes: &[u8]| match read(&checker, 1, bytes) {
            Verdict::Wrong(wrong) => wrong,
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong(b"hello"), Wrong::NotOurs);
        assert_eq!(wrong(&Checker::first_value(RUN, 2, 50)), Wrong::OtherKey);
        assert_eq!(wrong(&Checker::first_value(RUN + 1, 1, 50)), Wrong::OtherRun);
        let invented = Stamp { run: RUN, key: 1, sequence: 1 }.to_value(50);
        assert_eq!(wrong(&invented), Wrong::NeverWritten);
        let mut damaged = Checker::first_value(RUN, 1, 50);
        damaged[40] ^= 1;
        assert_eq!(wrong(&damaged), Wrong::Damaged);
        let empty = Checker::new(2, RUN, Initial::Empty);
        let never = read(&empty, 1, &Checker::first_value(RUN, 1, 50));
        assert_eq!(never, Verdict::Wrong(Wrong::NeverWritten));
    }

    #[test]
    fn absence_needs_a_delete() {
        let absent =
            |checker: &Checker| checker.after_read(0, checker.before_read(0), Seen::Absent);
        assert_eq!(absent(&filled()), Verdict::Stale { behind: 1 });
        let checker = Checker::new(1, RUN, Initial::Empty);
        assert_eq!(absent(&checker), Verdict::Fresh);
        put(&checker, 0, true);
        assert_eq!(absent(&checker), Verdict::Stale { behind: 1 });
        let delete = checker.begin_write(0, WriteKind::Delete).unwrap();
        assert_eq!(absent(&checker), Verdict::Fresh, "under way");
        checker.end_write(delete, false);
        let value = put(&checker, 0, true);
        assert_eq!(absent(&checker), Verdict::Late);
        assert_eq!(read(&checker, 0, &value), Verdict::Fresh);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(u32, bool),
        End(u32, bool),
        Send(u32),
        /// The answer to one of the reads under way shows one of the writes, or nothing.
        Answer(prop::sample::Index, Option<prop::sample::Index>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = 0u32..2;
        let step = prop_oneof![
            (key.clone(), any::<bool>()).prop_map(|(key, is_put)| Step::Begin(key, is_put)),
            (key.clone(), any::<bool>()).prop_map(|(key, ok)| Step::End(key, ok)),
            key.prop_map(Step::Send),
            any::<(prop::sample::Index, Option<prop::sample::Index>)>()
                .prop_map(|(read, seen)| Step::Answer(read, seen)),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// A write as the brute-force model remembers it.
    struct Past {
        key: u32,
        sequence: u32,
        is_put: bool,
        /// When it was acknowledged; `None`: not (yet).
        acknowledged_at: Option<usize>,
        has_failed: bool,
    }

    /// Straight from the definition: looks through the whole history.
    fn expected(
        history: &[Past],
        initial: Initial,
        key: u32,
        sent_at: usize,
        seen: Option<&Past>,
    ) -> Verdict {
        let of_key = || history.iter().filter(|past| past.key == key);
        let floor = of_key()
            .filter(|past| past.acknowledged_at.is_some_and(|at| at < sent_at))
            .map(|past| past.sequence)
            .max()
            .unwrap_or(0);
        match seen {
            Some(past) if past.sequence >= floor => Verdict::Fresh,
            Some(past) if past.has_failed => Verdict::Late,
            Some(past) => Verdict::Stale { behind: floor - past.sequence },
            None if floor == 0 && initial == Initial::Empty => Verdict::Fresh,
            None if of_key().any(|past| !past.is_put && past.sequence >= floor) => Verdict::Fresh,
            None if of_key().any(|past| !past.is_put && past.has_failed) => Verdict::Late,
            None => Verdict::Stale { behind: floor.max(1) },
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_through_the_history(steps in steps(), is_filled: bool) {
            let initial = if is_filled { Initial::Filled } else { Initial::Empty };
            let checker = Checker::new(2, RUN, initial);
            let mut history: Vec<Past> = Vec::new();
            if is_filled {
                let first = |key| Past {
                    key, sequence: 0, is_put: true, acknowledged_at: Some(0), has_failed: false,
                };
                history.extend([first(0), first(1)]);
            }
            let mut open: [Option<Write>; 2] = [None, None];
            let mut reads: Vec<(u32, usize, Floor)> = Vec::new();
            for (now, step) in (1..).zip(steps) {
                match step {
                    Step::Begin(key, is_put) => {
                        let kind = if is_put { WriteKind::Put } else { WriteKind::Delete };
                        let write = checker.begin_write(key, kind);
                        prop_assert_eq!(write.is_none(), open[key as usize].is_some());
                        if let Some(write) = write {
                            let (sequence, acknowledged_at) = (write.sequence, None);
                            history.push(Past { key, sequence, is_put, acknowledged_at, has_failed: false });
                            open[key as usize] = Some(write);
                        }
                    }
                    Step::End(key, is_acknowledged) => {
                        let Some(write) = open[key as usize].take() else { continue };
                        let past = history.iter_mut().find(|p| p.key == key && p.sequence == write.sequence);
                        let past = past.unwrap();
                        past.acknowledged_at = is_acknowledged.then_some(now);
                        past.has_failed = !is_acknowledged;
                        checker.end_write(write, is_acknowledged);
                    }
                    Step::Send(key) => reads.push((key, now, checker.before_read(key))),
                    Step::Answer(read, seen) => {
                        if reads.is_empty() { continue }
                        let (key, sent_at, floor) = reads.swap_remove(read.index(reads.len()));
                        let puts: Vec<&Past> = history.iter().filter(|p| p.key == key && p.is_put).collect();
                        let seen = seen.filter(|_| !puts.is_empty()).map(|seen| puts[seen.index(puts.len())]);
                        let value = seen.map(|p| Stamp { run: RUN, key, sequence: p.sequence }.to_value(40));
                        let shown = value.as_deref().map_or(Seen::Absent, Seen::Value);
                        prop_assert_eq!(
                            checker.after_read(key, floor, shown),
                            expected(&history, initial, key, sent_at, seen)
                        );
                    }
                }
            }
        }
    }
}
