//! The cluster's secret is replaced while everything runs, by the procedure of docs/SECURITY.md.

use std::net::UdpSocket;
use std::sync::Arc;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError};
use standin_protocol::auth::ClusterKey;
use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::map::{MapEpoch, ServerStatus};
use standin_testkit::wait_until;

use crate::common::{Cluster, KEYSPACE, Load, PAIR, SECRET, WITHIN};

/// The secret at the beginning.
const OLD: [u8; 32] = crate::common::OLD_SECRET;
/// The one that takes its place.
const NEW: [u8; 32] = SECRET;

/// Writes the file of secrets, and sends SIGHUP to all, one after the other.
fn hang_up(cluster: &mut Cluster, secrets: &[[u8; 32]], then: &str) {
    let hex = |secret: &[u8; 32]| secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = secrets.iter().map(hex).collect();
    let path = cluster.directory().join(standin_config::SECRET_FILE);
    std::fs::write(path, lines.join("\n")).expect("the file of secrets");
    for name in ["a1", "master", "a2"] {
        let before = cluster.process(name).lines().len();
        cluster.process(name).signal(libc::SIGHUP);
        cluster.process(name).wait_for_line_after(before, then, WITHIN);
    }
}

fn client(cluster: &Cluster, secret: [u8; 32]) -> Client {
    let key = Some(ClusterKey::new(secret).for_clients());
    let config = ClientConfig { key, ..ClientConfig::from(&cluster.config) };
    Client::new(config, Bootstrap::Config(Arc::clone(&cluster.topology))).expect("a client")
}

#[test]
fn a_secret_is_replaced_under_load_without_a_failure_and_the_old_one_proves_nothing_afterwards() {
    let mut cluster = Cluster::with("rotation", PAIR, |config| config.security.secret = Some(OLD));
    cluster.start();
    let load = Load::start(&cluster, 2);
    load.wait_for(100);
    let used = "taken over: the cluster's secrets: ";
    hang_up(&mut cluster, &[OLD, NEW], &format!("{used}the same is used, and 2 count"));
    load.wait_for(100);
    hang_up(&mut cluster, &[NEW, OLD], &format!("{used}another is used, and 2 count"));
    load.wait_for(100);
    load.finish().assert_clean();
    // Clients have their new files by now.
    cluster.config.security.secret = Some(NEW);
    let load = Load::start(&cluster, 2);
    load.wait_for(100);
    let mut late = client(&cluster, OLD);
    let key = cluster.key_of("a1");
    late.get(KEYSPACE, &key).expect("the old secret still counts");
    hang_up(&mut cluster, &[NEW], &format!("{used}the same is used, and 1 count"));
    load.wait_for(100);

    // Neither a connection nor a datagram by the old secret.
    let refused = late.get(KEYSPACE, &key).unwrap_err();
    assert!(matches!(refused, ClientError::AuthFailed), "{refused}");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let announce = |number: u64, secret: [u8; 32]| {
        let statuses =
            vec![ServerStatus { state: Offline, since: MapEpoch::from_u64(1), boot_id: 1 }; 2];
        let forged = Datagram::new(DatagramKind::Announce, SENDER_MASTER, cluster.topology.id, 1);
        let forged = Datagram { recipient: cluster.id("a1"), sequence: number, statuses, ..forged };
        let bytes = forged.to_bytes(Some(&ClusterKey::new(secret)));
        socket.send_to(&bytes, cluster.address("a1")).expect("sent");
    };
    let before = cluster.counter("a1", "datagrams_distrusted");
    (1..20).for_each(|number| announce(number, OLD));
    announce(20, NEW);
    wait_until(WITHIN, "the last to be distrusted for its address alone", || {
        cluster.counter("a1", "datagrams_distrusted") > before
    });
    assert_eq!(cluster.counter("a1", "datagrams_distrusted"), before + 1, "by their codes");

    // Leases, probes and links go on by the new one.
    cluster.kill("a2");
    cluster.wait_states(&[("a1", Online), ("a2", Offline)]);
    load.wait_for(100);
    cluster.start_server("a2");
    cluster.wait_all(Online);
    load.wait_for(100);
    load.finish().assert_clean();
}
