//! The signals of a role that runs until it is told to stop.
//!
//! | signal | meaning |
//! |---|---|
//! | SIGTERM, SIGINT, SIGQUIT | stop within `drain_timeout`; a second one, or one before the cluster file has been read, ends the process at once, with exit code 128 + its number |
//! | SIGHUP | reopen log and event files, and take over what can change of the file that the role runs with |

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use standin_protocol::time::Micros;
use tracing::{error, warn};

use crate::diagnostics;

/// The exit code of a role that has lost an essential thread.
pub(crate) const THREAD_DIED: u8 = 3;
/// The exit code of a role that did not stop in time.
pub(crate) const STOP_OVERDUE: u8 = 4;

const TO_STOP: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];
/// The pause that keeps a thread that panics at once from using a whole core.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(50);
/// The time beyond `drain_timeout` that a stop may take before the process ends anyway.
const GRACE: Duration = Duration::from_millis(300);

/// The request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Stop,
    Reload,
}

/// Signals that have arrived and have not been handled yet.
pub(crate) struct RoleSignals {
    signals: Signals,
    /// Another queue of the signals to stop, for the thread that bounds the stop.
    to_stop: Option<Signals>,
    /// Whether the next signal to stop ends the process.
    ends_at_once: Arc<AtomicBool>,
}

impl RoleSignals {
    /// Starts listening. Until [`Self::bound_stop`], and after the first signal to stop, a signal to
    /// stop ends the process from within the signal handler, whatever its threads are doing.
    pub(crate) fn listen() -> io::Result<Self> {
        // Nothing runs yet, and reading the cluster file may hang.
        let ends_at_once = Arc::new(AtomicBool::new(true));
        for signal in TO_STOP {
            // The order matters: the first signal must only set the flag.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&ends_at_once))?;
            flag::register(signal, Arc::clone(&ends_at_once))?;
        }
        let (signals, to_stop) = (Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?, TO_STOP);
        Ok(Self { signals, to_stop: Some(Signals::new(to_stop)?), ends_at_once })
    }

    /// From now on, gives the process `drain_timeout` from the first signal to stop.
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
            // Restarted after a panic, because nothing else would end a stop that hangs.
            while catch_unwind(AssertUnwindSafe(&mut watch)).is_err() {
                std::thread::park_timeout(PAUSE_AFTER_PANIC);
            }
        })?;
        self.ends_at_once.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Returns what was requested since the last call; a stop takes precedence.
    pub(crate) fn take(&mut self) -> Option<Asked> {
        first(self.signals.pending())
    }

    /// Waits for a request.
    pub(crate) fn wait(&mut self) -> Option<Asked> {
        first(self.signals.wait())
    }
}

fn first(signals: impl Iterator<Item = i32>) -> Option<Asked> {
    let asked = signals.map(|signal| if signal == SIGHUP { Asked::Reload } else { Asked::Stop });
    asked.reduce(|all, one| if one == Asked::Stop { one } else { all })
}

/// Ends the process if a stop that begins now takes longer than `drain_timeout`.
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
    warn!("not everything has ended within drain_timeout; ending the process anyway");
    end_process(STOP_OVERDUE)
}

/// Ends the process because it has lost an essential thread.
pub(crate) fn end_without(thread: &str) -> ! {
    error!("thread {thread} has died and this process can't continue without it; ending");
    end_process(THREAD_DIED)
}

fn end_process(code: u8) -> ! {
    diagnostics::flush();
    std::process::exit(code.into())
}
