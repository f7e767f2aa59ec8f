//! Limits on the time of a HELLO or a frame, on connections and on requests in flight, and the
//! secret.

use std::time::Duration;

use standin_config::{ClusterConfig, IoKind};
use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::{Opcode, RequestHeader, Status};
use standin_protocol::hello::{HelloBody, Role};
use standin_protocol::time::Micros;
use standin_testkit::wait::wait_until;

use crate::fixture::{Cluster, ITEMS, PATIENCE};
use crate::wire::{Reply, Wire, by_status, forged, hello, request};

const BOUND: Duration = Duration::from_millis(300);

fn short(config: &mut ClusterConfig) {
    config.limits.handshake_timeout = BOUND;
}

/// Asserts that the connection is closed, not before the time limit and not long after it.
fn assert_cut(mut wire: Wire, since: Micros, what: &str) {
    assert_eq!(wire.next(), None, "{what}");
    let took = Micros::boottime().since(since);
    assert!(took >= BOUND && took < BOUND * 10, "{what}: cut after {took:?}");
}

fn put(id: u32, key: &str) -> Vec<u8> {
    request(Opcode::Put, ITEMS, id, key.as_bytes(), b"value")
}

/// Creates a cluster whose writes hang until the transaction that this function begins is over.
fn with_stuck_writes(io: IoKind, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    let cluster = Cluster::one(io, change);
    cluster.database.execute_batch("BEGIN IMMEDIATE").unwrap();
    cluster
}

fn assert_statuses(got: &[Reply], expected: &[(&str, usize)]) {
    let expected: Vec<_> = expected.to_vec();
    assert_eq!(by_status(got).into_iter().collect::<Vec<_>>(), expected);
}

on_both_loops! {
    fn a_connection_whose_hello_or_frame_does_not_end_is_cut(io) {
        let cluster = Cluster::one(io, short);
        let mut idle = cluster.wire();
        let start = Micros::boottime();
        let silent = Wire::connect(cluster.address());
        let mut half_hello = Wire::connect(cluster.address());
        half_hello.send(&hello(0)[..40]);
        let mut half_frame = cluster.wire();
        half_frame.send(&put(1, "k")[..33]);
        let mut one_byte = cluster.wire();
        one_byte.send(b"S");
        assert_cut(silent, start, "nothing at all");
        assert_cut(half_hello, start, "half a hello");
        assert_cut(half_frame, start, "half a frame");
        assert_cut(one_byte, start, "one byte");
        idle.assert_open();
        drop(idle);
        cluster.assert_healthy();
    }

    fn a_frame_that_arrives_byte_by_byte_is_cut_too(io) {
        let cluster = Cluster::one(io, short);
        let mut turn = cluster.wire();
        let mut wire = cluster.wire();
        let frame = request(Opcode::Put, ITEMS, 1, b"drip", &[b'x'; 100_000]);
        let start = Micros::boottime();
        let mut sent = 0;
        while sent < frame.len() && wire.try_send(&frame[sent..=sent]) {
            sent += 1;
            turn.assert_open();
        }
        assert!(sent < frame.len(), "it was never cut");
        let took = Micros::boottime().since(start);
        assert!(took >= BOUND && took < BOUND * 10, "cut after {took:?}");
        drop((wire, turn));
        cluster.assert_healthy();
    }

    fn a_header_that_announces_four_gibibytes_is_refused(io) {
        let cluster = Cluster::one(io, short);
        let start = Micros::boottime();
        let mut wire = cluster.wire();
        let header = RequestHeader::new(Opcode::Put, ITEMS, 7);
        let huge = RequestHeader { key_len: 9, value_len: u32::MAX, ..header };
        let reply = wire.ask(&forged(huge, b"some of it"));
        assert_eq!((reply.header.request_id, reply.status), (7, Status::TooLarge));
        wire.send(&vec![0; 100_000]);
        assert_cut(wire, start, "the rest never comes");
        cluster.assert_healthy();
    }

    fn connections_over_the_limit_are_told_so_and_later_accepted(io) {
        for shards in [1, 2] {
            let cluster = Cluster::one(io, |config| {
                config.limits.connections = 20;
                config.servers[0].shards = shards;
            });
            cluster.wait_for_no_connection();
            let says = |shard: u16| {
                let mut wire = Wire::connect(cluster.address());
                let reply = wire.ask(&hello(shard));
                (reply.status, reply.header.retry_after_ms, wire)
            };
            wait_until(PATIENCE, "exactly 20 places", || {
                let answers: Vec<_> = (0..21_u16).map(|n| says(n % shards)).collect();
                let refused = answers.iter().position(|(status, ..)| *status != Status::Ok);
                if let Some(at) = refused {
                    let (status, retry_after_ms, _) = &answers[at];
                    assert_eq!((*status, *retry_after_ms > 0), (Status::Overloaded, true));
                }
                refused == Some(20)
            });
            // The connections of the last round are gone, and there is room again.
            wait_until(PATIENCE, "room", || says(0).0 == Status::Ok);
            wait_until(PATIENCE, "the count", || cluster.counter("connections_refused") >= 1);
            cluster.assert_healthy();
        }
    }

    fn clients_take_no_place_of_the_master_or_of_peers_or_of_observers(io) {
        let cluster = Cluster::one(io, |config| config.limits.connections = 5);
        let says = |role: Role| {
            let mut wire = Wire::connect(cluster.address());
            let body = HelloBody { client_id: 1, role: role as u8, ..HelloBody::default() };
            let reply = wire.ask(&request(Opcode::Hello, 0, 0, b"", &body.to_bytes()));
            (reply.status, wire)
        };
        let mut clients = Vec::new();
        wait_until(PATIENCE, "clients in all places", || {
            clients.push(says(Role::Client));
            clients.last().is_some_and(|(status, _)| *status == Status::Overloaded)
        });
        for role in [Role::Master, Role::Peer, Role::Observer] {
            let mut taken = Vec::new();
            while let (Status::Ok, wire) = says(role) {
                taken.push(wire);
                assert!(taken.len() < 100, "{role:?}: these places are counted too");
            }
            assert!(!taken.is_empty(), "{role:?}");
            taken[0].assert_open();
            // The connections can be opened again.
            drop(taken);
            wait_until(PATIENCE, "a place", || says(role).0 == Status::Ok);
        }
        assert_eq!(says(Role::Client).0, Status::Overloaded);
        drop(clients);
        wait_until(PATIENCE, "room", || {
            let two = [says(Role::Client), says(Role::Client)];
            two.iter().all(|(status, _)| *status == Status::Ok)
        });
        cluster.assert_healthy();
    }

    fn silent_callers_make_room_for_others(io) {
        let cluster = Cluster::one(io, |config| {
            config.limits.handshakes = 8;
            config.limits.handshake_timeout = PATIENCE * 2;
        });
        let mut silent: Vec<Wire> = (0..60).map(|_| Wire::connect(cluster.address())).collect();
        for _ in 0..20 {
            let mut wire = Wire::connect(cluster.address());
            assert_eq!(wire.ask(&hello(0)).status, Status::Ok);
        }
        // The first to connect is the first to be closed, and is told the reason.
        let told = silent[0].rest();
        assert_eq!(by_status(&told), [("OVERLOADED", 1)].into());
        // A caller that sends its HELLO in time is accepted, however long it took.
        let mut last = silent.pop().unwrap();
        assert_eq!(last.ask(&hello(0)).status, Status::Ok);
        drop(last);
        drop(silent);
        cluster.assert_healthy();
    }

    fn requests_in_flight_are_bounded_by_connection(io) {
        let cluster = with_stuck_writes(io, |config| config.limits.in_flight_per_connection = 8);
        let mut wire = cluster.wire();
        wire.send(&(0..100).flat_map(|id| put(id, &format!("k{id}"))).collect::<Vec<_>>());
        let refused = wire.take(92);
        assert_statuses(&refused, &[("OVERLOADED", 92)]);
        assert!(refused.iter().all(|reply| reply.header.retry_after_ms > 0), "a hint");
        // Requests that need not wait are answered meanwhile, also on this connection.
        wire.assert_open();
        cluster.database.execute_batch("COMMIT").unwrap();
        assert_statuses(&wire.take(8), &[("OK", 8)]);
        wire.send(&(0..8).flat_map(|id| put(id, &format!("k{id}"))).collect::<Vec<_>>());
        assert_statuses(&wire.take(8), &[("OK", 8)]);
        drop(wire);
        cluster.assert_healthy();
    }

    fn requests_for_the_counters_are_bounded_too(io) {
        let cluster = with_stuck_writes(io, |config| config.limits.in_flight_per_connection = 8);
        let mut wire = cluster.wire();
        wire.send(&(0..8).flat_map(|id| put(id, &format!("k{id}"))).collect::<Vec<_>>());
        let stats = request(Opcode::Stats, 0, 9, b"", b"");
        wire.send(&stats.repeat(100));
        let refused = wire.take(100);
        assert_statuses(&refused, &[("OVERLOADED", 100)]);
        assert!(refused.iter().all(|reply| reply.header.retry_after_ms > 0), "a hint");
        cluster.database.execute_batch("COMMIT").unwrap();
        assert_statuses(&wire.take(8), &[("OK", 8)]);
        assert_eq!(wire.ask(&stats).status, Status::Ok);
        drop(wire);
        cluster.assert_healthy();
    }

    fn requests_for_another_shard_in_flight_are_bounded_too(io) {
        let cluster = with_stuck_writes(io, |config| {
            config.limits.in_flight_per_connection = 8;
            config.servers[0].shards = 2;
        });
        let topology = cluster.config.topology().unwrap();
        let strays = (0..).map(|n| format!("k{n}"));
        let strays = strays.filter(|key| {
            topology.shard(0, topology.partition(ITEMS, key.as_bytes())) == 1
        });
        let mut wire = cluster.wire_to(0, 0);
        let writes = strays.take(100).zip(0..).flat_map(|(key, id)| put(id, &key));
        wire.send(&writes.collect::<Vec<_>>());
        let refused = wire.take(92);
        assert_statuses(&refused, &[("OVERLOADED", 92)]);
        assert!(refused.iter().all(|reply| reply.header.retry_after_ms > 0), "a hint");
        cluster.database.execute_batch("COMMIT").unwrap();
        assert_statuses(&wire.take(8), &[("OK", 8)]);
        drop(wire);
        cluster.assert_healthy();
    }

    fn bytes_in_flight_are_bounded_by_shard(io) {
        let cluster = with_stuck_writes(io, |_| {});
        let mut wire = cluster.wire();
        let write = |id| request(Opcode::Put, ITEMS, id, b"one key", &[1; 1 << 20]);
        (0..80).for_each(|id| wire.send(&write(id)));
        // The limit is 64 MiB, less what is counted for keys and headers.
        let refused = wire.take(80 - 63);
        assert_statuses(&refused, &[("OVERLOADED", 80 - 63)]);
        cluster.database.execute_batch("COMMIT").unwrap();
        assert_statuses(&wire.take(63), &[("OK", 63)]);
        assert_eq!(wire.ask(&write(0)).status, Status::Ok);
        drop(wire);
        cluster.assert_healthy();
    }

    fn requests_in_flight_are_bounded_by_shard(io) {
        let cluster = with_stuck_writes(io, |config| config.limits.in_flight_per_shard = 10);
        let mut wires: Vec<Wire> = (0..5).map(|_| cluster.wire()).collect();
        let writes: Vec<u8> = (0..10).flat_map(|id| put(id, &format!("k{id}"))).collect();
        wires[0].send(&writes);
        wait_until(PATIENCE, "ten in flight", || cluster.counter("in_flight") == 10);
        for wire in &mut wires[1..] {
            wire.send(&writes);
            assert_statuses(&wire.take(10), &[("OVERLOADED", 10)]);
        }
        cluster.database.execute_batch("COMMIT").unwrap();
        assert_statuses(&wires[0].take(10), &[("OK", 10)]);
        drop(wires);
        cluster.assert_healthy();
    }

    fn a_client_that_leaves_with_requests_in_flight_leaves_nothing_behind(io) {
        let cluster = with_stuck_writes(io, |_| {});
        let wires: Vec<Wire> = (0..50).map(|number| {
            let mut wire = cluster.wire();
            wire.send(&(0..4).flat_map(|id| put(id, &format!("{number}-{id}"))).collect::<Vec<_>>());
            wire
        }).collect();
        wait_until(PATIENCE, "all to be in flight", || cluster.counter("in_flight") == 200);
        // Half of the clients close their sending side and might still read, and the other half are
        // gone for good.
        for (number, wire) in wires.into_iter().enumerate() {
            if number % 2 == 0 {
                wire.reset();
            }
        }
        wait_until(PATIENCE, "the reset ones to be gone", || cluster.counter("connections") <= 26);
        cluster.database.execute_batch("COMMIT").unwrap();
        wait_until(PATIENCE, "the writes to end", || cluster.counter("in_flight") == 0);
        cluster.assert_healthy();
    }

    fn the_secret_is_required(io) {
        let cluster = Cluster::one(io, |config| {
            short(config);
            config.security.secret = Some([9; 32]);
        });
        let refused = |bytes: &dyn Fn(&[u8]) -> Vec<u8>, status: Status| {
            let mut wire = Wire::connect(cluster.address());
            let challenge = wire.ask(&hello(0));
            assert_eq!(challenge.status, Status::AuthRequired);
            wire.try_send(&bytes(&challenge.value));
            assert_eq!(wire.next().map(|reply| reply.status), Some(status));
            assert_eq!(wire.next(), None, "it ends there");
        };
        let body = HelloBody::default();
        let with = |value: &[u8]| request(Opcode::Hello, 0, 0, b"", value);
        let wrong = ClusterKey::new([8; 32]);
        let right = cluster.config.cluster_key().unwrap();
        refused(&|_| hello(0), Status::AuthFailed);
        refused(&|nonce| with(&body.with_proof(&wrong, nonce)), Status::AuthFailed);
        refused(&|_| with(&body.with_proof(&right, &[0; 16])), Status::AuthFailed);
        refused(&|_| with(&[&body.to_bytes()[..], &[0; 16]].concat()), Status::AuthFailed);
        wait_until(PATIENCE, "failed logins to be counted, and nothing else", || {
            cluster.counter("auth_failures_native") == 4
        });
        refused(&|_| request(Opcode::Get, ITEMS, 1, b"one", b""), Status::Malformed);
        refused(&|_| request(Opcode::Map, 0, 1, b"", b""), Status::Malformed);
        refused(&|_| b"garbage".to_vec(), Status::Malformed);
        // The proof covers the body, so a HELLO for another shard than the proven one is refused.
        refused(&|nonce| {
            let mut value = body.with_proof(&right, nonce);
            value[16] ^= 1;
            with(&value)
        }, Status::AuthFailed);
        // A proof without a challenge proves nothing.
        let mut wire = Wire::connect(cluster.address());
        let reply = wire.ask(&with(&body.with_proof(&right, &[0; 16])));
        assert_eq!(reply.status, Status::AuthRequired);
        let start = Micros::boottime();
        let mut unanswered = Wire::connect(cluster.address());
        assert_eq!(unanswered.ask(&hello(0)).status, Status::AuthRequired);
        assert_cut(unanswered, start, "the challenge is never answered");
        drop(wire);
        cluster.assert_healthy();
    }
}
