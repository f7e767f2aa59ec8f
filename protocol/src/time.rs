//! Time as the pure parts see it: microseconds of a clock that is passed to them.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: microseconds of a monotonic clock that also runs while the
/// host sleeps (`CLOCK_BOOTTIME`), so that a suspended host does not keep leases
/// and lifetimes alive (scenario 16 of docs/FAILOVER.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// A time later than any deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// Reads `CLOCK_BOOTTIME`. Only shells call this; pure code gets the value as an argument.
    #[must_use]
    pub fn boottime() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000)
    }

    /// Returns the time since `earlier`, or zero if that is in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Returns the time in milliseconds, rounded down.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl Add<Duration> for Micros {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Micros {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Micros(5) + second, Micros(1_000_005));
        assert_eq!(Micros(5) - second, Micros(0));
        assert_eq!(Micros::NEVER + second, Micros::NEVER);
        assert_eq!(Micros(0) + Duration::MAX, Micros::NEVER);
        assert_eq!(Micros(5).since(Micros(9)), Duration::ZERO);
        assert_eq!(Micros(1_999).as_millis(), 1);
    }

    #[test]
    fn the_boot_clock_runs() {
        let earlier = Micros::boottime();
        assert!(earlier > Micros(0) && Micros::boottime() >= earlier);
    }
}
