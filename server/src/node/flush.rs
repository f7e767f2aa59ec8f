//! Keyspaces that were flushed: per keyspace and partition a floor, below which versions are not
//! there any more. A flush raises it, which drops any number of values in one step, and
//! what is on its way into the cache is not kept (scenario 24).
//!
//! A flush of one partition is a write without a statement: it is carried out by the partition's
//! owner, remembered for those who have to drop the same (handback.rs), and acknowledged by
//! the rules of ack.rs.

use standin_protocol::mutant::{self, Mutant};

use super::bound::bound;
use super::{Node, Now};

/// One shard's floors; a keyspace that was never flushed has none.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// By keyspace, then by partition.
    floors: Vec<Vec<u64>>,
}

/// What a fetch or a write finds when it begins. What it brings is kept only if this is the same
/// when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation {
    /// [`super::state::PartitionState::generation`].
    pub(super) of_partition: u32,
    /// The floor of its keyspace there.
    of_keyspace: u64,
}

impl Flushes {
    /// The floor of the keyspace in the partition; 0: it was never flushed.
    fn floor(&self, keyspace: u8, partition: u32) -> u64 {
        let floors = self.floors.get(usize::from(keyspace));
        floors.and_then(|floors| floors.get(partition as usize)).copied().unwrap_or(0)
    }

    /// The floor of a value: the partition's, or the keyspace's there if that is higher. Looks
    /// only where a flush has been.
    #[inline]
    pub(super) fn raise(&self, floor: u64, is_flushed: bool, keyspace: u8, partition: u32) -> u64 {
        if is_flushed { floor.max(self.floor(keyspace, partition)) } else { floor }
    }

    fn set(&mut self, keyspace: u8, partition: u32, partitions: u32, floor: u64) {
        let at = usize::from(keyspace);
        if self.floors.len() <= at {
            self.floors.resize(at + 1, Vec::new());
        }
        let floors = &mut self.floors[at];
        floors.resize(partitions as usize, 0);
        floors[partition as usize] = floor;
    }
}

impl Node {
    /// Drops all that is cached of the keyspace in the partition, and what fetches and writes under
    /// way may bring of it.
    pub(super) fn flush(&mut self, now: Now, keyspace: u8, partition: u32) {
        if self.keyspaces[usize::from(keyspace)].is_none() {
            return;
        }
        let floor = self.versions.next(now.wall_us);
        for keyspace in bound(&self.keyspaces, keyspace).iter().chain([&keyspace]) {
            self.flushes.set(*keyspace, partition, self.topology.partitions, floor);
        }
        self.partitions[partition as usize].is_flushed = true;
        self.counters.partitions_flushed += 1;
    }

    /// See [`Generation`].
    pub(super) fn generation(&self, keyspace: u8, partition: u32) -> Generation {
        let of_keyspace = match mutant::is(Mutant::FlushKeepsFills) {
            true => 0,
            false => self.flushes.floor(keyspace, partition),
        };
        let of_partition = self.partitions[partition as usize].generation;
        Generation { of_partition, of_keyspace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_of_one_keyspace_and_one_partition() {
        let mut flushes = Flushes::default();
        assert_eq!(flushes.raise(3, true, 7, 5), 3, "nothing was flushed");
        flushes.set(7, 5, 64, 10);
        assert_eq!(flushes.raise(3, true, 7, 5), 10);
        assert_eq!(flushes.raise(12, true, 7, 5), 12, "the partition's is higher");
        assert_eq!(flushes.raise(3, false, 7, 5), 3, "nobody looks");
        for (keyspace, partition) in [(7, 4), (6, 5), (8, 5), (255, 63)] {
            assert_eq!(flushes.raise(3, true, keyspace, partition), 3);
        }
    }
}
