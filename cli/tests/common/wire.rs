//! One connection that speaks the protocol frame by frame. The claims are about the flags and the
//! version of a reply, which it shows.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::{
    Opcode, Request, RequestHeader, Response, ResponseHeader, Status, request_flags, response_flags,
};
use standin_protocol::hello::{HelloBody, HelloReply, Role, cluster_id};
use standin_protocol::map::Topology;
use standin_testkit::read_some;

use super::tls::Stream;
use super::{KEYSPACE, OLD_SECRET, SECRET, WITHIN};

/// A connection after its HELLO.
pub struct Wire {
    stream: Stream,
    inbound: Vec<u8>,
    last_id: u32,
    /// The other side's reply to HELLO.
    pub hello: HelloReply,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: Status,
    pub header: ResponseHeader,
    pub value: Vec<u8>,
}

impl Wire {
    /// Connects to a shard of a server and sends a HELLO.
    pub fn connect(topology: &Topology, server: u16, shard: u16, role: Role) -> io::Result<Self> {
        let address = topology.servers[usize::from(server)].address;
        Self::connect_to(address, topology, shard, role)
    }

    /// Connects to an address and sends a HELLO.
    pub fn connect_to(
        address: SocketAddr,
        topology: &Topology,
        shard: u16,
        role: Role,
    ) -> io::Result<Self> {
        // A cluster may have another secret.
        Self::greet(address, topology, (shard, role), SECRET)
            .or_else(|_| Self::greet(address, topology, (shard, role), OLD_SECRET))
    }

    /// Connects to an address and sends a HELLO, with a proof by this secret if one is asked for.
    pub fn greet(
        address: SocketAddr,
        topology: &Topology,
        (shard, role): (u16, Role),
        secret: [u8; 32],
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WITHIN))?;
        let stream = Stream::new(stream, address, &topology.name);
        let hello = HelloReply::default();
        let mut wire = Self { stream, inbound: Vec::new(), last_id: 0, hello };
        let body = HelloBody {
            client_id: 77,
            cluster_id: cluster_id(&topology.name),
            shard,
            role: role as u8,
            reserved: [0; 13],
        };
        let mut reply = wire.try_ask(Opcode::Hello, b"", &body.to_bytes())?;
        if reply.status == Status::AuthRequired {
            let proven = body.with_proof(&ClusterKey::new(secret), &reply.value);
            reply = wire.try_ask(Opcode::Hello, b"", &proven)?;
        }
        wire.hello = HelloReply::read(&reply.value)
            .filter(|_| reply.status == Status::Ok)
            .ok_or_else(|| io::Error::other(format!("HELLO was answered {}", reply.status)))?;
        Ok(wire)
    }

    /// Returns the address of this side.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.stream.socket().local_addr().expect("it is connected")
    }

    /// Sends a request and waits for its reply.
    #[track_caller]
    pub fn ask(&mut self, opcode: Opcode, key: &[u8], value: &[u8]) -> Reply {
        self.try_ask(opcode, key, value).unwrap_or_else(|error| panic!("{opcode}: {error}"))
    }

    /// Sends a request without waiting for its reply.
    pub fn send(&mut self, opcode: Opcode, key: &[u8], value: &[u8]) {
        self.last_id += 1;
        let mut header = RequestHeader::new(opcode, KEYSPACE, 0);
        header.request_id = self.last_id;
        let mut frame = Vec::new();
        Request::write(header, key, value, &mut frame);
        self.stream.write_all(&frame).expect("the server reads");
    }

    /// Sends a GET and waits for its reply.
    #[track_caller]
    pub fn get(&mut self, key: &[u8]) -> Reply {
        self.ask(Opcode::Get, key, b"")
    }

    /// Sends a PUT and waits for its reply.
    #[track_caller]
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Reply {
        self.ask(Opcode::Put, key, value)
    }

    /// Sends a GET as a server would forward it.
    #[track_caller]
    pub fn get_forwarded(&mut self, key: &[u8]) -> Reply {
        let mut header = RequestHeader::new(Opcode::Get, KEYSPACE, 0);
        header.flags = request_flags::FORWARDED;
        self.exchange(header, key, b"").expect("a reply")
    }

    /// Sends the same frame many times at once, and passes every reply to `seen`.
    #[track_caller]
    pub fn pipeline(&mut self, frame: &[u8], count: usize, mut seen: impl FnMut(&Reply)) {
        self.stream.write_all(&frame.repeat(count)).expect("the server reads");
        for _ in 0..count {
            seen(&self.receive().expect("a reply to each"));
        }
    }

    /// Sends a request like [`Self::ask`], but the connection may end without a reply.
    pub fn try_ask(&mut self, opcode: Opcode, key: &[u8], value: &[u8]) -> io::Result<Reply> {
        let keyspace = if key.is_empty() { 0 } else { KEYSPACE };
        self.exchange(RequestHeader::new(opcode, keyspace, 0), key, value)
    }

    fn exchange(
        &mut self,
        mut header: RequestHeader,
        key: &[u8],
        value: &[u8],
    ) -> io::Result<Reply> {
        self.last_id += 1;
        header.request_id = self.last_id;
        let mut frame = Vec::new();
        Request::write(header, key, value, &mut frame);
        self.stream.write_all(&frame)?;
        let reply = self.receive()?;
        assert_eq!(reply.header.request_id, self.last_id, "one request at a time");
        Ok(reply)
    }

    fn receive(&mut self) -> io::Result<Reply> {
        let mut chunk = [0; 16 << 10];
        loop {
            let parsed = Response::parse(&self.inbound).map_err(io::Error::other)?;
            if let Some(Response { header, status, value }) = parsed {
                let reply = Reply { status, header, value: value.to_vec() };
                self.inbound.drain(..header.frame_bytes());
                return Ok(reply);
            }
            match read_some(&mut self.stream, &mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.inbound.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

impl Reply {
    /// Whether all these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.header.flags & flags == flags
    }

    /// Whether the reply came from the cache.
    pub fn is_hit(&self) -> bool {
        self.has(response_flags::HIT)
    }

    /// Whether the reply came from the database.
    pub fn is_filled(&self) -> bool {
        self.has(response_flags::FILLED)
    }

    /// Whether another server than the home answered.
    pub fn is_stand_in(&self) -> bool {
        self.has(response_flags::STAND_IN)
    }

    /// Whether it was answered before the master had decided.
    pub fn is_provisional(&self) -> bool {
        self.has(response_flags::PROVISIONAL)
    }

    /// Whether the server that was asked forwarded the request to the owner.
    pub fn is_forwarded(&self) -> bool {
        self.has(response_flags::FORWARDED)
    }

    /// Whether the value was kept in the cache.
    pub fn is_cached(&self) -> bool {
        self.has(response_flags::CACHED)
    }

    /// Returns the value of a reply with status OK.
    #[track_caller]
    pub fn value(&self) -> &[u8] {
        assert_eq!(self.status, Status::Ok, "{self:?}");
        &self.value
    }
}
