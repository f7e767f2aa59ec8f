//! Waiting for descriptors and for other tasks, in ways that can be cancelled without losing
//! anything.
//!
//! monoio's own reads, accepts and connects hand buffers or descriptors to the ring; a cancelled
//! accept or connect leaks its descriptor. A cancelled *poll* leaks nothing, so only polls are
//! submitted to the ring here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Readiness of a descriptor: a socket of any kind.
pub(crate) struct Ready {
    watched: monoio::net::TcpStream,
}

impl Ready {
    /// Watches a duplicate of the descriptor.
    ///
    /// # Errors If no descriptor is left, or the loop can't watch it.
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let duplicate = socket.as_fd().try_clone_to_owned()?;
        // Only the readiness of the descriptor is used, which needs no TCP.
        Self::take(TcpStream::from(duplicate))
    }

    /// Watches the descriptor itself, and closes it when it is dropped, so that a connection uses
    /// only one descriptor.
    ///
    /// # Errors If the loop can't watch it.
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
        // SAFETY: `watched` owns the descriptor and closes it only when it is dropped, which
        // the borrow of `self` rules out.
        unsafe { BorrowedFd::borrow_raw(self.watched.as_raw_fd()) }
    }
}

/// Wakes one task of this thread.
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

/// A bound on the number of tasks of this thread that do something at the same time.
pub(crate) struct Permits {
    free: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// The permission to continue. Dropping it allows another task to.
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
