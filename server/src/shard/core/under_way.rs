//! The order of the requests of one connection, in protocols whose callers count on it: a read that is sent
//! behind a write of the same key sees that write, and a read sent before it does not. A flush comes after
//! all that was sent before it, and before all that was sent behind it.
//!
//! Keys are known by one bit of their hash, so at times a request waits for one of another key. Writes of a
//! key don't wait for each other here: they take turns at its owner. Nor do flushes. But a MODIFY takes its turn
//! only when it has read what it changes, so other writes wait for it here.

use ahash::RandomState;

use crate::node::Action;
use crate::shard::codec::Codec;

/// The keys of a connection's requests that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    reads: u64,
    writes: u64,
    /// Those of the writes that may have to read first.
    modifies: u64,
    is_flushing: bool,
    /// A request waits until all of them are answered.
    is_awaited: bool,
}

impl UnderWay {
    pub(super) fn is_empty(&self) -> bool {
        self.reads | self.writes == 0 && !self.is_flushing
    }

    /// Whether a request has to wait until all are answered.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Asks whether a request may begin. If not, it is awaited that all others are answered.
    pub(super) fn may_begin(&mut self, action: Action, key: &[u8]) -> bool {
        self.is_awaited = match action {
            Action::Flush => self.reads | self.writes != 0,
            // It has other keys, too.
            Action::Transact => !self.is_empty(),
            Action::Get => self.is_flushing || self.writes & bit(key) != 0,
            // Behind another MODIFY of its key it waits for the same read.
            Action::Modify => self.is_flushing || self.reads & bit(key) != 0,
            _ => {
                let before = self.reads | self.modifies;
                action.has_key() && (self.is_flushing || before & bit(key) != 0)
            }
        };
        !self.is_awaited
    }

    /// Notes a request that is not answered at once, if the protocol promises an order.
    pub(super) fn begun(&mut self, codec: &Codec, action: Action, key: &[u8]) {
        if codec.is_ordered() {
            self.note(action, key);
        }
    }

    fn note(&mut self, action: Action, key: &[u8]) {
        match action {
            Action::Flush => self.is_flushing = true,
            Action::Get => self.reads |= bit(key),
            Action::Modify => {
                self.modifies |= bit(key);
                self.writes |= bit(key);
            }
            _ if action.has_key() => self.writes |= bit(key),
            _ => {}
        }
    }
}

fn bit(key: &[u8]) -> u64 {
    1 << (RandomState::with_seeds(1, 2, 3, 4).hash_one(key) >> 58)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_a_write_of_its_key_and_a_write_for_a_read() {
        let mut under_way = UnderWay::default();
        assert!(under_way.is_empty() && under_way.may_begin(Action::Get, b"a"));
        under_way.note(Action::Put, b"a");
        assert!(under_way.may_begin(Action::Put, b"a"), "writes take turns at the owner");
        assert!(!under_way.may_begin(Action::Get, b"a") && under_way.is_awaited());
        let free = (0..64).filter(|n| under_way.may_begin(Action::Get, format!("k{n}").as_bytes()));
        assert!(free.count() > 50);

        let mut under_way = UnderWay::default();
        under_way.note(Action::Get, b"a");
        assert!(
            under_way.may_begin(Action::Get, b"a") && !under_way.may_begin(Action::Delete, b"a")
        );
    }

    #[test]
    fn a_write_waits_for_a_modify_of_its_key_which_may_have_to_read_first() {
        let mut under_way = UnderWay::default();
        under_way.note(Action::Modify, b"a");
        for behind in [Action::Put, Action::Delete, Action::Cas, Action::Touch, Action::Get] {
            assert!(!under_way.may_begin(behind, b"a"), "{behind:?}");
        }
        assert!(under_way.may_begin(Action::Modify, b"a"), "it waits for the same read");
    }

    #[test]
    fn a_flush_comes_after_what_was_sent_before_and_before_what_was_sent_behind() {
        for before in [Action::Get, Action::Put, Action::Modify] {
            let mut under_way = UnderWay::default();
            under_way.note(before, b"a");
            assert!(!under_way.may_begin(Action::Flush, b"partition"), "{before:?}");
        }
        let mut under_way = UnderWay::default();
        under_way.note(Action::Flush, b"partition");
        assert!(!under_way.is_empty() && under_way.may_begin(Action::Flush, b"another"));
        assert!(under_way.may_begin(Action::Ping, b""));
        for behind in [Action::Get, Action::Put, Action::Modify] {
            assert!(!under_way.may_begin(behind, b"a"), "{behind:?}");
        }
    }

    #[test]
    fn a_transaction_comes_after_what_was_sent_before() {
        let mut under_way = UnderWay::default();
        assert!(under_way.may_begin(Action::Transact, b"a"));
        for before in [Action::Get, Action::Put, Action::Modify, Action::Flush] {
            let mut under_way = UnderWay::default();
            under_way.note(before, b"other");
            assert!(!under_way.may_begin(Action::Transact, b"a"), "{before:?}");
            assert!(under_way.is_awaited());
        }
    }
}
