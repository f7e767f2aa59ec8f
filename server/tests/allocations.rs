//! A hit allocates nothing, whether its frame lies in one buffer or across two. The test drives a
//! shard's core with the same turn as the event loops, and counts every allocation of this thread.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use standin_config::{ClusterConfig, KeyspaceConfig, OriginConfig, ServiceProtocol};
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, Status};
use standin_protocol::hello::{HelloBody, Role, cluster_id};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_protocol::time::Micros;
use standin_server::node::{Lease, Node, NodeConfig, Now};
use standin_server::origin::{Call, Done, Health, Outcome};
use standin_server::shard::ShardContext;
use standin_server::shard::admission::{Admission, Places};
use standin_server::shard::challenges::Challenges;
use standin_server::shard::core::{Buffers, ConnKey, Core, Effect, Io};
use standin_server::shard::link::LinkConfig;
use standin_server::shard::listeners::Service;
use standin_server::shard::mailbox::Message;
use standin_server::shard::turn::{self, Shell};

const KEYSPACE: u8 = 1;
const BOOT: u64 = 5;
const CONNECTIONS: usize = 3;
const KEYS: u32 = 200;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts the allocations of each thread.
struct Counting;

// SAFETY: all methods call the system allocator. Counting touches only a thread-local integer that
// needs no allocation and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: `pointer` came from `System`, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A receive buffer for each connection.
struct Received(Vec<Vec<u8>>);

impl Buffers for Received {
    fn bytes(&self, buffer: u16) -> &[u8] {
        &self.0[usize::from(buffer)]
    }
}

/// One shard of one server that owns everything.
struct Shard {
    core: Core,
    /// The calls to the database, which the test answers.
    calls: Vec<Call>,
    now: Now,
    connections: Vec<ConnKey>,
    received: Received,
    sending: Vec<u8>,
    /// The number of replies with status OK.
    ok: usize,
}

impl Shard {
    fn new() -> Self {
        let config = ClusterConfig::new("t", ([127, 0, 0, 1], 99).into(), OriginConfig::sqlite(""));
        let mut config = config.with_group("g", [("a", ([127, 0, 0, 1], 100).into())]);
        config.servers[0].shards = 1;
        config.servers[0].memory_bytes = 8 << 20;
        config.servers[0].huge_pages = false;
        config.keyspaces = vec![KeyspaceConfig::new(KEYSPACE, "k", "")];
        config.naming.default_keyspace = Some(KEYSPACE);
        let config = Arc::new(config);
        let topology = Arc::new(config.topology().unwrap());
        let now = Now { mono: Micros(1_000_000), wall_us: 1 << 50 };
        let context = ShardContext {
            shard: 0,
            shards: 1,
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
        let node = NodeConfig::new(&config, 0, 0, BOOT, now.mono);
        let node = Node::new(node, Arc::clone(&topology)).unwrap();
        let mut core = Core::new(node, context, now.mono);
        let epoch = MapEpoch { term: 1, counter: 1 };
        let status = ServerStatus { boot_id: BOOT, since: epoch, state: ServerState::Online };
        core.mail(now, Message::Map(Arc::new(ClusterMap::new(topology, epoch, vec![status]))));
        core.mail(now, Message::Lease(Lease { until: Micros::NEVER, orphan: false }));
        let connections =
            (0..CONNECTIONS).map(|_| core.accept(now, false, Service::Standin).unwrap()).collect();
        let mut shard = Self {
            core,
            calls: Vec::new(),
            now,
            connections,
            received: Received(vec![Vec::new(); CONNECTIONS]),
            sending: Vec::new(),
            ok: 0,
        };
        let hello = HelloBody {
            client_id: 1,
            cluster_id: cluster_id(&config.name),
            shard: 0,
            role: Role::Client as u8,
            ..HelloBody::default()
        };
        for connection in 0..CONNECTIONS {
            let mut frame = Vec::new();
            let header = RequestHeader::new(Opcode::Hello, 0, 0);
            Request::write(header, &[], &hello.to_bytes(), &mut frame);
            shard.receive(connection, &frame);
            shard.turn();
        }
        assert_eq!(shard.ok, CONNECTIONS, "every hello is accepted");
        for key in 0..KEYS {
            shard.get(0, key);
        }
        shard
    }

    /// Replaces the connections by some that speak memcached's protocol.
    fn speak_memcached(&mut self) {
        let service = Service::Other(ServiceProtocol::Memcached);
        let accept = |_| self.core.accept(self.now, false, service).unwrap();
        self.connections = (0..CONNECTIONS).map(accept).collect();
    }

    /// Requests a key, and answers for the database if it is called.
    fn get(&mut self, connection: usize, key: u32) {
        self.receive(connection, &get(key));
        self.turn();
        for call in std::mem::take(&mut self.calls) {
            let outcome = Outcome::Value(Some(Bytes::from(vec![1; 100]).into()));
            self.core
                .mail(self.now, Message::Origin(Done { token: call.token, outcome, sent: None }));
            self.turn();
        }
    }

    fn receive(&mut self, connection: usize, bytes: &[u8]) {
        let buffer = &mut self.received.0[connection];
        buffer.clear();
        buffer.extend_from_slice(bytes);
        let number = u16::try_from(connection).unwrap();
        self.core.received(self.now, self.connections[connection], number, bytes);
    }

    fn turn(&mut self) {
        self.now.mono = self.now.mono + Duration::from_micros(1);
        turn::decide(self, self.now, &mut Vec::new());
        turn::act(self, self.now);
        self.core.turn_ended(self.now.mono, self.now.mono);
    }

    /// Returns the number of allocations and the number of hits of `work`.
    fn counted(&mut self, work: impl Fn(&mut Self)) -> (u64, u64) {
        let (before, hits) = (ALLOCATIONS.get(), self.core.node.counters.hits);
        work(self);
        (ALLOCATIONS.get() - before, self.core.node.counters.hits - hits)
    }
}

impl Shell for Shard {
    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn take_in(&mut self, now: Now, message: Message) {
        self.core.mail(now, message);
    }

    fn serve(&mut self, now: Now) {
        self.core.serve_staged(now, &self.received);
    }

    fn close_overdue(&mut self, _now: Now) {}

    fn carry_out(&mut self, _now: Now, effect: Effect) {
        match effect {
            Effect::Submit(call) => self.calls.push(call),
            Effect::Refresh => self.core.refreshed(Health::Up, true),
            // A map was applied, and nothing from before it is under way.
            Effect::Tell(_) | Effect::Slow(_) => {}
            other => panic!("unexpected effect: {other:?}"),
        }
    }

    fn perform(&mut self, now: Now, io: Io) {
        let Io::Flush(key) = io else { panic!("unexpected IO: {io:?}") };
        self.sending.clear();
        self.core.take_output(now, key, &mut self.sending);
        let mut rest = &self.sending[..];
        // The replies of another protocol are not looked at.
        while let Ok(Some(reply)) = Response::parse(rest) {
            self.ok += usize::from(reply.status == Status::Ok);
            rest = &rest[reply.header.frame_bytes()..];
        }
        self.core.sent(now, key);
    }

    fn clock(&mut self) -> Now {
        self.now
    }
}

fn get(key: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    let header = RequestHeader::new(Opcode::Get, KEYSPACE, key);
    Request::write(header, format!("key-{key}").as_bytes(), &[], &mut frame);
    frame
}

/// Returns the whole buffers of a turn: 40 requests on each connection.
fn batch() -> Vec<u8> {
    (0..40).flat_map(|key| get(key * 3 % KEYS)).collect()
}

#[test]
fn hits_in_whole_buffers_allocate_nothing() {
    let mut shard = Shard::new();
    let bytes = batch();
    let turn = |shard: &mut Shard| {
        for connection in 0..CONNECTIONS {
            shard.receive(connection, &bytes);
        }
        shard.turn();
    };
    // Buffers grow to the size that they need. Each connection has two for its output.
    (0..4).for_each(|_| turn(&mut shard));
    assert_eq!(shard.counted(turn), (0, 40 * CONNECTIONS as u64));
}

#[test]
fn hits_whose_frames_lie_across_two_buffers_allocate_nothing() {
    let mut shard = Shard::new();
    let bytes = batch();
    let turn = |shard: &mut Shard| {
        // The last frame of the first buffer ends in the second, and so on. The loop covers all
        // ways to cut a frame.
        for cut in 1..bytes.len() / 20 {
            let (first, second) = bytes.split_at(cut);
            for connection in 0..CONNECTIONS {
                shard.receive(connection, first);
            }
            shard.turn();
            for connection in 0..CONNECTIONS {
                shard.receive(connection, second);
            }
            shard.turn();
        }
    };
    (0..2).for_each(|_| turn(&mut shard));
    let hits = (40 * CONNECTIONS * (bytes.len() / 20 - 1)) as u64;
    assert_eq!(shard.counted(turn), (0, hits));
}

#[test]
fn hits_by_the_memcached_protocol_allocate_nothing() {
    let mut shard = Shard::new();
    shard.speak_memcached();
    let key = |number: u32| format!("key-{}", number * 3 % KEYS);
    let single = (0..20).map(|number| format!("get {}\r\n", key(number)));
    let meta = (0..20)
        .map(|number| format!("mg {} v{}\r\n", key(number), ["", " f c t"][number as usize % 2]));
    let keys: Vec<String> = (0..40).map(key).collect();
    let bytes: String =
        single.chain(meta).chain([format!("gets k:{}\r\n", keys.join(" "))]).collect();
    let turn = |shard: &mut Shard| {
        for connection in 0..CONNECTIONS {
            // The second request lies across two buffers.
            shard.receive(connection, &bytes.as_bytes()[..20]);
        }
        shard.turn();
        for connection in 0..CONNECTIONS {
            shard.receive(connection, &bytes.as_bytes()[20..]);
        }
        shard.turn();
    };
    (0..4).for_each(|_| turn(&mut shard));
    assert_eq!(shard.counted(turn), (0, 80 * CONNECTIONS as u64));
}

#[test]
fn allocations_of_a_miss_are_counted() {
    let mut shard = Shard::new();
    let (allocations, hits) = shard.counted(|shard| shard.get(0, KEYS + 1));
    assert!(allocations > 0 && hits == 0, "{allocations} allocations, {hits} hits");
}
