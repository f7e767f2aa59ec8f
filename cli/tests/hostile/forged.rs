//! An attacker who forges the cluster's datagrams: on the same machine in a cluster without a secret, and
//! with a client's file in one that has a secret.

use std::net::{SocketAddr, UdpSocket};

use standin_protocol::auth::ClusterKey;
use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT, SENDER_MASTER};
use standin_protocol::frame::Opcode;
use standin_protocol::hello::Role;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::map::{MapEpoch, ServerStatus};
use standin_protocol::time::Micros;
use standin_testkit::wait::poll_for;
use standin_testkit::wait_until;

use crate::common::wire::Wire;
use crate::common::{Cluster, PAIR, SECRET, WITHIN};

/// Returns an announcement of the highest possible epoch, in which no server is online.
fn last_announcement(cluster: &Cluster, to: &str) -> Datagram {
    let offline = ServerStatus { state: Offline, since: MapEpoch::from_u64(u64::MAX), boot_id: 1 };
    let master = Datagram::new(DatagramKind::Announce, SENDER_MASTER, cluster.topology.id, 1);
    Datagram {
        recipient: cluster.id(to),
        sequence: 1 << 40,
        epoch: MapEpoch::from_u64(u64::MAX),
        statuses: vec![offline; cluster.topology.servers.len()],
        ..master
    }
}

/// Returns the datagram with which the running incarnation of a server would leave.
fn leaving(cluster: &Cluster, server: &str) -> Datagram {
    let reply = cluster.connect(server).ask(Opcode::Ping, b"", b"");
    let boot_id = PingReply::from_bytes(&reply.value).expect("a reply").boot_id;
    let id = cluster.id(server);
    let leaving = Datagram::new(DatagramKind::Leaving, id, cluster.topology.id, boot_id);
    Datagram { subject: id, sequence: 1 << 40, nonce: 4_711, ..leaving }
}

fn of_master(cluster: &Cluster, counter: &str) -> u64 {
    let master = Wire::connect_to(cluster.topology.master, &cluster.topology, 0, Role::Client);
    let reply = master.expect("the master").ask(Opcode::Stats, b"", b"");
    StatsReply::from_bytes(&reply.value).expect("statistics").counter(counter)
}

/// Asserts that the cluster still follows its master.
fn assert_follows_master(cluster: &mut Cluster) {
    cluster.wait_all(Online);
    cluster.kill("a2");
    cluster.wait_states(&[("a1", Online), ("a2", Offline)]);
    cluster.start_server("a2");
    cluster.wait_all(Online);
}

#[test]
fn datagrams_that_do_not_come_from_their_senders_address_change_nothing() {
    let mut cluster = Cluster::new("forged", PAIR);
    cluster.start();
    let mark = cluster.events().mark();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let send = |datagram: &Datagram, to: SocketAddr| {
        socket.send_to(&datagram.to_bytes(None), to).expect("sent");
    };
    for server in ["a1", "a2"] {
        send(&last_announcement(&cluster, server), cluster.address(server));
        send(&leaving(&cluster, server), cluster.topology.master);
    }
    for server in ["a1", "a2"] {
        cluster.wait_counter(server, "datagrams_distrusted", 1);
    }
    wait_until(WITHIN, "the master to drop both", || {
        of_master(&cluster, "datagrams_distrusted") == 2
    });
    for server in ["a1", "a2"] {
        assert_eq!(cluster.events().of(mark, "leaving", server), []);
    }
    assert_follows_master(&mut cluster);
}

#[test]
fn the_highest_epoch_does_not_block_later_epochs_even_from_the_masters_address() {
    let mut cluster = Cluster::new("highest-epoch", PAIR);
    cluster.start();
    cluster.kill("master");
    {
        // The kernel closes a killed process's sockets shortly after its end.
        let bind = || UdpSocket::bind(cluster.topology.master).ok();
        let socket = poll_for(WITHIN, bind).expect("the dead master's port");
        for server in ["a1", "a2"] {
            let bytes = last_announcement(&cluster, server).to_bytes(None);
            socket.send_to(&bytes, cluster.address(server)).expect("sent");
            cluster.wait_counter(server, "datagrams_distrusted", 1);
        }
    }
    cluster.start_master();
    assert_follows_master(&mut cluster);
}

/// Who holds a client's file may report servers, as often as they like, and do no more.
#[test]
fn with_a_clients_file_nobody_can_take_a_server_offline() {
    let mut cluster =
        Cluster::with("forged-client", PAIR, |config| config.security.secret = Some(SECRET));
    cluster.start();
    let mark = cluster.events().mark();
    let clients = ClusterKey::new(SECRET).for_clients();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let send = |datagram: &Datagram, to: SocketAddr| {
        socket.send_to(&datagram.to_bytes(Some(&clients)), to).expect("sent");
    };
    for server in ["a1", "a2"] {
        send(&last_announcement(&cluster, server), cluster.address(server));
        send(&leaving(&cluster, server), cluster.topology.master);
    }
    let report = |number: u64, subject: &str| {
        let id = cluster.topology.id;
        let report = Datagram::new(DatagramKind::ReportFailed, SENDER_CLIENT, id, number);
        Datagram { subject: cluster.id(subject), sequence: 1, nonce: number, ..report }
    };
    let begun = of_master(&cluster, "probes");
    let from = Micros::boottime();
    // A kernel may drop some of them, so they are sent until enough have arrived.
    let reports = of_master(&cluster, "reports");
    let mut number = 0;
    wait_until(WITHIN, "the reports to arrive", || {
        for _ in 0..500 {
            number += 1;
            for server in ["a1", "a2"] {
                send(&report(number, server), cluster.topology.master);
                // Once more, as it is.
                send(&report(number, server), cluster.topology.master);
            }
        }
        of_master(&cluster, "reports") >= reports + 5_000
    });
    // No more than one verification of each server in a cool-down, with one probe of its one shard.
    let cool_down = cluster.config.timings.probe_timeout;
    let most = 2 * (Micros::boottime().since(from).as_millis() / cool_down.as_millis() + 2) as u64;
    let probes = of_master(&cluster, "probes") - begun;
    assert!(probes <= most, "{probes} probes, at most {most}");
    assert!(of_master(&cluster, "datagrams_dropped") > 0, "copies are dropped");
    for server in ["a1", "a2"] {
        for event in ["leaving", "offline", "waiting"] {
            assert_eq!(cluster.events().of(mark, event, server), []);
        }
    }
    assert_follows_master(&mut cluster);
}
