//! TCP connections of the master in both directions, with TLS or without, and closing all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use standin_tls::Tls;

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
    /// What is sent and received is encrypted, if it has TLS.
    tls: Option<RefCell<Tls>>,
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
        Ok(Self { ready, id, all: all.clone(), tls: None })
    }

    /// Does the handshake of TLS. What the other side has sent behind it is appended to `input`.
    ///
    /// # Errors
    /// An error of the connection, or a failure of TLS in an `io::Error`.
    pub(crate) async fn secure(&mut self, tls: Tls, input: &mut Vec<u8>) -> io::Result<()> {
        self.tls = Some(RefCell::new(tls));
        let is_open = || self.tls.as_ref().is_some_and(|tls| tls.borrow().is_open());
        while !is_open() {
            self.send_sealed(&mut Vec::new()).await?;
            self.receive(input).await?;
        }
        self.send_sealed(&mut Vec::new()).await
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
        let before = input.len();
        while input.len() == before {
            self.receive(input).await?;
            if self.tls.is_some() {
                self.send_sealed(&mut Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// Writes all bytes.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self.tls {
            None => self.write_plain(bytes).await,
            Some(_) => self.send_sealed(&mut bytes.to_vec()).await,
        }
    }

    /// Encrypts these bytes and sends them, behind what TLS has to send by itself.
    async fn send_sealed(&self, plain: &mut Vec<u8>) -> io::Result<()> {
        let mut sending = Vec::new();
        if let Some(tls) = &self.tls {
            tls.borrow_mut().seal(plain, &mut sending);
        }
        self.write_plain(&sending).await
    }

    /// Receives once. With TLS, what was received need not contain any bytes for `input`.
    async fn receive(&self, input: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1_024];
        loop {
            match rustix::net::recv(&*self.ready, &mut chunk, RecvFlags::empty()) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((len, _)) => return self.take(&chunk[..len], input).await,
                Err(Errno::AGAIN) => self.ready.readable().await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes bytes that have come.
    async fn take(&self, bytes: &[u8], input: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &self.tls else {
            input.extend_from_slice(bytes);
            return Ok(());
        };
        let before = input.len();
        let received = tls.borrow_mut().receive(bytes, input);
        if let Err(failure) = received {
            // The other side hears why. It may be gone.
            let _ = self.send_sealed(&mut Vec::new()).await;
            return Err(io::Error::new(io::ErrorKind::InvalidData, failure));
        }
        match tls.borrow().has_ended() && input.len() == before {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// Writes all bytes as they are.
    pub(crate) async fn write_plain(&self, mut bytes: &[u8]) -> io::Result<()> {
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
