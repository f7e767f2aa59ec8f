//! A proxy for datagrams. It keeps a socket to the server for each client, so that answers find their way back.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_protocol::time::Micros;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::shape::{Direction, LineFree, Pace};
use super::{Conduct, Treatment, set, treatments, while_it_lasts};
use crate::rng::Random;
use crate::threads::locked;

/// Clients that are told apart; the one that came first makes room.
const CLIENTS_MAX: usize = 1_024;
/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_536;
/// Bytes of datagrams that wait for their time in each direction, with their overhead; more are lost.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// The memory that a datagram takes beside its bytes while it waits: a task with a timer.
const OVERHEAD_BYTES: usize = 512;

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct DatagramProxy {
    treatment: watch::Sender<Treatment>,
    thread: Option<JoinHandle<()>>,
}

impl DatagramProxy {
    /// Passes on what comes to `socket`, and the answers. The seed is the one of losses, repetitions and jitter.
    ///
    /// # Errors
    /// No thread, or no event loop.
    pub fn start(socket: std::net::UdpSocket, upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (treatment, watched) = treatments();
        let run = move || {
            let served = socket.try_clone().and_then(|socket| {
                runtime.block_on(serve(socket, upstream, watched.clone(), seed))
            });
            if let Err(error) = served {
                tracing::warn!(%error, "a proxy for datagrams has ended");
            }
        };
        let thread = crate::threads::spawn("datagrams", run)?;
        Ok(Self { treatment, thread: Some(thread) })
    }

    /// Sets the treatment from now on.
    pub fn set(&self, conduct: Conduct) {
        set(&self.treatment, conduct);
    }
}

impl Drop for DatagramProxy {
    fn drop(&mut self) {
        self.set(Conduct::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction, of all clients together.
struct Line {
    treatment: watch::Receiver<Treatment>,
    direction: Direction,
    /// The choices, and when the line is free.
    state: Mutex<(Pace, LineFree)>,
    waiting_bytes: AtomicUsize,
}

impl Line {
    fn new(treatment: watch::Receiver<Treatment>, direction: Direction, seed: u64) -> Arc<Self> {
        let pace = Pace::new(Random::stream(seed, direction as u64), direction);
        let state = Mutex::new((pace, LineFree::default()));
        Arc::new(Self { treatment, direction, state, waiting_bytes: AtomicUsize::new(0) })
    }

    /// Sends a datagram as often and when the line does; without `to`, to where the socket is connected.
    fn pass(self: &Arc<Self>, datagram: &[u8], by: &Arc<UdpSocket>, to: Option<SocketAddr>) {
        let under = *self.treatment.borrow();
        let conduct = under.conduct;
        if conduct.stalls(self.direction) || conduct == Conduct::Refuse {
            return;
        }
        let now = Micros::boottime();
        let copies = {
            let (pace, line_free) = &mut *locked(&self.state);
            pace.copies(now, &under, datagram.len(), line_free)
        };
        for due in copies.into_iter().flatten() {
            if due <= now {
                send(by, datagram, to);
                continue;
            }
            let bytes = datagram.len() + OVERHEAD_BYTES;
            let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if waiting > WAITING_BYTES_MAX {
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                continue;
            }
            let (line, by, datagram) = (Arc::clone(self), Arc::clone(by), datagram.to_owned());
            tokio::spawn(async move {
                while_it_lasts(&mut line.treatment.clone(), under, due).await;
                send(&by, &datagram, to);
                line.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            });
        }
    }
}

/// A full socket loses datagrams, as a line may.
fn send(by: &UdpSocket, datagram: &[u8], to: Option<SocketAddr>) {
    let _ = match to {
        Some(to) => by.try_send_to(datagram, to),
        None => by.try_send(datagram),
    };
}

/// The sockets to the server, by client.
#[derive(Default)]
struct Clients {
    /// Where answers are read into: one thread serves all clients, and reading does not wait.
    input: Arc<Mutex<Vec<u8>>>,
    sockets: HashMap<SocketAddr, (Arc<UdpSocket>, AbortHandle)>,
    in_order: VecDeque<SocketAddr>,
}

impl Clients {
    /// The client's socket; a new one brings the answers back.
    async fn socket(
        &mut self,
        client: SocketAddr,
        upstream: SocketAddr,
        front: &Arc<UdpSocket>,
        down: &Arc<Line>,
    ) -> io::Result<Arc<UdpSocket>> {
        if let Some((socket, _)) = self.sockets.get(&client) {
            return Ok(Arc::clone(socket));
        }
        let any = if upstream.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(upstream).await?;
        // A send that does not wait needs a socket that is known to be ready.
        socket.writable().await?;
        let socket = Arc::new(socket);
        let (answers, front, down) = (Arc::clone(&socket), Arc::clone(front), Arc::clone(down));
        let input = Arc::clone(&self.input);
        let task = tokio::spawn(async move {
            loop {
                let answered = match answers.readable().await {
                    Ok(()) => pass_answer(&answers, &input, &down, &front, client),
                    Err(error) => Err(error),
                };
                // Nobody listens there now; the next datagram may find somebody.
                if answered.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
        if self.in_order.len() == CLIENTS_MAX
            && let Some((_, task)) =
                self.in_order.pop_front().and_then(|first| self.sockets.remove(&first))
        {
            task.abort();
        }
        self.in_order.push_back(client);
        self.sockets.insert(client, (Arc::clone(&socket), task.abort_handle()));
        Ok(socket)
    }
}

/// Passes on an answer of the server, if there is one.
fn pass_answer(
    answers: &UdpSocket,
    input: &Mutex<Vec<u8>>,
    down: &Arc<Line>,
    front: &Arc<UdpSocket>,
    client: SocketAddr,
) -> io::Result<()> {
    let mut input = locked(input);
    input.resize(DATAGRAM_BYTES, 0);
    let length = answers.try_recv(&mut input)?;
    down.pass(&input[..length], front, Some(client));
    Ok(())
}

async fn serve(
    socket: std::net::UdpSocket,
    upstream: SocketAddr,
    mut treatment: watch::Receiver<Treatment>,
    seed: u64,
) -> io::Result<()> {
    let front = Arc::new(UdpSocket::from_std(socket)?);
    front.writable().await?;
    let up = Line::new(treatment.clone(), Direction::Up, seed);
    let down = Line::new(treatment.clone(), Direction::Down, seed);
    let mut clients = Clients::default();
    let mut datagram = vec![0; DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            received = front.recv_from(&mut datagram) => received,
            _ = treatment.wait_for(|now| now.conduct == Conduct::End) => return Ok(()),
        };
        // An earlier answer could not be delivered, or there is no memory or descriptor: as if lost.
        let Ok((length, client)) = received else { continue };
        if let Ok(socket) = clients.socket(client, upstream, &front, &down).await {
            up.pass(&datagram[..length], &socket, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;

    use super::super::{Shape, Way};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    /// A datagram that has not come by then was lost: the path is short.
    const SHORT: Duration = Duration::from_millis(200);

    /// A server that sends back what it gets, and a proxy before it.
    fn proxied() -> (DatagramProxy, SocketAddr) {
        let echo = StdSocket::bind("127.0.0.1:0").unwrap();
        let upstream = echo.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut datagram = [0; 64];
            while let Ok((length, from)) = echo.recv_from(&mut datagram) {
                let _ = echo.send_to(&datagram[..length], from);
            }
        });
        let front = StdSocket::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        (DatagramProxy::start(front, upstream, 3).unwrap(), address)
    }

    fn client(to: SocketAddr) -> StdSocket {
        let socket = StdSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    }

    /// The echo of a datagram, and how long it took.
    fn ask(socket: &StdSocket, datagram: &[u8]) -> Duration {
        let begin = Micros::boottime();
        socket.send(datagram).unwrap();
        let mut echo = [0; 64];
        let length = socket.recv(&mut echo).unwrap();
        assert_eq!(&echo[..length], datagram);
        Micros::boottime().since(begin)
    }

    /// The number of echoes of this many datagrams.
    fn echoes(socket: &StdSocket, count: u32) -> u32 {
        socket.set_read_timeout(Some(SHORT)).unwrap();
        let mut heard = 0;
        for _ in 0..count {
            socket.send(b"x").unwrap();
            // One by one: a full socket would lose some, too.
            while socket.recv(&mut [0; 8]).is_ok() {
                heard += 1;
                socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            }
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        }
        heard
    }

    #[test]
    fn each_client_gets_its_answers_and_delays_are_those_asked_for() {
        let (proxy, address) = proxied();
        let (one, other) = (client(address), client(address));
        ask(&one, b"one");
        ask(&other, b"other");
        let delay = Duration::from_millis(60);
        proxy.set(Conduct::Slow(Shape { delay, ..Shape::default() }));
        assert!(ask(&one, b"slow") >= delay * 2, "both ways");
        proxy.set(Conduct::Slow(Shape { delay, way: Way::From, ..Shape::default() }));
        assert!(ask(&one, b"slow") >= delay);
        proxy.set(Conduct::Pass);
        ask(&other, b"quick");
    }

    #[test]
    fn datagrams_are_lost_repeated_and_cut_one_way() {
        let (proxy, address) = proxied();
        let socket = client(address);
        ask(&socket, b"before");
        let way = Way::To;
        proxy.set(Conduct::Slow(Shape { loss_percent: 50, way, ..Shape::default() }));
        let heard = echoes(&socket, 60);
        assert!((10..50).contains(&heard), "{heard} of 60");
        proxy.set(Conduct::Slow(Shape { duplication_percent: 100, way, ..Shape::default() }));
        let heard = echoes(&socket, 20);
        assert!((35..=40).contains(&heard), "{heard} of 20, twice");
        proxy.set(Conduct::Stall(Way::From));
        assert_eq!(echoes(&socket, 5), 0);
        proxy.set(Conduct::Pass);
        socket.set_read_timeout(Some(LONG)).unwrap();
        ask(&socket, b"after");
    }

    #[test]
    fn a_datagram_that_waits_goes_on_when_the_line_is_good_again() {
        let (proxy, address) = proxied();
        let socket = client(address);
        ask(&socket, b"before");
        let delay = Duration::from_secs(600);
        proxy.set(Conduct::Slow(Shape { delay, way: Way::To, ..Shape::default() }));
        let begin = Micros::boottime();
        socket.send(b"late").unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err(), "it waits");
        proxy.set(Conduct::Pass);
        socket.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4);
        assert!(Micros::boottime().since(begin) < delay);
    }

    #[test]
    fn what_waits_counts_with_its_overhead() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waiting = runtime.block_on(async {
            let (treatment, watched) = treatments();
            let delay = Duration::from_secs(600);
            set(&treatment, Conduct::Slow(Shape { delay, ..Shape::default() }));
            let line = Line::new(watched, Direction::Up, 3);
            let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            for _ in 0..2 * WAITING_BYTES_MAX / OVERHEAD_BYTES {
                line.pass(b"", &socket, None);
            }
            Arc::strong_count(&line) - 1
        });
        assert_eq!(waiting, WAITING_BYTES_MAX / OVERHEAD_BYTES, "empty ones, too");
    }
}
