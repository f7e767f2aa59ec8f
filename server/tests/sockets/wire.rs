//! A client that sends any bytes, and reads replies.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, ResponseHeader, Status};
use standin_protocol::hello::HelloBody;
use standin_testkit::read_some;

use crate::fixture::PATIENCE;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) header: ResponseHeader,
    pub(crate) status: Status,
    pub(crate) value: Vec<u8>,
}

/// Returns a frame.
pub(crate) fn request(opcode: Opcode, keyspace: u8, id: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    Request::write(RequestHeader::new(opcode, keyspace, id), key, value, &mut frame);
    frame
}

/// Returns a frame, or the head of one, whose header is what the test wants.
pub(crate) fn forged(header: RequestHeader, rest: &[u8]) -> Vec<u8> {
    [&header.to_bytes()[..], rest].concat()
}

/// Returns a HELLO with id 0 and without proof.
pub(crate) fn hello(shard: u16) -> Vec<u8> {
    let body = HelloBody { client_id: 1, shard, ..HelloBody::default() };
    request(Opcode::Hello, 0, 0, b"", &body.to_bytes())
}

/// A connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

impl Wire {
    /// Opens a connection without HELLO.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: Vec::new() }
    }

    /// Sends a HELLO, with a proof if there is a key.
    pub(crate) fn hello(&mut self, shard: u16, key: Option<&ClusterKey>) {
        let reply = self.ask(&hello(shard));
        let reply = match (reply.status, key) {
            (Status::AuthRequired, Some(key)) => {
                let body = HelloBody { client_id: 1, shard, ..HelloBody::default() };
                let value = body.with_proof(key, &reply.value);
                self.ask(&request(Opcode::Hello, 0, 0, b"", &value))
            }
            _ => reply,
        };
        assert_eq!(reply.status, Status::Ok, "hello");
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes on a connection that the other side may have closed already.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Closes the sending side.
    pub(crate) fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with a reset, which leaves nothing behind on this side.
    pub(crate) fn reset(self) {
        let linger = Some(std::time::Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).unwrap();
    }

    /// Returns the next reply, or `None` when the server has closed the connection.
    pub(crate) fn next(&mut self) -> Option<Reply> {
        let mut chunk = vec![0; 65_536];
        loop {
            if let Some(response) = Response::parse(&self.input).expect("a response") {
                let (header, status) = (response.header, response.status);
                let reply = Reply { header, status, value: response.value.to_vec() };
                self.input.drain(..reply.header.frame_bytes());
                return Some(reply);
            }
            match read_some(&mut self.stream, &mut chunk) {
                Ok(0) => {
                    assert!(self.input.is_empty(), "a reply was cut off");
                    return None;
                }
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    /// Takes this many replies.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Reply> {
        let got: Vec<Reply> = (0..count).map_while(|_| self.next()).collect();
        assert_eq!(got.len(), count, "the server closed before its last reply");
        got
    }

    /// Sends one request, and returns its reply.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Reply {
        self.send(bytes);
        self.next().expect("a reply, not an end")
    }

    /// Returns all replies until the server closes the connection.
    pub(crate) fn rest(&mut self) -> Vec<Reply> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Asserts that the connection is open and answers. Other replies must have been taken.
    pub(crate) fn assert_open(&mut self) {
        let ping = request(Opcode::Ping, 0, 0xFFFF_0000, b"", b"");
        let reply = self.ask(&ping);
        assert_eq!((reply.status, reply.header.request_id), (Status::Ok, 0xFFFF_0000));
    }
}

/// Returns the number of replies with each status.
pub(crate) fn by_status(replies: &[Reply]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for reply in replies {
        *counts.entry(reply.status.name()).or_insert(0) += 1;
    }
    counts
}
