//! One TCP connection, with a task that connects and reads, and a task that writes.
//!
//! No future is cancelled by dropping it, because monoio would leak the descriptor. A connection is
//! ended by shutting its socket down. That wakes both tasks, even during a connect.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;

use super::Inner;
use crate::engine::{ConnId, Input};
use crate::socket;

const READ_BYTES: usize = 64 << 10;

/// The bytes of a connection that wait for its writer.
#[derive(Default)]
pub(super) struct Outlet {
    bytes: RefCell<Vec<u8>>,
    writer: RefCell<Option<Waker>>,
    has_ended: Cell<bool>,
    /// The descriptor while a task keeps the socket open (see [`Holding`]).
    fd: Cell<Option<RawFd>>,
}

impl Outlet {
    pub(super) fn send(&self, bytes: Vec<u8>) {
        let mut waiting = self.bytes.borrow_mut();
        if waiting.is_empty() {
            *waiting = bytes;
        } else {
            waiting.extend_from_slice(&bytes);
        }
        self.wake_writer();
    }

    /// Ends the connection. Both tasks will notice.
    pub(super) fn end(&self) {
        self.shut();
        self.wake_writer();
    }

    /// Ends the connection without waking tasks, because that may be impossible. The reader notices
    /// the end and wakes the writer.
    pub(super) fn shut(&self) {
        self.has_ended.set(true);
        if let Some(fd) = self.fd.take() {
            // SAFETY: `fd` is set only while a `Holding` lives, which its task drops before it
            // drops the socket.
            socket::shutdown(unsafe { BorrowedFd::borrow_raw(fd) });
        }
    }

    fn wake_writer(&self) {
        if let Some(waker) = self.writer.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits for the next bytes to write. Returns `None` if the connection has ended.
    async fn next(&self) -> Option<Vec<u8>> {
        poll_fn(|cx| {
            if self.has_ended.get() {
                return Poll::Ready(None);
            }
            let bytes = std::mem::take(&mut *self.bytes.borrow_mut());
            if bytes.is_empty() {
                *self.writer.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Some(bytes))
        })
        .await
    }
}

/// A guard that keeps the descriptor in the outlet. The descriptor is open while the guard lives.
/// The guard must be declared after the socket, so that it is dropped first, even if the runtime
/// drops the task.
struct Holding(Rc<Outlet>);

impl Holding {
    fn new(outlet: &Rc<Outlet>, fd: RawFd) -> Self {
        outlet.fd.set(Some(fd));
        Self(Rc::clone(outlet))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.fd.set(None);
    }
}

/// Runs a connection from connect to close.
pub(super) async fn run(inner: Weak<Inner>, conn: ConnId, addr: SocketAddr, outlet: Rc<Outlet>) {
    let feed = |input: Input<'_>| match inner.upgrade() {
        Some(inner) => Inner::feed(&inner, input),
        None => outlet.end(),
    };
    let forget = || {
        if let Some(inner) = inner.upgrade() {
            inner.outlets.borrow_mut().remove(&conn);
        }
    };
    let unsent_max =
        inner.upgrade().map_or(Duration::ZERO, |inner| inner.engine.borrow().unsent_max());
    let Ok(stream) = connect(addr, unsent_max, &outlet).await else {
        forget();
        return feed(Input::ConnectFailed(conn));
    };
    let fd = stream.as_raw_fd();
    let (mut reader, writer) = stream.into_split();
    let _holding = Holding::new(&outlet, fd);
    monoio::spawn(write(Rc::clone(&outlet), writer));
    feed(Input::Connected(conn));
    let mut buffer = Vec::with_capacity(READ_BYTES);
    while !outlet.has_ended.get() {
        let (result, filled) = reader.read(buffer).await;
        buffer = filled;
        match result {
            Ok(count) if count > 0 => feed(Input::Received(conn, &buffer[..count])),
            Ok(_) | Err(_) => break,
        }
    }
    outlet.end();
    forget();
    feed(Input::Closed(conn));
}

async fn write(outlet: Rc<Outlet>, mut writer: OwnedWriteHalf<TcpStream>) {
    while let Some(bytes) = outlet.next().await {
        if writer.write_all(bytes).await.0.is_err() {
            break;
        }
    }
    // The reader notices the end too, and reports it.
    outlet.end();
}

async fn connect(
    addr: SocketAddr,
    unsent_max: Duration,
    outlet: &Rc<Outlet>,
) -> io::Result<TcpStream> {
    if outlet.has_ended.get() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let stream = TcpStream::from_std(socket::start_connect(addr, unsent_max)?.into())?;
    let fd = stream.as_raw_fd();
    let _holding = Holding::new(outlet, fd);
    let connected = stream.writable(false).await;
    // SAFETY: `stream` holds the descriptor open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let connected = connected.and_then(|()| socket::connect_result(borrowed));
    if outlet.has_ended.get() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    connected?;
    if !monoio::utils::is_legacy() {
        // The ring waits by itself only for blocking sockets.
        rustix::io::ioctl_fionbio(borrowed, false)?;
    }
    Ok(stream)
}
