//! The operation of a MODIFY as it stands before the operand: an rkyv archive of integers only, of
//! fixed size, like the header. docs/PROTOCOL.md, *MODIFY*, names the numbers.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

use super::{Edit, Gives, LifetimeTest, Modify, Presence, Ttl, Vivified, Vivify, When};

/// The length of a [`ModifyHead`].
pub const MODIFY_HEAD_BYTES: usize = 48;

/// The operation of a MODIFY.
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

const _: () = assert!(size_of::<ArchivedModifyHead>() == MODIFY_HEAD_BYTES);

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

/// Reads an operation; `None` if it has a number without a meaning. `version` is that of the header.
#[must_use]
pub fn read(head: &ModifyHead, version: u64) -> Option<Modify> {
    let number = head.number;
    let edit = match head.edit {
        0 => Edit::Keep,
        1 => Edit::Set,
        2 => Edit::Append,
        3 => Edit::Prepend,
        4 => Edit::Overwrite(u32::try_from(number).ok()?),
        5 => Edit::Increment(number),
        6 => Edit::Decrement(number),
        7 => Edit::Add(number.cast_signed()),
        8 => Edit::AddFloat,
        9 => Edit::Clear,
        10 => Edit::MarkStale,
        11 => Edit::Herd { recache_ms: number },
        12 => Edit::Delete,
        _ => return None,
    };
    let presence = match head.presence {
        0 => Presence::Any,
        1 => Presence::Absent,
        2 => Presence::Present,
        _ => return None,
    };
    let lifetime = match head.lifetime_test {
        0 => LifetimeTest::Any,
        1 => LifetimeTest::Endless,
        2 => LifetimeTest::Limited,
        3 => LifetimeTest::Longer,
        4 => LifetimeTest::Shorter,
        5 => LifetimeTest::LimitedShorter,
        _ => return None,
    };
    let gives = match head.gives {
        0 => Gives::Nothing,
        1 => Gives::Old,
        2 => Gives::New,
        3 => Gives::Length,
        _ => return None,
    };
    let vivified = match head.vivify {
        0 => None,
        1 => Some(Vivified::Empty),
        2 => Some(Vivified::Number(head.vivify_number)),
        3 => Some(Vivified::Operand),
        _ => return None,
    };
    let known = tests::VERSION | tests::OLDER_MARKS_STALE | tests::EQUALS_OPERAND;
    if head.tests & !known != 0 {
        return None;
    }
    let has = |test| head.tests & test != 0;
    let when = When {
        presence,
        version: has(tests::VERSION).then_some(version),
        older_marks_stale: has(tests::OLDER_MARKS_STALE),
        equals_operand: has(tests::EQUALS_OPERAND),
        lifetime,
    };
    let vivify_ttl = read_ttl(head.vivify_ttl_kind, head.vivify_ttl_ms)?;
    let vivify = vivified.map(|value| Vivify { value, ttl: vivify_ttl });
    Some(Modify { edit, when, ttl: read_ttl(head.ttl_kind, head.ttl_ms)?, gives, vivify })
}

fn read_ttl(kind: u8, ttl_ms: u64) -> Option<Ttl> {
    Some(match kind {
        0 => Ttl::Keyspace,
        1 => Ttl::Keep,
        2 => Ttl::Never,
        3 => Ttl::For(ttl_ms),
        4 => Ttl::Longer(ttl_ms),
        _ => return None,
    })
}

/// Writes an operation. Its version belongs into the header of the request.
#[must_use]
pub fn write(modify: &Modify, item_flags: u32) -> ModifyHead {
    let (edit, number) = match modify.edit {
        Edit::Keep => (0, 0),
        Edit::Set => (1, 0),
        Edit::Append => (2, 0),
        Edit::Prepend => (3, 0),
        Edit::Overwrite(at) => (4, u64::from(at)),
        Edit::Increment(by) => (5, by),
        Edit::Decrement(by) => (6, by),
        Edit::Add(by) => (7, by.cast_unsigned()),
        Edit::AddFloat => (8, 0),
        Edit::Clear => (9, 0),
        Edit::MarkStale => (10, 0),
        Edit::Herd { recache_ms } => (11, recache_ms),
        Edit::Delete => (12, 0),
    };
    let When { presence, version, older_marks_stale, equals_operand, lifetime } = modify.when;
    let mark = |is_set: bool, test: u8| if is_set { test } else { 0 };
    let (ttl_kind, ttl_ms) = write_ttl(modify.ttl);
    let (vivify, vivify_number) = match modify.vivify.map(|vivify| vivify.value) {
        None => (0, 0),
        Some(Vivified::Empty) => (1, 0),
        Some(Vivified::Number(number)) => (2, number),
        Some(Vivified::Operand) => (3, 0),
    };
    let vivify_ttl = modify.vivify.map_or(Ttl::Keyspace, |vivify| vivify.ttl);
    let (vivify_ttl_kind, vivify_ttl_ms) = write_ttl(vivify_ttl);
    ModifyHead {
        edit,
        presence: match presence {
            Presence::Any => 0,
            Presence::Absent => 1,
            Presence::Present => 2,
        },
        lifetime_test: match lifetime {
            LifetimeTest::Any => 0,
            LifetimeTest::Endless => 1,
            LifetimeTest::Limited => 2,
            LifetimeTest::Longer => 3,
            LifetimeTest::Shorter => 4,
            LifetimeTest::LimitedShorter => 5,
        },
        tests: mark(version.is_some(), tests::VERSION)
            | mark(older_marks_stale, tests::OLDER_MARKS_STALE)
            | mark(equals_operand, tests::EQUALS_OPERAND),
        gives: match modify.gives {
            Gives::Nothing => 0,
            Gives::Old => 1,
            Gives::New => 2,
            Gives::Length => 3,
        },
        ttl_kind,
        vivify,
        vivify_ttl_kind,
        number,
        ttl_ms,
        vivify_number,
        vivify_ttl_ms,
        item_flags,
        ..ModifyHead::default()
    }
}

fn write_ttl(ttl: Ttl) -> (u8, u64) {
    match ttl {
        Ttl::Keyspace => (0, 0),
        Ttl::Keep => (1, 0),
        Ttl::Never => (2, 0),
        Ttl::For(ms) => (3, ms),
        Ttl::Longer(ms) => (4, ms),
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    /// Every number of each field, one at a time.
    #[test]
    fn every_operation_survives_the_wire_and_unknown_numbers_do_not() {
        let base = ModifyHead { number: 7, ttl_ms: 0, ..ModifyHead::default() };
        type Field = fn(&mut ModifyHead) -> &mut u8;
        let fields: [(Field, u8); 8] = [
            (|head| &mut head.edit, 12),
            (|head| &mut head.presence, 2),
            (|head| &mut head.lifetime_test, 5),
            (|head| &mut head.tests, 7),
            (|head| &mut head.ttl_kind, 4),
            (|head| &mut head.gives, 3),
            (|head| &mut head.vivify, 3),
            (|head| &mut head.vivify_ttl_kind, 4),
        ];
        for (number, (field, most)) in fields.into_iter().enumerate() {
            for value in 0..=most {
                let mut head = base;
                *field(&mut head) = value;
                let modify = read(&head, 5).unwrap_or_else(|| panic!("field {number}: {value}"));
                assert_eq!(read(&write(&modify, 9), 5), Some(modify), "field {number}: {value}");
            }
            let mut head = base;
            *field(&mut head) = most + 1;
            assert_eq!(read(&head, 5), None, "field {number}");
        }
        let far = ModifyHead { edit: 4, number: 1 << 32, ..base };
        assert_eq!(read(&far, 0), None, "an offset that no value has");
    }

    #[test]
    fn a_head_survives_the_wire_and_short_bytes_do_not() {
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
