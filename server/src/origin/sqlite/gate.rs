//! The connections of this process to the file: when its files are not those of the path any
//! more, all are closed before one is opened. SQLite shares the log's index among the
//! connections of a process, so that one that is opened beside others would read the new log by
//! the index of the old one.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::files::{Change, Files, Identity};
use crate::origin::queue::Queues;

/// Who may open the file.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    emptied: Condvar,
    opening: Mutex<()>,
    is_condemned: AtomicBool,
    /// Where those wait that have the file open.
    queues: OnceLock<Queues>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// Those of the connections that are open, as soon as the first is.
    files: Option<Files>,
    /// Those of the connections that were open last.
    last: Option<Files>,
    /// The log that this process has begun when it opened the file beside connections whose log was
    /// deleted at that moment.
    begun: Option<Identity>,
    /// What the log holds must not get into the main file, or has got there.
    keeps_log: bool,
}

/// An open connection; dropped after it.
pub(super) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        if state.open == 0 {
            self.0.is_condemned.store(false, Ordering::Release);
            state.keeps_log = false;
            state.begun = None;
            state.last = state.files.take().or(state.last);
            self.0.emptied.notify_all();
        }
    }
}

impl Gate {
    /// Where those wait that have the file open: they are woken up when they must close it.
    pub(super) fn wakes(&self, queues: Queues) {
        let is_first = self.queues.set(queues).is_ok();
        debug_assert!(is_first);
    }

    /// Leave to open the file; waits for so long for others to have closed it, if they must.
    /// `None` when they have not.
    pub(super) fn enter(self: &Arc<Self>, within: Duration) -> Option<Pass> {
        let waited = self
            .emptied
            .wait_timeout_while(self.lock(), within, |state| state.open > 0 && self.is_condemned());
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && self.is_condemned() {
            return None;
        }
        state.open += 1;
        Some(Pass(Arc::clone(self)))
    }

    /// All connections are to be closed.
    pub(super) fn is_condemned(&self) -> bool {
        self.is_condemned.load(Ordering::Acquire)
    }

    /// Held while a connection is opened.
    pub(super) fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has been opened, and these are its files: the same as of the others.
    pub(super) fn opened(&self, files: Files, has_log: bool) -> Change {
        if has_log && !files.has_log() {
            return Change::LogGone;
        }
        let mut state = self.lock();
        state.files.get_or_insert(files).change(&files)
    }

    /// Whether a connection that has just been opened, or could not be, has begun a log beside the
    /// one of the others: that one was deleted after [`Self::look`] had found it in its place.
    pub(super) fn has_begun_log(&self, path: &Path) -> bool {
        let mut state = self.lock();
        let Some(files) = state.files else { return false };
        state.begun = files.new_log(&Files::at(path)).or(state.begun);
        state.begun.is_some()
    }

    /// What has become of the files that are open.
    pub(super) fn look(&self, path: &Path) -> Change {
        // One thread at a time: of two, the one that looked later may be here earlier, and a new file
        // which has just got its first page would seem to have lost it.
        let mut state = self.lock();
        let now = Files::at(path).without(state.begun);
        let Some(files) = &mut state.files else { return Change::None };
        let change = files.change(&now);
        if change == Change::None {
            files.grow(&now);
        }
        change
    }

    /// Whether another file lies at the path than the last one that was open, with that one's log.
    pub(super) fn is_log_left_behind(&self, now: &Files) -> bool {
        let state = self.lock();
        state.files.or(state.last).is_some_and(|files| files.is_log_left_behind(now))
    }

    /// All connections are to be closed, because of this.
    pub(super) fn condemn(&self, change: Change) {
        let mut state = self.lock();
        state.keeps_log |= change != Change::LogGone;
        let is_first = !self.is_condemned.swap(true, Ordering::AcqRel);
        drop(state);
        if !is_first {
            return;
        }
        tracing::error!("reopening the SQLite file: {change}");
        if let Some(queues) = self.queues.get() {
            queues.reads.wake_all();
            queues.writes.wake_all();
        }
    }

    /// What the log held is in the main file.
    pub(super) fn rescued(&self) {
        self.lock().keeps_log = true;
    }

    /// Whether closing must leave the log and the main file alone.
    pub(super) fn keeps_log(&self) -> bool {
        self.lock().keeps_log
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicBool;

    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn a_file_that_grows_under_the_eyes_of_several_threads_is_not_taken_for_emptied() {
        let scratch = Scratch::new("gate-grows");
        let path = scratch.file("growing");
        let file = File::create(&path).unwrap();
        let gate = Arc::new(Gate::default());
        let pass = gate.enter(Duration::ZERO).unwrap();
        assert_eq!(gate.opened(Files::at(&path), false), Change::None);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        assert_eq!(gate.look(&path), Change::None);
                    }
                });
            }
            for bytes in 1..20_000 {
                file.set_len(bytes).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        file.set_len(0).unwrap();
        assert_eq!(gate.look(&path), Change::Cut, "what is cut is seen");
        drop(pass);
    }
}
