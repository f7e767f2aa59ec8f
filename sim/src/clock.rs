//! A host's clocks. The monotonic clock runs at its own rate from its own zero. The wall clock is
//! the monotonic one plus an offset that can be set.

use standin_protocol::time::Micros;
use standin_server::node::Now;

/// True simulated time in microseconds, which no host sees.
pub(crate) type Time = u64;

/// A time later than all events.
pub(crate) const NEVER: Time = u64::MAX;
pub(crate) const MS: Time = 1_000;
pub(crate) const S: Time = 1_000_000;

const PPM: u64 = 1_000_000;
/// Microseconds since 1970 at simulated zero.
const WALL_ZERO_US: u64 = 1_800_000_000_000_000;

/// The clocks of one host.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Simulated time and local time at which the rate was last set.
    anchor: (Time, u64),
    /// Local microseconds per simulated second.
    rate_ppm: u64,
    wall_offset_us: i64,
}

impl Clock {
    /// Creates a clock that shows `zero_us` at simulated zero.
    pub(crate) fn new(zero_us: u64, rate_ppm: u64) -> Self {
        Self { anchor: (0, zero_us), rate_ppm, wall_offset_us: 0 }
    }

    pub(crate) fn local(&self, time: Time) -> Micros {
        let (at, local) = self.anchor;
        Micros(local + (time - at) * self.rate_ppm / PPM)
    }

    pub(crate) fn now(&self, time: Time) -> Now {
        let mono = self.local(time);
        let wall = (WALL_ZERO_US + time).saturating_add_signed(self.wall_offset_us);
        Now { mono, wall_us: wall }
    }

    /// Returns the first simulated time at which the local clock shows `local` or more.
    pub(crate) fn when(&self, local: Micros) -> Time {
        let (at, base) = self.anchor;
        if local == Micros::NEVER {
            return NEVER;
        }
        let ahead = u128::from(local.0.saturating_sub(base)) * u128::from(PPM);
        let ahead = ahead.div_ceil(u128::from(self.rate_ppm));
        at.saturating_add(u64::try_from(ahead).unwrap_or(NEVER))
    }

    pub(crate) fn set_rate(&mut self, time: Time, rate_ppm: u64) {
        self.anchor = (time, self.local(time).0);
        self.rate_ppm = rate_ppm;
    }

    /// Stops the monotonic clock for this long, as `CLOCK_MONOTONIC` stops while a host sleeps, and
    /// `CLOCK_BOOTTIME` does not (scenario 16).
    pub(crate) fn stood_still(&mut self, time: Time, for_us: u64) {
        let (_, base) = self.anchor;
        let local = self.local(time).0.saturating_sub(for_us * self.rate_ppm / PPM);
        self.anchor = (time, local.max(base));
    }

    pub(crate) fn set_wall(&mut self, by_us: i64) {
        self.wall_offset_us += by_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut clock = Clock::new(5_000_000, 1_090_000);
        for time in [0, 1, 999, 123_457, 10 * S] {
            let local = clock.local(time);
            assert!(clock.when(local) <= time && clock.local(clock.when(local)) >= local);
        }
        clock.set_rate(3 * S, 910_000);
        assert_eq!(clock.local(4 * S), Micros(5_000_000 + 3_270_000 + 910_000));
        assert_eq!(clock.when(Micros::NEVER), NEVER);
    }
}
