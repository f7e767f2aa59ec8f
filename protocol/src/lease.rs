//! Leases: how long a server may act as an owner without hearing from the master, and how long the
//! master must wait before it gives that server's partitions to another.
//!
//! ```text
//! server   sends RENEW ─┬───────── L(1−ρ) ─────────┤ stops
//! master        sends GRANT ─┬──────────── L(1+ρ) ──────────────┤ may move owners
//! ```
//! The server counts a shorter time, from *before* the master granted; the master counts a longer
//! one, from after. So the server has stopped when the master moves owners, whatever the network
//! does, as long as no clock runs faster or slower than true time by more than the fraction ρ.

use std::time::Duration;

use crate::time::Micros;

/// The divisor of the drift bound: ρ is one part in this many. The clocks of physical hosts drift
/// by less than one part in a thousand; the rest is a reserve for virtual machines.
pub const DRIFT_PARTS: u32 = 10;

/// Returns the time until which a server may use a lease of this length that answers a renewal sent
/// at `sent`.
#[must_use]
pub fn held_until(sent: Micros, lease: Duration) -> Micros {
    sent + (lease - lease / DRIFT_PARTS)
}

/// Returns the time at which a lease of this length, granted at `granted`, has certainly expired.
#[must_use]
pub fn over_at(granted: Micros, lease: Duration) -> Micros {
    granted + (lease + lease / DRIFT_PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_drift_within_the_bound_the_holder_stops_first() {
        let lease = Duration::from_secs(2);
        let held_us = held_until(Micros(0), lease).0 as f64;
        let over_us = over_at(Micros(0), lease).0 as f64;
        // A slow clock shows less time than has passed, a fast one more.
        let drift = 1.0 / f64::from(DRIFT_PARTS);
        assert!(held_us / (1.0 - drift) <= over_us / (1.0 + drift) + 1.0);
    }
}
