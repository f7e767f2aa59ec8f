//! A server (or two) of a cluster whose master is played by the test. The master announces what the
//! test wants, and marks a server that leaves offline at once.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind, KeyspaceConfig, OriginConfig, OriginKind};
use standin_protocol::auth::ClusterKey;
use standin_protocol::body::StatsReply;
use standin_protocol::control::{DATAGRAM_BYTES_MAX, Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_server::Server;
use standin_testkit::ports::free_ports;
use standin_testkit::scratch::Scratch;
use standin_testkit::wait::wait_until;

use crate::wire::{Wire, request};

/// A time that is long enough for anything that is going to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The keyspace that is read and written.
pub(crate) const ITEMS: u8 = 1;
/// The keyspace that is only read, over the same rows.
pub(crate) const VIEW: u8 = 2;

/// Defines one test per event loop from one body.
macro_rules! on_both_loops {
    ($($(#[$attribute:meta])* fn $name:ident($io:ident) $body:block)+) => { $(
        mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "not every body needs all")]
            use super::*;

            $(#[$attribute])*
            fn run($io: standin_config::IoKind) $body

            #[test]
            fn uring() {
                if standin_testkit::uring::is_available() {
                    run(standin_config::IoKind::Uring);
                }
            }

            #[test]
            fn epoll() {
                run(standin_config::IoKind::Epoll);
            }
        }
    )+ };
}

/// Servers, their master and their database.
pub(crate) struct Cluster {
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) master: FakeMaster,
    pub(crate) servers: Vec<Server>,
    pub(crate) database: rusqlite::Connection,
    _scratch: Scratch,
}

impl Cluster {
    /// Starts one server of a group of two.
    pub(crate) fn one(io: IoKind, change: impl FnOnce(&mut ClusterConfig)) -> Self {
        Self::start(io, 1, change)
    }

    /// Starts `running` servers of a group of two.
    pub(crate) fn start(
        io: IoKind,
        running: usize,
        change: impl FnOnce(&mut ClusterConfig),
    ) -> Self {
        let scratch = Scratch::new("sockets");
        let ports = free_ports(3);
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut origin = OriginConfig::sqlite(scratch.file("origin.sqlite"));
        if let OriginKind::Sqlite { init, .. } = &mut origin.kind {
            let table = "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BLOB)";
            *init = Some(table.to_owned());
        }
        let mut config = ClusterConfig::new("sockets", address(ports[0]), origin)
            .with_group("a", [("a1", address(ports[1])), ("a2", address(ports[2]))]);
        let get = "SELECT value FROM items WHERE id = :key";
        let mut items = KeyspaceConfig::new(ITEMS, "items", get);
        items.put = Some(
            "INSERT INTO items VALUES (:key, :value) \
             ON CONFLICT (id) DO UPDATE SET value = excluded.value"
                .to_owned(),
        );
        items.delete = Some("DELETE FROM items WHERE id = :key".to_owned());
        config.keyspaces = vec![items, KeyspaceConfig::new(VIEW, "view", get)];
        for server in &mut config.servers {
            (server.io, server.memory_bytes, server.huge_pages) = (io, 32 << 20, false);
        }
        // On a busy machine the answers must be the same.
        config.origin.as_mut().expect("it has a database").timeout = PATIENCE;
        // And a machine that stands still for a moment, up to half a lease, must not be taken for a server
        // that was stopped, which drops its connections.
        config.timings.attempt_timeout = PATIENCE / 4;
        change(&mut config);
        let config = Arc::new(config);
        let master = FakeMaster::start(&config);
        let names = config.servers.iter().take(running);
        let servers: Vec<Server> = names
            .map(|own| Server::start(Arc::clone(&config), &own.name).expect("the server starts"))
            .collect();
        let database = rusqlite::Connection::open(scratch.file("origin.sqlite")).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        let cluster = Self { config, master, servers, database, _scratch: scratch };
        cluster.wait_for_map();
        cluster
    }

    /// Waits until every shard of every running server has a map in which all of them are online.
    fn wait_for_map(&self) {
        let boots: Vec<u64> = self.servers.iter().map(Server::boot_id).collect();
        for (index, server) in self.config.servers.iter().enumerate().take(boots.len()) {
            for shard in 0..server.shards {
                wait_until(PATIENCE, "the map", || {
                    let mut wire = self.wire_to(index, shard);
                    let reply = wire.ask(&request(Opcode::Map, 0, 1, b"", b""));
                    let map = (reply.status == Status::Ok)
                        .then(|| ClusterMap::from_bytes(&reply.value).unwrap());
                    map.is_some_and(|map| {
                        map.statuses().iter().zip(&boots).all(|(held, boot)| held.boot_id == *boot)
                    })
                });
            }
        }
    }

    /// Returns the address of the first server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.config.servers[0].address
    }

    /// Opens a connection to the first server's shard 0.
    pub(crate) fn wire(&self) -> Wire {
        self.wire_to(0, 0)
    }

    /// Opens a connection, including its HELLO.
    pub(crate) fn wire_to(&self, server: usize, shard: u16) -> Wire {
        let mut wire = Wire::connect(self.config.servers[server].address);
        wire.hello(shard, self.config.cluster_key().as_ref());
        wire
    }

    /// Writes a row to the database without the server's knowledge.
    pub(crate) fn seed(&self, key: &str, value: &[u8]) {
        let statement = "INSERT OR REPLACE INTO items VALUES (?1, ?2)";
        self.database.execute(statement, (key, value)).unwrap();
    }

    /// Waits until the first server keeps a key for its normal lifetime. A process that has just
    /// started keeps it only briefly while the other server is away (docs/FAILOVER.md).
    pub(crate) fn wait_kept(&self, key: &str) {
        let mut wire = self.wire();
        wait_until(PATIENCE, "an entry with a version", || {
            let reply = wire.ask(&request(Opcode::Get, ITEMS, 1, key.as_bytes(), b""));
            assert_eq!(reply.status, Status::Ok);
            reply.header.cas_version != 0
        });
    }

    /// Returns a counter of the first server as a new connection learns it.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let reply = self.wire().ask(&request(Opcode::Stats, 0, 1, b"", b""));
        let stats = StatsReply::from_bytes(&reply.value).unwrap();
        stats.counters.iter().find(|counter| counter.name == name).expect("a counter").value
    }

    /// Asserts that the server still serves a miss, a hit, a write, and a pipeline on every shard.
    /// In the end only the connection that asks may be open.
    pub(crate) fn assert_healthy(&self) {
        assert!(
            !self.servers.iter().any(|server| server.failed_thread().is_some()),
            "a shard has ended"
        );
        for shard in 0..self.config.servers[0].shards {
            let mut wire = self.wire_to(0, shard);
            let write = request(Opcode::Put, ITEMS, 1, b"healthy", b"yes");
            assert_eq!(wire.ask(&write).status, Status::Ok);
            let read = request(Opcode::Get, ITEMS, 2, b"healthy", b"");
            assert_eq!(wire.ask(&read).value, b"yes");
            // There are as many requests at once as may wait if they belong to another shard.
            let at_once = self.config.limits.in_flight_per_connection.min(1_000) as usize;
            for _ in 0..1_000 / at_once {
                wire.send(&read.repeat(at_once));
                assert!(wire.take(at_once).iter().all(|reply| reply.value == b"yes"));
            }
        }
        if self.servers.len() == 1 {
            self.wait_for_no_connection();
        }
    }

    /// Waits until only the connection that asks is open. Links of another server would count.
    pub(crate) fn wait_for_no_connection(&self) {
        wait_until(PATIENCE, "the connections to be gone", || self.counter("connections") <= 1);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in self.servers.drain(..) {
            let failed = server.failed_thread().is_some();
            let stopped = server.stop();
            if !std::thread::panicking() {
                assert!(!failed, "a shard has ended unexpectedly");
                stopped.expect("the server stops");
            }
        }
    }
}

/// The state of the fake master, and its socket.
struct MasterState {
    socket: UdpSocket,
    key: Option<ClusterKey>,
    topology_id: u64,
    sequence: u64,
    epoch: MapEpoch,
    statuses: Vec<ServerStatus>,
    addresses: Vec<SocketAddr>,
    reports: Vec<u16>,
    probes: Vec<Datagram>,
}

impl MasterState {
    fn say(&mut self, to: usize, kind: DatagramKind, question: Option<&Datagram>) {
        self.sequence += 1;
        let mut datagram = Datagram::new(kind, SENDER_MASTER, self.topology_id, 1);
        (datagram.epoch, datagram.sequence) = (self.epoch, self.sequence);
        datagram.recipient = u16::try_from(to).unwrap();
        datagram.statuses = self.statuses.clone();
        if let Some(question) = question {
            (datagram.subject, datagram.nonce) = (question.subject, question.nonce);
            datagram.arg = self.statuses[usize::from(question.subject)].state as u32;
        }
        if kind == DatagramKind::Grant {
            datagram.arg = u32::try_from(PATIENCE.as_millis()).unwrap();
        }
        let bytes = datagram.to_bytes(self.key.as_ref());
        self.socket.send_to(&bytes, self.addresses[to]).unwrap();
    }

    fn change(&mut self, server: usize, state: ServerState, boot_id: u64) {
        self.epoch = self.epoch.next();
        self.statuses[server] = ServerStatus { state, since: self.epoch, boot_id };
        (0..self.addresses.len()).for_each(|to| self.say(to, DatagramKind::Announce, None));
    }

    fn hear(&mut self, datagram: &Datagram) {
        let sender = usize::from(datagram.sender);
        match datagram.kind {
            DatagramKind::Renew => {
                if self.statuses[sender].boot_id != datagram.boot_id {
                    self.change(sender, ServerState::Online, datagram.boot_id);
                } else if datagram.epoch < self.epoch {
                    self.say(sender, DatagramKind::Announce, None);
                }
                self.say(sender, DatagramKind::Grant, Some(datagram));
            }
            DatagramKind::Leaving => {
                if self.statuses[sender].state != ServerState::Offline {
                    self.change(sender, ServerState::Offline, datagram.boot_id);
                }
                self.say(sender, DatagramKind::Verdict, Some(datagram));
            }
            DatagramKind::ProbeResult => self.probes.push(datagram.clone()),
            DatagramKind::ReportFailed => {
                self.reports.push(datagram.subject);
                self.say(sender, DatagramKind::Verdict, Some(datagram));
            }
            _ => {}
        }
    }
}

/// The master's thread.
pub(crate) struct FakeMaster {
    held: Arc<Mutex<MasterState>>,
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeMaster {
    fn start(config: &ClusterConfig) -> Self {
        let socket = UdpSocket::bind(config.master.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let topology = config.topology().unwrap();
        let (key, topology_id) = (config.cluster_key(), topology.id);
        let epoch = MapEpoch { term: 1, counter: 1 };
        let offline = ServerStatus { state: ServerState::Offline, since: epoch, boot_id: 0 };
        let held = Arc::new(Mutex::new(MasterState {
            socket: socket.try_clone().unwrap(),
            key: key.clone(),
            topology_id,
            sequence: 0,
            epoch,
            statuses: vec![offline; config.servers.len()],
            addresses: config.servers.iter().map(|server| server.address).collect(),
            reports: Vec::new(),
            probes: Vec::new(),
        }));
        let ends = Arc::new(AtomicBool::new(false));
        let (shared, end) = (Arc::clone(&held), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
                let read = Datagram::parse(&buffer[..length], key.as_ref(), Some(topology_id));
                if let Ok(datagram) = read {
                    lock(&shared).hear(&datagram);
                }
            }
        });
        Self { held, ends, thread: Some(thread) }
    }

    /// Returns the servers that were reported.
    pub(crate) fn reports(&self) -> Vec<u16> {
        lock(&self.held).reports.clone()
    }

    /// Makes the first server contact another one, and returns its report.
    pub(crate) fn ask_probe(&self, subject: u16) -> Datagram {
        let nonce = lock(&self.held).sequence + 1_000;
        let question = Datagram { subject, nonce, ..self.announcement() };
        let found = || lock(&self.held).probes.iter().find(|d| d.nonce == nonce).cloned();
        wait_until(PATIENCE, "the outcome of a probe", || {
            lock(&self.held).say(0, DatagramKind::AskProbe, Some(&question));
            found().is_some()
        });
        found().expect("seen a moment ago")
    }

    /// Tells all servers that a server is online, whether or not it is.
    pub(crate) fn say_online(&self, server: usize) {
        lock(&self.held).change(server, ServerState::Online, 1);
    }

    /// Tells all servers that a server is offline.
    pub(crate) fn say_offline(&self, server: usize) {
        lock(&self.held).change(server, ServerState::Offline, 1);
    }

    /// Returns a correct announcement, as the master would send it to the first server.
    pub(crate) fn announcement(&self) -> Datagram {
        let held = lock(&self.held);
        let mut datagram =
            Datagram::new(DatagramKind::Announce, SENDER_MASTER, held.topology_id, 1);
        (datagram.epoch, datagram.sequence) = (held.epoch, held.sequence + 1);
        datagram.recipient = 0;
        datagram.statuses = held.statuses.clone();
        datagram
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn lock(held: &Mutex<MasterState>) -> MutexGuard<'_, MasterState> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
