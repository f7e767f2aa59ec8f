//! The master's shell on real sockets, on io_uring and on epoll, with small servers that
//! speak the protocol.
#![expect(clippy::disallowed_methods, reason = "tests wait for conditions with a deadline")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use standin_config::{ClusterConfig, IoKind, OriginConfig};
use standin_master::{Master, MasterError, MasterEvent, MasterHandle, MasterOptions};
use standin_protocol::auth::ClusterKey;
use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::control::{Datagram, Kind, SENDER_CLIENT};
use standin_protocol::frame::{
    FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::hello::{HelloBody, HelloReply, NONCE_BYTES, Role, cluster_id};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};

const WAIT: Duration = Duration::from_secs(10);

/// A directory, a cluster of model servers, and the events of its master.
struct Cluster {
    config: ClusterConfig,
    topology: Arc<Topology>,
    events: Arc<Mutex<Vec<MasterEvent>>>,
    io: IoKind,
    _directory: tempfile::TempDir,
}

impl Cluster {
    fn new(io: IoKind, secret: Option<[u8; 32]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ports = free_ports(5);
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
        let topology = Arc::new(config.topology().expect("sound"));
        let events = Arc::default();
        Self { config, topology, events, io, _directory: directory }
    }

    fn options(&self) -> MasterOptions {
        MasterOptions { cluster: self.config.clone(), topology: self.topology.clone(), io: self.io }
    }

    fn master(&self) -> MasterHandle {
        let events = self.events.clone();
        Master::start(self.options(), move |event| events.lock().expect("events").push(event))
            .expect("a master")
    }

    fn server(&self, id: u16, boot_id: u64) -> ModelServer {
        let key = self.config.cluster_key();
        ModelServer::start(self.topology.clone(), key, id, boot_id)
    }

    fn servers(&self) -> Vec<ModelServer> {
        (0..4).map(|id| self.server(id, 100 + u64::from(id))).collect()
    }

    fn wait_for(&self, kind: &str, server: u16) {
        let has = || {
            let events = self.events.lock().expect("events");
            events.iter().any(|e| e.kind() == kind && e.server() == Some(server))
        };
        wait_until(&format!("{kind} of {server}"), has, &|| {
            format!("{:?}", self.events.lock().expect("events"))
        });
    }

    fn wait_for_states(&self, client: &mut Client, states: [ServerState; 4]) -> ClusterMap {
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

    fn report(&self, subject: u16) -> Datagram {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let key = self.config.cluster_key();
        let mut datagram =
            Datagram::new(Kind::ReportFailed, SENDER_CLIENT, self.topology.id, fresh_id());
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
            assert_eq!((verdict.kind, verdict.nonce), (Kind::Verdict, datagram.nonce));
            return verdict;
        }
        panic!("no verdict: {:?}", self.events.lock().expect("events"));
    }
}

/// A server of which the master sees no difference to a real one.
struct ModelServer {
    stop: Arc<AtomicBool>,
    announced: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl ModelServer {
    fn start(topology: Arc<Topology>, key: Option<ClusterKey>, id: u16, boot_id: u64) -> Self {
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

    fn epoch(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }

    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a model server ends in peace");
        }
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn run_control(
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
            say(Kind::Renew, announced.load(Ordering::SeqCst));
            renew_at = Instant::now() + Duration::from_millis(100);
        }
        let Ok((len, _)) = udp.recv_from(&mut buffer) else { continue };
        let datagram = Datagram::parse(&buffer[..len], key.as_ref(), Some(topology.id));
        let datagram = datagram.expect("a datagram of the master");
        if datagram.kind == Kind::Announce {
            announced.fetch_max(datagram.epoch.to_u64(), Ordering::SeqCst);
            say(Kind::Ack, announced.load(Ordering::SeqCst));
        }
    }
}

fn run_data(
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
        while let Ok(len) = stream.read(&mut chunk) {
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
                    let (hello, role) =
                        HelloBody::accept(request.value, key, Some(&nonce), own).expect("a hello");
                    assert_eq!(role, Role::Master);
                    shard = if hello.shard == u16::MAX { 0 } else { hello.shard };
                    let hello =
                        HelloReply { server: id, shard, shards: 2, ..HelloReply::default() };
                    reply(Status::Ok, &hello.to_bytes());
                }
                Some(Opcode::Ping) => {
                    let map_epoch = announced.load(Ordering::SeqCst);
                    let ping =
                        PingReply { boot_id, map_epoch, server: id, shard, ..PingReply::default() };
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
struct Client {
    stream: TcpStream,
    next_id: u32,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the master's port");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        Self { stream, next_id: 0 }
    }

    fn greeted(cluster: &Cluster) -> Self {
        let mut client = Self::connect(cluster.topology.master);
        let body = HelloBody { cluster_id: cluster_id("shell"), ..HelloBody::default() };
        let (mut status, mut value) = client.ask(Opcode::Hello, &body.to_bytes());
        if let Some(key) = cluster.config.cluster_key() {
            assert_eq!(status, Status::AuthRequired);
            (status, value) = client.ask(Opcode::Hello, &body.with_proof(&key, &value));
        }
        assert_eq!(status, Status::Ok);
        assert_eq!(HelloReply::read(&value).map(|r| r.server), Some(u16::MAX));
        client
    }

    fn ask(&mut self, opcode: Opcode, value: &[u8]) -> (Status, Vec<u8>) {
        self.next_id += 1;
        let mut bytes = Vec::new();
        Request::write(RequestHeader::new(opcode, 0, self.next_id), &[], value, &mut bytes);
        self.stream.write_all(&bytes).expect("sent");
        self.answer()
    }

    fn answer(&mut self) -> (Status, Vec<u8>) {
        let mut input = Vec::new();
        let mut chunk = [0; 4_096];
        loop {
            if let Some(response) = Response::parse(&input).expect("a response") {
                return (response.status, response.value.to_vec());
            }
            let len = self.stream.read(&mut chunk).expect("an answer");
            assert_ne!(len, 0, "closed before the answer");
            input.extend_from_slice(&chunk[..len]);
        }
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 64]), Ok(0) | Err(_))
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool, context: &dyn Fn() -> String) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come about: {}", context());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ports that are free for TCP and UDP, below the range that the system hands out.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut found = Vec::new();
    while found.len() < count {
        let salt = u64::from(std::process::id()) * 131 + NEXT.fetch_add(1, Ordering::SeqCst);
        let port = u16::try_from(20_000 + salt % 10_000).expect("in range");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let is_free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
        if is_free && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst) << 20
}

use ServerState::{Offline, Online};

fn fail_over_and_back(io: IoKind, secret: Option<[u8; 32]>) {
    let cluster = Cluster::new(io, secret);
    let master = cluster.master();
    let mut servers = cluster.servers();
    let mut client = Client::greeted(&cluster);
    let map = cluster.wait_for_states(&mut client, [Online; 4]);
    assert_eq!(map.topology.id, cluster.topology.id);

    let verdict = cluster.report(0);
    assert_eq!(verdict.arg, Online as u32, "claim 19: it answers");
    servers.remove(0).kill();
    let verdict = cluster.report(0);
    assert_eq!(verdict.arg, Offline as u32);
    let map = cluster.wait_for_states(&mut client, [Offline, Online, Online, Online]);
    for id in 1..4 {
        cluster.wait_for("acked", id);
    }
    wait_until("told", || servers.iter().all(|s| s.epoch() >= map.epoch.to_u64()), &|| {
        format!("{:?}", cluster.events)
    });

    let _again = cluster.server(0, 999);
    let map = cluster.wait_for_states(&mut client, [Online; 4]);
    assert_eq!(map.statuses()[0].boot_id, 999);
    let (status, value) = client.ask(Opcode::Stats, &[]);
    assert_eq!(status, Status::Ok);
    let stats = StatsReply::from_bytes(&value).expect("statistics");
    assert!(stats.counter("verdicts_offline") == 1 && stats.counter("returns") == 1, "{stats:?}");
    let (status, _) = client.ask(Opcode::Ping, &[]);
    assert_eq!(status, Status::Ok);

    let stopped_at = Instant::now();
    master.stop();
    master.join().expect("a clean end");
    assert!(stopped_at.elapsed() < Duration::from_secs(2));
}

#[test]
fn fails_over_and_back_on_the_default_loop() {
    fail_over_and_back(IoKind::Auto, None);
}

#[test]
fn fails_over_and_back_on_epoll_with_a_secret() {
    fail_over_and_back(IoKind::Epoll, Some([5; 32]));
}

#[test]
fn a_restarted_master_has_a_higher_term_and_forgets_nobody() {
    let cluster = Cluster::new(IoKind::Auto, None);
    let master = cluster.master();
    let mut servers = cluster.servers();
    let mut client = Client::greeted(&cluster);
    cluster.wait_for_states(&mut client, [Online; 4]);
    servers.remove(3).kill();
    assert_eq!(cluster.report(3).arg, Offline as u32);
    let before = cluster.wait_for_states(&mut client, [Online, Online, Online, Offline]).epoch;
    drop(client);
    master.stop();
    master.join().expect("a clean end");

    let master = cluster.master();
    let mut client = Client::greeted(&cluster);
    let map = cluster.wait_for_states(&mut client, [Online, Online, Online, Offline]);
    assert_eq!(map.epoch.term, before.term + 1);
    let _again = cluster.server(3, 777);
    cluster.wait_for_states(&mut client, [Online; 4]);
    drop(master);
}

#[test]
fn one_stuck_server_does_not_delay_the_probing_of_another() {
    let mut cluster = Cluster::new(IoKind::Auto, None);
    cluster.config.timings.probe_timeout = Duration::from_secs(2);
    let _master = cluster.master();
    let mut servers = cluster.servers();
    let mut client = Client::greeted(&cluster);
    cluster.wait_for_states(&mut client, [Online; 4]);
    // b2 accepts and never answers; a1 is gone.
    servers.pop().expect("b2").kill();
    let _stuck = TcpListener::bind(cluster.topology.servers[3].address).expect("b2's port");
    servers.remove(0).kill();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut datagram = Datagram::new(Kind::ReportFailed, SENDER_CLIENT, cluster.topology.id, 1);
    datagram.sequence = 1;
    datagram.subject = 3;
    socket.send_to(&datagram.to_bytes(None), cluster.topology.master).expect("sent");
    cluster.wait_for("reported", 3);
    let asked_at = Instant::now();
    assert_eq!(cluster.report(0).arg, Offline as u32);
    assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
}

#[test]
fn what_is_wrong_with_a_start_is_said_at_once() {
    let cluster = Cluster::new(IoKind::Auto, None);
    let taken = TcpListener::bind(cluster.topology.master).expect("free");
    let error = Master::bind(cluster.options()).err().expect("taken");
    assert!(matches!(error, MasterError::AddressTaken { protocol: "TCP", .. }), "{error}");
    drop(taken);
    let taken = UdpSocket::bind(cluster.topology.master).expect("free");
    let error = Master::bind(cluster.options()).err().expect("taken");
    assert!(matches!(error, MasterError::AddressTaken { protocol: "UDP", .. }), "{error}");
    drop(taken);

    let path = &cluster.config.master.state_file;
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, b"garbage").expect("written");
    let error = Master::bind(cluster.options()).err().expect("damaged");
    assert!(matches!(error, MasterError::StateDamaged { .. }), "{error}");
    assert!(error.to_string().contains("Move it away"), "{error}");
    assert_eq!(std::fs::read(path).expect("still there"), b"garbage", "nothing is overwritten");
    std::fs::remove_file(path).expect("removed");
    std::fs::create_dir(path).expect("a directory in its place");
    let error = Master::bind(cluster.options()).err().expect("not a file");
    assert!(matches!(error, MasterError::StateRead { .. }), "{error}");
}

#[test]
fn hostile_connections_are_answered_or_closed_and_leave_nothing_behind() {
    for io in [IoKind::Auto, IoKind::Epoll] {
        let cluster = Cluster::new(io, None);
        let master = cluster.master();
        let _servers = cluster.servers();
        let mut client = Client::greeted(&cluster);
        cluster.wait_for_states(&mut client, [Online; 4]);
        let address = cluster.topology.master;

        let mut garbage = Client::connect(address);
        garbage.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        assert_eq!(garbage.answer().0, Status::Malformed);
        assert!(garbage.is_closed());

        let mut version = Client::connect(address);
        let mut bytes = RequestHeader::new(Opcode::Hello, 0, 1).to_bytes();
        bytes[1] = 99;
        version.stream.write_all(&bytes).expect("sent");
        assert_eq!(version.answer().0, Status::UnsupportedVersion);
        assert!(version.is_closed());

        let mut large = Client::connect(address);
        let mut header = RequestHeader::new(Opcode::Hello, 0, 1);
        header.value_len = 1 << 30;
        large.stream.write_all(&header.to_bytes()).expect("sent");
        assert_eq!(large.answer().0, Status::TooLarge);
        assert!(large.is_closed());

        let mut rude = Client::connect(address);
        assert_eq!(rude.ask(Opcode::Map, &[]).0, Status::Malformed, "HELLO comes first");
        assert!(rude.is_closed());

        let mut other = Client::connect(address);
        let body = HelloBody { cluster_id: 1, ..HelloBody::default() };
        assert_eq!(other.ask(Opcode::Hello, &body.to_bytes()).0, Status::Malformed);

        assert_eq!(client.ask(Opcode::Get, &[]).0, Status::NotSupported);

        // Slow loris: a byte, and then nothing; and one that says nothing at all.
        let mut slow = Client::connect(address);
        slow.stream.write_all(&[0x53]).expect("sent");
        let mut silent = Client::connect(address);
        assert!(slow.is_closed() && silent.is_closed());

        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        let before = descriptors();
        for _ in 0..500 {
            drop(TcpStream::connect(address).expect("the master's port"));
        }
        for _ in 0..50 {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.send_to(&[0x44; 300], address).expect("sent");
        }
        assert_eq!(client.ask(Opcode::Ping, &[]).0, Status::Ok, "it serves on");
        // Other tests of this process open and close descriptors too: a few are theirs.
        wait_until("descriptors are closed", || descriptors() < before + 100, &|| {
            format!("{before} before, {} now", descriptors())
        });
        drop(master);
    }
}

#[test]
fn unanswered_probes_leak_no_descriptors() {
    for io in [IoKind::Auto, IoKind::Epoll] {
        let mut cluster = Cluster::new(io, None);
        cluster.config.timings.probe_timeout = Duration::from_millis(10);
        cluster.config.timings.recheck_interval = Duration::from_millis(10);
        // Accepts by the kernel alone; and, once its queue is full, connects that hang.
        let stuck: Vec<_> = (0..4)
            .map(|id| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                        .expect("a socket");
                let address = cluster.topology.servers[id].address;
                socket.bind(&address.into()).expect("free");
                socket.listen(1).expect("listening");
                socket
            })
            .collect();
        let master = cluster.master();
        cluster.wait_for("offline", 0);
        let probes = || {
            let events = cluster.events.lock().expect("events");
            events.iter().filter(|e| e.kind() == "probe_failed").count()
        };
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        let (before, done) = (descriptors(), probes());
        wait_until("200 more probes", || probes() > done + 200, &|| probes().to_string());
        wait_until("descriptors are closed", || descriptors() < before + 100, &|| {
            format!("{before} before, {} now", descriptors())
        });
        drop(master);
        drop(stuck);
    }
}
