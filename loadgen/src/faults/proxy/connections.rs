//! The connections of a proxy: both directions of each, to its end.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, shutdown};
use standin_protocol::time::Micros;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::bounds::{CHUNK_BYTES, Crowd, Member, Place, Room};
use super::shape::{Direction, LineFree, Pace};
use super::{Conduct, Tally, Treatment, while_it_lasts};
use crate::rng::Random;
use crate::threads::locked;

/// What all connections of a proxy share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) upstream: SocketAddr,
    pub(super) treatment: watch::Receiver<Treatment>,
    pub(super) resets: watch::Receiver<()>,
    /// Reads of a database, if they are counted.
    pub(super) reads: Option<Arc<AtomicU64>>,
    /// When the line is free, up and down.
    pub(super) line_free: Arc<[Mutex<LineFree>; 2]>,
    /// Bytes that wait, up and down.
    pub(super) rooms: [Arc<Room>; 2],
    pub(super) crowd: Arc<Crowd>,
    /// Where bytes are read into. All connections are served by one thread, and reading does not wait.
    pub(super) input: Arc<Mutex<Vec<u8>>>,
    pub(super) seed: u64,
}

/// Accepts until the proxy ends.
pub(super) async fn serve(listener: std::net::TcpListener, mut shared: Shared) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let crowd = Arc::clone(&shared.crowd);
    for number in 0.. {
        let next = async {
            crowd.admit().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = shared.treatment.wait_for(|now| now.conduct == Conduct::End) => break,
        };
        let Ok((client, _)) = accepted else {
            // Out of descriptors, most likely: some may be free again soon.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let member = crowd.enter(number);
        tokio::spawn(connection(client, shared.clone(), member, number));
    }
    Ok(())
}

/// One connection, to its end. An error on either side ends both: that is all its owner can see. What one side has
/// closed in order is closed in order at the other.
async fn connection(client: TcpStream, mut shared: Shared, member: Member, number: u64) {
    // Earlier resets are those of other connections.
    shared.resets.mark_unchanged();
    end_by_reset(&client);
    let (mut treatment, mut resets) = (shared.treatment.clone(), shared.resets.clone());
    let is_gone = |now: &Treatment| matches!(now.conduct, Conduct::Refuse | Conduct::End);
    tokio::select! {
        // The treatment first: a proxy that refuses does not even connect.
        biased;
        _ = treatment.wait_for(is_gone) => {}
        _ = resets.changed() => {}
        () = member.displaced() => {}
        () = pass(&client, shared, &member, number) => {}
    }
}

async fn pass(client: &TcpStream, shared: Shared, member: &Member, number: u64) {
    let Ok(server) = TcpStream::connect(shared.upstream).await else { return };
    end_by_reset(&server);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut tally = Tally::default();
    let reads = shared.reads.clone();
    let count = move |bytes: &[u8]| {
        let Some(reads) = &reads else { return };
        reads.fetch_add(tally.take(bytes), Ordering::Relaxed);
    };
    let line = |direction: Direction| Line {
        treatment: shared.treatment.clone(),
        line_free: Arc::clone(&shared.line_free),
        direction,
        pace: Pace::new(Random::stream(shared.seed, 2 * number + direction as u64), direction),
        place: Place::new(Arc::clone(&shared.rooms[direction as usize])),
        input: Arc::clone(&shared.input),
    };
    let up = pump(client, &server, line(Direction::Up), count, || member.abandon());
    let down = pump(&server, client, line(Direction::Down), |_: &[u8]| {}, || {});
    if tokio::try_join!(up, down).is_ok() {
        // What is on its way arrives.
        let _ = (set_socket_linger(client, None), set_socket_linger(&server, None));
    }
}

/// One direction of a connection.
struct Line {
    treatment: watch::Receiver<Treatment>,
    line_free: Arc<[Mutex<LineFree>; 2]>,
    direction: Direction,
    pace: Pace,
    place: Place,
    input: Arc<Mutex<Vec<u8>>>,
}

/// Bytes that were read, and when they arrive under the treatment of then.
struct Chunk {
    bytes: Box<[u8]>,
    arrives: Micros,
    under: Treatment,
}

/// Copies one direction until it ends. `closed` is called when the sender has sent its last byte.
async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    line: Line,
    mut count: impl FnMut(&[u8]),
    closed: impl Fn(),
) -> io::Result<()> {
    let Line { treatment, line_free, direction, mut pace, place, input } = line;
    let place = &place;
    // Its bound is that of the place, in bytes.
    let (sender, mut chunks) = mpsc::unbounded_channel();
    let mut watched = treatment.clone();
    let read = async move {
        loop {
            place.free().await;
            let bytes = read_some(from, &input).await?;
            if bytes.is_empty() {
                closed();
                return io::Result::Ok(());
            }
            place.add(bytes.len());
            count(&bytes);
            let under = *watched.borrow();
            let due = {
                let mut line_free = locked(&line_free[direction as usize]);
                pace.due(Micros::boottime(), &under, bytes.len(), &mut line_free)
            };
            if sender.send(Chunk { bytes, arrives: due.arrives, under }).is_err() {
                return Ok(());
            }
            // A narrow line takes no more before it has sent this; the rest waits in the sender's socket.
            while_it_lasts(&mut watched, under, due.sent).await;
        }
    };
    let mut watched = treatment;
    let write = async move {
        while let Some(Chunk { bytes, arrives, under }) = chunks.recv().await {
            while_it_lasts(&mut watched, under, arrives).await;
            if watched.wait_for(|now| !now.conduct.stalls(direction)).await.is_err() {
                return Ok(());
            }
            write_all(to, &bytes).await?;
            place.remove(bytes.len());
        }
        Ok(shutdown(to, Shutdown::Write)?)
    };
    tokio::try_join!(read, write).map(drop)
}

async fn read_some(from: &TcpStream, input: &Mutex<Vec<u8>>) -> io::Result<Box<[u8]>> {
    loop {
        from.readable().await?;
        let mut input = locked(input);
        input.resize(CHUNK_BYTES, 0);
        match from.try_read(&mut input) {
            Ok(length) => return Ok(input[..length].into()),
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
