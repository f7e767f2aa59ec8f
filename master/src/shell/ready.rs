//! Waiting for descriptors and for other tasks, in ways that can be cancelled without losing
//! anything.
//!
//! monoio's own reads, accepts and connects hand buffers or descriptors to the ring. A cancelled
//! accept or connect leaks its descriptor. A cancelled *poll* leaks nothing, so this file submits
//! only polls to the ring.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The readiness of a descriptor, which is a socket of any kind.
pub(crate) struct Ready {
    watched: monoio::net::TcpStream,
}

impl Ready {
    /// Watches a duplicate of the descriptor.
    ///
    /// # Errors
    /// If no descriptor is left, or the loop can't watch it.
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let duplicate = socket.as_fd().try_clone_to_owned()?;
        // Only the readiness of the descriptor is used, which does not require a TCP socket.
        Self::take(TcpStream::from(duplicate))
    }

    /// Watches the descriptor itself, and closes it when it is dropped, so that a connection uses
    /// only one descriptor.
    ///
    /// # Errors
    /// If the loop can't watch it.
    pub(crate) fn take(stream: TcpStream) -> io::Result<Self> {
        Ok(Self { watched: monoio::net::TcpStream::from_std(stream)? })
    }

    /// Waits until a read would not block.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.watched.readable(false).await
    }

    /// Waits until a write would not block, or a connect has ended.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.watched.writable(false).await
    }
}

impl AsFd for Ready {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `watched` owns the descriptor and closes it only when it is dropped, which the
        // borrow of `self` rules out.
        unsafe { BorrowedFd::borrow_raw(self.watched.as_raw_fd()) }
    }
}

/// A notification that wakes one task of this thread.
#[derive(Default)]
pub(crate) struct Notify {
    is_set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Notify {
    pub(crate) fn notify(&self) {
        self.is_set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_set.take() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A limit on the number of tasks of this thread that do something at the same time.
pub(crate) struct Permits {
    free: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// The permission to continue. Dropping it lets another task continue.
pub(crate) struct Permit(Rc<Permits>);

impl Permits {
    pub(crate) fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(count), waiting: RefCell::new(Vec::new()) })
    }

    pub(crate) fn try_acquire(self: &Rc<Self>) -> Option<Permit> {
        let left = self.free.get().checked_sub(1)?;
        self.free.set(left);
        Some(Permit(self.clone()))
    }

    pub(crate) async fn acquire(self: &Rc<Self>) -> Permit {
        poll_fn(|context| match self.try_acquire() {
            Some(permit) => Poll::Ready(permit),
            None => {
                self.waiting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }
}

/// Lets the other tasks of this thread run.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    /// The number of times that a task was woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_returned_permit_wakes_a_waiting_task() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let permits = Permits::new(2);
        let held = [permits.try_acquire(), permits.try_acquire()].map(Option::unwrap);
        let mut waits = pin!(permits.acquire());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(held);
        assert!(wakes.count() > 0);
        let Poll::Ready(third) = waits.poll(&mut context) else { panic!("two are free") };
        let fourth = permits.try_acquire().unwrap();
        assert!(permits.try_acquire().is_none());
        drop((third, fourth));
        assert_eq!(permits.free.get(), 2);
    }

    #[test]
    fn a_notification_wakes_a_task_even_if_it_came_before_the_wait() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let notify = Notify::default();
        let mut waits = pin!(notify.wait());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        notify.notify();
        assert_eq!(wakes.count(), 1);
        assert!(waits.poll(&mut context).is_ready());
        notify.notify();
        assert!(pin!(notify.wait()).poll(&mut context).is_ready());
        assert!(pin!(notify.wait()).poll(&mut context).is_pending(), "it counts once");
    }

    #[test]
    fn a_task_that_yields_continues_by_itself() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut yields = pin!(yield_now());
        assert!(yields.as_mut().poll(&mut context).is_pending());
        assert_eq!(wakes.count(), 1);
        assert!(yields.poll(&mut context).is_ready());
    }
}
