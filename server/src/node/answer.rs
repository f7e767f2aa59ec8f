//! The answer to a command, without the bytes in which it is sent. Codecs (`shard/codec/`) write
//! answers to connections and read those of peers from links.

use crate::store::NEVER_MS;
use bytes::Bytes;
pub use standin_protocol::codes::Status;
/// Bits of [`AnswerHead::marks`].
pub use standin_protocol::item::marks;

/// The longest value that an answer may bring, in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// The hint that goes with [`Status::Overloaded`]: the time to wait before another attempt, in
/// milliseconds.
pub(crate) const RETRY_AFTER_MS: u16 = 20;

/// Bits of [`AnswerHead::flags`].
pub mod flags {
    /// Answered from the cache.
    pub const HIT: u8 = 0x01;
    /// Answered from the origin.
    pub const FILLED: u8 = 0x02;
    /// Answered by a server other than the partition's home.
    pub const STAND_IN: u8 = 0x04;
    /// Processed by a stand-in before the master has decided.
    pub const PROVISIONAL: u8 = 0x08;
    /// Fetched from the owner by the server that was asked.
    pub const FORWARDED: u8 = 0x10;
    /// The value has been kept in the cache, or was in it.
    pub const CACHED: u8 = 0x20;
}

/// An answer without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHead {
    /// The status of the command.
    pub status: Status,
    /// Bits of [`flags`].
    pub flags: u8,
    /// With [`Status::Overloaded`], the time to wait before the next attempt.
    pub retry_after_ms: u16,
    /// The [`standin_protocol::map::MapEpoch::tag`] of the map under which the answer is given, or
    /// 0 until the node has set it.
    pub map_tag: u32,
    /// The time for which the value may still be cached, in milliseconds; 0 if it is not cached,
    /// `u64::MAX` if it has no end.
    pub ttl_ms: u64,
    /// The version of the value for a later CAS; 0 if there is none.
    pub version: u64,
    /// The client's flags of the value.
    pub item_flags: u32,
    /// Bits of [`marks`].
    pub marks: u8,
}

impl AnswerHead {
    /// Creates an answer that consists of a status only.
    #[must_use]
    pub fn status(status: Status) -> Self {
        let (flags, retry_after_ms, map_tag, marks) = (0, 0, 0, 0);
        Self { status, flags, retry_after_ms, map_tag, ttl_ms: 0, version: 0, item_flags: 0, marks }
    }

    /// Creates the answer for a lack of room or too much load. Another attempt may succeed soon.
    #[must_use]
    pub fn overloaded() -> Self {
        Self { retry_after_ms: RETRY_AFTER_MS, ..Self::status(Status::Overloaded) }
    }
}

/// An answer that owns its value. Requests that waited for the same fetch share the value. If each
/// of them had a copy, any client could make the server use that much memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer without its value.
    pub head: AnswerHead,
    /// The value, or the text that explains the status.
    pub value: Bytes,
}

impl Answer {
    /// Creates an answer with a status and no value.
    #[must_use]
    pub fn status(status: Status) -> Self {
        AnswerHead::status(status).into()
    }

    /// Creates an answer of success with a value.
    pub(super) fn value(value: Bytes) -> Self {
        Self { head: AnswerHead::status(Status::Ok), value }
    }

    /// Creates an answer with a status and the text that explains it.
    pub(super) fn text(status: Status, text: &'static str) -> Self {
        Self { head: AnswerHead::status(status), value: Bytes::from_static(text.as_bytes()) }
    }

    /// Returns the answer of a write that has to wait for its acknowledgement: the value may not be
    /// cached any more by then.
    pub(super) fn without_cache(self) -> Self {
        let head = AnswerHead { flags: 0, version: 0, ttl_ms: 0, ..self.head };
        Self { head, value: self.value }
    }

    /// Returns the number of bytes of the value, if the answer may be given without it.
    #[must_use]
    pub fn read_bytes(&self) -> Option<usize> {
        (self.head.status == Status::Ok && !self.value.is_empty()).then_some(self.value.len())
    }

    /// Removes the value, because there is no room for it. A read can be repeated; a write has been carried out
    /// already, and its caller must not take it for one that was not.
    pub fn overload(&mut self, is_write: bool) {
        let head = match is_write {
            true => AnswerHead::status(Status::OutcomeUnknown),
            false => AnswerHead::overloaded(),
        };
        *self = AnswerHead { map_tag: self.head.map_tag, ..head }.into();
    }
}

impl From<AnswerHead> for Answer {
    fn from(head: AnswerHead) -> Self {
        Self { head, value: Bytes::new() }
    }
}

/// How a forward ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardFailure {
    /// The peer can't be connected to, closed the connection, or sends nothing at all.
    Unreachable,
    /// The peer's host refused the connection: nobody listens there.
    Refused,
    /// The peer answers others, but this request took too long.
    TimedOut,
    /// The peer is alive, but has no room for another connection. The request has not been sent.
    NoRoom,
    /// This server was stopped and has therefore closed the connection. It says nothing about the
    /// peer.
    Stopped,
}

/// A peer's answer to a message, or the way in which the message ended without an answer.
pub type PeerAnswer<'a> = Result<(AnswerHead, &'a [u8]), ForwardFailure>;

/// Returns the number of milliseconds left until `expires_at_ms`; `u64::MAX` if it has no end.
#[inline]
pub(super) fn ms_left(expires_at_ms: u64, now_ms: u64) -> u64 {
    match expires_at_ms {
        NEVER_MS => u64::MAX,
        at => at.saturating_sub(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_that_was_read_counts_as_read_bytes() {
        let value = || Bytes::from_static(b"value");
        assert_eq!(Answer::value(value()).read_bytes(), Some(5));
        assert_eq!(Answer::value(Bytes::new()).read_bytes(), None);
        assert_eq!(Answer::text(Status::OriginRejected, "text").read_bytes(), None);
        assert_eq!(Answer::status(Status::NotFound).read_bytes(), None);
    }

    #[test]
    fn an_answer_without_room_for_its_value_still_names_the_map() {
        let outcome_unknown = AnswerHead::status(Status::OutcomeUnknown);
        for (is_write, head) in [(false, AnswerHead::overloaded()), (true, outcome_unknown)] {
            let mut answer = Answer::value(Bytes::from_static(b"value"));
            answer.head.map_tag = 7;
            answer.overload(is_write);
            assert_eq!(answer.head, AnswerHead { map_tag: 7, ..head });
            assert!(answer.value.is_empty());
        }
    }
}
