//! Simulated servers, a network with a fixed delay, and a clock that jumps to the next event.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::body::PingReply;
use standin_protocol::control::Datagram;
use standin_protocol::frame::{
    FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::hello::{HelloReply, cluster_id};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::time::Micros;

use crate::engine::{ConnId, Engine, Input, Output};
use crate::event::ClientEvent;
use crate::operation::{Action, Answer, ClientError, Operation};
use crate::testing::topology;
use crate::{Bootstrap, ClientConfig};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn put() -> Action {
    Action::Put { value: b"v".to_vec(), ttl_s: 0 }
}

pub(super) fn cas() -> Action {
    Action::Cas { version: 1, value: b"v".to_vec(), ttl_s: 0 }
}

pub(super) const DELAY: Duration = Duration::from_micros(100);

/// The behaviour of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It answers everything.
    Up,
    /// It refuses connections, because its process was killed.
    Refuse,
    /// It accepts connections and bytes but sends nothing, because its process is stopped.
    Silent,
    /// It answers HELLO and PING, and nothing else.
    Stuck,
    /// It answers HELLO, and all other requests with this status.
    Says(Status),
    /// It answers HELLO and PING, and all other requests (also MAP) with UNAVAILABLE, because it has
    /// no map yet.
    Unready,
    /// It answers HELLO with OVERLOADED and closes the connection, because it has no room for
    /// another one.
    Full,
    /// It refuses HELLO with this status.
    Greets(Status),
    /// It answers HELLO with SHUTTING_DOWN.
    Stopping,
}

pub(super) struct Server {
    pub(super) mode: Mode,
    /// The extra delay of answers to requests for data.
    pub(super) data_delay: Duration,
    /// The map of the server.
    pub(super) map: ClusterMap,
    /// The data requests and MAPs that have reached it.
    pub(super) requests: Vec<RequestHeader>,
    pub(super) pings: usize,
    /// The first message that it received on each connection.
    pub(super) hellos: Vec<Vec<u8>>,
}

enum Happening {
    Connected,
    Refused,
    Bytes(Vec<u8>),
    Closed,
}

/// One client and its cluster.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Micros,
    pub(super) topology: Arc<Topology>,
    pub(super) servers: Vec<Server>,
    pub(super) completed: Vec<(u64, Result<Answer, ClientError>)>,
    pub(super) events: Vec<ClientEvent>,
    pub(super) notices: Vec<Datagram>,
    pub(super) connects: usize,
    /// The addresses to which the client has connected.
    pub(super) called: Vec<SocketAddr>,
    conns: BTreeMap<ConnId, (usize, Vec<u8>)>,
    queue: BTreeMap<(Micros, u64), (ConnId, Happening)>,
    order: u64,
    last_op: u64,
}

/// The epoch of [`World::map_without`].
pub(super) const EPOCH: MapEpoch = MapEpoch { term: 3, counter: 1 };

impl World {
    /// Returns a map in which these servers are offline.
    pub(super) fn map_without(&self, servers: &[usize]) -> ClusterMap {
        let mut statuses = vec![ServerStatus::default(); self.servers.len()];
        for server in servers {
            statuses[*server].state = ServerState::Offline;
            statuses[*server].since = EPOCH;
        }
        ClusterMap::new(self.topology.clone(), EPOCH, statuses)
    }

    /// Creates one server in the group of each entry of `groups`, all up, and a client with default
    /// settings.
    pub(super) fn new(groups: &[u16]) -> Self {
        let topology = topology(groups);
        Self::with(groups, ClientConfig::default(), Bootstrap::Config(topology))
    }

    pub(super) fn with(groups: &[u16], config: ClientConfig, bootstrap: Bootstrap) -> Self {
        let topology = topology(groups);
        let map = ClusterMap::new(Arc::clone(&topology), Default::default(), Vec::new());
        let server = |_| Server {
            mode: Mode::Up,
            data_delay: Duration::ZERO,
            map: map.clone(),
            requests: Vec::new(),
            pings: 0,
            hellos: Vec::new(),
        };
        Self {
            engine: Engine::new(config, bootstrap, 77, 5),
            now: Micros(1_000_000),
            servers: (0..groups.len()).map(server).collect(),
            topology,
            completed: Vec::new(),
            events: Vec::new(),
            notices: Vec::new(),
            connects: 0,
            called: Vec::new(),
            conns: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            last_op: 0,
        }
    }

    /// Returns a key, its home and its first stand-in, for some partition.
    pub(super) fn key(&self) -> (Vec<u8>, usize, usize) {
        let key = b"key".to_vec();
        let rank = self.topology.rank(self.topology.partition(1, &key));
        (key, usize::from(rank[0]), usize::from(rank[1]))
    }

    pub(super) fn submit(&mut self, action: Action) -> u64 {
        let (key, ..) = self.key();
        self.last_op += 1;
        let operation = Operation { keyspace: 1, key, action };
        self.handle(Input::Submit { op_id: self.last_op, operation });
        self.last_op
    }

    /// Submits a GET and waits for its end.
    pub(super) fn get(&mut self) -> Result<Answer, ClientError> {
        self.run(Action::Get)
    }

    /// Submits an operation and waits for its end.
    pub(super) fn run(&mut self, action: Action) -> Result<Answer, ClientError> {
        let op_id = self.submit(action);
        self.result(op_id)
    }

    /// Waits for the end of an operation.
    pub(super) fn result(&mut self, op_id: u64) -> Result<Answer, ClientError> {
        loop {
            if let Some((_, result)) = self.completed.iter().find(|(id, _)| *id == op_id) {
                return result.clone();
            }
            assert!(self.step(Micros::NEVER), "there must be another event");
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    pub(super) fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        self.carry_out();
    }

    /// Makes a server close all its connections.
    pub(super) fn close_connections(&mut self, server: usize) {
        let of_server =
            |(conn, (at, _)): (&ConnId, &(usize, Vec<u8>))| (*at == server).then_some(*conn);
        for conn in self.conns.iter().filter_map(of_server).collect::<Vec<_>>() {
            self.later(Duration::ZERO, conn, Happening::Closed);
        }
    }

    /// Kills a server's process.
    pub(super) fn kill(&mut self, server: usize) {
        self.servers[server].mode = Mode::Refuse;
        self.close_connections(server);
    }

    /// Takes the events so far.
    pub(super) fn take_events(&mut self) -> Vec<ClientEvent> {
        std::mem::take(&mut self.events)
    }

    fn step(&mut self, end: Micros) -> bool {
        let queued = self.queue.first_key_value().map(|(key, _)| *key);
        let due = self.engine.next_deadline().map(|due| due.max(self.now));
        match (queued, due) {
            (Some(key), due) if key.0 <= due.unwrap_or(Micros::NEVER) && key.0 <= end => {
                self.now = key.0;
                let Some((conn, happening)) = self.queue.remove(&key) else { return false };
                self.happen(conn, happening);
                true
            }
            (_, Some(due)) if due <= end => {
                self.now = due;
                self.handle(Input::Tick);
                assert!(
                    self.engine.next_deadline() > Some(self.now)
                        || self.engine.next_deadline().is_none(),
                    "a tick must change the next deadline"
                );
                true
            }
            _ => false,
        }
    }

    fn happen(&mut self, conn: ConnId, happening: Happening) {
        if !self.conns.contains_key(&conn) {
            return;
        }
        match happening {
            Happening::Connected => self.handle(Input::Connected(conn)),
            Happening::Bytes(bytes) => self.handle(Input::Received(conn, &bytes)),
            Happening::Refused => {
                self.conns.remove(&conn);
                self.handle(Input::ConnectFailed(conn));
            }
            Happening::Closed => {
                self.conns.remove(&conn);
                self.handle(Input::Closed(conn));
            }
        }
    }

    fn later(&mut self, delay: Duration, conn: ConnId, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), (conn, happening));
    }

    fn carry_out(&mut self) {
        let mut outputs = VecDeque::new();
        while let Some(output) = self.engine.poll() {
            outputs.push_back(output);
        }
        for output in outputs {
            match output {
                Output::Connect { conn, addr, .. } => {
                    self.connects += 1;
                    self.called.push(addr);
                    // No server is at the other addresses, including the master's.
                    let server = self.server_at(addr).unwrap_or(usize::MAX);
                    self.conns.insert(conn, (server, Vec::new()));
                    let mode = self.servers.get(server).map(|server| server.mode);
                    let refuses = mode.is_none_or(|mode| mode == Mode::Refuse);
                    let happening = if refuses { Happening::Refused } else { Happening::Connected };
                    self.later(DELAY, conn, happening);
                }
                Output::Send { conn, bytes } => self.sent(conn, &bytes),
                Output::Close { conn } => drop(self.conns.remove(&conn)),
                Output::Datagram { to, bytes } => {
                    assert_eq!(to, self.topology.master);
                    let notice = Datagram::parse(&bytes, None, None).unwrap();
                    // The master drops notices of another topology.
                    if notice.topology_id == self.topology.id {
                        self.notices.push(notice);
                    }
                }
                Output::Completed { op_id, result } => self.completed.push((op_id, result)),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn server_at(&self, addr: SocketAddr) -> Option<usize> {
        self.topology.servers.iter().position(|server| server.address == addr)
    }

    fn sent(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some((at, inbound)) = self.conns.get_mut(&conn) else { return };
        let at = *at;
        inbound.extend_from_slice(bytes);
        let mut replies = Vec::new();
        while let Some(request) = Request::parse(inbound, FrameLimits::default()).unwrap() {
            let reply = self.servers[at].reply(&request, at, &self.topology);
            let frame_bytes = request.header.frame_bytes();
            inbound.drain(..frame_bytes);
            replies.extend(reply);
        }
        for (delay, reply) in replies {
            self.later(DELAY + delay, conn, Happening::Bytes(reply));
        }
    }
}

impl Server {
    fn reply(
        &mut self,
        request: &Request<'_>,
        id: usize,
        topology: &Topology,
    ) -> Option<(Duration, Vec<u8>)> {
        let opcode = Opcode::from_wire(request.header.opcode).unwrap();
        match opcode {
            Opcode::Hello => self.hellos.push(request.value.to_vec()),
            Opcode::Ping => self.pings += 1,
            _ => self.requests.push(request.header),
        }
        let is_data = !matches!(opcode, Opcode::Hello | Opcode::Ping);
        let status = match self.mode {
            Mode::Refuse | Mode::Silent => return None,
            Mode::Full => Status::Overloaded,
            Mode::Stopping => Status::ShuttingDown,
            Mode::Greets(status) => status,
            Mode::Stuck if is_data => return None,
            Mode::Says(status) if opcode != Opcode::Hello && opcode != Opcode::Map => status,
            Mode::Unready if is_data => Status::Unavailable,
            Mode::Up | Mode::Stuck | Mode::Unready | Mode::Says(_) => Status::Ok,
        };
        let value = match opcode {
            Opcode::Hello => HelloReply {
                cluster_id: cluster_id(&topology.name),
                server: u16::try_from(id).unwrap(),
                ..HelloReply::default()
            }
            .to_bytes()
            .to_vec(),
            Opcode::Ping => PingReply::default().to_bytes(),
            Opcode::Map => self.map.to_bytes(),
            _ => b"value".to_vec(),
        };
        let mut header = ResponseHeader::reply_to(&request.header, status);
        header.map_epoch = self.map.epoch.tag();
        header.cas_version = 9;
        if status == Status::Overloaded {
            header.retry_after_ms = 20;
        }
        let mut bytes = Vec::new();
        Response::write(header, &value, &mut bytes);
        Some((if is_data { self.data_delay } else { Duration::ZERO }, bytes))
    }
}
