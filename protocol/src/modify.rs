//! What stands before the value of a request or response: an item's flags and lifetime
//! ([`ItemHead`]), and the operation of a MODIFY ([`ModifyHead`]). Both are rkyv archives of
//! integers only, of fixed size, like the header.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

/// The length of an [`ItemHead`].
pub const ITEM_HEAD_BYTES: usize = 16;
/// The length of a [`ModifyHead`].
pub const MODIFY_HEAD_BYTES: usize = 48;
/// [`ItemHead::ttl_ms`] and [`ModifyHead::ttl_ms`] of a value without an end.
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

/// The operation of a MODIFY. docs/PROTOCOL.md names the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct ModifyHead {
    /// The change to the value.
    pub edit: u8,
    /// Whether there must be a value, or none.
    pub presence: u8,
    /// The condition on the lifetime.
    pub lifetime_test: u8,
    /// Bits of [`tests`].
    pub tests: u8,
    /// The kind of the new lifetime.
    pub ttl_kind: u8,
    /// The value that the response brings.
    pub gives: u8,
    /// What is stored if there is no value.
    pub vivify: u8,
    /// The kind of its lifetime.
    pub vivify_ttl_kind: u8,
    /// The edit's number.
    pub number: u64,
    /// The new lifetime, in milliseconds, if its kind is that.
    pub ttl_ms: u64,
    /// The number that is stored if there is no value.
    pub vivify_number: u64,
    /// Its lifetime, in milliseconds, if its kind is that.
    pub vivify_ttl_ms: u64,
    /// The client's flags, if the operand becomes the value.
    pub item_flags: u32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// Bits of [`ModifyHead::tests`].
pub mod tests {
    /// The version in the header must be current.
    pub const VERSION: u8 = 0x01;
    /// An older version is accepted too, and leaves the value marked as stale.
    pub const OLDER_MARKS_STALE: u8 = 0x02;
    /// The value must be equal to the operand.
    pub const EQUALS_OPERAND: u8 = 0x04;
}

const _: () = assert!(size_of::<ArchivedItemHead>() == ITEM_HEAD_BYTES);
const _: () = assert!(size_of::<ArchivedModifyHead>() == MODIFY_HEAD_BYTES);

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

impl ModifyHead {
    /// Reads the head and returns what follows it; `None` if there are too few bytes.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(MODIFY_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedModifyHead, Failure>(head).ok()?;
        let read = Self {
            edit: head.edit,
            presence: head.presence,
            lifetime_test: head.lifetime_test,
            tests: head.tests,
            ttl_kind: head.ttl_kind,
            gives: head.gives,
            vivify: head.vivify,
            vivify_ttl_kind: head.vivify_ttl_kind,
            number: head.number.to_native(),
            ttl_ms: head.ttl_ms.to_native(),
            vivify_number: head.vivify_number.to_native(),
            vivify_ttl_ms: head.vivify_ttl_ms.to_native(),
            item_flags: head.item_flags.to_native(),
            reserved: head.reserved,
        };
        Some((read, rest))
    }

    /// The head's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; MODIFY_HEAD_BYTES] {
        let mut bytes = [0; MODIFY_HEAD_BYTES];
        // A head of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn heads_survive_the_wire_and_short_bytes_do_not() {
        let item = ItemHead { item_flags: 0x0403_0201, marks: 5, ttl_ms: 6, ..ItemHead::default() };
        let bytes = [&item.to_bytes()[..], b"rest"].concat();
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(ItemHead::split(&bytes), Some((item, &b"rest"[..])));
        assert_eq!(ItemHead::split(&bytes[..ITEM_HEAD_BYTES - 1]), None);
        let modify = ModifyHead {
            edit: 1,
            number: 2,
            vivify_ttl_ms: 3,
            item_flags: 4,
            ..ModifyHead::default()
        };
        let bytes = [&modify.to_bytes()[..], b"rest"].concat();
        assert_eq!((bytes[0], bytes[8], bytes[32], bytes[40]), (1, 2, 3, 4));
        assert_eq!(ModifyHead::split(&bytes), Some((modify, &b"rest"[..])));
        assert_eq!(ModifyHead::split(&bytes[..MODIFY_HEAD_BYTES - 1]), None);
    }
}
