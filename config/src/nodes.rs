//! The nodes that clients of Redis Cluster see: each shard of a server is one, on a port of its own.

use std::net::SocketAddr;

use standin_protocol::slots::KeyHash;

use crate::ServerConfig;
use crate::model::ClusterConfig;
use crate::services::{ServiceConfig, ServiceProtocol};

impl ClusterConfig {
    /// The address of the node that is this shard of a server. `None` if the server has no nodes: keys
    /// are not hashed as in Redis Cluster, or it has no port for Redis' protocol.
    #[must_use]
    pub fn node_address(&self, server: u16, shard: u16) -> Option<SocketAddr> {
        let server = self.servers.get(usize::from(server))?;
        match self.hash {
            KeyHash::Xxh3 => None,
            KeyHash::Crc16 => server.node_address(shard),
        }
    }
}

impl ServerConfig {
    fn node_address(&self, shard: u16) -> Option<SocketAddr> {
        let is_redis = |service: &&ServiceConfig| service.protocol == ServiceProtocol::Redis;
        let redis = self.services.iter().find(is_redis)?.address;
        let first = first_node_port(redis, self.redis_node_port)?;
        Some(SocketAddr::new(redis.ip(), first.checked_add(shard)?))
    }
}

/// The port of the node that is shard 0; `None` if there is no port behind the last one.
pub(crate) fn first_node_port(redis: SocketAddr, given: Option<u16>) -> Option<u16> {
    given.or_else(|| redis.port().checked_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_server_are_behind_its_redis_port_or_where_the_file_says() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut cluster = ClusterConfig::new("c", address(1), None);
        cluster = cluster.with_group("g", [("a", address(2)), ("b", address(3))]);
        cluster.servers[0].services = vec![ServiceConfig {
            protocol: ServiceProtocol::Redis,
            address: address(6_379),
            passwords: None,
        }];
        assert_eq!(cluster.node_address(0, 0), None, "keys are not hashed by CRC-16");
        cluster.hash = KeyHash::Crc16;
        assert_eq!(cluster.node_address(0, 2), Some(address(6_382)));
        assert_eq!(cluster.node_address(1, 0), None, "it does not speak Redis' protocol");
        cluster.servers[0].redis_node_port = Some(7_000);
        assert_eq!(cluster.node_address(0, 2), Some(address(7_002)));
        cluster.servers[0].redis_node_port = Some(u16::MAX);
        assert_eq!(cluster.node_address(0, 1), None);
    }
}
