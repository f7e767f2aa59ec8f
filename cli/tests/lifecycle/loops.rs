//! The life of one cluster on each event loop, with two shards per server.

use standin_config::{ClusterConfig, IoKind};
use standin_testkit::{uring, wait_until};

use crate::common::{Cluster, Load, TWO_PAIRS, WITHIN};

fn use_loop(io: IoKind) -> impl FnOnce(&mut ClusterConfig) {
    move |config| {
        for server in &mut config.servers {
            server.io = io;
            server.shards = 2;
        }
    }
}

/// Runs a cluster that forwards, fails over under load, returns and stops.
fn live(test: &str, io: IoKind, says: &str) {
    let mut cluster = Cluster::with(test, TWO_PAIRS, use_loop(io));
    cluster.start();
    let a1 = cluster.process("a1");
    wait_until(WITHIN, "both shards to say so", || {
        a1.lines().iter().filter(|line| line.contains(says)).count() == 2
    });
    let key = cluster.key_of("b1");
    cluster.set_row(&key, b"v");
    assert!(cluster.connect("a1").get(&key).is_forwarded());
    let large = vec![7; 300_000];
    assert!(cluster.connect("a2").put(&key, &large).is_forwarded(), "in many pieces");
    assert_eq!(cluster.connect("a1").get(&key).value(), large);

    let load = Load::start(&cluster, 4);
    load.through_kill_and_return(&mut cluster, "b1", 300);
    assert_eq!(cluster.terminate("a2", WITHIN).code(), Some(0));
    load.wait_for(300);
    load.finish().assert_clean();
}

/// The cluster runs on io_uring, if the kernel allows it.
#[test]
fn a_cluster_lives_on_io_uring() {
    if uring::is_available() {
        live("uring", IoKind::Uring, "runs on io_uring");
    }
}

/// The cluster runs on the portable loop.
#[test]
fn a_cluster_lives_on_epoll() {
    live("epoll", IoKind::Epoll, "runs on epoll");
}
