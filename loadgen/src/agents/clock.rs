//! The difference between the clocks of two machines: of several round trips the shortest, whose middle is known best.

use serde::{Deserialize, Serialize};
use standin_protocol::time::Micros;

use crate::report::document::ClockDifference;

/// The clocks of one machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// `CLOCK_BOOTTIME`, by which load is sent.
    pub(super) boottime_us: u64,
    /// The wall clock, by which files are stamped: microseconds since 1970.
    pub(super) wall_us: u64,
}

impl Clocks {
    /// Those of this machine.
    pub(super) fn here() -> Self {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let wall_us = wall.tv_sec.unsigned_abs() * 1_000_000 + wall.tv_nsec.unsigned_abs() / 1_000;
        Self { boottime_us: Micros::boottime().0, wall_us }
    }
}

impl ClockDifference {
    /// From a round trip: our clocks before and after, and theirs in between.
    pub(super) fn of(before: Clocks, theirs: Clocks, after: Clocks) -> Self {
        let round_trip_us = after.boottime_us.saturating_sub(before.boottime_us);
        let ahead = |theirs: u64, ours: u64| {
            let ours = ours.saturating_add(round_trip_us / 2);
            i64::try_from(i128::from(theirs) - i128::from(ours)).unwrap_or(i64::MAX)
        };
        Self {
            round_trip_us,
            boottime_us: ahead(theirs.boottime_us, before.boottime_us),
            wall_us: ahead(theirs.wall_us, before.wall_us),
        }
    }

    /// The better one of two.
    pub(super) fn better(self, other: Self) -> Self {
        if other.round_trip_us < self.round_trip_us { other } else { self }
    }

    /// A time of ours by their clock.
    pub(super) fn theirs(self, ours: Micros) -> Micros {
        Micros(ours.0.saturating_add_signed(self.boottime_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(boottime_us: u64, wall_us: u64) -> Clocks {
        Clocks { boottime_us, wall_us }
    }

    #[test]
    fn the_shortest_round_trip_tells_the_difference() {
        // Their boot time is 50 ms behind, their wall clock 2 s ahead; the way there takes 100 µs.
        let trip = |back_us: u64| {
            let before = clocks(1_000_000, 70_000_000);
            let theirs = clocks(1_000_100 - 50_000, 70_000_100 + 2_000_000);
            ClockDifference::of(before, theirs, clocks(1_000_100 + back_us, 70_000_100 + back_us))
        };
        let (slow, fast) = (trip(9_000), trip(100));
        assert_eq!(
            slow.boottime_us,
            -50_000 + 100 - 4_550,
            "wrong by half of what is not the same both ways"
        );
        assert_eq!(slow.better(fast), fast);
        assert_eq!(fast.better(slow), fast);
        assert_eq!((fast.round_trip_us, fast.boottime_us, fast.wall_us), (200, -50_000, 2_000_000));
        assert_eq!(fast.theirs(Micros(3_000_000)), Micros(2_950_000));
    }

    #[test]
    fn machines_that_started_at_other_times_differ_by_much() {
        let day_us = 86_400_000_000;
        let here = clocks(5_000, 1_000);
        let difference = ClockDifference::of(here, clocks(day_us, 1_000), here);
        assert_eq!(difference.theirs(Micros(6_000)), Micros(day_us + 1_000));
    }
}
