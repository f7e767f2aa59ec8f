//! A shard without a loop, for tests of what needs one of its parts.

use std::sync::Arc;

use standin_config::{ClusterConfig, KeyspaceConfig, OriginConfig};
use standin_protocol::time::Micros;

use super::Core;
use crate::node::{Node, NodeConfig, Now};
use crate::shard::access::Access;
use crate::shard::admission::{Admission, Places};
use crate::shard::challenges::Challenges;
use crate::shard::context::ShardContext;
use crate::shard::link::LinkConfig;

const BOOT: u64 = 5;
/// The time, which does not pass.
pub(in crate::shard) const NOW: Now = Now { mono: Micros(1_000_000), wall_us: 1 << 50 };

/// The only shard of the first of two servers, which has no map.
pub(in crate::shard) fn core(
    change: impl FnOnce(&mut ClusterConfig),
    access: Access,
) -> Core<Node> {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let mut config = ClusterConfig::new("t", address(99), OriginConfig::sqlite(""))
        .with_group("g", [("a", address(100)), ("b", address(101))]);
    for server in &mut config.servers {
        (server.shards, server.memory_bytes, server.huge_pages) = (1, 8 << 20, false);
    }
    config.keyspaces = vec![KeyspaceConfig::cache(1, "k")];
    change(&mut config);
    let cluster = Arc::new(config);
    let topology = Arc::new(cluster.topology().unwrap());
    let node = NodeConfig::new(&cluster, 0, 0, BOOT, NOW.mono);
    let node = Node::new(node, Arc::clone(&topology)).unwrap();
    let context = ShardContext {
        shard: 0,
        shards: 1,
        server: 0,
        topology,
        challenges: Challenges::new([7; 32]),
        admission: Arc::new(Admission::new(Places::wanted(&cluster, 0))),
        tls: None,
        tls_calls: None,
        link: LinkConfig::new(&cluster, BOOT),
        access: Arc::new(access),
        cluster,
    };
    Core::new(node, context, NOW.mono)
}
