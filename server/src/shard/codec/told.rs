//! What a connection knows beside what its client has set.

use std::sync::Arc;

use crate::shard::admission::Admission;
use crate::shard::nodes::Nodes;

/// What the client of a connection is told if it asks.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Told<'a> {
    /// The number of the connection.
    pub(in crate::shard) number: u64,
    /// The nodes of Redis Cluster; `None` if the cluster has none.
    pub(in crate::shard) nodes: Option<&'a Arc<Nodes>>,
    /// The places for connections.
    pub(in crate::shard) admission: &'a Arc<Admission>,
}
