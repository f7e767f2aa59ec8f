//! Connections whose other side disappears silently, because its host died or a firewall forgot the
//! connection. They are noticed even if no request is sent, because the kernel sends keepalives on
//! every side.

use std::net::SocketAddr;

use standin_protocol::frame::Status;
use standin_protocol::hello::Role;
use standin_testkit::wait_until;

use crate::common::kernel::connections;
use crate::common::wire::Wire;
use crate::common::{Cluster, PAIR, WITHIN};

/// Returns, for each established connection from one port to another, whether the kernel checks
/// that the other side is still there.
fn is_watched(from: impl Fn(u16) -> bool, to: impl Fn(u16) -> bool) -> Vec<bool> {
    let found = connections().into_iter().filter(|it| from(it.local) && to(it.remote));
    found.map(|it| it.is_watched).collect()
}

#[test]
fn connections_of_hosts_that_are_gone_are_noticed_on_every_side() {
    let mut cluster = Cluster::with("gone", PAIR, |_| {});
    cluster.start();
    let ports: Vec<u16> = ["a1", "a2"].iter().map(|name| cluster.address(name).port()).collect();
    let topology = &cluster.topology;
    let (id, master) = (cluster.id("a1"), topology.master.port());

    // These are connections that a server and the master have accepted, because any client may be
    // without keepalive.
    let wire = Wire::connect(topology, id, 0, Role::Client).expect("a place");
    let mine = wire.local_address().port();
    wait_until(WITHIN, "the server to watch", || {
        is_watched(|port| port == ports[0], |port| port == mine) == [true]
    });
    let guest = std::net::TcpStream::connect(topology.master).expect("the master accepts");
    let own = |address: std::io::Result<SocketAddr>| address.expect("an address").port();
    let mine = own(guest.local_addr());
    wait_until(WITHIN, "the master to watch", || {
        is_watched(|port| port == master, |port| port == mine) == [true]
    });

    // These are the connections between servers, on both sides. A request for the other server is
    // forwarded over them.
    let key = cluster.key_of("a2");
    assert_eq!(cluster.connect("a1").put(&key, b"value").status, Status::Ok);
    drop((wire, guest));
    wait_until(WITHIN, "the link to be watched", || {
        let callers = is_watched(|port| port != ports[1], |port| port == ports[1]);
        let called = is_watched(|port| port == ports[1], |_| true);
        !callers.is_empty() && [callers, called].concat().iter().all(|is_so| *is_so)
    });
}
