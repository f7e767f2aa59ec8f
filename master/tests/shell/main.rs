//! Tests of the master's shell on real sockets, on io_uring and on epoll, with small servers that
//! speak the protocol.
#![expect(clippy::disallowed_methods, reason = "tests wait for conditions with a deadline")]

mod cluster;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use standin_config::IoKind;
use standin_master::{Master, MasterError};
use standin_protocol::auth::ClusterKey;
use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT};
use standin_protocol::counters::SampleValue;
use standin_protocol::frame::{Opcode, Request, RequestHeader, Status};
use standin_protocol::hello::{HelloBody, cluster_id};
use standin_protocol::map::{NO_SERVER, ServerState};
use standin_protocol::time::Micros;

use ServerState::{Offline, Online};
use cluster::*;

fn fail_over_and_back(io: IoKind, secret: Option<[u8; 32]>) {
    let cluster = Cluster::new(io, secret);
    let master = cluster.master();
    let mut servers = cluster.servers();
    let mut client = Client::greeted(&cluster);
    let map = cluster.wait_for_states(&mut client, [Online; 4]);
    assert_eq!(map.topology.id, cluster.topology.id);

    let verdict = cluster.report(0);
    assert_eq!(verdict.arg, Online as u32, "claim 19: it answers");
    servers.remove(0).kill();
    let verdict = cluster.report(0);
    assert_eq!(verdict.arg, Offline as u32);
    let map = cluster.wait_for_states(&mut client, [Offline, Online, Online, Online]);
    for id in 1..4 {
        cluster.wait_for("acked", id);
    }
    wait_until("told", || servers.iter().all(|s| s.epoch() >= map.epoch.to_u64()), &|| {
        format!("{:?}", cluster.events)
    });

    let _again = cluster.server(0, 999);
    let map = cluster.wait_for_states(&mut client, [Online; 4]);
    assert_eq!(map.statuses()[0].boot_id, 999);
    let (status, value) = client.ask(Opcode::Stats, &[]);
    assert_eq!(status, Status::Ok);
    let stats = StatsReply::from_bytes(&value).expect("statistics");
    assert!(stats.counter("verdicts_offline") == 1 && stats.counter("returns") == 1, "{stats:?}");
    let (status, value) = client.ask(Opcode::Ping, &[]);
    assert_eq!(status, Status::Ok);
    let reply = PingReply::from_bytes(&value).expect("the answer to a ping");
    let published = cluster.wait_for_states(&mut client, [Online; 4]).epoch;
    let expected = PingReply {
        boot_id: u64::from(published.term),
        map_epoch: published.to_u64(),
        server: NO_SERVER,
        origin_up: 1,
        ..PingReply::default()
    };
    assert_eq!(reply, expected);

    let stopped_at = Instant::now();
    master.stop();
    master.join().expect("a clean end");
    assert!(stopped_at.elapsed() < Duration::from_secs(2));
}

#[test]
fn fails_over_and_back_on_the_default_loop() {
    fail_over_and_back(IoKind::Auto, None);
}

#[test]
fn fails_over_and_back_on_epoll_with_a_secret() {
    fail_over_and_back(IoKind::Epoll, Some([5; 32]));
}

#[test]
fn a_restarted_master_has_a_higher_term_and_remembers_all_states() {
    let cluster = Cluster::new(ring(), None);
    let master = cluster.master();
    let mut servers = cluster.servers();
    let mut client = Client::greeted(&cluster);
    cluster.wait_for_states(&mut client, [Online; 4]);
    servers.remove(3).kill();
    assert_eq!(cluster.report(3).arg, Offline as u32);
    let before = cluster.wait_for_states(&mut client, [Online, Online, Online, Offline]).epoch;
    drop(client);
    master.stop();
    master.join().expect("a clean end");

    let master = cluster.master();
    let mut client = Client::greeted(&cluster);
    let map = cluster.wait_for_states(&mut client, [Online, Online, Online, Offline]);
    assert_eq!(map.epoch.term, before.term + 1);
    let _again = cluster.server(3, 777);
    cluster.wait_for_states(&mut client, [Online; 4]);
    drop(master);
}

#[test]
fn one_stuck_server_does_not_delay_the_probing_of_another() {
    let mut cluster = Cluster::new(ring(), None);
    cluster.config.timings.probe_timeout = Duration::from_secs(2);
    let _master = cluster.master();
    let mut servers = cluster.servers();
    let mut client = Client::greeted(&cluster);
    cluster.wait_for_states(&mut client, [Online; 4]);
    // b2 accepts connections and never answers, and a1 is gone.
    servers.pop().expect("b2").kill();
    let _stuck = TcpListener::bind(cluster.topology.servers[3].address).expect("b2's port");
    servers.remove(0).kill();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut datagram =
        Datagram::new(DatagramKind::ReportFailed, SENDER_CLIENT, cluster.topology.id, 1);
    datagram.sequence = 1;
    datagram.subject = 3;
    socket.send_to(&datagram.to_bytes(None), cluster.topology.master).expect("sent");
    cluster.wait_for("reported", 3);
    let asked_at = Instant::now();
    assert_eq!(cluster.report(0).arg, Offline as u32);
    assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
}

#[test]
fn errors_of_a_start_are_reported_at_once() {
    let cluster = Cluster::new(ring(), None);
    let taken = TcpListener::bind(cluster.topology.master).expect("free");
    let error = Master::bind(cluster.options()).err().expect("taken");
    assert!(matches!(error, MasterError::AddressTaken { protocol: "TCP", .. }), "{error}");
    drop(taken);
    let taken = UdpSocket::bind(cluster.topology.master).expect("free");
    let error = Master::bind(cluster.options()).err().expect("taken");
    assert!(matches!(error, MasterError::AddressTaken { protocol: "UDP", .. }), "{error}");
    drop(taken);

    let path = &cluster.config.master.state_file;
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, b"garbage").expect("written");
    let error = Master::bind(cluster.options()).err().expect("damaged");
    assert!(matches!(error, MasterError::StateDamaged { .. }), "{error}");
    assert!(error.to_string().contains("Move it away"), "{error}");
    assert_eq!(std::fs::read(path).expect("still there"), b"garbage", "nothing is overwritten");
    std::fs::remove_file(path).expect("removed");
    std::fs::create_dir(path).expect("a directory in its place");
    let error = Master::bind(cluster.options()).err().expect("not a file");
    assert!(matches!(error, MasterError::StateRead { .. }), "{error}");
}

#[test]
fn requests_that_arrive_together_are_answered_in_order_and_in_bounded_pieces() {
    for io in [ring(), IoKind::Epoll] {
        let cluster = Cluster::new(io, None);
        let _master = cluster.master();
        let _servers = cluster.servers();
        let mut client = Client::greeted(&cluster);
        let map = cluster.wait_for_states(&mut client, [Online; 4]);
        // These are more maps than the master writes at once.
        let count = 2 * (64 << 10) / u32::try_from(map.to_bytes().len()).expect("small");
        let mut bytes = Vec::new();
        for id in 1..=count {
            let header = RequestHeader::new(Opcode::Map, 0, 1_000 + id);
            Request::write(header, &[], &[], &mut bytes);
        }
        let header = RequestHeader::new(Opcode::Ping, 0, 1_001 + count);
        Request::write(header, &[], &[], &mut bytes);
        // The last byte is sent later.
        let (last, first) = bytes.split_last().expect("bytes");
        client.stream.write_all(first).expect("sent");
        let answered: Vec<u32> = (0..count).map(|_| client.response().0).collect();
        assert!(answered.into_iter().eq(1_001..=1_000 + count));
        client.stream.write_all(&[*last]).expect("sent");
        assert_eq!(client.response(), (1_001 + count, Status::Ok));
    }
}

#[test]
fn a_wrong_secret_and_an_unknown_request_are_refused() {
    let cluster = Cluster::new(ring(), Some([5; 32]));
    let _master = cluster.master();
    let mut client = Client::connect(cluster.topology.master);
    let body = HelloBody { cluster_id: cluster_id("shell"), ..HelloBody::default() };
    let (status, nonce) = client.ask(Opcode::Hello, &body.to_bytes());
    assert_eq!(status, Status::AuthRequired);
    let proof = body.with_proof(&ClusterKey::new([6; 32]), &nonce);
    assert_eq!(client.ask(Opcode::Hello, &proof).0, Status::AuthFailed);
    assert!(client.is_closed());

    let mut client = Client::greeted(&cluster);
    let mut header = RequestHeader::new(Opcode::Ping, 0, 7);
    header.opcode = 200;
    client.stream.write_all(&header.to_bytes()).expect("sent");
    assert_eq!(client.answer().0, Status::UnknownOpcode);
    assert_eq!(client.ask(Opcode::Ping, &[]).0, Status::Ok, "the connection is still served");
}

#[test]
fn datagrams_of_another_secret_are_counted_apart_from_those_of_members() {
    let cluster = Cluster::new(ring(), Some([5; 32]));
    let master = Master::bind(cluster.options()).expect("a master");
    let (scrape, stopper) = (master.scrape(), master.stopper());
    let thread = std::thread::spawn(move || master.run(|_| ()));
    let count = |name: &str| {
        let samples = scrape.samples(Micros::boottime());
        let found = samples.into_iter().find(|sample| sample.figure.name == name);
        found.map(|sample| sample.value).expect("a figure")
    };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let kind = DatagramKind::ReportFailed;
    let datagram = Datagram::new(kind, SENDER_CLIENT, cluster.topology.id, 1);
    let of_other = ClusterKey::new([6; 32]);
    for bytes in [datagram.to_bytes(Some(&of_other)), datagram.to_bytes(None), b"garbage".to_vec()]
    {
        socket.send_to(&bytes, cluster.topology.master).expect("sent");
    }
    let key = cluster.config.cluster_key();
    socket.send_to(&datagram.to_bytes(key.as_ref()), cluster.topology.master).expect("sent");
    let is_counted = || count("datagrams_received") == SampleValue::Number(1);
    wait_until("the last datagram is counted", is_counted, &String::new);
    assert_eq!(count("datagrams_refused"), SampleValue::Number(3));
    stopper.stop();
    thread.join().expect("no panic").expect("a clean end");
}

#[test]
fn hostile_connections_are_answered_or_closed_and_leave_nothing_behind() {
    for io in [ring(), IoKind::Epoll] {
        let cluster = Cluster::new(io, None);
        let master = cluster.master();
        let _servers = cluster.servers();
        let mut client = Client::greeted(&cluster);
        cluster.wait_for_states(&mut client, [Online; 4]);
        let address = cluster.topology.master;

        let mut garbage = Client::connect(address);
        garbage.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        assert_eq!(garbage.answer().0, Status::Malformed);
        assert!(garbage.is_closed());

        let mut version = Client::connect(address);
        let mut bytes = RequestHeader::new(Opcode::Hello, 0, 1).to_bytes();
        bytes[1] = 99;
        version.stream.write_all(&bytes).expect("sent");
        assert_eq!(version.answer().0, Status::UnsupportedVersion);
        assert!(version.is_closed());

        let mut large = Client::connect(address);
        let mut header = RequestHeader::new(Opcode::Hello, 0, 1);
        header.value_len = 1 << 30;
        large.stream.write_all(&header.to_bytes()).expect("sent");
        assert_eq!(large.answer().0, Status::TooLarge);
        assert!(large.is_closed());

        let mut rude = Client::connect(address);
        assert_eq!(rude.ask(Opcode::Map, &[]).0, Status::Malformed, "HELLO comes first");
        assert!(rude.is_closed());

        let mut other = Client::connect(address);
        let body = HelloBody { cluster_id: 1, ..HelloBody::default() };
        assert_eq!(other.ask(Opcode::Hello, &body.to_bytes()).0, Status::Malformed);

        assert_eq!(client.ask(Opcode::Get, &[]).0, Status::NotSupported);

        // One client sends a single byte and then nothing, and another sends nothing at all.
        let mut slow = Client::connect(address);
        slow.stream.write_all(&[0x53]).expect("sent");
        let mut silent = Client::connect(address);
        assert!(slow.is_closed() && silent.is_closed());

        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        let before = descriptors();
        for _ in 0..500 {
            drop(TcpStream::connect(address).expect("the master's port"));
        }
        for _ in 0..50 {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.send_to(&[0x44; 300], address).expect("sent");
        }
        assert_eq!(client.ask(Opcode::Ping, &[]).0, Status::Ok, "the master still serves");
        // Other tests of this process open and close descriptors too, so a few are theirs.
        wait_until("descriptors are closed", || descriptors() < before + 100, &|| {
            format!("{before} before, {} now", descriptors())
        });
        drop(master);
    }
}

#[test]
fn unanswered_probes_leak_no_descriptors() {
    for io in [ring(), IoKind::Epoll] {
        let mut cluster = Cluster::new(io, None);
        cluster.config.timings.probe_timeout = Duration::from_millis(10);
        cluster.config.timings.recheck_interval = Duration::from_millis(10);
        // Only the kernel accepts these connections. Once its queue is full, connects hang.
        let stuck: Vec<_> = (0..4)
            .map(|id| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                        .expect("a socket");
                let address = cluster.topology.servers[id].address;
                socket.bind(&address.into()).expect("free");
                socket.listen(1).expect("listening");
                socket
            })
            .collect();
        let master = cluster.master();
        cluster.wait_for("offline", 0);
        let probes = || {
            let events = cluster.events.lock().expect("events");
            events.iter().filter(|e| e.kind() == "probe_failed").count()
        };
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        let (before, done) = (descriptors(), probes());
        wait_until("200 more probes", || probes() > done + 200, &|| probes().to_string());
        wait_until("descriptors are closed", || descriptors() < before + 100, &|| {
            format!("{before} before, {} now", descriptors())
        });
        drop(master);
        drop(stuck);
    }
}
