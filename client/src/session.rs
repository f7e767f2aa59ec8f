//! The bytes of one connection: the handshake, then requests and replies. Replies are matched by
//! request id in whatever order they arrive.
//!
//! A session has no socket and no clock. [`crate::engine`] decides where each request goes, and
//! what silence means. Memory is bounded: a receive buffer never holds more than one largest frame
//! and the bytes that arrived with it. The engine bounds the number of pending requests.

use standin_protocol::frame::{
    FrameError, HEADER_BYTES, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::handshake::{Caller, CallerError, Credential, Next};
use standin_protocol::hello::{HelloBody, HelloReply, TLS_ONLY};

use crate::ids::IdMap;

/// The request id of HELLO. Requests begin at 1.
const HELLO_ID: u32 = 0;
/// The size beyond which an empty receive buffer is freed.
const INBOUND_KEPT_BYTES: usize = 256 << 10;

/// A reply to a pending request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The header. Its `request_id` was pending until now.
    pub header: ResponseHeader,
    /// The status of the reply.
    pub status: Status,
    /// The value.
    pub value: Vec<u8>,
}

/// A message decoded from received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The other side has accepted the HELLO, so requests may be sent.
    Ready(HelloReply),
    /// A reply to a request.
    Reply(Reply),
}

/// The reason why a connection has to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The handshake has failed.
    #[error(transparent)]
    Handshake(#[from] CallerError),
    /// The port takes TLS and nothing else.
    #[error("this port takes TLS only")]
    TlsOnly,
    /// The bytes are not in the protocol, or are in another version of it.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A well-formed frame that is not valid at this point.
    #[error("the reply to request {id} has opcode {opcode}, which the request did not have")]
    Unexpected {
        /// The opcode of the frame.
        opcode: u8,
        /// The request id of the frame.
        id: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    opcode: Opcode,
    frame_bytes: usize,
}

/// A connection after TCP has connected.
#[derive(Debug)]
pub struct Session {
    handshake: Caller,
    pending: IdMap<Pending>,
    pending_bytes: usize,
    inbound: Vec<u8>,
    read: usize,
    outbound: Vec<u8>,
}

impl Session {
    /// Creates a session. The HELLO is ready to be sent.
    #[must_use]
    pub fn new(hello: HelloBody, credential: Option<Credential>) -> Self {
        let handshake = Caller::new(hello, credential);
        let mut outbound = Vec::new();
        let header = RequestHeader::new(Opcode::Hello, 0, HELLO_ID);
        Request::write(header, &[], &handshake.hello(), &mut outbound);
        Self {
            handshake,
            pending: IdMap::default(),
            pending_bytes: 0,
            inbound: Vec::new(),
            read: 0,
            outbound,
        }
    }

    /// Whether requests may be sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.handshake.is_ready()
    }

    /// Whether an answer is due.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.is_ready() || !self.pending.is_empty()
    }

    /// Returns the number of unanswered requests.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the number of bytes of the unanswered requests' frames.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Queues a request. If the same id is sent again, the request is still answered once.
    ///
    /// # Panics
    /// If the key or value exceeds the frame's limits, or the session is not ready.
    pub fn send(&mut self, header: RequestHeader, opcode: Opcode, key: &[u8], value: &[u8]) {
        assert!(self.is_ready(), "requests may be sent only after the hello");
        let frame_bytes = HEADER_BYTES + key.len() + value.len();
        let pending = Pending { opcode, frame_bytes };
        self.pending_bytes += frame_bytes;
        if let Some(before) = self.pending.insert(header.request_id, pending) {
            self.pending_bytes -= before.frame_bytes;
        }
        Request::write(header, key, value, &mut self.outbound);
    }

    /// Notes that the answer to this request is no longer wanted. It will be skipped.
    pub fn forget(&mut self, id: u32) {
        if let Some(pending) = self.pending.remove(&id) {
            self.pending_bytes -= pending.frame_bytes;
        }
    }

    /// Returns the ids of all unanswered requests, in order, because the connection is lost.
    #[must_use]
    pub fn into_pending(self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.pending.into_keys().collect();
        ids.sort_unstable();
        ids
    }

    /// Whether there are bytes to send.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Takes all bytes to send.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbound)
    }

    /// Adds received bytes. Afterwards call [`Self::poll`] until it has nothing more.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
    }

    /// Decodes the received bytes, one message at a time.
    ///
    /// # Errors
    /// [`SessionError`]. The connection has to be closed then.
    pub fn poll(&mut self) -> Result<Option<Incoming>, SessionError> {
        while let Some(response) = Response::parse(&self.inbound[self.read..])? {
            let header = response.header;
            let frame_bytes = header.frame_bytes();
            let status = response.status;
            if header.request_id == HELLO_ID {
                let value = response.value.to_vec();
                self.read += frame_bytes;
                match self.greeted(&header, status, &value)? {
                    Some(hello) => return Ok(Some(Incoming::Ready(hello))),
                    None => continue,
                }
            }
            let value = match self.pending.get(&header.request_id) {
                // This is the answer to a request for which nobody waits any more.
                None if self.is_ready() => {
                    self.read += frame_bytes;
                    continue;
                }
                Some(pending) if pending.opcode as u8 == header.opcode => response.value.to_vec(),
                _ => {
                    let (opcode, id) = (header.opcode, header.request_id);
                    return Err(SessionError::Unexpected { opcode, id });
                }
            };
            self.read += frame_bytes;
            self.forget(header.request_id);
            return Ok(Some(Incoming::Reply(Reply { header, status, value })));
        }
        self.compact();
        Ok(None)
    }

    /// Handles a response with the request id of HELLO. It is the answer to the HELLO, or a message
    /// that the server sends before it closes the connection.
    fn greeted(
        &mut self,
        header: &ResponseHeader,
        status: Status,
        value: &[u8],
    ) -> Result<Option<HelloReply>, SessionError> {
        if status == Status::Malformed && value == TLS_ONLY {
            return Err(SessionError::TlsOnly);
        }
        match self.handshake.answered(status, header.retry_after_ms, value)? {
            Next::Ready(reply) => Ok(Some(reply)),
            Next::Prove(proof) => {
                let header = RequestHeader::new(Opcode::Hello, 0, HELLO_ID);
                Request::write(header, &[], &proof, &mut self.outbound);
                Ok(None)
            }
        }
    }

    fn compact(&mut self) {
        self.inbound.drain(..self.read);
        self.read = 0;
        if self.inbound.is_empty() && self.inbound.capacity() > INBOUND_KEPT_BYTES {
            self.inbound = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use standin_protocol::auth::Purpose;
    use standin_protocol::frame::FrameLimits;

    use standin_protocol::auth::ClusterKey;

    use super::*;

    fn hello_ok() -> Vec<u8> {
        let reply = HelloReply { server: 3, shards: 2, shard: 1, ..HelloReply::default() };
        response(Opcode::Hello, HELLO_ID, Status::Ok, &reply.to_bytes())
    }

    fn response(opcode: Opcode, id: u32, status: Status, value: &[u8]) -> Vec<u8> {
        let header = ResponseHeader::reply_to(&RequestHeader::new(opcode, 0, id), status);
        let mut bytes = Vec::new();
        Response::write(header, value, &mut bytes);
        bytes
    }

    fn ready() -> Session {
        let mut session = Session::new(HelloBody::default(), None);
        session.receive(&hello_ok());
        assert!(matches!(session.poll(), Ok(Some(Incoming::Ready(hello))) if hello.server == 3));
        let _ = session.take_output();
        session
    }

    fn get(session: &mut Session, id: u32) {
        session.send(RequestHeader::new(Opcode::Get, 1, id), Opcode::Get, b"key", &[]);
    }

    fn next_id(session: &mut Session) -> Option<u32> {
        match session.poll().unwrap() {
            Some(Incoming::Reply(reply)) => Some(reply.header.request_id),
            Some(Incoming::Ready(_)) => panic!("there must be only one hello"),
            None => None,
        }
    }

    #[test]
    fn says_hello_first() {
        let hello = HelloBody { client_id: 9, shard: 1, ..HelloBody::default() };
        let mut session = Session::new(hello, None);
        assert!(!session.is_ready() && session.is_waiting());
        let bytes = session.take_output();
        let request = Request::parse(&bytes, FrameLimits::default()).unwrap().unwrap();
        assert_eq!(request.value, hello.to_bytes());
        assert!(!session.has_output());
    }

    #[test]
    fn answers_a_challenge_once() {
        let key = ClusterKey::new([5; 32]);
        let mut session = Session::new(HelloBody::default(), Some(Credential::Key(key.clone())));
        let _ = session.take_output();
        session.receive(&response(Opcode::Hello, 0, Status::AuthRequired, &[7; 16]));
        assert_eq!(session.poll(), Ok(None));
        let bytes = session.take_output();
        let request = Request::parse(&bytes, FrameLimits::default()).unwrap().unwrap();
        let (body, proof) = request.value.split_at(32);
        assert!(key.verify(Purpose::Hello, &[&[7; 16], body], proof));
        session.receive(&response(Opcode::Hello, 0, Status::AuthRequired, &[7; 16]));
        assert_eq!(session.poll(), Err(CallerError::AuthFailed.into()));
    }

    #[test]
    fn an_unknown_secret_ends_the_session() {
        let mut session = Session::new(HelloBody::default(), None);
        session.receive(&response(Opcode::Hello, 0, Status::AuthRequired, &[7; 16]));
        assert_eq!(session.poll(), Err(CallerError::AuthFailed.into()));
        let mut session = Session::new(HelloBody::default(), None);
        session.receive(&response(Opcode::Hello, 0, Status::NoSuchShard, &[]));
        assert_eq!(session.poll(), Err(CallerError::Refused(Status::NoSuchShard).into()));
        let mut session = Session::new(HelloBody::default(), None);
        session.receive(&response(Opcode::Hello, 0, Status::Overloaded, b"full"));
        assert_eq!(session.poll(), Err(CallerError::NoRoom { retry_after_ms: 0 }.into()));
    }

    #[test]
    fn replies_are_matched_in_any_order_and_once() {
        let mut session = ready();
        for id in 1..=3 {
            get(&mut session, id);
        }
        for id in [3, 1, 1, 99, 2] {
            session.receive(&response(Opcode::Get, id, Status::Ok, b"value"));
        }
        assert_eq!(next_id(&mut session), Some(3));
        assert_eq!(next_id(&mut session), Some(1));
        assert_eq!(next_id(&mut session), Some(2), "a repeated and an unknown id are skipped");
        assert_eq!(next_id(&mut session), None);
        assert_eq!((session.pending(), session.pending_bytes()), (0, 0));
        assert!(!session.is_waiting());
    }

    #[test]
    fn a_forgotten_request_may_still_be_answered() {
        let mut session = ready();
        get(&mut session, 1);
        get(&mut session, 1);
        assert_eq!(session.pending(), 1);
        session.forget(1);
        session.receive(&response(Opcode::Get, 1, Status::Ok, b"late"));
        assert_eq!(next_id(&mut session), None);
        assert_eq!(session.pending_bytes(), 0);
    }

    /// The number of pending bytes decides how long a silent connection may be silent.
    #[test]
    fn pending_bytes_are_those_of_the_frames() {
        let mut session = ready();
        let header = RequestHeader::new(Opcode::Put, 1, 1);
        session.send(header, Opcode::Put, b"key", b"some value");
        assert_eq!(session.pending_bytes(), session.take_output().len());
        session.send(header, Opcode::Put, b"key", b"some value");
        assert_eq!(session.pending_bytes(), session.take_output().len(), "sent once more");
    }

    #[test]
    fn the_first_message_must_be_the_only_hello() {
        let mut session = Session::new(HelloBody::default(), None);
        session.receive(&response(Opcode::Get, 1, Status::Ok, b"value"));
        assert!(matches!(session.poll(), Err(SessionError::Unexpected { id: 1, .. })));
        let mut session = ready();
        session.receive(&hello_ok());
        assert_eq!(session.poll(), Err(CallerError::Unreadable.into()));
    }

    #[test]
    fn read_bytes_take_no_memory() {
        let mut session = ready();
        let large = vec![7; 4 * INBOUND_KEPT_BYTES];
        for id in 1..=3 {
            get(&mut session, id);
            session.receive(&response(Opcode::Get, id, Status::Ok, &large));
            assert_eq!(next_id(&mut session), Some(id));
            assert_eq!(next_id(&mut session), None);
            assert!(session.inbound.capacity() <= INBOUND_KEPT_BYTES);
        }
        // A small buffer is kept, and does not grow.
        let small = response(Opcode::Get, 4, Status::Ok, b"value");
        for _ in 0..1_000 {
            get(&mut session, 4);
            session.receive(&small);
            assert_eq!(next_id(&mut session), Some(4));
            assert_eq!(next_id(&mut session), None);
            assert!((1..1_024).contains(&session.inbound.capacity()));
        }
    }

    #[test]
    fn half_a_reply_behind_a_large_one_is_kept() {
        let mut session = ready();
        get(&mut session, 1);
        get(&mut session, 2);
        session.receive(&response(Opcode::Get, 1, Status::Ok, &vec![7; 2 * INBOUND_KEPT_BYTES]));
        let second = response(Opcode::Get, 2, Status::Ok, b"value");
        let (half, rest) = second.split_at(second.len() / 2);
        session.receive(half);
        assert_eq!(next_id(&mut session), Some(1));
        assert_eq!(next_id(&mut session), None);
        session.receive(rest);
        assert_eq!(next_id(&mut session), Some(2));
    }

    #[test]
    fn a_reply_with_another_opcode_ends_the_session() {
        let mut session = ready();
        get(&mut session, 1);
        session.receive(&response(Opcode::Put, 1, Status::Ok, &[]));
        assert!(matches!(session.poll(), Err(SessionError::Unexpected { id: 1, .. })));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same(cuts in prop::collection::vec(1usize..40, 1..60)) {
            let mut session = ready();
            let mut stream = Vec::new();
            for id in 1..=20u8 {
                get(&mut session, u32::from(id));
                let value = vec![id; usize::from(id) * 3];
                stream.extend(response(Opcode::Get, u32::from(id), Status::Ok, &value));
            }
            let (mut rest, mut seen) = (&stream[..], 0u8);
            for cut in cuts.iter().cycle() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                session.receive(head);
                while let Some(Incoming::Reply(reply)) = session.poll().unwrap() {
                    seen += 1;
                    prop_assert_eq!(reply.value, vec![seen; usize::from(seen) * 3]);
                }
                rest = tail;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(seen, 20);
        }

        #[test]
        fn garbage_ends_the_session_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut session = Session::new(HelloBody::default(), None);
            session.receive(&bytes);
            while let Ok(Some(_)) = session.poll() {}
        }
    }
}
