//! The signals of a role that runs until it is told to stop.
//!
//! | signal | meaning |
//! |---|---|
//! | SIGTERM, SIGINT, SIGQUIT | stop within `drain_timeout`; the second one: at once, exit code 128 + its number |
//! | SIGHUP | open log and event files anew |

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use standin_protocol::time::Micros;
use tracing::{error, warn};

use crate::diagnostics;

/// Exit code of a role that has lost a thread which it can't do without.
pub(crate) const THREAD_DIED: u8 = 3;
/// Exit code of a role that did not stop by itself within its time.
pub(crate) const STOP_OVERDUE: u8 = 4;

const TO_STOP: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];
/// Keeps a thread that panics at once from taking a whole core.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(50);
/// How much longer than `drain_timeout` a stop may take before the process ends all the same.
const GRACE: Duration = Duration::from_millis(300);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Stop,
    Reopen,
}

/// Signals that have come and have not been looked at.
pub(crate) struct RoleSignals {
    signals: Signals,
    /// The same ones, for the thread that bounds the stop.
    to_stop: Option<Signals>,
}

impl RoleSignals {
    /// Begins to listen. From the first signal to stop on, a further one ends the process from
    /// within the signal's handler, whatever its threads do.
    pub(crate) fn listen() -> io::Result<Self> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        for signal in TO_STOP {
            // In this order: the first one only sets the flag.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_stopping))?;
            flag::register(signal, Arc::clone(&is_stopping))?;
        }
        let to_stop = Some(Signals::new(TO_STOP)?);
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?, to_stop })
    }

    /// From the first signal to stop on, however early it came, the process has `drain_timeout`.
    pub(crate) fn bound_stop(&mut self, drain_timeout: Duration) -> io::Result<()> {
        let Some(mut to_stop) = self.to_stop.take() else { return Ok(()) };
        let mut asked_at = None;
        let mut watch = move || {
            while asked_at.is_none() {
                asked_at = to_stop.wait().next().map(|_| Micros::boottime());
                standin_protocol::fault::point();
            }
            end_by(asked_at.unwrap_or_default() + drain_timeout + GRACE);
        };
        std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
            // A panic starts it again: nothing else would end a stop that hangs.
            while catch_unwind(AssertUnwindSafe(&mut watch)).is_err() {
                std::thread::park_timeout(PAUSE_AFTER_PANIC);
            }
        })?;
        Ok(())
    }

    /// What has been asked for since the last look; a stop goes first.
    pub(crate) fn take(&mut self) -> Option<Asked> {
        first(self.signals.pending())
    }

    /// Waits for something to be asked for.
    pub(crate) fn wait(&mut self) -> Option<Asked> {
        first(self.signals.wait())
    }
}

fn first(signals: impl Iterator<Item = i32>) -> Option<Asked> {
    let asked = signals.map(|signal| if signal == SIGHUP { Asked::Reopen } else { Asked::Stop });
    asked.reduce(|all, one| if one == Asked::Stop { one } else { all })
}

/// Ends the process when a stop that begins now takes longer than `drain_timeout`.
pub(crate) fn bound_this_stop(drain_timeout: Duration) -> io::Result<()> {
    let by = Micros::boottime() + drain_timeout + GRACE;
    std::thread::Builder::new().name("stop-now".to_owned()).spawn(move || end_by(by))?;
    Ok(())
}

fn end_by(by: Micros) -> ! {
    loop {
        let left = by.since(Micros::boottime());
        if left.is_zero() {
            break;
        }
        std::thread::park_timeout(left);
    }
    warn!("not everything has ended within drain_timeout: the process ends all the same");
    end_process(STOP_OVERDUE)
}

/// Ends the process because it has lost a thread.
pub(crate) fn end_without(thread: &str) -> ! {
    error!("thread {thread} has died, and this process can't do without it: it ends");
    end_process(THREAD_DIED)
}

fn end_process(code: u8) -> ! {
    diagnostics::flush();
    std::process::exit(code.into())
}
