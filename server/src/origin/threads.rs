//! The driver threads. They are started again after a panic, and joined within a bounded time.
#![expect(clippy::disallowed_methods, reason = "shell: the pause after a panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};

/// The pause after a panic, so that a body that panics at once does not use a whole core.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(50);

/// Threads that end on their own when they are told to by other means.
pub(super) struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Each thread holds a clone and sends nothing. When the channel is disconnected, all have
    /// ended.
    running: Sender<()>,
    ended: Receiver<()>,
}

impl Default for Threads {
    fn default() -> Self {
        let (running, ended) = channel::bounded(0);
        Self { handles: Vec::new(), running, ended }
    }
}

impl Threads {
    /// Runs `body` on a thread of this name until it returns, which alone ends the thread. If it
    /// panics, its values are dropped and it is run again.
    pub(super) fn spawn(
        &mut self,
        name: &str,
        mut body: impl FnMut() + Send + 'static,
    ) -> std::io::Result<()> {
        let running = self.running.clone();
        let thread_name = name.to_owned();
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _running = running;
            while catch_unwind(AssertUnwindSafe(&mut body)).is_err() {
                // The logger may panic as well.
                let _ = catch_unwind(|| {
                    tracing::error!(
                        "thread {thread_name} panicked and was restarted; this is a bug, please \
                         report it"
                    );
                });
                std::thread::sleep(PAUSE_AFTER_PANIC);
            }
        })?;
        self.handles.push(handle);
        Ok(())
    }

    /// Waits for all threads to end. Returns false if some have not ended after `within`. Those are
    /// left behind.
    pub(super) fn join(self, within: Duration) -> bool {
        let Self { handles, running, ended } = self;
        drop(running);
        let all_ended = ended.recv_timeout(within) == Err(RecvTimeoutError::Disconnected);
        for handle in handles {
            if all_ended || handle.is_finished() {
                // The thread has caught its panics itself.
                let _ = handle.join();
            }
        }
        if !all_ended {
            tracing::warn!("a thread of the origin hangs in the database and is left behind");
        }
        all_ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_panic_starts_the_thread_again() {
        let runs = Arc::new(AtomicU32::new(0));
        let mut threads = Threads::default();
        let counter = Arc::clone(&runs);
        threads
            .spawn("panics-twice", move || assert!(counter.fetch_add(1, Ordering::SeqCst) == 2))
            .unwrap();
        assert!(threads.join(Duration::from_secs(10)));
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_thread_that_hangs_does_not_hold_up_the_end() {
        let (release, hang) = channel::bounded::<()>(0);
        let mut threads = Threads::default();
        threads.spawn("hangs", move || assert!(hang.recv().is_err())).unwrap();
        assert!(!threads.join(Duration::from_millis(20)));
        drop(release);
    }
}
