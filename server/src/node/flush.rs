//! Hashes and partitions of keys, and flushes. Both depend on the keyspaces of the cluster file.

use super::state::Name;
use super::{Node, Now};

impl Node {
    /// Returns a key's hash and partition.
    #[inline]
    pub(super) fn hash(&self, keyspace: u8, key: &[u8]) -> (u64, u32) {
        self.topology.place(keyspace, key)
    }

    /// Returns the name of the queue in which writes of the key take turns. It is shared by all
    /// keyspaces over the same rows.
    pub(super) fn turn(&self, keyspace: u8, key: &[u8]) -> Name {
        Self::name(self.topology.hash_seeds.of(keyspace), key)
    }

    /// Drops all cached values of the keyspace in the partition, and makes sure that results of
    /// fetches and writes under way are not kept there.
    pub(super) fn flush(&mut self, now: Now, keyspace: u8, partition: u32) {
        // Another server with another cluster file may name a keyspace that this server does not
        // have.
        if self.keyspaces.get(keyspace).is_none() {
            return;
        }
        let floor = self.cache.next_version(now);
        let keyspaces = self.keyspaces.bound(keyspace).iter().copied().chain([keyspace]);
        self.partitions.flush(keyspaces, partition, floor);
        self.begin_sweep(now);
        self.counters.partitions_flushed += 1;
    }
}
