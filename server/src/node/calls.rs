//! The calls to the origin that are under way, and how many of their writes are outdated. A write
//! is outdated if its partition has changed hands since the write began. A new owner may fill its
//! cache only when no outdated write is left; otherwise it could keep a value that such a write
//! then overwrites.

use slotmap::{Key as _, KeyData, SlotMap, new_key_type};
use standin_protocol::time::Micros;

use super::cache::FillToken;
use super::fetches::Reserved;
use super::modify::Applied;
use super::partitions::Generation;
use super::state::{FetchStart, Name, PendingKey};

new_key_type! {
    struct CallKey;
}

/// The calls of a shard.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: SlotMap<CallKey, Entry>,
    outdated: usize,
}

#[derive(Debug)]
struct Entry {
    call: Started,
    at: Micros,
    sent: Option<Micros>,
    is_outdated: bool,
}

/// The purpose of a call.
#[derive(Debug)]
pub(super) enum Started {
    Fetch {
        name: Name,
        started: FetchStart,
        reserved: Reserved,
    },
    Write(StartedWrite),
    /// The read of the value that a MODIFY changes, in its turn.
    Read(StartedWrite, Reserved),
}

/// The circumstances in which a write began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// This server owned the partition under a lease.
    pub(super) as_owner: bool,
    /// The value of [`super::partitions::Partitions::lease_losses`] at that time.
    pub(super) losses: u32,
}

/// A write that has begun.
#[derive(Debug)]
pub(super) struct StartedWrite {
    pub(super) pending: PendingKey,
    pub(super) partition: u32,
    pub(super) token: FillToken,
    pub(super) generation: Generation,
    pub(super) begun: Begun,
    /// What a MODIFY does to the value.
    pub(super) applied: Option<Box<Applied>>,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) call: Started,
    /// The time at which it began.
    pub(super) at: Micros,
    /// The time at which its statement was sent to the database, if it was.
    pub(super) sent: Option<Micros>,
    /// Whether it was an outdated write.
    pub(super) was_outdated: bool,
}

impl Calls {
    /// Records a call that begins and returns its token.
    pub(super) fn begin(&mut self, at: Micros, call: Started) -> u64 {
        self.calls.insert(Entry { call, at, sent: None, is_outdated: false }).data().as_ffi()
    }

    /// Notes when the statement of the call with this token was sent to the database.
    pub(super) fn sent(&mut self, token: u64, sent: Micros) {
        let entry = self.calls.get_mut(CallKey::from(KeyData::from_ffi(token)));
        entry.expect("the origin must end each call exactly once").sent = Some(sent);
    }

    /// Removes the call with this token, which has ended.
    pub(super) fn end(&mut self, token: u64) -> Ended {
        let entry = self.calls.remove(CallKey::from(KeyData::from_ffi(token)));
        let Entry { call, at, sent, is_outdated } =
            entry.expect("the origin must end each call exactly once");
        self.outdated -= usize::from(is_outdated);
        Ended { call, at, sent, was_outdated: is_outdated }
    }

    /// Marks the writes for which `is_current` no longer holds as outdated, because partitions have
    /// changed.
    pub(super) fn outdate(&mut self, is_current: impl Fn(&StartedWrite) -> bool) {
        for entry in self.calls.values_mut() {
            if let Started::Write(write) = &entry.call
                && !entry.is_outdated
                && !is_current(write)
            {
                entry.is_outdated = true;
                self.outdated += 1;
            }
        }
    }

    /// Whether any write is outdated.
    pub(super) fn has_outdated(&self) -> bool {
        self.outdated > 0
    }

    /// The number of calls under way.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(partition: u32) -> Started {
        let (token, generation) = (FillToken::default(), Generation::default());
        let begun = Begun { as_owner: true, losses: 0 };
        let pending = PendingKey::default();
        let applied = None;
        Started::Write(StartedWrite { pending, partition, token, generation, begun, applied })
    }

    #[test]
    fn a_write_is_outdated_once_and_until_it_ends() {
        let mut calls = Calls::default();
        let (first, second) = (calls.begin(Micros(0), write(1)), calls.begin(Micros(0), write(2)));
        assert_eq!(calls.len(), 2);
        calls.outdate(|write| write.partition != 1);
        calls.outdate(|write| write.partition != 1);
        assert!(calls.has_outdated());
        assert!(!calls.end(second).was_outdated && calls.has_outdated());
        assert!(calls.end(first).was_outdated && !calls.has_outdated());
        assert_eq!(calls.len(), 0);
    }

    #[test]
    #[should_panic(expected = "the origin must end each call exactly once")]
    fn a_call_ends_once() {
        let mut calls = Calls::default();
        let token = calls.begin(Micros(0), write(1));
        calls.end(token);
        calls.end(token);
    }
}
