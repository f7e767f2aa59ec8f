//! Helpers that the tests of several files share.

use std::sync::Arc;

use standin_protocol::map::{ServerInfo, Topology};

/// Returns a cluster on invented addresses. It has one server per entry, in that group, with two
/// shards.
pub(crate) fn topology(groups: &[u16]) -> Arc<Topology> {
    let servers = (1u16..).zip(groups).map(|(number, &group)| ServerInfo {
        name: format!("s{number}"),
        group,
        weight: 1,
        shards: 2,
        address: ([127, 0, 0, 1], 7_000 + number).into(),
    });
    let master = ([127, 0, 0, 1], 7_000).into();
    Arc::new(Topology::new("test".to_owned(), master, servers.collect(), 16).unwrap())
}
