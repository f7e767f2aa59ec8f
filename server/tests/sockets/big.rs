//! Large values, many connections, and long pipelines: more than any buffer holds at once.

use std::time::Duration;

use standin_protocol::frame::{Opcode, Status, VALUE_BYTES_MAX};

use crate::fixture::{Cluster, ITEMS, PATIENCE};
use crate::wire::{Wire, by_status, request};

fn get(id: u32, key: &str) -> Vec<u8> {
    request(Opcode::Get, ITEMS, id, key.as_bytes(), b"")
}

/// Returns a value that shows where a byte is missing.
fn value(seed: u32, bytes: usize) -> Vec<u8> {
    (0u32..).take(bytes).map(|at| (at.wrapping_mul(31) ^ seed).to_le_bytes()[0]).collect()
}

on_both_loops! {
    fn large_values_go_both_ways_in_a_pipeline(io) {
        const COUNT: u32 = 12;
        let cluster = Cluster::one(io, |_| {});
        let mut wire = cluster.wire();
        let key = |n: u32| format!("large {n}");
        let writes: Vec<u8> = (0..COUNT)
            .flat_map(|n| request(Opcode::Put, ITEMS, n, key(n).as_bytes(), &value(n, 1 << 20)))
            .collect();
        wire.send(&writes);
        assert!(wire.take(COUNT as usize).iter().all(|reply| reply.status == Status::Ok));
        // The first round reads cached values, and the second one values that the database has to
        // return.
        for _ in 0..2 {
            for round in 0..3 {
                let reads: Vec<u8> = (0..COUNT).flat_map(|n| get(n, &key(n))).collect();
                wire.send(&reads);
                for reply in wire.take(COUNT as usize) {
                    let expected = value(reply.header.request_id, 1 << 20);
                    assert!(reply.value == expected, "round {round}");
                }
            }
            for n in 0..COUNT {
                wire.ask(&request(Opcode::Invalidate, ITEMS, n, key(n).as_bytes(), b""));
            }
        }
        drop(wire);
        cluster.assert_healthy();
    }

    fn the_largest_value_fits_and_a_larger_row_is_refused(io) {
        let cluster = Cluster::one(io, |config| config.limits.value_bytes = VALUE_BYTES_MAX);
        let most = value(1, VALUE_BYTES_MAX as usize);
        cluster.seed("most", &most);
        cluster.seed("too much", &[&most[..], b"!"].concat());
        let mut wire = cluster.wire();
        assert!(wire.ask(&get(1, "most")).value == most);
        assert_eq!(wire.ask(&get(2, "too much")).status, Status::OriginRejected);
        let write = request(Opcode::Put, ITEMS, 3, b"written", &most);
        assert_eq!(wire.ask(&write).status, Status::Ok);
        assert!(wire.ask(&get(4, "written")).value == most);
        drop(wire);
        cluster.assert_healthy();
    }

    fn a_thousand_connections_with_pipelines(io) {
        // There are 96 MB of replies, and no client reads any before all have sent their requests.
        let room = Some(256 << 20);
        let cluster = Cluster::one(io, |config| {
            config.limits.output_bytes = room;
            // A turn can take long here, and must not be mistaken for a stop.
            config.timings.lease = PATIENCE;
        });
        cluster.seed("hot", &value(7, 3_000));
        let mut wires: Vec<Wire> = (0..1_000).map(|_| cluster.wire()).collect();
        let reads: Vec<u8> = (0..32).flat_map(|id| get(id, "hot")).collect();
        // The request is larger than the receive buffers, and is sent at once.
        let padding = request(Opcode::Put, ITEMS, 32, b"w", &value(1, 5_000));
        for round in 0..3 {
            for wire in &mut wires {
                wire.send(&reads);
                if round == 1 {
                    wire.send(&padding);
                }
            }
            for wire in &mut wires {
                let got = wire.take(if round == 1 { 33 } else { 32 });
                let hits = got.iter().filter(|reply| reply.value.len() == 3_000).count();
                assert_eq!(hits, 32, "{:?}", by_status(&got));
            }
        }
        drop(wires);
        cluster.assert_healthy();
    }

    fn a_very_long_pipeline_of_small_requests(io) {
        const COUNT: usize = 100_000;
        // Nor must a machine that stands still for some seconds.
        let cluster = Cluster::one(io, |config| config.timings.lease = PATIENCE);
        cluster.seed("hot", b"hot");
        let mut wire = cluster.wire();
        wire.ask(&get(0, "hot"));
        let mut writer = wire.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            std::io::Write::write_all(&mut writer, &get(1, "hot").repeat(COUNT)).unwrap();
        });
        for _ in 0..COUNT {
            assert_eq!(wire.next().expect("a reply").value, b"hot");
        }
        sender.join().unwrap();
        drop(wire);
        cluster.assert_healthy();
    }

    fn many_clients_wait_for_one_large_row(io) {
        let cluster = Cluster::one(io, |config| {
            config.limits.in_flight_per_connection = 4_096;
            // The clients read one after the other, and none must be mistaken for one that never
            // reads.
            config.limits.output_timeout = Duration::from_secs(600);
        });
        let large = value(3, 1 << 20);
        cluster.seed("large", &large);
        let mut wires: Vec<Wire> = (0..8).map(|_| cluster.wire()).collect();
        let reads = get(1, "large").repeat(1_000);
        wires.iter_mut().for_each(|wire| wire.send(&reads));
        // There would be 8 GiB of replies if each request were answered. Requests for whose replies
        // there is no room are refused.
        for wire in &mut wires {
            for _ in 0..1_000 {
                let reply = wire.next().expect("a reply");
                let is_refused = reply.status == Status::Overloaded && reply.value.is_empty();
                assert!(is_refused || reply.value == large);
            }
        }
        drop(wires);
        cluster.assert_healthy();
    }
}
