//! Codecs turn the bytes of a connection into commands for the node, and the node's answers into
//! bytes. A codec knows no rules, and the node knows no bytes.
//!
//! ```text
//! bytes ─► decode ─► Request { tag, what: Command … } ─► Node::serve ─► answer(tag, head, value) ─► bytes
//! ```
//! A protocol is a file here: standin.rs is Standin's own, of clients and of links to other
//! servers.

pub(in crate::shard) mod standin;

use std::ops::Range;

use crate::node::{AnswerHead, CommandHead, Status};

/// Who sends requests on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller {
    /// Another server of the cluster.
    pub is_peer: bool,
    /// With its number for a request it names the request; 0: requests can't be told apart.
    pub client_id: u64,
}

/// A whole request in a buffer. Ranges count from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct Request {
    /// The codec's name for it, which its answer has to bear.
    pub(in crate::shard) tag: u64,
    /// Bytes that it takes up.
    pub(in crate::shard) bytes: u32,
    key: (u32, u32),
    value: (u32, u32),
    /// What it asks for.
    pub(in crate::shard) what: What,
}

impl Request {
    /// Where its key lies.
    #[inline]
    pub(in crate::shard) fn key(&self) -> Range<usize> {
        self.key.0 as usize..self.key.1 as usize
    }

    /// Where its value lies.
    #[inline]
    pub(in crate::shard) fn value(&self) -> Range<usize> {
        self.value.0 as usize..self.value.1 as usize
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum What {
    /// A command for the node.
    Command(CommandHead),
    /// The counters of the server.
    Stats,
    /// Nothing that this server can do: it is answered with this status and text.
    Refused(Status, &'static str),
}

/// Why bytes are not a request that can be served.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shard) struct Rejected {
    /// The codec's name for the request.
    pub(in crate::shard) tag: u64,
    /// How it is answered.
    pub(in crate::shard) status: Status,
    /// The text that explains the status.
    pub(in crate::shard) text: String,
    /// Bytes that the request takes up, if that is known: what comes after them can be read.
    pub(in crate::shard) bytes: Option<usize>,
}

impl AnswerHead {
    /// A status from a shard whose map has this tag.
    pub(in crate::shard) fn under(status: Status, map_tag: u32) -> Self {
        Self { map_tag, ..Self::status(status) }
    }
}
