//! TCP connections of the master, in both directions, and the end of all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;

use crate::shell::ready::Ready;

/// All open connections. A task that waits when the loop ends would never be dropped (it
/// and the ring hold each other), so stopping closes the connections and lets the tasks
/// come to their own end.
#[derive(Default)]
pub(crate) struct Streams {
    open: RefCell<BTreeMap<u64, Rc<TcpStream>>>,
    last_id: Cell<u64>,
    is_closed: Cell<bool>,
}

impl Streams {
    /// Closes all connections, and those still to come.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        for stream in self.open.borrow().values() {
            // Whoever waits for it wakes up.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A connection. Giving up a wait leaves it as it was; dropping it closes it.
pub(crate) struct Stream {
    stream: Rc<TcpStream>,
    ready: Ready,
    id: u64,
    all: Rc<Streams>,
}

impl Stream {
    /// Takes a socket that does not block.
    ///
    /// # Errors
    /// No descriptor left, or the master stops.
    pub(crate) fn new(stream: TcpStream, all: &Rc<Streams>) -> io::Result<Self> {
        if all.is_closed.get() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let ready = Ready::of(&stream)?;
        let stream = Rc::new(stream);
        let id = all.last_id.get() + 1;
        all.last_id.set(id);
        all.open.borrow_mut().insert(id, stream.clone());
        Ok(Self { stream, ready, id, all: all.clone() })
    }

    /// Waits for a connect to end.
    pub(crate) async fn connected(&self) -> io::Result<()> {
        self.ready.writable().await?;
        self.stream.take_error()?.map_or(Ok(()), Err)
    }

    /// Appends what arrives next.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side has closed.
    pub(crate) async fn read_into(&self, input: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1_024];
        loop {
            match (&*self.stream).read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    input.extend_from_slice(&chunk[..len]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.readable().await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes everything.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&*self.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.writable().await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.id);
        // Wakes a wait that is still in the loop, so that its duplicate closes too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
