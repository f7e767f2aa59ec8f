//! Time. The model has countdowns in units of each party's own clock, and one step of true time.
//!
//! ```text
//! true time     0         1         2
//! slow server   18 ─────── 9 ─────── 0      held_until(0, L) = 18 of its units
//! fast master   22 ────── 11 ─────── 0      over_at(0, L)    = 22 of its units
//! ```
//!
//! A lease lasts one or two steps, so the model has few ages. It is exact nevertheless: at the
//! worst drift both countdowns end at the very same instant, so that any smaller margin is noticed.
//! The model never stores points in time, only the time that is left. So states that differ only in
//! their date are one state, and the exploration covers unbounded time.
//!
//! Nothing in the model must happen by a certain time. A slower master is one that acts later, and
//! a faster server is one that loses its lease earlier. The model contains both. [`Rates`] can be
//! set to check that.

use std::time::Duration;

use standin_protocol::lease::{held_until, over_at};
use standin_protocol::time::Micros;

use crate::rules::{Rule, Rules};

/// The number of units that an exact clock counts in a step, in microseconds. Other clocks count
/// nine to eleven.
const STEP: Duration = Duration::from_micros(10);

/// The units that clocks count in a step of true time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// The rate of the servers' clocks.
    pub server: u8,
    /// The rate of the master's clock.
    pub master: u8,
}

impl Rates {
    /// The rates of servers whose clocks are slow, and of a master whose clock is fast.
    pub const WORST: Self = Self { server: 9, master: 11 };
}

/// The start values of the countdowns, and their steps.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The number of steps after which a lease has expired for the server that requested it.
    pub held_steps: u8,
    /// The number of steps after which a lease has expired for the master that granted it.
    pub over_steps: u8,
}

impl Clock {
    /// Computes the steps from the lengths of leases in the shipped code, or from lengths without
    /// its margin.
    #[must_use]
    pub fn new(rates: Rates, lease_steps: u8, rules: &Rules) -> Self {
        let lease = STEP * u32::from(lease_steps);
        let (held, over) = match rules.has(Rule::DriftMargin) {
            true => (held_until(Micros(0), lease), over_at(Micros(0), lease)),
            false => (Micros(0) + lease, Micros(0) + lease),
        };
        // A server with a lease until 10, at 9 per step, has the lease for this step and the next.
        let steps = |at: Micros, rate: u8| at.0.div_ceil(u64::from(rate));
        let small = |steps: u64| u8::try_from(steps).unwrap_or(u8::MAX);
        Self {
            held_steps: small(steps(held, rates.server)),
            over_steps: small(steps(over, rates.master)),
        }
    }
}
