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
//! the keyspace in the keys of protocols that have none. read.rs is the short form of most requests,
//! by which hits are decoded and answered. walk.rs finds cached keys, slice by slice (slice.rs), and
//! glob.rs tells which of them match a pattern.

pub(in crate::shard) mod digits;
pub mod flushes;
pub(in crate::shard) mod glob;
pub(in crate::shard) mod memcached;
pub mod names;
pub mod order;
mod read;
pub(in crate::shard) mod redis;
pub mod slice;
pub mod standin;
#[cfg(test)]
mod testing;
mod told;
mod turned_away;
pub mod walk;

use std::ops::Range;

use standin_config::ServiceProtocol;
use standin_protocol::frame::FrameLimits;

use self::names::Names;
pub(in crate::shard) use self::read::{Answers, Read, Reads};
use self::slice::Slice;
pub(in crate::shard) use self::told::Told;
pub(in crate::shard) use self::turned_away::{no_place, no_tls, only_plain};
use self::walk::Walk;
use super::access::Grant;
use super::listeners::Service;
use crate::node::counters::Counters;
use crate::node::modify::Modify;
use crate::node::{Action, AnswerHead, CommandHead, OwnedCommand, Status};

/// The reading half of a codec, and how far it has come in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::shard) enum Decoder {
    /// Standin's own protocol.
    #[default]
    Standin,
    /// That of memcached.
    Memcached(memcached::Decoder),
    /// That of Redis.
    Redis(redis::Decoder),
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
            Service::Other(ServiceProtocol::Redis) => Self::Redis(Default::default()),
            Service::Node => Self::Redis(redis::Decoder::of_node()),
        }
    }

    /// Decodes the request at the head of `bytes`; `Ok(None)` if not all of it is there yet.
    ///
    /// # Errors
    /// A request that can't be served. It is answered before those that are staged, so a protocol
    /// whose replies come in order returns [`What::Refused`] or [`What::Said`] instead.
    pub(in crate::shard) fn decode(
        &mut self,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Rejected> {
        match self {
            Self::Standin => standin::decode(bytes, around.limits, around.caller),
            Self::Memcached(decoder) => Ok(decoder.decode(bytes, around)),
            Self::Redis(decoder) => Ok(decoder.decode(bytes, around)),
        }
    }

    /// Returns the decoder as it was before the request of this tag, which it has decoded.
    pub(in crate::shard) fn before(self, tag: u64) -> Self {
        match self {
            Self::Standin => Self::Standin,
            Self::Memcached(_) => Self::Memcached(memcached::Decoder::before(tag)),
            Self::Redis(decoder) => Self::Redis(decoder.before(tag)),
        }
    }

    /// Whether it waits for the rest of something, of which all bytes so far have been taken.
    pub(in crate::shard) fn is_inside(self) -> bool {
        match self {
            Self::Standin => false,
            Self::Memcached(decoder) => decoder.is_inside(),
            Self::Redis(decoder) => decoder.is_inside(),
        }
    }

    /// Returns the decoder for bytes that come before others ([`Again`]).
    pub(in crate::shard) fn again(self, tag: u64) -> Self {
        match self {
            Self::Redis(decoder) => Self::Redis(decoder.again(tag)),
            Self::Standin | Self::Memcached(_) => unreachable!("it has no such requests"),
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
    /// That of Redis.
    Redis(Box<redis::Replies>),
}

impl Codec {
    /// The codec of a connection at a port of this service, with what its client is told if it asks.
    pub(in crate::shard) fn of(service: Service, user: &str, told: &Told<'_>) -> Self {
        match service {
            Service::Standin => Self::Standin,
            Service::Other(ServiceProtocol::Memcached) => Self::Memcached(Box::default()),
            Service::Other(ServiceProtocol::Redis) | Service::Node => {
                let session = redis::Session::new(user, told, service == Service::Node);
                Self::Redis(Box::new(redis::Replies::new(session)))
            }
        }
    }

    /// The counter of the requests by this protocol.
    #[inline]
    pub(in crate::shard) fn counter<'a>(&self, counters: &'a mut Counters) -> &'a mut u64 {
        match self {
            Self::Standin => &mut counters.requests_native,
            Self::Memcached(_) => &mut counters.requests_memcached,
            Self::Redis(_) => &mut counters.requests_redis,
        }
    }

    /// Whether replies come in the order of the requests.
    #[inline]
    pub(in crate::shard) fn is_ordered(&self) -> bool {
        !matches!(self, Self::Standin)
    }

    /// The name by which a request is answered that is served now, after all those before it. The
    /// decoder has given it this tag.
    #[inline]
    pub(in crate::shard) fn tag(&self, tag: u64) -> u64 {
        match self {
            Self::Standin => tag,
            Self::Memcached(replies) => replies.next_tag(),
            Self::Redis(replies) => replies.next_tag(),
        }
    }

    /// Notes that a request is served now and is answered later.
    #[inline]
    pub(in crate::shard) fn wait(&mut self, memo: Memo<'_>) {
        match self {
            Self::Standin => {}
            Self::Memcached(replies) => replies.wait(memo),
            Self::Redis(replies) => replies.wait(memo),
        }
    }

    /// Appends the answer to a request that is served now to `out`, or keeps it until it is its turn.
    #[inline]
    pub(in crate::shard) fn answer_now(
        &mut self,
        memo: Memo<'_>,
        head: &AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Standin => standin::answer(memo.tag, head, value, out),
            Self::Memcached(replies) => replies.answer_now(memo, head, value, out),
            Self::Redis(replies) => replies.answer_now(memo, head, value, out),
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
            Self::Redis(replies) => replies.answer(tag, head, value, out),
        }
    }

    /// Whether a read with this tag goes on if it finds a stale value.
    #[inline]
    pub(in crate::shard) fn recaches(&self, tag: u64) -> bool {
        match self {
            Self::Standin | Self::Redis(_) => false,
            Self::Memcached(_) => memcached::recaches(tag),
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
            Self::Standin | Self::Redis(_) => None,
            Self::Memcached(replies) => replies.recaching(tag, names, deadline_ms),
        }
    }

    /// Carries out a [`What::Again`]: returns the bytes that take its place, or answers it.
    pub(in crate::shard) fn again(
        &mut self,
        memo: Memo<'_>,
        around: &Surroundings<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Again> {
        match self {
            Self::Redis(replies) => replies.again(memo, around, out),
            Self::Standin | Self::Memcached(_) => unreachable!("it has no such requests"),
        }
    }

    /// Whether nothing more is decoded before the reply to a [`What::Alone`] has been written.
    #[inline]
    pub(in crate::shard) fn is_alone(&self) -> bool {
        match self {
            Self::Standin | Self::Memcached(_) => false,
            Self::Redis(replies) => replies.is_alone(),
        }
    }

    /// Takes the bytes that follow from the reply to a [`What::Alone`]: they come before all that has
    /// not been decoded.
    pub(in crate::shard) fn take_again(&mut self) -> Option<Again> {
        match self {
            Self::Standin | Self::Memcached(_) => None,
            Self::Redis(replies) => replies.take_again(),
        }
    }

    /// The bytes of memory that answers take whose turn has not come.
    #[inline]
    pub(in crate::shard) fn waiting_bytes(&self) -> usize {
        match self {
            Self::Standin => 0,
            Self::Memcached(replies) => replies.waiting_bytes(),
            Self::Redis(replies) => replies.waiting_bytes(),
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

/// What a codec gets back of a request to write its reply.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Memo<'a> {
    /// The tag that the decoder has given it.
    pub(in crate::shard) tag: u64,
    /// The bytes that the reply repeats or is written by.
    pub(in crate::shard) echo: &'a [u8],
}

/// Bytes that are decoded before others that came earlier.
#[derive(Debug)]
pub(in crate::shard) struct Again {
    /// The bytes.
    pub(in crate::shard) bytes: Vec<u8>,
    /// By this tag the decoder is set for them ([`Decoder::again`]).
    pub(in crate::shard) tag: u64,
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
    /// Whether it counts as a request of a client: it is one, and no others take its place.
    pub(in crate::shard) fn is_counted(&self) -> bool {
        !matches!(self.what, What::Again | What::Nothing | What::Last)
    }

    /// Whether what is behind it is decoded later.
    pub(in crate::shard) fn halts(&self) -> bool {
        matches!(self.what, What::Again | What::Alone(..) | What::Auth)
    }

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

    /// What its codec gets back of it; these are its bytes.
    #[inline]
    pub(in crate::shard) fn memo<'a>(&self, bytes: &'a [u8]) -> Memo<'a> {
        Memo { tag: self.tag, echo: &bytes[self.echo.0 as usize..self.echo.1 as usize] }
    }
}

/// The content of a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::shard) enum What {
    /// A command for the node.
    Command(CommandHead),
    /// A MODIFY for the node, and its operation.
    Modify(CommandHead, Box<Modify>),
    /// A command for the node, and its operation if it is a MODIFY. Nothing behind it is decoded
    /// before the reply has been written ([`Codec::is_alone`]), which may bring other requests
    /// ([`Codec::take_again`]).
    Alone(CommandHead, Option<Box<Modify>>),
    /// The counters of the server.
    Stats,
    /// The keys that the server is asked for most.
    Hot,
    /// The routes to all partitions ([`crate::node::routes::Routes`]).
    Routes,
    /// A request for a key that the codec answers by itself, unless another node has the key: it is
    /// carried out later.
    Held(CommandHead),
    /// Names of keys that are cached.
    Walk(Box<Walk>),
    /// Some of the keys that this shard has cached.
    Slice(Box<Slice>),
    /// Nothing that this server can do: it is answered with this status and text.
    Refused(Status, &'static str),
    /// A request that the codec answers by itself.
    Said,
    /// Other requests take its place, whose bytes the codec has ([`Codec::again`]).
    Again,
    /// A user, in the place of the key, and a password, in that of the value. The answer is OK,
    /// AUTH_FAILED, or NOT_SUPPORTED if there are no passwords. What is behind it has the rights of that
    /// user.
    Auth,
    /// Bytes that are no request. They have no answer.
    Nothing,
    /// The last request: nothing behind it is read.
    Last,
}

/// The state of an authentication at the port of a service.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shard) enum Asked {
    /// More bytes have to come.
    Waits,
    /// The caller may try again.
    Refused {
        /// Bytes that are done with.
        used: usize,
    },
    /// The connection has to be closed.
    Ended,
    /// The caller is known.
    Known {
        /// Bytes that are done with.
        used: usize,
        /// What it may do.
        grant: Grant,
    },
}

/// The grant of a caller with this name and password; `None`: they are wrong.
pub(in crate::shard) type Admit<'a> = &'a dyn Fn(&[u8], &[u8]) -> Option<Grant>;

/// Looks at the bytes of a caller who has not authenticated yet; the reply goes to `out`.
pub(in crate::shard) fn ask(
    protocol: ServiceProtocol,
    admit: Admit<'_>,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Asked {
    match protocol {
        ServiceProtocol::Memcached => memcached::password::ask(admit, input, out),
        ServiceProtocol::Redis => redis::password::ask(admit, input, out),
    }
}

/// A command of a client.
fn head(action: Action, keyspace: u8, around: &Surroundings<'_>) -> CommandHead {
    let deadline_ms = around.deadline_ms;
    CommandHead { wants_item: true, deadline_ms, ..CommandHead::new(action, keyspace) }
}

/// A read-modify-write of a client.
fn modify(modify: Modify, head: CommandHead) -> What {
    // The version is in the head of a frame to the owner.
    let version = modify.when.version.unwrap_or(0);
    What::Modify(CommandHead { action: Action::Modify, version, ..head }, Box::new(modify))
}

/// A position in a request, which is shorter than 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a request is shorter than 4 GiB")
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
