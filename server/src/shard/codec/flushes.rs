//! The requests of which a flush of everything consists: one for each partition of each keyspace. The
//! key of such a request names the partition.

use std::sync::Arc;

use standin_protocol::map::Topology;

/// The requests of a flush of everything.
#[derive(Debug, Default)]
pub struct Flushes {
    /// The ids of the keyspaces, each with the place of its keys.
    keyspaces: Vec<(u8, usize)>,
    /// For each way of hashing, the keys of all partitions.
    keys: Vec<(u8, Vec<Vec<u8>>)>,
    topology: Option<Arc<Topology>>,
    is_unknown: bool,
}

/// The reply to a flush before it is known of which requests it consists.
pub(in crate::shard) const UNKNOWN: &str = "no server of the cluster has answered yet";

impl Flushes {
    /// Those of a proxy that does not know the cluster's partitions yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self { is_unknown: true, ..Self::default() }
    }

    /// Whether it is not known yet of which requests a flush consists.
    pub(in crate::shard) fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// Those of these keyspaces.
    #[must_use]
    pub fn new(keyspaces: impl Iterator<Item = u8>, topology: &Arc<Topology>) -> Self {
        let mut flushes = Self { topology: Some(Arc::clone(topology)), ..Self::default() };
        for keyspace in keyspaces {
            let seed = topology.hash_seeds.of(keyspace);
            let known = flushes.keys.iter().position(|(of, _)| *of == seed);
            let at = known.unwrap_or_else(|| {
                flushes.keys.push((seed, topology.keys_of_partitions(keyspace)));
                flushes.keys.len() - 1
            });
            flushes.keyspaces.push((keyspace, at));
        }
        flushes
    }

    /// The partitions and their keys, if they are known.
    pub(in crate::shard) fn topology(&self) -> Option<&Topology> {
        self.topology.as_deref()
    }

    fn partitions(&self) -> u32 {
        self.topology.as_ref().map_or(0, |topology| topology.partitions)
    }

    /// The number of requests.
    pub(in crate::shard) fn parts(&self) -> u32 {
        u32::try_from(self.keyspaces.len()).unwrap_or(u32::MAX) * self.partitions()
    }

    /// The keyspace and the partition of a request.
    pub(in crate::shard) fn part(&self, part: u32) -> Option<(u8, u32)> {
        let keyspace = part.checked_div(self.partitions())?;
        let (keyspace, _) = self.keyspaces.get(usize::try_from(keyspace).ok()?)?;
        Some((*keyspace, part % self.partitions()))
    }

    /// The key of a partition.
    pub(in crate::shard) fn key(&self, keyspace: u8, partition: u32) -> Option<&[u8]> {
        let (_, at) = self.keyspaces.iter().find(|(id, _)| *id == keyspace)?;
        let key = self.keys[*at].1.get(usize::try_from(partition).ok()?)?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standin_config::{ClusterConfig, KeyspaceConfig};

    #[test]
    fn a_flush_of_everything_asks_for_each_partition_of_each_keyspace_once() {
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let mut cluster = ClusterConfig::new("c", address(1), None);
        cluster = cluster.with_group("g", [("a", address(2)), ("b", address(3))]);
        cluster.partitions = 64;
        let (rows, mut other) =
            (KeyspaceConfig::new(1, "rows", ""), KeyspaceConfig::new(2, "o", ""));
        other.also_invalidates = vec![1];
        cluster.keyspaces = vec![rows, other, KeyspaceConfig::cache(9, "cache")];
        let topology = Arc::new(cluster.topology().unwrap());
        let flushes = Flushes::new([1, 2, 9].into_iter(), &topology);
        assert_eq!(flushes.parts(), 3 * 64);
        let mut seen: Vec<(u8, u32)> = (0..flushes.parts())
            .map(|part| {
                let (keyspace, partition) = flushes.part(part).unwrap();
                let key = flushes.key(keyspace, partition).unwrap();
                assert_eq!(topology.partition(keyspace, key), partition);
                (keyspace, partition)
            })
            .collect();
        seen.dedup();
        assert_eq!(seen.len(), 3 * 64);
        assert_eq!(flushes.part(3 * 64), None);
        assert_eq!((Flushes::default().parts(), Flushes::default().part(0)), (0, None));
    }
}
