//! The conversion of a cluster file to the topology on which all parties must agree.

use standin_protocol::auth::ClusterKey;
use standin_protocol::map::{MapError, ServerInfo, Topology};
use standin_protocol::seeds::HashSeeds;

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
        let topology = topology.with_hash_seeds(HashSeeds::of_bonds(bonds));
        Ok(topology.with_key_forms(self.key_forms()))
    }

    /// The cluster's key, if it has a secret.
    #[must_use]
    pub fn cluster_key(&self) -> Option<ClusterKey> {
        self.security.secret.map(ClusterKey::new)
    }
}
