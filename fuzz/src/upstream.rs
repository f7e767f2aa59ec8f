//! The client of a proxy, between applications and servers that send anything.
//!
//! ```text
//! input: steps, each a byte and what it needs: a request of an application, a connection that is made, fails or
//! ends, a reply with any status and value, bytes that are no reply, a datagram, time that passes
//! ```
//! Whatever servers send, each request ends once and in time, and as the proxy expects it: with the reply as it
//! came, or with an error. Memory is bounded by a multiple of what was sent, and a client without requests waits for
//! nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_client::engine::{ConnId, Engine, Input, Output};
use standin_client::{
    Action, Bootstrap, ClientConfig, Encoded, Operation, Outcome, Question, Target,
};
use standin_config::{ClusterConfig, OriginConfig};
use standin_protocol::body::PingReply;
use standin_protocol::frame::{
    FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::hello::{HelloReply, cluster_id};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::time::Micros;
use standin_protocol::walk::{ANY_SLOT, WalkHead};

use crate::memory;

const NAME: &str = "fuzz";
/// The ports of the servers, in the order of their ids, begin with this. The master's is the one before.
const FIRST_PORT: u16 = 7_001;
const OPERATION_TIMEOUT: Duration = Duration::from_millis(500);
/// The memory that a client may take for whatever it is sent, and per byte of that.
const MEMORY_BYTES: usize = 4 << 20;
const MEMORY_PER_BYTE: usize = 64;
/// What a proxy sends for its applications.
const OPCODES: [Opcode; 7] = [
    Opcode::Get,
    Opcode::Put,
    Opcode::Delete,
    Opcode::Cas,
    Opcode::Modify,
    Opcode::Touch,
    Opcode::Flush,
];

/// See the head of this file.
pub fn upstream(data: &[u8]) {
    play(data);
}

/// Plays all steps, and returns the number of replies and of errors with which requests have ended.
fn play(data: &[u8]) -> [u32; 2] {
    let mut run = Run::new();
    let before = memory::begin();
    let mut input = Bytes(data);
    while let Some(step) = input.next() {
        run.take(step, &mut input);
    }
    run.pass(OPERATION_TIMEOUT);
    assert!(run.open.is_empty(), "not ended: {:?}", run.open);
    let peak = memory::peak().saturating_sub(before);
    let most = MEMORY_BYTES + MEMORY_PER_BYTE * (data.len() + run.received);
    assert!(peak <= most, "{peak} bytes of memory for {} bytes", run.received);
    run.pass(Duration::from_secs(60));
    assert_eq!(run.engine.next_deadline(), None, "a client without requests waits for nothing");
    run.ended
}

/// The rest of the input.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte; 0 at the end.
    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// As many bytes as the next one says, or those that are left.
    fn some(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(count);
        self.0 = rest;
        some
    }
}

/// What the client is connected to, or is going to be.
struct Peer {
    address: SocketAddr,
    is_connected: bool,
    inbound: Vec<u8>,
    requests: Vec<RequestHeader>,
}

/// What a request may end with besides an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Map,
    Walk,
}

struct Run {
    engine: Engine,
    topology: Arc<Topology>,
    now: Micros,
    peers: BTreeMap<ConnId, Peer>,
    open: BTreeMap<u64, (Micros, Kind)>,
    last_op: u64,
    /// Bytes that the client has received.
    received: usize,
    /// Requests that have ended with a reply, and with an error.
    ended: [u32; 2],
}

impl Run {
    fn new() -> Self {
        let place = |number: u16| SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + number));
        let master = ([127, 0, 0, 1], FIRST_PORT - 1).into();
        let mut cluster = ClusterConfig::new(NAME, master, OriginConfig::sqlite("nowhere"))
            .with_group("a", [("a1", place(0)), ("a2", place(1))])
            .with_group("b", [("b1", place(2)), ("b2", place(3))]);
        cluster.partitions = 16;
        cluster.limits.value_bytes = 64 << 10;
        cluster.timings.operation_timeout = OPERATION_TIMEOUT;
        let topology = Arc::new(cluster.topology().expect("a small cluster"));
        let client = ClientConfig { operations_max: 64, ..ClientConfig::from(&cluster) };
        let engine = Engine::new(client, Bootstrap::Seeds(vec![place(0), place(2)]), 1, 2);
        Self {
            engine,
            topology,
            now: Micros(1_000_000),
            peers: BTreeMap::new(),
            open: BTreeMap::new(),
            last_op: 0,
            received: 0,
            ended: [0; 2],
        }
    }

    fn take(&mut self, step: u8, input: &mut Bytes<'_>) {
        match step % 16 {
            0..=3 => self.submit(input),
            4 => self.ask(input.byte()),
            5..=7 => self.connect(input.byte()),
            8..=11 => self.reply(input),
            12 => {
                let (pick, bytes) = (input.byte(), input.some());
                let Some(conn) = self.pick(pick, true) else { return };
                self.receive(conn, bytes);
            }
            13 => {
                let Some(conn) = self.pick(input.byte(), true) else { return };
                self.peers.remove(&conn);
                self.handle(Input::Closed(conn));
            }
            14 => self.handle(Input::Datagram(input.some())),
            _ => self.pass(Duration::from_micros(u64::from(input.byte()) << 9)),
        }
    }

    fn open(&mut self, kind: Kind) -> u64 {
        self.last_op += 1;
        self.open.insert(self.last_op, (self.now + OPERATION_TIMEOUT, kind));
        self.last_op
    }

    fn submit(&mut self, input: &mut Bytes<'_>) {
        let (which, key) = (input.byte(), input.byte());
        let opcode = OPCODES[usize::from(which) % OPCODES.len()];
        let value = input.some().to_vec();
        let encoded = Encoded {
            opcode,
            is_item: which & 0x80 != 0,
            ttl_s: key.into(),
            version: u64::from(key) & 1,
            head_bytes: value.len().min(4),
            value,
        };
        let action = Action::Encoded(encoded);
        let operation = Operation { keyspace: 1, key: vec![key], action };
        let op_id = self.open(Kind::Request);
        self.handle(Input::Submit { op_id, operation });
    }

    fn ask(&mut self, which: u8) {
        let target = match which % 6 {
            4 => Target::Master,
            5 => Target::Any,
            server => Target::Server(server.into()),
        };
        let walk = WalkHead {
            start: 0,
            position: 0,
            looked_max: 64,
            found_max: 64,
            slot: ANY_SLOT,
            gives_keys: 1,
            reserved: 0,
        };
        let (kind, question) = match which & 0x80 {
            0 => (Kind::Map, Question::Map),
            _ => (Kind::Walk, Question::Walk { shard: 0, walk }),
        };
        let op_id = self.open(kind);
        self.handle(Input::Ask { op_id, target, question });
    }

    /// One of the connections that are made, or of those that are not yet.
    fn pick(&self, pick: u8, is_connected: bool) -> Option<ConnId> {
        let all = || self.peers.iter().filter(|(_, peer)| peer.is_connected == is_connected);
        let count = all().count();
        all().nth(usize::from(pick) % count.max(1)).map(|(conn, _)| *conn)
    }

    fn connect(&mut self, pick: u8) {
        let Some(conn) = self.pick(pick >> 2, false) else { return };
        if pick & 3 == 0 {
            self.peers.remove(&conn);
            self.handle(Input::ConnectFailed(conn));
        } else {
            self.peers.get_mut(&conn).expect("it was picked").is_connected = true;
            self.handle(Input::Connected(conn));
        }
    }

    /// Answers one of the requests that a server has received.
    fn reply(&mut self, input: &mut Bytes<'_>) {
        let (pick, how, more) = (input.byte(), input.byte(), input.byte());
        let is_right = how & 1 == 0;
        let wrong = if is_right { &[][..] } else { input.some() };
        let Some(conn) = self.pick(pick, true) else { return };
        let peer = self.peers.get_mut(&conn).expect("it was picked");
        if peer.requests.is_empty() {
            return;
        }
        let at = usize::from(how >> 1) % peer.requests.len();
        let (request, port) = (peer.requests.remove(at), peer.address.port());
        let (status, value) = if is_right {
            (Status::Ok, self.right_value(request.opcode, port, more))
        } else {
            (Status::from_wire(more % 24).unwrap_or(Status::Ok), wrong.to_vec())
        };
        let mut header = ResponseHeader::reply_to(&request, status);
        header.map_epoch = u32::from(how >> 4);
        header.retry_after_ms = u16::from(how >> 5);
        let mut bytes = Vec::new();
        Response::write(header, &value, &mut bytes);
        self.receive(conn, &bytes);
    }

    /// The value by which the client goes on.
    fn right_value(&self, opcode: u8, port: u16, more: u8) -> Vec<u8> {
        match Opcode::from_wire(opcode) {
            Some(Opcode::Hello) => {
                let server = port.checked_sub(FIRST_PORT).unwrap_or(0xFFFF);
                let reply =
                    HelloReply { cluster_id: cluster_id(NAME), server, ..HelloReply::default() };
                reply.to_bytes().to_vec()
            }
            Some(Opcode::Map) => {
                let epoch = MapEpoch { term: 1, counter: u32::from(more >> 4) };
                let statuses = (0..4).map(|server| {
                    let is_online = more & (1 << server) == 0;
                    let state = if is_online { ServerState::Online } else { ServerState::Offline };
                    ServerStatus { boot_id: 7, since: epoch, state }
                });
                ClusterMap::new(Arc::clone(&self.topology), epoch, statuses.collect()).to_bytes()
            }
            Some(Opcode::Ping) => PingReply::default().to_bytes(),
            _ => vec![more; usize::from(more)],
        }
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.received += bytes.len();
        self.handle(Input::Received(conn, bytes));
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Input::Tick);
        }
        self.now = end;
    }

    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Connect { conn, addr, .. } => {
                    let peer = Peer {
                        address: addr,
                        is_connected: false,
                        inbound: Vec::new(),
                        requests: Vec::new(),
                    };
                    assert!(self.peers.insert(conn, peer).is_none(), "a name used twice");
                }
                Output::Send { conn, bytes } => {
                    let peer = self.peers.get_mut(&conn).expect("sent on a closed connection");
                    assert!(peer.is_connected);
                    peer.inbound.extend(bytes);
                    let limits = FrameLimits::default();
                    while let Some(request) =
                        Request::parse(&peer.inbound, limits).expect("requests are right")
                    {
                        let header = request.header;
                        peer.inbound.drain(..header.frame_bytes());
                        peer.requests.push(header);
                    }
                }
                Output::Close { conn } => assert!(self.peers.remove(&conn).is_some()),
                Output::Completed { op_id, result } => {
                    let (deadline, kind) = self.open.remove(&op_id).expect("it ends once");
                    assert!(self.now <= deadline, "{op_id} is late");
                    self.ended[usize::from(result.is_err())] += 1;
                    let Ok(answer) = result else { continue };
                    match (kind, &answer.outcome) {
                        (Kind::Request, Outcome::Encoded(_))
                        | (Kind::Map, Outcome::Map(_))
                        | (Kind::Walk, Outcome::Walked { .. }) => {}
                        (_, other) => panic!("{kind:?} has ended with {other:?}"),
                    }
                }
                Output::Datagram { .. } | Output::Event(_) => {}
            }
        }
        assert_eq!(self.engine.open_operations(), self.open.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_get_behind_the_handshake() {
        let [known, walks, garbage] = [
            play(include_bytes!("../seeds/upstream/known")),
            play(include_bytes!("../seeds/upstream/walks")),
            play(include_bytes!("../seeds/upstream/garbage")),
        ];
        assert_eq!((known, walks, garbage), ([8, 0], [2, 2], [3, 0]));
    }
}
