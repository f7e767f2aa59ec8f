//! Numbers of durations by powers of two: a few plain integers, one of which rises with each duration.

use std::time::Duration;

use standin_protocol::counters::SampleValue;

/// The binary logarithm of the first bound, in microseconds. Durations below it are in one bucket.
const FIRST_LOG2: u32 = 4;
/// The number of bounds: from 16 µs to 8.4 s.
const BOUNDS: usize = 20;
/// The number of integers of a histogram: a bucket for each bound, one for all above, and the sum.
pub(crate) const CELLS: usize = BOUNDS + 2;

/// How many durations are how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Bucket `i` has the durations up to `16 << i` microseconds; the last one those above all bounds.
    buckets: [u64; BOUNDS + 1],
    sum_us: u64,
}

impl Histogram {
    /// Notes that this many things took this long each.
    #[inline]
    pub fn add(&mut self, duration: Duration, count: u64) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)] += count;
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(count));
    }

    /// The integers that are published: the buckets, then the sum.
    pub(crate) fn cells(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().copied().chain([self.sum_us])
    }

    /// Adds what [`Self::cells`] has given.
    pub(crate) fn add_cells(&mut self, mut cells: impl Iterator<Item = u64>) {
        for bucket in &mut self.buckets {
            *bucket += cells.next().unwrap_or(0);
        }
        self.sum_us = self.sum_us.saturating_add(cells.next().unwrap_or(0));
    }

    /// The number of durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value as it is published, in microseconds.
    pub(crate) fn value(&self) -> SampleValue {
        let (below, beyond) = self.buckets.split_at(BOUNDS);
        let bounds = (0..).map(|index: u32| 1 << (FIRST_LOG2 + index));
        let buckets = bounds.zip(below.iter().copied()).collect();
        SampleValue::Histogram { buckets, beyond: beyond[0], sum: self.sum_us }
    }
}

/// The bucket of a duration: that of the smallest bound that is not below it.
#[inline]
fn bucket(us: u64) -> usize {
    let log2 = u64::BITS - us.saturating_sub(1).leading_zeros();
    (log2.saturating_sub(FIRST_LOG2) as usize).min(BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_the_next_bound() {
        for (us, expected) in [
            (0, 0),
            (1, 0),
            (16, 0),
            (17, 1),
            (32, 1),
            (33, 2),
            (8_388_608, 19),
            (8_388_609, 20),
            (u64::MAX, 20),
        ] {
            assert_eq!(bucket(us), expected, "{us}");
        }
    }

    #[test]
    fn what_is_published_has_the_bounds_and_all_durations() {
        let mut histogram = Histogram::default();
        histogram.add(Duration::from_micros(16), 2);
        histogram.add(Duration::from_micros(40), 1);
        histogram.add(Duration::from_secs(3_600), 1);
        assert_eq!(histogram.count(), 4);
        let SampleValue::Histogram { buckets, beyond, sum } = histogram.value() else {
            panic!("{histogram:?}")
        };
        assert_eq!(buckets[..3], [(16, 2), (32, 0), (64, 1)]);
        assert_eq!((buckets.len(), buckets[BOUNDS - 1].0), (BOUNDS, 8_388_608));
        assert_eq!((beyond, sum), (1, 2 * 16 + 40 + 3_600_000_000));
        let mut copy = Histogram::default();
        assert_eq!(histogram.cells().count(), CELLS);
        copy.add_cells(histogram.cells());
        assert_eq!(copy, histogram);
    }
}
