//! The flags and the lifetime of a value, before the value of a request or response with the flag
//! ITEM. An rkyv archive of integers only, of fixed size, like the header.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

/// The length of an [`ItemHead`].
pub const ITEM_HEAD_BYTES: usize = 16;
/// [`ItemHead::ttl_ms`] of a value without an end.
pub const NEVER: u64 = u64::MAX;

/// An item's flags and lifetime, before the value of a request or response with the flag ITEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct ItemHead {
    /// The client's flags.
    pub item_flags: u32,
    /// Response: bits of [`marks`]. Request: zero.
    pub marks: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The lifetime in milliseconds. Request: zero for that in the header, or the keyspace's.
    /// Response: zero if the value is not cached; [`NEVER`] if it has no end.
    pub ttl_ms: u64,
}

/// Bits of [`ItemHead::marks`].
pub mod marks {
    /// The value is stale.
    pub const STALE: u8 = 0x01;
    /// Another caller has been told to compute the value.
    pub const WON: u8 = 0x02;
    /// This caller is to compute the value.
    pub const WINS: u8 = 0x04;
    /// The response would bring the old value, but there was none.
    pub const ABSENT: u8 = 0x08;
}

const _: () = assert!(size_of::<ArchivedItemHead>() == ITEM_HEAD_BYTES);

impl ItemHead {
    /// Reads the head and returns what follows it; `None` if there are too few bytes.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(ITEM_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedItemHead, Failure>(head).ok()?;
        let (item_flags, ttl_ms) = (head.item_flags.to_native(), head.ttl_ms.to_native());
        Some((Self { item_flags, marks: head.marks, reserved: head.reserved, ttl_ms }, rest))
    }

    /// The head's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ITEM_HEAD_BYTES] {
        let mut bytes = [0; ITEM_HEAD_BYTES];
        // A head of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_the_wire_and_short_bytes_do_not() {
        let head = ItemHead { item_flags: 0x0403_0201, marks: 5, ttl_ms: 6, ..ItemHead::default() };
        let bytes = [&head.to_bytes()[..], b"rest"].concat();
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(ItemHead::split(&bytes), Some((head, &b"rest"[..])));
        assert_eq!(ItemHead::split(&bytes[..ITEM_HEAD_BYTES - 1]), None);
    }
}
