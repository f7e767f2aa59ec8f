//! Pseudo-random numbers from a seed, for jitter and nonces, never for secrets.

use std::time::Duration;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A generator. The same seed gives the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a duration from zero to `limit`, in whole microseconds.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.next() % (limit_us + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Compares with the numbers of the reference implementation for this seed.
    #[test]
    fn it_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        let numbers = [(); 3].map(|()| random.next());
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn below_reaches_both_ends_and_nothing_beyond() {
        let mut random = Random::new(7);
        assert_eq!(random.below(Duration::ZERO), Duration::ZERO);
        let limit = Duration::from_micros(3);
        let seen: BTreeSet<u128> = (0..1_000).map(|_| random.below(limit).as_micros()).collect();
        assert_eq!(seen, (0..=3).collect());
        random.below(Duration::MAX);
    }
}
