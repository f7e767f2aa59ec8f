//! The schedule of requests: an open loop at a fixed rate.
//!
//! A request's latency counts from when it was *due*, not from when a busy sender sent it. Otherwise
//! a stalled server would stop the clock by which it is measured (coordinated omission). So the schedule
//! is fixed before the run, and depends on no answer.

use std::time::Duration;

use rand_distr::Exp1;

use crate::rng::Random;

/// The distribution of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// At random, independently of each other, as from many users.
    Poisson,
}

/// One worker's part of the arrivals, as times since the start; endless.
///
/// All workers of a run together make the whole rate: constant arrivals take turns, and
/// Poisson arrivals of several workers add up to Poisson arrivals.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    rate_per_s: u64,
    worker: u64,
    workers: u64,
    turn: u64,
    random: Random,
    last_us: f64,
}

impl Schedule {
    /// The part of `worker` (from 0) of `workers` that together make `rate_per_s`.
    ///
    /// # Panics
    /// On a rate of 0, or a worker that is not below `workers`.
    #[must_use]
    pub fn new(arrivals: Arrivals, rate_per_s: u32, worker: u32, workers: u32, seed: u64) -> Self {
        assert!(rate_per_s > 0 && worker < workers, "a schedule needs a rate and its worker");
        let random = Random::stream(seed ^ 0x5CED, u64::from(worker));
        let (rate_per_s, worker, workers) = (rate_per_s.into(), worker.into(), workers.into());
        Self { arrivals, rate_per_s, worker, workers, turn: 0, random, last_us: 0.0 }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due_us = match self.arrivals {
            Arrivals::Constant => {
                // Counted, not added up: no error builds up over a long run.
                let number = self.turn * self.workers + self.worker;
                self.turn += 1;
                number.saturating_mul(1_000_000) / self.rate_per_s
            }
            Arrivals::Poisson => {
                let gap_us = 1e6 * self.workers as f64 / self.rate_per_s as f64;
                let gap: f64 = self.random.sample(&Exp1);
                self.last_us += gap_us * gap;
                self.last_us as u64
            }
        };
        Some(Duration::from_micros(due_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_before(schedule: Schedule, end: Duration) -> Vec<Duration> {
        schedule.take_while(|due| *due < end).collect()
    }

    #[test]
    fn constant_arrivals_of_several_workers_interleave_to_the_rate() {
        let mut all: Vec<Duration> = (0..3)
            .flat_map(|w| {
                let schedule = Schedule::new(Arrivals::Constant, 1_000, w, 3, 1);
                due_before(schedule, Duration::from_secs(2))
            })
            .collect();
        all.sort_unstable();
        let expected: Vec<Duration> = (0..2_000).map(Duration::from_millis).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn an_odd_rate_does_not_drift() {
        let schedule = Schedule::new(Arrivals::Constant, 7, 0, 1, 1);
        assert_eq!(due_before(schedule, Duration::from_secs(1_000)).len(), 7_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let end = Duration::from_secs(100);
        let counts: Vec<usize> = (0..2)
            .map(|w| due_before(Schedule::new(Arrivals::Poisson, 2_000, w, 2, 9), end).len())
            .collect();
        let total: usize = counts.iter().sum();
        // 200,000 expected; a standard deviation is 447.
        assert!((198_000..202_000).contains(&total), "{counts:?}");

        let due = due_before(Schedule::new(Arrivals::Poisson, 2_000, 0, 1, 9), end);
        assert!(due.is_sorted());
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let spread = variance.sqrt() / mean;
        assert!(
            (0.97..1.03).contains(&spread),
            "exponential gaps spread as far as their mean: {spread}"
        );
    }

    #[test]
    fn the_seed_decides() {
        let take =
            |seed| Schedule::new(Arrivals::Poisson, 100, 0, 1, seed).take(50).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }
}
