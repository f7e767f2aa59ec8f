//! The figures of one server at one moment, and what two of them say about the time between. Pure.

use std::time::Duration;

use standin_protocol::body::StatsReply;
use standin_protocol::time::Micros;

use super::shown::Latency;

/// The binary logarithm of the smallest bound, in microseconds.
const FIRST_LOG2: u32 = 4;
/// The number of bounds, as servers publish them: from 16 µs to 8.4 s.
const BOUNDS: usize = 20;

/// How many durations are how long, by powers of two; the last number is of those above all bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times([u64; BOUNDS + 1]);

impl Times {
    /// Reads the histogram `head"le="…"}` of a server's counters.
    fn of(stats: &StatsReply, head: &str) -> Self {
        let mut below = [0; BOUNDS + 1];
        for counter in &stats.counters {
            let bound = counter.name.strip_prefix(head).and_then(|rest| rest.strip_suffix("\"}"));
            let at = match bound {
                Some("+Inf") => Some(BOUNDS),
                Some(bound) => bound.parse::<u64>().ok().and_then(index),
                None => None,
            };
            if let Some(at) = at {
                below[at] = counter.value;
            }
        }
        let mut times = Self::default();
        let mut previous = 0;
        for (count, below) in times.0.iter_mut().zip(below) {
            *count = below.saturating_sub(previous);
            previous = below.max(previous);
        }
        times
    }

    fn since(&self, before: &Self) -> Self {
        let mut times = *self;
        for (count, before) in times.0.iter_mut().zip(before.0) {
            *count = count.saturating_sub(before);
        }
        times
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, other) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(other);
        }
    }

    fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn latency(&self) -> Latency {
        Latency {
            p50_us: self.percentile(500),
            p99_us: self.percentile(990),
            p999_us: self.percentile(999),
        }
    }

    /// The duration that this many of a thousand do not exceed. Within a bucket they are taken to be spread
    /// evenly; those above all bounds count as the last one.
    fn percentile(&self, per_mille: u64) -> Option<u64> {
        let rank = (u128::from(self.count()) * u128::from(per_mille)).div_ceil(1_000);
        let mut below = 0_u128;
        for (at, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = u128::from(*count);
            if below + count >= rank {
                let from = if at == 0 { 0 } else { bound(at - 1) };
                let to = bound(at.min(BOUNDS - 1)).max(from);
                let into = u128::from(to - from) * (rank - below) / count;
                return Some(from + u64::try_from(into).unwrap_or(to - from));
            }
            below += count;
        }
        None
    }
}

fn bound(at: usize) -> u64 {
    1 << (FIRST_LOG2 as usize + at)
}

fn index(bound: u64) -> Option<usize> {
    let at = bound.is_power_of_two().then(|| bound.trailing_zeros().checked_sub(FIRST_LOG2));
    at.flatten().map(|at| at as usize).filter(|at| *at < BOUNDS)
}

/// What is counted from the start of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) requests: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) origin_reads: u64,
    pub(super) origin_writes: u64,
    pub(super) refused: u64,
    pub(super) busy_us: u64,
    pub(super) hit: Times,
    pub(super) miss: Times,
    pub(super) write: Times,
    pub(super) origin_read: Times,
    pub(super) origin_write: Times,
}

/// The counters of what a server has refused.
const REFUSED: [&str; 5] =
    ["overloaded", "connections_refused", "rate_refused", "surge_refused", "origin_shed"];

impl Sample {
    pub(super) fn of(stats: &StatsReply) -> Self {
        let of = |name| stats.counter(name);
        let requests =
            |kind| Times::of(stats, &format!("request_duration_us{{kind=\"{kind}\",le=\""));
        let calls =
            |of| Times::of(stats, &format!("origin_call_duration_us{{calls=\"{of}\",le=\""));
        let (hit, miss, write) = (requests("hit"), requests("miss"), requests("write"));
        // Those of clients: a server times what its clients ask, and not what others send on to it.
        let requests =
            [&hit, &miss, &write].into_iter().fold(0_u64, |sum, of| sum.saturating_add(of.count()));
        Self {
            requests,
            hits: of("hits"),
            misses: of("misses"),
            origin_reads: of("origin_reads"),
            origin_writes: of("origin_writes"),
            refused: REFUSED.iter().map(|name| of(name)).sum(),
            busy_us: of("busy_us"),
            hit,
            miss,
            write,
            origin_read: calls("read"),
            origin_write: calls("write"),
        }
    }

    /// The growth since an earlier sample of the same incarnation.
    fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            origin_reads: self.origin_reads.saturating_sub(before.origin_reads),
            origin_writes: self.origin_writes.saturating_sub(before.origin_writes),
            refused: self.refused.saturating_sub(before.refused),
            busy_us: self.busy_us.saturating_sub(before.busy_us),
            hit: self.hit.since(&before.hit),
            miss: self.miss.since(&before.miss),
            write: self.write.since(&before.write),
            origin_read: self.origin_read.since(&before.origin_read),
            origin_write: self.origin_write.since(&before.origin_write),
        }
    }
}

/// What has grown in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) of: Sample,
    pub(super) time: Duration,
}

impl Growth {
    /// The growth from one sample to a later one, or `None` if there is no time between them.
    pub(super) fn between(before: &(Micros, Sample), after: &(Micros, Sample)) -> Option<Self> {
        let time = after.0.since(before.0);
        (!time.is_zero()).then(|| Self { of: after.1.since(&before.1), time })
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate, for reading")]
    pub(super) fn per_s(&self, of: impl Fn(&Sample) -> u64) -> f64 {
        of(&self.of) as f64 / self.time.as_secs_f64()
    }

    pub(super) fn hit_ratio(&self) -> Option<f64> {
        ratio(self.of.hits, self.of.misses)
    }

    /// The share of the time in which the loops of this many shards were in their turns.
    #[expect(clippy::cast_precision_loss, reason = "a share, for reading")]
    pub(super) fn busy(&self, shards: u16) -> f64 {
        let all = self.time.as_secs_f64() * f64::from(shards.max(1)) * 1e6;
        (self.of.busy_us as f64 / all).min(1.0)
    }

    /// The times of all requests on keys.
    pub(super) fn all(&self) -> Times {
        let mut all = self.of.hit;
        all.add(&self.of.miss);
        all.add(&self.of.write);
        all
    }
}

/// The share of hits among all reads, or `None` if there were none.
#[expect(clippy::cast_precision_loss, reason = "a ratio, for reading")]
pub(super) fn ratio(hits: u64, misses: u64) -> Option<f64> {
    let reads = hits.saturating_add(misses);
    (reads > 0).then(|| hits as f64 / reads as f64)
}

#[cfg(test)]
mod tests {
    use standin_protocol::body::Counter;

    use super::*;

    fn stats(counters: &[(&str, u64)]) -> StatsReply {
        let counter =
            |(name, value): &(&str, u64)| Counter { name: (*name).to_owned(), value: *value };
        StatsReply { counters: counters.iter().map(counter).collect(), ..StatsReply::default() }
    }

    const HEAD: &str = "d{kind=\"hit\",le=\"";

    #[test]
    fn percentiles_are_interpolated_in_the_bucket_in_which_they_are() {
        let counters = [
            ("d{kind=\"hit\",le=\"16\"}", 0),
            ("d{kind=\"hit\",le=\"32\"}", 90),
            ("d{kind=\"hit\",le=\"64\"}", 100),
            ("d{kind=\"hit\",le=\"+Inf\"}", 100),
            ("d{kind=\"miss\",le=\"+Inf\"}", 7),
        ];
        let latency = Times::of(&stats(&counters), HEAD).latency();
        let expected = Latency { p50_us: Some(24), p99_us: Some(60), p999_us: Some(64) };
        assert_eq!(latency.p50_us, expected.p50_us);
        assert_eq!(latency, expected);
        assert_eq!(Times::default().latency(), Latency::default());
    }

    #[test]
    fn what_is_above_all_bounds_counts_as_the_last_one() {
        let counters = [("d{kind=\"hit\",le=\"8388608\"}", 0), ("d{kind=\"hit\",le=\"+Inf\"}", 1)];
        assert_eq!(Times::of(&stats(&counters), HEAD).latency().p50_us, Some(8_388_608));
    }

    #[test]
    fn bounds_that_are_none_are_ignored_and_numbers_that_fall_do_no_harm() {
        let counters = [
            ("d{kind=\"hit\",le=\"17\"}", 5),
            ("d{kind=\"hit\",le=\"x\"}", 5),
            ("d{kind=\"hit\",le=\"1\"}", 5),
            ("d{kind=\"hit\",le=\"32\"}", u64::MAX),
            ("d{kind=\"hit\",le=\"+Inf\"}", 3),
        ];
        let times = Times::of(&stats(&counters), HEAD);
        assert_eq!(times.latency().p999_us.map(|us| us <= 32), Some(true));
        assert_eq!(Times::default().since(&times), Times::default());
    }

    #[test]
    fn growth_is_per_second_of_the_time_between() {
        let before = (Micros(1_000_000), Sample { requests: 10, busy_us: 5, ..Sample::default() });
        let later = Sample { requests: 30, hits: 3, misses: 1, busy_us: 1_000_005, ..before.1 };
        let growth = Growth::between(&before, &(Micros(3_000_000), later)).unwrap();
        assert!((growth.per_s(|of| of.requests) - 10.0).abs() < 1e-9);
        assert_eq!(growth.hit_ratio(), Some(0.75));
        assert!((growth.busy(2) - 0.25).abs() < 1e-9);
        assert_eq!(Growth::between(&before, &before), None);
    }
}
