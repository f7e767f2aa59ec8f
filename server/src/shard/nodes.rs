//! The nodes that clients of Redis Cluster see: each shard of each server is one, with a name and an
//! address that never change.

use std::net::SocketAddr;

use standin_config::{ClusterConfig, ServerConfig};
use standin_protocol::hash::key_hash;
use standin_protocol::slots::{SLOTS, slots_of};

use super::context::ShardContext;
use crate::node::routes::Routes;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeInfo {
    /// Its name, 40 hexadecimal digits, as Redis has them.
    pub(super) id: String,
    /// The host of its address.
    pub(super) host: String,
    /// The port of its address.
    pub(super) port: u16,
    /// The port at which its server talks to others.
    pub(super) bus_port: u16,
}

/// All nodes of a cluster.
#[derive(Debug)]
pub(super) struct Nodes {
    /// The nodes of each server, by shard.
    servers: Vec<Vec<NodeInfo>>,
    partitions: u32,
    /// The server and the shard that this node is.
    own: (u16, u16),
}

/// The first and the last slot of a range, and the server and shard to ask for them.
pub(super) type Range = ((u16, u16), (u16, u16));

impl Nodes {
    /// Those of a cluster, as this shard sees them. `None` if its shards are no nodes.
    pub(super) fn of(context: &ShardContext) -> Option<Self> {
        Self::of_cluster(&context.cluster, (context.server, context.shard))
    }

    /// Those of a cluster, as this shard of a server sees them.
    pub(super) fn of_cluster(cluster: &ClusterConfig, own: (u16, u16)) -> Option<Self> {
        let node = |server: u16, shard: u16| {
            let address = cluster.node_address(server, shard)?;
            let config = &cluster.servers[usize::from(server)];
            let name = format!("{}/{}/{shard}", cluster.name, config.name);
            Some(NodeInfo::new(&name, address, config.address.port()))
        };
        let nodes = |(server, config): (u16, &ServerConfig)| {
            (0..config.shards).map(|shard| node(server, shard)).collect::<Option<Vec<_>>>()
        };
        let servers = (0..).zip(&cluster.servers).map(nodes).collect::<Option<_>>()?;
        Some(Self { servers, partitions: cluster.partitions, own })
    }

    /// The node that is this shard of a server.
    #[must_use]
    pub(super) fn of_shard(&self, server: u16, shard: u16) -> Option<&NodeInfo> {
        self.servers.get(usize::from(server))?.get(usize::from(shard))
    }

    /// This node.
    #[must_use]
    pub(super) fn own(&self) -> &NodeInfo {
        let (server, shard) = self.own;
        &self.servers[usize::from(server)][usize::from(shard)]
    }

    /// All nodes, each with the number of its server and of its shard.
    pub(super) fn all(&self) -> impl Iterator<Item = ((u16, u16), &NodeInfo)> {
        (0..).zip(&self.servers).flat_map(|(server, shards)| {
            (0..).zip(shards).map(move |(shard, node)| ((server, shard), node))
        })
    }

    /// The ranges of slots in their order, each with the server and the shard to ask: neighbours of one
    /// shard are one range.
    #[must_use]
    pub(super) fn ranges(&self, routes: &Routes) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        let partitions = (0..self.partitions).zip(&routes.partitions);
        for (partition, server) in partitions {
            let Some(shards) = self.servers.get(usize::from(*server)) else { continue };
            // At most 256.
            let shard = (partition % shards.len() as u32) as u16;
            let slots = slots_of(partition, self.partitions);
            let (first, last) = (slots.start, slots.end - 1);
            match ranges.last_mut() {
                Some(((_, end), to)) if *to == (*server, shard) && *end + 1 == first => *end = last,
                _ => ranges.push(((first, last), (*server, shard))),
            }
        }
        ranges
    }

    /// The slots of each node that has some.
    #[must_use]
    pub(super) fn slots_of(ranges: &[Range], node: (u16, u16)) -> Vec<(u16, u16)> {
        ranges.iter().filter(|(_, to)| *to == node).map(|(slots, _)| *slots).collect()
    }

    /// Whether there is a node for each slot.
    #[must_use]
    pub(super) fn is_covered(ranges: &[Range]) -> bool {
        let count = |((first, last), _): &Range| u32::from(last - first) + 1;
        ranges.iter().map(count).sum::<u32>() == SLOTS
    }
}

impl NodeInfo {
    fn new(name: &str, address: SocketAddr, bus_port: u16) -> Self {
        let hash = |seed| key_hash(seed, name.as_bytes());
        let id = format!("{:016x}{:016x}{:08x}", hash(0), hash(1), hash(2) as u32);
        Self { id, host: address.ip().to_string(), port: address.port(), bus_port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::routes::Health;

    fn nodes() -> Nodes {
        let node = |server: u16, shard: u16| {
            let address = ([127, 0, 0, 1], 7_000 + 10 * server + shard).into();
            NodeInfo::new(&format!("c/s{server}/{shard}"), address, 1)
        };
        let servers = vec![vec![node(0, 0), node(0, 1)], vec![node(1, 0)]];
        Nodes { servers, partitions: 4, own: (0, 1) }
    }

    #[test]
    fn each_node_has_a_name_of_its_own() {
        let nodes = nodes();
        let ids: std::collections::BTreeSet<&str> =
            nodes.all().map(|(_, node)| node.id.as_str()).collect();
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_eq!(nodes.own(), nodes.of_shard(0, 1).unwrap());
        assert_eq!(nodes.of_shard(0, 2), None);
    }

    #[test]
    fn neighbouring_slots_of_one_shard_are_one_range() {
        let nodes = nodes();
        let routes = |partitions: &[u16]| Routes {
            epoch: 1,
            servers: vec![Health::Ok; 2],
            partitions: partitions.to_vec(),
        };
        let ranges = nodes.ranges(&routes(&[1, 1, 0, 0]));
        assert_eq!(
            ranges,
            [((0, 8_191), (1, 0)), ((8_192, 12_287), (0, 0)), ((12_288, 16_383), (0, 1))]
        );
        assert_eq!(Nodes::slots_of(&ranges, (1, 0)), [(0, 8_191)]);
        assert!(Nodes::is_covered(&ranges));
        let without_map = nodes.ranges(&routes(&[]));
        assert!(without_map.is_empty() && !Nodes::is_covered(&without_map));
        // Two partitions of one shard that are no neighbours.
        let apart = nodes.ranges(&routes(&[0, 1, 0, 1]));
        assert_eq!(Nodes::slots_of(&apart, (0, 0)), [(0, 4_095), (8_192, 12_287)]);
    }
}
