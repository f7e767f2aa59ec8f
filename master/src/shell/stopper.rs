//! A handle that stops a master, and wakes its event loop, from any thread.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle that stops a master from any thread. All clones stop the same master.
#[derive(Debug, Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_stopped: AtomicBool,
    wake: UnixStream,
}

impl Stopper {
    /// Creates a stopper, and the end of its pipe that becomes readable at each wake-up.
    pub(crate) fn new() -> io::Result<(Self, UnixStream)> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let shared = Shared { is_stopped: AtomicBool::new(false), wake: sender };
        Ok((Self { shared: Arc::new(shared) }, wake))
    }

    /// Asks the master to stop. It does so within two seconds, and usually at once.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn wake(&self) {
        // A full pipe wakes the master too.
        let _ = (&self.shared.wake).write(&[1]);
    }
}
