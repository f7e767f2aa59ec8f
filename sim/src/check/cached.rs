//! Checks of a keyspace without a database. No history says which value is current, so writes are
//! ordered only by the times at which they were asked for and answered.
//!
//! ```text
//! v is outdated at t   some write was asked for after v's write was over,
//!                      and was acknowledged before t
//! ```
//! A write is over when it is answered, if it was sent only once. Another copy of it may be late, and
//! be executed again (docs/FAILOVER.md, *What is not guaranteed*).
//!
//! A read that finds nothing is always right: whatever is cached may be gone.

use crate::clock::{NEVER, Time};
use crate::origin::Value;

/// An operation that leaves a value, or nothing.
#[derive(Debug)]
struct Write {
    id: Value,
    asked: Time,
    /// The time from which it can't be executed any more. Without an answer, or with one that leaves it
    /// open whether it was executed, that is never.
    over: Time,
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
        self.writes[key].push(Write { id, asked: at, over: NEVER, acknowledged: None });
    }

    /// A write has been executed, and its client knows that. `sends`: how often it was sent.
    pub(super) fn acknowledged(&mut self, now: Time, key: usize, id: Value, sends: u32) {
        if let Some(write) = self.writes[key].iter_mut().find(|write| write.id == id) {
            write.acknowledged = Some(now);
            if sends == 1 {
                write.over = now;
            }
        }
    }

    /// Returns the write that outdated this value before a time, and when it was acknowledged.
    /// `Err`: nobody has written the value.
    pub(super) fn outdated_by(
        &self,
        key: usize,
        value: Value,
        before: Time,
    ) -> Result<Option<(Time, Value)>, ()> {
        let writes = &self.writes[key];
        let own = writes.iter().find(|write| write.id == value).ok_or(())?;
        let later = writes.iter().filter(|write| write.asked > own.over);
        let acknowledged = later.filter_map(|write| Some((write.acknowledged?, write.id)));
        Ok(acknowledged.filter(|(at, _)| *at < before).min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_outdated_by_a_write_that_began_after_its_own_had_ended() {
        let mut cached = Cached::new(1);
        cached.asked(10, 0, 1);
        cached.asked(15, 0, 2);
        cached.acknowledged(20, 0, 1, 1);
        cached.acknowledged(30, 0, 2, 1);
        assert_eq!(cached.outdated_by(0, 1, 100), Ok(None), "they overlap: either may be the last");
        cached.asked(40, 0, 3);
        assert_eq!(cached.outdated_by(0, 1, 100), Ok(None), "it has not been acknowledged");
        cached.acknowledged(50, 0, 3, 2);
        assert_eq!(cached.outdated_by(0, 1, 50), Ok(None), "not yet");
        assert_eq!(cached.outdated_by(0, 1, 51), Ok(Some((50, 3))));
        assert_eq!(cached.outdated_by(0, 3, 100), Ok(None));
        assert_eq!(cached.outdated_by(0, 9, 100), Err(()), "nobody wrote it");
    }

    #[test]
    fn a_write_without_an_answer_or_with_several_copies_may_happen_at_any_time() {
        let mut cached = Cached::new(1);
        cached.asked(10, 0, 1);
        cached.asked(40, 0, 2);
        cached.acknowledged(50, 0, 2, 1);
        assert_eq!(cached.outdated_by(0, 1, 100), Ok(None));
        cached.acknowledged(20, 0, 1, 2);
        assert_eq!(cached.outdated_by(0, 1, 100), Ok(None), "nor one that was sent twice is over");
        cached.acknowledged(20, 0, 1, 1);
        assert_eq!(cached.outdated_by(0, 1, 100), Ok(Some((50, 2))));
    }
}
