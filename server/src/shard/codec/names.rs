//! Keyspaces in the keys of protocols that have none: `users:alice` is the key `alice` of the
//! keyspace `users`. A key that names no keyspace belongs to the default one, whole.

use memchr::memmem;
use standin_config::ClusterConfig;

use super::flushes::Flushes;

/// The names of the keyspaces, and what separates them from keys.
#[derive(Debug)]
pub struct Names {
    separator: Box<[u8]>,
    keyspaces: Box<[(Box<[u8]>, u8)]>,
    default: Option<u8>,
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
        let name = |keyspace: &standin_config::KeyspaceConfig| {
            (keyspace.name.as_bytes().into(), keyspace.id)
        };
        Self {
            separator: cluster.naming.separator.as_bytes().into(),
            keyspaces: cluster.keyspaces.iter().map(name).collect(),
            default: cluster.naming.default_keyspace,
            flushes,
        }
    }

    /// The keyspace that a key names, or the default one. `None` if there is no default.
    #[inline]
    pub(in crate::shard) fn of(&self, key: &[u8]) -> Option<Named> {
        let default = self.default.map(|keyspace| Named { keyspace, prefix: 0 });
        let separator = match &*self.separator {
            [byte] => memchr::memchr(*byte, key),
            separator => memmem::find(key, separator),
        };
        // It names none.
        let Some(at) = separator else { return default };
        let prefix = at + self.separator.len();
        let (name, rest) = (&key[..at], &key[prefix..]);
        let named = self.keyspaces.iter().find(|(known, _)| **known == *name);
        match named {
            Some((_, keyspace)) if !rest.is_empty() => Some(Named { keyspace: *keyspace, prefix }),
            _ => default,
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
    fn without_a_default_a_key_has_to_name_its_keyspace() {
        let names = names("::", None);
        assert_eq!(of(&names, "users::alice"), Some((1, 7)));
        assert_eq!(of(&names, "users:alice"), None);
        assert_eq!(of(&names, "alice"), None);
    }
}
