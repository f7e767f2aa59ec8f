//! One table of bytes that a client sends, replies that it receives, and whether the connection is
//! open afterwards. Both loops must follow it, whatever the pieces in which the bytes arrive.

use standin_config::IoKind;
use standin_protocol::VERSION;
use standin_protocol::frame::{Opcode, RequestHeader, Status, request_flags};
use standin_protocol::hello::{ANY_SHARD, HelloBody};

use crate::fixture::{Cluster, ITEMS, VIEW};
use crate::wire::{Reply, Wire, forged, hello, request};

const KEY_BYTES: usize = 64;
const VALUE_BYTES: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Open,
    Closed,
}
use After::{Closed, Open};

/// The expected reply to each id: its status, and the value if it matters.
type Expected = Vec<(u32, Status, Option<&'static [u8]>)>;

struct Row {
    what: &'static str,
    bytes: Vec<u8>,
    expected: Expected,
    after: After,
}

fn row(what: &'static str, parts: &[Vec<u8>], expected: Expected, after: After) -> Row {
    Row { what, bytes: parts.concat(), expected, after }
}

fn get(id: u32, key: &[u8]) -> Vec<u8> {
    request(Opcode::Get, ITEMS, id, key, b"")
}

fn header(id: u32) -> RequestHeader {
    RequestHeader::new(Opcode::Get, ITEMS, id)
}

/// The rows that are sent after a valid HELLO.
fn rows_after_hello() -> Vec<Row> {
    use Opcode::{Cas, Delete, Hello, Invalidate, Map, Ping, Put, Stats, Touch};
    let one = || Some(&b"one"[..]);
    let big_key = vec![b'k'; KEY_BYTES + 1];
    let big_value = vec![b'v'; VALUE_BYTES + 1];
    let key_max = vec![b'm'; KEY_BYTES];
    let value_max = vec![b'v'; VALUE_BYTES];
    let bare = |opcode, id| request(opcode, 0, id, b"", b"");
    let refused = Status::Malformed;
    let cases = |rows: Vec<Row>| rows;
    cases(vec![
        row("a read", &[get(1, b"one")], vec![(1, Status::Ok, one())], Open),
        row("a read of nothing", &[get(1, b"none")], vec![(1, Status::NotFound, Some(b""))], Open),
        row("an empty key", &[get(1, b"")], vec![(1, Status::NotFound, None)], Open),
        row(
            "three reads",
            &[get(1, b"one"), get(2, b"none"), get(3, b"one")],
            vec![(1, Status::Ok, one()), (2, Status::NotFound, None), (3, Status::Ok, one())],
            Open,
        ),
        row(
            "a read with a value",
            &[request(Opcode::Get, ITEMS, 1, b"one", b"ignored")],
            vec![(1, Status::Ok, one())],
            Open,
        ),
        row(
            "unknown flags",
            &[forged(RequestHeader { flags: 0xD8, key_len: 3, ..header(1) }, b"one")],
            vec![(1, Status::Ok, one())],
            Open,
        ),
        row(
            "a read marked as forwarded",
            &[forged(
                RequestHeader { flags: request_flags::FORWARDED, key_len: 3, ..header(1) },
                b"one",
            )],
            vec![(1, Status::Ok, one())],
            Open,
        ),
        row("a write", &[request(Put, ITEMS, 1, b"w", b"1")], vec![(1, Status::Ok, None)], Open),
        row(
            "a key and a value of the largest size",
            &[request(Put, ITEMS, 1, &key_max, &value_max)],
            vec![(1, Status::Ok, None)],
            Open,
        ),
        row(
            "a delete of nothing",
            &[request(Delete, ITEMS, 1, b"none", b"")],
            vec![(1, Status::NotFound, None)],
            Open,
        ),
        row(
            "a touch of nothing",
            &[request(Touch, ITEMS, 1, b"none", b"")],
            vec![(1, Status::NotFound, None)],
            Open,
        ),
        row("a touch", &[request(Touch, ITEMS, 1, b"one", b"")], vec![(1, Status::Ok, None)], Open),
        row(
            "an invalidation",
            &[request(Invalidate, ITEMS, 1, b"dropped", b"")],
            vec![(1, Status::Ok, None)],
            Open,
        ),
        row(
            "a CAS of another version",
            &[request(Cas, ITEMS, 1, b"one", b"two")],
            vec![(1, Status::VersionMismatch, None)],
            Open,
        ),
        row(
            "a CAS of nothing",
            &[request(Cas, ITEMS, 1, b"none", b"x")],
            vec![(1, Status::NotFound, None)],
            Open,
        ),
        row("a ping", &[bare(Ping, 1)], vec![(1, Status::Ok, None)], Open),
        row("the map", &[bare(Map, 1)], vec![(1, Status::Ok, None)], Open),
        row("counters", &[bare(Stats, 1)], vec![(1, Status::Ok, None)], Open),
        row(
            "unknown opcodes",
            &[
                forged(RequestHeader { opcode: 17, ..header(1) }, b""),
                forged(
                    RequestHeader { opcode: 255, key_len: 1, value_len: 2, ..header(2) },
                    b"kvv",
                ),
                get(3, b"one"),
            ],
            vec![
                (1, Status::UnknownOpcode, None),
                (2, Status::UnknownOpcode, None),
                (3, Status::Ok, one()),
            ],
            Open,
        ),
        row(
            "keyspaces that are not configured",
            &[
                request(Opcode::Get, 0, 1, b"one", b""),
                request(Put, 255, 2, b"one", b"x"),
                get(3, b"one"),
            ],
            vec![
                (1, Status::UnknownKeyspace, None),
                (2, Status::UnknownKeyspace, None),
                (3, Status::Ok, one()),
            ],
            Open,
        ),
        row(
            "writes where there are only reads",
            &[request(Put, VIEW, 1, b"one", b"x"), request(Delete, VIEW, 2, b"one", b"")],
            vec![(1, Status::NotSupported, None), (2, Status::NotSupported, None)],
            Open,
        ),
        row(
            "a key that is not text",
            &[get(1, b"\xff\xfe"), get(2, b"one")],
            vec![(1, Status::OriginRejected, None), (2, Status::Ok, one())],
            Open,
        ),
        row(
            "a key over the limit is skipped",
            &[get(1, b"one"), get(2, &big_key), get(3, b"one")],
            vec![(1, Status::Ok, one()), (2, Status::TooLarge, None), (3, Status::Ok, one())],
            Open,
        ),
        row(
            "a value over the limit is skipped",
            &[request(Put, ITEMS, 1, b"one", &big_value), get(2, b"one")],
            vec![(1, Status::TooLarge, None), (2, Status::Ok, one())],
            Open,
        ),
        row(
            "both, twice",
            &[
                request(Put, ITEMS, 1, &big_key, &big_value),
                request(Put, ITEMS, 2, &big_key, &big_value),
                get(3, b"one"),
            ],
            vec![(1, Status::TooLarge, None), (2, Status::TooLarge, None), (3, Status::Ok, one())],
            Open,
        ),
        row("one byte of garbage", &[b"x".to_vec()], vec![(0, refused, None)], Closed),
        row(
            "garbage behind reads, and more behind it",
            &[get(1, b"one"), get(2, b"uncached"), vec![0xAA; 100], get(3, b"one")],
            vec![(0, refused, None), (1, Status::Ok, one()), (2, Status::NotFound, None)],
            Closed,
        ),
        row(
            "a response is no request",
            &[get(1, b"one"), vec![b's'; 40]],
            vec![(0, refused, None), (1, Status::Ok, one())],
            Closed,
        ),
        row(
            "another version",
            &[get(1, b"one"), forged(RequestHeader { version: VERSION + 1, ..header(2) }, b"")],
            vec![(1, Status::Ok, one()), (2, Status::UnsupportedVersion, None)],
            Closed,
        ),
        row(
            "a reserved byte",
            &[forged(RequestHeader { reserved: 1, ..header(7) }, b""), get(8, b"one")],
            vec![(7, refused, None)],
            Closed,
        ),
        row(
            "a second hello",
            &[get(1, b"one"), hello(ANY_SHARD), get(2, b"one")],
            vec![(0, refused, None), (1, Status::Ok, one())],
            Closed,
        ),
        row(
            "a second hello that is none",
            &[request(Hello, 9, 5, b"key", b"value")],
            vec![(5, refused, None)],
            Closed,
        ),
    ])
}

/// The rows that are sent as the first bytes of a connection.
fn first_rows() -> Vec<Row> {
    let body = |change: fn(&mut HelloBody)| {
        let mut body = HelloBody { client_id: 1, ..HelloBody::default() };
        change(&mut body);
        request(Opcode::Hello, 0, 1, b"", &body.to_bytes())
    };
    let good = || body(|_| {});
    let ok = (1, Status::Ok, None);
    let only = |status| vec![(1, status, None)];
    let malformed = || only(Status::Malformed);
    let head = |change: fn(&mut RequestHeader)| {
        let mut header = RequestHeader::new(Opcode::Hello, 0, 1);
        change(&mut header);
        forged(header, b"")
    };
    let read = get(2, b"one");
    let answer = (2, Status::Ok, Some(&b"one"[..]));
    vec![
        row("hello", &[good()], vec![ok], Open),
        row("hello for any shard", &[body(|b| b.shard = ANY_SHARD)], vec![ok], Open),
        row("requests right behind the hello", &[good(), read.clone()], vec![ok, answer], Open),
        row(
            "garbage right behind the hello",
            &[good(), read.clone(), b"garbage".to_vec()],
            vec![(0, Status::Malformed, None), ok, answer],
            Closed,
        ),
        row(
            "a read first",
            &[get(1, b"one"), good()],
            vec![(1, Status::Malformed, Some(b"the first request of a connection must be HELLO"))],
            Closed,
        ),
        row("the map first", &[request(Opcode::Map, 0, 1, b"", b"")], malformed(), Closed),
        row(
            "another protocol",
            &[b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".to_vec()],
            vec![(0, Status::Malformed, None)],
            Closed,
        ),
        row(
            "a hello of 31 bytes",
            &[request(Opcode::Hello, 0, 1, b"", &[0; 31])],
            malformed(),
            Closed,
        ),
        row("an empty hello", &[request(Opcode::Hello, 0, 1, b"", b"")], malformed(), Closed),
        row("a hello with a key", &[head(|h| h.key_len = 1)], malformed(), Closed),
        row("a hello of 4 GiB", &[head(|h| h.value_len = u32::MAX)], malformed(), Closed),
        row("a reserved byte in the header", &[head(|h| h.reserved = 1)], malformed(), Closed),
        row("version 0", &[head(|h| h.version = 0)], only(Status::UnsupportedVersion), Closed),
        row("a reserved byte", &[body(|b| b.reserved[12] = 1)], malformed(), Closed),
        row("no such role", &[body(|b| b.role = 4)], malformed(), Closed),
        row("another cluster", &[body(|b| b.cluster_id = 42)], malformed(), Closed),
        row("no such shard", &[body(|b| b.shard = 1)], only(Status::NoSuchShard), Closed),
        row(
            "the last but one shard",
            &[body(|b| b.shard = 0xFFFE)],
            only(Status::NoSuchShard),
            Closed,
        ),
    ]
}

/// The pieces in which the bytes of a row arrive.
enum Pieces {
    Whole,
    ByteByByte,
    Halves(usize),
}

struct Bench {
    cluster: Cluster,
    /// A connection for pings. An answered ping shows that the loop has run a turn, and has
    /// therefore received what was sent before the ping.
    turn: Wire,
}

impl Bench {
    fn new(io: IoKind) -> Self {
        let cluster = Cluster::one(io, |config| {
            config.limits.key_bytes = u16::try_from(KEY_BYTES).unwrap();
            config.limits.value_bytes = u32::try_from(VALUE_BYTES).unwrap();
        });
        cluster.seed("one", b"one");
        let turn = cluster.wire();
        Self { cluster, turn }
    }

    fn send(&mut self, wire: &mut Wire, bytes: &[u8], pieces: &Pieces) {
        match pieces {
            Pieces::Whole => wire.send(bytes),
            Pieces::Halves(at) => {
                wire.send(&bytes[..*at]);
                self.turn.assert_open();
                // The server may already have closed the connection after the first half.
                wire.try_send(&bytes[*at..]);
            }
            Pieces::ByteByByte => {
                for byte in bytes {
                    if !wire.try_send(&[*byte]) {
                        return;
                    }
                    self.turn.assert_open();
                }
            }
        }
    }

    fn check(&mut self, row: &Row, is_first: bool, pieces: &Pieces) {
        let mut wire = match is_first {
            true => Wire::connect(self.cluster.address()),
            false => self.cluster.wire(),
        };
        self.send(&mut wire, &row.bytes, pieces);
        let mut got = match row.after {
            Open => wire.take(row.expected.len()),
            Closed => wire.rest(),
        };
        let how = match pieces {
            Pieces::Whole => "whole".to_owned(),
            Pieces::ByteByByte => "byte by byte".to_owned(),
            Pieces::Halves(at) => format!("split at {at}"),
        };
        compare(row, &mut got, &format!("{}, {how}", row.what));
        if row.after == Open {
            wire.assert_open();
        }
    }
}

fn compare(row: &Row, got: &mut [Reply], what: &str) {
    got.sort_by_key(|reply| reply.header.request_id);
    let statuses: Vec<_> = got.iter().map(|r| (r.header.request_id, r.status)).collect();
    let expected: Vec<_> = row.expected.iter().map(|(id, status, _)| (*id, *status)).collect();
    assert_eq!(statuses, expected, "{what}");
    for (reply, (_, _, value)) in got.iter().zip(&row.expected) {
        if let Some(value) = value {
            assert_eq!(reply.value, *value, "{what}");
        }
    }
}

fn all_rows() -> impl Iterator<Item = (Row, bool)> {
    let greeted = rows_after_hello().into_iter().map(|row| (row, false));
    greeted.chain(first_rows().into_iter().map(|row| (row, true)))
}

on_both_loops! {
    fn every_row_holds_whole_and_byte_by_byte(io) {
        let mut bench = Bench::new(io);
        for (row, is_first) in all_rows() {
            bench.check(&row, is_first, &Pieces::Whole);
            bench.check(&row, is_first, &Pieces::ByteByByte);
        }
        drop(bench.turn);
        bench.cluster.assert_healthy();
    }

    fn every_row_holds_split_anywhere(io) {
        let mut bench = Bench::new(io);
        for (row, is_first) in all_rows() {
            // In long inputs only both ends matter, because headers and boundaries are there.
            let cuts = (1..row.bytes.len()).filter(|at| *at < 200 || *at + 100 > row.bytes.len());
            for at in cuts {
                bench.check(&row, is_first, &Pieces::Halves(at));
            }
        }
        drop(bench.turn);
        bench.cluster.assert_healthy();
    }

    fn every_row_holds_many_times_in_one_write(io) {
        const TIMES: usize = 150;
        let bench = Bench::new(io);
        for row in rows_after_hello() {
            let mut wire = bench.cluster.wire();
            let good = request(Opcode::Ping, 0, 99, b"", b"");
            let bytes = match row.after {
                Open => row.bytes.repeat(TIMES),
                Closed => [good.repeat(TIMES), row.bytes.clone()].concat(),
            };
            wire.send(&bytes);
            let got = match row.after {
                Open => wire.take(TIMES * row.expected.len()),
                Closed => wire.rest(),
            };
            for (id, status, value) in &row.expected {
                let times = if row.after == Open { TIMES } else { 1 };
                let of_id = got.iter().filter(|reply| reply.header.request_id == *id);
                let fits = of_id.filter(|reply| {
                    reply.status == *status && value.is_none_or(|value| reply.value == value)
                });
                assert_eq!(fits.count(), times, "{}: replies to {id}", row.what);
            }
            if row.after == Closed {
                let pongs = got.iter().filter(|reply| reply.header.request_id == 99).count();
                assert_eq!(pongs, TIMES, "{}: what came before is answered", row.what);
            }
        }
        drop(bench.turn);
        bench.cluster.assert_healthy();
    }
}
