//! The environment of a master on real sockets: model servers, a client, and functions that wait.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use standin_config::{ClusterConfig, IoKind, OriginConfig};
use standin_master::{Master, MasterEvent, MasterHandle, MasterOptions};
use standin_protocol::auth::ClusterKey;
use standin_protocol::body::PingReply;
use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT};
use standin_protocol::frame::{
    FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::hello::{
    Accepted, HelloBody, HelloReply, Known, NONCE_BYTES, Role, cluster_id,
};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_testkit::wait::poll_for;
use standin_testkit::{free_ports, uring};

const WAIT: Duration = Duration::from_secs(10);

/// A directory, a cluster of model servers, and the events of its master.
pub(crate) struct Cluster {
    pub(crate) config: ClusterConfig,
    pub(crate) topology: Arc<Topology>,
    pub(crate) events: Arc<Mutex<Vec<MasterEvent>>>,
    pub(crate) io: IoKind,
    pub(crate) _directory: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new(io: IoKind, secret: Option<[u8; 32]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ports = free_ports(5);
        let ports: Vec<SocketAddr> =
            ports.into_iter().map(|port| ([127, 0, 0, 1], port).into()).collect();
        let mut config =
            ClusterConfig::new("shell", ports[0], OriginConfig::sqlite("unused.sqlite"))
                .with_group("a", [("a1", ports[1]), ("a2", ports[2])])
                .with_group("b", [("b1", ports[3]), ("b2", ports[4])]);
        for server in &mut config.servers {
            server.shards = 2;
        }
        config.partitions = 16;
        config.master.state_file = directory.path().join("state/master.state");
        config.security.secret = secret;
        config.limits.handshake_timeout = Duration::from_millis(300);
        let topology = Arc::new(config.topology().expect("a valid topology"));
        let events = Arc::default();
        Self { config, topology, events, io, _directory: directory }
    }

    pub(crate) fn options(&self) -> MasterOptions {
        MasterOptions {
            cluster: self.config.clone(),
            topology: self.topology.clone(),
            io: self.io,
            log_lines_lost: Arc::default(),
        }
    }

    pub(crate) fn master(&self) -> MasterHandle {
        let events = self.events.clone();
        Master::start(self.options(), move |event| events.lock().expect("events").push(event))
            .expect("a master")
    }

    pub(crate) fn server(&self, id: u16, boot_id: u64) -> ModelServer {
        let key = self.config.cluster_key();
        ModelServer::start(self.topology.clone(), key, id, boot_id)
    }

    pub(crate) fn servers(&self) -> Vec<ModelServer> {
        (0..4).map(|id| self.server(id, 100 + u64::from(id))).collect()
    }

    pub(crate) fn wait_for(&self, kind: &str, server: u16) {
        let has = || {
            let events = self.events.lock().expect("events");
            events.iter().any(|e| e.kind() == kind && e.server() == Some(server))
        };
        wait_until(&format!("{kind} of {server}"), has, &|| {
            format!("{:?}", self.events.lock().expect("events"))
        });
    }

    pub(crate) fn wait_for_states(
        &self,
        client: &mut Client,
        states: [ServerState; 4],
    ) -> ClusterMap {
        let deadline = Instant::now() + WAIT;
        loop {
            let (status, value) = client.ask(Opcode::Map, &[]);
            if status == Status::Ok {
                let map = ClusterMap::from_bytes(&value).expect("a map");
                if map.statuses().iter().map(|s| s.state).eq(states) {
                    return map;
                }
            }
            let events = self.events.lock().expect("events");
            assert!(Instant::now() < deadline, "{states:?} does not come about: {events:?}");
            drop(events);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn report(&self, subject: u16) -> Datagram {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let key = self.config.cluster_key();
        let mut datagram =
            Datagram::new(DatagramKind::ReportFailed, SENDER_CLIENT, self.topology.id, fresh_id());
        datagram.subject = subject;
        datagram.nonce = fresh_id();
        let mut buffer = vec![0; 65_536];
        for sequence in 1..50 {
            datagram.sequence = sequence;
            let bytes = datagram.to_bytes(key.as_ref());
            socket.send_to(&bytes, self.topology.master).expect("sent");
            let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
            assert_eq!(from, self.topology.master);
            let verdict = Datagram::parse(&buffer[..len], key.as_ref(), Some(self.topology.id));
            let verdict = verdict.expect("a datagram of the master");
            assert_eq!((verdict.kind, verdict.nonce), (DatagramKind::Verdict, datagram.nonce));
            return verdict;
        }
        panic!("no verdict: {:?}", self.events.lock().expect("events"));
    }
}

/// A server that looks like a real one to the master.
pub(crate) struct ModelServer {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) announced: Arc<AtomicU64>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl ModelServer {
    pub(crate) fn start(
        topology: Arc<Topology>,
        key: Option<ClusterKey>,
        id: u16,
        boot_id: u64,
    ) -> Self {
        let address = topology.servers[usize::from(id)].address;
        let stop = Arc::new(AtomicBool::new(false));
        let announced = Arc::new(AtomicU64::new(0));
        let tcp = TcpListener::bind(address).expect("the server's port");
        let udp = UdpSocket::bind(address).expect("the server's port");
        let control = {
            let (stop, announced, topology, key) =
                (stop.clone(), announced.clone(), topology.clone(), key.clone());
            std::thread::spawn(move || {
                run_control(&stop, &announced, &topology, key, &udp, id, boot_id)
            })
        };
        let data = {
            let (stop, announced) = (stop.clone(), announced.clone());
            std::thread::spawn(move || {
                run_data(&stop, &announced, &topology, key.as_ref(), &tcp, id, boot_id)
            })
        };
        Self { stop, announced, threads: vec![control, data] }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }

    pub(crate) fn kill(mut self) {
        self.end();
    }

    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a model server must not panic");
        }
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

pub(crate) fn run_control(
    stop: &AtomicBool,
    announced: &AtomicU64,
    topology: &Topology,
    key: Option<ClusterKey>,
    udp: &UdpSocket,
    id: u16,
    boot_id: u64,
) {
    udp.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    let mut sequence = 0;
    let mut say = |kind, epoch: u64| {
        sequence += 1;
        let mut datagram = Datagram::new(kind, id, topology.id, boot_id);
        datagram.sequence = sequence;
        datagram.epoch = MapEpoch::from_u64(epoch);
        let _ = udp.send_to(&datagram.to_bytes(key.as_ref()), topology.master);
    };
    let mut buffer = vec![0; 65_536];
    let mut renew_at = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        if Instant::now() >= renew_at {
            say(DatagramKind::Renew, announced.load(Ordering::SeqCst));
            renew_at = Instant::now() + Duration::from_millis(100);
        }
        let Ok((len, _)) = udp.recv_from(&mut buffer) else { continue };
        let datagram = Datagram::parse(&buffer[..len], key.as_ref(), Some(topology.id));
        let datagram = datagram.expect("a datagram of the master");
        if datagram.kind == DatagramKind::Announce {
            announced.fetch_max(datagram.epoch.to_u64(), Ordering::SeqCst);
            say(DatagramKind::Ack, announced.load(Ordering::SeqCst));
        }
    }
}

pub(crate) fn run_data(
    stop: &AtomicBool,
    announced: &AtomicU64,
    topology: &Topology,
    key: Option<&ClusterKey>,
    tcp: &TcpListener,
    id: u16,
    boot_id: u64,
) {
    tcp.set_nonblocking(true).expect("not blocking");
    while !stop.load(Ordering::SeqCst) {
        let Ok((mut stream, _)) = tcp.accept() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let nonce = [7; NONCE_BYTES];
        let mut is_challenged = false;
        let mut shard = 0;
        let mut input = Vec::new();
        let mut chunk = [0; 4_096];
        while let Ok(len) = read(&mut stream, &mut chunk) {
            if len == 0 {
                break;
            }
            input.extend_from_slice(&chunk[..len]);
            let Ok(Some(request)) = Request::parse(&input, FrameLimits::default()) else {
                continue;
            };
            let mut output = Vec::new();
            let mut reply = |status, value: &[u8]| {
                let header = ResponseHeader::reply_to(&request.header, status);
                Response::write(header, value, &mut output);
            };
            match Opcode::from_wire(request.header.opcode) {
                Some(Opcode::Hello) if key.is_some() && !is_challenged => {
                    is_challenged = true;
                    reply(Status::AuthRequired, &nonce);
                }
                Some(Opcode::Hello) => {
                    let own = cluster_id(&topology.name);
                    let heard = HelloBody::accept(request.value, Known::of(key), Some(&nonce), own);
                    let Accepted { body: hello, role, .. } = heard.expect("a hello");
                    assert_eq!(role, Role::Master);
                    shard = if hello.shard == u16::MAX { 0 } else { hello.shard };
                    let hello =
                        HelloReply { server: id, shard, shards: 2, ..HelloReply::default() };
                    reply(Status::Ok, &hello.to_bytes());
                }
                Some(Opcode::Ping) => {
                    let map_epoch = announced.load(Ordering::SeqCst);
                    let ping = PingReply {
                        boot_id,
                        map_epoch,
                        drained_epoch: map_epoch,
                        server: id,
                        shard,
                        origin_up: 1,
                        ..PingReply::default()
                    };
                    reply(Status::Ok, &ping.to_bytes());
                }
                other => panic!("the master asks a server for {other:?}"),
            }
            input.clear();
            if stream.write_all(&output).is_err() {
                break;
            }
        }
    }
}

/// A client on the master's TCP port.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) next_id: u32,
    /// The bytes after the last answer.
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the master's port");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        Self { stream, next_id: 0, input: Vec::new() }
    }

    pub(crate) fn greeted(cluster: &Cluster) -> Self {
        let mut client = Self::connect(cluster.topology.master);
        let body = HelloBody { cluster_id: cluster_id("shell"), ..HelloBody::default() };
        let (mut status, mut value) = client.ask(Opcode::Hello, &body.to_bytes());
        if let Some(key) = cluster.config.cluster_key() {
            assert_eq!(status, Status::AuthRequired);
            (status, value) = client.ask(Opcode::Hello, &body.with_proof(&key, &value));
        }
        assert_eq!(status, Status::Ok);
        let (cluster_id, server, shards) = (cluster_id("shell"), u16::MAX, 1);
        let reply = HelloReply { cluster_id, server, shards, ..HelloReply::default() };
        assert_eq!(HelloReply::read(&value), Some(reply));
        client
    }

    pub(crate) fn ask(&mut self, opcode: Opcode, value: &[u8]) -> (Status, Vec<u8>) {
        self.next_id += 1;
        let mut bytes = Vec::new();
        Request::write(RequestHeader::new(opcode, 0, self.next_id), &[], value, &mut bytes);
        self.stream.write_all(&bytes).expect("sent");
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> (Status, Vec<u8>) {
        self.read(|response| (response.status, response.value.to_vec()))
    }

    /// Returns the request id and the status of the next answer.
    pub(crate) fn response(&mut self) -> (u32, Status) {
        self.read(|response| (response.header.request_id, response.status))
    }

    fn read<T>(&mut self, get: impl FnOnce(&Response<'_>) -> T) -> T {
        let mut chunk = [0; 4_096];
        loop {
            if let Some(response) = Response::parse(&self.input).expect("a response") {
                let got = get(&response);
                let used = response.header.frame_bytes();
                self.input.drain(..used);
                return got;
            }
            let len = read(&mut self.stream, &mut chunk).expect("an answer");
            assert_ne!(len, 0, "closed before the answer");
            self.input.extend_from_slice(&chunk[..len]);
        }
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(read(&mut self.stream, &mut [0; 64]), Ok(0) | Err(_))
    }
}

/// Reads, and repeats the call if the kernel interrupts it. The rings of a master in this process
/// cause interruptions.
fn read(stream: &mut TcpStream, chunk: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool, context: &dyn Fn() -> String) {
    let found = poll_for(WAIT, || holds().then_some(()));
    assert!(found.is_some(), "{what} does not come about: {}", context());
}

/// Returns io_uring, or epoll if io_uring need not be available.
pub(crate) fn ring() -> IoKind {
    uring::or(IoKind::Uring, IoKind::Epoll)
}

pub(crate) fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst) << 20
}
