//! A TCP proxy between the servers and their database that can be slow, silent or gone, and that counts
//! the statements that pass through it.
//!
//! ```text
//! server ──► listener ─┬─ up:   read ─► tally.rs ─► after the delay ─► write ─► database
//!                      └─ down: write ◄──────────────────────────────── read ◄─┘
//! ```
//! One thread, one task per direction. A delay is one of latency, not of throughput: what was
//! read together with the first byte does not wait behind it.

mod tally;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use standin_protocol::time::Micros;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

pub use tally::{Call, Tally};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of one direction that may wait; then nothing more is read from the sender.
const CHUNKS_MAX: usize = 1_024;

/// How the proxy treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conduct {
    /// Passes everything on.
    #[default]
    Pass,
    /// Passes everything on, with this delay towards the database.
    Delay(Duration),
    /// Accepts everything and passes nothing on; connections stay open.
    Stall,
    /// Resets every connection, also each new one at once.
    Refuse,
    /// The proxy ends.
    End,
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    conduct: watch::Sender<Conduct>,
    calls: Arc<Mutex<Vec<(Micros, Call)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Accepts from `listener`, and connects to `upstream` for each connection it accepts.
    ///
    /// # Errors
    /// No thread, or no event loop.
    pub fn start(listener: std::net::TcpListener, upstream: SocketAddr) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (conduct, watched) = watch::channel(Conduct::Pass);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&calls);
        let run = move || {
            let served = listener.try_clone().and_then(|listener| {
                let (watched, counted) = (watched.clone(), Arc::clone(&counted));
                runtime.block_on(serve(listener, upstream, watched, counted))
            });
            if let Err(error) = served {
                tracing::warn!(%error, "the proxy before the database has ended");
            }
        };
        let thread = standin_loadgen::threads::spawn("proxy", run)?;
        Ok(Self { conduct, calls, thread: Some(thread) })
    }

    /// Sets the treatment from now on.
    pub fn set(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    /// The times at which calls of this kind were passed on.
    #[must_use]
    pub fn calls(&self, kind: Call) -> Vec<Micros> {
        let calls = locked(&self.calls);
        calls.iter().filter(|(_, call)| *call == kind).map(|(at, _)| *at).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Conduct::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Calls = Arc<Mutex<Vec<(Micros, Call)>>>;

fn locked(calls: &Mutex<Vec<(Micros, Call)>>) -> MutexGuard<'_, Vec<(Micros, Call)>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    mut conduct: watch::Receiver<Conduct>,
    calls: Calls,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = conduct.wait_for(|conduct| *conduct == Conduct::End) => return Ok(()),
        };
        let Ok((client, _)) = accepted else {
            // Out of descriptors, most likely: some may be free again soon.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (conduct, calls) = (conduct.clone(), Arc::clone(&calls));
        tokio::spawn(connection(client, upstream, conduct, calls));
    }
}

/// One connection, to its end. An error on either side ends both: that is all its owner can see.
async fn connection(
    client: TcpStream,
    upstream: SocketAddr,
    mut conduct: watch::Receiver<Conduct>,
    calls: Calls,
) {
    let mut watched = conduct.clone();
    let gone = |conduct: &Conduct| matches!(conduct, Conduct::Refuse | Conduct::End);
    end_by_reset(&client);
    if gone(&conduct.borrow_and_update()) {
        return;
    }
    let Ok(database) = TcpStream::connect(upstream).await else { return };
    end_by_reset(&database);
    let _ = (client.set_nodelay(true), database.set_nodelay(true));
    let count = move |tally: &mut Tally, bytes: &[u8]| {
        let now = Micros::boottime();
        locked(&calls).extend(tally.take(bytes).into_iter().map(|call| (now, call)));
    };
    let up = pump(&client, &database, conduct.clone(), true, Some(count));
    let down = pump(&database, &client, conduct, false, None::<fn(&mut Tally, &[u8])>);
    tokio::select! {
        _ = up => {}
        _ = down => {}
        _ = watched.wait_for(gone) => {}
    }
}

/// Copies one direction until it ends.
async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    mut conduct: watch::Receiver<Conduct>,
    is_delayed: bool,
    mut count: Option<impl FnMut(&mut Tally, &[u8])>,
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<(Micros, Vec<u8>)>(CHUNKS_MAX);
    let seen = conduct.clone();
    let read = async move {
        let mut tally = Tally::default();
        loop {
            let chunk = read_some(from).await?;
            if chunk.is_empty() {
                return io::Result::Ok(());
            }
            if let Some(count) = &mut count {
                count(&mut tally, &chunk);
            }
            let delay = match *seen.borrow() {
                Conduct::Delay(delay) if is_delayed => delay,
                _ => Duration::ZERO,
            };
            if sender.send((Micros::boottime() + delay, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            let left = due.since(Micros::boottime());
            if !left.is_zero() {
                sleep(left).await;
            }
            if conduct.wait_for(|conduct| *conduct != Conduct::Stall).await.is_err() {
                return Ok(());
            }
            write_all(to, &chunk).await?;
        }
        io::Result::Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

async fn read_some(from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        from.readable().await?;
        match from.try_read(&mut chunk) {
            Ok(length) => {
                chunk.truncate(length);
                return Ok(chunk);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resets a connection, so that its other end learns at once that it ended and that what it sent is lost.
fn end_by_reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
