//! The codec of Standin's own protocol, `docs/PROTOCOL.md`: frames to commands and answers to
//! frames, for clients; commands to frames and frames to answers, for links to other servers.
//! Replies may come in any order: the tag of a request is its id, with its opcode.

use std::num::NonZeroU64;

use standin_protocol::frame::{
    self, FrameError, FrameLimits, HEADER_BYTES, IDENTITY_BYTES, Opcode, RequestHeader, Response,
    ResponseHeader, request_flags, response_flags,
};

use super::{Caller, Rejected, Request, What};
use crate::node::answer::{self, flags};
use crate::node::{Action, AnswerHead, Command, CommandHead, Hop, Identity, Status};
use crate::shard::unreadable::unreadable;

// The marks of answers are the flags of frames, and every value fits a frame.
const _: () = assert!(
    flags::HIT == response_flags::HIT
        && flags::FILLED == response_flags::FILLED
        && flags::STAND_IN == response_flags::STAND_IN
        && flags::PROVISIONAL == response_flags::PROVISIONAL
        && flags::FORWARDED == response_flags::FORWARDED
        && flags::CACHED == response_flags::CACHED
        && answer::VALUE_BYTES_MAX <= frame::VALUE_BYTES_MAX as usize
);

/// The offset of the key in a frame.
const KEY_AT: u32 = HEADER_BYTES as u32;
/// Bytes of the identity before a value.
const IDENTITY: u32 = IDENTITY_BYTES as u32;

const ONE_HELLO: &str = "a connection has one HELLO, its first request";

/// The request at the head of `bytes`; `Ok(None)` if it isn't all there yet.
#[inline]
pub(in crate::shard) fn decode(
    bytes: &[u8],
    limits: FrameLimits,
    caller: Caller,
) -> Result<Option<Request>, Rejected> {
    match frame::Request::parse(bytes, limits) {
        Ok(None) => Ok(None),
        Ok(Some(frame)) if frame.header.opcode == Opcode::Hello as u8 => {
            let (tag, text) = (tag(&frame.header), ONE_HELLO.to_owned());
            Err(Rejected { tag, status: Status::Malformed, text, bytes: None })
        }
        Ok(Some(frame)) => Ok(Some(request(&frame, caller))),
        Err(error) => Err(rejected(bytes, error)),
    }
}

#[inline]
fn request(frame: &frame::Request<'_>, caller: Caller) -> Request {
    let header = &frame.header;
    let key_end = KEY_AT + u32::from(header.key_len);
    let value_end = key_end + header.value_len;
    let mut value = (key_end, value_end);
    let mut refused = None;
    let mut identity = None;
    if !caller.is_peer {
        let client_id = NonZeroU64::new(caller.client_id);
        let request_id = header.request_id;
        identity = client_id.map(|client_id| Identity { client_id, request_id });
    } else if header.flags & request_flags::IDENTITY != 0 {
        match split_identity(frame.value) {
            Some(of_client) => {
                identity = of_client;
                value.0 += IDENTITY;
            }
            None => refused = Some((Status::Malformed, "no room for the identity")),
        }
    }
    let what = match (refused, action(header.opcode)) {
        (Some((status, text)), _) => What::Refused(status, text),
        (None, None) if header.opcode == Opcode::Stats as u8 => What::Stats,
        (None, None) => What::Refused(Status::UnknownOpcode, ""),
        (None, Some(action)) => What::Command(CommandHead {
            action,
            keyspace: header.keyspace,
            hop: hop(header.flags, caller.is_peer),
            is_retry: header.flags & request_flags::RETRY != 0,
            is_peer: caller.is_peer,
            deadline_ms: u32::from(header.deadline_ms),
            ttl_s: header.ttl_s(),
            version: header.cas_version,
            identity,
        }),
    };
    Request { tag: tag(header), bytes: value_end, key: (KEY_AT, key_end), value, what }
}

#[inline]
fn tag(header: &RequestHeader) -> u64 {
    u64::from(header.opcode) << 32 | u64::from(header.request_id)
}

#[inline]
fn action(opcode: u8) -> Option<Action> {
    Some(match Opcode::from_wire(opcode)? {
        Opcode::Get => Action::Get,
        Opcode::Put => Action::Put,
        Opcode::Delete => Action::Delete,
        Opcode::Cas => Action::Cas,
        Opcode::Touch => Action::Touch,
        Opcode::Invalidate => Action::Invalidate,
        Opcode::Ping => Action::Ping,
        Opcode::Map => Action::Map,
        Opcode::Settle => Action::Settle,
        Opcode::Handback => Action::Handback,
        Opcode::Flush => Action::Flush,
        Opcode::Hello | Opcode::Stats => return None,
    })
}

fn opcode(action: Action) -> Opcode {
    match action {
        Action::Get => Opcode::Get,
        Action::Put => Opcode::Put,
        Action::Delete => Opcode::Delete,
        Action::Cas => Opcode::Cas,
        Action::Touch => Opcode::Touch,
        Action::Invalidate => Opcode::Invalidate,
        Action::Ping => Opcode::Ping,
        Action::Map => Opcode::Map,
        Action::Settle => Opcode::Settle,
        Action::Handback => Opcode::Handback,
        Action::Flush => Opcode::Flush,
    }
}

/// Only servers may ask that a request is passed on.
#[inline]
fn hop(flags: u8, is_peer: bool) -> Hop {
    if flags & request_flags::FORWARDED != 0 {
        Hop::Forwarded
    } else if is_peer && flags & request_flags::RELAY != 0 {
        Hop::Relay
    } else {
        Hop::None
    }
}

/// The client's name for a request, at the head of its value. A client without an id has none.
fn split_identity(value: &[u8]) -> Option<Option<Identity>> {
    let (client_id, rest) = value.split_first_chunk::<8>()?;
    let request_id = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let client_id = NonZeroU64::new(u64::from_le_bytes(*client_id));
    Some(client_id.map(|client_id| Identity { client_id, request_id }))
}

fn identity_bytes(identity: Identity) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[..8].copy_from_slice(&identity.client_id.get().to_le_bytes());
    bytes[8..].copy_from_slice(&identity.request_id.to_le_bytes());
    bytes
}

fn rejected(bytes: &[u8], error: FrameError) -> Rejected {
    let (header, status) = unreadable(bytes, error);
    let text = error.to_string();
    let bytes = matches!(error, FrameError::KeyTooLarge { .. } | FrameError::ValueTooLarge { .. })
        .then(|| header.frame_bytes());
    let status = if bytes.is_some() { Status::TooLarge } else { status };
    Rejected { tag: tag(&header), status, text, bytes }
}

/// Appends the answer to the request of this tag. The value is copied once, to where it is sent
/// from.
#[inline]
pub(in crate::shard) fn answer(tag: u64, head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    let (opcode, request_id) = ((tag >> 32) as u8, tag as u32);
    let header = ResponseHeader {
        magic: frame::RESPONSE_MAGIC,
        version: standin_protocol::VERSION,
        status: head.status as u8,
        flags: head.flags,
        opcode,
        retry_after_ms: head.retry_after_ms,
        request_id,
        map_epoch: head.map_tag,
        ttl_s: head.ttl_s,
        cas_version: head.version,
        ..ResponseHeader::default()
    };
    Response::write(header, value, out);
}

/// The deadline that a frame carries: a longer one is as long as it can be.
pub(in crate::shard) fn deadline_ms(head: &CommandHead) -> u16 {
    u16::try_from(head.deadline_ms).unwrap_or(u16::MAX)
}

/// The writing of commands to a link.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Send {
    /// The request's id on the link.
    pub(in crate::shard) id: u32,
    /// [`standin_protocol::map::MapEpoch::tag`] of the sender's map; 0: not said.
    pub(in crate::shard) map_tag: u32,
    /// The longest value that the other side accepts.
    pub(in crate::shard) value_bytes_max: usize,
}

/// Appends a command to what is sent on a link.
pub(in crate::shard) fn command(command: Command<'_>, send: Send, out: &mut Vec<u8>) {
    let Command { head, key, value } = command;
    let mut header = RequestHeader::new(opcode(head.action), head.keyspace, send.id);
    header.flags = match head.hop {
        Hop::None => 0,
        Hop::Forwarded => request_flags::FORWARDED,
        Hop::Relay => request_flags::RELAY,
    };
    if head.is_retry {
        header.flags |= request_flags::RETRY;
    }
    header.set_ttl_s(head.ttl_s);
    header.map_epoch = send.map_tag;
    header.deadline_ms = deadline_ms(&head);
    header.cas_version = head.version;
    let has_room = value.len() + IDENTITY_BYTES <= send.value_bytes_max;
    match head.identity.filter(|_| has_room) {
        Some(identity) => {
            header.flags |= request_flags::IDENTITY;
            let value = [&identity_bytes(identity), value].concat();
            frame::Request::write(header, key, &value, out);
        }
        None => frame::Request::write(header, key, value, out),
    }
}

/// The answer that a frame from a link brings.
pub(in crate::shard) fn read_answer<'a>(response: &Response<'a>) -> (AnswerHead, &'a [u8]) {
    let header = &response.header;
    let head = AnswerHead {
        status: response.status,
        flags: header.flags,
        retry_after_ms: header.retry_after_ms,
        map_tag: header.map_epoch,
        ttl_s: header.ttl_s,
        version: header.cas_version,
    };
    (head, response.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Caller = Caller { is_peer: false, client_id: 77 };
    const PEER: Caller = Caller { is_peer: true, client_id: 9 };
    const SEND: Send = Send { id: 5, map_tag: 3, value_bytes_max: 20 };

    fn name(request_id: u32) -> Option<Identity> {
        NonZeroU64::new(77).map(|client_id| Identity { client_id, request_id })
    }

    fn frame(header: RequestHeader, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::Request::write(header, b"key", value, &mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8], caller: Caller) -> Request {
        decode(bytes, FrameLimits::default(), caller).unwrap().unwrap()
    }

    fn head(request: &Request) -> CommandHead {
        match request.what {
            What::Command(head) => head,
            other => panic!("no command: {other:?}"),
        }
    }

    #[test]
    fn a_frame_is_a_command_with_all_that_it_says() {
        let header = RequestHeader {
            flags: request_flags::RETRY | request_flags::TTL_MINUTES,
            deadline_ms: 250,
            ttl: 3,
            cas_version: 11,
            ..RequestHeader::new(Opcode::Cas, 2, 6)
        };
        let mut bytes = frame(header, b"value");
        bytes.push(0);
        let request = decoded(&bytes, CLIENT);
        let expected = CommandHead {
            is_retry: true,
            deadline_ms: 250,
            ttl_s: 180,
            version: 11,
            identity: name(6),
            ..CommandHead::new(Action::Cas, 2)
        };
        assert_eq!(head(&request), expected);
        assert_eq!(request.bytes as usize, bytes.len() - 1);
        assert_eq!((&bytes[request.key()], &bytes[request.value()]), (&b"key"[..], &b"value"[..]));
        assert_eq!(decode(&bytes[..bytes.len() - 2], FrameLimits::default(), CLIENT), Ok(None));
    }

    #[test]
    fn every_opcode_is_an_action_or_the_shards() {
        for opcode in Opcode::ALL {
            let bytes = frame(RequestHeader::new(*opcode, 1, 6), &[]);
            match (opcode, decode(&bytes, FrameLimits::default(), CLIENT)) {
                (Opcode::Hello, Err(rejected)) => assert_eq!(rejected.bytes, None, "it closes"),
                (Opcode::Stats, Ok(Some(request))) => assert_eq!(request.what, What::Stats),
                (_, Ok(Some(request))) => {
                    let action = head(&request).action;
                    assert_eq!(super::opcode(action), *opcode);
                    assert_eq!(action.has_key(), Opcode::has_key(*opcode as u8), "{opcode}");
                }
                (_, other) => panic!("{opcode}: {other:?}"),
            }
        }
        let unknown = RequestHeader { opcode: 77, ..RequestHeader::new(Opcode::Get, 1, 6) };
        let request = decoded(&frame(unknown, &[]), CLIENT);
        assert_eq!(request.what, What::Refused(Status::UnknownOpcode, ""));
    }

    #[test]
    fn a_clients_marks_are_not_a_servers() {
        let flags = request_flags::RELAY | request_flags::IDENTITY;
        let bytes = frame(RequestHeader { flags, ..RequestHeader::new(Opcode::Put, 1, 6) }, b"v");
        let request = decoded(&bytes, CLIENT);
        assert_eq!((head(&request).hop, head(&request).identity), (Hop::None, name(6)));
        assert_eq!(&bytes[request.value()], b"v", "whole");
        let no_room = What::Refused(Status::Malformed, "no room for the identity");
        assert_eq!(decoded(&bytes, PEER).what, no_room);
    }

    #[test]
    fn what_is_sent_to_a_peer_is_the_command_that_it_gets() {
        for hop in [Hop::None, Hop::Forwarded, Hop::Relay] {
            let put = CommandHead {
                hop,
                is_retry: true,
                is_peer: true,
                deadline_ms: 40,
                ttl_s: 100_020,
                version: 8,
                identity: name(1),
                ..CommandHead::new(Action::Put, 1)
            };
            let mut bytes = Vec::new();
            command(Command { head: put, key: b"key", value: b"value" }, SEND, &mut bytes);
            let header = RequestHeader::read(&bytes).unwrap();
            assert_eq!((header.request_id, header.map_epoch), (5, 3));
            let request = decoded(&bytes, PEER);
            assert_eq!(head(&request), put);
            assert_eq!(&bytes[request.value()], b"value");
        }
    }

    #[test]
    fn a_value_with_no_room_for_the_identity_goes_without() {
        let head = CommandHead { identity: name(1), ..CommandHead::new(Action::Put, 1) };
        for (value, identity) in [(&[7; 8][..], name(1)), (&[7; 9], None)] {
            let mut bytes = Vec::new();
            command(Command { head, key: b"key", value }, SEND, &mut bytes);
            let request = decoded(&bytes, PEER);
            assert_eq!(super::tests::head(&request).identity, identity, "{value:?}");
            assert_eq!(&bytes[request.value()], value);
        }
    }

    #[test]
    fn an_answer_survives_the_wire_and_names_its_request() {
        let answered = AnswerHead {
            status: Status::VersionMismatch,
            flags: flags::FILLED | flags::CACHED,
            retry_after_ms: 4,
            map_tag: 5,
            ttl_s: 6,
            version: 7,
        };
        let request = decoded(&frame(RequestHeader::new(Opcode::Touch, 1, 99), &[]), CLIENT);
        let mut out = Vec::new();
        answer(request.tag, &answered, b"value", &mut out);
        let response = Response::parse(&out).unwrap().unwrap();
        assert_eq!((response.header.opcode, response.header.request_id), (5, 99));
        assert_eq!(read_answer(&response), (answered, &b"value"[..]));
    }

    #[test]
    fn what_is_too_large_is_skipped_and_what_is_no_frame_ends_the_connection() {
        let limits = FrameLimits { key_bytes: 2, value_bytes: 4 };
        let bytes = frame(RequestHeader::new(Opcode::Put, 1, 6), b"value");
        let rejected = decode(&bytes, limits, CLIENT).unwrap_err();
        assert_eq!((rejected.status, rejected.bytes), (Status::TooLarge, Some(bytes.len())));
        assert_eq!(rejected.tag, 2 << 32 | 6);
        let rejected = decode(b"GET / HTTP/1.1\r\n", limits, CLIENT).unwrap_err();
        assert_eq!((rejected.status, rejected.bytes, rejected.tag), (Status::Malformed, None, 0));
        let mut other = bytes;
        other[1] = 9;
        let rejected = decode(&other, limits, CLIENT).unwrap_err();
        assert_eq!((rejected.status, rejected.bytes), (Status::UnsupportedVersion, None));
    }
}
