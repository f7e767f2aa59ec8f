//! Writes that have to wait until it is clear who owns their partition.
//!
//! While a partition changes hands, nobody may begin a write to it. If such a write ended after the
//! next owner had begun to cache, the next owner's cache would have an old value. While the owner
//! can't be reached, it may still answer others from its cache. So writes wait for the next lease,
//! map, or the master's verdict. That takes milliseconds. partitions/serving.rs says what happens
//! if none arrives in time.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::time::Micros;

use crate::node::state::PendingKey;
use crate::timers::Timers;

/// The time after a deadline at which it has passed.
pub(in crate::node) const AFTER: Duration = Duration::from_micros(1);

/// A waiting write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Parked {
    pub(in crate::node) key: PendingKey,
    /// The time at which it has waited for as long as it may.
    pub(in crate::node) until: Micros,
    /// The time at which it has to be routed again.
    pub(in crate::node) retry_at: Micros,
}

/// The waiting writes, in the order in which they arrived.
#[derive(Debug)]
pub(in crate::node) struct Parking {
    parked: VecDeque<Parked>,
    /// The times at which they have to be routed again.
    retries: Timers,
    /// The time before which no write has waited for as long as it may.
    first_ends: Micros,
}

impl Default for Parking {
    fn default() -> Self {
        let (parked, retries) = (VecDeque::new(), Timers::default());
        Self { parked, retries, first_ends: Micros::NEVER }
    }
}

impl Parking {
    /// Returns the number of waiting writes.
    pub(in crate::node) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Returns the time at which [`Self::take_due`] has something to return.
    pub(in crate::node) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.parked.iter().map(|parked| parked.retry_at).min();
        debug_assert_eq!(self.retries.first(), scan());
        self.retries.first()
    }

    /// Returns the time before which no write has waited for as long as it may.
    #[inline]
    pub(in crate::node) fn first_ends(&self) -> Micros {
        self.first_ends
    }

    /// Returns the waiting writes.
    pub(in crate::node) fn keys(&self) -> impl Iterator<Item = PendingKey> + '_ {
        self.parked.iter().map(|parked| parked.key)
    }

    /// Makes a write wait.
    pub(in crate::node) fn push(&mut self, parked: Parked) {
        self.first_ends = self.first_ends.min(parked.until);
        self.retries.add(parked.retry_at);
        self.parked.push_back(parked);
    }

    /// Removes and returns all waiting writes.
    pub(in crate::node) fn take_all(&mut self) -> VecDeque<Parked> {
        self.take(|_| true)
    }

    /// Removes and returns the writes that have to be routed again at this time.
    pub(in crate::node) fn take_due(&mut self, now: Micros) -> VecDeque<Parked> {
        if !self.retries.is_due(now) {
            return VecDeque::new();
        }
        self.take(|parked| parked.retry_at <= now)
    }

    /// Removes and returns the writes that have waited for as long as they may.
    pub(in crate::node) fn take_overdue(&mut self, now: Micros) -> VecDeque<Parked> {
        self.take(|parked| parked.until <= now)
    }

    fn take(&mut self, is_taken: impl Fn(&Parked) -> bool) -> VecDeque<Parked> {
        let all = std::mem::take(&mut self.parked).into_iter();
        let (taken, waiting): (VecDeque<Parked>, _) = all.partition(is_taken);
        taken.iter().for_each(|parked| self.retries.remove(parked.retry_at));
        self.parked = waiting;
        self.first_ends =
            self.parked.iter().map(|parked| parked.until).min().unwrap_or(Micros::NEVER);
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_deadline_is_the_one_that_a_scan_finds(
            steps in prop::collection::vec((0..6_u8, 0..20_u64, 0..20_u64), 0..100),
        ) {
            let mut parking = Parking::default();
            for (step, until, retry_at) in steps {
                let (until, retry_at) = (Micros(until), Micros(retry_at));
                match step {
                    0 => _ = parking.take_due(retry_at),
                    1 => _ = parking.take_overdue(until),
                    _ => parking.push(Parked { key: PendingKey::default(), until, retry_at }),
                }
                let searched = parking.parked.iter().map(|parked| parked.retry_at).min();
                prop_assert_eq!(parking.next_deadline(), searched);
            }
            parking.take_all();
            prop_assert_eq!(parking.next_deadline(), None);
        }
    }

    #[test]
    fn writes_are_removed_when_they_are_due_or_have_waited_for_as_long_as_they_may() {
        let mut parking = Parking::default();
        let parked = |until, retry_at| Parked {
            key: PendingKey::default(),
            until: Micros(until),
            retry_at: Micros(retry_at),
        };
        for write in [parked(100, 10), parked(50, 50), parked(70, 20)] {
            parking.push(write);
        }
        assert_eq!(parking.first_ends(), Micros(50));
        assert_eq!(parking.next_deadline(), Some(Micros(10)));
        assert_eq!(parking.take_due(Micros(20)), [parked(100, 10), parked(70, 20)]);
        assert_eq!(parking.take_overdue(Micros(49)), []);
        assert_eq!(parking.take_overdue(Micros(50)), [parked(50, 50)]);
        assert_eq!((parking.first_ends(), parking.next_deadline()), (Micros::NEVER, None));
        parking.push(parked(70, 20));
        assert_eq!((parking.take_all().len(), parking.len()), (1, 0));
    }
}
