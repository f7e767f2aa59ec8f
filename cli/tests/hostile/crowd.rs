//! Many connections against a real server, on both event loops.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind};
use standin_protocol::frame::{Opcode, Request, RequestHeader, Status};
use standin_protocol::hello::HelloBody;
use standin_testkit::wait_until;

use crate::common::cluster::PROGRAM;
use crate::common::kernel::{raise_descriptor_limit, resident_bytes};
use crate::common::{Cluster, KEYSPACE, PAIR, WITHIN};
use crate::process::{busy_within_a_second, descriptors};

const MIB: u64 = 1 << 20;

fn start(test: &str, io: IoKind, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    raise_descriptor_limit();
    let mut cluster = Cluster::with(test, PAIR, |config| {
        config.servers.iter_mut().for_each(|server| server.io = io);
        config.limits.handshake_timeout = Duration::from_secs(1);
        change(config);
    });
    cluster.start();
    cluster
}

fn frame(opcode: Opcode, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let keyspace = if key.is_empty() { 0 } else { KEYSPACE };
    Request::write(RequestHeader::new(opcode, keyspace, 1), key, value, &mut bytes);
    bytes
}

fn hello() -> Vec<u8> {
    frame(Opcode::Hello, b"", &HelloBody::default().to_bytes())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, WITHIN).expect("the server accepts");
    stream.set_write_timeout(Some(WITHIN)).expect("a timeout");
    stream
}

/// Opens one of many connections. The number determines its state.
fn one_of_many(address: SocketAddr, number: usize, key: &[u8]) -> TcpStream {
    let mut stream = connect(address);
    let unknown = format!("nobody-{number}");
    let bytes = match number % 8 {
        0 => Vec::new(),
        1 => hello()[..40].to_vec(),
        2 => hello(),
        3 => [&hello()[..], &frame(Opcode::Get, key, b"")[..20]].concat(),
        4 => [hello(), frame(Opcode::Get, key, b"").repeat(20)].concat(),
        // These wait for the database.
        5 => [hello(), frame(Opcode::Put, unknown.as_bytes(), &[1; 2_000])].concat(),
        6 => [hello(), frame(Opcode::Get, unknown.as_bytes(), b"").repeat(20)].concat(),
        _ => [hello(), b"rubbish ".repeat(100)].concat(),
    };
    stream.write_all(&bytes).expect("the server reads, or has refused already");
    stream
}

/// Asserts that the server answers ten thousand pipelined requests and has logged no panic.
fn assert_still_serves(cluster: &mut Cluster, name: &str) {
    let key = cluster.key_of(name);
    for _ in 0..10 {
        let mut wire = cluster.connect(name);
        assert_eq!(wire.put(&key, b"still here").status, Status::Ok);
        wire.pipeline(&frame(Opcode::Get, &key, b""), 1_000, |reply| {
            assert_eq!(reply.value(), b"still here");
        });
    }
    let lines = cluster.process(name).lines();
    assert_eq!(lines.iter().find(|line| line.contains("panic")), None);
}

fn crowd_of_five_thousand(io: IoKind) {
    let mut cluster = start("crowd", io, |config| {
        config.origin.as_mut().expect("it has a database").timeout = Duration::from_secs(5)
    });
    let (pid, address) = (cluster.process("a1").pid(), cluster.address("a1"));
    let (key, foreign) = (cluster.key_of("a1"), cluster.key_of("a2"));
    // This opens the links to the other server, and everything else that is opened once.
    assert_eq!(cluster.connect("a1").put(&foreign, b"x").status, Status::Ok);
    assert_still_serves(&mut cluster, "a1");
    // After the first round, the server keeps what it needs under load, such as threads' stacks and
    // each reader's connection to the database. The other rounds must not add to that.
    let (mut open, mut memory) = (usize::MAX, u64::MAX);
    for round in 0..3 {
        let database = cluster.database();
        database.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let crowd: Vec<TcpStream> =
            (0..5_000).map(|number| one_of_many(address, number + round, &key)).collect();
        // Other requests are served meanwhile.
        assert_eq!(cluster.connect("a1").get(&key).value(), b"still here");
        drop(crowd);
        database.execute_batch("COMMIT").expect("a commit");
        wait_until(WITHIN, "the connections to be gone", || {
            cluster.counter("a1", "connections") <= 2 && descriptors(pid) <= open
        });
        wait_until(WITHIN, "nothing in flight", || cluster.counter("a1", "in_flight") == 0);
        assert_still_serves(&mut cluster, "a1");
        if round == 0 {
            wait_until(WITHIN, "only one connection", || cluster.counter("a1", "connections") <= 2);
            (open, memory) = (descriptors(pid) + 1, resident_bytes(pid));
        }
    }
    let grown = resident_bytes(pid).saturating_sub(memory);
    assert!(grown < 64 * MIB, "{} MiB more than before", grown / MIB);
}

fn readers_that_never_read(io: IoKind) {
    const READERS: usize = 40;
    const LIMIT: u64 = 1 << 20;
    let mut cluster = start("deaf", io, |config| {
        config.limits.output_bytes_per_connection = LIMIT as u32;
    });
    let (pid, address) = (cluster.process("a1").pid(), cluster.address("a1"));
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(2).collect();
    for key in &keys {
        assert_eq!(cluster.connect("a1").put(key, &[7; 1 << 20]).status, Status::Ok);
    }
    let memory = resident_bytes(pid);
    // One value is in the cache, and the other has to be fetched. Each reader asks for 1 GiB of
    // replies.
    cluster.connect("a1").ask(Opcode::Invalidate, &keys[1], b"");
    let deaf: Vec<TcpStream> = (0..READERS)
        .map(|number| {
            let mut stream = connect(address);
            let reads = frame(Opcode::Get, &keys[number % 2], b"").repeat(1_000);
            stream.write_all(&[hello(), reads].concat()).expect("the server reads");
            stream
        })
        .collect();
    for _ in 0..200 {
        let got = cluster.connect("a1").get(&keys[0]).value().len();
        assert_eq!(got, 1 << 20, "the others are served");
    }
    let grown = resident_bytes(pid).saturating_sub(memory);
    // Each of them may have twice the limit and the bytes that are being sent.
    let bound = READERS as u64 * 5 * LIMIT + 128 * MIB;
    assert!(grown < bound, "{} MiB more than before", grown / MIB);
    drop(deaf);
    wait_until(WITHIN, "the connections to be gone", || cluster.counter("a1", "connections") <= 2);
    assert_still_serves(&mut cluster, "a1");
    wait_until(WITHIN, "the memory to be given back", || {
        resident_bytes(pid).saturating_sub(memory) < 100 * MIB
    });
}

fn no_descriptor_left(io: IoKind) {
    const DESCRIPTORS: usize = 200;
    raise_descriptor_limit();
    let mut cluster = Cluster::with("descriptors", PAIR, |config| {
        config.servers.iter_mut().for_each(|server| server.io = io);
        config.limits.handshake_timeout = Duration::from_secs(1);
    });
    let script = cluster.directory().join("limited");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = master ] || ulimit -n {DESCRIPTORS}\nexec '{PROGRAM}' \"$@\"\n"
    );
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    cluster.set_program(script);
    cluster.start();
    let (pid, address) = (cluster.process("a1").pid(), cluster.address("a1"));
    let key = cluster.key_of("a1");
    let mut early = cluster.connect("a1");
    assert_eq!(early.put(&key, b"still here").status, Status::Ok);
    let crowd: Vec<TcpStream> = (0..2 * DESCRIPTORS)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(&hello()).expect("there is room in the socket");
            stream
        })
        .collect();
    cluster.process("a1").wait_for_line("connections refused", WITHIN);
    let busy = busy_within_a_second(pid);
    assert!(busy < Duration::from_millis(400), "{busy:?} of a second spent on nothing");
    assert_eq!(early.get(&key).value(), b"still here");
    // The clients do not take the descriptors of the database either, nor those of links to the
    // other server.
    for key in cluster.keys_of("a1").take(20).chain(cluster.keys_of("a2").take(20)) {
        assert_eq!(early.put(&key, b"still here").status, Status::Ok);
    }
    drop(crowd);
    wait_until(WITHIN, "descriptors to be free", || descriptors(pid) < DESCRIPTORS / 2);
    drop(early);
    let lines = cluster.process("a1").lines();
    let failed = lines.iter().find(|line| line.contains("accepting a connection failed"));
    assert_eq!(failed, None, "some descriptors are always in reserve");
    assert_still_serves(&mut cluster, "a1");
}

fn idle(io: IoKind) {
    let mut cluster = start("idle", io, |_| {});
    let pid = cluster.process("a1").pid();
    let _waiting: Vec<_> = (0..100).map(|_| cluster.connect("a1")).collect();
    let busy = busy_within_a_second(pid);
    assert!(busy < Duration::from_millis(200), "{busy:?} of a second spent on nothing");
}

on_both_loops! {
    five_thousand_connections_leave_nothing_behind: crowd_of_five_thousand,
    readers_that_never_read_cost_a_bounded_amount: readers_that_never_read,
    without_descriptors_the_old_connections_are_served: no_descriptor_left,
    an_idle_server_sleeps: idle,
}
