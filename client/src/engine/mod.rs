//! The whole client as one machine without IO: operations in, bytes and results out.
//!
//! ```text
//! Submit ─► operations.rs ─► router (map, failover) ─► connection.rs ─► session ─► Send{conn}
//! Received{conn} ─► session ─► replies.rs ─► Completed, or another server
//!                        └──► maps.rs (newer map: fetch, apply) ─► doubt.rs (another topology)
//! silence, close ─► losses.rs ─► failover ─► notices ─► Datagram to the master
//! ```
//! A send has failed when its connection is lost, or stays silent for the attempt timeout
//! while an answer is due. Half-way a PING asks whether the server is there at all: one that
//! answers it is slow, not dead, and sending elsewhere would only double the load. No connection
//! delays the replies on another: each server's connections are its own.
//!
//! No clock, no randomness, no sockets: `now` and the seed are arguments. The same inputs
//! give the same outputs.

mod connection;
mod doubt;
mod losses;
mod maps;
mod operations;
mod replies;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::hello::cluster_id;
use standin_protocol::map::{ClusterMap, MapEpoch};
use standin_protocol::time::Micros;

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

/// The name of a connection; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An event for the client.
#[derive(Debug)]
pub enum Input<'a> {
    /// The caller wants something; [`Output::Completed`] will name this `op_id` exactly once,
    /// at the latest when the operation timeout has passed.
    Submit {
        /// Chosen by the caller.
        op_id: u64,
        /// The operation.
        operation: Operation,
    },
    /// The caller asks one party something; completed like an operation.
    Ask {
        /// Chosen by the caller.
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
    /// A datagram came from the master's address.
    Datagram(&'a [u8]),
    /// Time has passed; see [`Engine::next_deadline`].
    Tick,
}

/// An action that the shell carries out.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Open a TCP connection; report [`Input::Connected`] or [`Input::ConnectFailed`].
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
    /// Close the connection, or give up opening it. No input names it any more.
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
        /// The caller's name for it.
        op_id: u64,
        /// The result.
        result: Result<Answer, ClientError>,
    },
    /// For observers.
    Event(ClientEvent),
}

/// A timer of the engine, besides operations' deadlines and silent connections.
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
    /// 0 until the cluster's name is known.
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
    /// Operations that wait for the first map, or questions for the seeds' word, oldest (and so first to end) in front.
    unrouted: VecDeque<u32>,
    /// Request id of the map fetch under way.
    map_fetch: Option<u32>,
    map_fetch_not_before: Micros,

    /// Both in order of time, because the timeouts are the same for all. May name ended
    /// operations, but never at the front.
    deadlines: VecDeque<(Micros, u32)>,
    /// (due, request id, its number of sends then)
    patience: VecDeque<(Micros, u32, u32)>,
    timers: BinaryHeap<Reverse<(Micros, Timer)>>,

    /// Connections with bytes to send.
    unsent: VecDeque<ConnId>,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// A client that has done nothing yet. `client_id` and `seed` must be random: the first
    /// names this client's requests over all its connections, the second spreads clients'
    /// hold-downs.
    #[must_use]
    pub fn new(config: ClientConfig, bootstrap: Bootstrap, client_id: u64, seed: u64) -> Self {
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
            Input::Connected(conn) => self.connected(now, conn),
            Input::ConnectFailed(conn) | Input::Closed(conn) => self.lose(now, conn, None, false),
            Input::Received(conn, bytes) => self.received(now, conn, bytes),
            Input::Datagram(bytes) => self.datagram(now, bytes),
            Input::Tick => self.tick(now),
        }
        self.send_notices(now);
        self.forget_ended();
    }

    /// Returns the next action. Bytes come last, so that one call per wake-up and connection
    /// sends everything.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        while let Some(conn) = self.unsent.pop_front() {
            // It may have been closed since it was marked.
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            connection.in_unsent = false;
            let bytes = connection.take_output();
            if !bytes.is_empty() {
                return Some(Output::Send { conn, bytes });
            }
        }
        None
    }

    /// Returns when [`Input::Tick`] is due, possibly earlier than needed, or `None` if it is not due
    /// until something else happens.
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

    /// Returns how long bytes may wait for the network before their connection is given up: about
    /// as long as it takes until another server can have processed the requests instead.
    #[must_use]
    pub fn unsent_max(&self) -> Duration {
        2 * self.config.attempts * self.config.attempt_timeout
    }

    /// The map in force, once there is one.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.router.as_ref().map(Router::map)
    }

    /// Returns the state of a server as this client sees it, once it has a map.
    #[must_use]
    pub fn failover_state(&self, server: u16) -> Option<State> {
        self.router.as_ref().and_then(|router| router.state(server))
    }

    /// Operations and questions of callers that have not ended.
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

    /// Keeps the fronts of the queues open operations, and the queues' lengths in proportion to
    /// the number of those.
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
