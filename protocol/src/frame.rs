//! TCP frames: a 32-byte header, then the key's bytes, then the value's bytes.
//!
//! The header is an rkyv archive of integers only (little-endian, unaligned), read
//! in place. A reply carries the request's id; replies may come out of order.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

use crate::VERSION;
pub use crate::codes::{Opcode, Status};
use crate::item::ITEM_HEAD_BYTES;
use crate::modify::wire::MODIFY_HEAD_BYTES;

/// The length of a request or response header.
pub const HEADER_BYTES: usize = 32;
/// The first byte of a request: `S`.
pub const REQUEST_MAGIC: u8 = 0x53;
/// The first byte of a response: `s`.
pub const RESPONSE_MAGIC: u8 = 0x73;
/// The number of bytes before the value of a request with [`request_flags::IDENTITY`]: the client's
/// id (8 bytes, little-endian) and its request id (4 bytes).
pub const IDENTITY_BYTES: usize = 12;
/// The size of the largest value that a frame may carry, whatever the configuration says.
pub const VALUE_BYTES_MAX: u32 = 16 << 20;
/// The longest lifetime that a request can carry, in seconds: 65,535 minutes, 45 days.
pub const TTL_S_MAX: u32 = 65_535 * 60;

/// The header of a request, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct RequestHeader {
    /// [`REQUEST_MAGIC`].
    pub magic: u8,
    /// [`VERSION`].
    pub version: u8,
    /// An [`Opcode`].
    pub opcode: u8,
    /// Bits of [`request_flags`].
    pub flags: u8,
    /// Keyspace id.
    pub keyspace: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes of the key.
    pub key_len: u16,
    /// Bytes of the value.
    pub value_len: u32,
    /// The request's id, chosen by the client. A repeated send has the same id.
    pub request_id: u32,
    /// The sender's map epoch, shortened: see [`crate::map::MapEpoch::tag`].
    pub map_epoch: u32,
    /// The time for which the sender will still wait, in milliseconds; 0: no deadline.
    pub deadline_ms: u16,
    /// The lifetime in seconds (minutes with [`request_flags::TTL_MINUTES`]); 0: the keyspace's.
    pub ttl: u16,
    /// CAS: the version that must be current. Otherwise zero.
    pub cas_version: u64,
}

/// The header of a response, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct ResponseHeader {
    /// [`RESPONSE_MAGIC`].
    pub magic: u8,
    /// [`VERSION`].
    pub version: u8,
    /// A [`Status`].
    pub status: u8,
    /// Bits of [`response_flags`].
    pub flags: u8,
    /// The request's opcode.
    pub opcode: u8,
    /// Zero.
    pub reserved: u8,
    /// With `OVERLOADED`, the time to wait before the next attempt. Otherwise zero.
    pub retry_after_ms: u16,
    /// Bytes of the value.
    pub value_len: u32,
    /// The request's id.
    pub request_id: u32,
    /// The server's map epoch, shortened: see [`crate::map::MapEpoch::tag`].
    pub map_epoch: u32,
    /// The time for which the value may still be cached, in seconds, rounded up; 0: not cached.
    pub ttl_s: u32,
    /// Version of the value for a later CAS; 0: none.
    pub cas_version: u64,
}

const _: () = assert!(size_of::<ArchivedRequestHeader>() == HEADER_BYTES);
const _: () = assert!(size_of::<ArchivedResponseHeader>() == HEADER_BYTES);
const _: () = assert!(align_of::<ArchivedRequestHeader>() == 1);

/// Bits of [`RequestHeader::flags`].
pub mod request_flags {
    /// Forwarded by a server. The receiver must not forward it again (one hop).
    pub const FORWARDED: u8 = 0x01;
    /// `ttl` counts minutes.
    pub const TTL_MINUTES: u8 = 0x02;
    /// This pair of client and request id was sent before.
    pub const RETRY: u8 = 0x04;
    /// Server → server: the receiver is not the owner, but may reach it, and should forward the
    /// request with FORWARDED.
    pub const RELAY: u8 = 0x08;
    /// Server → server: the value begins with the identity of the client's request
    /// ([`super::IDENTITY_BYTES`]).
    pub const IDENTITY: u8 = 0x10;
    /// The sender reads [`super::response_flags::ITEM`]. PUT and CAS: the value begins with a
    /// [`crate::item::ItemHead`] (after the identity).
    pub const ITEM: u8 = 0x20;
}

/// Bits of [`ResponseHeader::flags`].
pub mod response_flags {
    /// Answered from the cache.
    pub const HIT: u8 = 0x01;
    /// Answered from the origin.
    pub const FILLED: u8 = 0x02;
    /// Answered by a server other than the partition's home.
    pub const STAND_IN: u8 = 0x04;
    /// The server stood in before the master's verdict.
    pub const PROVISIONAL: u8 = 0x08;
    /// The server that was asked got the answer from the owner.
    pub const FORWARDED: u8 = 0x10;
    /// The value is in the cache now.
    pub const CACHED: u8 = 0x20;
    /// The value begins with a [`crate::item::ItemHead`].
    pub const ITEM: u8 = 0x80;
}

/// The reason why the bytes at the head of a stream are not a valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte is not the magic. The rest of the stream can't be trusted either.
    #[error("the first byte is {0:#04x}, not the magic of this direction; is this a Standin port?")]
    BadMagic(u8),
    /// A version that this build does not speak.
    #[error("protocol version {0} is not supported (this is version {VERSION})")]
    BadVersion(u8),
    /// The key is over the limit. The frame's length is known, so it can be skipped.
    #[error("key of {len} bytes is over the limit of {limit}")]
    KeyTooLarge {
        /// Bytes announced.
        len: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// The value is over the limit. The frame's length is known, so it can be skipped.
    #[error("value of {len} bytes is over the limit of {limit}")]
    ValueTooLarge {
        /// Bytes announced.
        len: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// A status byte that this build does not know.
    #[error("status {0} is not known to this build")]
    UnknownStatus(u8),
    /// A response announces an item's head, and has no room for it.
    #[error("the value has no room for the item's head")]
    NoItemHead,
    /// A reserved byte is not zero.
    #[error("reserved byte is {0:#04x}, must be zero")]
    Reserved(u8),
}

/// Bounds on a frame's parts, from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a key.
    pub key_bytes: u16,
    /// Bytes of a value.
    pub value_bytes: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { key_bytes: u16::MAX, value_bytes: VALUE_BYTES_MAX }
    }
}

/// A request in the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The header, in native integers.
    pub header: RequestHeader,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// A response in the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The header, in native integers.
    pub header: ResponseHeader,
    /// [`ResponseHeader::status`], known to be valid.
    pub status: Status,
    /// The value.
    pub value: &'a [u8],
}

impl RequestHeader {
    /// Reads the first [`HEADER_BYTES`] of `bytes`; `None` if there are fewer.
    #[inline]
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let slice = bytes.get(..HEADER_BYTES)?;
        let h = rkyv::access::<ArchivedRequestHeader, Failure>(slice).ok()?;
        Some(Self {
            magic: h.magic,
            version: h.version,
            opcode: h.opcode,
            flags: h.flags,
            keyspace: h.keyspace,
            reserved: h.reserved,
            key_len: h.key_len.to_native(),
            value_len: h.value_len.to_native(),
            request_id: h.request_id.to_native(),
            map_epoch: h.map_epoch.to_native(),
            deadline_ms: h.deadline_ms.to_native(),
            ttl: h.ttl.to_native(),
            cas_version: h.cas_version.to_native(),
        })
    }

    /// The header's bytes.
    #[inline]
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        // A header of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }

    /// Creates a header for this opcode, keyspace and request id; everything else is zero.
    #[must_use]
    pub fn new(opcode: Opcode, keyspace: u8, request_id: u32) -> Self {
        Self {
            magic: REQUEST_MAGIC,
            version: VERSION,
            opcode: opcode as u8,
            keyspace,
            request_id,
            ..Self::default()
        }
    }

    /// Whole frame in bytes.
    #[inline]
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + usize::from(self.key_len) + self.value_len as usize
    }

    /// Returns the requested lifetime in seconds; 0: the keyspace's default.
    #[must_use]
    pub fn ttl_s(&self) -> u32 {
        let unit = if self.flags & request_flags::TTL_MINUTES == 0 { 1 } else { 60 };
        u32::from(self.ttl) * unit
    }

    /// Sets the lifetime, to the second up to 18 hours, and rounded up to minutes beyond. One over
    /// [`TTL_S_MAX`] can't be sent and is cut to that.
    pub fn set_ttl_s(&mut self, ttl_s: u32) {
        if let Ok(seconds) = u16::try_from(ttl_s) {
            self.ttl = seconds;
            self.flags &= !request_flags::TTL_MINUTES;
        } else {
            self.ttl = u16::try_from(ttl_s.div_ceil(60)).unwrap_or(u16::MAX);
            self.flags |= request_flags::TTL_MINUTES;
        }
    }

    /// Checks what must hold before the rest of the frame may be waited for.
    ///
    /// # Errors [`FrameError`]; after `BadMagic`, `BadVersion` and `Reserved` the stream's framing
    /// can't be trusted. After the others the frame can be skipped.
    #[inline]
    pub fn check(&self, limits: FrameLimits) -> Result<(), FrameError> {
        if self.magic != REQUEST_MAGIC {
            return Err(FrameError::BadMagic(self.magic));
        }
        if self.version != VERSION {
            return Err(FrameError::BadVersion(self.version));
        }
        if self.reserved != 0 {
            return Err(FrameError::Reserved(self.reserved));
        }
        if self.key_len > limits.key_bytes {
            let (len, limit) = (u32::from(self.key_len), u32::from(limits.key_bytes));
            return Err(FrameError::KeyTooLarge { len, limit });
        }
        if self.value_len > limits.value_bytes
            && self.value_len > limits.value_bytes + self.head_bytes()
        {
            let (len, limit) = (self.value_len, limits.value_bytes);
            return Err(FrameError::ValueTooLarge { len, limit });
        }
        Ok(())
    }

    /// Returns the number of bytes at the beginning of the value that do not belong to it.
    #[cold]
    pub fn head_bytes(&self) -> u32 {
        let item = self.flags & request_flags::ITEM != 0
            && [Opcode::Put as u8, Opcode::Cas as u8].contains(&self.opcode);
        let identity = self.flags & request_flags::IDENTITY != 0;
        let modify = self.opcode == Opcode::Modify as u8;
        let heads =
            [(identity, IDENTITY_BYTES), (item, ITEM_HEAD_BYTES), (modify, MODIFY_HEAD_BYTES)];
        heads.iter().map(|(is_there, bytes)| if *is_there { *bytes as u32 } else { 0 }).sum()
    }
}

/// The largest number of bytes before a value.
const HEADS_MAX: u32 = (IDENTITY_BYTES + MODIFY_HEAD_BYTES) as u32;

impl<'a> Request<'a> {
    /// Returns the request at the head of `bytes`, or `Ok(None)` if it is not complete yet.
    ///
    /// # Errors
    /// See [`RequestHeader::check`].
    #[inline]
    pub fn parse(bytes: &'a [u8], limits: FrameLimits) -> Result<Option<Self>, FrameError> {
        let Some(header) = RequestHeader::read(bytes) else {
            return match bytes.first() {
                Some(&magic) if magic != REQUEST_MAGIC => Err(FrameError::BadMagic(magic)),
                _ => Ok(None),
            };
        };
        header.check(limits)?;
        let key_end = HEADER_BYTES + usize::from(header.key_len);
        let Some(value) = bytes.get(key_end..header.frame_bytes()) else { return Ok(None) };
        Ok(Some(Self { header, key: &bytes[HEADER_BYTES..key_end], value }))
    }

    /// Appends a frame; the header's lengths are taken from `key` and `value`.
    ///
    /// # Panics If the key is longer than 65,535 bytes, or the value is longer than
    /// [`VALUE_BYTES_MAX`]. Callers check the limits first.
    pub fn write(header: RequestHeader, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        Self::write_parts(header, key, [&[], &[], value], out);
    }

    /// Appends a frame like [`Self::write`] whose value is in three parts.
    ///
    /// # Panics
    /// As [`Self::write`].
    pub fn write_parts(
        mut header: RequestHeader,
        key: &[u8],
        value: [&[u8]; 3],
        out: &mut Vec<u8>,
    ) {
        header.key_len = u16::try_from(key.len()).expect("key length checked by the caller");
        let value_len = value.iter().map(|part| part.len()).sum::<usize>();
        header.value_len = u32::try_from(value_len).expect("value length checked by the caller");
        let most = VALUE_BYTES_MAX + HEADS_MAX;
        assert!(header.value_len <= most, "value length checked by the caller");
        out.reserve(header.frame_bytes());
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(key);
        value.iter().for_each(|part| out.extend_from_slice(part));
    }
}

impl ResponseHeader {
    /// Reads the first [`HEADER_BYTES`] of `bytes`; `None` if there are fewer.
    #[inline]
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let slice = bytes.get(..HEADER_BYTES)?;
        let h = rkyv::access::<ArchivedResponseHeader, Failure>(slice).ok()?;
        Some(Self {
            magic: h.magic,
            version: h.version,
            status: h.status,
            flags: h.flags,
            opcode: h.opcode,
            reserved: h.reserved,
            retry_after_ms: h.retry_after_ms.to_native(),
            value_len: h.value_len.to_native(),
            request_id: h.request_id.to_native(),
            map_epoch: h.map_epoch.to_native(),
            ttl_s: h.ttl_s.to_native(),
            cas_version: h.cas_version.to_native(),
        })
    }

    /// The header's bytes.
    #[inline]
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        // A header of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }

    /// Creates the header of a reply to `request`; everything else is zero.
    #[inline]
    #[must_use]
    pub fn reply_to(request: &RequestHeader, status: Status) -> Self {
        Self {
            magic: RESPONSE_MAGIC,
            version: VERSION,
            status: status as u8,
            opcode: request.opcode,
            request_id: request.request_id,
            ..Self::default()
        }
    }

    /// Whole frame in bytes.
    #[inline]
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.value_len as usize
    }
}

impl<'a> Response<'a> {
    /// Returns the response at the head of `bytes`, or `Ok(None)` if it is not complete yet.
    ///
    /// # Errors [`FrameError`]: the rest of the stream can't be trusted.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let Some(header) = ResponseHeader::read(bytes) else {
            return match bytes.first() {
                Some(&magic) if magic != RESPONSE_MAGIC => Err(FrameError::BadMagic(magic)),
                _ => Ok(None),
            };
        };
        if header.magic != RESPONSE_MAGIC {
            return Err(FrameError::BadMagic(header.magic));
        }
        if header.version != VERSION {
            return Err(FrameError::BadVersion(header.version));
        }
        let has_item = header.flags & response_flags::ITEM != 0;
        let item_bytes = if has_item { ITEM_HEAD_BYTES as u32 } else { 0 };
        let limit = VALUE_BYTES_MAX + item_bytes;
        if header.value_len > limit {
            return Err(FrameError::ValueTooLarge { len: header.value_len, limit });
        }
        if header.value_len < item_bytes {
            return Err(FrameError::NoItemHead);
        }
        let status =
            Status::from_wire(header.status).ok_or(FrameError::UnknownStatus(header.status))?;
        let Some(value) = bytes.get(HEADER_BYTES..header.frame_bytes()) else { return Ok(None) };
        Ok(Some(Self { header, status, value }))
    }

    /// Appends a frame; the header's length is taken from `value`.
    ///
    /// # Panics If the value is longer than [`VALUE_BYTES_MAX`]. Nothing longer gets into the
    /// cache.
    #[inline(always)]
    pub fn write(header: ResponseHeader, value: &[u8], out: &mut Vec<u8>) {
        Self::write_after(header, &[], value, out);
    }

    /// Appends a frame like [`Self::write`], with `head` before the value: no bytes, or an
    /// [`crate::item::ItemHead`].
    ///
    /// # Panics
    /// As [`Self::write`].
    #[inline(always)]
    pub fn write_after(mut header: ResponseHeader, head: &[u8], value: &[u8], out: &mut Vec<u8>) {
        header.value_len = u32::try_from(value.len()).expect("value length checked by the caller");
        assert!(header.value_len <= VALUE_BYTES_MAX, "value length checked by the caller");
        header.value_len += head.len() as u32;
        out.reserve(header.frame_bytes());
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(value);
    }
}
