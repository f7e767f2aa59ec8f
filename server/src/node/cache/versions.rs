//! Versions of cached values, for CAS and for dropping whole partitions.
//!
//! A version is `microseconds since 1970 << 13 | salt` and rises strictly within a shard. The salt
//! differs between the shards of a cluster (up to 8,192 shards), so no two values of a key ever
//! have the same version, whichever server assigned it.

const SALT_BITS: u32 = 13;

/// One shard's source of versions.
#[derive(Debug)]
pub(super) struct Versions {
    last: u64,
    salt: u64,
}

impl Versions {
    /// Creates a source of versions. `salt` is a number that no other shard of the cluster has.
    #[must_use]
    pub(super) fn new(salt: u64) -> Self {
        Self { last: 0, salt: salt & ((1 << SALT_BITS) - 1) }
    }

    /// Returns a version above all earlier ones. `wall_us` is the time in microseconds since 1970.
    /// If the wall clock is set back, versions run ahead of it.
    pub(super) fn next(&mut self, wall_us: u64) -> u64 {
        let ticks = (wall_us << SALT_BITS >> SALT_BITS).max((self.last >> SALT_BITS) + 1);
        self.last = ticks << SALT_BITS | self.salt;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_even_when_the_clock_does_not() {
        let mut versions = Versions::new(5);
        let first = versions.next(1_000);
        let second = versions.next(1_000);
        let third = versions.next(10);
        assert!(first < second && second < third);
        assert_eq!(first & 8_191, 5);
    }
}
