//! Replies: headers filled in, frames appended to an output buffer.

use bytes::Bytes;
use standin_protocol::frame::{
    HEADER_BYTES, Opcode, RequestHeader, Response, ResponseHeader, Status,
};

/// A reply on its way to a connection; the value may be empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    pub(super) status: Status,
    pub(super) flags: u8,
    pub(super) value: &'a [u8],
    pub(super) version: u64,
    pub(super) ttl_s: u32,
    pub(super) retry_after_ms: u16,
}

impl<'a> Reply<'a> {
    pub(super) fn status(status: Status) -> Self {
        Self { status, flags: 0, value: &[], version: 0, ttl_s: 0, retry_after_ms: 0 }
    }

    pub(super) fn with_text(status: Status, text: &'a str) -> Self {
        Self { value: text.as_bytes(), ..Self::status(status) }
    }

    #[inline]
    pub(super) fn write(self, request: &RequestHeader, map_tag: u32, out: &mut Vec<u8>) {
        Response::write(self.header(request, map_tag), self.value, out);
    }

    #[inline]
    pub(super) fn header(&self, request: &RequestHeader, map_tag: u32) -> ResponseHeader {
        ResponseHeader {
            flags: self.flags,
            retry_after_ms: self.retry_after_ms,
            map_epoch: map_tag,
            ttl_s: self.ttl_s,
            cas_version: self.version,
            ..ResponseHeader::reply_to(request, self.status)
        }
    }
}

/// A reply that comes after its request's wake-up. Those who waited for one fetch share
/// its value: a copy each would be memory that any client can ask for.
#[derive(Debug, Clone)]
pub struct LateReply {
    pub(super) header: ResponseHeader,
    pub(super) value: Bytes,
}

impl LateReply {
    /// From a whole frame; `None` if it is none.
    #[must_use]
    pub fn from_frame(frame: Vec<u8>) -> Option<Self> {
        let header = ResponseHeader::read(&frame)?;
        Some(Self { header, value: Bytes::from(frame).split_off(HEADER_BYTES) })
    }

    /// A status without a value, for a request that has not reached a shard's logic.
    #[must_use]
    pub fn status(request: &RequestHeader, status: Status) -> Self {
        Self { header: ResponseHeader::reply_to(request, status), value: Bytes::new() }
    }

    /// OVERLOADED, for a request that has not reached a shard's logic.
    #[must_use]
    pub(crate) fn overloaded(request: &RequestHeader, map_tag: u32) -> Self {
        let header = ResponseHeader {
            map_epoch: map_tag,
            retry_after_ms: RETRY_AFTER_MS,
            ..ResponseHeader::reply_to(request, Status::Overloaded)
        };
        Self { header, value: Bytes::new() }
    }

    /// Whether it brings a value, which may be asked for again.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.header.opcode == Opcode::Get as u8 && self.header.status == Status::Ok as u8
    }

    /// Bytes of its value.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.value.len()
    }

    /// Takes the value out: there is no room for it.
    pub fn overload(&mut self) {
        self.header = ResponseHeader {
            status: Status::Overloaded as u8,
            flags: 0,
            retry_after_ms: RETRY_AFTER_MS,
            ttl_s: 0,
            cas_version: 0,
            ..self.header
        };
        self.value = Bytes::new();
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        Response::write(self.header, &self.value, out);
    }
}

/// Seconds left until `expires_at_ms`, rounded up.
#[inline]
pub(super) fn seconds_left(expires_at_ms: u64, now_ms: u64) -> u32 {
    u32::try_from(expires_at_ms.saturating_sub(now_ms).div_ceil(1_000)).unwrap_or(u32::MAX)
}

/// An answer that owns its value.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) flags: u8,
    pub(super) value: Bytes,
    pub(super) version: u64,
    pub(super) ttl_s: u32,
    pub(super) retry_after_ms: u16,
}

impl Answer {
    pub(super) fn status(status: Status) -> Self {
        let value = Bytes::new();
        Self { status, flags: 0, value, version: 0, ttl_s: 0, retry_after_ms: 0 }
    }

    pub(super) fn value(value: Bytes) -> Self {
        Self { value, ..Self::status(Status::Ok) }
    }

    pub(super) fn text(status: Status, text: &'static str) -> Self {
        Self { value: Bytes::from_static(text.as_bytes()), ..Self::status(status) }
    }

    pub(super) fn overloaded() -> Self {
        Self { retry_after_ms: RETRY_AFTER_MS, ..Self::status(Status::Overloaded) }
    }

    pub(super) fn as_reply(&self) -> Reply<'_> {
        Reply {
            status: self.status,
            flags: self.flags,
            value: &self.value,
            version: self.version,
            ttl_s: self.ttl_s,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

/// The hint that goes with `OVERLOADED`.
pub(crate) const RETRY_AFTER_MS: u16 = 20;
