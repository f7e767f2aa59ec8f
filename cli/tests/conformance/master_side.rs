//! Claims 19 to 21: how the master handles a notification, and a server that it has marked offline.

use std::net::UdpSocket;
use std::time::Duration;

use standin_protocol::control::{DATAGRAM_BYTES_MAX, Datagram, DatagramKind, SENDER_CLIENT};
use standin_protocol::hello::Role;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{wait::poll_for, wait_until};

use crate::common::{Cluster, FakeServer, PAIR, TWO_PAIRS, WITHIN};

/// Notifies the master as a client that a server may be offline, repeatedly until the master
/// answers. Returns its verdict.
fn notify(cluster: &Cluster, subject: &str) -> Datagram {
    let topology = &cluster.topology;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let client_id = u64::from(socket.local_addr().expect("an address").port()) << 32;
    let mut notice =
        Datagram::new(DatagramKind::ReportFailed, SENDER_CLIENT, topology.id, client_id | 1);
    notice.subject = cluster.id(subject);
    notice.nonce = 4_711;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let verdict = poll_for(WITHIN, || {
        notice.sequence += 1;
        socket.send_to(&notice.to_bytes(None), topology.master).expect("sent");
        let (length, from) = socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, topology.master);
        Some(Datagram::parse(&buffer[..length], None, Some(topology.id)).expect("a datagram"))
    });
    let verdict = verdict.expect("a verdict");
    assert_eq!((verdict.kind, verdict.nonce), (DatagramKind::Verdict, notice.nonce));
    verdict
}

/// Claim 19: on a notification the master contacts the server. Contacting an online server
/// succeeds, and it is not marked offline.
#[test]
fn c19_an_online_server_that_somebody_reports_is_contacted_and_not_marked_offline() {
    let mut cluster = Cluster::new("c19-online", TWO_PAIRS);
    let b2 = FakeServer::start(&cluster.topology, cluster.id("b2"));
    cluster.start_some(&["a1", "a2", "b1"]);
    let (events, mark) = (cluster.events(), cluster.events().mark());
    let epoch = cluster.map_at("master").expect("a map").epoch;

    for server in ["a1", "b2"] {
        let pings = b2.pings(Role::Master).len();
        let verdict = notify(&cluster, server);
        assert_eq!(verdict.arg, Online as u32, "{server} answers");
        assert_eq!(verdict.epoch, epoch, "nothing has changed");
        let order = ["reported", "probing", "probe_ok"].map(|kind| (kind, server));
        events.wait_in_order(mark, &order);
        let contacted = b2.pings(Role::Master).len() > pings;
        assert_eq!(contacted, server == "b2", "the server reported is the one contacted");
    }
    for kind in ["offline", "announced", "probe_failed"] {
        // Earlier events of the master may be written late, but in order.
        let all = events.all();
        let mut since = all.iter().skip(mark).skip_while(|event| event.kind != "reported");
        assert!(since.all(|event| event.kind != kind), "{kind}");
    }
    for server in ["a1", "a2", "b1", "master"] {
        assert_eq!(cluster.map_at(server).expect("a map").epoch, epoch, "{server} knows no other");
    }
}

/// Claim 19: if contacting the server fails, it is marked offline and the other servers are
/// notified.
#[test]
fn c19_a_dead_server_is_marked_offline_and_the_others_are_notified() {
    let mut cluster = Cluster::new("c19-dead", TWO_PAIRS);
    let b2 = FakeServer::start(&cluster.topology, cluster.id("b2"));
    cluster.start_some(&["a1", "a2", "b1"]);
    let (events, mark) = (cluster.events(), cluster.events().mark());
    let before = cluster.map_at("master").expect("a map").epoch;
    cluster.kill("a1");
    // Everything that the master sends to the dead server arrives here.
    let dead_socket = UdpSocket::bind(cluster.address("a1")).expect("the dead server's port");

    let verdict = notify(&cluster, "a1");
    assert_eq!(verdict.arg, Offline as u32);
    assert!(verdict.epoch > before);
    let order = ["reported", "probing", "probe_failed", "offline", "announced"];
    events.wait_in_order(mark, &order.map(|kind| (kind, "a1")));
    // The last attempt may be ended by the report of a member that contacted the server too.
    let attempts = events.of(mark, "probing", "a1").len();
    assert!(attempts >= 2, "contacted as often as configured: {attempts}");

    let announced = b2.wait_announced(cluster.id("a1"), Offline);
    assert_eq!(announced.epoch, verdict.epoch);
    cluster.wait_states(&[("a1", Offline), ("a2", Online), ("b1", Online), ("b2", Online)]);
    for server in ["a2", "b1", "b2"] {
        events.wait_in_order(mark, &[("announced", "a1"), ("acked", server)]);
    }
    // Three more checks of the dead server later, it still has not been sent a notification.
    let checks = || events.of(mark, "probing", "a1").len();
    let so_far = checks();
    wait_until(WITHIN, "three more checks", || checks() >= so_far + 3);
    dead_socket.set_nonblocking(true).expect("not blocking");
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((length, _)) = dead_socket.recv_from(&mut buffer) {
        let datagram = Datagram::parse(&buffer[..length], None, None).expect("a datagram");
        assert_ne!(datagram.kind, DatagramKind::Announce, "{datagram:?}");
    }
}

/// Creates a cluster whose a1 is played by the test and has been marked offline. a1 answers no
/// probe and does not renew, so that only the periodic check can find it again.
fn offline_a1(test: &str) -> (Cluster, FakeServer) {
    let mut cluster = Cluster::with(test, PAIR, |config| {
        config.timings.probe_timeout = Duration::from_millis(150);
    });
    let a1 = FakeServer::start(&cluster.topology, cluster.id("a1"));
    cluster.start_some(&["a2"]);
    a1.behave(|b| (b.to_master, b.renews) = (false, false));
    // A probe that a busy machine could not carry out in time is no evidence, so the test notifies
    // again.
    wait_until(WITHIN, "the verdict", || notify(&cluster, "a1").arg == Offline as u32);
    cluster.wait_states(&[("a1", Offline), ("a2", Online)]);
    cluster.events().wait_in_order(0, &[("offline", "a1"), ("announced", "a1")]);
    (cluster, a1)
}

/// Claim 20: a server marked offline is checked periodically.
#[test]
fn c20_an_offline_server_is_checked_periodically() {
    let (cluster, a1) = offline_a1("c20");
    let (events, mark) = (cluster.events(), cluster.events().mark());
    let before = a1.pings(Role::Master).len();
    wait_until(WITHIN, "four checks", || a1.pings(Role::Master).len() >= before + 4);
    wait_until(WITHIN, "four checks", || events.of(mark, "probe_failed", "a1").len() >= 4);
    let checks = events.of(mark, "probing", "a1");
    let interval_us = 50_000;
    for pair in checks.windows(2) {
        let pause_us = pair[1].t_us - pair[0].t_us;
        assert!(pause_us > interval_us * 9 / 10, "a period apart: {pause_us} µs");
    }
    for kind in ["returning", "online", "announced"] {
        assert!(events.of(mark, kind, "a1").is_empty(), "it does not answer, so no {kind}");
    }
    assert_eq!(cluster.state_at("a2", "a1"), Some(Offline));
}

/// Claim 21: when the periodic check succeeds, the server is marked online and the other servers
/// are notified.
#[test]
fn c21_a_server_that_answers_the_check_is_marked_online_and_the_others_are_notified() {
    let (cluster, a1) = offline_a1("c21");
    let (events, mark) = (cluster.events(), cluster.events().mark());
    a1.behave(|b| b.to_master = true);
    let order = ["probe_ok", "returning", "online", "announced"];
    events.wait_in_order(mark, &order.map(|kind| (kind, "a1")));
    cluster.wait_states(&[("a1", Online), ("a2", Online)]);
    let reported = events.of(mark, "reported_ok", "a1");
    assert!(reported.is_empty(), "found by the check alone: {reported:?}");

    // When the indication has arrived, a2 forwards requests for a1 again.
    a1.behave(|b| b.to_peers = Some(b"from a1".to_vec()));
    let reply = cluster.connect("a2").get(&cluster.key_of("a1"));
    assert!(reply.is_forwarded() && reply.value() == b"from a1", "{reply:?}");
}

/// Claim 21 again, with a server that is really killed and started again, and a third party that
/// receives the notification.
#[test]
fn c21_the_return_of_a_restarted_server_is_announced_to_all_others() {
    let mut cluster = Cluster::new("c21-restart", TWO_PAIRS);
    let b2 = FakeServer::start(&cluster.topology, cluster.id("b2"));
    cluster.start_some(&["a1", "a2", "b1"]);
    cluster.kill("a1");
    assert_eq!(notify(&cluster, "a1").arg, Offline as u32);
    b2.wait_announced(cluster.id("a1"), Offline);
    let (events, mark) = (cluster.events(), cluster.events().mark());
    cluster.start_server("a1");
    let order = ["probe_ok", "returning", "online", "announced"];
    events.wait_in_order(mark, &order.map(|kind| (kind, "a1")));
    // The very first announcement called it online too, so only one that is newer than the outage
    // counts.
    let offline = b2.wait_announced(cluster.id("a1"), Offline);
    wait_until(WITHIN, "an announcement of the return", || {
        b2.announcements().iter().any(|(_, d)| {
            d.subject == cluster.id("a1") && d.arg == Online as u32 && d.epoch > offline.epoch
        })
    });
    cluster.wait_states(&[("a1", Online), ("a2", Online), ("b1", Online), ("b2", Online)]);
}
