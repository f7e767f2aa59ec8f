//! A small server that speaks the protocol over real sockets, and a master's UDP half.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part"
)]

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use standin_client::ClientConfig;
use standin_client::runtime::Driver;
use standin_config::{KernelUse, TlsCalls, TlsConfig, TlsOwn, TlsPort};
use standin_protocol::auth::ClusterKey;
use standin_protocol::body::{Counter, PingReply, StatsReply};
use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::frame::{
    FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::hello::{
    Accepted, HelloBody, HelloError, HelloReply, Known, NONCE_BYTES, cluster_id,
};
use standin_protocol::map::{
    ClusterMap, MapEpoch, ServerInfo, ServerState, ServerStatus, Topology,
};
use standin_testkit::{Authority, read_some};
use standin_tls::Acceptor;

/// Both event loops of the monoio shell. Where io_uring is unavailable, and need not be, epoll twice.
pub(crate) fn drivers() -> [Driver; 2] {
    [standin_testkit::uring::or(Driver::Uring, Driver::Epoll), Driver::Epoll]
}

/// Key → version and value: the database that all servers share.
type Rows = Arc<Mutex<HashMap<Vec<u8>, (u64, Vec<u8>)>>>;

const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

/// Servers and a master on ports of their own.
pub struct Cluster {
    pub topology: Arc<Topology>,
    pub servers: Vec<Server>,
    pub notices: Arc<Mutex<Vec<Datagram>>>,
}

#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    id: u16,
    topology: Arc<Topology>,
    key: Option<ClusterKey>,
    tls: Option<Arc<Acceptor>>,
    is_down: AtomicBool,
    is_silent: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    invalidated: AtomicUsize,
    rows: Rows,
}

impl Cluster {
    /// One group of this many servers with two shards each, on one common database.
    pub fn start(servers: usize, key: Option<ClusterKey>) -> Self {
        Self::start_with(servers, key, None)
    }

    /// Two servers with TLS, whose authority is in this folder. Callers need a certificate of it. Returns the
    /// configuration of such callers, too.
    pub fn start_with_tls(folder: &Path) -> (Self, ClientConfig) {
        let authority = Authority::new(folder, "root");
        let own = authority.issue("server", "IP:127.0.0.1");
        let root = authority.root.certificate.clone();
        let ports = TlsConfig {
            ports: vec![TlsPort::Standin],
            cert_file: own.certificate,
            key_file: own.key,
            client_ca_file: Some(root.clone()),
            kernel: KernelUse::default(),
            is_certificate_enough: false,
            ca_file: Some(root),
            name: None,
        };
        let client = authority.issue("client", "DNS:client");
        let own = TlsOwn { cert_file: client.certificate, key_file: client.key };
        let calls = TlsCalls { own: Some(own), ..ports.calls().unwrap() };
        let cluster = Self::start_with(2, None, Some(Arc::new(Acceptor::new(&ports).unwrap())));
        // A busy machine must not look like a silent server.
        let attempt_timeout = Duration::from_secs(20);
        let operation_timeout = attempt_timeout * 3;
        let tls = Some(calls);
        let default = ClientConfig::default();
        (cluster, ClientConfig { tls, attempt_timeout, operation_timeout, ..default })
    }

    fn start_with(servers: usize, key: Option<ClusterKey>, tls: Option<Arc<Acceptor>>) -> Self {
        let listeners: Vec<TcpListener> =
            (0..servers).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let infos = listeners.iter().enumerate().map(|(id, listener)| ServerInfo {
            name: format!("s{id}"),
            group: 0,
            weight: 1,
            shards: 2,
            address: listener.local_addr().unwrap(),
        });
        let master = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address = master.local_addr().unwrap();
        let topology = Topology::new("test".to_owned(), address, infos.collect(), 64).unwrap();
        let topology = Arc::new(topology);
        let notices = Arc::default();
        let rows = Arc::default();
        let start = |(id, listener)| {
            let (keys, rows) = ((key.clone(), tls.clone()), Arc::clone(&rows));
            Server::start(id, listener, Arc::clone(&topology), keys, rows)
        };
        let servers = (0u16..).zip(listeners).map(start).collect();
        run_master(master, Arc::clone(&topology), key, Arc::clone(&notices));
        Self { topology, servers, notices }
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.topology.servers.iter().map(|server| server.address).collect()
    }

    /// The server whose type this key usually is.
    pub fn home(&self, key: &[u8]) -> &Server {
        &self.servers[usize::from(self.topology.home(self.topology.partition(1, key)))]
    }
}

/// Answers every notice: what is reported as failed is offline.
fn run_master(
    socket: UdpSocket,
    topology: Arc<Topology>,
    key: Option<ClusterKey>,
    notices: Arc<Mutex<Vec<Datagram>>>,
) {
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        let mut epoch = MapEpoch { term: 1, counter: 0 };
        let mut statuses = vec![ServerStatus::default(); topology.servers.len()];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let notice =
                Datagram::parse(&buffer[..count], key.as_ref(), Some(topology.id)).unwrap();
            let state = match notice.kind {
                DatagramKind::ReportFailed => ServerState::Offline,
                _ => ServerState::Online,
            };
            let status = &mut statuses[usize::from(notice.subject)];
            if status.state != state {
                epoch = epoch.next();
                *status = ServerStatus { state, since: epoch, boot_id: 1 };
            }
            let mut verdict = Datagram::new(DatagramKind::Verdict, SENDER_MASTER, topology.id, 1);
            verdict.subject = notice.subject;
            verdict.nonce = notice.nonce;
            verdict.epoch = epoch;
            verdict.statuses = statuses.clone();
            notices.lock().unwrap().push(notice);
            socket.send_to(&verdict.to_bytes(key.as_ref()), from).unwrap();
        }
    });
}

impl Server {
    fn start(
        id: u16,
        listener: TcpListener,
        topology: Arc<Topology>,
        (key, tls): (Option<ClusterKey>, Option<Arc<Acceptor>>),
        rows: Rows,
    ) -> Self {
        let shared = Arc::new(Shared {
            id,
            topology,
            key,
            tls,
            is_down: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            invalidated: AtomicUsize::new(0),
            rows,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.is_down.load(Ordering::SeqCst) {
                    continue;
                }
                stream.set_nodelay(true).unwrap();
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.connections.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    let peer = stream.peer_addr().ok();
                    shared.serve(stream);
                    shared.connections.lock().unwrap().retain(|s| s.peer_addr().ok() != peer);
                });
            }
        });
        Self { shared }
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// Closes all connections; new ones are closed at once.
    pub fn stop(&self) {
        self.shared.is_down.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Closes all connections, as for being idle.
    pub fn close(&self) {
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Like SIGSTOP: nothing is closed and nothing is said.
    pub fn freeze(&self) {
        self.shared.is_silent.store(true, Ordering::SeqCst);
    }

    pub fn id(&self) -> u16 {
        self.shared.id
    }

    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut inbound = Vec::new();
        let mut chunk = vec![0; 1 << 16];
        let mut tls = self.tls.as_ref().map(|tls| tls.accept());
        loop {
            let mut out = Vec::new();
            let mut read = 0;
            while let Some(request) =
                Request::parse(&inbound[read..], FrameLimits::default()).unwrap()
            {
                self.reply(&request, &mut out);
                read += request.header.frame_bytes();
            }
            inbound.drain(..read);
            let is_silent = self.is_silent.load(Ordering::SeqCst);
            if let Some(tls) = &mut tls {
                let mut plain = std::mem::take(&mut out);
                tls.seal(&mut plain, &mut out);
            }
            if !is_silent && stream.write_all(&out).is_err() {
                return;
            }
            let count = match read_some(&mut stream, &mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            let Some(tls) = &mut tls else {
                inbound.extend_from_slice(&chunk[..count]);
                continue;
            };
            if tls.receive(&chunk[..count], &mut inbound).is_err() {
                let mut alert = Vec::new();
                tls.seal(&mut Vec::new(), &mut alert);
                let _ = stream.write_all(&alert);
                return;
            }
        }
    }

    fn reply(&self, request: &Request<'_>, out: &mut Vec<u8>) {
        let opcode = Opcode::from_wire(request.header.opcode).unwrap();
        let row = (request.header.keyspace, request.key);
        assert!(matches!(opcode, Opcode::Hello) || request.header.request_id != 0, "{row:?}");
        let (status, version, value) = self.outcome(opcode, &request.header, request);
        let mut header = ResponseHeader::reply_to(&request.header, status);
        header.cas_version = version;
        header.ttl_s = request.header.ttl_s();
        Response::write(header, &value, out);
    }

    fn outcome(
        &self,
        opcode: Opcode,
        header: &RequestHeader,
        request: &Request<'_>,
    ) -> (Status, u64, Vec<u8>) {
        let mut rows = self.rows.lock().unwrap();
        let current = rows.get(request.key).cloned();
        match (opcode, current) {
            (Opcode::Hello, _) => {
                let own = cluster_id(&self.topology.name);
                let known = Known::of(self.key.as_ref());
                // The challenge never changes: a test server need not be safe.
                match HelloBody::accept(request.value, known, Some(&NONCE), own) {
                    Err(HelloError::ProofMissing) => (Status::AuthRequired, 0, NONCE.to_vec()),
                    Err(_) => (Status::AuthFailed, 0, Vec::new()),
                    Ok(Accepted { body: hello, .. }) => {
                        let reply = HelloReply {
                            cluster_id: own,
                            server: self.id,
                            shards: 2,
                            shard: hello.shard,
                            reserved: 0,
                        };
                        (Status::Ok, 0, reply.to_bytes().to_vec())
                    }
                }
            }
            (Opcode::Put, current) => {
                let version = current.map_or(1, |(version, _)| version + 1);
                rows.insert(request.key.to_vec(), (version, request.value.to_vec()));
                (Status::Ok, version, Vec::new())
            }
            (Opcode::Ping, _) => {
                let reply = PingReply { server: self.id, ..PingReply::default() };
                (Status::Ok, 0, reply.to_bytes())
            }
            (Opcode::Stats, _) => {
                let invalidated = self.invalidated.load(Ordering::SeqCst) as u64;
                let counter = |(name, value): (&str, u64)| Counter { name: name.to_owned(), value };
                let counters = [("rows", rows.len() as u64), ("invalidated", invalidated)];
                let counters = counters.map(counter).into();
                (Status::Ok, 0, StatsReply { counters, ..StatsReply::default() }.to_bytes())
            }
            (Opcode::Map, _) => {
                let topology = Arc::clone(&self.topology);
                let map = ClusterMap::new(topology, MapEpoch::default(), Vec::new());
                (Status::Ok, 0, map.to_bytes())
            }
            (Opcode::Invalidate, _) => {
                self.invalidated.fetch_add(1, Ordering::SeqCst);
                (Status::Ok, 0, Vec::new())
            }
            (Opcode::Flush, _) => (Status::Ok, 0, Vec::new()),
            (
                Opcode::Settle
                | Opcode::Handback
                | Opcode::Modify
                | Opcode::Transact
                | Opcode::Walk
                | Opcode::Hot,
                _,
            ) => (Status::NotSupported, 0, Vec::new()),
            (_, None) => (Status::NotFound, 0, Vec::new()),
            (Opcode::Get, Some((version, value))) => (Status::Ok, version, value),
            (Opcode::Touch, Some((version, _))) => (Status::Ok, version, Vec::new()),
            (Opcode::Delete, Some(_)) => {
                rows.remove(request.key);
                (Status::Ok, 0, Vec::new())
            }
            (Opcode::Cas, Some((version, _))) if version != header.cas_version => {
                (Status::VersionMismatch, version, Vec::new())
            }
            (Opcode::Cas, Some((version, _))) => {
                rows.insert(request.key.to_vec(), (version + 1, request.value.to_vec()));
                (Status::Ok, version + 1, Vec::new())
            }
        }
    }
}
