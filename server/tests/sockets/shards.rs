//! Several shards and several servers: connections to right and wrong shards, handovers of
//! connections, and forwards.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use standin_protocol::frame::{Opcode, Response, ResponseHeader, Status, response_flags};
use standin_protocol::hello::ANY_SHARD;
use standin_testkit::read_some;
use standin_testkit::wait::wait_until;

use crate::fixture::{Cluster, ITEMS, PATIENCE};
use crate::wire::{Wire, hello, request};

fn get(id: u32, key: &str) -> Vec<u8> {
    request(Opcode::Get, ITEMS, id, key.as_bytes(), b"")
}

/// Creates rows `row 0`, `row 1`, … whose values are their names.
fn seed_rows(cluster: &Cluster, count: u32) {
    cluster.database.execute_batch("BEGIN").unwrap();
    for n in 0..count {
        cluster.seed(&format!("row {n}"), format!("row {n}").as_bytes());
    }
    cluster.database.execute_batch("COMMIT").unwrap();
}

fn get_rows(count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| get(n, &format!("row {n}"))).collect()
}

fn assert_rows(wire: &mut Wire, count: u32) {
    let got = wire.take(count as usize);
    let mut seen = vec![false; count as usize];
    for reply in got {
        let id = reply.header.request_id;
        assert_eq!((reply.status, reply.value), (Status::Ok, format!("row {id}").into_bytes()));
        assert!(!std::mem::replace(&mut seen[id as usize], true), "answered twice");
    }
}

fn kind_of_hello(number: u16, shards: u16) -> u16 {
    match number % (shards + 1) {
        last if last == shards => ANY_SHARD,
        shard => shard,
    }
}

on_both_loops! {
    fn every_shard_answers_for_all(io) {
        let cluster = Cluster::one(io, |config| config.servers[0].shards = 3);
        seed_rows(&cluster, 60);
        for number in 0..4 {
            let shard = kind_of_hello(number, 3);
            let mut wire = cluster.wire_to(0, shard);
            wire.send(&get_rows(60));
            assert_rows(&mut wire, 60);
            wire.end();
            assert_eq!(wire.next(), None);
        }
        wait_until(PATIENCE, "strays to be counted", || cluster.counter("strayed") > 0);
        cluster.assert_healthy();
    }

    fn bytes_behind_the_hello_move_with_the_connection(io) {
        let cluster = Cluster::one(io, |config| config.servers[0].shards = 3);
        seed_rows(&cluster, 60);
        let address = cluster.address();
        let talk = |number: u16, rows: u32| {
            let mut wire = Wire::connect(address);
            let bytes = [hello(kind_of_hello(number, 3)), get_rows(rows)].concat();
            // This also holds if the connection moves with an incomplete frame.
            let cut = bytes.len() - usize::from(number % 40);
            wire.send(&bytes[..cut]);
            wire.send(&bytes[cut..]);
            if number.is_multiple_of(2) {
                wire.end();
            }
            assert_eq!(wire.next().expect("the hello's reply").status, Status::Ok);
            assert_rows(&mut wire, rows);
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let talk = &talk;
                scope.spawn(move || (0..100).for_each(|n| talk(n + thread, u32::from(n % 60))));
            }
        });
        cluster.assert_healthy();
    }

    fn connections_that_end_while_they_move(io) {
        let cluster = Cluster::one(io, |config| config.servers[0].shards = 3);
        for number in 0..600 {
            let mut wire = Wire::connect(cluster.address());
            let bytes = [hello(kind_of_hello(number, 3)), get_rows(3)].concat();
            wire.send(&bytes[..bytes.len() - usize::from(number % 100)]);
            if number.is_multiple_of(3) {
                // The kernel answers the unread replies with a reset.
                wire.next();
            }
        }
        cluster.assert_healthy();
    }

    fn servers_forward_requests_of_other_owners(io) {
        let cluster = Cluster::start(io, 2, |config| {
            (config.servers[0].shards, config.servers[1].shards) = (2, 3);
            // On a busy machine a server must not stand in.
            config.timings.forward_timeout = PATIENCE;
            config.timings.connect_timeout = PATIENCE;
        });
        seed_rows(&cluster, 200);
        let mut forwarded = 0;
        for server in 0..2 {
            for shard in [0, 1, ANY_SHARD] {
                let mut wire = cluster.wire_to(server, shard);
                for n in 0..200 {
                    let reply = wire.ask(&get(n, &format!("row {n}")));
                    let expected = (Status::Ok, format!("row {n}").into_bytes());
                    assert_eq!((reply.status, reply.value), expected);
                    let flags = reply.header.flags;
                    forwarded += u32::from(flags & response_flags::FORWARDED != 0);
                    assert_eq!(flags & response_flags::PROVISIONAL, 0, "nobody stands in");
                }
                wire.send(&get_rows(200));
                assert_rows(&mut wire, 200);
            }
        }
        assert!(forwarded > 300, "about half of 1,200: {forwarded}");
        assert_eq!(cluster.counter("forwards_failed"), 0);
        assert!(cluster.master.reports().is_empty(), "nobody was unreachable");
        // Large values are forwarded in both directions too.
        let large = vec![5; 1 << 20];
        let mut wire = cluster.wire();
        for n in 0..8 {
            let key = format!("large {n}");
            let write = request(Opcode::Put, ITEMS, n, key.as_bytes(), &large);
            assert_eq!(wire.ask(&write).status, Status::Ok);
            assert_eq!(wire.ask(&get(n, &key)).value, large);
        }
        drop(wire);
        cluster.assert_healthy();
    }

    fn links_to_a_peer_that_answers_nonsense_are_closed(io) {
        // The peer is tried again at once although it can't be reached, so there are many links in
        // a short time.
        let cluster = Cluster::one(io, |config| {
            config.timings.failover_hold = Duration::from_millis(5);
        });
        seed_rows(&cluster, 40);
        let peer = TcpListener::bind(cluster.config.servers[1].address).unwrap();
        let (links, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (made, gone) = (Arc::clone(&links), Arc::clone(&ended));
        std::thread::spawn(move || {
            for link in peer.incoming() {
                let number = made.fetch_add(1, Ordering::SeqCst);
                let (mut link, gone) = (link.unwrap(), Arc::clone(&gone));
                std::thread::spawn(move || {
                    let _ = link.write_all(&nonsense(number));
                    if number % 6 == 0 {
                        let _ = link.shutdown(std::net::Shutdown::Write);
                    }
                    let mut buffer = [0; 4_096];
                    while matches!(read_some(&mut link, &mut buffer), Ok(1..)) {}
                    gone.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        cluster.master.say_online(1);
        let (address, stop) = (cluster.address(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            // Other connections come and go meanwhile, and take the names of closed links.
            for _ in 0..3 {
                scope.spawn(|| while stop.load(Ordering::SeqCst) == 0 {
                    let mut wire = Wire::connect(address);
                    wire.send(&hello(0));
                    wire.next();
                    wire.reset();
                });
            }
            let mut wire = cluster.wire();
            wait_until(PATIENCE, "many links", || {
                wire.send(&get_rows(40));
                assert_rows(&mut wire, 40);
                links.load(Ordering::SeqCst) >= 40
            });
            stop.store(1, Ordering::SeqCst);
        });
        assert!(!cluster.master.reports().is_empty());
        cluster.master.say_offline(1);
        wait_until(PATIENCE, "each link to be closed by the server", || {
            links.load(Ordering::SeqCst) == ended.load(Ordering::SeqCst)
        });
        cluster.assert_healthy();
    }
}

/// Returns an answer that no server gives to a HELLO.
fn nonsense(number: usize) -> Vec<u8> {
    let status = |status: Status, value: &[u8]| {
        let header = ResponseHeader { request_id: 1, ..ResponseHeader::default() };
        let mut bytes = Vec::new();
        let header = ResponseHeader {
            magic: standin_protocol::frame::RESPONSE_MAGIC,
            version: standin_protocol::VERSION,
            status: status as u8,
            ..header
        };
        Response::write(header, value, &mut bytes);
        bytes
    };
    match number % 6 {
        0 => Vec::new(),
        1 => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        2 => status(Status::NoSuchShard, b""),
        3 => status(Status::AuthRequired, &[1; 16]),
        // An accepted HELLO, and then invalid bytes.
        4 => [status(Status::Ok, b""), vec![0; 100]].concat(),
        _ => {
            let mut bytes = status(Status::Ok, b"");
            bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
            bytes
        }
    }
}
