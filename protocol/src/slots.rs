//! Redis' hash slots: with `hash = "crc16"`, a partition is a range of the 16,384 slots, and a key has
//! the slot that a client of Redis Cluster computes for it.
//!
//! Such a client hashes the whole of what it sends. So what is hashed is a key's **name**: the key with
//! its keyspace's prefix (`users:alice`). Keys of the default keyspace, and keys of keyspaces that are
//! bound to it, have no prefix. All parties get the prefixes from the map.

use crc::{CRC_16_XMODEM, Crc, Table};

use crate::codes::wire_enum;

/// The number of slots.
pub const SLOTS: u32 = 16_384;
/// The longest prefix of a keyspace, in bytes.
pub const PREFIX_BYTES_MAX: usize = 128;

const CRC16: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_XMODEM);

wire_enum! {
    /// The function that maps keys to partitions.
    KeyHash {
        /// XXH3-64 of the key with its keyspace's seed, modulo the number of partitions.
        Xxh3 = 0, "xxh3";
        /// The slot of Redis Cluster. A partition is a range of slots.
        Crc16 = 1, "crc16";
    }
}

/// Returns the slot of a name: its CRC-16 (XMODEM), or that of its hash tag, modulo 16,384. The hash
/// tag is what lies between the first `{` and the first `}` behind it, unless that is nothing.
#[must_use]
pub fn slot(name: &[u8]) -> u16 {
    slot_behind(0, name)
}

/// Returns the slot of a name whose beginning, without a brace, has this CRC.
#[inline]
fn slot_behind(begun: u16, rest: &[u8]) -> u16 {
    let (begun, hashed) = match tag(rest) {
        Some(tag) => (0, tag),
        None => (begun, rest),
    };
    let mut digest = CRC16.digest_with_initial(begun);
    digest.update(hashed);
    digest.finalize() % 16_384
}

#[inline]
fn tag(name: &[u8]) -> Option<&[u8]> {
    let behind = &name[memchr::memchr(b'{', name)? + 1..];
    let tag = &behind[..memchr::memchr(b'}', behind)?];
    (!tag.is_empty()).then_some(tag)
}

/// Returns the partition of a slot. Each of up to 16,384 partitions has a range of slots, and no range
/// is more than one slot longer than another.
#[inline]
#[must_use]
pub fn partition_of_slot(slot: u16, partitions: u32) -> u32 {
    // Both are at most 2^14.
    u32::from(slot) * partitions / SLOTS
}

/// Returns the slots of a partition.
///
/// # Panics
/// If there is no such partition, or there are more than 16,384.
#[must_use]
pub fn slots_of(partition: u32, partitions: u32) -> std::ops::Range<u16> {
    assert!(partition < partitions && partitions <= SLOTS, "a partition has a range of slots");
    #[expect(clippy::cast_possible_truncation, reason = "at most 16,384")]
    let first = |partition: u32| (partition * SLOTS).div_ceil(partitions) as u16;
    first(partition)..first(partition + 1)
}

/// The prefixes of all keyspaces.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefixes(Box<[Prefix; 256]>);

#[derive(Clone, PartialEq, Eq, Default)]
struct Prefix {
    text: Box<str>,
    crc: u16,
}

impl Default for Prefixes {
    /// No keyspace has one.
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Prefix::default())))
    }
}

impl std::fmt::Debug for Prefixes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.named()).finish()
    }
}

impl Prefixes {
    /// Creates the prefixes from those that are not empty, by rising keyspace. `None` if the keyspaces
    /// are in another order, or a prefix can't be one: it has 1 to 128 printable ASCII characters, none
    /// of which is a space or `{`.
    #[must_use]
    pub fn of_list(list: &[(u8, &[u8])]) -> Option<Self> {
        let mut prefixes = Self::default();
        for (keyspace, bytes) in list {
            let is_plain = bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'{');
            if !is_plain || !(1..=PREFIX_BYTES_MAX).contains(&bytes.len()) {
                return None;
            }
            let text = std::str::from_utf8(bytes).ok()?.into();
            let crc = CRC16.checksum(bytes);
            prefixes.0[usize::from(*keyspace)] = Prefix { text, crc };
        }
        let is_same = |((a, text), (b, bytes)): ((u8, &str), &(u8, &[u8]))| {
            a == *b && text.as_bytes() == *bytes
        };
        let named = prefixes.named();
        (named.count() == list.len() && prefixes.named().zip(list).all(is_same)).then_some(prefixes)
    }

    /// The keyspaces whose prefix is not empty, each with its prefix, by rising id.
    pub fn named(&self) -> impl Iterator<Item = (u8, &str)> {
        let all = (0u8..=255).zip(self.0.iter());
        all.map(|(keyspace, prefix)| (keyspace, &*prefix.text)).filter(|(_, text)| !text.is_empty())
    }

    /// The prefix of a keyspace.
    #[must_use]
    pub fn of(&self, keyspace: u8) -> &str {
        &self.0[usize::from(keyspace)].text
    }

    /// Returns the slot of a key, which must be in its form.
    #[inline]
    #[must_use]
    pub fn slot(&self, keyspace: u8, key: &[u8]) -> u16 {
        slot_behind(self.0[usize::from(keyspace)].crc, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Redis' specification of clusters, and from `CLUSTER KEYSLOT` of Redis 7.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(CRC16.checksum(b"123456789"), 0x31C3);
        for (name, wanted) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5_061),
            ("", 0),
            ("user:1", 10_778),
            ("{user1000}.following", slot(b"user1000")),
            ("{user1000}.followers", slot(b"user1000")),
            ("foo{bar}{zap}", slot(b"bar")),
            ("foo{{bar}}zap", slot(b"{bar")),
            ("a}b{c}", slot(b"c")),
        ] {
            assert_eq!(slot(name.as_bytes()), wanted, "{name}");
        }
        for whole in ["foo{}{bar}", "foo{", "foo}{", "foo{bar"] {
            assert_eq!(
                slot(whole.as_bytes()),
                CRC16.checksum(whole.as_bytes()) % 16_384,
                "{whole}"
            );
        }
    }

    #[test]
    fn each_slot_is_in_the_range_of_its_partition() {
        for partitions in [1, 2, 3, 12, 64, 1_000, 1_024, 16_383, 16_384] {
            let mut next = 0;
            for partition in 0..partitions {
                let slots = slots_of(partition, partitions);
                assert_eq!(slots.start, next, "{partition} of {partitions}");
                assert!(!slots.is_empty(), "{partition} of {partitions}");
                next = slots.end;
                for slot in slots {
                    assert_eq!(partition_of_slot(slot, partitions), partition);
                }
            }
            assert_eq!(u32::from(next), SLOTS);
        }
    }

    #[test]
    fn a_key_has_the_slot_of_its_name() {
        let prefixes = Prefixes::of_list(&[(3, b"users:"), (9, b"x::")]).unwrap();
        for key in ["alice", "", "{alice}.friends", "a{}b", "a{b", "}{c}"] {
            let slots = [1, 3, 9].map(|keyspace| prefixes.slot(keyspace, key.as_bytes()));
            let names = [key.to_owned(), format!("users:{key}"), format!("x::{key}")];
            assert_eq!(slots, names.map(|name| slot(name.as_bytes())), "{key}");
        }
        assert_eq!((prefixes.of(3), prefixes.of(4)), ("users:", ""));
        let named: Vec<(u8, &str)> = prefixes.named().collect();
        assert_eq!(named, [(3, "users:"), (9, "x::")]);
    }

    #[test]
    fn a_list_of_what_can_be_no_prefixes_is_refused() {
        let long = [b'a'; PREFIX_BYTES_MAX + 1];
        let lists: [&[(u8, &[u8])]; 7] = [
            &[(3, b"")],
            &[(3, b"a{:")],
            &[(3, b"a b")],
            &[(3, b"\xff")],
            &[(3, &long)],
            &[(3, b"a:"), (2, b"b:")],
            &[(3, b"a:"), (3, b"a:")],
        ];
        for list in lists {
            assert_eq!(Prefixes::of_list(list), None, "{list:?}");
        }
        assert!(Prefixes::of_list(&[(0, &long[1..])]).is_some());
    }
}
