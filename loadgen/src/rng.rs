//! Pseudo-random numbers from a seed: the same seed gives the same run, on any machine.

use rand_distr::Distribution;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A generator; not for secrets.
#[derive(Debug, Clone)]
pub struct Random(SplitMix64);

/// The increment of SplitMix64.
pub(crate) const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(mix(seed)))
    }

    /// One of many independent sequences of a seed: for worker `stream`.
    #[must_use]
    pub fn stream(seed: u64, stream: u64) -> Self {
        Self(SplitMix64::seed_from_u64(mix(mix(seed) ^ stream.wrapping_mul(GAMMA))))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A value of a distribution.
    pub(crate) fn sample<T>(&mut self, distribution: &impl Distribution<T>) -> T {
        distribution.sample(&mut self.0)
    }

    /// Evenly in `0.0..1.0`, in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (-53f64).exp2()
    }

    /// Evenly in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The product's high half; its bias is below bound / 2^64.
        let product = u128::from(self.bits()) * u128::from(bound);
        (product >> 64) as u64
    }
}

/// The output of SplitMix64 for this state.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let take = |mut random: Random| (0..8).map(|_| random.bits()).collect::<Vec<_>>();
        assert_eq!(take(Random::new(7)), take(Random::new(7)));
        assert_ne!(take(Random::stream(7, 0)), take(Random::stream(7, 1)));
        assert_ne!(take(Random::new(7)), take(Random::new(8)));
    }

    #[test]
    fn numbers_are_even_and_in_range() {
        let mut random = Random::new(1);
        let mut buckets = [0u32; 10];
        for _ in 0..100_000 {
            assert!((0.0..1.0).contains(&random.unit()));
            buckets[usize::try_from(random.below(10)).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|count| (9_500..10_500).contains(count)), "{buckets:?}");
        assert_eq!(random.below(0), 0);
    }
}
