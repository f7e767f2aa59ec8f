//! The cluster file of the tests.

use std::sync::Arc;

use standin_config::{ClusterConfig, OriginConfig};
use standin_master::Rules;
use standin_protocol::map::{ServerInfo, Topology};

/// The rules of a small cluster with the default timings.
pub fn rules() -> Rules {
    let origin = OriginConfig::sqlite("origin.sqlite");
    let cluster = ClusterConfig::new("t", ([127, 0, 0, 1], 999).into(), origin);
    Rules { offline_servers_max: 2, ..Rules::of(&cluster) }
}

/// Returns a topology with groups of these sizes, named a1 a2 …, b1 b2 …
pub fn topology(groups: &[u16]) -> Arc<Topology> {
    let mut servers = Vec::new();
    for (group, size) in (0u16..).zip(groups) {
        for member in 1..=*size {
            let letter = char::from(b'a' + u8::try_from(group).expect("few groups"));
            let port = 1_000 + 100 * group + member;
            servers.push(ServerInfo {
                name: format!("{letter}{member}"),
                group,
                weight: 1,
                shards: 2,
                address: ([127, 0, 0, 1], port).into(),
            });
        }
    }
    let master = ([127, 0, 0, 1], 999).into();
    Arc::new(Topology::new("world".to_owned(), master, servers, 16).expect("a valid topology"))
}
