//! The schedule of requests: an open loop at a rate that may change with time.
//!
//! A request's latency counts from when it was *due*, not from when a busy sender sent it. Otherwise
//! a stalled server would stop the clock by which it is measured (coordinated omission). So the schedule
//! is fixed before the run, and depends on no answer.
//!
//! ```text
//! phases.rs: text, curve files ─► profile.rs: rate over time, its integral and inverse ─► Schedule: times
//! ```

pub mod phases;
pub mod profile;

use std::sync::Arc;
use std::time::Duration;

use rand_distr::Exp1;

use self::profile::{Profile, Span};
use crate::rng::Random;

/// Seconds by which a time may be off because of rounding.
const ROUNDING_S: f64 = 1e-11;

/// The distribution of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// At random, independently of each other, as from many users.
    Poisson,
}

/// The rate of all workers together.
#[derive(Debug, Clone, PartialEq)]
pub enum Rates {
    /// This many requests per second, without an end.
    Steady(u32),
    /// Rates that change with time.
    Phased(Arc<Profile>),
}

impl From<u32> for Rates {
    fn from(rate_per_s: u32) -> Self {
        Self::Steady(rate_per_s)
    }
}

impl Rates {
    /// The phases, if there are any.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        match self {
            Self::Steady(_) => &[],
            Self::Phased(profile) => profile.spans(),
        }
    }

    /// The number of requests before a time, with its fraction.
    #[must_use]
    pub fn requests_until(&self, time: Duration) -> f64 {
        match self {
            Self::Steady(rate_per_s) => time.as_secs_f64() * f64::from(*rate_per_s),
            Self::Phased(profile) => profile.requests_until(time),
        }
    }

    /// The mean rate from the start to a time.
    #[must_use]
    pub fn mean_per_s(&self, until: Duration) -> f64 {
        match self {
            Self::Steady(rate_per_s) => f64::from(*rate_per_s),
            Self::Phased(_) => self.requests_until(until) / until.as_secs_f64().max(ROUNDING_S),
        }
    }
}

/// One worker's part of the arrivals, as times since the start; without an end if the rate is steady.
///
/// All workers of a run together make the whole rate: constant arrivals take turns, and
/// Poisson arrivals of several workers add up to Poisson arrivals.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    rates: Rates,
    worker: u64,
    workers: u64,
    turn: u64,
    random: Random,
    /// With Poisson arrivals: the sum of the random distances, in requests of all workers.
    drawn: f64,
    /// The piece of the profile of the last request.
    piece: usize,
}

impl Schedule {
    /// The part of `worker` (from 0) of `workers` that together make the rate.
    ///
    /// # Panics
    /// On a rate of 0, or a worker that is not below `workers`.
    #[must_use]
    pub fn new(
        arrivals: Arrivals,
        rates: impl Into<Rates>,
        worker: u32,
        workers: u32,
        seed: u64,
    ) -> Self {
        let rates = rates.into();
        let is_never = matches!(rates, Rates::Steady(0));
        assert!(!is_never && worker < workers, "a schedule needs a rate and its worker");
        let random = Random::stream(seed ^ 0x5CED, u64::from(worker));
        let (worker, workers) = (worker.into(), workers.into());
        Self { arrivals, rates, worker, workers, turn: 0, random, drawn: 0.0, piece: 0 }
    }

    /// The index of the phase of the request that was taken last.
    #[must_use]
    pub fn phase(&self) -> usize {
        match &self.rates {
            Rates::Steady(_) => 0,
            Rates::Phased(profile) => profile.phase_of(self.piece),
        }
    }

    /// The place of the next request among those of all workers.
    fn next_number(&mut self) -> f64 {
        match self.arrivals {
            // Counted, not added up: no error builds up over a long run.
            Arrivals::Constant => self.next_turn() as f64,
            Arrivals::Poisson => {
                let gap: f64 = self.random.sample(&Exp1);
                self.drawn += gap * self.workers as f64;
                self.drawn
            }
        }
    }

    fn next_turn(&mut self) -> u64 {
        let number = self.turn * self.workers + self.worker;
        self.turn += 1;
        number
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if let (Rates::Steady(rate_per_s), Arrivals::Constant) = (&self.rates, self.arrivals) {
            let rate_per_s = u64::from(*rate_per_s);
            let due_us = self.next_turn().saturating_mul(1_000_000) / rate_per_s;
            return Some(Duration::from_micros(due_us));
        }
        let number = self.next_number();
        let due_us = match &self.rates {
            Rates::Steady(rate_per_s) => number * 1e6 / f64::from(*rate_per_s),
            Rates::Phased(profile) => {
                let (piece, time_s) = profile.find(self.piece, number)?;
                self.piece = piece;
                (time_s + ROUNDING_S) * 1e6
            }
        };
        Some(Duration::from_micros(due_us as u64))
    }
}

#[cfg(test)]
mod tests;
