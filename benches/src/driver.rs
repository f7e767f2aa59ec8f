//! The engine that drives every target: connections on one ring, each with one batch of
//! `depth` requests under way; the next batch follows when all replies are in and right.
//!
//! It is a closed loop, for comparing costs at the same load per wake-up. Its latencies are
//! those of a batch under full load; they say nothing about a server at a given rate.
#![expect(clippy::disallowed_methods, reason = "a driver measures time")]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use standin_client::session::{Incoming, Session};
use standin_loadgen::rng::Random;
use standin_protocol::hello::{HelloBody, Role};
use standin_tls::{Connector, Tls};

use crate::exchange::{Ask, Exchange};
use crate::ring::{Event, Ring};

/// The time without any reply after which the target is considered hung.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The order in which keys are requested.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Uniformly random below `count`.
    Random {
        /// The number of them.
        count: u32,
        /// The generator.
        random: Random,
        /// The share of requests that are writes.
        writes_percent: u8,
    },
    /// Each once, in order.
    InOrder {
        /// The next.
        next: u32,
        /// Behind the last.
        end: u32,
        /// Whether all requests are writes.
        are_writes: bool,
    },
}

impl Keys {
    #[inline]
    fn next(&mut self) -> Option<Ask> {
        match self {
            Self::Random { count, random, writes_percent } => {
                let is_write = *writes_percent > 0 && random.below(100) < (*writes_percent).into();
                let key = u32::try_from(random.below((*count).into())).ok()?;
                Some(Ask { key, is_write })
            }
            Self::InOrder { next, end, are_writes } => {
                let key = *next;
                *next += u32::from(key < *end);
                (key < *end).then_some(Ask { key, is_write: *are_writes })
            }
        }
    }
}

/// The reason why a run does not count.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A system call failed, or the target closed a connection.
    #[error("{what}: {error}")]
    Io {
        /// The action that failed.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
    /// A wrong reply.
    #[error("a wrong reply after {right} right ones: {text:?}")]
    WrongReply {
        /// The number of right replies before it.
        right: u64,
        /// The beginning of the reply.
        text: String,
    },
    /// No reply for `SILENCE_MAX`.
    #[error("no reply for {SILENCE_MAX:?} with {waiting} connections waiting")]
    Silence {
        /// The number of connections that wait.
        waiting: usize,
    },
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> DriveError {
    move |error| DriveError::Io { what, error }
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// The number of right replies; there were no others.
    pub replies: u64,
    /// The time from the first request to the last reply.
    pub elapsed: Duration,
    /// Nanoseconds from the making of a batch to each of its replies.
    pub latency_ns: Histogram<u64>,
}

struct Conn {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
    /// Before it is encrypted, or after it was decrypted; empty but meanwhile.
    plain: Vec<u8>,
    batch: Vec<Ask>,
    output: Vec<u8>,
    sent: usize,
    is_sending: bool,
    replies: usize,
    /// The head of a reply whose rest is still to come.
    partial: Vec<u8>,
    began: Instant,
    is_receiving: bool,
}

/// See the head of the file.
pub struct Driver {
    // Dropped first, so that the kernel has let go of the buffers below.
    ring: Ring,
    conns: Vec<Conn>,
}

impl Driver {
    /// Opens the connections; with `hello` each begins with Standin's handshake, and all is in TLS if there
    /// is a connector.
    ///
    /// # Errors
    /// The target does not accept them, or this kernel has no usable io_uring.
    pub fn connect(
        address: SocketAddr,
        count: usize,
        hello: bool,
        tls: Option<&Connector>,
    ) -> Result<Self, DriveError> {
        let ring = Ring::new().map_err(io_error("the driver needs io_uring"))?;
        let mut conns = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(address).map_err(io_error("connecting"))?;
            stream.set_nodelay(true).map_err(io_error("TCP_NODELAY"))?;
            let mut tls = tls.map(|connector| Box::new(connector.connect(address)));
            open(&stream, &mut tls, hello).map_err(io_error("the handshake"))?;
            conns.push(Conn {
                stream,
                tls,
                plain: Vec::new(),
                batch: Vec::new(),
                output: Vec::new(),
                sent: 0,
                is_sending: false,
                replies: 0,
                partial: Vec::new(),
                began: Instant::now(),
                is_receiving: false,
            });
        }
        Ok(Self { ring, conns })
    }

    /// Drives until `duration` is over or the keys are, and all replies are in.
    ///
    /// # Errors
    /// [`DriveError`]; the driver can't be used any more then.
    pub fn run<E: Exchange>(
        &mut self,
        mut keys: Keys,
        depth: usize,
        duration: Duration,
    ) -> Result<Run, DriveError> {
        let start = Instant::now();
        let until = start + duration;
        let mut latency_ns = new_histogram();
        let mut total = 0;
        let mut waiting = 0;
        let Self { ring, conns } = self;
        for (index, conn) in conns.iter_mut().enumerate() {
            if !conn.is_receiving {
                conn.is_receiving = true;
                ring.receive(&conn.stream, index);
            }
            waiting += usize::from(conn.begin::<E>(ring, index, &mut keys, depth, start));
        }
        let mut now = start;
        while waiting > 0 {
            if !ring.turn(SILENCE_MAX).map_err(io_error("waiting"))? {
                return Err(DriveError::Silence { waiting });
            }
            now = Instant::now();
            let mut number = 0;
            while let Some(event) = ring.event(number) {
                number += 1;
                let (Event::Received { index, .. } | Event::Sent { index, .. }) = event else {
                    continue;
                };
                let conn = &mut conns[index];
                match event {
                    Event::Received { result, buffer: Some(buffer), .. } if result > 0 => {
                        let bytes = ring.bytes(buffer, result.unsigned_abs() as usize);
                        let replies = conn.take::<E>(bytes, total)?;
                        let nanos = now.duration_since(conn.began).as_nanos();
                        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
                        latency_ns.saturating_record_n(nanos, replies);
                        total += replies;
                    }
                    // No buffer was free: armed again below.
                    Event::Received { result, .. } if -result == libc::ENOBUFS => {}
                    Event::Received { result, .. } => {
                        let error = match result {
                            0 => io::ErrorKind::ConnectionReset.into(),
                            error => io::Error::from_raw_os_error(-error),
                        };
                        return Err(DriveError::Io { what: "receiving", error });
                    }
                    Event::Sent { result, .. } => conn.sent(ring, index, result)?,
                    Event::Accepted(_) => {}
                }
                if matches!(event, Event::Received { more: false, .. }) {
                    ring.receive(&conn.stream, index);
                }
                if conn.is_sending || conn.replies < conn.batch.len() || conn.batch.is_empty() {
                    continue;
                }
                conn.batch.clear();
                let goes_on = now < until && conn.begin::<E>(ring, index, &mut keys, depth, now);
                waiting -= usize::from(!goes_on);
            }
        }
        Ok(Run { replies: total, elapsed: now - start, latency_ns })
    }
}

impl Conn {
    /// Makes and sends the next batch; false if there are no keys left.
    fn begin<E: Exchange>(
        &mut self,
        ring: &mut Ring,
        index: usize,
        keys: &mut Keys,
        depth: usize,
        now: Instant,
    ) -> bool {
        self.batch.clear();
        self.batch.extend(std::iter::from_fn(|| keys.next()).take(depth));
        if self.batch.is_empty() {
            return false;
        }
        self.output.clear();
        let Self { batch, tls, plain, output, .. } = self;
        let out = if tls.is_some() { &mut *plain } else { &mut *output };
        (0..batch.len()).for_each(|slot| E::request(batch, slot, out));
        if let Some(tls) = tls {
            tls.seal(plain, output);
        }
        (self.replies, self.sent, self.began) = (0, 0, now);
        self.send(ring, index);
        true
    }

    fn send(&mut self, ring: &mut Ring, index: usize) {
        self.is_sending = true;
        // SAFETY: `output` is changed only by `begin`, and a batch begins only after the
        // last one's sends have ended.
        unsafe { ring.send(&self.stream, &self.output[self.sent..], index) };
    }

    fn sent(&mut self, ring: &mut Ring, index: usize, result: i32) -> Result<(), DriveError> {
        let Ok(bytes) = usize::try_from(result) else {
            let error = io::Error::from_raw_os_error(-result);
            return Err(DriveError::Io { what: "sending", error });
        };
        self.is_sending = false;
        self.sent += bytes;
        if self.sent < self.output.len() {
            self.send(ring, index);
        }
        Ok(())
    }

    /// Checks the replies in these bytes; says how many there were.
    fn take<E: Exchange>(&mut self, bytes: &[u8], before: u64) -> Result<u64, DriveError> {
        let Some(tls) = &mut self.tls else { return self.take_plain::<E>(bytes, before) };
        let mut plain = std::mem::take(&mut self.plain);
        let received = tls.receive(bytes, &mut plain).map_err(io::Error::other);
        received.map_err(io_error("TLS"))?;
        let taken = self.take_plain::<E>(&plain, before);
        plain.clear();
        self.plain = plain;
        taken
    }

    fn take_plain<E: Exchange>(&mut self, bytes: &[u8], before: u64) -> Result<u64, DriveError> {
        let first = self.replies;
        if self.partial.is_empty() {
            let taken = self.check::<E>(bytes, before)?;
            self.partial.extend_from_slice(&bytes[taken..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let taken = self.check::<E>(&whole, before)?;
            whole.drain(..taken);
            self.partial = whole;
        }
        Ok((self.replies - first) as u64)
    }

    /// Checks the whole replies at the head of these bytes; says how many bytes they have.
    fn check<E: Exchange>(&mut self, bytes: &[u8], before: u64) -> Result<usize, DriveError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let is_expected = self.replies < self.batch.len();
            let length = match is_expected {
                true => E::reply_bytes(&self.batch, self.replies, rest),
                false => Some(rest.len()),
            };
            let Some(reply) = length.and_then(|length| rest.get(..length)) else { break };
            if !is_expected || !E::is_right(&self.batch, self.replies, reply) {
                let text = reply[..reply.len().min(64)].escape_ascii().to_string();
                return Err(DriveError::WrongReply { right: before + self.replies as u64, text });
            }
            self.replies += 1;
            at += reply.len();
        }
        Ok(at)
    }
}

/// A histogram of nanoseconds up to a minute.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants")
}

/// Sets up TLS, if there is any, and shakes hands as a client does if `hello` is set.
fn open(mut stream: &TcpStream, tls: &mut Option<Box<Tls>>, hello: bool) -> io::Result<()> {
    let body =
        HelloBody { client_id: 1, shard: 0, role: Role::Client as u8, ..HelloBody::default() };
    let mut session = hello.then(|| Session::new(body, None));
    let mut chunk = [0; 4_096];
    loop {
        let is_open = tls.as_ref().is_none_or(|tls| tls.is_open());
        let mut plain = match &mut session {
            Some(session) if is_open => session.take_output(),
            _ => Vec::new(),
        };
        let mut sending = Vec::new();
        match tls {
            Some(tls) => tls.seal(&mut plain, &mut sending),
            None => sending = plain,
        }
        stream.write_all(&sending)?;
        match &mut session {
            None if is_open => return Ok(()),
            Some(session) if is_open => match session.poll().map_err(io::Error::other)? {
                Some(Incoming::Ready(_)) => return Ok(()),
                Some(Incoming::Reply(_)) => unreachable!("nothing but the HELLO was sent"),
                None => {}
            },
            _ => {}
        }
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut got = Vec::new();
        match tls {
            None => got.extend_from_slice(&chunk[..length]),
            Some(tls) => tls.receive(&chunk[..length], &mut got).map_err(io::Error::other)?,
        }
        if let Some(session) = &mut session {
            session.receive(&got);
        }
    }
}
