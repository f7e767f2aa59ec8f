//! What a connection has set, and the reply to a command with many keys while it is put together.

use std::sync::Arc;

use super::resp::Version;
use crate::shard::nodes::Nodes;

/// A connection's part in Redis Cluster.
#[derive(Debug, Default)]
pub(in crate::shard) struct Cluster {
    /// The nodes; `None` if the cluster has none.
    pub(in crate::shard) nodes: Option<Arc<Nodes>>,
    /// It came to the port of a node.
    pub(in crate::shard) is_node: bool,
}

/// What a connection has set, and the reply that is being put together.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) version: Version,
    /// The number of the connection.
    pub(super) number: u64,
    /// The name that the client has given it.
    pub(super) name: Vec<u8>,
    /// The reply that is being put together.
    pub(super) group: Group,
    /// Its part in Redis Cluster.
    pub(super) cluster: Cluster,
}

/// What the keys of a command have in common while its reply is put together.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The reply to the first that failed.
    pub(super) failed: Option<Vec<u8>>,
    /// The number of those that were there.
    pub(super) count: i64,
    /// The beginning of the reply.
    pub(super) kept: Vec<u8>,
    /// The beginning of the reply has been written: it can't become an error any more.
    pub(super) is_begun: bool,
}

impl Session {
    pub(super) fn new(number: u64, cluster: Cluster) -> Self {
        let (version, name, group) = (Version::default(), Vec::new(), Group::default());
        Self { version, number, name, group, cluster }
    }

    /// The mode of the server as its client is told it.
    pub(super) fn mode(&self) -> &'static str {
        if self.cluster.is_node { "cluster" } else { "standalone" }
    }
}
