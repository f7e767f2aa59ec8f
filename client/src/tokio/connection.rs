//! One TCP connection: a task that connects, reads, and writes what could not be written at once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Shared;
use crate::engine::{ConnId, Input};
use crate::socket;

const READ_BYTES: usize = 64 << 10;

/// The writing side of a connection.
#[derive(Default)]
pub(super) struct Outlet {
    /// The bytes that have not been written, in order.
    unwritten: Mutex<Vec<u8>>,
    /// The connection, once it is open.
    stream: OnceLock<Arc<TcpStream>>,
    /// Wakes the task when bytes could not be written at once.
    wake: Notify,
    task: OnceLock<AbortHandle>,
}

impl Outlet {
    /// Begins to connect.
    pub(super) fn open(
        shared: &Arc<Shared>,
        conn: ConnId,
        addr: SocketAddr,
        unsent_max: Duration,
    ) -> Arc<Self> {
        let outlet = Arc::new(Self::default());
        let run = run(Arc::downgrade(shared), conn, addr, unsent_max, Arc::clone(&outlet));
        let task = shared.runtime.spawn(run).abort_handle();
        outlet.task.get_or_init(|| task);
        outlet
    }

    /// Adds bytes to those that are to be written.
    pub(super) fn append(&self, bytes: Vec<u8>) {
        let mut unwritten = self.unwritten();
        match unwritten.is_empty() {
            true => *unwritten = bytes,
            false => unwritten.extend_from_slice(&bytes),
        }
    }

    /// Writes as much as the socket takes now, and leaves the rest to the task.
    pub(super) fn flush(&self) {
        // What is sent before the connection is open is written when it is.
        let Some(stream) = self.stream.get() else { return };
        let mut unwritten = self.unwritten();
        if unwritten.is_empty() {
            return;
        }
        match stream.try_write(&unwritten) {
            Ok(count) if count == unwritten.len() => unwritten.clear(),
            Ok(count) => {
                unwritten.drain(..count);
                self.wake.notify_one();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wake.notify_one(),
            // The reader notices the end too, and reports it.
            Err(_) => unwritten.clear(),
        }
    }

    /// Ends the connection and its task.
    pub(super) fn close(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        if let Some(stream) = self.stream.get() {
            socket::shutdown(stream.as_fd());
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Vec<u8>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a connection from connect to close.
async fn run(
    shared: Weak<Shared>,
    conn: ConnId,
    addr: SocketAddr,
    unsent_max: Duration,
    outlet: Arc<Outlet>,
) {
    let feed = |input: Input<'_>| {
        if let Some(shared) = shared.upgrade() {
            shared.feed(conn, input);
        }
    };
    let stream = match connect(addr, unsent_max).await {
        Ok(stream) => outlet.stream.get_or_init(|| Arc::new(stream)),
        Err(error) => {
            tracing::debug!(%addr, %error, "no connection");
            return feed(Input::ConnectFailed(conn));
        }
    };
    feed(Input::Connected(conn));
    outlet.flush();
    tokio::select! {
        () = read(stream, |bytes| feed(Input::Received(conn, bytes))) => {}
        () = write(stream, &outlet) => {}
    }
    feed(Input::Closed(conn));
}

/// Reads until the connection ends.
async fn read(stream: &TcpStream, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; READ_BYTES];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Writes what [`Outlet::flush`] has left, until the connection ends.
async fn write(stream: &TcpStream, outlet: &Outlet) {
    loop {
        outlet.wake.notified().await;
        if stream.writable().await.is_err() {
            return;
        }
        outlet.flush();
    }
}

async fn connect(addr: SocketAddr, unsent_max: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::from_std(socket::start_connect(addr, unsent_max)?.into())?;
    stream.ready(Interest::WRITABLE).await?;
    socket::connect_result(stream.as_fd())?;
    Ok(stream)
}
