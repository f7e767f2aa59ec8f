//! Waiting for a point in time to some ten microseconds: a timerfd in the loop.
//!
//! The loop's own timers tick in milliseconds, which would be seen in every latency.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use monoio::net::UnixStream;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use standin_protocol::time::Micros;

/// A timer of one loop.
pub(super) struct Pacer {
    timer: OwnedFd,
    watched: UnixStream,
}

impl Pacer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        // Only the readiness of the descriptor is used, which needs no socket.
        let duplicate = std::os::unix::net::UnixStream::from(timer.try_clone()?);
        Ok(Self { watched: UnixStream::from_std(duplicate)?, timer })
    }

    /// Waits until `due`; at least lets the other tasks run.
    pub(super) async fn wait_until(&self, due: Micros) -> io::Result<()> {
        // A time of zero would disarm it.
        let due = due.0.max(1);
        let it_value = Timespec {
            tv_sec: i64::try_from(due / 1_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(due % 1_000_000 * 1_000).unwrap_or(0),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval, it_value };
        timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::ABSTIME, &time)?;
        // Setting the time again takes the readiness back, so nothing need be read.
        self.watched.readable(false).await
    }
}
