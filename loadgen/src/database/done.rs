//! The ends of calls, which threads of the database give to the loop of a load thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::Ended;

/// A call that has ended.
pub type Finished = (u64, Ended);

/// A queue of ended calls, with a descriptor that is readable while there are some.
#[derive(Debug, Clone)]
pub struct Done(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ended: Mutex<Vec<Finished>>,
    signal: OwnedFd,
}

impl Done {
    /// An empty queue.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self(Arc::new(Inner { ended: Mutex::default(), signal })))
    }

    /// A duplicate of the descriptor.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn signal(&self) -> io::Result<OwnedFd> {
        self.0.signal.try_clone()
    }

    /// Adds an end.
    pub fn push(&self, ticket: u64, ended: Ended) {
        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner).push((ticket, ended));
        self.wake();
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // It is full only after 2^64 of them.
        let _ = rustix::io::write(&self.0.signal, &1_u64.to_ne_bytes());
    }

    /// Whether nobody else can add to it.
    #[cfg(test)]
    pub(super) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Takes all, and makes the descriptor unreadable.
    #[must_use]
    pub fn take(&self) -> Vec<Finished> {
        // Before the queue is emptied: what comes behind it makes it readable again.
        let _ = rustix::io::read(&self.0.signal, &mut [0_u8; 8]);
        std::mem::take(&mut *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
