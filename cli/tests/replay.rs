//! The requests of a production block cache, sent to a cluster that loses a server in the middle.
//! Every request is answered, and every value is the one that was written last.
//!
//! Object ids are keys, and sizes are cut to 4 KiB. The first access to an object writes it, later
//! ones read it, and every tenth access writes it again. The trace is not part of the repository.
//! Without it a synthetic trace is used, and the output says so.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use standin_client::blocking::Client;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait::poll_for;

use common::{Cluster, KEYSPACE, TWO_PAIRS};

/// The path of the trace, which is next to the repository if it exists.
const TRACE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces/cloudphysics.oracleGeneral.bin");
/// The size of a record: `u32 time_s, u64 object_id, u32 size_bytes, i64 next_access`,
/// little-endian, packed.
const RECORD_BYTES: usize = 24;
const VALUE_BYTES_MAX: usize = 4_096;
/// The number of requests of the synthetic trace.
const SYNTHETIC_REQUESTS: usize = 30_000;
/// The number of clients. All requests for an object come from one client, in the order of the
/// trace.
const CLIENTS: u64 = 12;

#[derive(Debug, Clone, Copy)]
struct Access {
    object: u64,
    size_bytes: usize,
}

#[test]
fn every_request_of_a_trace_is_answered_rightly_while_a_server_dies_and_returns() {
    let trace = read_trace();
    let mut cluster = Cluster::with("replay", TWO_PAIRS, |config| {
        for server in &mut config.servers {
            server.memory_bytes = 4 << 20;
        }
    });
    cluster.start();

    let (done, has_failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let total = trace.len();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mine = trace.iter().filter(|access| access.object % CLIENTS == number);
            let mine: Vec<Access> = mine.copied().collect();
            let client = cluster.client();
            let (done, has_failed) = (Arc::clone(&done), Arc::clone(&has_failed));
            std::thread::spawn(move || {
                let result = replay(client, &mine, &done);
                has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            })
        })
        .collect();

    let wait_for = |share: usize| {
        let reached = poll_for(std::time::Duration::from_secs(600), || {
            let is_there = done.load(Ordering::Relaxed) >= total * share / 4;
            (is_there || has_failed.load(Ordering::Relaxed)).then_some(())
        });
        assert!(reached.is_some(), "{share}/4 of the trace not reached");
    };
    wait_for(2);
    cluster.kill("a1");
    wait_for(3);
    cluster.wait_states(&[("a1", Offline)]);
    let stood_in = cluster.counter("a2", "stand_in_requests");
    cluster.start_server("a1");
    for client in clients {
        client.join().expect("a client must not panic").expect("every answer is right");
    }
    cluster.wait_all(Online);
    assert_eq!(done.load(Ordering::Relaxed), total, "every request was answered");
    assert!(stood_in > 0, "a2 stood in");
    let counters = |name| ["a1", "a2", "b1", "b2"].map(|server| cluster.counter(server, name));
    for (server, evicted) in counters("evicted").into_iter().enumerate().skip(1) {
        assert!(evicted > 0, "the cache of server {server} is too large for this test");
    }
    println!(
        "{total} requests of {}; hits {:?}, origin reads {:?}, evicted {:?}",
        if Path::new(TRACE).exists() { "the trace" } else { "a synthetic trace" },
        counters("hits"),
        counters("origin_reads"),
        counters("evicted"),
    );
}

/// Replays one client's share in order. The value that each object must have is known at all times.
fn replay(mut client: Client, accesses: &[Access], done: &AtomicUsize) -> Result<(), String> {
    let mut objects: HashMap<u64, (u64, Vec<u8>)> = HashMap::new();
    for Access { object, size_bytes } in accesses {
        let key = object.to_string();
        let (sights, current) = objects.entry(*object).or_default();
        *sights += 1;
        if *sights % 10 == 1 {
            *current = value(*object, *sights, *size_bytes);
            client
                .put(KEYSPACE, key.as_bytes(), current.clone(), 0)
                .map_err(|error| format!("PUT {key}, sight {sights}: {error}"))?;
        } else {
            let found = client
                .get(KEYSPACE, key.as_bytes())
                .map_err(|error| format!("GET {key}, sight {sights}: {error}"))?
                .ok_or_else(|| format!("GET {key}, sight {sights}: no such row"))?;
            if found.bytes != *current {
                let head = |bytes: &[u8]| {
                    String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
                };
                return Err(format!("GET {key}: {:?} for {:?}", head(&found.bytes), head(current)));
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Returns a value that differs for every object and write, whatever its length.
fn value(object: u64, sight: u64, size_bytes: usize) -> Vec<u8> {
    let mut value = format!("{object} at {sight} ").into_bytes();
    let filler = (object ^ sight).to_le_bytes();
    let length = size_bytes.clamp(value.len(), VALUE_BYTES_MAX);
    value.extend(filler.iter().cycle().take(length - value.len()));
    value
}

fn read_trace() -> Vec<Access> {
    let Ok(bytes) = std::fs::read(TRACE) else {
        eprintln!("NOT THERE: {TRACE}: replaying a synthetic trace instead");
        return synthetic();
    };
    let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
    assert!(rest.is_empty(), "the trace ends within a record");
    let access = |record: &[u8; RECORD_BYTES]| {
        let object = u64::from_le_bytes(record[4..12].try_into().expect("8 bytes"));
        let size = u32::from_le_bytes(record[12..16].try_into().expect("4 bytes"));
        Access { object, size_bytes: usize::try_from(size).unwrap_or(VALUE_BYTES_MAX) }
    };
    records.iter().map(access).collect()
}

/// Returns requests for many small objects. Objects with low numbers are frequent, because the
/// numbers are squares of a multiplicative sequence.
fn synthetic() -> Vec<Access> {
    let mut state: u64 = 42;
    let access = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (state >> 33) % 1_000;
        let object = uniform * uniform / 100 + (state >> 20) % 7;
        Access { object, size_bytes: 2_000 + usize::try_from(object % 2_000).unwrap_or(0) }
    };
    (0..SYNTHETIC_REQUESTS).map(access).collect()
}
