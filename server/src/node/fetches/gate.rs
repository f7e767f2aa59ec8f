//! The gate, which bounds the bytes of rows under way. These are the rows being fetched, by their
//! expected size, and the replies that callers have not taken yet. Beyond the bound a fetch waits
//! here. While it waits it occupies only its request; a fetch that had already been answered by the
//! database would occupy a whole row.
//!
//! The size of a row is unknown before it has been read. A keyspace's rows are assumed to be as
//! large as its largest recent row. Before the first row they are assumed to be as large as a value
//! may be. A few fetches of each keyspace always proceed, so that a keyspace can't be blocked by
//! callers that do not take the rows of other keyspaces.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use standin_protocol::time::Micros;

use crate::node::NodeConfig;
use crate::node::state::Name;
use crate::origin::Outcome;
use crate::timers::Timers;

/// The smallest size that is assumed for a row.
const ROW_LEAST: usize = 256;

/// The part of the budget in use, and the fetches that wait for it.
#[derive(Debug)]
pub(super) struct Gate {
    budget: usize,
    /// The number of fetches of a keyspace that never wait.
    always: u32,
    /// The bytes reserved for fetches under way.
    reserved: usize,
    /// The bytes of replies that callers have not taken, as last reported by the shell, plus the
    /// rows that have arrived since.
    unsent: usize,
    rows: Vec<Rows>,
    /// The largest size that was ever assumed for a row.
    largest: usize,
    /// The waiting fetches, by keyspace. No queue is empty. There is one per keyspace because a
    /// keyspace without room must not block another that has room.
    waiting: BTreeMap<u8, VecDeque<QueuedFetch>>,
    /// The times at which the wait of the first fetch of each keyspace ends.
    ends: Timers,
    /// The keyspace whose turn was last.
    last: u8,
}

/// The estimated size of a keyspace's rows.
#[derive(Debug, Clone, Copy)]
struct Rows {
    /// The size of the largest recent row.
    bytes: usize,
    under_way: u32,
}

#[derive(Debug)]
struct QueuedFetch {
    name: Name,
    until: Micros,
}

/// The part of the budget that a fetch has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Reserved {
    keyspace: u8,
    bytes: usize,
}

impl Gate {
    pub(super) fn by(config: &NodeConfig) -> Self {
        Self::new(config.fetch_bytes, config.value_bytes_max, config.fetches_always)
    }

    fn new(budget: usize, row_bytes_max: usize, always: u32) -> Self {
        let largest = row_bytes_max.max(ROW_LEAST);
        let rows = vec![Rows { bytes: largest, under_way: 0 }; 256];
        Self {
            budget,
            always,
            reserved: 0,
            unsent: 0,
            rows,
            largest,
            waiting: BTreeMap::new(),
            ends: Timers::default(),
            last: 0,
        }
    }

    /// Whether a fetch would not have to wait.
    pub(super) fn fits(&self, keyspace: u8) -> bool {
        let rows = self.rows[usize::from(keyspace)];
        rows.under_way < self.always || self.reserved + self.unsent + rows.bytes <= self.budget
    }

    /// Admits a fetch that wants to begin. Returns `None` if it has to wait.
    pub(super) fn enter(&mut self, keyspace: u8) -> Option<Reserved> {
        if !self.fits(keyspace) {
            return None;
        }
        let rows = &mut self.rows[usize::from(keyspace)];
        rows.under_way += 1;
        self.reserved += rows.bytes;
        Some(Reserved { keyspace, bytes: rows.bytes })
    }

    /// Makes a fetch wait for its turn.
    pub(super) fn wait(&mut self, name: Name, until: Micros) {
        let queue = self.waiting.entry(name[0]).or_default();
        if queue.is_empty() {
            self.ends.add(until);
        }
        queue.push_back(QueuedFetch { name, until });
    }

    /// Notes that a fetch has ended.
    pub(super) fn leave(&mut self, reserved: Reserved, outcome: &Outcome) {
        let row_bytes = match outcome {
            Outcome::Value(value) => Some(value.as_ref().map_or(0, |row| row.bytes.len())),
            _ => None,
        };
        let rows = &mut self.rows[usize::from(reserved.keyspace)];
        rows.under_way -= 1;
        self.reserved -= reserved.bytes;
        if let Some(bytes) = row_bytes {
            self.unsent += bytes;
            rows.bytes = (rows.bytes - rows.bytes / 16).max(bytes).max(ROW_LEAST);
            self.largest = self.largest.max(rows.bytes);
        }
    }

    /// Sets the bytes of replies that callers have not taken.
    pub(super) fn told_unsent(&mut self, bytes: usize) {
        self.unsent = bytes;
    }

    /// Returns the next fetch whose wait is over. The boolean is true if it may begin, and false if
    /// it has waited for too long. Keyspaces take turns.
    pub(super) fn release(&mut self, now: Micros) -> Option<(Name, bool)> {
        let later = self.waiting.range((Bound::Excluded(self.last), Bound::Unbounded));
        let mut in_turn = later.chain(self.waiting.range(..=self.last));
        let (keyspace, may_begin) = in_turn.find_map(|(keyspace, queue)| {
            let fits = self.fits(*keyspace);
            let is_late = queue.front().is_some_and(|first| first.until <= now);
            (fits || is_late).then_some((*keyspace, fits))
        })?;
        let queue = self.waiting.get_mut(&keyspace)?;
        let first = queue.pop_front()?;
        self.ends.change(Some(first.until), queue.front().map(|next| next.until));
        if queue.is_empty() {
            self.waiting.remove(&keyspace);
        }
        self.last = keyspace;
        Some((first.name, may_begin))
    }

    /// Returns the time at which a fetch will have waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let fronts = || self.waiting.values().filter_map(VecDeque::front);
        debug_assert_eq!(self.ends.first(), fronts().map(|first| first.until).min());
        self.ends.first()
    }

    /// Returns the number of waiting fetches.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Returns the bytes taken by fetches under way, and their upper bound. The bound includes the
    /// few fetches of each keyspace that never wait.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let keyspaces = self.rows.iter().filter(|rows| rows.under_way > 0).count();
        (self.reserved, self.budget + keyspaces * self.always as usize * self.largest)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::origin::Failure;

    const ALWAYS: u32 = 4;
    const MIB: usize = 1 << 20;

    fn row(bytes: usize) -> Outcome {
        Outcome::Value(Some(Bytes::from(vec![0; bytes]).into()))
    }

    fn name(keyspace: u8) -> Name {
        Box::new([keyspace, b'k'])
    }

    #[test]
    fn rows_of_unknown_size_are_taken_for_the_largest() {
        let mut gate = Gate::new(8 * MIB, MIB, ALWAYS);
        let begun = std::iter::from_fn(|| gate.enter(1)).count();
        assert_eq!(begun, 8);
    }

    #[test]
    fn small_rows_make_room_for_many() {
        let mut gate = Gate::new(8 * MIB, MIB, ALWAYS);
        for _ in 0..200 {
            let reserved = gate.enter(1).unwrap();
            gate.leave(reserved, &row(100));
        }
        gate.told_unsent(0);
        let begun = std::iter::from_fn(|| gate.enter(1)).count();
        assert_eq!(begun, 8 * MIB / ROW_LEAST);
    }

    #[test]
    fn a_row_that_has_arrived_takes_room_until_the_caller_has_taken_it() {
        let mut gate = Gate::new(8 * MIB, MIB, ALWAYS);
        let begun: Vec<_> = std::iter::from_fn(|| gate.enter(1)).collect();
        begun.iter().for_each(|reserved| gate.leave(*reserved, &row(MIB)));
        assert_eq!(std::iter::from_fn(|| gate.enter(1)).count(), ALWAYS as usize);
        gate.told_unsent(2 * MIB);
        assert_eq!(std::iter::from_fn(|| gate.enter(1)).count(), 2);
    }

    #[test]
    fn one_large_row_is_remembered() {
        let mut gate = Gate::new(8 * MIB, MIB, ALWAYS);
        for _ in 0..200 {
            let reserved = gate.enter(1).unwrap();
            gate.leave(reserved, &row(100));
        }
        let reserved = gate.enter(1).unwrap();
        gate.leave(reserved, &row(2 * MIB));
        gate.told_unsent(0);
        assert_eq!(std::iter::from_fn(|| gate.enter(1)).count(), 4);
    }

    #[test]
    fn untaken_replies_hold_back_all_but_a_few_fetches() {
        let mut gate = Gate::new(8 * MIB, MIB, ALWAYS);
        gate.told_unsent(8 * MIB);
        assert_eq!(std::iter::from_fn(|| gate.enter(1)).count(), ALWAYS as usize);
        assert_eq!(std::iter::from_fn(|| gate.enter(2)).count(), ALWAYS as usize);
        gate.wait(name(1), Micros(100));
        assert_eq!(gate.release(Micros(0)), None);
        gate.told_unsent(0);
        assert_eq!(gate.release(Micros(0)), None, "the fetches under way have taken all room");
    }

    #[test]
    fn fetches_leave_in_order_and_do_not_wait_for_ever() {
        let key = |n: u8| -> Name { Box::new([1, n]) };
        let mut gate = Gate::new(0, MIB, ALWAYS);
        let under_way: Vec<_> = std::iter::from_fn(|| gate.enter(1)).collect();
        (0..2).for_each(|n| gate.wait(key(n), Micros(100)));
        assert_eq!(gate.release(Micros(0)), None);
        gate.leave(under_way[0], &Outcome::Failed(Failure::Timeout));
        assert_eq!(gate.release(Micros(0)), Some((key(0), true)));
        gate.enter(1).unwrap();
        assert_eq!(gate.next_deadline(), Some(Micros(100)));
        assert_eq!(gate.release(Micros(99)), None);
        assert_eq!(gate.release(Micros(100)), Some((key(1), false)));
        assert_eq!((gate.waiting(), gate.next_deadline()), (0, None));
    }

    #[test]
    fn a_keyspace_without_room_never_blocks_another() {
        let mut gate = Gate::new(0, MIB, ALWAYS);
        while gate.enter(1).is_some() {}
        (0..1_000).for_each(|_| gate.wait(name(1), Micros(100)));
        gate.wait(name(2), Micros(100));
        assert_eq!(gate.release(Micros(0)), Some((name(2), true)));
        assert_eq!(gate.release(Micros(0)), None);
    }

    #[test]
    fn keyspaces_take_turns() {
        let mut gate = Gate::new(0, MIB, ALWAYS);
        for keyspace in [1, 3, 2, 1, 3, 2] {
            gate.wait(name(keyspace), Micros(100));
        }
        let order: Vec<u8> =
            std::iter::from_fn(|| gate.release(Micros(0))).map(|(name, _)| name[0]).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3]);
    }
}
