//! Judges compare-and-swaps: each version of a key has one successor.
//!
//! Keys of compare-and-swaps are written by nothing else, and each value carries the number of its predecessor plus
//! one. So two successes with the same number have replaced the same version. Several attempts with the same number
//! are usual; one of them may win.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use standin_protocol::time::Micros;

use super::history::Acknowledged;
use super::{Checker, Unknown, Verdict, WriteKind, Wrong};
use crate::value::Stamp;

/// The distance from the highest number of a key to that of a value which was added because the key was gone: a
/// compare-and-swap under way must not get the same one.
const GONE: u32 = 1 << 12;
/// The highest number from which another value follows. A key that has lost its value a million times is left as it is.
const SEQUENCE_MAX: u32 = u32::MAX - GONE;

const LOCKS: usize = 64;
/// The numbers of a key, below the highest that has won, of which it is known whether they have won. An answer that is
/// later than that many others of its key is not judged.
const WINDOW: u32 = 4_096;
const WORDS: usize = WINDOW as usize / 64;

/// The numbers of a key that have won.
#[derive(Debug)]
struct Won {
    highest: u32,
    /// A bit for each number, at the number modulo [`WINDOW`].
    bits: Box<[u64; WORDS]>,
}

impl Won {
    fn new() -> Self {
        Self { highest: 0, bits: Box::new([0; WORDS]) }
    }

    /// Returns whether this number has won already.
    fn add(&mut self, number: u32) -> bool {
        if self.highest.saturating_sub(number) >= WINDOW {
            return false;
        }
        // Between the highest one and a new one there are numbers of which nothing is known yet.
        let first_new = self.highest.saturating_add(1).max(number.saturating_sub(WINDOW - 1));
        for between in first_new..=number {
            let (word, bit) = place(between);
            self.bits[word] &= !bit;
        }
        self.highest = self.highest.max(number);
        let (word, bit) = place(number);
        let has_won = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        has_won
    }
}

fn place(number: u32) -> (usize, u64) {
    let at = number % WINDOW;
    (at as usize / 64, 1 << (at % 64))
}

/// A compare-and-swap under way, or the addition of a value that is gone; give it back to [`Checker::end_swap`], or to
/// [`Checker::leave_swap`].
#[derive(Debug, PartialEq, Eq)]
pub struct Swap {
    key: u32,
    sequence: u32,
    begun: Micros,
    is_refill: bool,
    /// Whether it replaces the value of an addition that took effect late.
    follows_late: bool,
}

impl Checker {
    /// Begins to replace the value with this number by the next one, on a key that nothing else writes; `None` if the key
    /// has no number left.
    #[must_use]
    pub fn begin_swap(&self, key: u32, replaced: u32, begun: Micros) -> Option<Swap> {
        let sequence = Some(replaced).filter(|replaced| *replaced < SEQUENCE_MAX)? + 1;
        let slot = &self.slots[key as usize];
        slot.issued.fetch_max(sequence, Ordering::AcqRel);
        let is_old = replaced < slot.acknowledged.load(Ordering::Acquire);
        let follows_late = is_old && self.is_unknown(key, replaced);
        Some(Swap { key, sequence, begun, is_refill: false, follows_late })
    }

    /// Begins to add a value to such a key, which is gone; `None` if the key has no number left.
    #[must_use]
    pub fn begin_refill(&self, key: u32, begun: Micros) -> Option<Swap> {
        let next = |issued: u32| (issued < SEQUENCE_MAX).then(|| issued + GONE);
        let issued = &self.slots[key as usize].issued;
        let issued = issued.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        let sequence = issued + GONE;
        Some(Swap { key, sequence, begun, is_refill: true, follows_late: false })
    }

    /// The value that it writes.
    #[must_use]
    pub fn swapped_value(&self, swap: &Swap, value_bytes: u32) -> Vec<u8> {
        let Swap { key, sequence, .. } = *swap;
        Stamp { run: self.run, key, sequence }.in_form(&self.form, value_bytes)
    }

    /// Ends a swap or refill that was made. One that was refused needs no end.
    pub fn end_swap(&self, swap: Swap, ended: Micros) -> Verdict {
        let Swap { key, sequence, begun, is_refill, follows_late } = swap;
        if follows_late {
            self.may_come_late(key, sequence, ended);
        }
        let slot = &self.slots[key as usize];
        self.history.add(key, Acknowledged { sequence, begun, at: ended });
        slot.acknowledged.fetch_max(sequence, Ordering::AcqRel);
        match !is_refill && self.swaps.won(key, sequence) {
            true => Verdict::Wrong(Wrong::SwappedTwice),
            false => Verdict::Fresh,
        }
    }

    /// Ends a swap or refill that may have been made, or will be. A refill finds the key gone again, perhaps, and brings
    /// a value that is older than those in between. A swap can't replace anything newer than what was read.
    pub fn leave_swap(&self, swap: Swap, ended: Micros) {
        let Swap { key, sequence, is_refill, follows_late, .. } = swap;
        if is_refill || follows_late {
            self.may_come_late(key, sequence, ended);
        }
    }

    fn may_come_late(&self, key: u32, sequence: u32, ended: Micros) {
        let unknown = Unknown { sequence, kind: WriteKind::Put, ended };
        self.unknown_writes().entry(key).or_default().push(unknown);
    }

    fn is_unknown(&self, key: u32, sequence: u32) -> bool {
        let unknown_writes = self.unknown_writes();
        let mut of_key = unknown_writes.get(&key).into_iter().flatten();
        of_key.any(|write| write.sequence == sequence && write.kind == WriteKind::Put)
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Swaps {
    parts: Box<[Mutex<HashMap<u32, Won>>]>,
}

impl Default for Swaps {
    fn default() -> Self {
        Self { parts: (0..LOCKS).map(|_| Mutex::default()).collect() }
    }
}

impl Swaps {
    /// An attempt with this number has won. Returns whether another one has already.
    pub(super) fn won(&self, key: u32, number: u32) -> bool {
        let part = &self.parts[key as usize % LOCKS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.entry(key).or_insert_with(Won::new).add(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_wins_once_in_whatever_order_answers_come() {
        let swaps = Swaps::default();
        for number in [1, 2, 5, 4, 3, 6, 9_000, 8_999, 9_001] {
            assert!(!swaps.won(7, number), "{number}");
        }
        for number in [9_000, 8_999, 9_001] {
            assert!(swaps.won(7, number), "{number}");
        }
        assert!(!swaps.won(8, 9_000), "another key");
        assert!(!swaps.won(7, 5), "too long ago");
        assert!(!swaps.won(7, 9_001 - WINDOW + 1));
        assert!(swaps.won(7, 9_001 - WINDOW + 1), "as far back as it is known");
    }

    #[test]
    fn the_last_numbers_are_numbers_too() {
        let swaps = Swaps::default();
        for number in [u32::MAX - WINDOW, u32::MAX - 1, u32::MAX] {
            assert!(!swaps.won(1, number), "{number}");
        }
        assert!(swaps.won(1, u32::MAX - 1));
    }

    #[test]
    fn a_number_that_falls_out_of_the_window_does_not_accuse_its_successor() {
        let swaps = Swaps::default();
        for number in 1..=3 * WINDOW {
            assert!(!swaps.won(1, number), "{number}");
        }
    }
}
