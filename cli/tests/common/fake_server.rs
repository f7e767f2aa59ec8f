//! A server that the test plays. It records every frame and datagram that reaches it, and answers
//! only the parties that the test chooses.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::body::PingReply;
use standin_protocol::control::{DATAGRAM_BYTES_MAX, Datagram, DatagramKind};
use standin_protocol::frame::{
    FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status, request_flags,
};
use standin_protocol::hello::{Accepted, HelloBody, HelloReply, Known, Role, cluster_id};
use standin_protocol::map::{MapEpoch, ServerState, Topology};
use standin_protocol::time::Micros;
use standin_testkit::{read_some, wait_until};

use super::WITHIN;

/// The interval between two renewals.
const RENEW_INTERVAL: Duration = Duration::from_millis(40);

/// The requests that the server answers. It always answers HELLO, because accepting a connection
/// does not mean that requests are processed.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The value with which it answers requests of clients; `None` for no answer.
    pub to_clients: Option<Vec<u8>>,
    /// The value with which it answers requests that a server forwards.
    pub to_peers: Option<Vec<u8>>,
    /// The number of requests of clients that it leaves unanswered first.
    pub unanswered_first: u32,
    /// Whether it answers the master's probes.
    pub to_master: bool,
    /// Whether it renews its lease with the master.
    pub renews: bool,
}

/// A received frame other than HELLO.
#[derive(Debug, Clone)]
pub struct Frame {
    pub at: Micros,
    pub role: Role,
    pub opcode: Opcode,
    pub header: RequestHeader,
    pub key: Vec<u8>,
}

impl Frame {
    /// Whether the request was sent before, with the same id.
    pub fn is_retry(&self) -> bool {
        self.header.flags & request_flags::RETRY != 0
    }

    /// Whether another server has forwarded the request.
    pub fn is_forwarded(&self) -> bool {
        self.header.flags & request_flags::FORWARDED != 0
    }
}

struct Shared {
    id: u16,
    topology: Arc<Topology>,
    behaviour: Mutex<Behaviour>,
    frames: Mutex<Vec<Frame>>,
    datagrams: Mutex<Vec<(Micros, Datagram)>>,
    epoch: Mutex<MapEpoch>,
    has_ended: Mutex<bool>,
}

/// A server that the test plays.
pub struct FakeServer {
    shared: Arc<Shared>,
}

impl FakeServer {
    /// Takes the place of this server of the topology. At first it answers only the master.
    pub fn start(topology: &Arc<Topology>, id: u16) -> Self {
        let address = topology.servers[usize::from(id)].address;
        let behaviour = Behaviour {
            to_clients: None,
            to_peers: None,
            unanswered_first: 0,
            to_master: true,
            renews: true,
        };
        let shared = Arc::new(Shared {
            id,
            topology: Arc::clone(topology),
            behaviour: Mutex::new(behaviour),
            frames: Mutex::default(),
            datagrams: Mutex::default(),
            epoch: Mutex::default(),
            has_ended: Mutex::default(),
        });
        let tcp = TcpListener::bind(address).expect("the server's port");
        let udp = UdpSocket::bind(address).expect("the server's port");
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&tcp));
        let controlling = Arc::clone(&shared);
        std::thread::spawn(move || controlling.control(&udp));
        Self { shared }
    }

    /// Changes which parties it answers.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
    }

    /// Returns all data frames of callers in this role (GET, PUT, …, but no PING), oldest first.
    pub fn data(&self, role: Role) -> Vec<Frame> {
        self.frames(role, |opcode| !matches!(opcode, Opcode::Ping | Opcode::Map | Opcode::Stats))
    }

    /// Returns all PINGs of callers in this role.
    pub fn pings(&self, role: Role) -> Vec<Frame> {
        self.frames(role, |opcode| opcode == Opcode::Ping)
    }

    fn frames(&self, role: Role, is_wanted: impl Fn(Opcode) -> bool) -> Vec<Frame> {
        let frames = lock(&self.shared.frames);
        frames.iter().filter(|f| f.role == role && is_wanted(f.opcode)).cloned().collect()
    }

    /// Returns all announcements that this server was sent.
    pub fn announcements(&self) -> Vec<(Micros, Datagram)> {
        let datagrams = lock(&self.shared.datagrams);
        datagrams.iter().filter(|(_, d)| d.kind == DatagramKind::Announce).cloned().collect()
    }

    /// Waits for an announcement that a server has changed to a state, and returns it.
    #[track_caller]
    pub fn wait_announced(&self, subject: u16, state: ServerState) -> Datagram {
        let find = || {
            let said = |d: &Datagram| {
                d.subject == subject
                    && d.arg == state as u32
                    && d.statuses[usize::from(subject)].state == state
            };
            self.announcements().into_iter().map(|(_, d)| d).find(said)
        };
        wait_until(WITHIN, &format!("an announcement of server {subject}: {state}"), || {
            find().is_some()
        });
        find().expect("it was seen a moment ago")
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        *lock(&self.shared.has_ended) = true;
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if *lock(&self.has_ended) {
                return;
            }
            let serving = Arc::clone(self);
            std::thread::spawn(move || serving.serve(stream));
        }
    }

    /// Serves a connection until the other side closes it.
    fn serve(&self, mut stream: TcpStream) {
        let mut inbound = Vec::new();
        let mut chunk = vec![0; 16 << 10];
        let (mut role, mut shard) = (Role::Client, 0);
        let mut is_mute = false;
        loop {
            let mut out = Vec::new();
            let mut read = 0;
            while let Ok(Some(request)) = Request::parse(&inbound[read..], FrameLimits::default()) {
                read += request.header.frame_bytes();
                if request.header.opcode == Opcode::Hello as u8 {
                    (role, shard) = self.greet(&request, &mut out);
                } else {
                    is_mute = self.reply(role, shard, is_mute, &request, &mut out);
                }
            }
            inbound.drain(..read);
            if stream.write_all(&out).is_err() {
                return;
            }
            match read_some(&mut stream, &mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => inbound.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn greet(&self, request: &Request<'_>, out: &mut Vec<u8>) -> (Role, u16) {
        let own = cluster_id(&self.topology.name);
        let Accepted { body: hello, role, .. } =
            HelloBody::accept(request.value, Known::default(), None, own).expect("a hello");
        let shards = self.topology.servers[usize::from(self.id)].shards;
        let shard = if hello.shard < shards { hello.shard } else { 0 };
        let reply = HelloReply { cluster_id: own, server: self.id, shards, shard, reserved: 0 };
        let header = ResponseHeader::reply_to(&request.header, Status::Ok);
        Response::write(header, &reply.to_bytes(), out);
        (role, shard)
    }

    /// Answers a request, or does not. Returns whether this connection is mute from now on. A
    /// server that leaves a request unanswered answers no later request on the connection either,
    /// so that it does not seem merely slow.
    fn reply(
        &self,
        role: Role,
        shard: u16,
        is_mute: bool,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let opcode = Opcode::from_wire(request.header.opcode).expect("an opcode");
        lock(&self.frames).push(Frame {
            at: Micros::boottime(),
            role,
            opcode,
            header: request.header,
            key: request.key.to_vec(),
        });
        let mut behaviour = lock(&self.behaviour);
        let value = match (role, opcode) {
            (Role::Master, _) => behaviour.to_master.then(Vec::new),
            _ if is_mute => None,
            (Role::Client, Opcode::Get) if behaviour.unanswered_first > 0 => {
                behaviour.unanswered_first -= 1;
                None
            }
            (Role::Client | Role::Observer, _) => behaviour.to_clients.clone(),
            (Role::Peer, _) => behaviour.to_peers.clone(),
        };
        drop(behaviour);
        let Some(value) = value else { return role != Role::Master };
        let header = ResponseHeader::reply_to(&request.header, Status::Ok);
        match opcode {
            Opcode::Ping => Response::write(header, &self.ping(shard).to_bytes(), out),
            _ => Response::write(header, &value, out),
        }
        false
    }

    fn boot_id(&self) -> u64 {
        0xFA00 + u64::from(self.id)
    }

    fn ping(&self, shard: u16) -> PingReply {
        let map_epoch = lock(&self.epoch).to_u64();
        let boot_id = self.boot_id();
        PingReply {
            boot_id,
            map_epoch,
            drained_epoch: map_epoch,
            server: self.id,
            shard,
            origin_up: 1,
            ..PingReply::default()
        }
    }

    /// Sends renewals, and acknowledges announcements.
    fn control(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(RENEW_INTERVAL)).expect("a timeout");
        let mut sequence = 0;
        let mut say = |kind| {
            sequence += 1;
            let mut datagram = Datagram::new(kind, self.id, self.topology.id, self.boot_id());
            datagram.sequence = sequence;
            datagram.epoch = *lock(&self.epoch);
            // The datagram may be lost like any other.
            let _ = socket.send_to(&datagram.to_bytes(None), self.topology.master);
        };
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut renew_at = Micros(0);
        while !*lock(&self.has_ended) {
            let now = Micros::boottime();
            if now >= renew_at && lock(&self.behaviour).renews {
                renew_at = now + RENEW_INTERVAL;
                say(DatagramKind::Renew);
            }
            let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
            let Ok(datagram) = Datagram::parse(&buffer[..length], None, Some(self.topology.id))
            else {
                continue;
            };
            let is_announcement = datagram.kind == DatagramKind::Announce;
            if is_announcement {
                let mut epoch = lock(&self.epoch);
                *epoch = datagram.epoch.max(*epoch);
            }
            lock(&self.datagrams).push((Micros::boottime(), datagram));
            if is_announcement && lock(&self.behaviour).renews {
                say(DatagramKind::Ack);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
