//! The codec of memcached's text and meta commands, docs/MEMCACHED.md. Keys name their keyspaces
//! (`names.rs`). Replies come in the order of the requests.
//!
//! ```text
//! text.rs      set, delete, incr, …           meta.rs      mg, ms, md, ma, me, mn
//! keys.rs      get, gets, gat, gats: any number of keys in a line
//! replies.rs   the order of replies           reply.rs, meta_reply.rs, stats.rs  their bytes
//! said.rs      fixed replies                  failure.rs   those to requests that fail
//! numbers.rs   numbers and expiration times   tokens.rs    the words of a line
//! password.rs  authentication, before any of this
//! ```
//! Each key of a line is a request of its own, which is decoded as soon as the key is there. So a
//! line has any length, its keys are looked up together, and a connection holds no more of it than
//! one key. A `flush_all` is a request for each partition of each keyspace.
//!
//! A decoder can be set back to any request: what it has to know about the bytes before it is in the
//! request's tag ([`Tag`]).

mod failure;
mod keys;
mod meta;
mod meta_reply;
mod numbers;
pub(in crate::shard) mod password;
mod replies;
mod reply;
mod said;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod tokens;

pub(in crate::shard) use self::replies::Replies;
use self::said::Said;
use super::{Read, Reads, Request, Spelling, Surroundings, What, flushes, head, modify, position};
use crate::node::{Action, Status};

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 250;
/// The longest line, in bytes, except for those of keys.
const LINE_BYTES_MAX: usize = 2_048;
/// The first byte of a request of the binary protocol.
const BINARY: u8 = 0x80;

/// The position of a decoder in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::shard) enum Decoder {
    /// Before a line.
    #[default]
    Line,
    /// Among the keys of a line.
    Keys(Retrieval),
    /// In the rest of a line that is ignored.
    Rest,
    /// In a data block that is ignored, of which this number of bytes is left.
    Data(u32),
    /// At a `flush_all`, before this part of it.
    Flush {
        /// Its number.
        part: u32,
    },
    /// The connection is to be closed, and what is left is ignored.
    Ending,
    /// Nothing more is read.
    Ended,
}

/// A command that reads the values of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct Retrieval {
    kind: Kind,
    /// That of `gat` and `gats`.
    exptime: i32,
    /// It has had a key.
    has_key: bool,
}

/// The kind of a request, by which its reply is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Fixed; the number is that of a [`Said`].
    Said,
    /// A key of `get`. For `gat` and `gats`, the number is the expiration time.
    Get,
    /// A key of `gets`.
    Gets,
    /// A key of `gat`.
    Gat,
    /// A key of `gats`.
    Gats,
    /// `set`, `add`, `replace`, `append`, `prepend`.
    Store,
    /// `cas`.
    Cas,
    /// `delete`.
    Delete,
    /// `touch`.
    Touch,
    /// `incr`, `decr`.
    Arithmetic,
    /// A value that is too large. The old one is dropped.
    TooLarge,
    /// A part of `flush_all`; the number says which.
    Flush,
    /// `stats`.
    Stats,
    /// `stats settings`; the number is the largest value.
    Settings,
    /// `mg`; the number has the bits of [`wants`].
    MetaGet,
    /// `ms`.
    MetaSet,
    /// `md`.
    MetaDelete,
    /// `ma`.
    MetaArithmetic,
    /// `me`.
    MetaDebug,
    /// The rest of a line that is ignored.
    Rest,
    /// A part of a data block that is ignored; the number of bytes before it was taken.
    Data,
    /// The end of the connection.
    Ending,
}

impl Kind {
    const ALL: [Self; 22] = [
        Self::Said,
        Self::Get,
        Self::Gets,
        Self::Gat,
        Self::Gats,
        Self::Store,
        Self::Cas,
        Self::Delete,
        Self::Touch,
        Self::Arithmetic,
        Self::TooLarge,
        Self::Flush,
        Self::Stats,
        Self::Settings,
        Self::MetaGet,
        Self::MetaSet,
        Self::MetaDelete,
        Self::MetaArithmetic,
        Self::MetaDebug,
        Self::Rest,
        Self::Data,
        Self::Ending,
    ];
}

/// A request's tag: what its reply is written by, and where the decoder was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    kind: Kind,
    marks: u8,
    number: u32,
}

/// Bits of [`Tag::marks`].
mod marks {
    /// The last request of its line.
    pub(super) const LAST: u8 = 0x01;
    /// Its reply is not sent: `noreply`, or the meta flag `q`.
    pub(super) const QUIET: u8 = 0x02;
    /// Its line began before it.
    pub(super) const CONTINUED: u8 = 0x04;
    /// The line had a key before it.
    pub(super) const HAS_KEY: u8 = 0x08;
    /// It is the end of a line of keys, and no key.
    pub(super) const NO_KEY: u8 = 0x10;
    /// It is a key of a line that is longer than keys may be.
    pub(super) const BAD_KEY: u8 = 0x20;
    /// It is a key of a line that names no keyspace.
    pub(super) const NO_KEYSPACE: u8 = 0x40;
    /// All of the last three.
    pub(super) const NONE: u8 = NO_KEY | BAD_KEY | NO_KEYSPACE;
}

/// Bits of the number of an `mg`.
mod wants {
    /// The value.
    pub(super) const VALUE: u32 = 1;
    /// The value, unless it has a version that the caller knows.
    pub(super) const UNKNOWN: u32 = 2;
    /// The value and nothing else.
    pub(super) const VALUE_ONLY: u32 = 4;
}

impl Tag {
    fn new(kind: Kind) -> Self {
        Self { kind, marks: 0, number: 0 }
    }

    fn said(said: Said) -> Self {
        Self { number: said as u32, ..Self::new(Kind::Said) }
    }

    /// With a bit of [`marks`] if something is so.
    fn with(self, mark: u8, is_so: bool) -> Self {
        Self { marks: if is_so { self.marks | mark } else { self.marks }, ..self }
    }

    fn has(self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn pack(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.marks) << 8 | self.kind as u64
    }

    fn unpack(tag: u64) -> Self {
        let [kind, marks, _, _, number @ ..] = tag.to_le_bytes();
        Self { kind: Kind::ALL[usize::from(kind)], marks, number: u32::from_le_bytes(number) }
    }
}

impl Reads for Decoder {
    /// The request at the head of `bytes` if it is a whole read of a key: one of `get` or `gets`, or
    /// an `mg` that asks for the value and nothing else.
    #[inline(always)]
    fn read(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Read> {
        match (*self, bytes) {
            (Self::Line, [b'g', b'e', b't', b' ', ..]) => {
                self.plain_key(Retrieval::plain(Kind::Get), 4, bytes, around)
            }
            (Self::Line, [b'm', b'g', b' ', ..]) => meta::read(bytes, around),
            (Self::Line, [b'g', b'e', b't', b's', b' ', ..]) => {
                self.plain_key(Retrieval::plain(Kind::Gets), 5, bytes, around)
            }
            (
                Self::Keys(retrieval @ Retrieval { kind: Kind::Get | Kind::Gets, .. }),
                [b' ', ..],
            ) => self.plain_key(retrieval, 1, bytes, around),
            _ => None,
        }
    }
}

impl Decoder {
    /// The request at the head of `bytes`, or `None` if not all of it is there yet.
    pub(super) fn decode(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Request> {
        match *self {
            Self::Line => match Retrieval::begin(bytes) {
                Some(Ok((retrieval, at))) => self.keys(retrieval, at, bytes, around),
                Some(Err(said)) => self.refuse_keys(said, bytes),
                None => self.line(bytes, around),
            },
            Self::Keys(retrieval) => self.keys(retrieval, 0, bytes, around),
            Self::Rest => {
                let end = memchr::memchr(b'\n', bytes);
                if end.is_some() {
                    *self = Self::Line;
                }
                let taken = end.map_or(bytes.len(), |end| end + 1);
                Some(nothing(Tag::new(Kind::Rest), taken))
            }
            Self::Data(left) => {
                let taken = bytes.len().min(left as usize);
                *self = match left - taken as u32 {
                    0 => Self::Line,
                    left => Self::Data(left),
                };
                Some(nothing(Tag { number: left, ..Tag::new(Kind::Data) }, taken))
            }
            Self::Flush { part } => Some(self.flush(part, bytes, around)),
            Self::Ending | Self::Ended => {
                *self = Self::Ended;
                let what = What::Last;
                Some(Request { what, ..nothing(Tag::new(Kind::Ending), bytes.len()) })
            }
        }
    }

    /// The decoder before the request of this tag.
    pub(super) fn before(tag: u64) -> Self {
        let tag = Tag::unpack(tag);
        match tag.kind {
            Kind::Rest => Self::Rest,
            Kind::Data => Self::Data(tag.number),
            Kind::Ending => Self::Ending,
            Kind::Flush if tag.has(marks::CONTINUED) => Self::Flush { part: tag.number },
            _ if tag.has(marks::CONTINUED) => Self::Keys(Retrieval::of(tag)),
            _ => Self::Line,
        }
    }

    /// Whether it is inside of a line or a data block whose bytes so far have been taken.
    pub(super) fn is_inside(self) -> bool {
        matches!(self, Self::Keys(_) | Self::Rest | Self::Data(_))
    }

    /// A part of `flush_all`: a partition of a keyspace. The line stays where it is until the last.
    fn flush(&mut self, part: u32, bytes: &[u8], around: &Surroundings<'_>) -> Request {
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let is_quiet = tokens::is_noreply(&bytes[..end]);
        let tag = Tag { number: part, ..Tag::new(Kind::Flush) };
        let tag = tag.with(marks::QUIET, is_quiet).with(marks::CONTINUED, part > 0);
        let Some((keyspace, partition)) = around.names.flushes().part(part) else {
            *self = Self::Line;
            if around.names.flushes().is_unknown() {
                let what = What::Refused(Status::Unavailable, flushes::UNKNOWN);
                return Request { what, ..nothing(tag.with(marks::LAST, true), end) };
            }
            // There is no keyspace.
            return said(Tag::said(Said::Ok).with(marks::QUIET, is_quiet), end);
        };
        let is_last = part + 1 == around.names.flushes().parts();
        *self = if is_last { Self::Line } else { Self::Flush { part: part + 1 } };
        let head = head(Action::Flush, keyspace, around);
        Request {
            tag: tag.with(marks::LAST, is_last).pack(),
            bytes: if is_last { position(end) } else { 0 },
            spelling: Spelling::Partition(partition),
            what: What::Command(head),
            ..nothing(tag, 0)
        }
    }
}

/// Whether the client of a read with this tag can be told that the value is stale.
pub(super) fn recaches(tag: u64) -> bool {
    Tag::unpack(tag).kind == Kind::MetaGet
}

/// Bytes that are no request.
fn nothing(tag: Tag, bytes: usize) -> Request {
    Request {
        tag: tag.pack(),
        bytes: position(bytes),
        key: (0, 0),
        value: (0, 0),
        echo: (0, 0),
        spelling: Spelling::Plain,
        what: What::Nothing,
    }
}

/// A request that the codec answers by itself.
fn said(tag: Tag, bytes: usize) -> Request {
    Request { what: What::Said, ..nothing(tag, bytes) }
}
