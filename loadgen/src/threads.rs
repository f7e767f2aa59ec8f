//! Threads that observe a run: one that panics is restarted, and the run goes on. So what it had locked is still used.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The pause that keeps a body that panics at once from using a whole core.
const PAUSE_AFTER_PANIC: Duration = Duration::from_millis(50);

/// Locks a mutex, also after a panic of who had it.
pub(crate) fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` on a thread of that name until it returns.
///
/// # Errors
/// The system has no thread left.
pub fn spawn(name: &str, mut body: impl FnMut() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        while catch_unwind(AssertUnwindSafe(&mut body)).is_err() {
            std::thread::park_timeout(PAUSE_AFTER_PANIC);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_starts_the_thread_again() {
        let mut runs = 0;
        let (sender, received) = std::sync::mpsc::channel();
        let thread = spawn("panics-twice", move || {
            runs += 1;
            assert!(runs == 3, "on purpose");
            let _ = sender.send(runs);
        });
        assert!(thread.unwrap().join().is_ok());
        assert_eq!(received.recv(), Ok(3));
    }
}
