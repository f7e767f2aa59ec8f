//! Checks of transactions that compare two keys with what their client has seen of them, and write one of them or
//! both (scenarios 35, 36). Those that have succeeded must have an order:
//!
//! ```text
//! A found version V of a key, and B replaced V     A came before B
//! ```
//! So two that have found the same versions of both keys, and of which each wrote another key, can't both have
//! succeeded; nor can two that have replaced one version.
//!
//! What a refused transaction would have written is never read. And whoever reads both keys at once never finds
//! the value of one that wrote both beside a value that this one has replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use crate::clock::Time;
use crate::origin::Value;

/// A transaction of two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) keys: [usize; 2],
    /// What it has to find, by key: the version, or that there is no value. `None`: it reads the keys.
    pub(crate) seen: Option<[Option<u64>; 2]>,
    /// Which of the keys it writes.
    pub(crate) writes: [bool; 2],
}

impl Transaction {
    pub(crate) fn written(&self) -> impl Iterator<Item = usize> + '_ {
        self.keys.into_iter().zip(self.writes).filter_map(|(key, writes)| writes.then_some(key))
    }
}

/// The transactions of a run.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    asked: BTreeMap<Value, Transaction>,
    /// Those that were to write both keys.
    whole: BTreeMap<Value, Transaction>,
    /// Those that were refused when they were sent for the first time.
    refused: BTreeSet<Value>,
    /// All values that were read.
    read: BTreeSet<Value>,
    /// By key and version: the transactions that succeeded and had found it, and whether they replaced it.
    found: BTreeMap<(usize, u64), Vec<(Value, bool)>>,
    /// Which came before which.
    before: BTreeSet<(Value, Value)>,
}

impl Transactions {
    fn asked(&mut self, id: Value, transaction: Transaction) {
        if transaction.writes == [true; 2] {
            self.whole.insert(id, transaction);
        }
        self.asked.insert(id, transaction);
    }

    /// Returns the transaction of this id, which has ended.
    fn take(&mut self, id: Value) -> Option<Transaction> {
        self.asked.remove(&id)
    }

    /// A client has been told that its transaction was carried out.
    fn succeeded(&mut self, id: Value, of: &Transaction) -> Result<(), String> {
        let Some(seen) = of.seen else { return Ok(()) };
        for ((key, version), writes) in of.keys.into_iter().zip(seen).zip(of.writes) {
            // No value has no version, and may be there again.
            let Some(version) = version else { continue };
            let others = self.found.entry((key, version)).or_default().clone();
            for (other, has_replaced) in others {
                if has_replaced {
                    self.comes_before(id, other)?;
                }
                if writes {
                    self.comes_before(other, id)?;
                }
            }
            self.found.entry((key, version)).or_default().push((id, writes));
        }
        Ok(())
    }

    /// A client has been told that its transaction was refused.
    fn refused(&mut self, id: Value) -> Result<(), String> {
        self.refused.insert(id);
        self.never_refused(id, self.read.contains(&id))
    }

    /// A client has read a value.
    pub(super) fn read(&mut self, value: Value) -> Result<(), String> {
        self.read.insert(value);
        self.never_refused(value, self.refused.contains(&value))
    }

    fn never_refused(&self, id: Value, is_both: bool) -> Result<(), String> {
        match is_both {
            false => Ok(()),
            true => Err(format!("the transaction v{id} was refused, and its value was read")),
        }
    }

    /// A client has read both keys of a pair at once: by key, the value and its version.
    fn read_both(
        &mut self,
        keys: [usize; 2],
        found: [Option<(Value, u64)>; 2],
    ) -> Result<(), String> {
        for (value, _) in found.into_iter().flatten() {
            self.read(value)?;
        }
        for (own, other) in [(0, 1), (1, 0)] {
            let Some(((value, _), (_, version))) = found[own].zip(found[other]) else { continue };
            let Some(of) = self.whole.get(&value) else { continue };
            let has_replaced = of.seen.is_some_and(|seen| seen[other] == Some(version));
            if of.keys == keys && has_replaced {
                return Err(format!(
                    "of v{value}, which wrote k{} and k{}, only one was found",
                    keys[0], keys[1]
                ));
            }
        }
        Ok(())
    }

    fn comes_before(&mut self, first: Value, second: Value) -> Result<(), String> {
        self.before.insert((first, second));
        match self.is_before(second, first) {
            false => Ok(()),
            true => Err(format!(
                "the transactions v{first} and v{second} have both succeeded, although each has replaced \
                 what the other, or one before it, had found"
            )),
        }
    }

    /// Whether one came before another, perhaps with others between them.
    fn is_before(&self, first: Value, second: Value) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![first]);
        while let Some(id) = next.pop() {
            let behind = self.before.range((id, Value::MIN)..=(id, Value::MAX)).map(|(_, id)| *id);
            for id in behind {
                if id == second {
                    return true;
                }
                if seen.insert(id) {
                    next.push(id);
                }
            }
        }
        false
    }
}

impl Checker {
    /// A client asks for a transaction, which may write these keys.
    pub(crate) fn asked_transaction(&mut self, at: Time, id: Value, transaction: Transaction) {
        if let Some(cached) = &mut self.cached {
            transaction.written().for_each(|key| cached.asked(at, key, id));
        }
        self.transactions.asked(id, transaction);
    }

    pub(crate) fn take_transaction(&mut self, id: Value) -> Option<Transaction> {
        self.transactions.take(id)
    }

    /// A client has read both keys of a pair at once.
    pub(crate) fn read_both(
        &mut self,
        keys: [usize; 2],
        found: [Option<(Value, u64)>; 2],
    ) -> Result<(), String> {
        self.counts.pairs_read += 1;
        self.transactions.read_both(keys, found)
    }

    /// A client has been told that its transaction was carried out, or that it was not (`None`: that is unknown).
    pub(crate) fn transacted(
        &mut self,
        now: Time,
        id: Value,
        of: &Transaction,
        is_executed: Option<bool>,
        sends: u32,
    ) -> Result<(), String> {
        let is_comparing = u64::from(of.seen.is_some());
        match is_executed {
            None => self.counts.failed += 1,
            Some(false) => {
                self.counts.transactions_refused += is_comparing;
                // A copy that was sent before may have been executed.
                if sends == 1 {
                    self.transactions.refused(id)?;
                }
            }
            Some(true) => {
                self.counts.transactions += is_comparing;
                if let Some(cached) = &mut self.cached {
                    of.written().for_each(|key| cached.acknowledged(now, key, id));
                }
                self.transactions.succeeded(id, of)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seen: [Option<u64>; 2], writes: [bool; 2]) -> Transaction {
        Transaction { keys: [0, 1], seen: Some(seen), writes }
    }

    const FIRST: [bool; 2] = [true, false];
    const SECOND: [bool; 2] = [false, true];

    #[test]
    fn two_that_have_found_the_same_can_not_both_write() {
        for (one, other) in [(FIRST, SECOND), (SECOND, FIRST), (FIRST, FIRST), ([true; 2], SECOND)]
        {
            let mut all = Transactions::default();
            assert!(all.succeeded(7, &of([Some(1), Some(2)], one)).is_ok());
            let wrong = all.succeeded(8, &of([Some(1), Some(2)], other)).unwrap_err();
            assert!(wrong.contains("v7 and v8") || wrong.contains("v8 and v7"), "{wrong}");
        }
    }

    #[test]
    fn one_after_the_other_they_succeed() {
        let mut all = Transactions::default();
        for (id, seen, writes) in [
            (7, [Some(1), Some(2)], FIRST),
            (8, [Some(3), Some(2)], SECOND),
            (9, [Some(3), Some(4)], [true; 2]),
            (10, [None, Some(5)], FIRST),
            (11, [None, Some(5)], FIRST),
            (12, [Some(1), Some(2)], [false; 2]),
        ] {
            assert_eq!(all.succeeded(id, &of(seen, writes)), Ok(()), "{id}");
        }
        // The second has replaced what it has found and replaced.
        assert!(all.succeeded(13, &of([Some(9), Some(2)], SECOND)).is_err());
    }

    #[test]
    fn what_was_refused_is_never_read() {
        let mut all = Transactions::default();
        assert!(all.read(7).is_ok() && all.refused(8).is_ok());
        assert!(all.refused(7).is_err(), "it was read before");
        assert!(all.read(8).is_err(), "it is read later");
    }

    #[test]
    fn one_that_wrote_both_keys_is_never_found_beside_what_it_has_replaced() {
        let mut all = Transactions::default();
        all.asked(7, of([Some(1), None], [true; 2]));
        all.asked(8, of([Some(1), Some(2)], SECOND));
        for (found, is_right) in [
            ([Some((7, 3)), Some((7, 4))], true),
            ([Some((7, 3)), None], true),
            ([Some((5, 1)), Some((7, 4))], false),
            ([Some((6, 2)), Some((7, 4))], true),
            ([Some((5, 1)), Some((8, 5))], true),
        ] {
            assert_eq!(all.read_both([0, 1], found).is_ok(), is_right, "{found:?}");
        }
    }

    #[test]
    fn an_order_in_a_circle_is_found() {
        let mut all = Transactions::default();
        let of = |keys, seen, writes| Transaction { keys, seen: Some(seen), writes };
        let versions = [Some(1), Some(1)];
        assert!(all.succeeded(1, &of([0, 1], versions, FIRST)).is_ok());
        assert!(all.succeeded(2, &of([1, 2], versions, FIRST)).is_ok());
        assert!(all.succeeded(3, &of([2, 0], versions, FIRST)).is_err());
    }
}
