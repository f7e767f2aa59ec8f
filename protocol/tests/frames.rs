//! TCP frames: where each header field lies, round trips, and what bad bytes get.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use proptest::prelude::*;
use standin_protocol::VERSION;
use standin_protocol::frame::{
    FrameError, FrameLimits, HEADER_BYTES, Opcode, REQUEST_MAGIC, RESPONSE_MAGIC, Request,
    RequestHeader, Response, ResponseHeader, Status, VALUE_BYTES_MAX, response_flags,
};
use support::hex;

prop_compose! {
    fn request_header()(
        opcode: u8, flags: u8, keyspace: u8, request_id: u32, map_epoch: u32,
        deadline_ms: u16, ttl: u16, cas_version: u64,
    ) -> RequestHeader {
        RequestHeader {
            magic: REQUEST_MAGIC, version: VERSION, opcode, flags, keyspace, reserved: 0,
            key_len: 0, value_len: 0, request_id, map_epoch, deadline_ms, ttl, cas_version,
        }
    }
}

prop_compose! {
    fn response_header()(
        status in prop::sample::select(Status::ALL), flags: u8, opcode: u8, reserved: u8,
        retry_after_ms: u16, request_id: u32, map_epoch: u32, ttl_s: u32, cas_version: u64,
    ) -> ResponseHeader {
        ResponseHeader {
            magic: RESPONSE_MAGIC, version: VERSION, status: status as u8, flags, opcode,
            reserved, retry_after_ms, value_len: 0, request_id, map_epoch, ttl_s, cas_version,
        }
    }
}

fn payload(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

#[test]
fn every_request_field_lies_where_the_document_says() {
    let header = RequestHeader {
        magic: 0x00,
        version: 0x01,
        opcode: 0x02,
        flags: 0x03,
        keyspace: 0x04,
        reserved: 0x05,
        key_len: 0x0706,
        value_len: 0x0B0A_0908,
        request_id: 0x0F0E_0D0C,
        map_epoch: 0x1312_1110,
        deadline_ms: 0x1514,
        ttl: 0x1716,
        cas_version: 0x1F1E_1D1C_1B1A_1918,
    };
    let counting: Vec<u8> = (0..32).collect();
    assert_eq!(header.to_bytes().as_slice(), counting);
    assert_eq!(RequestHeader::read(&counting), Some(header));
}

#[test]
fn every_response_field_lies_where_the_document_says() {
    let header = ResponseHeader {
        magic: 0x00,
        version: 0x01,
        status: 0x02,
        flags: 0x03,
        opcode: 0x04,
        reserved: 0x05,
        retry_after_ms: 0x0706,
        value_len: 0x0B0A_0908,
        request_id: 0x0F0E_0D0C,
        map_epoch: 0x1312_1110,
        ttl_s: 0x1716_1514,
        cas_version: 0x1F1E_1D1C_1B1A_1918,
    };
    let counting: Vec<u8> = (0..32).collect();
    assert_eq!(header.to_bytes().as_slice(), counting);
    assert_eq!(ResponseHeader::read(&counting), Some(header));
}

#[test]
fn numbers_on_the_wire_are_contiguous_and_closed() {
    for (number, opcode) in (0u8..).zip(Opcode::ALL) {
        assert_eq!((*opcode as u8, Opcode::from_wire(number)), (number, Some(*opcode)));
    }
    for (number, status) in (0u8..).zip(Status::ALL) {
        assert_eq!((*status as u8, Status::from_wire(number)), (number, Some(*status)));
    }
    assert_eq!(Opcode::from_wire(17), None);
    assert_eq!(Status::from_wire(24), None);
}

/// A header with one byte changed, as (offset, byte), and what must come of it.
#[test]
fn bad_requests_get_the_error_they_deserve() {
    let limits = FrameLimits { key_bytes: 250, value_bytes: 1_000 };
    let table: &[(&[(usize, u8)], FrameError)] = &[
        (&[(0, b's')], FrameError::BadMagic(b's')),
        (&[(0, b'G')], FrameError::BadMagic(b'G')),
        (&[(0, 0)], FrameError::BadMagic(0)),
        (&[(1, 0)], FrameError::BadVersion(0)),
        (&[(1, 2)], FrameError::BadVersion(2)),
        (&[(5, 9)], FrameError::Reserved(9)),
        (&[(6, 251)], FrameError::KeyTooLarge { len: 251, limit: 250 }),
        (&[(7, 0xFF)], FrameError::KeyTooLarge { len: 0xFF00, limit: 250 }),
        (&[(8, 0xE9), (9, 3)], FrameError::ValueTooLarge { len: 1_001, limit: 1_000 }),
        (&[(11, 0xFF)], FrameError::ValueTooLarge { len: 0xFF00_0000, limit: 1_000 }),
        // The first fault wins: magic, version, reserved, key, value.
        (&[(0, 1), (1, 1), (5, 1)], FrameError::BadMagic(1)),
        (&[(1, 7), (5, 1), (7, 1)], FrameError::BadVersion(7)),
        (&[(5, 1), (7, 1)], FrameError::Reserved(1)),
        (&[(7, 1), (11, 1)], FrameError::KeyTooLarge { len: 256, limit: 250 }),
    ];
    for (changes, expected) in table {
        let mut bytes = RequestHeader::new(Opcode::Get, 1, 1).to_bytes();
        for &(offset, byte) in *changes {
            bytes[offset] = byte;
        }
        assert_eq!(Request::parse(&bytes, limits), Err(*expected), "{}", hex(&bytes));
    }
    // Rubbish is seen at its first byte; a right first byte is waited for.
    assert_eq!(Request::parse(b"GET / HTTP", limits), Err(FrameError::BadMagic(b'G')));
    assert_eq!(Request::parse(b"S", limits), Ok(None));
    assert_eq!(Request::parse(b"", limits), Ok(None));
}

#[test]
fn bad_responses_get_the_error_they_deserve() {
    let too_large = FrameError::ValueTooLarge { len: 0x0100_0001, limit: VALUE_BYTES_MAX };
    let table: &[(&[(usize, u8)], FrameError)] = &[
        (&[(0, b'S')], FrameError::BadMagic(b'S')),
        (&[(1, 3)], FrameError::BadVersion(3)),
        (&[(2, 24)], FrameError::UnknownStatus(24)),
        (&[(2, 0xFF)], FrameError::UnknownStatus(0xFF)),
        (&[(8, 1), (11, 1)], too_large),
        (&[(2, 24), (8, 1), (11, 1)], too_large),
        (&[(3, 0x80)], FrameError::NoItemHead),
        (&[(3, 0x80), (8, 15)], FrameError::NoItemHead),
    ];
    for (changes, expected) in table {
        let request = RequestHeader::new(Opcode::Get, 1, 1);
        let mut bytes = ResponseHeader::reply_to(&request, Status::Ok).to_bytes();
        for &(offset, byte) in *changes {
            bytes[offset] = byte;
        }
        assert_eq!(Response::parse(&bytes), Err(*expected), "{}", hex(&bytes));
    }
    assert_eq!(Response::parse(b"HTTP/1.1"), Err(FrameError::BadMagic(b'H')));
    assert_eq!(Response::parse(b"s"), Ok(None));
    assert_eq!(Response::parse(b""), Ok(None));
}

#[test]
fn limits_are_inclusive() {
    let limits = FrameLimits { key_bytes: 4, value_bytes: 8 };
    let mut bytes = Vec::new();
    Request::write(RequestHeader::new(Opcode::Put, 1, 1), b"four", b"eight by", &mut bytes);
    let parsed = Request::parse(&bytes, limits).expect("within the limits").expect("complete");
    assert_eq!((parsed.key, parsed.value), (&b"four"[..], &b"eight by"[..]));
}

proptest! {
    #[test]
    fn requests_come_back(
        header in request_header(), key in payload(300), value in payload(5_000), rest in payload(9)
    ) {
        let mut bytes = Vec::new();
        Request::write(header, &key, &value, &mut bytes);
        let frame_bytes = bytes.len();
        bytes.extend_from_slice(&rest);
        let parsed = Request::parse(&bytes, FrameLimits::default()).unwrap().unwrap();
        prop_assert_eq!((parsed.key, parsed.value), (&key[..], &value[..]));
        prop_assert_eq!(parsed.header.frame_bytes(), frame_bytes);
        let lengths = RequestHeader {
            key_len: parsed.header.key_len, value_len: parsed.header.value_len, ..header
        };
        prop_assert_eq!(parsed.header, lengths);
    }

    #[test]
    fn responses_come_back(
        header in response_header(), value in payload(5_000), rest in payload(9)
    ) {
        // An item's head is a part of the value: other tests have it.
        let header = ResponseHeader { flags: header.flags & !response_flags::ITEM, ..header };
        let mut bytes = Vec::new();
        Response::write(header, &value, &mut bytes);
        let frame_bytes = bytes.len();
        bytes.extend_from_slice(&rest);
        let parsed = Response::parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(parsed.value, &value[..]);
        prop_assert_eq!(parsed.status as u8, header.status);
        prop_assert_eq!(parsed.header.frame_bytes(), frame_bytes);
        prop_assert_eq!(parsed.header, ResponseHeader { value_len: parsed.header.value_len, ..header });
    }

    /// Pipelined frames come out one by one, wherever the stream was cut.
    #[test]
    fn a_truncated_frame_is_waited_for(
        header in request_header(), key in payload(40), value in payload(80), cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = Vec::new();
        Request::write(header, &key, &value, &mut bytes);
        let at = cut.index(bytes.len());
        prop_assert_eq!(Request::parse(&bytes[..at], FrameLimits::default()), Ok(None));

        let mut bytes = Vec::new();
        Response::write(ResponseHeader::reply_to(&header, Status::Ok), &value, &mut bytes);
        let at = cut.index(bytes.len());
        prop_assert_eq!(Response::parse(&bytes[..at]), Ok(None));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in payload(200), key_bytes: u16, value_bytes in 0..VALUE_BYTES_MAX) {
        let limits = FrameLimits { key_bytes, value_bytes };
        if let Ok(Some(request)) = Request::parse(&bytes, limits) {
            prop_assert!(request.key.len() <= usize::from(key_bytes));
            prop_assert!(request.value.len() <= value_bytes as usize);
        }
        let _ = Response::parse(&bytes);
    }

    /// A header read from any 32 bytes is written back as the same 32 bytes.
    #[test]
    fn headers_lose_nothing(bytes: [u8; HEADER_BYTES]) {
        prop_assert_eq!(RequestHeader::read(&bytes).unwrap().to_bytes(), bytes);
        prop_assert_eq!(ResponseHeader::read(&bytes).unwrap().to_bytes(), bytes);
    }

    /// Damage in a valid frame is an error, a wait, or another readable frame; never more
    /// bytes than there are.
    #[test]
    fn mutated_frames_never_panic(
        header in request_header(), value in payload(40), offset in 0..HEADER_BYTES, byte: u8
    ) {
        let mut bytes = Vec::new();
        Request::write(header, b"key", &value, &mut bytes);
        bytes[offset] = byte;
        if let Ok(Some(request)) = Request::parse(&bytes, FrameLimits::default()) {
            prop_assert!(request.header.frame_bytes() <= bytes.len());
        }
        let mut bytes = Vec::new();
        Response::write(ResponseHeader::reply_to(&header, Status::Ok), &value, &mut bytes);
        bytes[offset] = byte;
        if let Ok(Some(response)) = Response::parse(&bytes) {
            prop_assert!(response.header.frame_bytes() <= bytes.len());
        }
    }

    /// A lifetime is exact up to 65,535 s, then rounded up to minutes, then capped.
    #[test]
    fn lifetimes_are_kept_to_the_unit(ttl_s: u32) {
        let mut header = RequestHeader::new(Opcode::Put, 1, 1);
        header.set_ttl_s(ttl_s);
        let expected = match ttl_s {
            0..=65_535 => ttl_s,
            65_536..=3_932_100 => ttl_s.div_ceil(60) * 60,
            _ => 65_535 * 60,
        };
        prop_assert_eq!(header.ttl_s(), expected);
    }
}
