//! Checks of read-modify-writes. A swap replaces a value and returns the one before, so two swaps
//! that return the same value have read it before either of them wrote, and one of them is lost. A
//! swap that returns its own value has been executed twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::origin::Value;

/// The swaps of a run.
#[derive(Debug, Default)]
pub(super) struct Swaps {
    asked: BTreeSet<Value>,
    executed: BTreeSet<Value>,
    /// By key and value: the swap that replaced it.
    replaced: BTreeMap<(usize, Value), Value>,
}

impl Swaps {
    pub(super) fn asked(&mut self, id: Value) {
        self.asked.insert(id);
    }

    /// The origin has executed a write.
    pub(super) fn executed(&mut self, id: Value) -> Result<(), String> {
        match self.asked.contains(&id) && !self.executed.insert(id) {
            true => Err(format!("the read-modify-write v{id} was executed twice")),
            false => Ok(()),
        }
    }

    /// A swap has returned the value that it replaced. `is_unique`: the value was written only once.
    pub(super) fn answered(
        &mut self,
        key: usize,
        id: Value,
        old: Value,
        is_unique: bool,
    ) -> Result<(), String> {
        if old == id {
            return Err(format!(
                "the read-modify-write v{id} of k{key} has replaced its own value"
            ));
        }
        match self.replaced.insert((key, old), id) {
            Some(other) if is_unique && other != id => {
                Err(format!("v{id} and v{other} of k{key} have both replaced v{old}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_once_unless_it_was_written_again() {
        let mut swaps = Swaps::default();
        assert!(swaps.answered(0, 2, 1, true).is_ok() && swaps.answered(1, 3, 1, true).is_ok());
        assert!(swaps.answered(0, 4, 1, false).is_ok());
        assert!(swaps.answered(0, 5, 1, true).is_err());
        assert!(swaps.answered(0, 6, 6, false).is_err(), "its own");
    }

    #[test]
    fn a_swap_is_executed_once() {
        let mut swaps = Swaps::default();
        swaps.asked(2);
        assert!(swaps.executed(1).is_ok() && swaps.executed(1).is_ok(), "a put may be repeated");
        assert!(swaps.executed(2).is_ok() && swaps.executed(2).is_err());
    }
}
