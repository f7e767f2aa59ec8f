//! The bytes of questions, and what the bytes of replies mean.

use super::{Protocol, Reply};
use crate::targets::operation::{Action, Kind, Question};

const GET: Question<'static> = Question { key: b"k", action: Action::Get };

#[test]
fn replies_mean_the_same_in_whatever_pieces_they_come() {
    let text: &[(Kind, &[u8], Reply<'_>)] = &[
        (Kind::Get, b"VALUE k 0 3\r\nabc\r\nEND\r\n", Reply::Value(b"abc")),
        (Kind::Get, b"VALUE k 0 5\r\n\r\nEND\r\nEND\r\n", Reply::Value(b"\r\nEND")),
        (Kind::Get, b"END\r\n", Reply::Absent),
        (Kind::Put, b"STORED\r\n", Reply::Done),
        (Kind::Delete, b"NOT_FOUND\r\n", Reply::Absent),
        (Kind::Add, b"STORED\r\n", Reply::Done),
        (Kind::Add, b"NOT_STORED\r\n", Reply::Exists),
        (Kind::Touch, b"TOUCHED\r\n", Reply::Done),
        (Kind::Touch, b"NOT_FOUND\r\n", Reply::Absent),
        (Kind::Get, b"ERROR Too many open\r\n", Reply::Error(b"ERROR Too many open")),
        (Kind::Put, b"SERVER_ERROR out of memory\r\n", Reply::Error(b"SERVER_ERROR out of memory")),
    ];
    let meta: &[(Kind, &[u8], Reply<'_>)] = &[
        (Kind::Get, b"VA 3 f0\r\nabc\r\n", Reply::Value(b"abc")),
        (Kind::Get, b"EN\r\n", Reply::Absent),
        (Kind::Put, b"HD\r\n", Reply::Done),
        (Kind::Delete, b"NF\r\n", Reply::Absent),
        (Kind::Add, b"HD\r\n", Reply::Done),
        (Kind::Add, b"NS\r\n", Reply::Exists),
        (Kind::Touch, b"HD\r\n", Reply::Done),
        (Kind::Touch, b"EN\r\n", Reply::Absent),
        (Kind::Put, b"CLIENT_ERROR x\r\n", Reply::Error(b"CLIENT_ERROR x")),
    ];
    let resp: &[(Kind, &[u8], Reply<'_>)] = &[
        (Kind::Get, b"$3\r\nabc\r\n", Reply::Value(b"abc")),
        (Kind::Get, b"$0\r\n\r\n", Reply::Value(b"")),
        (Kind::Get, b"$-1\r\n", Reply::Absent),
        (Kind::Get, b"_\r\n", Reply::Absent),
        (Kind::Put, b"+OK\r\n", Reply::Done),
        (Kind::Delete, b":0\r\n", Reply::Absent),
        (Kind::Add, b"+OK\r\n", Reply::Done),
        (Kind::Add, b"$-1\r\n", Reply::Exists),
        (Kind::Add, b"_\r\n", Reply::Exists),
        (Kind::Touch, b":1\r\n", Reply::Done),
        (Kind::Touch, b":0\r\n", Reply::Absent),
        (Kind::Get, b"-LOADING x\r\n", Reply::Error(b"LOADING x")),
        (Kind::Get, b">2\r\n+a\r\n*1\r\n$1\r\nb\r\n", Reply::Push),
        (Kind::Put, b"%1\r\n+proto\r\n:3\r\n", Reply::Done),
    ];
    let all =
        [(Protocol::MemcachedText, text), (Protocol::MemcachedMeta, meta), (Protocol::Resp3, resp)];
    for (protocol, cases) in all {
        for (kind, bytes, reply) in cases {
            let whole = [bytes, &b"rest"[..]].concat();
            assert_eq!(protocol.decode(*kind, &whole), Ok(Some((bytes.len(), *reply))));
            for cut in 0..bytes.len() {
                assert_eq!(protocol.decode(*kind, &bytes[..cut]), Ok(None), "{protocol:?} {cut}");
            }
        }
    }
}

#[test]
fn replies_of_redis_are_to_the_question() {
    let replies: [&[u8]; 5] = [b"$1\r\na\r\n", b"$-1\r\n", b"+OK\r\n", b"*0\r\n", b"-ERR x\r\n"];
    for (kind, fit) in [
        (Kind::Get, [true, true, false, false, true]),
        // CLUSTER SLOTS is answered with an array.
        (Kind::Put, [false, false, true, true, true]),
        (Kind::Delete, [false, true, true, false, true]),
        (Kind::Add, [false, true, true, false, true]),
        (Kind::Touch, [false, true, true, false, true]),
    ] {
        for (bytes, fits) in replies.iter().zip(fit) {
            let is_right = Protocol::Resp2.decode(kind, bytes).is_ok();
            assert_eq!(is_right, fits, "{kind:?} {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn requests_have_the_bytes_of_their_protocol() {
    let put = |ttl_s| Question { key: b"k", action: Action::Put { value: b"v1", ttl_s } };
    let delete = Question { key: b"k", action: Action::Delete };
    let add = |ttl_s| Question { key: b"k", action: Action::Add { value: b"v1", ttl_s } };
    let touch = |ttl_s| Question { key: b"k", action: Action::Touch { ttl_s } };
    for (protocol, question, bytes) in [
        (Protocol::MemcachedText, GET, "get k\r\n"),
        (Protocol::MemcachedText, put(9), "set k 0 9 2\r\nv1\r\n"),
        (Protocol::MemcachedText, put(2_592_001), "set k 0 2592000 2\r\nv1\r\n"),
        (Protocol::MemcachedText, delete, "delete k\r\n"),
        (Protocol::MemcachedText, add(9), "add k 0 9 2\r\nv1\r\n"),
        (Protocol::MemcachedText, touch(9), "touch k 9\r\n"),
        (Protocol::MemcachedMeta, GET, "mg k v\r\n"),
        (Protocol::MemcachedMeta, put(0), "ms k 2\r\nv1\r\n"),
        (Protocol::MemcachedMeta, put(9), "ms k 2 T9\r\nv1\r\n"),
        (Protocol::MemcachedMeta, put(u32::MAX), "ms k 2 T2592000\r\nv1\r\n"),
        (Protocol::MemcachedMeta, delete, "md k\r\n"),
        (Protocol::MemcachedMeta, add(0), "ms k 2 ME\r\nv1\r\n"),
        (Protocol::MemcachedMeta, add(9), "ms k 2 ME T9\r\nv1\r\n"),
        (Protocol::MemcachedMeta, touch(0), "mg k T0\r\n"),
        (Protocol::Resp2, GET, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        (Protocol::Resp2, put(0), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nv1\r\n"),
        (
            Protocol::Resp2,
            put(9),
            "*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nv1\r\n$2\r\nEX\r\n$1\r\n9\r\n",
        ),
        (Protocol::Resp2, delete, "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"),
        (Protocol::Resp2, add(0), "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nv1\r\n$2\r\nNX\r\n"),
        (Protocol::Resp3, touch(0), "*2\r\n$5\r\nTOUCH\r\n$1\r\nk\r\n"),
        (Protocol::Resp3, touch(9), "*3\r\n$6\r\nEXPIRE\r\n$1\r\nk\r\n$1\r\n9\r\n"),
    ] {
        let mut out = Vec::new();
        protocol.encode(&question, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), bytes);
    }
}
