//! Random requests in random pieces, compared with a map. The server must answer as the map says,
//! and leave in the database what the map contains. Requests that are under way together have
//! different keys, because the order of requests for one key is not guaranteed.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use standin_protocol::frame::{Opcode, RequestHeader, Status};

use crate::fixture::{Cluster, ITEMS};
use crate::wire::{Reply, Wire, forged, request};

const VALUE_BYTES: u32 = 20_000;

#[derive(Debug, Clone)]
enum Op {
    Get,
    Put(Vec<u8>),
    Delete,
    /// A CAS with the version of the key that was seen last, or with a wrong one.
    Cas(Vec<u8>, bool),
    Touch,
    Invalidate,
    TooLarge,
    Unknown,
}

/// A row as the model knows it.
#[derive(Debug, Default, Clone)]
struct Row {
    value: Option<Vec<u8>>,
    version: u64,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![6 => 0..100_usize, 2 => 4_000..4_200_usize, 1 => 0..20_000_usize];
    (any::<u8>(), size).prop_map(|(byte, size)| vec![byte; size])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Get),
        4 => value().prop_map(Op::Put),
        1 => Just(Op::Delete),
        2 => (value(), any::<bool>()).prop_map(|(value, right)| Op::Cas(value, right)),
        1 => Just(Op::Touch),
        1 => Just(Op::Invalidate),
        1 => Just(Op::TooLarge),
        1 => Just(Op::Unknown),
    ]
}

/// Rounds of requests, at most one per key, and the sizes of pieces. `None` means no request for
/// the key in this round.
type Story = (Vec<Vec<Option<Op>>>, Vec<usize>);

fn story() -> impl Strategy<Value = Story> {
    let round = vec(proptest::option::weighted(0.7, op()), 6);
    let piece = prop_oneof![3 => 1..50_usize, 2 => 50..5_000_usize, 1 => 5_000..100_000_usize];
    (vec(round, 1..12), vec(piece, 1..20))
}

fn frame(op: &Op, id: u32, key: &[u8], row: &Row) -> Vec<u8> {
    let header = |opcode| RequestHeader::new(opcode, ITEMS, id);
    match op {
        Op::Get => request(Opcode::Get, ITEMS, id, key, b""),
        Op::Put(value) => request(Opcode::Put, ITEMS, id, key, value),
        Op::Delete => request(Opcode::Delete, ITEMS, id, key, b""),
        Op::Touch => request(Opcode::Touch, ITEMS, id, key, b""),
        Op::Invalidate => request(Opcode::Invalidate, ITEMS, id, key, b""),
        Op::Cas(value, right) => {
            let cas_version = if *right { row.version } else { 1 };
            let mut bytes = request(Opcode::Cas, ITEMS, id, key, value);
            let lengths = RequestHeader::read(&bytes).unwrap();
            bytes[..32].copy_from_slice(&RequestHeader { cas_version, ..lengths }.to_bytes());
            bytes
        }
        Op::TooLarge => request(Opcode::Put, ITEMS, id, key, &vec![0; VALUE_BYTES as usize + 1]),
        Op::Unknown => forged(RequestHeader { opcode: 99, ..header(Opcode::Get) }, b""),
    }
}

/// Checks that the reply is what the model says. The model takes from the reply what it can't know.
fn check(op: &Op, row: &mut Row, reply: &Reply) -> Result<(), TestCaseError> {
    let exists = row.value.is_some();
    let found = if exists { Status::Ok } else { Status::NotFound };
    let status = reply.status;
    match op {
        Op::Get => {
            prop_assert_eq!(status, found);
            prop_assert_eq!(&reply.value, row.value.as_deref().unwrap_or_default());
            row.version = reply.header.cas_version;
        }
        Op::Put(value) => {
            prop_assert_eq!(status, Status::Ok);
            *row = Row { value: Some(value.clone()), version: reply.header.cas_version };
        }
        Op::Delete => {
            prop_assert_eq!(status, found);
            *row = Row::default();
        }
        Op::Touch => prop_assert_eq!(status, found),
        Op::Invalidate => prop_assert_eq!(status, Status::Ok),
        Op::Cas(value, right) => match status {
            Status::Ok if *right && row.version != 0 => {
                *row = Row { value: Some(value.clone()), version: reply.header.cas_version };
            }
            // The value need not be cached any more, and then has a new version.
            Status::VersionMismatch if exists => row.version = reply.header.cas_version,
            _ => prop_assert_eq!(status, Status::NotFound, "exists: {}", exists),
        },
        Op::TooLarge => prop_assert_eq!(status, Status::TooLarge),
        Op::Unknown => prop_assert_eq!(status, Status::UnknownOpcode),
    }
    if matches!(op, Op::Cas(..)) && status == Status::NotFound {
        prop_assert!(!exists, "an existing row was not found");
    }
    Ok(())
}

fn send_in_pieces(wire: &mut Wire, bytes: &[u8], sizes: &mut impl Iterator<Item = usize>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
        wire.send(piece);
        rest = later;
    }
}

fn tell(cluster: &Cluster, number: usize, (rounds, pieces): &Story) -> Result<(), TestCaseError> {
    let mut wire = cluster.wire();
    let mut sizes = pieces.iter().copied().cycle();
    let mut rows: HashMap<u32, Row> = HashMap::new();
    let key = |n: u32| format!("story {number} key {n}");
    for round in rounds {
        let ops: HashMap<u32, &Op> =
            (0..).zip(round).filter_map(|(n, op)| Some((n, op.as_ref()?))).collect();
        let bytes: Vec<u8> = ops
            .iter()
            .flat_map(|(n, op)| frame(op, *n, key(*n).as_bytes(), rows.entry(*n).or_default()))
            .collect();
        send_in_pieces(&mut wire, &bytes, &mut sizes);
        let mut got = wire.take(ops.len());
        got.sort_by_key(|reply| reply.header.request_id);
        got.dedup_by_key(|reply| reply.header.request_id);
        prop_assert_eq!(got.len(), ops.len(), "each is answered once");
        for reply in got {
            let n = reply.header.request_id;
            prop_assert!(ops.contains_key(&n), "an answer without a request");
            check(ops[&n], rows.entry(n).or_default(), &reply)?;
        }
    }
    for (n, row) in rows {
        let query = "SELECT value FROM items WHERE id = ?1";
        let held = cluster.database.query_row(query, [key(n)], |row| row.get(0)).ok();
        prop_assert_eq!(held, row.value);
    }
    Ok(())
}

on_both_loops! {
    fn random_requests_in_random_pieces_are_answered_like_a_map(io) {
        let cluster = Cluster::one(io, |config| {
            config.servers[0].shards = 2;
            config.limits.value_bytes = VALUE_BYTES;
        });
        let number = std::cell::Cell::new(0);
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&story(), |story| {
            number.set(number.get() + 1);
            tell(&cluster, number.get(), &story)
        }).unwrap();
        cluster.assert_healthy();
    }
}
