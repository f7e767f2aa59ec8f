//! Fill tokens, which decide whether the result of a fetch or of a write may be cached.
//!
//! The table has a fixed number of counters, chosen by key hash. A write increments its counter
//! when it starts and when it ends. A fetch's result is kept only if the counter has not changed
//! since the fetch started and no write is under way (scenarios 5 and 15 of docs/FAILOVER.md). A
//! write whose outcome is unknown closes its counter for a while (scenario 7). If two keys share a
//! counter, a write of one can only prevent a fill of the other.

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

const SLOTS: usize = 4_096;

/// One shard's table.
#[derive(Debug)]
pub(super) struct FillTokens {
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    changes: u32,
    writers: u32,
    closed_until: Micros,
}

/// A counter's value when a fetch or a write started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub(in crate::node) struct FillToken {
    slot: u16,
    changes: u32,
}

impl Default for FillTokens {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); SLOTS] }
    }
}

impl FillTokens {
    /// Notes that a fetch of this key starts.
    #[must_use]
    pub(super) fn fetch(&self, hash: u64) -> FillToken {
        let slot = slot_of(hash);
        FillToken { slot, changes: self.slots[usize::from(slot)].changes }
    }

    /// Notes that a write of this key starts. Each write must end with [`Self::end_write`].
    pub(super) fn begin_write(&mut self, hash: u64) -> FillToken {
        let slot = slot_of(hash);
        let entry = &mut self.slots[usize::from(slot)];
        entry.changes = entry.changes.wrapping_add(1);
        entry.writers += 1;
        FillToken { slot, changes: entry.changes }
    }

    /// Notes that a write ends. Returns whether its value may be kept, because nothing else has
    /// changed the counter since the write started. If `closed_until` is given, the outcome is
    /// unknown, and no value under this counter may be kept before that time.
    pub(super) fn end_write(
        &mut self,
        token: FillToken,
        now: Micros,
        closed_until: Option<Micros>,
    ) -> bool {
        let entry = &mut self.slots[usize::from(token.slot)];
        debug_assert!(entry.writers > 0, "each write must end exactly once");
        let alone = entry.writers == 1 && entry.changes == token.changes;
        let open = now >= entry.closed_until;
        entry.writers = entry.writers.saturating_sub(1);
        entry.changes = entry.changes.wrapping_add(1);
        if let Some(until) = closed_until {
            if !mutant::is(Mutant::NoQuarantine) {
                entry.closed_until = entry.closed_until.max(until);
            }
            return false;
        }
        alone && open || mutant::is(Mutant::WritesRace)
    }

    /// Notes that something other than a write has made cached values of this key doubtful.
    pub(super) fn disturb(&mut self, hash: u64) {
        let entry = &mut self.slots[usize::from(slot_of(hash))];
        entry.changes = entry.changes.wrapping_add(1);
    }

    /// Notes that a change that may still happen until the given time makes cached values of this
    /// key doubtful.
    pub(super) fn close(&mut self, hash: u64, until: Micros) {
        let entry = &mut self.slots[usize::from(slot_of(hash))];
        entry.changes = entry.changes.wrapping_add(1);
        if !mutant::is(Mutant::NoQuarantine) {
            entry.closed_until = entry.closed_until.max(until);
        }
    }

    /// Whether the result of a fetch that started with this token may be kept.
    #[must_use]
    pub(super) fn may_keep(&self, token: FillToken, now: Micros) -> bool {
        if mutant::is(Mutant::NoFillToken) {
            return true;
        }
        let entry = &self.slots[usize::from(token.slot)];
        entry.writers == 0 && entry.changes == token.changes && now >= entry.closed_until
    }
}

fn slot_of(hash: u64) -> u16 {
    // The low bits choose partition and shard. The high bits depend on neither.
    (hash >> 52) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(100);

    #[test]
    fn a_fetch_is_kept_only_if_no_write_touched_it() {
        let mut tokens = FillTokens::default();
        let fetch = tokens.fetch(1);
        assert!(tokens.may_keep(fetch, NOW));
        let write = tokens.begin_write(1);
        assert!(!tokens.may_keep(fetch, NOW), "begun before the write");
        let overlapping = tokens.fetch(1);
        assert!(!tokens.may_keep(overlapping, NOW), "during the write");
        assert!(tokens.end_write(write, NOW, None));
        assert!(!tokens.may_keep(overlapping, NOW), "begun during the write");
        assert!(tokens.may_keep(tokens.fetch(1), NOW), "begun after it");
    }

    #[test]
    fn of_overlapping_writes_none_is_kept() {
        let mut tokens = FillTokens::default();
        let first = tokens.begin_write(1);
        let second = tokens.begin_write(1);
        assert!(!tokens.end_write(first, NOW, None));
        assert!(!tokens.end_write(second, NOW, None));
    }

    #[test]
    fn an_unknown_outcome_closes_the_counter_for_its_bound() {
        let mut tokens = FillTokens::default();
        let write = tokens.begin_write(1);
        assert!(!tokens.end_write(write, NOW, Some(Micros(200))));
        let fetch = tokens.fetch(1);
        assert!(!tokens.may_keep(fetch, Micros(199)));
        assert!(tokens.may_keep(fetch, Micros(200)));
        let write = tokens.begin_write(1);
        assert!(!tokens.end_write(write, Micros(150), None), "the earlier one may still land");
    }
}
