//! The short form of nearly all requests: a read of a key without any unusual part. A wake-up stages
//! thousands of them, so they take little room, and are made without a [`Request`] in between.

use std::ops::Range;

use super::{Memo, Request, Spelling, Surroundings, What};
use crate::node::{Action, AnswerHead, CommandHead};

/// A read of a key. Positions count from the first byte of its request, which has less than 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) struct Read {
    /// The codec's own data, as [`Request::tag`].
    pub(in crate::shard) tag: u64,
    deadline_ms: u32,
    bytes: u16,
    key: (u16, u16),
    echo: (u16, u16),
    /// The keyspace of the key.
    pub(in crate::shard) keyspace: u8,
    wants_item: bool,
}

/// The half of a codec that decodes reads.
pub(in crate::shard) trait Reads: Copy {
    /// Decodes the request at the head of `bytes`, which has at least a byte, if it is a read of the
    /// most frequent kind. Otherwise nothing is taken, and [`super::Decoder::decode`] has to look at
    /// it, which gives the same for reads.
    fn read(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Read>;
}

/// The half of a codec that writes answers to reads.
pub(in crate::shard) trait Answers {
    /// Appends the answer to a read that is served now to `out`, or keeps it until it is its turn.
    fn answer_read(
        &mut self,
        read: &Read,
        bytes: &[u8],
        head: AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    );

    /// See [`super::Codec::recaches`].
    #[inline]
    fn recaches(&self, _tag: u64) -> bool {
        false
    }

    /// See [`super::Codec::waiting_bytes`].
    #[inline]
    fn waiting_bytes(&self) -> usize {
        0
    }
}

/// The places of the parts of a read in its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The end of the request.
    pub(super) end: usize,
    /// The key.
    pub(super) key: (usize, usize),
    /// The bytes that the reply is written by.
    pub(super) echo: (usize, usize),
}

impl Read {
    /// A read by a protocol in which every client learns of flags, and none gives a deadline. `None`
    /// if the request is too long for the short form.
    #[inline]
    pub(super) fn new(
        tag: u64,
        keyspace: u8,
        places: Places,
        around: &Surroundings<'_>,
    ) -> Option<Self> {
        let Places { end, key, echo } = places;
        // The others are not behind it.
        let bytes = u16::try_from(end).ok()?;
        Some(Self {
            tag,
            deadline_ms: around.deadline_ms,
            bytes,
            key: (key.0 as u16, key.1 as u16),
            echo: (echo.0 as u16, echo.1 as u16),
            keyspace,
            wants_item: true,
        })
    }

    /// A read by Standin's own protocol.
    #[inline]
    pub(super) fn of_frame(
        tag: u64,
        keyspace: u8,
        key: (u16, u16),
        deadline_ms: u16,
        wants_item: bool,
    ) -> Self {
        let deadline_ms = deadline_ms.into();
        Self { tag, deadline_ms, bytes: key.1, key, echo: (0, 0), keyspace, wants_item }
    }

    /// The short form of a request; `None` if it has none.
    pub(in crate::shard) fn of(request: &Request) -> Option<Self> {
        let What::Command(head) = &request.what else { return None };
        let place = |(from, to)| Some((u16::try_from(from).ok()?, u16::try_from(to).ok()?));
        let read = Self {
            tag: request.tag,
            deadline_ms: head.deadline_ms,
            bytes: u16::try_from(request.bytes).ok()?,
            key: place(request.key)?,
            echo: place(request.echo)?,
            keyspace: head.keyspace,
            wants_item: head.wants_item,
        };
        // The identity of a read has no meaning: reads are repeated at will.
        let is_plain = read.head() == CommandHead { identity: None, ..*head };
        let has_value = request.value.0 != request.value.1;
        (is_plain && !has_value && request.spelling == Spelling::Plain).then_some(read)
    }

    /// The long form.
    pub(in crate::shard) fn request(&self) -> Request {
        let place = |(from, to): (u16, u16)| (from.into(), to.into());
        Request {
            tag: self.tag,
            bytes: self.bytes.into(),
            key: place(self.key),
            value: (0, 0),
            echo: place(self.echo),
            spelling: Spelling::Plain,
            what: What::Command(self.head()),
        }
    }

    /// The command, without its key.
    pub(in crate::shard) fn head(&self) -> CommandHead {
        let Self { deadline_ms, wants_item, .. } = *self;
        CommandHead { wants_item, deadline_ms, ..CommandHead::new(Action::Get, self.keyspace) }
    }

    /// The bytes that the request takes up.
    #[inline]
    pub(in crate::shard) fn bytes(&self) -> usize {
        self.bytes.into()
    }

    /// The place of its key.
    #[inline]
    pub(in crate::shard) fn key(&self) -> Range<usize> {
        self.key.0.into()..self.key.1.into()
    }

    /// What its codec gets back of it; these are its bytes.
    #[inline]
    pub(in crate::shard) fn memo<'a>(&self, bytes: &'a [u8]) -> Memo<'a> {
        Memo { tag: self.tag, echo: &bytes[self.echo.0.into()..self.echo.1.into()] }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::node::{Hop, Identity};

    fn request(head: CommandHead) -> Request {
        let (key, value, echo) = ((32, 40), (40, 40), (0, 0));
        let (spelling, what) = (Spelling::Plain, What::Command(head));
        Request { tag: 7, bytes: 40, key, value, echo, spelling, what }
    }

    #[test]
    fn only_a_read_without_unusual_parts_has_a_short_form() {
        let head = CommandHead { deadline_ms: 9, ..CommandHead::new(Action::Get, 3) };
        let read = Read::of(&request(head)).unwrap();
        assert_eq!((read.head(), read.key(), read.bytes(), read.tag), (head, 32..40, 40, 7));
        assert_eq!(Read::of(&read.request()), Some(read));
        let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 1 });
        assert_eq!(Read::of(&request(CommandHead { identity, ..head })), Some(read));
        for unusual in [
            CommandHead { action: Action::Touch, ..head },
            CommandHead { hop: Hop::Forwarded, ..head },
            CommandHead { is_retry: true, ..head },
            CommandHead { is_peer: true, ..head },
            CommandHead { item_flags: 1, ..head },
            CommandHead { ttl_ms: 1, ..head },
            CommandHead { version: 1, ..head },
        ] {
            assert_eq!(Read::of(&request(unusual)), None, "{unusual:?}");
        }
        for unusual in [
            Request { what: What::Said, ..request(head) },
            Request { spelling: Spelling::Base64 { prefix: 0 }, ..request(head) },
            Request { value: (40, 41), ..request(head) },
            Request { bytes: 1 << 16, ..request(head) },
        ] {
            assert_eq!(Read::of(&unusual), None, "{unusual:?}");
        }
    }
}
