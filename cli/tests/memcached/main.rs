//! The memcached protocol, with real processes and sockets.
//!
//! ```text
//! caches.rs        all keys from every server, keyspaces with and without a database, flushes, passwords
//! differential.rs  the same requests to memcached, and the same bytes in the replies
//! hostile.rs       callers that send half, too much, or nonsense, or do not read
//! real.rs          a client library that others have written, and the death of a server
//! ```

#[path = "../common/mod.rs"]
mod common;

mod caches;
mod differential;
mod hostile;
mod real;

use standin_config::{ClusterConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_testkit::free_ports;

use common::{Cluster, KEYSPACE};

/// The keyspace of keys that name none, which has no database.
const CACHE: u8 = 2;

/// Creates a cluster whose servers speak the protocol. The keyspace `items` has a database.
fn cluster(
    test: &str,
    groups: &[(&str, &[&str])],
    change: impl FnOnce(&mut ClusterConfig),
) -> Cluster {
    Cluster::with(test, groups, |config| {
        assert_eq!(config.keyspaces[0].id, KEYSPACE);
        config.keyspaces.push(KeyspaceConfig::cache(CACHE, "cache"));
        config.naming.default_keyspace = Some(CACHE);
        let ports = free_ports(config.servers.len());
        for (server, port) in config.servers.iter_mut().zip(ports) {
            server.services = vec![ServiceConfig {
                protocol: ServiceProtocol::Memcached,
                address: ([127, 0, 0, 1], port).into(),
                passwords: None,
            }];
            (server.shards, server.memory_bytes) = (2, 64 << 20);
        }
        change(config);
    })
}
