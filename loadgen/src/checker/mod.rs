//! Judges what reads return: fresh, stale (and since when) or wrong.
//!
//! Every value carries the number of its write ([`crate::value`]). A read is *stale* if its
//! number is lower than that of a write of the key that was acknowledged before the read
//! was sent. Its *age* is how long, when the read was asked for, the next write of the key
//! had been acknowledged; a mode of the cluster allows ages up to a bound, and what is older
//! is *beyond* it. A read is *wrong* if nobody can have written it under this key. One write
//! of a key is under way at a time: numbers and effects have one order.
//!
//! A write that failed or whose outcome is unknown may take effect *late*, but not for ever:
//!
//! ```text
//! unknown write ─┤ ended ─── grace ───┤
//!                   later writes: may  │ a later write begun here has the last word: once it is
//!                   be replaced by it  │ acknowledged, the unknown one's value is stale
//! ```
//! Without a [grace](Checker::with_grace) it may take effect at any later time.
//!
//! Shared by all workers. The paths that every request takes are a few atomic operations;
//! a lock is taken at the end of a write, for a read that looks stale, and for an increment.

mod history;
mod rows;
mod sums;
mod swaps;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_config::{ClusterConfig, Mode};
use standin_protocol::lease::DRIFT_PARTS;
use standin_protocol::time::Micros;

use self::history::{Acknowledged, History};
pub use self::rows::{Answered, Content, RowsChecker};
use self::sums::Counters;
pub use self::sums::{Counted, Increment, Off, Sums, first_number};
pub use self::swaps::Swap;
use self::swaps::Swaps;
use crate::request::KeyCounts;
use crate::value::{BadValue, Stamp};
use crate::value_form::ValueForm;

/// The time between the end of a bound and the moment when that is known everywhere.
const DELIVERY: Duration = Duration::from_millis(100);

/// The contents of the database before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// Every key, in a value with sequence 0.
    Filled,
    /// No key.
    Empty,
}

/// The effect of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// A new value.
    Put,
    /// The row is deleted.
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
    begun: Micros,
}

/// The highest write of a key that was acknowledged before a read was sent, and when it was
/// asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    sequence: u32,
    asked: Micros,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A value.
    Value(&'a [u8]),
    /// No such row.
    Absent,
}

/// The assessment of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As new as it must be.
    Fresh,
    /// Older than an acknowledged write, but of a write that failed or whose outcome is
    /// unknown, and which may have taken effect after it.
    Late,
    /// A value that others have written since the run began, of a row that is not the run's own.
    Changed,
    /// Of a row that is not the run's own, and that others have changed meanwhile, or that could not be read again: nothing
    /// can be said.
    Unjudged,
    /// Older than an acknowledged write.
    Stale {
        /// The number of writes by which it is older; for an absent row, all of them. 0: that is not known, because the row
        /// is not the run's own.
        behind: u32,
        /// The least time for which the next write had been acknowledged when the read was sent.
        /// [`Duration::MAX`]: the absent row had never been deleted.
        age: Duration,
        /// Older than the bound allows.
        is_beyond: bool,
    },
    /// No write of this run can have written this.
    Wrong(Wrong),
}

/// The age that a cluster's mode allows a stale value: none in `strict`. In `available`
/// L(1+ρ)², and `DELIVERY`: the master waits for a lease L to be over for L(1+ρ) by its own
/// clock (`standin_protocol::lease::over_at`), which may be slow by the fraction ρ. The
/// simulator's checks allow the same (1.21 L + 100 ms).
#[must_use]
pub fn age_allowed(cluster: &ClusterConfig) -> Duration {
    let longer = |duration: Duration| duration + duration / DRIFT_PARTS;
    match cluster.mode {
        Mode::Available => longer(longer(cluster.timings.lease)) + DELIVERY,
        Mode::Strict => Duration::ZERO,
    }
}

/// Returns how long after its end a write of unknown outcome may still take effect. A server may
/// have just given it to the database, which may take its whole timeout, and the same time again to
/// notice that nobody waits. Without a database, it may wait in a server for an owner.
#[must_use]
pub fn grace(cluster: &ClusterConfig) -> Duration {
    cluster.origin_timeout().max(cluster.timings.drain_timeout) * 2
}

/// Why a value is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not a value of the load generator.
    NotOurs,
    /// Its checksum or length does not match.
    Damaged,
    /// The value is of another run with the same database.
    OtherRun,
    /// The value is of another key.
    OtherKey,
    /// The value has a number that no write has had.
    NeverWritten,
    /// Another compare-and-swap has replaced the same version.
    SwappedTwice,
    /// The sum is higher than all that was sent.
    CountedTwice,
}

impl Verdict {
    /// Whether it is about an answer that should not have been given.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Stale { .. } | Self::Wrong(_))
    }

    /// What is wrong with an answer, in words; `None`: nothing is.
    #[must_use]
    pub fn complaint(self) -> Option<String> {
        match self {
            Self::Stale { behind: 0, age, .. } => Some(format!(
                "stale: the database had another value since {age:?} before the read was sent, or longer"
            )),
            Self::Stale { behind, age, .. } => {
                Some(format!("stale by {behind} writes and {age:?}"))
            }
            Self::Wrong(wrong) => Some(format!("wrong value ({wrong:?})")),
            Self::Fresh | Self::Late | Self::Changed | Self::Unjudged => None,
        }
    }
}

/// See [`Checker::last_word_after`].
enum LastWord {
    /// There is no such write.
    NoUnknown,
    /// Whether it may still take effect after everything that is acknowledged.
    Nobody,
    /// A write that was acknowledged then.
    At(Micros),
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

/// A write without an acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Unknown {
    sequence: u32,
    kind: WriteKind,
    ended: Micros,
}

/// Those of each key.
type UnknownWrites = HashMap<u32, Vec<Unknown>>;

/// See the head of the file.
#[derive(Debug)]
pub struct Checker {
    run: u32,
    form: ValueForm,
    initial: Initial,
    may_lose: bool,
    bound: Duration,
    grace: Duration,
    slots: Box<[Slot]>,
    unknown_writes: Mutex<UnknownWrites>,
    history: History,
    counts: KeyCounts,
    swaps: Swaps,
    counters: Counters,
}

impl Checker {
    /// A checker for keys `0..keys`, written by run `run`.
    #[must_use]
    pub fn new(keys: u32, run: u32, initial: Initial) -> Self {
        Self::of_kinds(KeyCounts { plain: keys, ..KeyCounts::default() }, run, initial)
    }

    /// A checker for keys of several kinds.
    #[must_use]
    pub fn of_kinds(counts: KeyCounts, run: u32, initial: Initial) -> Self {
        Self {
            run,
            form: ValueForm::default(),
            initial,
            may_lose: false,
            bound: Duration::ZERO,
            grace: Duration::MAX,
            slots: (0..counts.first_counter()).map(|_| Slot::default()).collect(),
            unknown_writes: Mutex::default(),
            history: History::default(),
            counts,
            swaps: Swaps::default(),
            counters: Counters::new(counts.counters, run),
        }
    }

    /// Sets the form of the values that are written; those of another are wrong.
    #[must_use]
    pub fn with_form(self, form: ValueForm) -> Self {
        Self { form, ..self }
    }

    /// Sets the age that a stale value may have; zero by default.
    #[must_use]
    pub fn with_bound(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// Sets whether a value may be gone at any time, as in a keyspace without a database: then a read
    /// that finds nothing is always fresh.
    #[must_use]
    pub fn with_losses(mut self, may_lose: bool) -> Self {
        self.may_lose = may_lose;
        self.counters.set_losses(may_lose);
        self
    }

    /// Sets the time after its end within which a write of unknown outcome may take effect; unlimited by
    /// default.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Number of keys.
    #[must_use]
    pub fn keys(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// The value that is in the database before the first write.
    #[must_use]
    pub fn first_value(run: u32, key: u32, value_bytes: u32) -> Vec<u8> {
        Stamp { run, key, sequence: 0 }.to_value(value_bytes)
    }

    /// Begins a write, now; `None` while another one of the key is under way, or if the key has no number left.
    ///
    /// # Panics
    /// If there is no such key.
    pub fn begin_write(&self, key: u32, kind: WriteKind, begun: Micros) -> Option<Write> {
        let slot = &self.slots[key as usize];
        if slot.is_busy.swap(true, Ordering::Acquire) {
            return None;
        }
        let Some(sequence) = slot.issued.load(Ordering::Relaxed).checked_add(1) else {
            slot.is_busy.store(false, Ordering::Release);
            return None;
        };
        slot.issued.store(sequence, Ordering::Release);
        if kind == WriteKind::Delete {
            slot.deleted.store(sequence, Ordering::Release);
        }
        Some(Write { key, sequence, kind, begun })
    }

    /// The value that a write carries.
    #[must_use]
    pub fn value(&self, write: &Write, value_bytes: u32) -> Vec<u8> {
        let Write { key, sequence, .. } = *write;
        Stamp { run: self.run, key, sequence }.in_form(&self.form, value_bytes)
    }

    /// Ends a write. Without an acknowledgement it may still take effect, or never.
    pub fn end_write(&self, write: Write, ended: Micros, is_acknowledged: bool) {
        let Write { key, sequence, kind, begun } = write;
        let slot = &self.slots[key as usize];
        if is_acknowledged {
            // This comes before the floor rises, so that a reader that sees the floor finds the
            // time at which it rose.
            self.history.add(key, Acknowledged { sequence, begun, at: ended });
            slot.acknowledged.store(sequence, Ordering::Release);
        } else {
            self.unknown_writes().entry(key).or_default().push(Unknown { sequence, kind, ended });
        }
        slot.is_busy.store(false, Ordering::Release);
    }

    /// Ends a write that the target has not made because of what was there. Its number is given again; a
    /// read that shows it until then is wrong.
    pub fn withdraw_write(&self, write: Write) {
        let slot = &self.slots[write.key as usize];
        slot.issued.store(write.sequence - 1, Ordering::Release);
        slot.is_busy.store(false, Ordering::Release);
    }

    /// Call it right before an increment is sent.
    ///
    /// # Panics
    /// If the key is no counter.
    pub fn begin_increment(&self, key: u32, by: u32) -> Increment {
        self.counters.begin(key - self.counts.first_counter(), by)
    }

    /// Judges an increment; `None`: there is nothing to judge.
    pub fn end_increment(&self, increment: Increment, counted: Counted) -> Option<Verdict> {
        self.counters.end(increment, counted)
    }

    /// The number of counters.
    #[must_use]
    pub fn counters(&self) -> u32 {
        self.counts.counters
    }

    /// What was found of the counters since the last call. An increment by zero reads one at the end.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.counters.found()
    }

    /// Call it right before a read is sent, with the time.
    #[must_use]
    pub fn before_read(&self, key: u32, asked: Micros) -> Floor {
        Floor { sequence: self.slots[key as usize].acknowledged.load(Ordering::Acquire), asked }
    }

    /// Judges what a read has returned.
    #[must_use]
    pub fn after_read(&self, key: u32, floor: Floor, seen: Seen<'_>) -> Verdict {
        match seen {
            Seen::Value(bytes) => self.judge_value(key, floor, bytes),
            Seen::Absent => self.judge_absence(key, floor),
        }
    }

    fn judge_value(&self, key: u32, floor: Floor, bytes: &[u8]) -> Verdict {
        let stamp = match Stamp::of(bytes, &self.form) {
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
        if sequence >= floor.sequence {
            return Verdict::Fresh;
        }
        let behind = floor.sequence - sequence;
        let is_meant = |w: &Unknown| w.sequence == sequence && w.kind == WriteKind::Put;
        match self.last_word_after(key, floor, is_meant) {
            LastWord::NoUnknown => self.stale(key, floor, sequence, behind),
            LastWord::Nobody => Verdict::Late,
            LastWord::At(replaced) => self.aged(floor, Some(replaced), behind),
        }
    }

    fn judge_absence(&self, key: u32, floor: Floor) -> Verdict {
        if self.may_lose {
            return Verdict::Fresh;
        }
        let deleted = self.slots[key as usize].deleted.load(Ordering::Acquire);
        let was_deleted = deleted > 0 && deleted >= floor.sequence;
        if was_deleted || (floor.sequence == 0 && self.initial == Initial::Empty) {
            return Verdict::Fresh;
        }
        let behind = floor.sequence.max(1);
        match self.last_word_after(key, floor, |w| w.kind == WriteKind::Delete) {
            LastWord::NoUnknown => {}
            LastWord::Nobody => return Verdict::Late,
            LastWord::At(replaced) => {
                // An acknowledged delete may have been replaced later still.
                let replaced =
                    replaced.max(self.history.first_after(key, deleted).unwrap_or(replaced));
                return self.aged(floor, Some(replaced), behind);
            }
        }
        if deleted == 0 && self.initial == Initial::Filled {
            return Verdict::Stale { behind, age: Duration::MAX, is_beyond: true };
        }
        self.stale(key, floor, deleted, behind)
    }

    /// The verdict on what write `sequence` has left, and a later one has replaced.
    fn stale(&self, key: u32, floor: Floor, sequence: u32, behind: u32) -> Verdict {
        self.aged(floor, self.history.first_after(key, sequence), behind)
    }

    fn aged(&self, floor: Floor, replaced: Option<Micros>, behind: u32) -> Verdict {
        let age = replaced.map_or(Duration::MAX, |at| floor.asked.since(at));
        // A bound of zero allows nothing, however short the clock says it was.
        Verdict::Stale { behind, age, is_beyond: age > self.bound || self.bound.is_zero() }
    }

    /// Returns the write that certainly came after the given writes of unknown outcome. For each of
    /// those it is the first acknowledged write that began when it could no longer take effect; for
    /// several, it is the last of these.
    fn last_word_after(
        &self,
        key: u32,
        floor: Floor,
        is_meant: impl Fn(&Unknown) -> bool,
    ) -> LastWord {
        let unknown_writes = self.unknown_writes();
        let meant = unknown_writes.get(&key).into_iter().flatten().filter(|write| is_meant(write));
        // No write of unknown outcome is meant.
        let Some(last) = meant.map(|write| write.ended).max() else { return LastWord::NoUnknown };
        match self.history.first_begun_after(key, last + self.grace) {
            // Later writes may have been acknowledged since the read was asked.
            Some(write) if write.sequence <= floor.sequence => LastWord::At(write.at),
            _ => LastWord::Nobody,
        }
    }

    fn unknown_writes(&self) -> MutexGuard<'_, UnknownWrites> {
        self.unknown_writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
