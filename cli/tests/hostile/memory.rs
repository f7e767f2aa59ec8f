//! Replies that no client reads, and rows that many clients request at once. They take as much
//! memory as the cluster file says, and no more.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind};
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, Status};
use standin_protocol::hello::HelloBody;
use standin_testkit::{read_some, wait_until};

use crate::common::kernel::{raise_descriptor_limit, resident_bytes};
use crate::common::{Cluster, KEYSPACE, PAIR, WITHIN};

const MIB: u64 = 1 << 20;
/// `limits.output_bytes` of these tests.
const TOTAL: u64 = 64 * MIB;
const CACHE: u64 = 64 * MIB;
/// The memory that these servers may use. It is one and a half times the limit in buffers, which
/// may be twice as large as their contents, plus the allocator's overhead, threads' stacks and the
/// database's pages.
const BOUND: u64 = 3 * TOTAL + SLACK;
const SLACK: u64 = 128 * MIB;

fn start(test: &str, io: IoKind, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    raise_descriptor_limit();
    let mut cluster = Cluster::with(test, PAIR, |config| {
        for server in &mut config.servers {
            server.io = io;
            // A smaller cache has no room for values of one mebibyte.
            server.memory_bytes = CACHE;
        }
        config.limits.output_bytes = Some(TOTAL);
        change(config);
    });
    cluster.start();
    cluster
}

fn get(id: u32, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Request::write(RequestHeader::new(Opcode::Get, KEYSPACE, id), key, b"", &mut bytes);
    bytes
}

/// Opens a connection that sends a HELLO and all of these requests.
fn ask(address: SocketAddr, requests: &[u8]) -> TcpStream {
    let mut bytes = Vec::new();
    let hello = HelloBody::default().to_bytes();
    Request::write(RequestHeader::new(Opcode::Hello, 0, 0), b"", &hello, &mut bytes);
    bytes.extend_from_slice(requests);
    let mut stream = TcpStream::connect_timeout(&address, WITHIN).expect("the server accepts");
    stream.set_write_timeout(Some(WITHIN)).expect("a timeout");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    stream.write_all(&bytes).expect("the server reads");
    stream
}

/// Writes a value and waits until it is cached, so that later reads are hits.
fn cache(cluster: &Cluster, key: &[u8], value: &[u8]) {
    let mut wire = cluster.connect("a1");
    assert_eq!(wire.put(key, value).status, Status::Ok);
    wait_until(WITHIN, "it to be cached", || wire.get(key).is_hit());
}

/// Returns the largest memory of the server while this condition holds.
fn peak_while(pid: u32, mut is_so: impl FnMut() -> bool) -> u64 {
    let mut peak = 0;
    wait_until(WITHIN * 2, "the end of it", || {
        peak = peak.max(resident_bytes(pid));
        !is_so()
    });
    peak
}

fn hundred_and_fifty_readers(io: IoKind) {
    const READERS: usize = 150;
    let mut cluster = start("readers", io, |config| {
        config.limits.output_timeout = Duration::from_secs(4);
    });
    let (pid, address) = (cluster.process("a1").pid(), cluster.address("a1"));
    let key = cluster.key_of("a1");
    cache(&cluster, &key, &[7; 1 << 20]);
    let before = resident_bytes(pid);
    let reads = get(1, &key).repeat(1_000);
    // If each round left memory behind, the fourth would exceed the bound.
    for _ in 0..4 {
        let dropped = cluster.counter("a1", "connections_dropped");
        let deaf: Vec<TcpStream> = (0..READERS).map(|_| ask(address, &reads)).collect();
        // Connections with many buffered replies are closed, although none of them does anything.
        let peak = peak_while(pid, || cluster.counter("a1", "connections_dropped") < dropped + 10);
        let mut wire = cluster.connect("a1");
        wait_until(WITHIN, "others to be served", || wire.get(&key).is_hit());
        let grown = peak.saturating_sub(before);
        assert!(grown < BOUND, "{} MiB more than before", grown / MIB);
        drop((deaf, wire));
        wait_until(WITHIN, "them to be gone", || cluster.counter("a1", "connections") <= 2);
    }
    cluster.process("a1").wait_for_line("did not read their replies", WITHIN);
}

fn one_reader_that_never_reads(io: IoKind) {
    let mut cluster = start("deaf-one", io, |config| {
        config.limits.output_timeout = Duration::from_secs(4);
    });
    let key = cluster.key_of("a1");
    cache(&cluster, &key, &[7; 1 << 20]);
    // A client that reads slowly must not be mistaken for one that does not read.
    let mut slow = ask(cluster.address("a1"), &get(1, &key).repeat(1_000));
    let _deaf = ask(cluster.address("a1"), &get(1, &key).repeat(1_000));
    let mut chunk = vec![0; 256 << 10];
    wait_until(WITHIN * 2, "the deaf one to be closed", || {
        let taken = read_some(&mut slow, &mut chunk).expect("it is open");
        assert!(taken > 0, "it is open");
        cluster.counter("a1", "connections_dropped") == 1
    });
    let mut taken = 0;
    while taken < 64 << 20 {
        taken += read_some(&mut slow, &mut chunk).expect("it is open");
    }
    assert_eq!(cluster.counter("a1", "connections_dropped"), 1);
    cluster.process("a1").wait_for_line("did not read their replies", WITHIN);
}

/// Four connections each request a thousand rows of one mebibyte that are not cached: 4 GiB of
/// rows.
fn large_misses(io: IoKind) {
    const EACH: u32 = 1_000;
    const READ: usize = 150;
    let mut cluster = start("misses", io, |config| {
        // The statement returns a row of that size for any key, which takes no disk space.
        let large = "SELECT zeroblob(1048576 + 0 * length(:key))";
        config.keyspaces[0].get = large.to_owned();
        // On a busy machine a row may take long.
        config.timings.operation_timeout = Duration::from_secs(120);
        config.origin.as_mut().expect("it has a database").timeout = Duration::from_secs(20);
    });
    let (pid, address) = (cluster.process("a1").pid(), cluster.address("a1"));
    let before = resident_bytes(pid);
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(4 * EACH as usize).collect();
    let requests: Vec<Vec<u8>> = keys
        .chunks(EACH as usize)
        .map(|keys| (1u32..).zip(keys).flat_map(|(id, key)| get(id, key)).collect())
        .collect();

    // No client reads.
    let deaf: Vec<TcpStream> = requests.iter().map(|bytes| ask(address, bytes)).collect();
    let (mut last, mut same) = (0, 0);
    let peak = peak_while(pid, || {
        let fetched = cluster.counter("a1", "origin_reads");
        same = if fetched == last && fetched > 0 { same + 1 } else { 0 };
        last = fetched;
        same < 20
    });
    let grown = peak.saturating_sub(before);
    assert!(grown < BOUND, "{} MiB more than before", grown / MIB);
    drop(deaf);
    wait_until(WITHIN, "nothing in flight", || cluster.counter("a1", "in_flight") == 0);

    // All clients read, so each is answered sooner or later.
    let fewer = keys.chunks(EACH as usize).map(|keys| &keys[..READ]);
    let readers: Vec<_> = fewer
        .map(|keys| (1u32..).zip(keys).flat_map(|(id, key)| get(id, key)).collect::<Vec<u8>>())
        .map(|bytes| {
            let stream = ask(address, &bytes);
            std::thread::spawn(move || count_values(stream, READ + 1))
        })
        .collect();
    let peak = peak_while(pid, || readers.iter().any(|reader| !reader.is_finished()));
    // The number of values depends on whether the clients read as fast as the database answers.
    let mut got = 0;
    for reader in readers {
        let (values, refused) = reader.join().expect("a reader");
        assert_eq!(values + refused, READ);
        got += values;
    }
    assert!(got > READ, "{got} values of {}", 4 * READ);
    let grown = peak.saturating_sub(before);
    assert!(grown < BOUND, "{} MiB more than before", grown / MIB);
}

/// Reads this many replies. Returns the number of whole values, and the number of OVERLOADED.
fn count_values(mut stream: TcpStream, replies: usize) -> (usize, usize) {
    let (mut input, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
    let (mut values, mut refused) = (0, 0);
    for _ in 0..replies {
        loop {
            if let Some(response) = Response::parse(&input).expect("a response") {
                match response.status {
                    Status::Ok if response.value.len() == 1 << 20 => values += 1,
                    Status::Ok => assert_eq!(response.header.opcode, Opcode::Hello as u8),
                    status => {
                        assert_eq!(status, Status::Overloaded);
                        refused += 1;
                    }
                }
                let used = response.header.frame_bytes();
                input.drain(..used);
                break;
            }
            let count = read_some(&mut stream, &mut chunk).expect("the server answers");
            assert!(count > 0, "the server has closed");
            input.extend_from_slice(&chunk[..count]);
        }
    }
    (values, refused)
}

on_both_loops! {
    readers_that_do_not_read_share_a_bound_and_are_closed: hundred_and_fifty_readers,
    who_takes_nothing_is_closed_and_who_is_slow_is_not: one_reader_that_never_reads,
    misses_of_large_rows_cost_a_bounded_amount: large_misses,
}
