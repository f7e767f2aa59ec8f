//! Latencies of a run while it runs: a histogram that one thread writes and others read at any time.
//!
//! Its buckets are 64 for each power of two, so a figure is too high by 1.6 % at most. The recorder has the exact
//! ones, but only when the run is over.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets for each power of two, as a power of two.
const STEP_BITS: u32 = 6;
/// Longer latencies are counted as this one, more than an hour.
const US_MAX: u64 = u32::MAX as u64;
const BUCKETS: usize = (32 - STEP_BITS as usize + 1) << STEP_BITS;

/// The histogram of one writer.
#[derive(Debug)]
pub(super) struct Tally(Box<[AtomicU64]>);

impl Default for Tally {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Tally {
    /// Counts a latency. Only one thread may do so.
    pub(super) fn record(&self, latency_us: u64) {
        add(&self.0[bucket(latency_us)], 1);
    }
}

/// Adds to a counter that has one writer, which is cheaper than an atomic addition.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// The sums of several histograms at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Latencies {
    pub(super) fn add(&mut self, tally: &Tally) {
        for (sum, count) in self.0.iter_mut().zip(&tally.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }

    /// The difference to `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.0.iter().zip(&earlier.0);
        Self(pairs.map(|(now, before)| now.saturating_sub(*before)).collect())
    }

    /// The number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The latency in microseconds that this share of the requests does not exceed; `None` if there is none. The share
    /// 1 is the longest.
    #[must_use]
    pub fn at(&self, share: f64) -> Option<u64> {
        let wanted = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        for (index, count) in self.0.iter().enumerate() {
            passed += count;
            if passed >= wanted {
                return Some(last_of(index));
            }
        }
        None
    }
}

/// Latencies below 64 µs have a bucket each; from there on, each power of two has 64.
fn bucket(latency_us: u64) -> usize {
    let us = latency_us.min(US_MAX);
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(STEP_BITS + 1);
    ((shift as usize) << STEP_BITS) + (us >> shift) as usize
}

/// The longest latency of a bucket.
fn last_of(index: usize) -> u64 {
    let step = 1_usize << STEP_BITS;
    if index < 2 * step {
        return index as u64;
    }
    let shift = index / step - 1;
    ((index - shift * step + 1) as u64) * (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_has_a_bucket_within_its_step() {
        let all =
            (0..5_000).chain((12..33).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        for us in all {
            let index = bucket(us);
            assert!(index < BUCKETS, "{us}");
            let (last, us) = (last_of(index), us.min(US_MAX));
            assert!(last >= us && (last - us) as f64 <= us as f64 / 64.0, "{us} is at {last}");
            assert_eq!(bucket(last), index, "{us}");
            assert_ne!(bucket((last + 1).min(US_MAX)), if last < US_MAX { index } else { 0 });
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shares_are_those_of_the_latencies_since() {
        let (one, other) = (Tally::default(), Tally::default());
        let sum = || {
            let mut sum = Latencies::default();
            sum.add(&one);
            sum.add(&other);
            sum
        };
        one.record(1_000_000);
        let earlier = sum();
        assert_eq!(earlier.since(&earlier).at(0.5), None);
        (1..=99).for_each(|us| one.record(us));
        other.record(100);
        let recent = sum().since(&earlier);
        assert_eq!((recent.count(), recent.at(0.5), recent.at(0.99)), (100, Some(50), Some(99)));
        assert_eq!(recent.at(1.0), Some(100));
        assert!(sum().at(1.0).is_some_and(|longest| (1_000_000..1_016_000).contains(&longest)));
    }
}
