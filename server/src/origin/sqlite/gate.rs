//! The gate through which this process opens the file. When the open files are no longer those at
//! the path, all connections are closed before one is opened again: SQLite shares the log's index
//! among the connections of a process, so a new connection beside old ones would read the new log
//! with the index of the old one.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

use super::files::{Change, Files, Identity};
use crate::origin::queue::Queues;

/// The gate: decides when the file may be opened.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    emptied: Condvar,
    opening: Mutex<()>,
    rescuing: Mutex<()>,
    is_condemned: AtomicBool,
    /// The queues at which the threads with open connections wait.
    queues: OnceLock<Queues>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// The files of the open connections, once the first has been opened.
    files: Option<Files>,
    /// The files of the connections that were open last.
    last: Option<Files>,
    /// The log that this process created by opening the file just after the log of the other
    /// connections was deleted.
    begun: Option<Identity>,
    /// Whether the log must be left alone, because its content must not be written to the main
    /// file, or has been written already.
    keeps_log: bool,
    rescue: Rescue,
}

/// The attempts to write a deleted log's content to the main file.
#[derive(Debug, Default)]
struct Rescue {
    /// The time until which an attempt may wait for statements under way, once there was one.
    until: Option<Micros>,
    /// The reason why the last attempt failed.
    failure: Option<String>,
}

/// The right to have a connection open. It is dropped after the connection.
pub(super) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        if state.open == 0 {
            self.0.is_condemned.store(false, Ordering::Release);
            let is_rescued = std::mem::take(&mut state.keeps_log);
            let failure = std::mem::take(&mut state.rescue).failure;
            state.begun = None;
            state.last = state.files.take().or(state.last);
            self.0.emptied.notify_all();
            drop(state);
            if let (false, Some(reason)) = (is_rescued, failure) {
                tracing::error!(
                    "the content of the deleted log has not been written to the SQLite file, \
                     unless another server has done it: {reason}"
                );
            }
        }
    }
}

impl Gate {
    /// Sets the queues at which the threads with open connections wait, so that they can be woken
    /// up to close them.
    pub(super) fn wakes(&self, queues: Queues) {
        let is_first = self.queues.set(queues).is_ok();
        debug_assert!(is_first);
    }

    /// Returns a pass to open the file. If others must close it first, waits for this long, and
    /// returns `None` if they have not.
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

    /// Whether all connections have to be closed.
    pub(super) fn is_condemned(&self) -> bool {
        self.is_condemned.load(Ordering::Acquire)
    }

    /// Returns the lock that is held while a connection is opened.
    pub(super) fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the files of a new connection; returns how they differ from the other connections'.
    pub(super) fn opened(&self, files: Files, has_log: bool) -> Change {
        if has_log && !files.has_log() {
            return Change::LogGone;
        }
        let mut state = self.lock();
        state.files.get_or_insert(files).change(&files)
    }

    /// Whether the opening of a connection, successful or not, has created a log beside that of the
    /// other connections, because that one was deleted after [`Self::look`] had found it.
    pub(super) fn has_begun_log(&self, path: &Path) -> bool {
        let mut state = self.lock();
        // No connection has been opened yet.
        let Some(files) = state.files else { return false };
        state.begun = files.new_log(&Files::at(path)).or(state.begun);
        state.begun.is_some()
    }

    /// Returns how the files at the path differ from the open ones.
    pub(super) fn look(&self, path: &Path) -> Change {
        // One thread at a time: with two, an older observation could follow a newer one, and a new
        // file that has just got its first page would seem to have lost it.
        let mut state = self.lock();
        let now = Files::at(path).without(state.begun);
        // No connection has been opened yet.
        let Some(files) = &mut state.files else { return Change::None };
        let change = files.change(&now);
        if change == Change::None {
            files.grow(&now);
        }
        change
    }

    /// Whether the path has a different file than the last one that was open, but that one's log.
    pub(super) fn is_log_left_behind(&self, now: &Files) -> bool {
        let state = self.lock();
        state.files.or(state.last).is_some_and(|files| files.is_log_left_behind(now))
    }

    /// Makes all connections be closed because of this change.
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

    /// Lets one connection at a time write the deleted log's content to the main file, unless that
    /// has been done. The first that fails, because statements are under way, leaves it to the next:
    /// they are over when the last connection is closed. All of them together wait for `within`.
    pub(super) fn rescue(
        &self,
        within: Duration,
        write_log: impl FnOnce(Micros) -> Result<(), String>,
    ) {
        let _one = self.rescuing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if state.keeps_log {
            return;
        }
        let until = *state.rescue.until.get_or_insert_with(|| Micros::boottime() + within);
        drop(state);
        let written = write_log(until);
        let mut state = self.lock();
        match written {
            Ok(()) => {
                state.keeps_log = true;
                drop(state);
                tracing::info!("the content of the deleted log was written to the SQLite file");
            }
            Err(reason) => state.rescue.failure = Some(reason),
        }
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
    fn a_deleted_log_is_saved_once_and_by_the_next_connection_if_one_could_not() {
        let gate = Arc::new(Gate::default());
        let passes = [(); 3].map(|()| gate.enter(Duration::ZERO).unwrap());
        gate.condemn(Change::LogGone);
        let mut untils = Vec::new();
        for result in [Err("statements are under way".to_owned()), Ok(())] {
            gate.rescue(Duration::from_secs(1), |until| {
                untils.push(until);
                result
            });
        }
        gate.rescue(Duration::from_secs(1), |_| unreachable!("it has been saved"));
        assert!(gate.keeps_log());
        assert_eq!(untils[0], untils[1], "they share the time in which they may wait");
        drop(passes);
        assert!(!gate.is_condemned() && !gate.keeps_log(), "and that is over");
        assert!(gate.lock().rescue.until.is_none());
    }

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
