//! What a connection has set, and the reply to a command with many keys while it is put together.

use std::collections::VecDeque;
use std::sync::Arc;

use super::resp::Version;
use super::watch::{Exec, Transacted, Watched};
use crate::shard::admission::Admission;
use crate::shard::codec::{Again, Told};
use crate::shard::nodes::Nodes;

/// A connection's part in Redis Cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The nodes; `None` if the cluster has none.
    pub(super) nodes: Option<Arc<Nodes>>,
    /// It came to the port of a node.
    pub(super) is_node: bool,
}

/// What a connection has set, and the reply that is being put together.
#[derive(Debug)]
pub(in crate::shard) struct Session {
    pub(super) version: Version,
    /// The number of the connection.
    pub(super) number: u64,
    /// The user that the client is.
    pub(super) user: String,
    /// The name that the client has given it.
    pub(super) name: Vec<u8>,
    /// The reply that is being put together.
    pub(super) group: Group,
    /// Its part in Redis Cluster.
    pub(super) cluster: Cluster,
    /// The places for connections.
    pub(super) admission: Arc<Admission>,
    /// The keys that it watches.
    pub(super) watched: Watched,
    /// The transaction that waits for what is said of these keys.
    pub(super) exec: Option<Box<Exec>>,
    /// The transaction that its owner carries out.
    pub(super) transacted: Option<Box<Transacted>>,
    /// The bytes that come before all that has not been decoded.
    pub(super) again: Option<Again>,
    /// Replies of a transaction that are known already.
    pub(super) placed: Option<Box<Placed>>,
    /// Nothing is decoded before a reply has been written.
    pub(super) is_alone: bool,
}

/// Replies to commands of a transaction that were carried out before those in front of them.
#[derive(Debug)]
pub(super) struct Placed {
    /// The number of the next command.
    next: usize,
    /// The replies, each with the number of its command.
    replies: VecDeque<(usize, Vec<u8>)>,
}

impl Placed {
    /// Those of these commands, in their order. Those at the beginning are written. `None` if no others
    /// are left.
    pub(super) fn new(replies: Vec<(usize, Vec<u8>)>, out: &mut Vec<u8>) -> Option<Box<Self>> {
        let mut placed = Self { next: 0, replies: replies.into() };
        placed.write(out).then(|| Box::new(placed))
    }

    /// Notes that a reply was written, and writes those behind it. Returns whether others are left.
    pub(super) fn pass(&mut self, out: &mut Vec<u8>) -> bool {
        self.next += 1;
        self.write(out)
    }

    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some((_, reply)) = self.replies.pop_front_if(|(number, _)| *number == self.next) {
            out.extend_from_slice(&reply);
            self.next += 1;
        }
        !self.replies.is_empty()
    }
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
    /// That of a connection of this user, which came to the port of a node or to another.
    pub(in crate::shard) fn new(user: &str, told: &Told<'_>, is_node: bool) -> Self {
        Self {
            version: Version::default(),
            number: told.number,
            user: user.to_owned(),
            name: Vec::new(),
            group: Group::default(),
            cluster: Cluster { nodes: told.nodes.cloned(), is_node },
            admission: Arc::clone(told.admission),
            watched: Watched::default(),
            exec: None,
            transacted: None,
            again: None,
            placed: None,
            is_alone: false,
        }
    }

    /// The mode of the server as its client is told it.
    pub(super) fn mode(&self) -> &'static str {
        if self.cluster.is_node { "cluster" } else { "standalone" }
    }
}
