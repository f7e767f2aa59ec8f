//! The mapping of a key to its partition and shard: XXH3-64 with the keyspace's seed
//! ([`crate::seeds`]), then two remainders. Every client, in any language, computes the same. If the
//! map says so, slots.rs maps a key to its partition instead.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Returns the stable 64-bit hash of a key: `XXH3_64bits_withSeed(key, seed)`.
#[inline]
#[must_use]
pub fn key_hash(seed: u8, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::from(seed))
}

/// Returns a 64-bit hash of a value, by which a server compares copies of a write.
#[inline]
#[must_use]
pub fn value_hash(value: &[u8]) -> u64 {
    xxh3_64(value)
}

/// Returns the partition of a hash: `hash mod partitions`.
///
/// # Panics
/// If `partitions` is zero, which no valid configuration or map contains.
#[inline]
#[must_use]
pub fn partition_of(hash: u64, partitions: u32) -> u32 {
    let partitions = u64::from(partitions);
    // The number of partitions is usually a power of two, and a mask is much cheaper than a
    // division.
    let partition = match partitions.is_power_of_two() {
        true => hash & (partitions - 1),
        false => hash % partitions,
    };
    #[expect(clippy::cast_possible_truncation, reason = "it is below the number of partitions")]
    let partition = partition as u32;
    partition
}

/// Returns the shard of a partition within a server: `partition mod shards`.
///
/// # Panics
/// If `shards` is zero, which no valid configuration or map contains.
#[inline]
#[must_use]
pub fn shard_of(partition: u32, shards: u16) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u16 divisor fits")]
    let shard = (partition % u32::from(shards)) as u16;
    shard
}

/// Returns, for each partition, the first of the keys `0`, `1`, `2` … (in decimal) that belongs to
/// it, according to `partition`. Computes about `partitions × ln(partitions)` hashes.
pub(crate) fn keys_of_partitions(
    partitions: u32,
    partition: impl Fn(&[u8]) -> u32,
) -> Vec<Vec<u8>> {
    let mut keys = vec![Vec::new(); partitions as usize];
    let mut missing = keys.len();
    let mut number = 0u64;
    while missing > 0 {
        let key = number.to_string().into_bytes();
        let place = &mut keys[partition(&key) as usize];
        if place.is_empty() {
            *place = key;
            missing -= 1;
        }
        number += 1;
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values come from the reference implementation.
    #[test]
    fn the_hash_is_xxh3() {
        assert_eq!(key_hash(0, b""), 0x2D06_8005_38D3_94C2);
        assert_eq!(key_hash(0, b"a"), 0xE6C6_32B6_1E96_4E1F);
        assert_ne!(key_hash(1, b"a"), key_hash(0, b"a"));
    }

    #[test]
    fn partitions_and_shards_are_remainders() {
        assert_eq!(partition_of(u64::MAX, 1_024), 1_023);
        assert_eq!(partition_of(u64::MAX, 1_000), 615);
        assert_eq!(shard_of(1_023, 4), 3);
        assert_eq!(shard_of(1_023, 1), 0);
    }

    #[test]
    fn each_partition_has_a_key_for_its_flush() {
        for (keyspace, partitions) in [(0, 1), (1, 64), (255, 1_024)] {
            let of = |key: &[u8]| partition_of(key_hash(keyspace, key), partitions);
            let keys = keys_of_partitions(partitions, of);
            for (partition, key) in (0..).zip(&keys) {
                assert_eq!(partition_of(key_hash(keyspace, key), partitions), partition);
            }
            assert_eq!(keys.len(), partitions as usize);
        }
    }
}
