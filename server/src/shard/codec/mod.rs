//! Codecs turn the bytes of a connection into commands for the node, and the node's answers into
//! bytes. A codec knows no rules, and the node knows no bytes.
//!
//! ```text
//! bytes ─► Decoder::decode ─► Request { tag, what: Command … } ─► Node::serve ─► Codec::answer_now ─► bytes
//!                                                    not at once  └► Codec::wait … Codec::answer ┘
//! ```
//! A protocol is a file or a folder here, and a variant of `Decoder` and `Codec`: standin/ is
//! Standin's own, for clients and for links to other servers. Its replies name their requests. For a
//! protocol whose replies do not, order.rs puts them into the order of the requests. names.rs finds
//! the keyspace in the keys of protocols that have none.

pub mod flushes;
pub(in crate::shard) mod memcached;
pub mod names;
pub mod order;
pub(in crate::shard) mod standin;

use std::ops::Range;

use standin_config::ServiceProtocol;
use standin_protocol::frame::FrameLimits;

use self::names::Names;
use super::listeners::Service;
use crate::node::modify::Modify;
use crate::node::{AnswerHead, CommandHead, OwnedCommand, Status};

/// The reading half of a codec, and how far it has come in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::shard) enum Decoder {
    /// Standin's own protocol.
    #[default]
    Standin,
    /// That of memcached.
    Memcached(memcached::Decoder),
}

/// What a decoder knows beside the bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Surroundings<'a> {
    /// The largest keys and values.
    pub(in crate::shard) limits: FrameLimits,
    /// The sender.
    pub(in crate::shard) caller: Caller,
    /// The names of keyspaces.
    pub(in crate::shard) names: &'a Names,
    /// Milliseconds since 1970.
    pub(in crate::shard) wall_ms: u64,
    /// The deadline of requests that bring none, in milliseconds.
    pub(in crate::shard) deadline_ms: u32,
}

impl Decoder {
    /// The decoder of a connection at a port of this service.
    pub(in crate::shard) fn of(service: Service) -> Self {
        match service {
            Service::Standin => Self::Standin,
            Service::Other(ServiceProtocol::Memcached) => Self::Memcached(Default::default()),
        }
    }

    /// Decodes the request at the head of `bytes`; `Ok(None)` if not all of it is there yet.
    ///
    /// # Errors
    /// A request that can't be served. It is answered before those that are staged, so a protocol
    /// whose replies come in order returns [`What::Refused`] or [`What::Said`] instead.
    #[inline]
    pub(in crate::shard) fn decode(
        &mut self,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Rejected> {
        match self {
            Self::Standin => standin::decode(bytes, around.limits, around.caller),
            Self::Memcached(decoder) => Ok(decoder.decode(bytes, around)),
        }
    }

    /// Returns the decoder as it was before this request, which it has decoded.
    pub(in crate::shard) fn before(self, request: &Request) -> Self {
        match self {
            Self::Standin => Self::Standin,
            Self::Memcached(_) => Self::Memcached(memcached::Decoder::before(request)),
        }
    }

    /// Whether it waits for the rest of something, of which all bytes so far have been taken.
    pub(in crate::shard) fn is_inside(self) -> bool {
        match self {
            Self::Standin => false,
            Self::Memcached(decoder) => decoder.is_inside(),
        }
    }
}

/// The writing half of a codec, and what it remembers of unanswered requests.
#[derive(Debug, Default)]
pub(in crate::shard) enum Codec {
    /// Standin's own, which remembers nothing.
    #[default]
    Standin,
    /// That of memcached.
    Memcached(Box<memcached::Replies>),
}

impl Codec {
    /// The codec of a connection at a port of this service.
    pub(in crate::shard) fn of(service: Service) -> Self {
        match service {
            Service::Standin => Self::Standin,
            Service::Other(ServiceProtocol::Memcached) => Self::Memcached(Box::default()),
        }
    }

    /// Whether replies come in the order of the requests.
    #[inline]
    pub(in crate::shard) fn is_ordered(&self) -> bool {
        !matches!(self, Self::Standin)
    }

    /// The tag of a request that is served now, after all those before it.
    #[inline]
    pub(in crate::shard) fn tag(&self, request: &Request) -> u64 {
        match self {
            Self::Standin => request.tag,
            Self::Memcached(replies) => replies.next_tag(),
        }
    }

    /// Notes that a request, whose bytes these are, is served now and is answered by its tag.
    #[inline]
    pub(in crate::shard) fn wait(&mut self, request: &Request, bytes: &[u8]) {
        match self {
            Self::Standin => {}
            Self::Memcached(replies) => replies.wait(request, bytes),
        }
    }

    /// Appends the answer to a request that is served now, whose bytes these are, to `out`, or keeps
    /// it until it is its turn.
    #[inline]
    pub(in crate::shard) fn answer_now(
        &mut self,
        request: &Request,
        bytes: &[u8],
        head: &AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Standin => standin::answer(request.tag, head, value, out),
            Self::Memcached(replies) => replies.answer_now(request, bytes, head, value, out),
        }
    }

    /// Appends the answer to the request of this tag, which was told to wait, to `out`, or keeps it
    /// until it is its turn.
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
            Self::Memcached(replies) => replies.answer(tag, head, value, out),
        }
    }

    /// Whether a request goes on if it finds a stale value.
    #[inline]
    pub(in crate::shard) fn recaches(&self, request: &Request) -> bool {
        match self {
            Self::Standin => false,
            Self::Memcached(_) => memcached::recaches(request),
        }
    }

    /// The read-modify-write by which the request of this tag, which was told to wait, goes on if it
    /// finds a stale value; `None` if it does not.
    pub(in crate::shard) fn recaching(
        &self,
        tag: u64,
        names: &Names,
        deadline_ms: u32,
    ) -> Option<OwnedCommand> {
        match self {
            Self::Standin => None,
            Self::Memcached(replies) => replies.recaching(tag, names, deadline_ms),
        }
    }

    /// The bytes of memory that answers take whose turn has not come.
    #[inline]
    pub(in crate::shard) fn waiting_bytes(&self) -> usize {
        match self {
            Self::Standin => 0,
            Self::Memcached(replies) => replies.waiting_bytes(),
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
    /// The bytes that the reply repeats or is written by; empty for Standin's own protocol.
    echo: (u32, u32),
    /// The spelling of its key.
    pub(in crate::shard) spelling: Spelling,
    /// The request itself.
    pub(in crate::shard) what: What,
}

/// The spelling of a key in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Spelling {
    /// Byte for byte.
    Plain,
    /// In base64. Its first bytes name the keyspace; this is their number.
    Base64 {
        /// Bytes that do not belong to the key.
        prefix: u8,
    },
    /// Not at all: the request is the flush of this partition.
    Partition(u32),
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

    /// The place of what its reply is written by.
    #[inline]
    fn echo(&self) -> Range<usize> {
        self.echo.0 as usize..self.echo.1 as usize
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
    /// A request that the codec answers by itself.
    Said,
    /// Bytes that are no request. They have no answer.
    Nothing,
    /// The last request: nothing behind it is read.
    Last,
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
