//! The whole client as one machine without IO. It takes operations, and returns bytes and results.
//!
//! ```text
//! Submit ─► operations.rs ─► router (map, failover) ─► connection.rs ─► session ─► Send{conn}
//! Received{conn} ─► session ─► replies.rs ─► Completed, or another server
//!                        └──► maps.rs (newer map: fetch, apply) ─► doubt.rs (another topology)
//! silence, close ─► losses.rs ─► failover ─► notices ─► Datagram to the master
//!                       └──► errors.rs (why nobody has served a request)
//! ```
//! A send has failed when its connection is lost, or stays silent for the attempt timeout while an
//! answer is due. After half of that time a PING finds out whether the server is there at all. A
//! server that answers the PING is slow, not dead, and sending elsewhere would only double the
//! load. Each server has connections of its own, so no connection delays the replies of another
//! server.
//!
//! The machine has no clock, no source of randomness and no sockets: `now` and the seed are
//! arguments. The same inputs give the same outputs.

mod connection;
mod doubt;
mod errors;
mod losses;
mod maps;
mod operations;
mod replies;
mod sealed;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::hello::cluster_id;
use standin_protocol::map::{ClusterMap, MapEpoch};
use standin_protocol::time::Micros;
use standin_tls::Connector;

use crate::config::{Bootstrap, ClientConfig};
use crate::event::ClientEvent;
use crate::failover::State;
use crate::ids::IdMap;
use crate::notices::Notices;
use crate::operation::{Answer, ClientError, Operation, Question, Target};
use crate::random::Random;
use crate::router::Router;

use connection::{Connection, Place};
use doubt::Doubt;
use maps::Seeds;
use operations::Open;

/// The name of a connection. Names are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An event for the client.
#[derive(Debug)]
pub enum Input<'a> {
    /// The caller submits an operation. [`Output::Completed`] names this `op_id` exactly once, at
    /// the latest when the operation timeout has passed.
    Submit {
        /// The id of the operation, chosen by the caller.
        op_id: u64,
        /// The operation.
        operation: Operation,
    },
    /// The caller asks one party a question. It is completed like an operation.
    Ask {
        /// The id of the question, chosen by the caller.
        op_id: u64,
        /// The party that is asked.
        target: Target,
        /// The question.
        question: Question,
    },
    /// A connection requested by [`Output::Connect`] is open.
    Connected(ConnId),
    /// A requested connection could not be opened.
    ConnectFailed(ConnId),
    /// Bytes were received.
    Received(ConnId, &'a [u8]),
    /// The other side closed the connection, or reading or writing failed.
    Closed(ConnId),
    /// A datagram arrived from the master's address.
    Datagram(&'a [u8]),
    /// Time has passed (see [`Engine::next_deadline`]).
    Tick,
}

/// An action that the shell carries out.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Open a TCP connection, and report [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// The connection's name from now on.
        conn: ConnId,
        /// The address.
        addr: SocketAddr,
        /// The time after which the engine gives up by itself, with [`Output::Close`].
        timeout: Duration,
    },
    /// Send these bytes, after those of earlier outputs.
    Send {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close the connection, or stop opening it. No later input may name it.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Send a datagram to the master.
    Datagram {
        /// The master's address.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// An operation or question has ended.
    Completed {
        /// The caller's id of it.
        op_id: u64,
        /// The result.
        result: Result<Answer, ClientError>,
    },
    /// An event for observers.
    Event(ClientEvent),
}

/// A timer of the engine, in addition to the deadlines of operations and of silent connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Route this operation again.
    Dispatch(u32),
    /// Try the seeds again.
    Seed,
}

/// A client.
#[derive(Debug)]
pub struct Engine {
    config: ClientConfig,
    client_id: u64,
    /// The cluster's id; 0 until the cluster's name is known.
    cluster_id: u64,
    random: Random,
    router: Option<Router>,
    seeds: Seeds,
    doubt: Doubt,
    notices: Notices,

    connections: BTreeMap<ConnId, Connection>,
    by_place: BTreeMap<(Place, u16), ConnId>,
    last_conn: u64,

    open: IdMap<Open>,
    open_bytes: usize,
    callers_open: usize,
    last_id: u32,
    /// The operations that wait for the first map, and the questions that wait for the seeds'
    /// answer. The oldest, which end first, are in front.
    unrouted: VecDeque<u32>,
    /// The request id of the map fetch under way.
    map_fetch: Option<u32>,
    map_fetch_not_before: Micros,

    /// The deadlines, in order of time. This and the next queue are in that order because all
    /// timeouts are the same. They may name operations that have ended, but never at the front.
    deadlines: VecDeque<(Micros, u32)>,
    /// The times at which the engine loses patience with a send: (due, request id, the number of
    /// sends at that time).
    patience: VecDeque<(Micros, u32, u32)>,
    timers: BinaryHeap<Reverse<(Micros, Timer)>>,

    /// The connections with bytes to send.
    unsent: VecDeque<ConnId>,
    outputs: VecDeque<Output>,

    /// Whom connections trust; `None`: they have no TLS.
    tls: Option<Arc<Connector>>,
    /// What was decrypted last; empty but while it is taken.
    plain: Vec<u8>,
}

/// The capacity that the buffer of decrypted bytes keeps.
const PLAIN_KEPT_BYTES: usize = 64 << 10;

impl Engine {
    /// Creates a client, and reads the files of its TLS, if it has any. See [`Self::new`].
    ///
    /// # Errors
    /// If one of these files can't be used.
    pub fn start(
        config: ClientConfig,
        bootstrap: Bootstrap,
        client_id: u64,
        seed: u64,
    ) -> io::Result<Self> {
        let tls = config.tls.as_ref().map(Connector::new).transpose();
        let tls = tls.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = ClientConfig { tls: None, ..config };
        Ok(Self::new(config, bootstrap, client_id, seed).with_tls(tls.map(Arc::new)))
    }

    /// Returns a client that has done nothing yet with this TLS, whose owner may read its files again.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Connector>>) -> Self {
        Self { tls, ..self }
    }

    /// Creates a client without TLS that has done nothing yet. `client_id` and `seed` must be random.
    /// `client_id` names this client's requests over all its connections. `seed` spreads the
    /// clients' hold-downs.
    #[must_use]
    pub fn new(config: ClientConfig, bootstrap: Bootstrap, client_id: u64, seed: u64) -> Self {
        assert!(config.tls.is_none(), "a client with TLS is started");
        let mut random = Random::new(seed);
        let notices =
            Notices::new(client_id, config.notice_resend, config.notice_sends_max, random.next());
        let mut engine = Self {
            config,
            client_id,
            cluster_id: 0,
            random,
            router: None,
            seeds: Seeds::default(),
            doubt: Doubt::default(),
            notices,
            connections: BTreeMap::new(),
            by_place: BTreeMap::new(),
            last_conn: 0,
            open: IdMap::default(),
            open_bytes: 0,
            callers_open: 0,
            last_id: 0,
            unrouted: VecDeque::new(),
            map_fetch: None,
            map_fetch_not_before: Micros::default(),
            deadlines: VecDeque::new(),
            patience: VecDeque::new(),
            timers: BinaryHeap::new(),
            unsent: VecDeque::new(),
            outputs: VecDeque::new(),
            tls: None,
            plain: Vec::new(),
        };
        match bootstrap {
            Bootstrap::Config(topology) => {
                engine.doubt = Doubt::new(Some(Arc::clone(&topology)));
                engine.adopt(ClusterMap::new(topology, MapEpoch::default(), Vec::new()));
            }
            Bootstrap::Seeds(addresses) => engine.seeds.addresses = addresses,
        }
        engine
    }

    /// Handles an event. Afterwards call [`Self::poll`] until it returns `None`.
    pub fn handle(&mut self, now: Micros, input: Input<'_>) {
        match input {
            Input::Submit { op_id, operation } => self.submit(now, op_id, operation),
            Input::Ask { op_id, target, question } => self.ask(now, op_id, target, question),
            Input::Connected(conn) => self.tcp_connected(now, conn),
            Input::ConnectFailed(conn) | Input::Closed(conn) => self.lose(now, conn, None, false),
            Input::Received(conn, bytes) => self.tcp_received(now, conn, bytes),
            Input::Datagram(bytes) => self.datagram(now, bytes),
            Input::Tick => self.tick(now),
        }
        self.send_notices(now);
        self.forget_ended();
    }

    /// Returns the next action. Bytes come last, so that each connection sends everything in one
    /// call per wake-up.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        while let Some(conn) = self.unsent.pop_front() {
            // The connection may have been closed since it was marked.
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            connection.in_unsent = false;
            let bytes = connection.take_output();
            if !bytes.is_empty() {
                return Some(Output::Send { conn, bytes });
            }
        }
        None
    }

    /// Returns the time at which [`Input::Tick`] is due, which may be earlier than needed. Returns
    /// `None` if it is not due until another input has been handled.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        let connections = self
            .connections
            .values()
            .filter_map(|connection| connection.next_deadline(&self.config))
            .min();
        [
            self.deadlines.front().map(|(due, _)| *due),
            self.patience.front().map(|(due, ..)| *due),
            self.timers.peek().map(|Reverse((due, _))| *due),
            self.notices.next_deadline().filter(|_| !self.doubt.is_open()),
            connections,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the time for which bytes may wait for the network before their connection is given
    /// up. It is about the time until another server can have processed the requests instead.
    #[must_use]
    pub fn unsent_max(&self) -> Duration {
        2 * self.config.attempts * self.config.attempt_timeout
    }

    /// Returns the map in force, once there is one.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.router.as_ref().map(Router::map)
    }

    /// Whether a map has been requested and has not arrived.
    #[must_use]
    pub fn is_fetching_map(&self) -> bool {
        self.map_fetch.is_some()
    }

    /// Returns the state of a server as this client sees it, once it has a map.
    #[must_use]
    pub fn failover_state(&self, server: u16) -> Option<State> {
        self.router.as_ref().and_then(|router| router.state(server))
    }

    /// Returns the number of the callers' operations and questions that have not ended.
    #[must_use]
    pub fn open_operations(&self) -> usize {
        self.callers_open
    }

    fn tick(&mut self, now: Micros) {
        while let Some(&(due, id)) = self.deadlines.front() {
            if due > now {
                break;
            }
            self.deadlines.pop_front();
            self.expire(now, id);
        }
        self.check_connections(now);
        while let Some(&(due, id, sends)) = self.patience.front() {
            if due > now {
                break;
            }
            self.patience.pop_front();
            self.lose_patience(now, id, sends);
        }
        while let Some(&Reverse((due, timer))) = self.timers.peek() {
            if due > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Dispatch(id) => self.dispatch(now, id),
                Timer::Seed => self.ask_seeds_again(now),
            }
        }
    }

    fn adopt(&mut self, map: ClusterMap) {
        self.cluster_id = cluster_id(&map.topology.name);
        self.router = Some(Router::new(map, &self.config, self.random.next()));
    }

    fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn set_timer(&mut self, due: Micros, timer: Timer) {
        self.timers.push(Reverse((due, timer)));
    }

    fn mark_unsent(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !connection.in_unsent
            && connection.has_output()
        {
            connection.in_unsent = true;
            self.unsent.push_back(conn);
        }
    }

    /// Removes ended operations from the fronts of the queues, and keeps the length of the queues
    /// in proportion to the number of open operations.
    fn forget_ended(&mut self) {
        let open = &self.open;
        while self.deadlines.front().is_some_and(|(_, id)| !open.contains_key(id)) {
            self.deadlines.pop_front();
        }
        while self.unrouted.front().is_some_and(|id| !open.contains_key(id)) {
            self.unrouted.pop_front();
        }
        let is_current =
            |(_, id, sends): &(Micros, u32, u32)| open.get(id).is_some_and(|o| o.sends == *sends);
        while self.patience.front().is_some_and(|entry| !is_current(entry)) {
            self.patience.pop_front();
        }
        let length_max = 2 * open.len() + 1_024;
        if self.deadlines.len() > length_max {
            self.deadlines.retain(|(_, id)| open.contains_key(id));
        }
        if self.patience.len() > length_max {
            self.patience.retain(is_current);
        }
    }
}
