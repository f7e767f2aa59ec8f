//! Waiting for a point in time to some ten microseconds: a timerfd in the loop.
//!
//! The loop's own timers tick in milliseconds, which would be seen in every latency. A time that is nearer than falling
//! asleep and waking up takes is not slept for: the loop turns with a timer that is over.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use monoio::net::UnixStream;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use standin_protocol::time::Micros;

/// About the time that falling asleep and waking up again takes.
const NEAR: Duration = Duration::from_micros(10);

/// A timer of one loop.
pub(super) struct Pacer {
    timer: OwnedFd,
    watched: UnixStream,
    /// Whether the last time that was set is over, and so the descriptor is ready until another one is set.
    is_over: Cell<bool>,
}

impl Pacer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        // Only the readiness of the descriptor is used, which needs no socket.
        let duplicate = std::os::unix::net::UnixStream::from(timer.try_clone()?);
        Ok(Self { watched: UnixStream::from_std(duplicate)?, timer, is_over: Cell::new(false) })
    }

    /// Waits until `due`, or until [`NEAR`] before it; at least lets the other tasks run, once.
    pub(super) async fn wait_until(&self, due: Micros) -> io::Result<()> {
        // epoll remembers that the descriptor is ready, and would let no other task run.
        let is_near = !monoio::utils::is_legacy() && due <= Micros::boottime() + NEAR;
        if !(is_near && self.is_over.get()) {
            self.set(due)?;
        }
        // Setting the time again takes the readiness back, so nothing need be read.
        self.watched.readable(false).await?;
        self.is_over.set(true);
        Ok(())
    }

    fn set(&self, due: Micros) -> io::Result<()> {
        // A time of zero would disarm it.
        let due = due.0.max(1);
        let it_value = Timespec {
            tv_sec: i64::try_from(due / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(due % 1_000_000 * 1_000).unwrap_or(0),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval, it_value };
        self.is_over.set(false);
        timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::ABSTIME, &time)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use standin_client::runtime::{Driver, runtime};

    use super::*;

    #[test]
    fn far_times_are_slept_for_and_near_ones_take_a_turn_of_the_loop() {
        for driver in [Driver::Auto, Driver::Epoll] {
            runtime(driver).unwrap().block_on(async {
                let pacer = Pacer::new().unwrap();
                let turns = Rc::new(Cell::new(0));
                for round in 1..=20 {
                    let due = Micros::boottime() + Duration::from_millis(2);
                    pacer.wait_until(due).await.unwrap();
                    let now = Micros::boottime();
                    assert!(now >= due, "woken at {now:?} for {due:?}");
                    if monoio::utils::is_legacy() {
                        continue;
                    }
                    assert!(pacer.is_over.get());
                    let counted = Rc::clone(&turns);
                    monoio::spawn(async move { counted.set(counted.get() + 1) });
                    pacer.wait_until(Micros::boottime() + NEAR / 2).await.unwrap();
                    assert_eq!(turns.get(), round, "the other task has run");
                    assert!(pacer.is_over.get(), "no time was set");
                }
            });
        }
    }
}
