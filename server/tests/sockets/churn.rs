//! Connections that open and close in every state.

use standin_protocol::frame::Opcode;

use crate::fixture::{Cluster, ITEMS};
use crate::wire::{Wire, hello, request};

/// Opens a connection and leaves it in the state of that number.
fn leave(address: std::net::SocketAddr, number: usize) {
    let mut wire = Wire::connect(address);
    let read = request(Opcode::Get, ITEMS, 1, b"hot", b"");
    let miss = request(Opcode::Get, ITEMS, 2, format!("miss {number}").as_bytes(), b"");
    let write = request(Opcode::Put, ITEMS, 3, b"churn", &[1; 9_000]);
    let bytes = match number % 9 {
        0 => Vec::new(),
        1 => hello(0)[..17].to_vec(),
        2 => hello(0),
        3 => [&hello(0)[..], &read[..9]].concat(),
        4 => [hello(0), read.repeat(50), miss].concat(),
        5 => [&hello(0)[..], &write[..5_000]].concat(),
        6 => [hello(0), write, miss].concat(),
        7 => [hello(0), b"rubbish".repeat(1_000)].concat(),
        _ => b"S".repeat(5_000),
    };
    wire.try_send(&bytes);
    match number % 4 {
        0 => wire.reset(),
        1 => drop(wire.next()),
        2 => {
            let _ = wire.stream.shutdown(std::net::Shutdown::Write);
            drop(wire.next());
        }
        _ => {}
    }
}

on_both_loops! {
    fn connections_dropped_in_every_state_leave_nothing_behind(io) {
        let cluster = Cluster::one(io, |config| {
            config.limits.handshake_timeout = std::time::Duration::from_millis(200);
        });
        cluster.seed("hot", b"hot");
        let address = cluster.address();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (0..500).for_each(|number| leave(address, number + thread)));
            }
        });
        cluster.assert_healthy();
    }
}
