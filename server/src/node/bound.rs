//! Keyspaces over the same rows (`also_invalidates`): what drops a key of one drops it in the
//! others that it names.
//!
//! The same key of bound keyspaces has one hash ([`standin_protocol::seeds`]), and with it one
//! partition, owner and shard. So their fetches and writes share fill tokens, writes of a key
//! take turns over all of them, and whoever is told that a key was written elsewhere
//! drops what that keyspace names by itself: nothing more need be said between servers.

use standin_config::KeyspaceConfig;
use standin_protocol::hash::{key_hash, partition_of};
use standin_protocol::mutant::{self, Mutant};

use super::Node;
use super::state::Name;

impl Node {
    /// A key's hash and partition.
    #[inline]
    pub(super) fn hash(&self, keyspace: u8, key: &[u8]) -> (u64, u32) {
        let hash = key_hash(self.topology.hash_seeds.of(keyspace), key);
        (hash, partition_of(hash, self.topology.partitions))
    }

    /// Drops what is cached of the key.
    pub(super) fn forget(&mut self, keyspace: u8, key: &[u8]) {
        self.store.remove(keyspace, key);
        self.forget_bound(keyspace, key);
    }

    /// Drops what is cached of the key in the keyspaces that its own names.
    pub(super) fn forget_bound(&mut self, keyspace: u8, key: &[u8]) {
        for keyspace in bound(&self.keyspaces, keyspace) {
            self.store.remove(*keyspace, key);
        }
    }

    /// The queue in which writes of the key take turns.
    pub(super) fn turn(&self, keyspace: u8, key: &[u8]) -> Name {
        Self::name(self.topology.hash_seeds.of(keyspace), key)
    }
}

/// The keyspaces that a write of this one makes doubtful.
pub(super) fn bound(keyspaces: &[Option<KeyspaceConfig>], keyspace: u8) -> &[u8] {
    match &keyspaces[usize::from(keyspace)] {
        Some(keyspace) if !mutant::is(Mutant::BoundForgotten) => &keyspace.also_invalidates,
        _ => &[],
    }
}
