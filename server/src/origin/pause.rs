//! Detection of pauses: a write must not begin if this process was stopped while the write waited.
//! Another server may have written meanwhile, and the write would undo that (scenario 14). It ends
//! as a write that was certainly not executed.
//!
//! The overdue thread, which checks all open calls every few milliseconds, notes each time that the
//! process was running. A driver that is about to begin a write may be the first thread to wake
//! after a pause, so it checks how long ago that was. If the overdue thread woke first, it has
//! noted the pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

/// The record of when this process was last running, kept by a thread that runs often while calls
/// wait.
#[derive(Debug)]
pub struct Heartbeat {
    seen: AtomicU64,
    /// The end of the last pause: a call made before it has seen that pause.
    paused_since: AtomicU64,
    pause_max: Duration,
}

impl Heartbeat {
    /// Creates the record. Pauses of up to `pause_max` do not count.
    #[must_use]
    pub fn new(pause_max: Duration) -> Self {
        Self { seen: AtomicU64::new(0), paused_since: AtomicU64::new(0), pause_max }
    }

    /// Notes that the process is running now.
    pub fn beat(&self, now: Micros) {
        let seen = Micros(self.seen.load(Ordering::Acquire));
        if now > seen + self.pause_max {
            // For calls made before this, it is not known whether the process ran all the time.
            let pause_us = u64::try_from(self.pause_max.as_micros()).unwrap_or(u64::MAX);
            self.paused_since.fetch_max(now.0.saturating_sub(pause_us), Ordering::AcqRel);
        }
        self.seen.fetch_max(now.0, Ordering::AcqRel);
    }

    /// Whether a write that has waited since `made` may begin now.
    #[must_use]
    pub fn may_begin(&self, now: Micros, made: Micros) -> bool {
        // The order matters: a time noted after a pause is stored after that pause was noted.
        let seen = Micros(self.seen.load(Ordering::Acquire));
        let has_run = now <= made.max(seen) + self.pause_max;
        let is_older = made.0 < self.paused_since.load(Ordering::Acquire);
        has_run && !is_older || mutant::is(Mutant::KeepQueued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE_MAX: Duration = Duration::from_micros(400);

    fn running(from: u64, to: u64) -> Heartbeat {
        let heartbeat = Heartbeat::new(PAUSE_MAX);
        (from..=to).step_by(5).for_each(|at| heartbeat.beat(Micros(at)));
        heartbeat
    }

    #[test]
    fn a_write_may_wait_for_long_in_a_process_that_runs() {
        let heartbeat = running(1_000, 3_000);
        assert!(heartbeat.may_begin(Micros(3_002), Micros(1_001)));
    }

    #[test]
    fn a_write_may_begin_at_once_in_a_process_that_was_idle() {
        let heartbeat = running(1_000, 1_100);
        assert!(heartbeat.may_begin(Micros(9_001), Micros(9_000)), "before it is looked at");
        heartbeat.beat(Micros(9_002));
        assert!(heartbeat.may_begin(Micros(9_003), Micros(9_000)), "afterwards");
    }

    #[test]
    fn a_write_from_before_a_pause_never_begins_whoever_wakes_first() {
        let heartbeat = running(1_000, 1_100);
        assert!(!heartbeat.may_begin(Micros(1_501), Micros(1_050)), "a driver");
        assert!(heartbeat.may_begin(Micros(1_501), Micros(1_500)), "but what was made since");
        heartbeat.beat(Micros(1_502));
        heartbeat.beat(Micros(1_507));
        assert!(!heartbeat.may_begin(Micros(1_508), Micros(1_050)), "the thread that looks");
        assert!(heartbeat.may_begin(Micros(1_508), Micros(1_500)), "but what was made since");
    }
}
