//! What a read may return, judged by what was acknowledged before it was asked. Pure.
//!
//! Each key has one writer, which stores rising numbers, one write after another. A delete takes a number too. A
//! read may find nothing (a cache may lose what it has), but no number below the last that was acknowledged before
//! the read was asked.
//!
//! A write that failed may have happened, may happen later, or never; so its number may be read at any time.

use std::collections::BTreeSet;

/// The judgement of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A number that may be read.
    Right,
    /// Nothing.
    Missing,
    /// The number of a write that failed, below one that was acknowledged.
    Late,
    /// A number below one that was acknowledged before the read was asked.
    Stale,
    /// Something that nobody has stored.
    Wrong,
}

/// The writes of all keys.
#[derive(Debug)]
pub struct Judge {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, Default)]
struct Key {
    sent: u64,
    acknowledged: u64,
    failed: BTreeSet<u64>,
}

impl Judge {
    /// No key has been written.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { keys: vec![Key::default(); keys] }
    }

    /// A write or delete is asked for. Returns its number.
    ///
    /// # Panics
    /// There is no such key.
    pub fn begin_write(&mut self, key: usize) -> u64 {
        let key = &mut self.keys[key];
        key.sent += 1;
        key.sent
    }

    /// A write or delete has been answered.
    ///
    /// # Panics
    /// There is no such key.
    pub fn end_write(&mut self, key: usize, number: u64, is_acknowledged: bool) {
        let key = &mut self.keys[key];
        if is_acknowledged {
            key.acknowledged = key.acknowledged.max(number);
        } else {
            key.failed.insert(number);
        }
    }

    /// Returns the number below which a read that is asked now may find nothing.
    ///
    /// # Panics
    /// There is no such key.
    #[must_use]
    pub fn floor(&self, key: usize) -> u64 {
        self.keys[key].acknowledged
    }

    /// Judges the answer to a read that was asked when this was the floor.
    ///
    /// # Panics
    /// There is no such key.
    #[must_use]
    pub fn after_read(&self, key: usize, floor: u64, value: Option<&str>) -> Verdict {
        let Some(value) = value else { return Verdict::Missing };
        let key = &self.keys[key];
        match value.parse::<u64>() {
            Ok(number) if number == 0 || number > key.sent => Verdict::Wrong,
            Ok(number) if number >= floor => Verdict::Right,
            Ok(number) if key.failed.contains(&number) => Verdict::Late,
            Ok(_) => Verdict::Stale,
            Err(_) => Verdict::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_below_one_that_was_acknowledged_is_stale() {
        let mut judge = Judge::new(2);
        assert_eq!(judge.after_read(1, judge.floor(1), None), Verdict::Missing);
        assert_eq!(judge.after_read(1, judge.floor(1), Some("1")), Verdict::Wrong);
        for _ in 0..2 {
            let number = judge.begin_write(1);
            judge.end_write(1, number, true);
        }
        let floor = judge.floor(1);
        assert_eq!(floor, 2);
        assert_eq!(judge.after_read(1, floor, Some("1")), Verdict::Stale);
        assert_eq!(judge.after_read(1, floor, Some("2")), Verdict::Right);
        assert_eq!(judge.after_read(1, floor, Some("x")), Verdict::Wrong);
        assert_eq!(judge.floor(0), 0);
    }

    #[test]
    fn what_was_acknowledged_after_the_read_was_asked_does_not_count() {
        let mut judge = Judge::new(1);
        let first = judge.begin_write(0);
        judge.end_write(0, first, true);
        let floor = judge.floor(0);
        let second = judge.begin_write(0);
        judge.end_write(0, second, true);
        assert_eq!(judge.after_read(0, floor, Some("1")), Verdict::Right);
        assert_eq!(judge.after_read(0, judge.floor(0), Some("1")), Verdict::Stale);
    }

    #[test]
    fn a_write_that_failed_may_be_seen_or_not() {
        let mut judge = Judge::new(1);
        for is_acknowledged in [true, false] {
            let number = judge.begin_write(0);
            judge.end_write(0, number, is_acknowledged);
        }
        let floor = judge.floor(0);
        assert_eq!(floor, 1);
        assert_eq!(judge.after_read(0, floor, Some("1")), Verdict::Right);
        assert_eq!(judge.after_read(0, floor, Some("2")), Verdict::Right);
        let third = judge.begin_write(0);
        judge.end_write(0, third, true);
        assert_eq!(judge.after_read(0, judge.floor(0), Some("2")), Verdict::Late);
    }

    #[test]
    fn nothing_older_than_a_delete_may_be_read() {
        let mut judge = Judge::new(1);
        let stored = judge.begin_write(0);
        judge.end_write(0, stored, true);
        let deleted = judge.begin_write(0);
        judge.end_write(0, deleted, true);
        assert_eq!(judge.after_read(0, judge.floor(0), Some("1")), Verdict::Stale);
        assert_eq!(judge.after_read(0, judge.floor(0), None), Verdict::Missing);
    }
}
