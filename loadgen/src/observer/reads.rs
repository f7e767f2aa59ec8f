//! How often the database was asked for rows, over time: from a count that rises.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use standin_protocol::time::Micros;

use crate::threads::{self, locked};

/// The time over which a rate is taken: servers publish their counts a few times a second, and over less they would seem
/// to swing.
const OVER: Duration = Duration::from_secs(1);
/// The least time between two points of a timeline.
const STEP: Duration = Duration::from_millis(200);
/// The time between two looks at a count of this program.
const INTERVAL: Duration = Duration::from_millis(100);

/// Fetches from the database at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OriginPoint {
    /// Milliseconds since the start.
    pub t_ms: f64,
    /// Fetches per second over the second before it.
    pub reads_per_s: f64,
}

/// The count at moments, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads(Vec<(Duration, u64)>);

impl Reads {
    /// Takes the readings since the start of a run, and the last before it.
    #[must_use]
    pub fn since(start: Micros, readings: &[(Micros, u64)]) -> Self {
        let before = readings.partition_point(|(at, _)| *at <= start).saturating_sub(1);
        let readings = readings[before..].iter();
        Self(readings.map(|(at, count)| (at.since(start), *count)).collect())
    }

    /// The rates over a second each, with their ends, of seconds that lie between two times.
    fn rates(&self, from: Duration, until: Duration) -> impl Iterator<Item = (Duration, f64)> + '_ {
        let begin = self.0.partition_point(|(at, _)| *at < from);
        let end = self.0.partition_point(|(at, _)| *at <= until).max(begin);
        let within = &self.0[begin..end];
        let mut first = 0;
        (0..within.len()).filter_map(move |last| {
            while first < last && within[last].0 - within[first + 1].0 >= OVER {
                first += 1;
            }
            (within[last].0 - within[first].0 >= OVER)
                .then(|| (within[last].0, rate(within[first], within[last])))
        })
    }

    /// The count from the beginning to the end; `None`: nobody has looked.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        let (_, first) = self.0.first()?;
        Some(self.0.last()?.1.saturating_sub(*first))
    }

    /// The count from one time to another. Between two looks it is taken to rise evenly. `None`: nobody has looked.
    #[must_use]
    pub fn between(&self, from: Duration, until: Duration) -> Option<u64> {
        let count_at = |time: Duration| {
            let (before, after) = self.0.split_at(self.0.partition_point(|(at, _)| *at < time));
            let ((from, count), after) = match (before.last(), after.first()) {
                (Some(before), Some(after)) => (*before, *after),
                (Some(only), None) | (None, Some(only)) => return Some(only.1),
                (None, None) => return None,
            };
            let share = (time - from).as_secs_f64() / (after.0 - from).as_secs_f64();
            Some(count + (after.1.saturating_sub(count) as f64 * share) as u64)
        };
        Some(count_at(until)?.saturating_sub(count_at(from)?))
    }

    /// The rate of the busiest second between two times; `None`: it is not known.
    #[must_use]
    pub fn peak_per_s(&self, from: Duration, until: Duration) -> Option<f64> {
        self.rates(from, until).map(|(_, rate)| rate).max_by(f64::total_cmp)
    }

    /// The rate until a time; `None`: it is not known.
    #[must_use]
    pub fn mean_per_s(&self, until: Duration) -> Option<f64> {
        let last = self.0.iter().rfind(|(at, _)| *at <= until)?;
        let first = self.0.first().filter(|first| last.0 - first.0 >= OVER)?;
        Some(rate(*first, *last))
    }

    /// The rate over time.
    #[must_use]
    pub fn timeline(&self) -> Vec<OriginPoint> {
        let mut points: Vec<OriginPoint> = Vec::new();
        let mut next = Duration::ZERO;
        for (at, reads_per_s) in self.rates(Duration::ZERO, Duration::MAX) {
            if at >= next {
                points.push(OriginPoint { t_ms: at.as_secs_f64() * 1_000.0, reads_per_s });
                next = at + STEP;
            }
        }
        points
    }
}

fn rate((from, before): (Duration, u64), (until, after): (Duration, u64)) -> f64 {
    after.saturating_sub(before) as f64 / (until - from).as_secs_f64()
}

/// A thread that looks at a count; it ends when this is dropped.
#[derive(Debug)]
pub struct ReadsWatch {
    readings: Arc<Mutex<Vec<(Micros, u64)>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ReadsWatch {
    /// Begins to look.
    ///
    /// # Errors
    /// No thread.
    pub fn start(count: impl Fn() -> u64 + Send + 'static) -> std::io::Result<Self> {
        let (readings, is_over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (own, over) = (Arc::clone(&readings), Arc::clone(&is_over));
        let watch = move || {
            loop {
                let reading = (Micros::boottime(), count());
                locked(&own).push(reading);
                // After the last look: the end is part of what was seen.
                if over.load(Ordering::Acquire) {
                    break;
                }
                std::thread::park_timeout(INTERVAL);
            }
        };
        let thread = threads::spawn("reads", watch)?;
        Ok(Self { readings, is_over, thread: Some(thread) })
    }

    /// Looks once more, and returns all that was seen.
    #[must_use]
    pub fn finish(mut self) -> Vec<(Micros, u64)> {
        self.end();
        std::mem::take(&mut locked(&self.readings))
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for ReadsWatch {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_rate_is_that_of_a_whole_second_and_the_peak_that_of_the_busiest() {
        // 100 reads per second, but 300 in the second from 3 to 4; a reading every half second from 1 s before the start.
        let start = Micros(10_000_000);
        let count = |half: u64| match half {
            0..=8 => half * 50,
            9..=10 => 400 + (half - 8) * 150,
            _ => 700 + (half - 10) * 50,
        };
        let readings: Vec<_> =
            (0..20).map(|half| (Micros(9_000_000 + half * 500_000), count(half))).collect();
        let reads = Reads::since(start, &readings);
        let second = Duration::from_secs;
        assert_eq!(reads.mean_per_s(second(3)), Some(100.0));
        assert_eq!(reads.peak_per_s(second(0), second(3)), Some(100.0));
        assert_eq!(reads.peak_per_s(second(3), second(9)), Some(300.0));
        assert_eq!(reads.peak_per_s(second(4), second(9)), Some(100.0));
        assert_eq!(reads.peak_per_s(second(8), second(8)), None, "no second is in it");
        assert_eq!(Reads::default().mean_per_s(second(3)), None);
        let ms = Duration::from_millis;
        assert_eq!(reads.between(ms(250), ms(1_500)), Some(125), "a part of a look's time");
        assert_eq!(reads.between(second(3), Duration::MAX), Some(750));
        assert_eq!(
            (reads.between(second(0), Duration::MAX), reads.total()),
            (Some(1_050), Some(1_050))
        );
        assert_eq!(Reads::default().between(second(0), second(1)), None);
        let points = reads.timeline();
        assert_eq!((points.len(), points[0].t_ms, points[0].reads_per_s), (16, 1_000.0, 100.0));
    }

    #[test]
    fn the_watch_looks_at_both_ends() {
        let count = Arc::new(AtomicU64::new(3));
        let own = Arc::clone(&count);
        let watch = ReadsWatch::start(move || own.load(Ordering::Acquire)).unwrap();
        let within = Duration::from_secs(20);
        standin_testkit::wait_until(within, "a look", || !locked(&watch.readings).is_empty());
        count.store(8, Ordering::Release);
        let seen = watch.finish();
        assert_eq!((seen[0].1, seen.last().unwrap().1), (3, 8));
    }
}
