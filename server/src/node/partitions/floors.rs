//! Keyspaces that were flushed. Each keyspace and partition has a floor below which versions do not
//! count any more. A flush raises the floor. That drops any number of values in one step, and also
//! prevents results of fetches and writes under way from being kept (scenario 24).
//!
//! A flush of one partition is handled like a write without a statement: its owner carries it out,
//! it is logged for the servers that have to drop the same values, and it is acknowledged by the
//! rules of ack.rs.

use standin_protocol::mutant::{self, Mutant};

/// The floors of all keyspaces. A keyspace that was never flushed has none.
#[derive(Debug)]
pub(super) struct KeyspaceFloors {
    partitions: usize,
    /// The floors, by keyspace, then by partition.
    floors: Vec<Vec<u64>>,
}

/// The generation that a fetch or a write notes when it begins. Its result is cached only if the
/// generation is the same when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub(in crate::node) struct Generation {
    of_partition: u32,
    /// The floor of its keyspace in the partition.
    of_keyspace: u64,
}

impl Generation {
    pub(super) fn new(of_partition: u32, floor: u64) -> Self {
        let of_keyspace = if mutant::is(Mutant::FlushKeepsFills) { 0 } else { floor };
        Self { of_partition, of_keyspace }
    }

    /// Whether it belongs to this generation of the partition, regardless of flushes since.
    pub(super) fn is_of_partition(self, generation: u32) -> bool {
        self.of_partition == generation
    }
}

impl KeyspaceFloors {
    pub(super) fn new(partitions: u32) -> Self {
        Self { partitions: partitions as usize, floors: Vec::new() }
    }

    /// Returns the floor of the keyspace in the partition; 0 if it was never flushed.
    pub(super) fn floor(&self, keyspace: u8, partition: u32) -> u64 {
        let floors = self.floors.get(usize::from(keyspace));
        floors.and_then(|floors| floors.get(partition as usize)).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, keyspace: u8, partition: u32, floor: u64) {
        let at = usize::from(keyspace);
        if self.floors.len() <= at {
            self.floors.resize(at + 1, Vec::new());
        }
        let floors = &mut self.floors[at];
        floors.resize(self.partitions, 0);
        floors[partition as usize] = floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_belongs_to_one_keyspace_and_one_partition() {
        let mut floors = KeyspaceFloors::new(64);
        assert_eq!(floors.floor(7, 5), 0, "nothing was flushed");
        floors.set(7, 5, 10);
        assert_eq!(floors.floor(7, 5), 10);
        for (keyspace, partition) in [(7, 4), (6, 5), (8, 5), (255, 63)] {
            assert_eq!(floors.floor(keyspace, partition), 0);
        }
    }

    #[test]
    fn a_flush_makes_another_generation_of_its_keyspace_only() {
        let mut floors = KeyspaceFloors::new(64);
        let begun = Generation::new(3, floors.floor(7, 5));
        let other = Generation::new(3, floors.floor(8, 5));
        floors.set(7, 5, 10);
        assert_ne!(begun, Generation::new(3, floors.floor(7, 5)));
        assert_eq!(other, Generation::new(3, floors.floor(8, 5)));
        assert!(begun.is_of_partition(3) && !begun.is_of_partition(4));
    }
}
