//! TCP connections of the master in both directions, and closing all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;

use crate::shell::ready::Ready;

/// All open connections. A task that is waiting when the loop ends would never be dropped, because
/// the task and the ring refer to each other. So stopping closes the connections and lets the tasks
/// end by themselves.
#[derive(Default)]
pub(crate) struct Streams {
    open: RefCell<BTreeMap<u64, Rc<Ready>>>,
    last_id: Cell<u64>,
    is_closed: Cell<bool>,
}

impl Streams {
    /// Closes all connections. Connections that are added later are closed at once.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        for stream in self.open.borrow().values() {
            // This wakes the task that waits for the connection.
            let _ = SockRef::from(&**stream).shutdown(Shutdown::Both);
        }
    }
}

/// A connection. A cancelled wait does not change it, and dropping it closes it.
pub(crate) struct Stream {
    ready: Rc<Ready>,
    id: u64,
    all: Rc<Streams>,
}

impl Stream {
    /// Creates a connection from a non-blocking socket.
    ///
    /// # Errors
    /// If no descriptor is left, or the master is stopping.
    pub(crate) fn new(stream: TcpStream, all: &Rc<Streams>) -> io::Result<Self> {
        if all.is_closed.get() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let ready = Rc::new(Ready::take(stream)?);
        let id = all.last_id.get() + 1;
        all.last_id.set(id);
        all.open.borrow_mut().insert(id, ready.clone());
        Ok(Self { ready, id, all: all.clone() })
    }

    /// Returns a function that closes the connection from elsewhere, and wakes the task that waits
    /// for it.
    pub(crate) fn closer(&self) -> impl Fn() + use<> {
        let ready = Rc::downgrade(&self.ready);
        move || {
            if let Some(ready) = ready.upgrade() {
                let _ = SockRef::from(&*ready).shutdown(Shutdown::Both);
            }
        }
    }

    /// Waits for a connect to end.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        self.ready.writable().await?;
        SockRef::from(&*self.ready).take_error()?.map_or(Ok(()), Err)
    }

    /// Appends the bytes that arrive next.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side has closed.
    pub(crate) async fn read_into(&self, input: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1_024];
        loop {
            match rustix::net::recv(&*self.ready, &mut chunk, RecvFlags::empty()) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((len, _)) => {
                    input.extend_from_slice(&chunk[..len]);
                    return Ok(());
                }
                Err(Errno::AGAIN) => self.ready.readable().await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes all bytes.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(&*self.ready, bytes, SendFlags::NOSIGNAL) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::AGAIN) => self.ready.writable().await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.id);
        // This wakes a wait that is still in the loop, so that the descriptor is closed.
        let _ = SockRef::from(&*self.ready).shutdown(Shutdown::Both);
    }
}
