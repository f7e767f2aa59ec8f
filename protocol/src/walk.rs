//! The values of a WALK and of its answer: keys that a shard has cached, a bounded number at a time.
//! The heads are rkyv archives of integers only, of fixed size, like the header.
//!
//! A shard has its cached keys in parts, whose number never changes while it runs, and a key belongs to
//! one of them for as long. A walk looks at part after part. Whoever asks goes on where the answer ends,
//! until the shard has no more parts.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

/// The length of a [`WalkHead`].
pub const WALK_HEAD_BYTES: usize = 24;
/// The length of a [`WalkedHead`].
pub const WALKED_HEAD_BYTES: usize = 24;
/// The longest pattern, in bytes. It bounds the work for each key.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// [`WalkHead::slot`] of a walk through the keys of all slots.
pub const ANY_SLOT: u16 = u16::MAX;
/// The bytes of keys after which an answer ends behind the part in which it is. A part has about as many
/// keys as 32 KiB of the cache.
pub const ANSWER_BYTES: usize = 64 << 10;

/// The bytes before each key of an answer: its keyspace and its length.
const KEY_HEAD_BYTES: usize = 3;

/// The value of a WALK, before the pattern: the parts to look at, and the keys that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct WalkHead {
    /// The walk begins with the part of this number, modulo the number of parts.
    pub start: u64,
    /// The number of parts that it has looked at so far.
    pub position: u32,
    /// The answer ends behind the part in which this number of keys was looked at.
    pub looked_max: u32,
    /// The answer ends behind the part in which this number of keys was found.
    pub found_max: u32,
    /// Only keys of this slot count; [`ANY_SLOT`]: all.
    pub slot: u16,
    /// 1: the keys are wanted; 0: only their number.
    pub gives_keys: u8,
    /// Zero.
    pub reserved: u8,
}

/// The value of the OK to a WALK, before the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct WalkedHead {
    /// The number of keys that were found: all that the caller wants, or some more.
    pub found: u64,
    /// [`WalkHead::position`] with which the walk goes on; 0: it has looked at all parts.
    pub position: u32,
    /// The number of keys that were looked at, also of those that do not count.
    pub looked: u32,
    /// Zero.
    pub reserved: [u8; 8],
}

const _: () = assert!(size_of::<ArchivedWalkHead>() == WALK_HEAD_BYTES);
const _: () = assert!(size_of::<ArchivedWalkedHead>() == WALKED_HEAD_BYTES);

impl WalkHead {
    /// Reads the head, and returns the pattern behind it. `None` if this is no value of a WALK: it is too
    /// short, a field has no meaning, or the pattern is too long.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, pattern) = bytes.split_at_checked(WALK_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedWalkHead, Failure>(head).ok()?;
        let head = Self {
            start: head.start.to_native(),
            position: head.position.to_native(),
            looked_max: head.looked_max.to_native(),
            found_max: head.found_max.to_native(),
            slot: head.slot.to_native(),
            gives_keys: head.gives_keys,
            reserved: head.reserved,
        };
        let is_known = head.gives_keys <= 1 && head.reserved == 0;
        (is_known && pattern.len() <= PATTERN_BYTES_MAX).then_some((head, pattern))
    }

    /// The head's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; WALK_HEAD_BYTES] {
        let mut bytes = [0; WALK_HEAD_BYTES];
        // A head of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

impl WalkedHead {
    /// Reads the head, and returns the keys behind it; `None` if there are too few bytes.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<(Self, WalkedKeys<'_>)> {
        let (head, keys) = bytes.split_at_checked(WALKED_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedWalkedHead, Failure>(head).ok()?;
        let (found, position) = (head.found.to_native(), head.position.to_native());
        let (looked, reserved) = (head.looked.to_native(), head.reserved);
        Some((Self { found, position, looked, reserved }, WalkedKeys(keys)))
    }

    /// The head's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; WALKED_HEAD_BYTES] {
        let mut bytes = [0; WALKED_HEAD_BYTES];
        // A head of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

/// The keys of an answer, each with its keyspace. An item is `None`, and the last, if the bytes behind the
/// keys before it are no key.
#[derive(Debug, Clone)]
pub struct WalkedKeys<'a>(&'a [u8]);

impl<'a> Iterator for WalkedKeys<'a> {
    type Item = Option<(u8, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let Some(([keyspace, low, high], rest)) = rest.split_first_chunk() else {
            return Some(None);
        };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let Some((key, rest)) = rest.split_at_checked(length) else { return Some(None) };
        self.0 = rest;
        Some(Some((*keyspace, key)))
    }
}

/// Appends a key to those of an answer.
///
/// # Panics
/// If it is longer than 65,535 bytes, which no key is.
pub fn append_key(keyspace: u8, key: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(key.len()).expect("the length of a key has 16 bits in a frame");
    out.reserve(KEY_HEAD_BYTES + key.len());
    out.push(keyspace);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_is_read_as_it_was_written_and_a_part_of_it_says_that_it_is_one(
            keys in vec((any::<u8>(), vec(any::<u8>(), 0..20)), 0..20),
            (found, position, looked) in any::<(u64, u32, u32)>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let head = WalkedHead { found, position, looked, ..WalkedHead::default() };
            let mut bytes = head.to_bytes().to_vec();
            let mut ends = vec![bytes.len()];
            for (keyspace, key) in &keys {
                append_key(*keyspace, key, &mut bytes);
                ends.push(bytes.len());
            }
            let (read, walked) = WalkedHead::split(&bytes).unwrap();
            prop_assert_eq!(read, head);
            let walked: Vec<(u8, Vec<u8>)> =
                walked.map(|key| key.map(|(keyspace, key)| (keyspace, key.to_vec())).unwrap()).collect();
            prop_assert_eq!(&walked, &keys);
            let cut = cut.index(bytes.len());
            match WalkedHead::split(&bytes[..cut]) {
                None => prop_assert!(cut < WALKED_HEAD_BYTES),
                Some((_, walked)) => {
                    let whole = walked.clone().take_while(Option::is_some).count();
                    prop_assert_eq!(whole, ends.iter().filter(|end| **end <= cut).count() - 1);
                    prop_assert_eq!(walked.count() > whole, !ends.contains(&cut));
                }
            }
        }

        #[test]
        fn a_request_is_read_as_it_was_written(
            (start, position, looked_max, found_max) in any::<(u64, u32, u32, u32)>(),
            (slot, gives_keys) in (any::<u16>(), 0..=1_u8),
            pattern in vec(any::<u8>(), 0..30),
        ) {
            let head = WalkHead {
                start, position, looked_max, found_max, slot, gives_keys, reserved: 0,
            };
            let bytes = [&head.to_bytes()[..], &pattern].concat();
            prop_assert_eq!(WalkHead::split(&bytes), Some((head, &pattern[..])));
        }

        #[test]
        fn garbage_is_no_request_or_one_that_is_written_as_it_was_read(
            bytes in vec(any::<u8>(), 0..60),
        ) {
            if let Some((head, pattern)) = WalkHead::split(&bytes) {
                prop_assert_eq!([&head.to_bytes()[..], pattern].concat(), bytes);
            }
        }
    }

    #[test]
    fn what_has_no_meaning_is_no_request() {
        let bytes = WalkHead::default().to_bytes();
        assert!(WalkHead::split(&bytes).is_some());
        assert_eq!(WalkHead::split(&bytes[1..]), None);
        for (at, byte) in [(22, 2), (23, 1)] {
            let mut wrong = bytes;
            wrong[at] = byte;
            assert_eq!(WalkHead::split(&wrong), None, "byte {at}");
        }
        let pattern = |length| [&bytes[..], &vec![b'a'; length]].concat();
        assert!(WalkHead::split(&pattern(PATTERN_BYTES_MAX)).is_some());
        assert_eq!(WalkHead::split(&pattern(PATTERN_BYTES_MAX + 1)), None);
    }
}
