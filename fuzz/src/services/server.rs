//! A server without sockets, threads and clock: its shards, a database that answers when it likes, and
//! one client. Everything that decides is what is shipped.

use std::collections::VecDeque;
use std::sync::Arc;

use standin_config::{
    ClusterConfig, KeyspaceConfig, Naming, OriginConfig, ServiceConfig, ServiceProtocol,
};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_protocol::time::Micros;
use standin_server::node::{Lease, Node, NodeConfig, Now};
use standin_server::origin::{Call, Done, Health, Operation, Outcome, Stored};
use standin_server::shard::ShardContext;
use standin_server::shard::admission::{Admission, Places};
use standin_server::shard::challenges::Challenges;
use standin_server::shard::core::{Buffers, ConnKey, Core, Effect, Io};
use standin_server::shard::link::LinkConfig;
use standin_server::shard::listeners::Service;
use standin_server::shard::mailbox::Message;
use standin_server::shard::turn::{self, Shell};

const BOOT: u64 = 7;
/// The time, which does not pass.
const NOW: Now = Now { mono: Micros(1_000_000_000), wall_us: 1_700_000_000_000_000 };
/// The number of turns in which a server without input has to become idle.
const TURNS_MAX: usize = 100_000;

/// The behaviour of server, database and client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behaviour {
    pub(super) shards: u16,
    /// The client reads only when the server has stopped reading.
    reads_late: bool,
    /// The database answers in another order, and later.
    answers_late: bool,
    /// The client's bytes come in pieces whose lengths follow from this; `None`: at once.
    pieces: Option<u64>,
    /// At most this many requests of a connection wait.
    in_flight_max: u32,
}

impl Behaviour {
    pub(super) fn at_once() -> Self {
        let (reads_late, answers_late, pieces, in_flight_max) = (false, false, None, 1_024);
        Self { shards: 1, reads_late, answers_late, pieces, in_flight_max }
    }

    pub(super) fn of(bits: u8, seed: u64) -> Self {
        Self {
            shards: 1 + u16::from(bits & 1),
            reads_late: bits & 2 != 0,
            answers_late: bits & 4 != 0,
            pieces: Some(seed),
            in_flight_max: if bits & 8 != 0 { 3 } else { 1_024 },
        }
    }
}

/// The only buffer of a turn.
struct Received<'a>(&'a [u8]);

impl Buffers for Received<'_> {
    fn bytes(&self, _buffer: u16) -> &[u8] {
        self.0
    }
}

/// See the head of this file.
pub(super) struct Server {
    behaviour: Behaviour,
    shards: Vec<Core>,
    mail: Vec<VecDeque<Message>>,
    calls: Vec<Call>,
    client: Client,
    random: u64,
}

/// The client's side of the connection.
#[derive(Default)]
struct Client {
    key: Option<ConnKey>,
    replies: Vec<u8>,
    /// The server wants to send something.
    is_flushed: bool,
    /// The server does not read.
    is_paused: bool,
    is_closed: bool,
}

impl Server {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let address = ([127, 0, 0, 1], 1).into();
        let origin = OriginConfig::sqlite("nowhere");
        let mut config = ClusterConfig::new("fuzz", ([127, 0, 0, 1], 9).into(), origin)
            .with_group("g", [("a", address)]);
        let mut rows = KeyspaceConfig::new(2, "rows", "SELECT value FROM t WHERE id = :key");
        rows.put = Some("UPDATE t SET value = :value WHERE id = :key".to_owned());
        config.keyspaces = vec![KeyspaceConfig::cache(1, "cache"), rows];
        config.naming = Naming { default_keyspace: Some(1), ..Naming::default() };
        config.partitions = 8;
        config.limits.key_bytes = 40;
        config.limits.value_bytes = 4_096;
        config.limits.output_bytes_per_connection = 16 << 10;
        config.limits.in_flight_per_connection = behaviour.in_flight_max;
        let own = &mut config.servers[0];
        (own.shards, own.memory_bytes, own.huge_pages) = (behaviour.shards, 2 << 20, false);
        own.services = vec![ServiceConfig {
            protocol: ServiceProtocol::Redis,
            address: ([127, 0, 0, 1], 2).into(),
            passwords: None,
        }];
        let config = Arc::new(config);
        let topology = Arc::new(config.topology().expect("a small cluster"));
        let epoch = MapEpoch { term: 1, counter: 1 };
        let status = ServerStatus { boot_id: BOOT, since: epoch, state: ServerState::Online };
        let map = Arc::new(ClusterMap::new(Arc::clone(&topology), epoch, vec![status]));
        let context = ShardContext {
            shard: 0,
            shards: behaviour.shards,
            server: 0,
            cluster: Arc::clone(&config),
            topology: Arc::clone(&topology),
            challenges: Challenges::new([7; 32]),
            admission: Arc::new(Admission::new(Places::wanted(&config, 0))),
            tls: None,
            tls_calls: None,
            link: LinkConfig::new(&config, BOOT),
            access: Arc::default(),
        };
        let shards = (0..behaviour.shards).map(|shard| {
            let mut node = NodeConfig::new(&config, 0, shard, BOOT, NOW.mono);
            node.hash_seeds = Some([1, 2, 3, 4]);
            let node = Node::new(node, Arc::clone(&topology)).expect("a small arena");
            let mut core = Core::new(node, ShardContext { shard, ..context.clone() }, NOW.mono);
            core.refreshed(Health::Up, true);
            core.mail(NOW, Message::Map(Arc::clone(&map)));
            core.mail(NOW, Message::Lease(Lease { until: Micros::NEVER, orphan: false }));
            core
        });
        Self {
            behaviour,
            shards: shards.collect(),
            mail: (0..behaviour.shards).map(|_| VecDeque::new()).collect(),
            calls: Vec::new(),
            client: Client::default(),
            random: behaviour.pieces.unwrap_or(0) | 1,
        }
    }

    /// Serves a client that sends these bytes and then nothing more, and returns the replies.
    pub(super) fn serve(&mut self, protocol: ServiceProtocol, mut sent: &[u8]) -> Vec<u8> {
        let key = self.shards[0].accept(NOW, false, Service::Other(protocol)).expect("room");
        self.client.key = Some(key);
        self.turn(0, &[]);
        while !sent.is_empty() && !self.client.is_closed {
            if self.client.is_paused {
                self.go_on();
                assert!(
                    !self.client.is_paused || self.client.is_closed,
                    "it reads again some time"
                );
                continue;
            }
            let most = match (self.behaviour.pieces, self.below(4)) {
                (None, _) => 16 << 10,
                (Some(_), 0) => 1 + self.below(2_000),
                (Some(_), _) => 1 + self.below(60),
            };
            let (piece, rest) = sent.split_at(most.min(sent.len()));
            sent = rest;
            self.turn(0, piece);
            if self.behaviour.pieces.is_none() || self.below(3) == 0 {
                self.go_on();
            }
        }
        if !self.client.is_closed {
            self.shards[0].end_of_input(NOW, key);
            self.turn(0, &[]);
        }
        self.go_on();
        assert!(self.client.is_closed, "with all replies, it is closed");
        std::mem::take(&mut self.client.replies)
    }

    /// Lets everybody do what is to be done, and the client read.
    fn go_on(&mut self) {
        for _ in 0..TURNS_MAX {
            self.read();
            if let Some(call) = self.next_call() {
                self.answer(&call);
                continue;
            }
            let busy = (0..self.shards.len())
                .find(|shard| !self.mail[*shard].is_empty() || self.shards[*shard].has_work());
            match busy {
                Some(shard) => self.turn(shard, &[]),
                None if self.client.is_flushed => {}
                None => return,
            }
        }
        panic!("it does not become idle");
    }

    /// One turn of a shard, which has received this from the client.
    fn turn(&mut self, shard: usize, received: &[u8]) {
        if !received.is_empty() {
            let key = self.client.key.expect("it is connected");
            self.shards[shard].received(NOW, key, 0, received);
        }
        let mut mail = self.mail[shard].drain(..).collect();
        let mut shell = Surroundings { server: self, shard, received: Received(received) };
        turn::decide(&mut shell, NOW, &mut mail);
        turn::act(&mut shell, NOW);
        self.shards[shard].turn_ended(NOW.mono, NOW.mono);
        if !self.behaviour.reads_late {
            self.read();
        }
        for queue in self.shards[shard].queues() {
            assert!(queue.length <= queue.bound, "{queue:?}");
        }
    }

    /// The client reads all that there is.
    fn read(&mut self) {
        let Some(key) = self.client.key.filter(|_| self.client.is_flushed) else { return };
        self.client.is_flushed = false;
        loop {
            let mut sending = Vec::new();
            self.shards[0].take_output(NOW, key, &mut sending);
            self.client.replies.append(&mut sending);
            if !self.shards[0].sent(NOW, key) {
                return;
            }
        }
    }

    /// The call that the database answers next.
    fn next_call(&mut self) -> Option<Call> {
        if self.calls.is_empty() {
            return None;
        }
        let at = if self.behaviour.answers_late { self.below(self.calls.len()) } else { 0 };
        Some(self.calls.remove(at))
    }

    /// The database answers: each key that does not begin with `n` has its own name as its row.
    fn answer(&mut self, call: &Call) {
        let outcome = match &call.operation {
            Operation::Get if call.key.starts_with(b"n") => Outcome::Value(None),
            Operation::Get => Outcome::Value(Some(call.key.to_vec().into())),
            _ => Outcome::Written { rows: 1, stored: Stored::Sent },
        };
        let shard = usize::from(call.shard);
        self.mail[shard].push_back(Message::Origin(Done {
            token: call.token,
            outcome,
            sent: None,
        }));
        self.turn(shard, &[]);
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound.max(1) as u64) as usize
    }
}

struct Surroundings<'a> {
    server: &'a mut Server,
    shard: usize,
    received: Received<'a>,
}

impl Shell for Surroundings<'_> {
    fn core(&mut self) -> &mut Core {
        &mut self.server.shards[self.shard]
    }

    fn take_in(&mut self, now: Now, message: Message) {
        self.core().mail(now, message);
    }

    fn serve(&mut self, now: Now) {
        self.server.shards[self.shard].serve_staged(now, &self.received);
    }

    fn close_overdue(&mut self, _now: Now) {}

    fn carry_out(&mut self, now: Now, effect: Effect) {
        let Self { server, shard, .. } = self;
        match effect {
            Effect::Submit(call) => server.calls.push(call),
            Effect::Post { shard, message } => {
                server.mail[usize::from(shard)].push_back(message);
            }
            Effect::Tell(_) | Effect::Slow(_) => {}
            Effect::Refresh => server.shards[*shard].refreshed(Health::Up, true),
            Effect::Stats { to } | Effect::Hot { to } => {
                server.shards[*shard].told(now, to, Vec::new());
            }
        }
    }

    fn perform(&mut self, now: Now, io: Io) {
        let Self { server, shard, .. } = self;
        let client = &mut server.client;
        match io {
            Io::Flush(_) => client.is_flushed = true,
            Io::Pause(_) => client.is_paused = true,
            Io::Resume(_) => client.is_paused = false,
            Io::Close(key) | Io::Abort(key) => {
                client.is_flushed = true;
                server.read();
                server.client.is_closed = true;
                server.client.is_flushed = false;
                server.shards[*shard].closed(now, key);
            }
            Io::FindCaller(_, mishap) => server.shards[*shard].called_from(mishap, None),
            Io::GiveToKernel(_) => unreachable!("no connection has TLS"),
            Io::Connect(..) | Io::HandOver(..) => panic!("there is one server, and one client"),
        }
    }

    fn clock(&mut self) -> Now {
        NOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_has_stored() {
        let sent = b"SET a 1\r\nGET a\r\nGET rows:x\r\nGET rows:n\r\nSCAN 0\r\nQUIT\r\n";
        for bits in 0..16 {
            let mut server = Server::start(Behaviour::of(bits, 9));
            let replies = server.serve(ServiceProtocol::Redis, sent);
            let wanted = "+OK\r\n$1\r\n1\r\n$1\r\nx\r\n$-1\r\n*2\r\n";
            assert!(replies.starts_with(wanted.as_bytes()), "{}", replies.escape_ascii());
            assert!(replies.ends_with(b"+OK\r\n"));
        }
    }
}
