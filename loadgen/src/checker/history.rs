//! The times at which writes began and were acknowledged, from which the age of a stale value
//! follows.
//!
//! Kept by key, under locks that several keys share: only the end of a write and a stale
//! read come here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use standin_protocol::time::Micros;

const LOCKS: usize = 64;
/// Writes remembered per key. When older ones are forgotten, the age of a value as old as
/// they are is told too low: from the oldest write that is remembered.
const WRITES_MAX: usize = 8_192;

type Writes = HashMap<u32, VecDeque<Acknowledged>>;

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) sequence: u32,
    pub(super) begun: Micros,
    /// The time at which it was acknowledged.
    pub(super) at: Micros,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct History {
    parts: Box<[Mutex<Writes>]>,
}

impl Default for History {
    fn default() -> Self {
        Self { parts: (0..LOCKS).map(|_| Mutex::default()).collect() }
    }
}

impl History {
    /// A write of the key was acknowledged. Sequences and times rise; one that comes behind a newer one, as that of a
    /// compare-and-swap may, is left out.
    pub(super) fn add(&self, key: u32, write: Acknowledged) {
        let mut part = self.part(key);
        let writes = part.entry(key).or_default();
        if writes.back().is_some_and(|last| last.sequence >= write.sequence) {
            return;
        }
        if writes.len() == WRITES_MAX {
            writes.pop_front();
        }
        writes.push_back(write);
    }

    /// Returns the time at which the first acknowledged write after `sequence` was acknowledged.
    pub(super) fn first_after(&self, key: u32, sequence: u32) -> Option<Micros> {
        let part = self.part(key);
        let writes = part.get(&key)?;
        let next = writes.partition_point(|write| write.sequence <= sequence);
        writes.get(next).map(|write| write.at)
    }

    /// The first acknowledged write that began after this time.
    pub(super) fn first_begun_after(&self, key: u32, time: Micros) -> Option<Acknowledged> {
        let part = self.part(key);
        let writes = part.get(&key)?;
        let next = writes.partition_point(|write| write.begun <= time);
        writes.get(next).copied()
    }

    fn part(&self, key: u32) -> MutexGuard<'_, Writes> {
        self.parts[key as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_write_is_found_over_gaps() {
        let history = History::default();
        let write = |sequence, at| Acknowledged { sequence, begun: Micros(at - 5), at: Micros(at) };
        history.add(5, write(1, 10));
        history.add(5, write(4, 40));
        history.add(5 + LOCKS as u32, write(2, 99));
        assert_eq!(history.first_after(5, 0), Some(Micros(10)));
        assert_eq!(history.first_after(5, 1), Some(Micros(40)), "2 and 3 were not acknowledged");
        assert_eq!(history.first_after(5, 3), Some(Micros(40)));
        assert_eq!(history.first_after(5, 4), None);
        assert_eq!(history.first_after(6, 0), None);
        let begun_after = |time| history.first_begun_after(5, Micros(time));
        assert_eq!(begun_after(4), Some(write(1, 10)));
        assert_eq!(begun_after(5), Some(write(4, 40)), "not one that began then");
        assert_eq!(begun_after(35), None);
    }

    #[test]
    fn a_key_has_a_bounded_history() {
        let history = History::default();
        for sequence in 1..=u32::try_from(WRITES_MAX).unwrap() + 10 {
            let at = Micros(sequence.into());
            history.add(1, Acknowledged { sequence, begun: at, at });
        }
        assert_eq!(history.first_after(1, 0), Some(Micros(11)), "the oldest that is remembered");
    }
}
