//! Keyspaces in the keys of protocols that have none: `users:alice` is the key `alice` of the
//! keyspace `users`. A key that names no keyspace belongs to the default one, whole.

use memchr::memmem;
use standin_config::{ClusterConfig, lone_caches};
use standin_protocol::slots::KeyHash;

use super::flushes::Flushes;

/// The names of the keyspaces, and what separates them from keys.
#[derive(Debug)]
pub struct Names {
    /// Each name with the separator, and the keyspace.
    prefixes: Box<[(Box<[u8]>, u8)]>,
    /// Whether a name begins with this byte.
    first: Box<[bool; 256]>,
    default: Option<u8>,
    /// Keys are hashed as in Redis Cluster.
    is_slotted: bool,
    /// The keyspaces without a database that are bound to no other.
    lone_caches: Vec<u8>,
    flushes: Flushes,
}

/// The keyspace of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct Named {
    /// Its id.
    pub(in crate::shard) keyspace: u8,
    /// The number of bytes that name it, and do not belong to the key.
    pub(in crate::shard) prefix: usize,
}

impl Names {
    /// Those of a cluster, as a server sees them that has these requests for a flush of everything.
    #[must_use]
    pub fn new(cluster: &ClusterConfig, flushes: Flushes) -> Self {
        let separator = cluster.naming.separator.as_bytes();
        let prefix = |keyspace: &standin_config::KeyspaceConfig| {
            let prefix = [keyspace.name.as_bytes(), separator].concat().into_boxed_slice();
            // What is before the first separator is the name.
            let is_name = memmem::find(&prefix, separator) == Some(keyspace.name.len());
            is_name.then_some((prefix, keyspace.id))
        };
        let prefixes: Box<[_]> = cluster.keyspaces.iter().filter_map(prefix).collect();
        let mut first = Box::new([false; 256]);
        for (prefix, _) in &prefixes {
            first[usize::from(prefix[0])] = true;
        }
        let default = cluster.naming.default_keyspace;
        let is_slotted = cluster.hash == KeyHash::Crc16;
        let lone_caches = lone_caches(&cluster.keyspaces);
        Self { prefixes, first, default, is_slotted, lone_caches, flushes }
    }

    /// Whether keys are hashed as in Redis Cluster.
    pub(in crate::shard) fn is_slotted(&self) -> bool {
        self.is_slotted
    }

    /// Whether the keyspace has no database and is bound to no other.
    pub(in crate::shard) fn is_lone_cache(&self, keyspace: u8) -> bool {
        self.lone_caches.contains(&keyspace)
    }

    /// Appends the name by which clients know a key of a keyspace.
    pub(in crate::shard) fn spell(&self, keyspace: u8, key: &[u8], out: &mut Vec<u8>) {
        let is_bare = self.of(key) == Some(Named { keyspace, prefix: 0 });
        let known = self.prefixes.iter().find(|(_, id)| *id == keyspace);
        if let Some((prefix, _)) = known.filter(|_| !is_bare) {
            out.extend_from_slice(prefix);
        }
        out.extend_from_slice(key);
    }

    /// The keyspace that a key names, or the default one. `None` if there is no default.
    #[inline]
    pub(in crate::shard) fn of(&self, key: &[u8]) -> Option<Named> {
        match key.first() {
            Some(first) if self.first[usize::from(*first)] => self.named(key),
            // It names none.
            _ => self.whole(),
        }
    }

    /// The default keyspace, to which a key belongs as a whole.
    #[inline]
    fn whole(&self) -> Option<Named> {
        self.default.map(|keyspace| Named { keyspace, prefix: 0 })
    }

    fn named(&self, key: &[u8]) -> Option<Named> {
        let begins = |prefix: &[u8]| key.len() > prefix.len() && key.starts_with(prefix);
        match self.prefixes.iter().find(|(prefix, _)| begins(prefix)) {
            Some((prefix, keyspace)) => Some(Named { keyspace: *keyspace, prefix: prefix.len() }),
            None => self.whole(),
        }
    }

    /// Sets the requests of which a flush of everything consists.
    pub(in crate::shard) fn set_flushes(&mut self, flushes: Flushes) {
        self.flushes = flushes;
    }

    /// The requests of which a flush of everything consists.
    pub(in crate::shard) fn flushes(&self) -> &Flushes {
        &self.flushes
    }
}

#[cfg(test)]
mod tests {
    use standin_config::{KeyspaceConfig, Naming};

    use super::*;

    fn names(separator: &str, default_keyspace: Option<u8>) -> Names {
        let mut cluster = ClusterConfig::new("c", ([127, 0, 0, 1], 1).into(), None);
        cluster.keyspaces = vec![KeyspaceConfig::cache(1, "users"), KeyspaceConfig::cache(2, "u")];
        cluster.naming = Naming { separator: separator.to_owned(), default_keyspace };
        Names::new(&cluster, Flushes::default())
    }

    fn of(names: &Names, key: &str) -> Option<(u8, usize)> {
        names.of(key.as_bytes()).map(|named| (named.keyspace, named.prefix))
    }

    #[test]
    fn a_key_names_its_keyspace_before_the_first_separator() {
        let names = names(":", Some(2));
        assert_eq!(of(&names, "users:alice"), Some((1, 6)));
        assert_eq!(of(&names, "users:a:b"), Some((1, 6)));
        assert_eq!(of(&names, "u:x"), Some((2, 2)));
        for whole in ["alice", "others:alice", "users", "users:", ":users:x", "", "xusers:a"] {
            assert_eq!(of(&names, whole), Some((2, 0)), "{whole}");
        }
    }

    #[test]
    fn a_name_leads_back_to_its_key() {
        for (default, keyspace, key, wanted) in [
            (Some(2), 2, "alice", "alice"),
            (Some(2), 1, "alice", "users:alice"),
            (Some(2), 2, "others:alice", "others:alice"),
            (Some(2), 2, "users:alice", "u:users:alice"),
            (Some(2), 1, "users:alice", "users:users:alice"),
            (None, 2, "alice", "u:alice"),
        ] {
            let (names, mut name) = (names(":", default), Vec::new());
            names.spell(keyspace, key.as_bytes(), &mut name);
            assert_eq!(name, wanted.as_bytes());
            let named = names.of(&name).unwrap();
            assert_eq!((named.keyspace, &name[named.prefix..]), (keyspace, key.as_bytes()));
        }
    }

    #[test]
    fn without_a_default_a_key_has_to_name_its_keyspace() {
        let names = names("::", None);
        assert_eq!(of(&names, "users::alice"), Some((1, 7)));
        assert_eq!(of(&names, "users:alice"), None);
        assert_eq!(of(&names, "alice"), None);
    }

    #[test]
    fn a_name_that_hides_behind_a_separator_names_nothing() {
        let mut cluster = ClusterConfig::new("c", ([127, 0, 0, 1], 1).into(), None);
        cluster.keyspaces = vec![KeyspaceConfig::cache(1, "a-"), KeyspaceConfig::cache(2, "a")];
        cluster.naming = Naming { separator: "--".to_owned(), default_keyspace: None };
        let names = Names::new(&cluster, Flushes::default());
        assert_eq!(of(&names, "a---x"), Some((2, 3)), "the key is -x");
    }
}
