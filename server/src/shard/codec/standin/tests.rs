//! Frames to commands and back, for clients and for other servers.

use standin_protocol::walk::WalkHead;

use super::*;
use crate::node::modify::{Edit, Modify};

const CLIENT: Caller = Caller { is_peer: false, client_id: 77 };
const PEER: Caller = Caller { is_peer: true, client_id: 9 };
const SEND: Send = Send { id: 5, map_tag: 3 };

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
    match &request.what {
        What::Command(head) | What::Modify(head, _) => *head,
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
        ttl_ms: 180_000,
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
        let operation = ModifyHead::default().to_bytes();
        let walk = WalkHead::default().to_bytes();
        let value = match opcode {
            Opcode::Modify => &operation[..],
            Opcode::Walk => &walk,
            _ => &[],
        };
        let bytes = frame(RequestHeader::new(*opcode, 1, 6), value);
        match (opcode, decode(&bytes, FrameLimits::default(), CLIENT)) {
            (Opcode::Hello, Err(rejected)) => assert_eq!(rejected.bytes, None, "it closes"),
            (Opcode::Stats, Ok(Some(request))) => assert_eq!(request.what, What::Stats),
            (Opcode::Hot, Ok(Some(request))) => assert_eq!(request.what, What::Hot),
            (Opcode::Walk, Ok(Some(request))) => {
                assert!(matches!(request.what, What::Slice(_)));
                assert_eq!(super::opcode(Action::Walk), *opcode);
                assert!(!Action::Walk.has_key() && !Opcode::has_key(*opcode as u8));
            }
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
            ttl_ms: 100_020_000,
            version: 8,
            identity: name(1),
            ..CommandHead::new(Action::Put, 1)
        };
        let mut bytes = Vec::new();
        command(Command::new(put, b"key", b"value"), SEND, &mut bytes);
        let header = RequestHeader::read(&bytes).unwrap();
        assert_eq!((header.request_id, header.map_epoch), (5, 3));
        let request = decoded(&bytes, PEER);
        assert_eq!(head(&request), put);
        assert_eq!(&bytes[request.value()], b"value");
    }
}

#[test]
fn the_longest_value_is_sent_with_everything_that_stands_before_it() {
    let limits = FrameLimits { key_bytes: 3, value_bytes: 20 };
    let modify = Modify::new(Edit::Append);
    let put = CommandHead {
        identity: name(1),
        item_flags: 7,
        ttl_ms: 1_500,
        is_peer: true,
        wants_item: true,
        ..CommandHead::new(Action::Put, 1)
    };
    let change = CommandHead { action: Action::Modify, ttl_ms: 0, ..put };
    for (head, modify) in [(put, None), (change, Some(&modify))] {
        let mut bytes = Vec::new();
        command(Command { head, key: b"key", value: &[7; 20], modify }, SEND, &mut bytes);
        let request = super::decode(&bytes, limits, PEER).unwrap().unwrap();
        assert_eq!(&bytes[request.value()], [7; 20]);
        match (request.what, modify) {
            (What::Command(read), None) => assert_eq!(read, head),
            (What::Modify(read, operation), Some(modify)) => {
                assert_eq!((read, *operation), (head, *modify));
            }
            (other, _) => panic!("{other:?}"),
        }
        bytes.clear();
        command(Command { head, key: b"key", value: &[7; 21], modify }, SEND, &mut bytes);
        let rejected = super::decode(&bytes, limits, PEER).unwrap_err();
        assert_eq!(rejected.status, Status::TooLarge);
    }
}

#[test]
fn what_lacks_what_it_announces_is_refused() {
    let flags = request_flags::ITEM;
    let put = RequestHeader { flags, ..RequestHeader::new(Opcode::Put, 1, 6) };
    let no_item = What::Refused(Status::Malformed, "no room for the item's head");
    assert_eq!(decoded(&frame(put, b"short"), CLIENT).what, no_item);
    let modify = RequestHeader::new(Opcode::Modify, 1, 6);
    let no_operation = What::Refused(Status::Malformed, "no room for the operation");
    assert_eq!(decoded(&frame(modify, b"short"), CLIENT).what, no_operation);
    let unknown = ModifyHead { edit: 99, ..ModifyHead::default() }.to_bytes();
    let unknown = decoded(&frame(modify, &unknown), CLIENT).what;
    assert_eq!(unknown, What::Refused(Status::Malformed, "the operation has an unknown part"));
}

#[test]
fn an_items_head_comes_to_those_who_ask_for_it() {
    let flags = request_flags::ITEM;
    let get = RequestHeader { flags, ..RequestHeader::new(Opcode::Get, 1, 99) };
    let answered =
        AnswerHead { ttl_ms: 1_500, item_flags: 5, marks: 2, ..AnswerHead::status(Status::Ok) };
    let request = decoded(&frame(get, &[]), CLIENT);
    assert!(head(&request).wants_item);
    let mut out = Vec::new();
    answer(request.tag, &answered, b"value", &mut out);
    let response = Response::parse(&out).unwrap().unwrap();
    assert_eq!(response.header.ttl_s, 2, "rounded up");
    assert_eq!(read_answer(&response), (answered, &b"value"[..]));
    let plain = decoded(&frame(RequestHeader::new(Opcode::Get, 1, 99), &[]), CLIENT);
    out.clear();
    answer(plain.tag, &answered, b"value", &mut out);
    let response = Response::parse(&out).unwrap().unwrap();
    let (read, value) = read_answer(&response);
    assert_eq!((read.ttl_ms, read.item_flags, value), (2_000, 0, &b"value"[..]));
}

#[test]
fn an_answer_survives_the_wire_and_names_its_request() {
    let answered = AnswerHead {
        status: Status::VersionMismatch,
        flags: flags::FILLED | flags::CACHED,
        retry_after_ms: 4,
        map_tag: 5,
        ttl_ms: 6_000,
        version: 7,
        item_flags: 0,
        marks: 0,
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
