//! Clients that stop sending, or stop reading.

use standin_protocol::frame::{Opcode, Status};
use standin_testkit::wait::wait_until;

use crate::fixture::{Cluster, ITEMS, PATIENCE};
use crate::wire::{Wire, by_status, hello, request};

fn get(id: u32, key: &str) -> Vec<u8> {
    request(Opcode::Get, ITEMS, id, key.as_bytes(), b"")
}

/// Returns `count` hits, `count` misses and `count` writes.
fn mixed(count: u32) -> Vec<u8> {
    let trio = |n: u32| {
        let key = format!("key {n}");
        let write = request(Opcode::Put, ITEMS, 3 * n + 1, key.as_bytes(), b"new");
        [get(3 * n, "hot"), write, get(3 * n + 2, &format!("none {n}"))].concat()
    };
    (0..count).flat_map(trio).collect()
}

on_both_loops! {
    fn a_client_that_stops_sending_still_gets_every_reply(io) {
        let cluster = Cluster::one(io, |_| {});
        cluster.seed("hot", b"hot");
        let mut wire = cluster.wire();
        wire.send(&mixed(300));
        wire.end();
        let got = wire.rest();
        let counts = by_status(&got);
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("NOT_FOUND", 300), ("OK", 600)]);
        cluster.assert_healthy();
    }

    fn all_requests_may_arrive_in_one_packet_with_the_end(io) {
        let cluster = Cluster::one(io, |_| {});
        cluster.seed("hot", b"hot");
        for _ in 0..50 {
            let mut wire = Wire::connect(cluster.address());
            wire.send(&[hello(0), mixed(5)].concat());
            wire.end();
            assert_eq!(wire.rest().len(), 16);
        }
        cluster.assert_healthy();
    }

    fn an_end_within_a_frame_ends_the_connection_after_the_replies(io) {
        let cluster = Cluster::one(io, |_| {});
        let whole = mixed(2);
        for cut in [1, 31, 32, 34] {
            let mut wire = cluster.wire();
            wire.send(&[&whole[..], &get(9, "hot")[..cut]].concat());
            wire.end();
            assert_eq!(wire.rest().len(), 6, "cut at {cut}");
        }
        // The same holds within the HELLO.
        for cut in [0, 1, 63] {
            let mut wire = Wire::connect(cluster.address());
            wire.send(&hello(0)[..cut]);
            wire.end();
            assert_eq!(wire.next(), None, "cut at {cut}");
        }
        cluster.assert_healthy();
    }

    fn a_client_that_reads_late_gets_everything(io) {
        let cluster = Cluster::one(io, |config| {
            config.limits.output_bytes_per_connection = 256 << 10;
            // The time of waiting for a slow reader does not count as that of an unfinished frame.
            config.limits.handshake_timeout = std::time::Duration::from_millis(300);
        });
        let value = vec![7; 64 << 10];
        cluster.seed("large", &value);
        cluster.wait_kept("large");
        for half_closes in [false, true] {
            let mut wire = cluster.wire();
            assert_eq!(wire.ask(&get(0, "large")).value, value);
            // There are 128 MiB of replies, far more than the sockets and the limit hold.
            let requests: Vec<u8> = (1..=2_000).flat_map(|id| get(id, "large")).collect();
            wire.send(&requests);
            wire.send(&get(2_001, "large")[..20]);
            if half_closes {
                wire.end();
            }
            // Other clients are served meanwhile, for longer than a frame may take.
            let start = standin_protocol::time::Micros::boottime();
            let mut other = cluster.wire();
            while standin_protocol::time::Micros::boottime().since(start).as_millis() < 900 {
                other.assert_open();
            }
            let got = wire.take(2_000);
            let in_order = got.iter().zip(1..).all(|(r, id)| r.header.request_id == id);
            assert!(in_order && got.iter().all(|reply| reply.value == value));
            if half_closes {
                assert_eq!(wire.next(), None);
            } else {
                wire.send(&get(2_001, "large")[20..]);
                assert_eq!(wire.next().expect("the last").value, value);
                wire.assert_open();
            }
        }
        cluster.assert_healthy();
    }

    fn an_answer_that_arrives_after_all_earlier_ones_were_taken_is_sent(io) {
        let cluster = Cluster::one(io, |config| {
            config.limits.output_bytes_per_connection = 64 << 20;
            // The counters of a single shard are exact.
            config.servers[0].shards = 1;
        });
        let value = vec![7; 64 << 10];
        cluster.seed("large", &value);
        cluster.wait_kept("large");
        cluster.database.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut wire = cluster.wire();
        let served = || cluster.counter("data_requests");
        let wait_served = |count| {
            wait_until(PATIENCE, "the requests to be served", || served() >= count);
        };
        let before = served();
        // The replies are larger than the sockets' buffers, so the server is still sending when the
        // write arrives.
        wire.send(&(1..=300).flat_map(|id| get(id, "large")).collect::<Vec<_>>());
        wait_served(before + 300);
        let before = served();
        wire.send(&request(Opcode::Put, ITEMS, 301, b"key", b"value"));
        wait_served(before + 1);
        assert!(wire.take(300).iter().all(|reply| reply.value == value));
        // By then the shard has learned that all replies were taken.
        served();
        cluster.database.execute_batch("COMMIT").unwrap();
        assert_eq!(wire.next().expect("an answer").status, Status::Ok);
        cluster.assert_healthy();
    }

    fn a_client_that_never_reads_does_not_affect_others(io) {
        let cluster = Cluster::one(io, |config| {
            config.limits.output_bytes_per_connection = 64 << 10;
        });
        cluster.seed("large", &vec![7; 64 << 10]);
        let mut deaf: Vec<Wire> = (0..20).map(|_| cluster.wire()).collect();
        for wire in &mut deaf {
            let requests: Vec<u8> = (0..1_500).flat_map(|id| get(id, "large")).collect();
            wire.send(&requests);
        }
        let mut wire = cluster.wire();
        for id in 0..200 {
            let write = request(Opcode::Put, ITEMS, id, format!("k{id}").as_bytes(), b"v");
            assert_eq!(wire.ask(&write).status, Status::Ok);
        }
        drop((deaf, wire));
        cluster.assert_healthy();
    }
}
