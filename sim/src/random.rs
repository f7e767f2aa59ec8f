//! Randomness derived from a seed: a generator for plans, and a hash for everything that happens
//! while a plan is executed.
//!
//! The hash depends on what a message *is* (when, from where, to where), not on how many came
//! before it, so that removing an entry from a plan leaves the rest of the run nearly unchanged.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// The generator of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(mix(seed, 0x5157_11A6)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a number from zero to `limit`, exclusive.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Returns a number from `low` to `high`, inclusive.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Returns true with this probability.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a small index, for example of a host.
    pub(crate) fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or(0)
    }
}

/// Returns a hash of two numbers.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    scramble(
        a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ scramble(b.wrapping_add(0x2545_F491_4F6C_DD1D)),
    )
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
