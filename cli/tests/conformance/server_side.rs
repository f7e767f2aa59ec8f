//! Claims 15 to 18: how a server handles a request of another server's type.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use standin_protocol::control::DatagramKind;
use standin_protocol::hello::Role;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait_until;

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, FakeMaster, FakeServer, PAIR, WITHIN};

/// A real a2. The test plays the master and the second server a1, and records everything that a2
/// sends to them.
struct Stage {
    cluster: Cluster,
    master: FakeMaster,
    a1: FakeServer,
}

impl Stage {
    fn new(test: &str) -> Self {
        let mut cluster = Cluster::new(test, PAIR);
        let master = FakeMaster::start(&cluster.topology);
        let a1 = FakeServer::start(&cluster.topology, cluster.id("a1"));
        cluster.start_server("a2");
        for server in ["a1", "a2"] {
            master.wait_heard(cluster.id(server), 0);
        }
        let epoch = master.announce(cluster.id("a1"), Online);
        master.wait_acked(cluster.id("a2"), epoch);
        Self { cluster, master, a1 }
    }
}

/// Claim 15: a server processes a request of its own type. For a request of another type, it
/// depends on the second server. If the second server is indicated as offline, the request is
/// processed. If not, it is forwarded. If that fails, it is processed and the master is notified.
#[test]
fn c15_a_request_of_another_type_is_forwarded_and_processed_if_that_fails() {
    let stage = Stage::new("c15");
    let Stage { cluster, master, a1 } = &stage;
    let (own, other) = (cluster.key_of("a2"), cluster.key_of("a1"));
    cluster.set_row(&own, b"from the database");
    cluster.set_row(&other, b"from the database");
    let mut a2 = cluster.connect("a2");

    let reply = a2.get(&own);
    assert_eq!(reply.value(), b"from the database");
    assert!(!reply.is_forwarded() && !reply.is_stand_in(), "its own type: {reply:?}");
    assert!(a1.data(Role::Peer).is_empty());

    a1.behave(|b| b.to_peers = Some(b"from a1".to_vec()));
    let reply = a2.get(&other);
    assert_eq!(reply.value(), b"from a1");
    assert!(reply.is_forwarded() && !reply.is_stand_in(), "forwarded: {reply:?}");
    let sent = a1.data(Role::Peer);
    assert!(sent.len() == 1 && sent[0].is_forwarded() && sent[0].key == other, "{sent:?}");
    cluster.wait_counter("a2", "forwarded", 1);
    cluster.wait_counter("a2", "forwards_failed", 0);
    assert!(master.seen(DatagramKind::ReportFailed).is_empty(), "nothing to notify");

    a1.behave(|b| b.to_peers = None);
    let reply = a2.get(&other);
    assert_eq!(reply.value(), b"from the database");
    assert!(reply.is_stand_in() && reply.is_provisional(), "processed: {reply:?}");
    let sent = a1.data(Role::Peer);
    assert_eq!(sent.len(), 2, "after forwarding was tried");
    let (told_at, report) = master.wait_report(DatagramKind::ReportFailed, cluster.id("a1"));
    assert_eq!(report.sender, cluster.id("a2"));
    assert!(told_at > sent[1].at, "the master was told after the attempt");
    cluster.wait_counter("a2", "forwarded", 2);
    cluster.wait_counter("a2", "forwards_failed", 1);
    cluster.wait_counter("a2", "provisional_requests", 1);
    cluster.wait_counter("a2", "reports", 1);

    let epoch = master.announce(cluster.id("a1"), Offline);
    master.wait_acked(cluster.id("a2"), epoch);
    let reply = a2.get(&other);
    assert_eq!(reply.value(), b"from the database");
    assert!(reply.is_stand_in() && !reply.is_provisional(), "indicated as offline: {reply:?}");
    assert_eq!(a1.data(Role::Peer).len(), 2, "processed without forwarding it");
}

/// Claim 15 again, with a second server that is really killed or stopped, and with a real master.
/// The notification leads to a verdict. The test covers reads and writes.
#[test]
fn c15_a_real_second_server_that_fails_is_reported_and_stood_in_for() {
    for is_killed in [true, false] {
        // The write waits for the verdict on a1, which takes two probes, and longer on a busy
        // machine.
        let mut cluster = Cluster::with("c15-signals", PAIR, |config| {
            config.timings.drain_timeout = std::time::Duration::from_secs(4);
        });
        cluster.start();
        let (events, key) = (cluster.events(), cluster.key_of("a1"));
        let mut a2 = cluster.connect("a2");
        assert!(a2.put(&key, b"v0").is_forwarded(), "forwarded");
        let mark = events.mark();
        if is_killed {
            cluster.kill("a1");
        } else {
            cluster.freeze("a1");
        }
        let reply = a2.put(&key, b"v1");
        assert!(reply.is_stand_in() && !reply.is_forwarded(), "processed here: {reply:?}");
        assert_eq!(cluster.row(&key).as_deref(), Some(&b"v1"[..]));
        let seen = events.wait_in_order(
            mark,
            &["reported", "probing", "probe_failed", "offline"].map(|kind| (kind, "a1")),
        );
        assert!(seen[0].text.starts_with("server a2 "), "the master was told by a2: {seen:?}");
        // Each happens once, or again if the verdict takes longer than a2 waits for it.
        for counter in ["forwards_failed", "provisional_requests", "reports"] {
            wait_until(WITHIN, counter, || cluster.counter("a2", counter) > 0);
        }
        cluster.wait_states(&[("a1", Offline)]);
        let reply = a2.get(&key);
        assert_eq!(reply.value(), b"v1");
        assert!(reply.is_stand_in() && !reply.is_provisional(), "{reply:?}");
    }
}

/// Returns two real servers that are alive all the time, and a master played by the test. The
/// servers are configured so that only the master's indications decide, and not what they could
/// find out.
fn two_servers_and_what_they_are_told(test: &str) -> (Cluster, FakeMaster) {
    let mut cluster = Cluster::new(test, PAIR);
    let master = FakeMaster::start(&cluster.topology);
    for server in ["a1", "a2"] {
        cluster.start_server(server);
        master.wait_heard(cluster.id(server), 0);
    }
    (cluster, master)
}

/// Claim 16: the server receives an indication from the master that the second server is online.
#[test]
fn c16_told_that_the_second_server_is_online_a_server_sends_requests_to_it() {
    let (cluster, master) = two_servers_and_what_they_are_told("c16");
    let (a1, a2, key) = (cluster.id("a1"), cluster.id("a2"), cluster.key_of("a1"));
    cluster.set_row(&key, b"v0");
    let epoch = master.announce(a1, Offline);
    master.wait_acked(a2, epoch);
    let mut wire = cluster.connect("a2");
    wire.get(&key);
    let reply = wire.get(&key);
    assert!(reply.is_stand_in() && reply.is_hit(), "it is alive, but not indicated: {reply:?}");
    cluster.wait_counter("a2", "forwarded", 0);

    cluster.set_row(&key, b"v1");
    let epoch = master.announce(a1, Online);
    for server in [a1, a2] {
        master.wait_acked(server, epoch);
    }
    let reply = wire.get(&key);
    assert!(reply.is_forwarded() && !reply.is_stand_in(), "forwarded from now on: {reply:?}");
    assert_eq!(reply.value(), b"v1", "and what was cached for it is gone");
    cluster.wait_counter("a2", "forwarded", 1);
    assert!(cluster.connect("a1").get(&key).is_hit(), "a1 processed it");
}

/// Claim 17: the server receives an indication from the master that the second server is offline.
#[test]
fn c17_told_that_the_second_server_is_offline_a_server_processes_its_requests() {
    let (cluster, master) = two_servers_and_what_they_are_told("c17");
    let (a1, a2, key) = (cluster.id("a1"), cluster.id("a2"), cluster.key_of("a1"));
    cluster.set_row(&key, b"v");
    let epoch = master.announce(a1, Online);
    for server in [a1, a2] {
        master.wait_acked(server, epoch);
    }
    let mut wire = cluster.connect("a2");
    assert!(wire.get(&key).is_forwarded());
    cluster.wait_counter("a2", "forwarded", 1);

    let epoch = master.announce(a1, Offline);
    master.wait_acked(a2, epoch);
    for is_hit in [false, true] {
        let reply = wire.get(&key);
        assert_eq!(reply.value(), b"v");
        assert!(reply.is_stand_in() && !reply.is_provisional(), "{reply:?}");
        assert_eq!(reply.is_hit(), is_hit, "cached like its own type: {reply:?}");
    }
    assert_eq!(cluster.counter("a2", "forwarded"), 1, "not forwarded, although a1 is alive");
    assert!(master.seen(DatagramKind::ReportFailed).is_empty(), "and not found out by itself");
}

/// Claim 18: the program of claim 15 on a medium. One plain file, copied to another folder, is all
/// that is needed.
#[test]
fn c18_the_program_on_a_medium_does_the_same() {
    let mut cluster = Cluster::new("c18", PAIR);
    let medium = cluster.directory().join("medium");
    std::fs::create_dir(&medium).expect("a folder");
    let program = medium.join("a-copy-of-the-program");
    // The copy is made by another process. A file that this process has open for writing can't be
    // run, and every process that another test forks meanwhile would have it open too.
    let copied = Command::new("cp").arg(PROGRAM).arg(&program).status().expect("cp");
    assert!(copied.success());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o500)).expect("a mode");
    assert!(std::fs::symlink_metadata(&program).expect("a file").is_file());
    cluster.set_program(program.clone());
    cluster.start();
    for server in ["a1", "a2", "master"] {
        let link = format!("/proc/{}/exe", cluster.process(server).pid());
        assert_eq!(std::fs::read_link(link).expect("a process"), program, "runs the copy");
    }

    let (own, other) = (cluster.key_of("a2"), cluster.key_of("a1"));
    let (events, mark) = (cluster.events(), cluster.events().mark());
    let mut a2 = cluster.connect("a2");
    assert!(!a2.put(&own, b"v").is_forwarded(), "its own type: processed");
    assert!(a2.put(&other, b"v").is_forwarded(), "another: sent on");
    cluster.kill("a1");
    let reply = a2.get(&other);
    assert!(reply.value() == b"v" && reply.is_stand_in(), "processed: {reply:?}");
    let seen = events.wait_in_order(mark, &[("reported", "a1"), ("offline", "a1")]);
    assert!(seen[0].text.starts_with("server a2 "), "and the master notified: {seen:?}");
}
