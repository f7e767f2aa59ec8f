//! A thread's inbox: a lock-free queue to which other threads post, and an eventfd that wakes the
//! thread if it sleeps.
//!
//! The queue itself is unbounded. Its owner has to bound what may be in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

/// An inbox.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: SegQueue<T>,
    asleep: AtomicBool,
    wake: OwnedFd,
}

impl<T> Inbox<T> {
    /// Creates an empty inbox.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { queue: SegQueue::new(), asleep: AtomicBool::new(false), wake })
    }

    /// Adds an item, and wakes the thread if it sleeps.
    pub(crate) fn post(&self, item: T) {
        self.queue.push(item);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the thread now, or as soon as it sleeps.
    pub(crate) fn wake(&self) {
        // The counter can't overflow before the thread has read it.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Takes the oldest item.
    pub(crate) fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Notes that the thread is about to sleep; returns false if it must not, because the inbox is
    /// not empty.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    /// Notes that the thread is awake, so that the eventfd is not written.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Returns the descriptor that becomes readable when the thread has to wake.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Clears the wake-ups so far, so that [`Self::wake_fd`] is no longer readable.
    pub(crate) fn clear_wake(&self) {
        // It is not an error if there is nothing to read.
        let _ = rustix::io::read(self.wake_fd(), &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the descriptor is readable. Clears it.
    fn is_woken(inbox: &Inbox<u32>) -> bool {
        rustix::io::read(inbox.wake_fd(), &mut [0; 8]).is_ok()
    }

    #[test]
    fn only_a_sleeping_thread_is_woken_and_once() {
        let inbox = Inbox::new().unwrap();
        inbox.post(1);
        assert!(!is_woken(&inbox) && !inbox.fall_asleep(), "there is something to do");
        assert_eq!(inbox.take(), Some(1));
        assert!(inbox.fall_asleep());
        inbox.post(2);
        assert!(is_woken(&inbox));
        inbox.post(3);
        assert!(!is_woken(&inbox), "it has been woken already");
        inbox.awake();
        assert_eq!((inbox.take(), inbox.take(), inbox.take()), (Some(2), Some(3), None));
    }

    #[test]
    fn a_wake_without_an_item_is_not_lost() {
        let inbox = Inbox::new().unwrap();
        inbox.wake();
        assert!(inbox.fall_asleep() && is_woken(&inbox));
        inbox.wake();
        inbox.clear_wake();
        assert!(!is_woken(&inbox));
    }
}
