//! Streams of TCP frames, and the bodies in them.

use standin_protocol::auth::ClusterKey;
use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::frame::{
    FrameError, FrameLimits, HEADER_BYTES, Opcode, Request, RequestHeader, Response, ResponseHeader,
};
use standin_protocol::handback::{Handback, Keys};
use standin_protocol::hello::{
    Accepted, Believed, HELLO_BYTES, HelloBody, HelloError, HelloReply, Known, Role,
};
use standin_protocol::hot::HotReply;
use standin_protocol::transact::{self, Transaction};
use standin_protocol::users::{Rights, User, UserKey, Users};
use standin_protocol::walk::{WalkHead, WalkedHead, append_key};

/// A stream of requests: a frame is exactly its bytes, a part of a frame is waited for,
/// and an error does not depend on what follows the header.
pub fn request_frame(data: &[u8]) {
    for limits in [FrameLimits::default(), FrameLimits { key_bytes: 32, value_bytes: 64 }] {
        let mut rest = data;
        loop {
            match Request::parse(rest, limits) {
                Ok(Some(request)) => rest = one_request(&request, rest, limits),
                Ok(None) => {
                    let header = RequestHeader::read(rest);
                    assert!(header.is_none_or(|header| header.frame_bytes() > rest.len()));
                    break;
                }
                Err(error) => {
                    request_error(error, rest, limits);
                    break;
                }
            }
        }
    }
    hello(data);
}

fn one_request<'a>(request: &Request<'_>, bytes: &'a [u8], limits: FrameLimits) -> &'a [u8] {
    let (frame, rest) = bytes.split_at(request.header.frame_bytes());
    assert_eq!(request.key.len(), usize::from(request.header.key_len));
    assert_eq!(request.value.len(), request.header.value_len as usize);
    assert!(request.key.len() <= usize::from(limits.key_bytes));
    let value_bytes_max = limits.value_bytes + request.header.head_bytes();
    assert!(request.value.len() <= value_bytes_max as usize);
    let mut again = Vec::new();
    Request::write(request.header, request.key, request.value, &mut again);
    assert_eq!(again, frame, "written again, a request is the same bytes");
    for cut in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, frame.len() - 1] {
        if cut < frame.len() {
            assert_eq!(Request::parse(&frame[..cut], limits), Ok(None));
        }
    }
    between_servers(request.header.opcode, request.value);
    assert!(request.header.ttl_s() <= 65_535 * 60);
    let mut header = request.header;
    header.set_ttl_s(request.header.ttl_s());
    assert_eq!(header.ttl_s(), request.header.ttl_s(), "a lifetime that was sent can be sent");
    rest
}

/// The values with which servers tell each other of keys written elsewhere, and ask for cached ones.
fn between_servers(opcode: u8, value: &[u8]) {
    match Opcode::from_wire(opcode) {
        Some(Opcode::Settle) => {
            if let Ok(keys) = Keys::from_bytes(value) {
                assert_eq!(Keys::from_bytes(&keys.to_bytes()), Ok(keys));
            }
        }
        Some(Opcode::Handback) => {
            if let Ok(handback) = Handback::from_bytes(value) {
                assert_eq!(Handback::from_bytes(&handback.to_bytes()), Ok(handback));
            }
        }
        Some(Opcode::Walk) => {
            if let Some((head, pattern)) = WalkHead::split(value) {
                assert_eq!([&head.to_bytes()[..], pattern].concat(), value);
            }
        }
        Some(Opcode::Transact) => {
            if let Some(transaction) = Transaction::read(value) {
                let bytes = transaction.to_bytes();
                assert_eq!(bytes.len(), value.len());
                assert_eq!(Transaction::read(&bytes), Some(transaction));
            }
        }
        _ => {}
    }
}

fn request_error(error: FrameError, bytes: &[u8], limits: FrameLimits) {
    assert!(!error.to_string().is_empty());
    match bytes.get(..HEADER_BYTES) {
        Some(header) => assert_eq!(Request::parse(header, limits), Err(error)),
        None => assert!(matches!(error, FrameError::BadMagic(_))),
    }
}

fn hello(value: &[u8]) {
    const NONCE: [u8; 16] = [9; 16];
    let key = ClusterKey::new([7; 32]);
    let own_cluster_id = 5;
    let ann = UserKey::new(b"ann", b"password");
    let user =
        User { name: "ann".into(), verifiers: vec![ann.verifier()], rights: Rights::default() };
    let users = Users::new(vec![user]);
    let known = Known { users: Some(&users), ..Known::of(Some(&key)) };
    if let Ok(Accepted { body, role, .. }) =
        HelloBody::accept(value, Known::default(), None, own_cluster_id)
    {
        assert_eq!(body.role, role as u8);
        assert_eq!(body.to_bytes(), value[..HELLO_BYTES]);
        assert!(body.cluster_id == 0 || body.cluster_id == own_cluster_id);
        let proven = body.with_proof(&key, &NONCE);
        let accepted = HelloBody::accept(&proven, known, Some(&NONCE), own_cluster_id);
        assert_eq!(accepted, Ok(Accepted { body, role, believed: Believed::ByKey(0) }));
        let proven = body.with_user("ann", &ann, &NONCE);
        let accepted = HelloBody::accept(&proven, known, Some(&NONCE), own_cluster_id);
        let is_user = |accepted: Accepted| matches!(accepted.believed, Believed::AsUser(..));
        let may_be = matches!(role, Role::Client | Role::Observer);
        assert_eq!(accepted.is_ok_and(is_user), may_be);
    }
    let refused = HelloBody::accept(value, known, Some(&NONCE), own_cluster_id);
    assert!(matches!(
        refused,
        Err(HelloError::BadLength(_)
            | HelloError::ProofMissing
            | HelloError::ProofWrong
            | HelloError::UserWrong)
    ));
}

/// A stream of responses, and the values of those that carry archives.
pub fn response_frame(data: &[u8]) {
    let mut rest = data;
    loop {
        match Response::parse(rest) {
            Ok(Some(response)) => {
                let (frame, after) = rest.split_at(response.header.frame_bytes());
                assert_eq!(response.value.len(), response.header.value_len as usize);
                assert_eq!(response.status as u8, response.header.status);
                let mut again = Vec::new();
                Response::write(response.header, response.value, &mut again);
                assert_eq!(again, frame, "written again, a response is the same bytes");
                for cut in [0, 1, HEADER_BYTES - 1, frame.len() - 1] {
                    assert_eq!(Response::parse(&frame[..cut]), Ok(None));
                }
                body(response.header.opcode, response.value);
                rest = after;
            }
            Ok(None) => {
                let header = ResponseHeader::read(rest);
                assert!(header.is_none_or(|header| header.frame_bytes() > rest.len()));
                break;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                if let Some(header) = rest.get(..HEADER_BYTES) {
                    assert_eq!(Response::parse(header), Err(error));
                }
                break;
            }
        }
    }
}

fn body(opcode: u8, value: &[u8]) {
    match Opcode::from_wire(opcode) {
        Some(Opcode::Hello) => {
            let reply = HelloReply::read(value);
            assert!(reply.is_none_or(|reply| reply.to_bytes() == value));
        }
        Some(Opcode::Ping) => {
            if let Ok(ping) = PingReply::from_bytes(value) {
                assert!(value.ends_with(&ping.to_bytes()), "the root is at the end");
            }
        }
        Some(Opcode::Stats) => {
            if let Ok(stats) = StatsReply::from_bytes(value) {
                assert_eq!(StatsReply::from_bytes(&stats.to_bytes()), Ok(stats));
            }
        }
        Some(Opcode::Hot) => {
            if let Ok(hot) = HotReply::from_bytes(value) {
                assert_eq!(HotReply::from_bytes(&hot.to_bytes()), Ok(hot));
            }
        }
        Some(Opcode::Transact) => {
            if let Some(results) = transact::results(value) {
                let mut again = Vec::new();
                results.iter().for_each(|result| result.append(&mut again));
                assert_eq!(again.len(), value.len());
                assert_eq!(transact::results(&again), Some(results));
            }
        }
        Some(Opcode::Walk) => {
            if let Some((head, keys)) = WalkedHead::split(value) {
                let mut again = head.to_bytes().to_vec();
                let mut is_whole = true;
                for key in keys {
                    assert!(is_whole, "nothing comes behind what is no key");
                    match key {
                        Some((keyspace, key)) => append_key(keyspace, key, &mut again),
                        None => is_whole = false,
                    }
                }
                assert!(value.starts_with(&again) && (value.len() == again.len()) == is_whole);
            }
        }
        Some(Opcode::Map) => crate::map(value),
        _ => {}
    }
}
