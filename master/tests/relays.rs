//! Tests that one bad link takes no server offline. Other members of its group relay datagrams, and
//! contact servers that the master can't reach.

mod world;

use std::net::SocketAddr;

use standin_master::Input;
use standin_protocol::control::{Datagram, DatagramKind, Probed};
use standin_protocol::map::ServerState;
use world::{Health, World};

fn address(world: &World, id: u16) -> SocketAddr {
    world.topology.servers[usize::from(id)].address
}

/// Creates a cluster in which only its peers can reach a server for this time.
fn cut(group: &[u16], ms: u64) -> World {
    let mut world = World::converged(group);
    world.model(0).is_cut = true;
    world.run_ms(ms);
    world
}

#[test]
fn a_server_that_only_its_peers_reach_keeps_its_lease_and_its_state() {
    let mut world = World::converged(&[3]);
    world.model(0).is_cut = true;
    for _ in 0..40 {
        world.report_by_client(0);
        world.run_ms(250);
    }
    assert!(!world.has("waiting", 0) && !world.has("offline", 0), "{:?}", world.events);
    assert!(world.has("probe_told", 0) && world.has("probe_ok", 0));
    let grants = &world.servers[0].grants;
    assert!(grants.len() >= 19 && grants.iter().all(|grant| grant.arg > 0));
    assert!(world.verdicts.iter().all(|verdict| verdict.arg == ServerState::Online as u32));
}

#[test]
fn announcements_reach_a_server_through_the_member_that_relays_its_datagrams() {
    let mut world = cut(&[3], 600);
    world.set(2, Health::Dead);
    world.report_by_client(2);
    world.run_until("acknowledged by all servers that are up", World::is_converged);
    assert!(world.now.since(world.time_of("announced", 2)).as_millis() < 60);
}

#[test]
fn an_offline_server_returns_through_its_peers() {
    let mut world = World::converged(&[3]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    world.model(0).is_cut = true;
    world.start(0);
    world.run_until("back as a new incarnation", World::is_converged);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.state(0) == ServerState::Waiting);
    world.set(0, Health::Up);
    world.run_until("back through its peers", World::is_converged);
}

#[test]
fn a_silent_server_is_contacted_by_its_peers_and_their_silence_causes_little_delay() {
    let mut world = World::converged(&[3]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.has("waiting", 0));
    assert_eq!(world.kinds(0).iter().filter(|kind| **kind == "probe_asked").count(), 1);
    let took = world.now.since(world.time_of("reported", 0)).as_millis();
    assert!((200..260).contains(&took), "{took} ms");
    // These peers do not even report their failure.
    let mut world = World::converged(&[3]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_ms(99);
    world.loss_percent = 100;
    world.run_until("waiting", |w| w.has("waiting", 0));
    let took = world.now.since(world.time_of("reported", 0)).as_millis();
    assert!((245..270).contains(&took), "{took} ms");
}

#[test]
fn a_server_that_refuses_a_peer_is_known_to_be_dead() {
    let mut world = cut(&[3], 600);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline", |w| w.has("offline", 0));
    assert!(!world.has("waiting", 0), "{:?}", world.events);
}

#[test]
fn a_result_that_was_not_requested_is_ignored() {
    let mut world = World::converged(&[3]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("asked", |w| w.has("probe_asked", 0));
    let asked = world.events.len();
    let mut forged = world.server_says(1, DatagramKind::ProbeResult);
    (forged.subject, forged.arg, forged.nonce) = (0, 1, 12_345);
    let status = world.machine.registry().published()[0];
    let (boot_id, map_epoch) = (status.boot_id, status.since);
    forged.probed = Some(Probed { boot_id, map_epoch });
    world.reach_master(1, forged);
    world.run_ms(5);
    assert_eq!(world.events.len(), asked, "{:?}", world.events);
    world.run_until("waiting", |w| w.has("waiting", 0));
}

#[test]
fn answers_take_the_path_of_the_request_and_strangers_get_none() {
    let mut world = World::converged(&[2, 2]);
    let elsewhere: SocketAddr = ([10, 9, 8, 7], 6_543).into();
    let members = [(address(&world, 0), Some(0)), (address(&world, 1), Some(1))];
    // A server of another group relays nothing, and an address that belongs to no server may be
    // anybody's.
    let strangers = [(address(&world, 2), None), (elsewhere, None)];
    for (from, expected) in members.into_iter().chain(strangers) {
        let datagram = world.server_says(0, DatagramKind::Renew);
        let nonce = datagram.sequence;
        let datagram = Datagram { nonce, ..datagram };
        let sent = world.hear(Input::Datagram { from, datagram });
        let grant = sent.iter().find(|(_, d)| d.kind == DatagramKind::Grant);
        let expected = expected.map(|member| (address(&world, member), 0, nonce));
        let grant = grant.map(|(to, d)| (*to, d.recipient, d.nonce));
        assert_eq!(grant, expected, "from {from}");
    }
}
