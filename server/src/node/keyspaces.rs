//! The keyspaces of the cluster file by id, and which of them lie over the same rows
//! (`also_invalidates`). A write that drops a key of one keyspace drops it in the keyspaces that it
//! names.
//!
//! The same key of bound keyspaces has one hash ([`standin_protocol::seeds`]), and therefore one
//! partition, owner and shard. So fetches and writes of these keyspaces share fill tokens, and
//! writes of a key take turns over all of them. A server that is told that a key was written
//! elsewhere drops it in the bound keyspaces by itself, so servers need no further messages for
//! them.

use standin_config::sql::has_flags;
use standin_config::{KeyspaceConfig, Lifetimes, lone_caches};
use standin_protocol::mutant::{self, Mutant};

/// All keyspaces, by id.
#[derive(Debug, Clone)]
pub(super) struct Keyspaces {
    keyspaces: Vec<Option<KeyspaceConfig>>,
    /// The keyspaces whose rows have a column for the clients' flags.
    with_flags: Vec<u8>,
    /// The keyspaces without a database that are bound to no other.
    lone_caches: Vec<u8>,
}

impl Keyspaces {
    pub(super) fn new(configs: &[KeyspaceConfig]) -> Self {
        let mut keyspaces = vec![None; 256];
        for keyspace in configs {
            keyspaces[usize::from(keyspace.id)] = Some(keyspace.clone());
        }
        let has_flags = |keyspace: &&KeyspaceConfig| keyspace.put.as_deref().is_some_and(has_flags);
        let with_flags = configs.iter().filter(has_flags).map(|keyspace| keyspace.id).collect();
        let lone_caches = lone_caches(configs);
        Self { keyspaces, with_flags, lone_caches }
    }

    /// Returns these keyspaces with other lifetimes.
    pub(super) fn with_lifetimes(&self, lifetimes: &[Lifetimes]) -> Self {
        let mut changed = self.clone();
        for new in lifetimes {
            if let Some(keyspace) = &mut changed.keyspaces[usize::from(new.keyspace)] {
                new.apply_to(keyspace);
            }
        }
        changed
    }

    /// Returns the keyspace with this id, if there is one.
    pub(super) fn get(&self, keyspace: u8) -> Option<&KeyspaceConfig> {
        self.keyspaces[usize::from(keyspace)].as_ref()
    }

    /// Whether the keyspace's values are in no database.
    pub(super) fn is_cache(&self, keyspace: u8) -> bool {
        self.get(keyspace).is_some_and(KeyspaceConfig::is_cache)
    }

    /// Whether the keyspace's values are in no database, and writes of other keyspaces do not drop
    /// them.
    pub(super) fn is_lone_cache(&self, keyspace: u8) -> bool {
        self.lone_caches.contains(&keyspace)
    }

    /// Whether values of the keyspace have flags.
    pub(super) fn has_flags(&self, keyspace: u8) -> bool {
        self.is_cache(keyspace) || self.with_flags.contains(&keyspace)
    }

    /// Returns the keyspaces in which a write of this one drops the key too.
    pub(super) fn bound(&self, keyspace: u8) -> &[u8] {
        match self.get(keyspace) {
            Some(keyspace) if !mutant::is(Mutant::BoundForgotten) => &keyspace.also_invalidates,
            _ => &[],
        }
    }
}
