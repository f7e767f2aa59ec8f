//! Writes that have to wait until it is clear who owns their partition.
//!
//! While a partition changes hands nobody may begin a write to it: one that ended after
//! the next owner has begun to cache would leave an old value there. While its owner can't
//! be reached, that one may still answer others from its cache. So writes wait for the next
//! lease, map, or the master's verdict. It takes milliseconds; what happens if none comes
//! within the bound is written in partitions/serving.rs.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::time::Micros;

use crate::node::state::PendingKey;
use crate::timers::Timers;

/// A deadline has passed this long after it.
pub(in crate::node) const AFTER: Duration = Duration::from_micros(1);

/// A write that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Parked {
    pub(in crate::node) key: PendingKey,
    /// The time when it has waited for long enough.
    pub(in crate::node) until: Micros,
    /// The time to look at it again.
    pub(in crate::node) retry_at: Micros,
}

/// The writes that wait, in the order in which they came.
#[derive(Debug)]
pub(in crate::node) struct Parking {
    parked: VecDeque<Parked>,
    /// The times to look at them again.
    retries: Timers,
    /// No write has waited for long enough before this time.
    first_ends: Micros,
}

impl Default for Parking {
    fn default() -> Self {
        let (parked, retries) = (VecDeque::new(), Timers::default());
        Self { parked, retries, first_ends: Micros::NEVER }
    }
}

impl Parking {
    /// The number of writes that wait.
    pub(in crate::node) fn len(&self) -> usize {
        self.parked.len()
    }

    /// The time at which [`Self::take_due`] has something to give.
    pub(in crate::node) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.parked.iter().map(|parked| parked.retry_at).min();
        debug_assert_eq!(self.retries.first(), scan());
        self.retries.first()
    }

    /// The time before which no write has waited for long enough.
    #[inline]
    pub(in crate::node) fn first_ends(&self) -> Micros {
        self.first_ends
    }

    /// The writes that wait.
    pub(in crate::node) fn keys(&self) -> impl Iterator<Item = PendingKey> + '_ {
        self.parked.iter().map(|parked| parked.key)
    }

    /// A write waits.
    pub(in crate::node) fn push(&mut self, parked: Parked) {
        self.first_ends = self.first_ends.min(parked.until);
        self.retries.add(parked.retry_at);
        self.parked.push_back(parked);
    }

    /// Takes out all.
    pub(in crate::node) fn take_all(&mut self) -> VecDeque<Parked> {
        self.take(|_| true)
    }

    /// Takes out those to look at again at this time.
    pub(in crate::node) fn take_due(&mut self, now: Micros) -> VecDeque<Parked> {
        if !self.retries.is_due(now) {
            return VecDeque::new();
        }
        self.take(|parked| parked.retry_at <= now)
    }

    /// Takes out those that have waited for long enough.
    pub(in crate::node) fn take_over(&mut self, now: Micros) -> VecDeque<Parked> {
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
        fn the_deadline_is_what_a_search_finds(
            steps in prop::collection::vec((0..6_u8, 0..20_u64, 0..20_u64), 0..100),
        ) {
            let mut parking = Parking::default();
            for (step, until, retry_at) in steps {
                let (until, retry_at) = (Micros(until), Micros(retry_at));
                match step {
                    0 => _ = parking.take_due(retry_at),
                    1 => _ = parking.take_over(until),
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
    fn writes_are_taken_out_when_they_are_due_or_have_waited_for_long_enough() {
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
        assert_eq!(parking.take_over(Micros(49)), []);
        assert_eq!(parking.take_over(Micros(50)), [parked(50, 50)]);
        assert_eq!((parking.first_ends(), parking.next_deadline()), (Micros::NEVER, None));
        parking.push(parked(70, 20));
        assert_eq!((parking.take_all().len(), parking.len()), (1, 0));
    }
}
