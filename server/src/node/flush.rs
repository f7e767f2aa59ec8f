//! Places of keys, and flushes: what the keyspaces of the cluster file decide.

use standin_protocol::hash::{key_hash, partition_of};

use super::state::Name;
use super::{Node, Now};

impl Node {
    /// A key's hash and partition.
    #[inline]
    pub(super) fn hash(&self, keyspace: u8, key: &[u8]) -> (u64, u32) {
        let hash = key_hash(self.topology.hash_seeds.of(keyspace), key);
        (hash, partition_of(hash, self.topology.partitions))
    }

    /// The queue in which writes of the key take turns, over all keyspaces of its rows.
    pub(super) fn turn(&self, keyspace: u8, key: &[u8]) -> Name {
        Self::name(self.topology.hash_seeds.of(keyspace), key)
    }

    /// Drops all that is cached of the keyspace in the partition, and what fetches and writes under
    /// way may bring of it.
    pub(super) fn flush(&mut self, now: Now, keyspace: u8, partition: u32) {
        // Another server, with another cluster file, may name a keyspace that this one has not.
        if self.keyspaces.get(keyspace).is_none() {
            return;
        }
        let floor = self.cache.next_version(now);
        let keyspaces = self.keyspaces.bound(keyspace).iter().copied().chain([keyspace]);
        self.partitions.flush(keyspaces, partition, floor);
        self.counters.partitions_flushed += 1;
    }
}
