//! One connection of the engine: its destination, the requests that wait for it, and how long it
//! has been silent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::time::Micros;
use standin_tls::Tls;

use crate::config::ClientConfig;
use crate::session::Session;

/// The number of pending bytes that do not extend the timeout of a silent connection. Bytes beyond
/// it do, because a large value takes time to transmit before it can be answered.
const PENDING_BYTES_FREE: usize = 64 << 10;
/// The speed of a slow but working network, in bytes per microsecond (20 MB/s).
const BYTES_PER_US: u64 = 20;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A shard of a server.
    Server { server: u16, shard: u16 },
    /// The master.
    Master,
    /// The server that answers at the seed address with this index.
    Seed(usize),
}

#[derive(Debug)]
enum Stage {
    Connecting { since: Micros },
    Open(Session),
}

/// A connection to a place.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) place: Place,
    /// The ids of the requests to send when the connection is ready and has room.
    pub(super) waiting: VecDeque<u32>,
    /// Whether it is in the engine's list of connections with bytes to send.
    pub(super) in_unsent: bool,
    stage: Stage,
    /// The address of the other side.
    pub(super) addr: SocketAddr,
    /// Its TLS, from the time at which TCP has connected.
    pub(super) tls: Option<Box<Tls>>,
    /// The time since which an answer is due and nothing has arrived; `None` if nothing is due.
    silent_since: Option<Micros>,
    /// Whether a PING has been sent during this silence.
    is_pinged: bool,
    /// Whether this silence was extended because the tick came late.
    is_graced: bool,
}

/// The state of a connection at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Fine,
    /// The connection has been silent for half the timeout: send a PING.
    PingDue,
    /// The connection has been silent for the whole timeout: the server is gone.
    Dead,
}

impl Connection {
    pub(super) fn new(place: Place, addr: SocketAddr, now: Micros) -> Self {
        Self {
            place,
            waiting: VecDeque::new(),
            in_unsent: false,
            stage: Stage::Connecting { since: now },
            addr,
            tls: None,
            silent_since: None,
            is_pinged: false,
            is_graced: false,
        }
    }

    /// Notes that TCP has connected.
    pub(super) fn open(&mut self, now: Micros, session: Session) {
        self.stage = Stage::Open(session);
        self.heard(now);
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting { .. })
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Connecting { .. } => None,
            Stage::Open(session) => Some(session),
        }
    }

    /// Whether another request may be sent now.
    pub(super) fn has_room(&self, config: &ClientConfig) -> bool {
        match &self.stage {
            Stage::Connecting { .. } => false,
            Stage::Open(session) => {
                session.is_ready() && session.pending() < config.in_flight_per_connection.max(1)
            }
        }
    }

    pub(super) fn has_output(&self) -> bool {
        matches!(&self.stage, Stage::Open(session) if session.has_output())
    }

    /// Takes the bytes to send. There are none before the connection is open.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        let mut plain = self.session().map(Session::take_output).unwrap_or_default();
        let Some(tls) = &mut self.tls else { return plain };
        let mut bytes = Vec::new();
        tls.seal(&mut plain, &mut bytes);
        bytes
    }

    /// Notes that bytes have arrived: the other side is alive.
    pub(super) fn heard(&mut self, now: Micros) {
        self.silent_since = self.is_answer_due().then_some(now);
        (self.is_pinged, self.is_graced) = (false, false);
    }

    /// Notes that a request has been sent.
    pub(super) fn asked(&mut self, now: Micros) {
        self.silent_since.get_or_insert(now);
    }

    /// Notes that nobody waits for a request any more.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(session) = self.session() {
            session.forget(id);
        }
        if !self.is_answer_due() {
            self.silent_since = None;
        }
    }

    pub(super) fn health(&mut self, now: Micros, config: &ClientConfig) -> Health {
        // No answer is due.
        let Some(dead_at) = self.dead_at(config) else { return Health::Fine };
        if now < dead_at {
            let is_due = self.ping_at(config).is_some_and(|due| due <= now);
            return if is_due { Health::PingDue } else { Health::Fine };
        }
        // The tick is far too late, so this process itself was stopped. What the other side has
        // sent meanwhile still has to be read.
        if now.since(dead_at) > config.attempt_timeout / 2 && !self.is_graced {
            self.is_graced = true;
            match &mut self.stage {
                Stage::Connecting { since } => *since = now,
                Stage::Open(_) => self.silent_since = Some(now),
            }
            return Health::Fine;
        }
        Health::Dead
    }

    /// Notes that a PING is under way, or is not needed.
    pub(super) fn pinged(&mut self) {
        self.is_pinged = true;
    }

    pub(super) fn next_deadline(&self, config: &ClientConfig) -> Option<Micros> {
        self.ping_at(config).or_else(|| self.dead_at(config))
    }

    /// Returns all request ids that this connection was to carry: those that were sent, then those
    /// that wait.
    pub(super) fn into_requests(self) -> (Vec<u32>, VecDeque<u32>) {
        let sent = match self.stage {
            Stage::Connecting { .. } => Vec::new(),
            Stage::Open(session) => session.into_pending(),
        };
        (sent, self.waiting)
    }

    fn is_answer_due(&self) -> bool {
        matches!(&self.stage, Stage::Open(session) if session.is_waiting())
    }

    fn dead_at(&self, config: &ClientConfig) -> Option<Micros> {
        match &self.stage {
            Stage::Connecting { since } => Some(*since + config.connect_timeout),
            Stage::Open(session) => {
                let slow_bytes = session.pending_bytes().saturating_sub(PENDING_BYTES_FREE);
                let on_the_wire = Duration::from_micros(slow_bytes as u64 / BYTES_PER_US);
                Some(self.silent_since? + config.attempt_timeout + on_the_wire)
            }
        }
    }

    fn ping_at(&self, config: &ClientConfig) -> Option<Micros> {
        let is_ready = matches!(&self.stage, Stage::Open(session) if session.is_ready());
        let silent_since = self.silent_since.filter(|_| is_ready && !self.is_pinged)?;
        Some(silent_since + config.attempt_timeout / 2)
    }
}
