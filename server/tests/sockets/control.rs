//! Datagrams that do not come from the master, or not in the form in which it sent them.

use std::net::{TcpListener, UdpSocket};

use standin_config::{ClusterConfig, IoKind};
use standin_protocol::auth::ClusterKey;
use standin_protocol::control::{
    DATAGRAM_BYTES_MAX, Datagram, DatagramKind, ProbeOutcome, SENDER_CLIENT,
};
use standin_protocol::frame::Opcode;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_testkit::wait::wait_until;

use crate::fixture::{Cluster, PATIENCE};
use crate::wire::request;

fn secret(config: &mut ClusterConfig) {
    config.security.secret = Some([9; 32]);
}

fn epoch(cluster: &Cluster) -> MapEpoch {
    let reply = cluster.wire().ask(&request(Opcode::Map, 0, 1, b"", b""));
    ClusterMap::from_bytes(&reply.value).unwrap().epoch
}

/// Returns an announcement that would mark every server offline if it were believed.
fn harmful(cluster: &Cluster) -> Datagram {
    let mut datagram = cluster.master.announcement();
    datagram.epoch = MapEpoch { term: 1_000, counter: 1 };
    datagram.statuses.iter_mut().for_each(|status| status.state = ServerState::Offline);
    datagram
}

/// Returns datagrams that must not be believed, each with a name.
fn forgeries(cluster: &Cluster) -> Vec<(&'static str, Vec<u8>)> {
    let key = cluster.config.cluster_key();
    let good = harmful(cluster);
    let bytes = good.to_bytes(key.as_ref());
    let changed = |change: &dyn Fn(&mut Datagram)| {
        let mut datagram = good.clone();
        change(&mut datagram);
        datagram.to_bytes(key.as_ref())
    };
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    vec![
        ("nothing", Vec::new()),
        ("one byte", vec![0x44]),
        ("garbage", (0..=255).cycle().take(1_000).collect()),
        ("zeros", vec![0; DATAGRAM_BYTES_MAX]),
        ("too long", vec![0x44; 60_000]),
        ("another address", bytes.clone()),
        ("no secret", good.to_bytes(None)),
        ("another secret", good.to_bytes(Some(&ClusterKey::new([1; 32])))),
        ("the version", flipped(1)),
        ("the kind", flipped(2)),
        ("the epoch", flipped(32)),
        ("the body", flipped(60)),
        ("the code", flipped(bytes.len() - 1)),
        ("a byte less", bytes[..bytes.len() - 1].to_vec()),
        ("a byte more", [&bytes[..], &[0]].concat()),
        ("half", bytes[..bytes.len() / 2].to_vec()),
        ("another topology", changed(&|d| d.topology_id ^= 1)),
        ("a client as sender", changed(&|d| d.sender = SENDER_CLIENT)),
        ("a server as sender", changed(&|d| d.sender = 0)),
        ("too few states", changed(&|d| d.statuses.truncate(1))),
        ("no states", changed(&|d| d.statuses.clear())),
        ("too many states", changed(&|d| d.statuses.push(d.statuses[0]))),
        ("an old epoch", changed(&|d| d.epoch = MapEpoch { term: 0, counter: 9 })),
        (
            "a verdict that was not requested",
            changed(&|d| {
                (d.kind, d.subject, d.arg) = (DatagramKind::Verdict, 60_000, 77);
                d.epoch = MapEpoch::default();
            }),
        ),
    ]
}

fn still_hears_its_master(cluster: &Cluster) {
    let before = epoch(cluster);
    cluster.master.say_online(1);
    wait_until(PATIENCE, "the master's announcement", || epoch(cluster) > before);
    cluster.master.say_offline(1);
    let before = cluster.master.announcement().epoch;
    wait_until(PATIENCE, "the master's announcement", || epoch(cluster) == before);
}

fn start(io: IoKind) -> (Cluster, UdpSocket) {
    let cluster = Cluster::one(io, secret);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(cluster.address()).unwrap();
    (cluster, socket)
}

on_both_loops! {
    fn forged_datagrams_change_nothing(io) {
        let (cluster, socket) = start(io);
        let before = epoch(&cluster);
        for (what, bytes) in forgeries(&cluster) {
            socket.send(&bytes).unwrap();
            assert_eq!(epoch(&cluster), before, "{what}");
        }
        // All of them have been handled when the next announcement of the master is heard.
        still_hears_its_master(&cluster);
        assert!(epoch(&cluster).term < 1_000, "one of them was believed");
        cluster.assert_healthy();
    }

    fn a_probe_for_the_master_tells_who_is_dead_from_who_is_silent(io) {
        let cluster = Cluster::one(io, secret);
        let refused = cluster.master.ask_probe(1);
        assert_eq!((refused.subject, refused.arg), (1, ProbeOutcome::Refused as u32));
        // A process that listens but does not answer.
        let silent = TcpListener::bind(cluster.config.servers[1].address).unwrap();
        assert_eq!(cluster.master.ask_probe(1).arg, ProbeOutcome::Silent as u32);
        drop(silent);
        drop(cluster);
        let cluster = Cluster::start(io, 2, |config| {
            secret(config);
            config.servers[1].shards = 3;
            // On a busy machine the answer must be the same.
            config.timings.forward_timeout = PATIENCE;
            config.timings.connect_timeout = PATIENCE;
        });
        let answered = cluster.master.ask_probe(1);
        assert_eq!(answered.arg, ProbeOutcome::Answered as u32);
        let probed = answered.probed.expect("the server has answered");
        assert_eq!(probed.boot_id, cluster.servers[1].boot_id());
        assert_eq!(probed.map_epoch, cluster.master.announcement().epoch);
        cluster.assert_healthy();
    }

    fn many_datagrams_do_not_keep_the_server_from_hearing_its_master(io) {
        let (cluster, socket) = start(io);
        let good = cluster.master.announcement().to_bytes(cluster.config.cluster_key().as_ref());
        let forged = forgeries(&cluster);
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    for (_, bytes) in &forged {
                        let _ = socket.send(bytes);
                        let _ = socket.send(&good);
                    }
                }
            });
            let mut wire = cluster.wire();
            for _ in 0..500 {
                wire.assert_open();
            }
            // The master is heard in the end, because it repeats its announcements and the number
            // of datagrams is finite.
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        still_hears_its_master(&cluster);
        cluster.assert_healthy();
    }
}
