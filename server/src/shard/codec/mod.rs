//! Codecs turn the bytes of a connection into commands for the node, and the node's answers into
//! bytes. A codec knows no rules, and the node knows no bytes.
//!
//! ```text
//! bytes ─► decode ─► Request { tag, what: Command … } ─► Node::serve ─► answer(tag, head, value) ─► bytes
//! ```
//! A protocol is a file here, and a variant of `Protocol` and `Codec`: standin/ is Standin's
//! own, for clients and for links to other servers. Its replies name their requests. For a protocol
//! whose replies do not, order.rs puts them into the order of the requests.

#[cfg(test)]
pub(in crate::shard) mod lines;
pub mod order;
pub(in crate::shard) mod standin;

use std::ops::Range;

use standin_protocol::frame::FrameLimits;

use crate::node::modify::Modify;
use crate::node::{AnswerHead, CommandHead, Status};

/// The protocol that a caller speaks after its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Protocol {
    /// Standin's own.
    Standin,
    /// The protocol of tests whose replies come in order.
    #[cfg(test)]
    Lines,
}

impl Protocol {
    /// Decodes the request at the head of `bytes`; `Ok(None)` if not all of it is there yet.
    ///
    /// # Errors
    /// A request that can't be served. It is answered before those that are staged, so a protocol
    /// whose replies come in order returns [`What::Refused`] instead.
    #[inline]
    pub(in crate::shard) fn decode(
        self,
        bytes: &[u8],
        limits: FrameLimits,
        caller: Caller,
    ) -> Result<Option<Request>, Rejected> {
        match self {
            Self::Standin => standin::decode(bytes, limits, caller),
            #[cfg(test)]
            Self::Lines => Ok(lines::decode(bytes)),
        }
    }

    /// Whether replies come in the order of the requests.
    #[inline]
    pub(in crate::shard) fn is_ordered(self) -> bool {
        match self {
            Self::Standin => false,
            #[cfg(test)]
            Self::Lines => true,
        }
    }
}

/// The protocol of an accepted connection, and what its codec remembers of unanswered requests.
#[derive(Debug, Default)]
pub(in crate::shard) enum Codec {
    /// Standin's own, which remembers nothing.
    #[default]
    Standin,
    /// The protocol of tests whose replies come in order.
    #[cfg(test)]
    Lines(lines::Lines),
}

impl Codec {
    /// The codec for a caller whose hello has been accepted.
    #[cfg_attr(not(test), expect(unused_variables, reason = "all callers speak one protocol"))]
    pub(in crate::shard) fn of(caller: Caller) -> Self {
        #[cfg(test)]
        if caller.client_id == lines::CLIENT_ID {
            return Self::Lines(lines::Lines::default());
        }
        Self::Standin
    }

    /// The protocol by which requests are read.
    #[inline]
    pub(in crate::shard) fn protocol(&self) -> Protocol {
        match self {
            Self::Standin => Protocol::Standin,
            #[cfg(test)]
            Self::Lines(_) => Protocol::Lines,
        }
    }

    /// Notes that a request is served now, after all those before it, and returns the tag for its
    /// answer.
    #[inline]
    pub(in crate::shard) fn admit(&mut self, request: &Request) -> u64 {
        match self {
            Self::Standin => request.tag,
            #[cfg(test)]
            Self::Lines(lines) => lines.admit(request.tag),
        }
    }

    /// Appends the answer to the request of this tag to `out`, or keeps it until it is its turn.
    #[inline]
    pub(in crate::shard) fn answer(
        &mut self,
        tag: u64,
        head: &AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Standin => standin::answer(tag, head, value, out),
            #[cfg(test)]
            Self::Lines(lines) => lines.answer(tag, head, value, out),
        }
    }

    /// The bytes of memory that answers take whose turn has not come.
    #[inline]
    pub(in crate::shard) fn waiting_bytes(&self) -> usize {
        match self {
            Self::Standin => 0,
            #[cfg(test)]
            Self::Lines(lines) => lines.waiting_bytes(),
        }
    }
}

/// The sender of the requests on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller {
    /// Another server of the cluster.
    pub is_peer: bool,
    /// With its number for a request it names the request; 0: requests can't be told apart.
    pub client_id: u64,
}

/// A whole request in a buffer. Ranges count from its first byte.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::shard) struct Request {
    /// The codec's own data about the request, which it gets back with the answer.
    pub(in crate::shard) tag: u64,
    /// Bytes that it takes up.
    pub(in crate::shard) bytes: u32,
    key: (u32, u32),
    value: (u32, u32),
    /// The request itself.
    pub(in crate::shard) what: What,
}

impl Request {
    /// The place of its key.
    #[inline]
    pub(in crate::shard) fn key(&self) -> Range<usize> {
        self.key.0 as usize..self.key.1 as usize
    }

    /// The place of its value.
    #[inline]
    pub(in crate::shard) fn value(&self) -> Range<usize> {
        self.value.0 as usize..self.value.1 as usize
    }
}

/// The content of a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::shard) enum What {
    /// A command for the node.
    Command(CommandHead),
    /// A MODIFY for the node, and its operation.
    Modify(CommandHead, Box<Modify>),
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
    /// The answer.
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
