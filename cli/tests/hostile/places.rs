//! A client that takes all connections, or all descriptors, of a healthy server or of the master.
//! It neither makes the server look dead nor hides another server's death.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;

use standin_client::{ClientError, ClientEvent};
use standin_config::ClusterConfig;
use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT};
use standin_protocol::frame::Status;
use standin_protocol::hello::Role;
use standin_protocol::map::ServerState;
use standin_testkit::wait_until;

use crate::common::cluster::PROGRAM;
use crate::common::kernel::raise_descriptor_limit;
use crate::common::wire::Wire;
use crate::common::{Cluster, KEYSPACE, PAIR, WITHIN};
use crate::process::descriptors;

/// Creates a cluster in which the processes whose role or name is `of` may open only `limit` files.
fn limited(test: &str, of: &str, limit: usize, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    raise_descriptor_limit();
    let mut cluster = Cluster::with(test, PAIR, change);
    let script = cluster.directory().join("limited");
    let text =
        format!("#!/bin/sh\n[ \"$1\" = {of} ] && ulimit -n {limit}\nexec '{PROGRAM}' \"$@\"\n");
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    cluster.set_program(script);
    cluster
}

/// Reports a server as a client would, until the master has contacted it `times` times. Asserts
/// that the master has found it healthy.
fn assert_found_healthy(cluster: &Cluster, name: &str, times: usize) {
    let (events, socket) = (cluster.events(), UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let (mark, mut sequence) = (events.mark(), 0);
    wait_until(WITHIN, "the master to look", || {
        sequence += 1;
        let kind = DatagramKind::ReportFailed;
        let mut report = Datagram::new(kind, SENDER_CLIENT, cluster.topology.id, 4_711);
        (report.sequence, report.subject) = (sequence, cluster.id(name));
        socket.send_to(&report.to_bytes(None), cluster.topology.master).expect("sent");
        events.of(mark, "probe_ok", name).len() >= times
    });
    for kind in ["probe_failed", "waiting", "offline"] {
        assert_eq!(events.of(mark, kind, name), [], "{kind}");
    }
}

/// Opens up to `count` connections of clients that have sent a HELLO and are accepted.
fn clients(cluster: &Cluster, name: &str, count: usize) -> Vec<Wire> {
    let id = cluster.id(name);
    let connect = |_| Wire::connect(&cluster.topology, id, 0, Role::Client).ok();
    (0..count).map_while(connect).collect()
}

fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect_timeout(&address, WITHIN).expect("the kernel accepts");
    (0..count).map(connect).collect()
}

/// Asserts that reads and writes of both servers' keys work, through a server that has room.
fn assert_serves(cluster: &Cluster, through: &str) {
    let mut wire = cluster.connect(through);
    for name in ["a1", "a2"] {
        let key = cluster.key_of(name);
        assert_eq!(wire.put(&key, b"value").status, Status::Ok, "{name}'s");
        let got = wire.get(&key);
        assert_eq!(got.value(), b"value");
        assert!(!got.is_stand_in() && !got.is_provisional(), "{name} is the owner");
    }
}

#[test]
fn idle_clients_in_all_places_make_no_server_look_dead() {
    let mut cluster = Cluster::with("places", PAIR, |config| {
        config.limits.connections = 20;
        config.limits.handshakes = 64;
    });
    raise_descriptor_limit();
    cluster.start();
    let mut idle = Vec::new();
    wait_until(WITHIN, "clients in all places", || {
        idle.extend(clients(&cluster, "a1", 21));
        idle.len() == 20
    });
    assert_found_healthy(&cluster, "a1", 5);
    // A thousand connections that have not even sent a HELLO.
    let crowd = silent(cluster.address("a1"), 1_000);
    assert_found_healthy(&cluster, "a1", 5);
    // The other server still forwards to it, and needs no stand-in for it.
    assert_serves(&cluster, "a2");

    // The client is told that there is no room, and does not use the stand-in.
    let (mark, key) = (cluster.events().mark(), cluster.key_of("a1"));
    let mut client = cluster.client();
    let refused = client.get(KEYSPACE, &key).expect_err("no room");
    assert!(matches!(refused, ClientError::Overloaded { .. }), "{refused}");
    let events = client.take_events();
    let is_failover =
        |(_, event): &(_, ClientEvent)| matches!(event, ClientEvent::EnteredFailover { .. });
    assert!(!events.iter().any(is_failover), "{events:?}");
    assert_eq!(cluster.events().of(mark, "reported", "a1"), []);
    // The commands show the situation to an operator.
    let status = cluster.run(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert_eq!(status.status.code(), Some(1), "no server looks dead, but it is told: {said}");
    assert!(said.contains("warning: a1 has refused"), "{said}");
    cluster.process("a1").wait_for_line("connections refused", WITHIN);

    drop((idle, crowd));
    wait_until(WITHIN, "room", || client.get(KEYSPACE, &key).is_ok());
    let lines = cluster.process("a1").lines();
    let told = lines.iter().filter(|line| line.contains("connections refused")).count();
    assert!(told < 5, "{told} warnings about the same problem");
}

#[test]
fn a_server_without_room_for_its_peer_is_not_reported_as_dead() {
    let mut cluster = Cluster::new("peer-places", PAIR);
    cluster.start();
    cluster.kill("a2");
    cluster.wait_states(&[("a2", ServerState::Offline)]);
    // There is no secret, so any caller may say that it is a server.
    let id = cluster.id("a1");
    let mut peers = Vec::new();
    wait_until(WITHIN, "others in all places of peers", || {
        peers.extend(Wire::connect(&cluster.topology, id, 0, Role::Peer));
        peers.len() == 4
    });
    cluster.start_server("a2");
    cluster.wait_all(ServerState::Online);
    let (mark, key) = (cluster.events().mark(), cluster.key_of("a1"));
    cluster.set_row(&key, b"row");
    let mut wire = cluster.connect("a2");
    for _ in 0..20 {
        assert_eq!(wire.get(&key).value(), b"row", "from the database");
        assert_eq!(wire.put(&key, b"new").status, Status::Overloaded);
    }
    assert_found_healthy(&cluster, "a1", 2);
    let reported = cluster.events().of(mark, "reported", "a1");
    assert!(reported.iter().all(|event| event.text.starts_with("client")), "{reported:?}");
    drop(peers);
    wait_until(WITHIN, "the link", || wire.put(&key, b"new").status == Status::Ok);
}

#[test]
fn a_server_with_few_descriptors_keeps_those_that_it_needs() {
    const LIMIT: usize = 100;
    let mut cluster = limited("few-descriptors", "server", LIMIT, |_| {});
    cluster.start();
    cluster.process("a1").wait_for_line("leaves room for", WITHIN);
    let pid = cluster.process("a1").pid();
    let (idle, crowd) = (clients(&cluster, "a1", LIMIT), silent(cluster.address("a1"), 2 * LIMIT));
    assert!(!idle.is_empty() && idle.len() < LIMIT, "{} clients", idle.len());
    assert_found_healthy(&cluster, "a1", 5);
    // Its links to the other server and its database still work. They are opened only now.
    let mut inside = idle.into_iter().next().expect("a client");
    for name in ["a1", "a2"] {
        for key in cluster.keys_of(name).take(40) {
            assert_eq!(inside.put(&key, b"value").status, Status::Ok, "{name}'s");
        }
    }
    assert_serves(&cluster, "a2");
    assert!(descriptors(pid) <= LIMIT);
    drop(crowd);
    let lines = cluster.process("a1").lines();
    for bad in ["accepting a connection failed", "no socket", "unable to open"] {
        assert_eq!(lines.iter().find(|line| line.contains(bad)), None);
    }
}

#[test]
fn a_server_with_too_few_descriptors_says_so_and_does_not_start() {
    let mut cluster = limited("too-few-descriptors", "server", 64, |_| {});
    cluster.start_master();
    let ended = cluster.run(&["server", "--name", "a1"]);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("may open 64"), "{said}");
    assert!(said.contains("ulimit -Hn"), "{said}");
}

#[test]
fn idle_connections_do_not_keep_the_master_from_noticing_a_death() {
    let mut cluster = limited("master-descriptors", "master", 100, |_| {});
    cluster.start();
    cluster.process("master").wait_for_line("leaves room for", WITHIN);
    let master = cluster.topology.master;
    // There are more connections than it may have descriptors. Some send a HELLO and no request,
    // and others not even that.
    let greet = |_| Wire::connect_to(master, &cluster.topology, 0, Role::Client).ok();
    let mut idle: Vec<Wire> = (0..100).filter_map(greet).collect();
    let _crowd = silent(master, 300);
    assert_eq!(idle.len(), 100, "the last caller gets a place");
    assert_found_healthy(&cluster, "a2", 3);
    cluster.kill("a1");
    cluster.wait_states(&[("a1", ServerState::Offline), ("a2", ServerState::Online)]);
    cluster.start_server("a1");
    cluster.wait_all(ServerState::Online);
    assert!(idle.pop().is_some_and(|mut wire| {
        // The connection that was silent for longest has been closed, perhaps this one too. None of
        // them hangs.
        wire.try_ask(standin_protocol::frame::Opcode::Ping, b"", b"").is_ok() || !idle.is_empty()
    }));
    let lines = cluster.process("master").lines();
    for bad in ["connections not accepted", "could not be tried"] {
        assert_eq!(lines.iter().find(|line| line.contains(bad)), None);
    }
}

#[test]
fn a_connection_costs_the_master_one_descriptor() {
    let mut cluster = Cluster::new("one-each", PAIR);
    cluster.start();
    let (pid, master) = (cluster.process("master").pid(), cluster.topology.master);
    let before = descriptors(pid);
    let greet = |_| Wire::connect_to(master, &cluster.topology, 0, Role::Client).expect("room");
    let idle: Vec<Wire> = (0..200).map(greet).collect();
    let opened = descriptors(pid) - before.min(descriptors(pid));
    // A few probes may be under way at either time.
    assert!((190..220).contains(&opened), "{opened} for 200");
    drop(idle);
    wait_until(WITHIN, "them to be closed", || descriptors(pid) <= before + 10);
}
