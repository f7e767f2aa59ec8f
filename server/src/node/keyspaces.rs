//! The keyspaces of the cluster file by id, and which of them lie over the same rows
//! (`also_invalidates`): a write that drops a key of one drops it in the others that it names.
//!
//! The same key of bound keyspaces has one hash ([`standin_protocol::seeds`]), and with it one
//! partition, owner and shard. So their fetches and writes share fill tokens, writes of a key
//! take turns over all of them, and a server that is told that a key was written elsewhere
//! drops what its keyspace names by itself: nothing more need be said between servers.

use standin_config::KeyspaceConfig;
use standin_protocol::mutant::{self, Mutant};

/// All keyspaces, by id.
#[derive(Debug)]
pub(super) struct Keyspaces {
    keyspaces: Vec<Option<KeyspaceConfig>>,
}

impl Keyspaces {
    pub(super) fn new(configs: &[KeyspaceConfig]) -> Self {
        let mut keyspaces = vec![None; 256];
        for keyspace in configs {
            keyspaces[usize::from(keyspace.id)] = Some(keyspace.clone());
        }
        Self { keyspaces }
    }

    /// The keyspace of this id, if there is one.
    pub(super) fn get(&self, keyspace: u8) -> Option<&KeyspaceConfig> {
        self.keyspaces[usize::from(keyspace)].as_ref()
    }

    /// The keyspaces in which a write of this one drops the key too.
    pub(super) fn bound(&self, keyspace: u8) -> &[u8] {
        match self.get(keyspace) {
            Some(keyspace) if !mutant::is(Mutant::BoundForgotten) => &keyspace.also_invalidates,
            _ => &[],
        }
    }
}
