//! Numbers from a seed: SplitMix64 (Steele, Lea, Flood 2014). For jitter and nonces,
//! never for secrets.

use std::time::Duration;

/// A generator; the same seed gives the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A duration from zero to `limit`, in whole microseconds.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.next() % (limit_us + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The numbers of the reference implementation for this seed.
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
