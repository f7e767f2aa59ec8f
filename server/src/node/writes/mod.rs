//! Writes under way. Writes of a key go one at a time, so that the cached value is the origin's
//! (scenario 15). Some writes wait for an owner (parking.rs). Others have been executed but may not
//! be acknowledged yet (unacked.rs).
//!
//! This part is told which writes arrive, begin, wait and end, and which keys an owner has dropped.
//! It returns the write whose turn it is, and the writes that may go on or be answered.

mod parking;
mod unacked;

use std::collections::VecDeque;

use hashbrown::HashMap;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use parking::Parking;
pub(super) use parking::{AFTER, Parked};
use unacked::Unacked;
pub(super) use unacked::{ToldTo, Unacknowledged};

use super::handback::ToldKey;
use super::state::{Name, Names, PendingKey};

/// The writes of a shard.
#[derive(Debug)]
pub(super) struct Writes {
    /// The keys that have a write at the origin, each with the later writes.
    queues: Names<VecDeque<PendingKey>>,
    parking: Parking,
    unacked: Unacked,
}

impl Writes {
    pub(super) fn new(hashing: ahash::RandomState) -> Self {
        let queues = HashMap::with_hasher(hashing);
        Self { queues, parking: Parking::default(), unacked: Unacked::default() }
    }

    /// Makes a write of the key wait for its turn. Returns false if it does not have to, because no
    /// earlier write is at the origin.
    pub(super) fn wait(&mut self, name: &Name, key: PendingKey) -> bool {
        match self.queues.get_mut(name) {
            Some(queue) if !mutant::is(Mutant::WritesRace) => {
                queue.push_back(key);
                true
            }
            _ => false,
        }
    }

    /// Notes that a write of the key was submitted to the origin. Later writes wait for it.
    pub(super) fn started(&mut self, name: Name) {
        self.queues.insert(name, VecDeque::new());
    }

    /// Returns the key's next write. It is called when the write at the origin has ended, or when
    /// the next write has ended without being submitted.
    pub(super) fn next(&mut self, name: &Name) -> Option<PendingKey> {
        let Some(queue) = self.queues.get_mut(name) else {
            assert!(
                mutant::is(Mutant::WritesRace),
                "a key must have its queue until its last write ends"
            );
            return None;
        };
        let next = queue.pop_front();
        if next.is_none() {
            self.queues.remove(name);
        }
        next
    }

    /// Removes and returns all writes that wait for their turn.
    pub(super) fn take_queued(&mut self) -> Vec<PendingKey> {
        self.queues.values_mut().flat_map(|queue| queue.drain(..)).collect()
    }

    /// Makes a write wait for an owner.
    pub(super) fn park(&mut self, parked: Parked) {
        self.parking.push(parked);
    }

    /// Returns the writes that wait for an owner.
    pub(super) fn parked(&self) -> impl Iterator<Item = PendingKey> + '_ {
        self.parking.keys()
    }

    /// Removes and returns all writes that wait for an owner.
    pub(super) fn take_parked(&mut self) -> VecDeque<Parked> {
        self.parking.take_all()
    }

    /// Removes and returns the writes that have to be routed again at this time.
    pub(super) fn take_due(&mut self, now: Micros) -> VecDeque<Parked> {
        self.parking.take_due(now)
    }

    /// Removes and returns the writes that have waited for an owner for as long as they may.
    pub(super) fn take_overdue(&mut self, now: Micros) -> VecDeque<Parked> {
        self.parking.take_overdue(now)
    }

    /// Returns the time before which [`Self::take_overdue`] has nothing to return.
    #[inline]
    pub(super) fn first_overdue(&self) -> Micros {
        self.parking.first_ends()
    }

    /// Makes an executed write wait for its acknowledgement.
    pub(super) fn wait_for_ack(&mut self, write: Unacknowledged) {
        self.unacked.push(write);
    }

    /// Removes and returns all writes that wait for their acknowledgement.
    pub(super) fn take_unacknowledged(&mut self) -> Vec<Unacknowledged> {
        self.unacked.take_all()
    }

    /// Removes and returns the writes that waited for this owner to drop these keys.
    pub(super) fn take_settled(&mut self, owner: u16, keys: &[ToldKey]) -> Vec<Unacknowledged> {
        self.unacked.settled(owner, keys)
    }

    /// Makes the writes that wait for this server tell it their keys again when it is the owner. It
    /// has dropped the keys for another reason, and not as the owner.
    pub(super) fn settle_again(&mut self, owner: u16) {
        self.unacked.ask_again(owner);
    }

    /// Removes and returns the writes that have waited for their acknowledgement for as long as
    /// they may.
    pub(super) fn take_late(&mut self, now: Micros) -> Vec<Unacknowledged> {
        self.unacked.take_late(now)
    }

    /// Returns the time at which [`Self::take_due`] or [`Self::take_late`] has something to return.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.parking.next_deadline().into_iter().chain(self.unacked.next_deadline()).min()
    }

    /// Returns the number of writes that wait for an owner, and of those that wait for their
    /// acknowledgement.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.parking.len(), self.unacked.len())
    }

    /// Returns the number of writes at the origin plus that of the writes that wait behind them.
    pub(super) fn len(&self) -> usize {
        self.queues.values().map(|queue| 1 + queue.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn writes_of_a_key_take_turns_and_the_last_one_removes_the_queue() {
        let mut keys: SlotMap<PendingKey, ()> = SlotMap::with_key();
        let [a, b, c] = [(); 3].map(|()| keys.insert(()));
        let mut writes = Writes::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let name: Name = b"\x01k".as_slice().into();
        assert!(!writes.wait(&name, a));
        writes.started(name.clone());
        assert!(writes.wait(&name, b) && writes.wait(&name, c));
        assert_eq!(writes.len(), 3);
        assert_eq!([writes.next(&name), writes.next(&name)], [Some(b), Some(c)]);
        assert!(writes.wait(&name, a), "the last one is at the origin");
        assert_eq!(writes.take_queued(), [a]);
        assert_eq!((writes.next(&name), writes.len()), (None, 0));
        assert!(!writes.wait(&name, a));
    }

    #[test]
    #[should_panic(expected = "a key must have its queue until its last write ends")]
    fn a_write_that_ends_without_its_queue_is_a_bug() {
        let mut writes = Writes::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        writes.next(&b"\x01k".as_slice().into());
    }

    #[test]
    fn writes_that_wait_for_an_owner_or_an_acknowledgement_are_told_apart() {
        let mut keys: SlotMap<PendingKey, ()> = SlotMap::with_key();
        let [a, b, c] = [(); 3].map(|()| keys.insert(()));
        let mut writes = Writes::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!((writes.waiting(), writes.first_overdue()), ((0, 0), Micros::NEVER));
        let parked = |key, until| Parked { key, until: Micros(until), retry_at: Micros(5) };
        writes.park(parked(a, 100));
        writes.park(parked(b, 50));
        let begun = crate::node::calls::Begun { as_owner: true, losses: 0 };
        let answer = crate::node::Answer::status(crate::node::Status::Ok);
        let until = Micros(70);
        writes.wait_for_ack(Unacknowledged { key: c, begun, answer, until, told: None });
        assert_eq!((writes.waiting(), writes.first_overdue()), ((2, 1), Micros(50)));
        assert_eq!(writes.parked().collect::<Vec<_>>(), [a, b]);
        assert_eq!(writes.take_overdue(Micros(50)), [parked(b, 50)]);
        assert_eq!((writes.waiting(), writes.first_overdue()), ((1, 1), Micros(100)));
        assert_eq!(writes.take_late(until).len(), 1);
        assert_eq!(writes.waiting(), (1, 0));
    }
}
