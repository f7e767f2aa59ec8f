//! The thread that answers overdue calls, because a driver that hangs in the database can't.
//!
//! While calls are open, it checks all of them every few milliseconds, instead of keeping a timer
//! for each: calls finish much faster than they expire, so that most have ended at the first check.
//! Its memory is bounded by the calls that may be open plus those of one pause.
//!
//! Because it runs so often, it also notices that the process was stopped (see pause.rs), and logs how
//! many failures were left out of the log.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

use super::failure_log::{self, FailureLog};
use super::pause::Heartbeat;
use super::ticket::Watch;

/// The interval between two checks. A call is answered late by this much at most.
const PAUSE: Duration = Duration::from_millis(5);

/// The open calls.
pub(super) struct Overdue {
    state: Mutex<State>,
    /// The calls that the thread is checking. They are kept here so that they are not lost when the
    /// thread panics and starts again.
    looked_at: Mutex<Vec<Watch>>,
    changed: Condvar,
    heartbeat: Arc<Heartbeat>,
    failure_log: Arc<FailureLog>,
}

#[derive(Default)]
struct State {
    open: Vec<Watch>,
    /// The time at which everything still open is answered. Nothing is added after it.
    closes: Option<Micros>,
    /// Whether the thread has ended.
    closed: bool,
    /// Whether the thread waits for a first call.
    idle: bool,
}

impl Overdue {
    pub(super) fn new(heartbeat: Arc<Heartbeat>, failure_log: Arc<FailureLog>) -> Self {
        let (state, looked_at) = Default::default();
        Self { state, looked_at, changed: Condvar::new(), heartbeat, failure_log }
    }

    /// Watches a call until it is answered.
    pub(super) fn add(&self, watch: Watch) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            watch.abandon();
            return;
        }
        state.open.push(watch);
        if state.idle {
            state.idle = false;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Ends as soon as nothing is open, after `within` at the latest.
    pub(super) fn close_when_idle(&self, within: Duration) {
        self.close_at(Micros::boottime() + within);
    }

    /// Answers everything open, and ends.
    pub(super) fn close(&self) {
        self.close_at(Micros(0));
    }

    fn close_at(&self, at: Micros) {
        let mut state = self.lock();
        state.closes = Some(state.closes.map_or(at, |earlier| earlier.min(at)));
        drop(state);
        self.changed.notify_one();
    }

    /// The thread's body.
    pub(super) fn run(&self) {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            standin_protocol::fault::point();
            let mut state = self.lock();
            // The calls that survived the last check were kept here, so that answering takes no
            // lock.
            state.open.append(&mut *looked_at);
            while state.open.is_empty() && state.closes.is_none() {
                state.idle = true;
                let waited = self.changed.wait_timeout(state, failure_log::PAUSE);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                self.failure_log.flush_due(Micros::boottime());
            }
            let now = Micros::boottime();
            let closing = state.closes.is_some_and(|at| at <= now || state.open.is_empty());
            if closing {
                state.closed = true;
            }
            std::mem::swap(&mut state.open, &mut *looked_at);
            drop(state);
            if closing {
                looked_at.iter().for_each(Watch::abandon);
                return;
            }
            // This comes first, so that a write from before a pause can't begin.
            self.heartbeat.beat(now);
            self.failure_log.flush_due(now);
            looked_at.retain(|watch| {
                watch.expire_if_stopped(now);
                if watch.due() <= now {
                    watch.expire();
                }
                !watch.is_answered()
            });
            let state = self.lock();
            if state.closes.is_none_or(|at| at > now) {
                drop(self.changed.wait_timeout(state, PAUSE));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
