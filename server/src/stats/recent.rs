//! Counters of the last ten seconds, because sums since the start say little about the present.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::figures::RecentFigures;

/// The length of the window.
const WINDOW: Duration = Duration::from_secs(10);
/// The interval between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sums since the start, of the counters that [`RecentFigures`] is named for and in its order.
pub(super) type Sums = [u64; RecentFigures::FIGURES.len()];

/// Returns the names of these counters.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let figures = RecentFigures::FIGURES.iter();
    figures.map(|figure| figure.name.strip_suffix("_10s").expect("named for a counter"))
}

/// Samples of the last ten seconds, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    samples: VecDeque<(Micros, Sums)>,
}

impl Recent {
    /// Whether the last sample is a second old.
    pub(super) fn is_due(&self, now: Micros) -> bool {
        self.samples.back().is_none_or(|(at, _)| *at + INTERVAL <= now)
    }

    /// Takes a sample of the sums.
    pub(super) fn note(&mut self, now: Micros, sums: Sums) {
        self.samples.push_back((now, sums));
        // The sums are compared with the newest sample that is at least ten seconds old.
        while self.samples.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.samples.pop_front();
        }
    }

    /// Returns by how much the sums have grown in the last ten seconds, or since the start if that
    /// is less.
    pub(super) fn since(&self, mut sums: Sums) -> Sums {
        if let Some((_, before)) = self.samples.front() {
            sums.iter_mut()
                .zip(before)
                .for_each(|(sum, before)| *sum = sum.saturating_sub(*before));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::counters::Counters;

    #[test]
    fn each_figure_is_named_for_a_counter_of_the_shards() {
        let is_counter = |name| Counters::FIGURES.iter().any(|figure| figure.name == name);
        assert!(names().all(is_counter));
    }

    #[test]
    fn what_is_older_than_ten_seconds_does_not_count() {
        let mut recent = Recent::default();
        let at = |tenths: u64| Micros(5_000_000) + Duration::from_millis(tenths * 100);
        let sums = |first: [u64; 3]| {
            let mut sums = Sums::default();
            sums[..3].copy_from_slice(&first);
            sums
        };
        assert_eq!(recent.since(sums([3, 4, 5])), sums([3, 4, 5]), "since the start");
        for tenths in 0..=300 {
            // Ten hits per second, and from the twentieth second on as many misses.
            if recent.is_due(at(tenths)) {
                recent.note(at(tenths), sums([tenths, tenths.saturating_sub(200), 1]));
            }
            assert!(recent.samples.len() <= 12);
        }
        assert_eq!(recent.since(sums([300, 100, 1])), sums([100, 100, 0]));
        recent.note(at(1_000), sums([300, 100, 1]));
        let (now, grown) = (sums([300, 100, 2]), sums([0, 0, 1]));
        assert_eq!(recent.since(now), grown, "nobody has asked for long");
    }
}
