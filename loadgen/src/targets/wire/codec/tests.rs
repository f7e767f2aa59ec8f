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
        (Kind::Gets, b"VALUE k 0 3 17\r\nabc\r\nEND\r\n", Reply::Versioned(b"abc", 17)),
        (Kind::Gets, b"END\r\n", Reply::Absent),
        (Kind::Cas, b"STORED\r\n", Reply::Done),
        (Kind::Cas, b"EXISTS\r\n", Reply::Exists),
        (Kind::Cas, b"NOT_FOUND\r\n", Reply::Absent),
        (Kind::Increment, b"18446744073709551615\r\n", Reply::Number(u64::MAX)),
        (Kind::Increment, b"NOT_FOUND\r\n", Reply::Absent),
        (Kind::GetMany, b"END\r\n", Reply::Many(b"")),
        (
            Kind::GetMany,
            b"VALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 0\r\n\r\nEND\r\n",
            Reply::Many(b"VALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 0\r\n\r\n"),
        ),
        (Kind::GetMany, b"VALUE a 0 1\r\nx\r\nSERVER_ERROR x\r\n", Reply::Error(b"SERVER_ERROR x")),
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
        (Kind::Gets, b"VA 3 c17\r\nabc\r\n", Reply::Versioned(b"abc", 17)),
        (Kind::Gets, b"EN\r\n", Reply::Absent),
        (Kind::Cas, b"HD\r\n", Reply::Done),
        (Kind::Cas, b"EX\r\n", Reply::Exists),
        (Kind::Cas, b"NF\r\n", Reply::Absent),
        (Kind::Increment, b"VA 2\r\n10\r\n", Reply::Number(10)),
        (Kind::Increment, b"NF\r\n", Reply::Absent),
        (Kind::GetMany, b"MN\r\n", Reply::Many(b"")),
        (
            Kind::GetMany,
            b"VA 4 ka\r\nMN\r\n\r\nVA 0 kb\r\n\r\nMN\r\n",
            Reply::Many(b"VA 4 ka\r\nMN\r\n\r\nVA 0 kb\r\n\r\n"),
        ),
        (
            Kind::GetMany,
            b"VA 1 ka\r\nx\r\nSERVER_ERROR x\r\nVA 1 kc\r\nx\r\nMN\r\n",
            Reply::Error(b"SERVER_ERROR x"),
        ),
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
        (Kind::Gets, b"$3\r\nabc\r\n", Reply::Versioned(b"abc", 0)),
        (Kind::Cas, b":1\r\n", Reply::Done),
        (Kind::Cas, b":0\r\n", Reply::Exists),
        (Kind::Cas, b"_\r\n", Reply::Absent),
        (Kind::Increment, b":10\r\n", Reply::Number(10)),
        (
            Kind::GetMany,
            b"*3\r\n$1\r\na\r\n$-1\r\n_\r\n",
            Reply::Many(b"*3\r\n$1\r\na\r\n$-1\r\n_\r\n"),
        ),
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
fn the_values_of_several_keys_are_those_of_the_keys() {
    let keys = [b"a", b"b", b"c", b"d"].map(|key| key.to_vec());
    let of = |protocol: Protocol, bytes| protocol.values(&keys, bytes);
    let some: Vec<Option<&[u8]>> = vec![None, Some(b"1"), None, Some(b"2")];
    let text = b"VALUE b 0 1\r\n1\r\nVALUE d 0 1\r\n2\r\n";
    assert_eq!(of(Protocol::MemcachedText, text), Ok(some.clone()));
    assert_eq!(of(Protocol::MemcachedMeta, b"VA 1 kb\r\n1\r\nVA 1 kd\r\n2\r\n"), Ok(some.clone()));
    let array = b"*4\r\n_\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n";
    assert_eq!(of(Protocol::Resp3, array), Ok(some));
    assert_eq!(of(Protocol::MemcachedText, b""), Ok(vec![None; 4]));
    for (protocol, wrong) in [
        (Protocol::MemcachedText, &b"VALUE x 0 1\r\n1\r\n"[..]),
        (Protocol::MemcachedText, b"VALUE d 0 1\r\n1\r\nVALUE b 0 1\r\n1\r\n"),
        (Protocol::MemcachedText, b"VALUE a 0 1\r\n1\r\nVALUE a 0 1\r\n1\r\n"),
        (Protocol::MemcachedMeta, b"VA 1 kx\r\n1\r\n"),
        (Protocol::Resp2, b"*3\r\n$-1\r\n$-1\r\n$-1\r\n"),
        (Protocol::Resp2, b"*4\r\n$-1\r\n$-1\r\n$-1\r\n:1\r\n"),
    ] {
        assert!(of(protocol, wrong).is_err(), "{}", wrong.escape_ascii());
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
    let others = [b"a".to_vec(), b"b".to_vec()];
    let many = Question { key: b"k", action: Action::GetMany { others: &others } };
    let gets = Question { key: b"k", action: Action::Gets };
    let increment = Question { key: b"k", action: Action::Increment { by: 7 } };
    let cas = |ttl_s| {
        let action = Action::Cas { version: 17, expected: b"v1", value: b"v2", ttl_s };
        Question { key: b"k", action }
    };
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
        (Protocol::MemcachedText, many, "get k a b\r\n"),
        (Protocol::MemcachedText, gets, "gets k\r\n"),
        (Protocol::MemcachedText, cas(9), "cas k 0 9 2 17\r\nv2\r\n"),
        (Protocol::MemcachedText, increment, "incr k 7\r\n"),
        (Protocol::MemcachedMeta, many, "mg k k q v\r\nmg a k q v\r\nmg b k q v\r\nmn\r\n"),
        (Protocol::MemcachedMeta, gets, "mg k c v\r\n"),
        (Protocol::MemcachedMeta, cas(0), "ms k 2 C17\r\nv2\r\n"),
        (Protocol::MemcachedMeta, cas(9), "ms k 2 C17 T9\r\nv2\r\n"),
        (Protocol::MemcachedMeta, increment, "ma k D7 v\r\n"),
        (Protocol::Resp2, many, "*4\r\n$4\r\nMGET\r\n$1\r\nk\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (Protocol::Resp3, gets, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        (Protocol::Resp2, increment, "*3\r\n$6\r\nINCRBY\r\n$1\r\nk\r\n$1\r\n7\r\n"),
        (Protocol::Resp3, touch(0), "*2\r\n$5\r\nTOUCH\r\n$1\r\nk\r\n"),
        (Protocol::Resp3, touch(9), "*3\r\n$6\r\nEXPIRE\r\n$1\r\nk\r\n$1\r\n9\r\n"),
    ] {
        let mut out = Vec::new();
        protocol.encode(&question, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), bytes);
    }
}
