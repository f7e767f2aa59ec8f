//! Judges compare-and-swaps: each version of a key has one successor.
//!
//! Keys of compare-and-swaps are written by nothing else, and each value carries the number of its predecessor plus
//! one. So two successes with the same number have replaced the same version. Several attempts with the same number
//! are usual; one of them may win.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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
        if number + WINDOW <= self.highest {
            return false;
        }
        // Between the highest one and a new one there are numbers of which nothing is known yet.
        let first_new = (self.highest + 1).max(number.saturating_sub(WINDOW - 1));
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
    fn a_number_that_falls_out_of_the_window_does_not_accuse_its_successor() {
        let swaps = Swaps::default();
        for number in 1..=3 * WINDOW {
            assert!(!swaps.won(1, number), "{number}");
        }
    }
}
