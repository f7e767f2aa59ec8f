//! Proxies in the path of a target that can be slow, silent or gone. One for connections counts the statements that
//! pass through it to a database.
//!
//! ```text
//! client ──► listener ─┬─ up:   read ─► tally.rs ─► until it is due (shape.rs) ─► write ─► server
//!                      └─ down: write ◄───────────── until it is due ◄───────────── read ◄─┘
//! datagrams.rs         the same for UDP, with losses and repetitions
//! ```
//! One thread, one task per direction. A delay is one of latency, not of throughput: what was
//! read together with the first byte does not wait behind it.

mod datagrams;
mod shape;
mod tally;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use serde::Serialize;
use standin_protocol::time::Micros;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

pub use datagrams::DatagramProxy;
pub use shape::{Shape, Way};
pub use tally::{Call, Tally};

use crate::rng::Random;
use shape::{Direction, Pace};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of one direction that may wait; then nothing more is read from the sender.
const CHUNKS_MAX: usize = 1_024;

/// How a proxy treats what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conduct {
    /// Passes everything on.
    #[default]
    Pass,
    /// Passes it on as a bad line does.
    Slow(Shape),
    /// Accepts everything and passes nothing on in these directions; connections stay open, and go on afterwards
    /// without a loss. Datagrams are lost.
    Stall(Way),
    /// Resets every connection, also each new one at once. Datagrams are lost.
    Refuse,
    /// The proxy ends.
    End,
}

impl Conduct {
    /// Passes everything on, with this delay towards the server.
    #[must_use]
    pub fn delayed(delay: Duration) -> Self {
        Self::Slow(Shape { delay, way: Way::To, ..Shape::default() })
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Slow(shape) => *shape,
            _ => Shape::default(),
        }
    }

    fn stalls(&self, direction: Direction) -> bool {
        matches!(self, Self::Stall(way) if way.concerns(direction))
    }
}

/// A running proxy for connections; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    conduct: watch::Sender<Conduct>,
    resets: watch::Sender<()>,
    calls: Arc<Mutex<Vec<(Micros, Call)>>>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections of a proxy share.
#[derive(Debug, Clone)]
struct Shared {
    upstream: SocketAddr,
    conduct: watch::Receiver<Conduct>,
    resets: watch::Receiver<()>,
    /// Calls to a database, if they are counted.
    calls: Option<Calls>,
    /// When the line is free, up and down.
    line_free: Arc<[Mutex<Micros>; 2]>,
    seed: u64,
}

impl Proxy {
    /// Accepts from `listener`, and connects to `upstream` for each connection it accepts. Counts the calls of
    /// PostgreSQL's protocol.
    ///
    /// # Errors
    /// No thread, or no event loop.
    pub fn start(listener: std::net::TcpListener, upstream: SocketAddr) -> io::Result<Self> {
        Self::run(listener, upstream, 0, true)
    }

    /// As [`Self::start`], for any protocol. The seed is the one of jitter.
    ///
    /// # Errors
    /// No thread, or no event loop.
    pub fn plain(
        listener: std::net::TcpListener,
        upstream: SocketAddr,
        seed: u64,
    ) -> io::Result<Self> {
        Self::run(listener, upstream, seed, false)
    }

    fn run(
        listener: std::net::TcpListener,
        upstream: SocketAddr,
        seed: u64,
        counts: bool,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (conduct, watched) = watch::channel(Conduct::Pass);
        let (resets, reset) = watch::channel(());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let counted = counts.then(|| Arc::clone(&calls));
        let shared = Shared {
            upstream,
            conduct: watched,
            resets: reset,
            calls: counted,
            line_free: Arc::default(),
            seed,
        };
        let run = move || {
            let served = listener
                .try_clone()
                .and_then(|listener| runtime.block_on(serve(listener, shared.clone())));
            if let Err(error) = served {
                tracing::warn!(%error, "a proxy has ended");
            }
        };
        let thread = crate::threads::spawn("proxy", run)?;
        Ok(Self { conduct, resets, calls, thread: Some(thread) })
    }

    /// Sets the treatment from now on.
    pub fn set(&self, conduct: Conduct) {
        self.conduct.send_replace(conduct);
    }

    /// Resets the connections that there are.
    pub fn reset(&self) {
        self.resets.send_replace(());
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

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: std::net::TcpListener, mut shared: Shared) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for number in 0.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shared.conduct.wait_for(|conduct| *conduct == Conduct::End) => break,
        };
        let Ok((client, _)) = accepted else {
            // Out of descriptors, most likely: some may be free again soon.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(connection(client, shared.clone(), number));
    }
    Ok(())
}

/// One connection, to its end. An error on either side ends both: that is all its owner can see.
async fn connection(client: TcpStream, shared: Shared, number: u64) {
    let Shared { upstream, mut conduct, mut resets, calls, line_free, seed } = shared;
    // Earlier resets are those of other connections.
    resets.mark_unchanged();
    let gone = |conduct: &Conduct| matches!(conduct, Conduct::Refuse | Conduct::End);
    end_by_reset(&client);
    if gone(&conduct.borrow_and_update()) {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    end_by_reset(&server);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut tally = Tally::default();
    let count = move |bytes: &[u8]| {
        let Some(calls) = &calls else { return };
        let now = Micros::boottime();
        locked(calls).extend(tally.take(bytes).into_iter().map(|call| (now, call)));
    };
    let line = |direction: Direction| Line {
        conduct: conduct.clone(),
        line_free: Arc::clone(&line_free),
        direction,
        pace: Pace::new(Random::stream(seed, 2 * number + direction as u64), direction),
    };
    let up = pump(&client, &server, line(Direction::Up), count);
    let down = pump(&server, &client, line(Direction::Down), |_: &[u8]| {});
    let mut watched = conduct.clone();
    tokio::select! {
        _ = up => {}
        _ = down => {}
        _ = watched.wait_for(gone) => {}
        _ = resets.changed() => {}
    }
}

/// One direction of a connection.
struct Line {
    conduct: watch::Receiver<Conduct>,
    line_free: Arc<[Mutex<Micros>; 2]>,
    direction: Direction,
    pace: Pace,
}

impl Line {
    /// When bytes that were read now arrive, and when the line has sent them.
    fn due(&mut self, bytes: usize) -> (Micros, Micros) {
        let shape = self.conduct.borrow().shape();
        let now = Micros::boottime();
        let mut line_free = locked(&self.line_free[self.direction as usize]);
        let due = self.pace.due(now, &shape, bytes, &mut line_free);
        (due, if shape.bytes_per_s.is_some() { *line_free } else { now })
    }
}

/// Copies one direction until it ends.
async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    mut line: Line,
    mut count: impl FnMut(&[u8]),
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<(Micros, Vec<u8>)>(CHUNKS_MAX);
    let (mut conduct, direction) = (line.conduct.clone(), line.direction);
    let read = async move {
        loop {
            let chunk = read_some(from).await?;
            if chunk.is_empty() {
                return io::Result::Ok(());
            }
            count(&chunk);
            let (due, sent) = line.due(chunk.len());
            if sender.send((due, chunk)).await.is_err() {
                return Ok(());
            }
            // A narrow line takes no more before it has sent this; the rest waits in the sender's socket.
            sleep_until(sent).await;
        }
    };
    let write = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if conduct.wait_for(|conduct| !conduct.stalls(direction)).await.is_err() {
                return Ok(());
            }
            write_all(to, &chunk).await?;
        }
        io::Result::Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

async fn sleep_until(at: Micros) {
    let left = at.since(Micros::boottime());
    if !left.is_zero() {
        sleep(left).await;
    }
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
