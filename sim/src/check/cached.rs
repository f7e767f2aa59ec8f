//! Checks of a keyspace without a database. No history says which value is current, so writes are
//! ordered only by the times at which they were asked for and answered.
//!
//! ```text
//! v is outdated at t   some write was asked for after v's write was over,
//!                      and was acknowledged before t
//! ```
//! A write is over when it is acknowledged, unless several processes have executed copies of it: those
//! may be late (docs/FAILOVER.md, *What is not guaranteed*).
//!
//! A read that finds nothing is always right: whatever is cached may be gone.

use crate::clock::Time;
use crate::origin::Value;

/// An operation that leaves a value, or nothing.
#[derive(Debug)]
struct Write {
    id: Value,
    asked: Time,
    acknowledged: Option<Time>,
}

/// The writes of a run, by key.
#[derive(Debug)]
pub(super) struct Cached {
    writes: Vec<Vec<Write>>,
}

impl Cached {
    pub(super) fn new(keys: usize) -> Self {
        Self { writes: (0..keys).map(|_| Vec::new()).collect() }
    }

    /// A write is asked for: a put, a delete, or an invalidation.
    pub(super) fn asked(&mut self, at: Time, key: usize, id: Value) {
        self.writes[key].push(Write { id, asked: at, acknowledged: None });
    }

    /// Whether the write of this value has been acknowledged.
    pub(super) fn is_acknowledged(&self, key: usize, value: Value) -> bool {
        self.writes[key].iter().any(|write| write.id == value && write.acknowledged.is_some())
    }

    /// A write has been executed, and its client knows that.
    pub(super) fn acknowledged(&mut self, now: Time, key: usize, id: Value) {
        if let Some(write) = self.writes[key].iter_mut().find(|write| write.id == id) {
            write.acknowledged = Some(now);
        }
    }

    /// Returns the write that outdated this value before a time, and when it was acknowledged.
    /// `is_over` says whether no copy of the value's own write can have been executed after that was
    /// acknowledged. `Err`: nobody has written the value.
    pub(super) fn outdated_by(
        &self,
        key: usize,
        value: Value,
        before: Time,
        is_over: impl FnOnce() -> bool,
    ) -> Result<Option<(Time, Value)>, ()> {
        let writes = &self.writes[key];
        let own = writes.iter().find(|write| write.id == value).ok_or(())?;
        // Without an answer, or with one that leaves it open whether it was executed, it is never over.
        let Some(over) = own.acknowledged else { return Ok(None) };
        let later = writes.iter().filter(|write| write.asked > over);
        let acknowledged = later.filter_map(|write| Some((write.acknowledged?, write.id)));
        let first = acknowledged.filter(|(at, _)| *at < before).min();
        Ok(first.filter(|_| is_over()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outdated(cached: &Cached, value: Value, before: Time) -> Result<Option<(Time, Value)>, ()> {
        cached.outdated_by(0, value, before, || true)
    }

    #[test]
    fn a_value_is_outdated_by_a_write_that_began_after_its_own_had_ended() {
        let mut cached = Cached::new(1);
        cached.asked(10, 0, 1);
        cached.asked(15, 0, 2);
        cached.acknowledged(20, 0, 1);
        cached.acknowledged(30, 0, 2);
        assert_eq!(outdated(&cached, 1, 100), Ok(None), "they overlap: either may be the last");
        cached.asked(40, 0, 3);
        assert_eq!(outdated(&cached, 1, 100), Ok(None), "it has not been acknowledged");
        cached.acknowledged(50, 0, 3);
        assert_eq!(outdated(&cached, 1, 50), Ok(None), "not yet");
        assert_eq!(outdated(&cached, 1, 51), Ok(Some((50, 3))));
        assert_eq!(outdated(&cached, 3, 100), Ok(None));
        assert_eq!(outdated(&cached, 9, 100), Err(()), "nobody wrote it");
    }

    #[test]
    fn a_write_without_an_answer_or_with_copies_elsewhere_may_happen_at_any_time() {
        let mut cached = Cached::new(1);
        cached.asked(10, 0, 1);
        cached.asked(40, 0, 2);
        cached.acknowledged(50, 0, 2);
        assert_eq!(outdated(&cached, 1, 100), Ok(None));
        cached.acknowledged(20, 0, 1);
        assert_eq!(outdated(&cached, 1, 100), Ok(Some((50, 2))));
        assert_eq!(cached.outdated_by(0, 1, 100, || false), Ok(None));
    }
}
