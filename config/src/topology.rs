//! The conversion of a cluster file to the topology on which all parties must agree.

use standin_protocol::auth::ClusterKey;
use standin_protocol::map::{MapError, ServerInfo, Topology};
use standin_protocol::seeds::HashSeeds;
use standin_protocol::slots::{KeyHash, Prefixes};

use crate::ClusterConfig;

impl ClusterConfig {
    /// The static part of the cluster map. Computing the ranks takes a few milliseconds;
    /// do it once.
    ///
    /// # Errors
    /// [`MapError`]; not for a configuration that has been validated.
    pub fn topology(&self) -> Result<Topology, MapError> {
        let servers = self.servers.iter().map(|s| ServerInfo {
            name: s.name.clone(),
            group: s.group,
            weight: s.weight,
            shards: s.shards,
            address: s.address,
        });
        let (name, master) = (self.name.clone(), self.master.address);
        let topology = Topology::new(name, master, servers.collect(), self.partitions)?;
        let bonds = self.keyspaces.iter().flat_map(|keyspace| {
            keyspace.also_invalidates.iter().map(|other| (keyspace.id, *other))
        });
        let hash_seeds = HashSeeds::of_bonds(bonds);
        let topology = topology.with_hash_seeds(hash_seeds).with_key_forms(self.key_forms());
        match self.hash {
            KeyHash::Xxh3 => Ok(topology),
            KeyHash::Crc16 => {
                let prefixes = self
                    .slot_prefixes(&hash_seeds)
                    .ok_or(MapError::Unsound("a keyspace's name or the separator is no prefix"))?;
                topology.with_slots(prefixes)
            }
        }
    }

    /// The prefix that each keyspace's keys have where they are hashed: none for the default keyspace,
    /// the name and the separator for others. Keyspaces that are bound to each other have one prefix,
    /// so that a key has one place in all of them: none if the default keyspace is among them, otherwise
    /// that of the lowest id.
    fn slot_prefixes(&self, hash_seeds: &HashSeeds) -> Option<Prefixes> {
        let default_seed = self.naming.default_keyspace.map(|keyspace| hash_seeds.of(keyspace));
        let named = self.keyspaces.iter().filter_map(|keyspace| {
            let seed = hash_seeds.of(keyspace.id);
            let first = self.keyspaces.iter().find(|other| other.id == seed)?;
            let prefix = format!("{}{}", first.name, self.naming.separator);
            (Some(seed) != default_seed).then_some((keyspace.id, prefix))
        });
        let named: Vec<(u8, String)> = named.collect();
        let list = named.iter().map(|(keyspace, prefix)| (*keyspace, prefix.as_bytes()));
        Prefixes::of_list(&list.collect::<Vec<_>>())
    }

    /// The cluster's key, if it has a secret.
    #[must_use]
    pub fn cluster_key(&self) -> Option<ClusterKey> {
        self.security.secret.map(ClusterKey::new)
    }

    /// The keys of all secrets that count, the one that is used first.
    #[must_use]
    pub fn cluster_keys(&self) -> Vec<ClusterKey> {
        let second = self.security.second_secret.map(ClusterKey::new);
        self.cluster_key().into_iter().chain(second).collect()
    }

    /// The key with which clients authenticate themselves, if the cluster has a secret.
    #[must_use]
    pub fn client_key(&self) -> Option<ClusterKey> {
        let made = || self.cluster_key().map(|key| key.for_clients());
        self.security.client_key.map(ClusterKey::of_clients).or_else(made)
    }
}

#[cfg(test)]
mod tests {
    use crate::{KeyspaceConfig, Naming};

    use super::*;

    #[test]
    fn keys_have_the_slots_that_clients_of_redis_compute() {
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let mut cluster = ClusterConfig::new("c", address(1), None);
        cluster = cluster.with_group("g", [("a", address(2)), ("b", address(3))]);
        let cache = KeyspaceConfig::cache;
        cluster.keyspaces = vec![cache(1, "pages"), cache(2, "titles"), cache(3, "users")];
        cluster.keyspaces.push(KeyspaceConfig { also_invalidates: vec![3], ..cache(4, "people") });
        cluster.keyspaces[0].also_invalidates = vec![2];
        cluster.naming = Naming { default_keyspace: Some(2), ..Naming::default() };
        let xxh3 = cluster.topology().unwrap();
        cluster.hash = KeyHash::Crc16;
        let topology = cluster.topology().unwrap();
        assert_ne!(xxh3.id, topology.id);
        let prefixes = topology.slot_prefixes.as_ref().unwrap();
        // The default keyspace and what is bound to it, and two others that are bound to each other.
        assert_eq!([1, 2, 3, 4].map(|id| prefixes.of(id)), ["", "", "users:", "users:"]);
        let slot = standin_protocol::slots::slot(b"users:{7}.x");
        let partition = standin_protocol::slots::partition_of_slot(slot, 1_024);
        assert_eq!(topology.partition(4, b"{7}.x"), partition);
        cluster.naming.default_keyspace = None;
        let topology = cluster.topology().unwrap();
        assert_eq!(topology.slot_prefixes.as_ref().unwrap().of(2), "pages:");
        cluster.partitions = 16_385;
        assert!(cluster.topology().is_err());
    }
}
