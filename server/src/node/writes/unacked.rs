//! Writes that have been executed but may not be acknowledged yet (ack.rs).

use std::collections::BTreeMap;

use standin_protocol::time::Micros;

use crate::node::answer::Answer;
use crate::node::calls::Begun;
use crate::node::handback::ToldKey;
use crate::node::state::{Name, PendingKey};
use crate::timers::Timers;

/// An executed write that waits for its acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct Unacknowledged {
    pub(in crate::node) key: PendingKey,
    pub(in crate::node) begun: Begun,
    /// The answer, as soon as it is allowed.
    pub(in crate::node) answer: Answer,
    /// The time after which the write is answered as one of unknown outcome.
    pub(in crate::node) until: Micros,
    /// The owner that has to drop the key first.
    pub(in crate::node) told: Option<ToldTo>,
}

/// An owner that is being told of a key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct ToldTo {
    pub(in crate::node) owner: u16,
    pub(in crate::node) name: Name,
    /// The key's stamp in the log.
    pub(in crate::node) stamp: u64,
}

/// The waiting writes, in the order in which they were executed.
#[derive(Debug, Default)]
pub(in crate::node) struct Unacked {
    waiting: Vec<Unacknowledged>,
    /// The times at which their waits end.
    ends: Timers,
}

impl Unacked {
    /// Makes a write wait.
    pub(in crate::node) fn push(&mut self, waiting: Unacknowledged) {
        self.ends.add(waiting.until);
        self.waiting.push(waiting);
    }

    /// Removes and returns all writes, because some may be acknowledged now.
    pub(in crate::node) fn take_all(&mut self) -> Vec<Unacknowledged> {
        self.ends = Timers::default();
        std::mem::take(&mut self.waiting)
    }

    /// Removes and returns the writes that waited for this owner to drop these keys.
    pub(in crate::node) fn settled(&mut self, owner: u16, keys: &[ToldKey]) -> Vec<Unacknowledged> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let stamps: BTreeMap<&[u8], u64> = keys.iter().map(|k| (k.name(), k.stamp())).collect();
        let is_told = |waiting: &Unacknowledged| {
            waiting.told.as_ref().is_some_and(|told| {
                let stamp = stamps.get(&*told.name);
                told.owner == owner && stamp.is_some_and(|stamp| *stamp >= told.stamp)
            })
        };
        self.take(is_told)
    }

    /// Makes the writes that wait for this server tell it their keys again when it is the owner. It
    /// has dropped the keys for another reason, and not as the owner.
    pub(in crate::node) fn ask_again(&mut self, owner: u16) {
        for waiting in &mut self.waiting {
            waiting.told.take_if(|told| told.owner == owner);
        }
    }

    /// Removes and returns the writes whose time is up.
    pub(in crate::node) fn take_late(&mut self, now: Micros) -> Vec<Unacknowledged> {
        if !self.ends.is_due(now) {
            return Vec::new();
        }
        self.take(|waiting| waiting.until <= now)
    }

    /// Returns the time at which [`Self::take_late`] has something to return.
    pub(in crate::node) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.waiting.iter().map(|waiting| waiting.until).min();
        debug_assert_eq!(self.ends.first(), scan());
        self.ends.first()
    }

    /// Returns the number of waiting writes.
    pub(in crate::node) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, is_taken: impl Fn(&Unacknowledged) -> bool) -> Vec<Unacknowledged> {
        if !self.waiting.iter().any(&is_taken) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (taken, waiting): (Vec<Unacknowledged>, _) = all.partition(is_taken);
        taken.iter().for_each(|taken| self.ends.remove(taken.until));
        self.waiting = waiting;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::answer::Status;

    fn waiting(until: u64, told: Option<ToldTo>) -> Unacknowledged {
        let begun = Begun { as_owner: true, losses: 0 };
        let (key, answer) = (PendingKey::default(), Answer::status(Status::Ok));
        Unacknowledged { key, begun, answer, until: Micros(until), told }
    }

    fn told(owner: u16, stamp: u64) -> Option<ToldTo> {
        Some(ToldTo { owner, name: b"\x01k".as_slice().into(), stamp })
    }

    #[test]
    fn a_write_waits_until_its_owner_has_dropped_the_latest_version_of_the_key() {
        let mut unacked = Unacked::default();
        unacked.push(waiting(10, told(1, 5)));
        unacked.push(waiting(20, told(1, 7)));
        unacked.push(waiting(30, told(2, 5)));
        let keys = [ToldKey::new(3, b"\x01k".as_slice().into(), 6)];
        assert_eq!(unacked.settled(1, &keys), [waiting(10, told(1, 5))]);
        assert_eq!(unacked.settled(1, &keys), []);
        unacked.ask_again(1);
        assert_eq!(unacked.settled(1, &[ToldKey::new(3, b"\x01k".as_slice().into(), 9)]), []);
        assert_eq!(unacked.take_all(), [waiting(20, None), waiting(30, told(2, 5))]);
    }

    #[test]
    fn a_write_waits_until_its_time_is_up() {
        let mut unacked = Unacked::default();
        unacked.push(waiting(20, None));
        unacked.push(waiting(10, None));
        assert_eq!(unacked.next_deadline(), Some(Micros(10)));
        assert_eq!((unacked.take_late(Micros(9)).len(), unacked.len()), (0, 2));
        assert_eq!(unacked.take_late(Micros(10)), [waiting(10, None)]);
    }
}
