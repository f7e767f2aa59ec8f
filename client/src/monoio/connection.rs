//! One TCP connection, with a task that connects and reads, and a task that writes. It knows no
//! protocol: its owner is told what happens and gives it bytes. The client is such an owner, and so is
//! the load generator for the protocols of other caches.
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

use crate::socket;

const READ_BYTES: usize = 64 << 10;

/// An event of a connection. After [`Happening::ConnectFailed`] and [`Happening::Closed`] there are no more.
#[derive(Debug)]
pub enum Happening<'a> {
    /// The connection is open.
    Connected,
    /// The connection could not be opened.
    ConnectFailed(&'a io::Error),
    /// These bytes were received.
    Received(&'a [u8]),
    /// The connection has ended: the other side closed it, the network failed, or it was told to end.
    Closed,
}

/// The owner of connections.
pub trait Owner: 'static {
    /// The owner's name for a connection.
    type Id: Copy + 'static;

    /// Tells the owner what happened on a connection.
    fn happened(self: &Rc<Self>, id: Self::Id, event: Happening<'_>);
}

/// The bytes of a connection that wait for its writer.
#[derive(Default)]
pub struct Outlet {
    bytes: RefCell<Vec<u8>>,
    writer: RefCell<Option<Waker>>,
    has_ended: Cell<bool>,
    /// The descriptor while a task keeps the socket open (see [`Holding`]).
    fd: Cell<Option<RawFd>>,
}

impl Outlet {
    /// Sends these bytes after those that were given before.
    pub fn send(&self, bytes: Vec<u8>) {
        let mut waiting = self.bytes.borrow_mut();
        if waiting.is_empty() {
            *waiting = bytes;
        } else {
            waiting.extend_from_slice(&bytes);
        }
        self.wake_writer();
    }

    /// Ends the connection. Both tasks will notice.
    pub fn end(&self) {
        self.shut();
        self.wake_writer();
    }

    /// Ends the connection without waking tasks, because that may be impossible. The reader notices
    /// the end and wakes the writer.
    pub fn shut(&self) {
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

/// Runs a connection from connect to close. If the owner is gone, the connection ends.
///
/// Bytes that the network does not accept within `unsent_max` are not sent at all.
pub async fn run<O: Owner>(
    owner: Weak<O>,
    id: O::Id,
    addr: SocketAddr,
    unsent_max: Duration,
    outlet: Rc<Outlet>,
) {
    let tell = |event: Happening<'_>| match owner.upgrade() {
        Some(owner) => owner.happened(id, event),
        None => outlet.end(),
    };
    let stream = match connect(addr, unsent_max, &outlet).await {
        Ok(stream) => stream,
        Err(error) => return tell(Happening::ConnectFailed(&error)),
    };
    let fd = stream.as_raw_fd();
    let (mut reader, writer) = stream.into_split();
    let _holding = Holding::new(&outlet, fd);
    monoio::spawn(write(Rc::clone(&outlet), writer));
    tell(Happening::Connected);
    let mut buffer = Vec::with_capacity(READ_BYTES);
    while !outlet.has_ended.get() {
        let (result, filled) = reader.read(buffer).await;
        buffer = filled;
        match result {
            Ok(count) if count > 0 => tell(Happening::Received(&buffer[..count])),
            Ok(_) | Err(_) => break,
        }
    }
    outlet.end();
    tell(Happening::Closed);
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
