//! The datagrams that the master believes, depending on their address, on the server that they are
//! about, and on epochs of other masters.

mod world;

use standin_master::Input;
use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT};
use standin_protocol::map::{MapEpoch, ServerState};
use world::{CLIENT, Health, World};

fn epoch(term: u32, counter: u32) -> MapEpoch {
    MapEpoch { term, counter }
}

/// Gives a server states of another master in which `offline` is offline.
fn give(world: &mut World, id: u16, epoch: MapEpoch, offline: u16) {
    world.checks_owners = false;
    let mut statuses = world.machine.registry().published().to_vec();
    statuses[usize::from(offline)].state = ServerState::Offline;
    statuses[usize::from(offline)].since = epoch;
    let model = world.model(id);
    (model.epoch, model.statuses) = (epoch, statuses);
}

fn term(world: &World) -> u32 {
    world.machine.registry().epoch().term
}

#[test]
fn a_datagram_from_another_address_is_dropped_with_one_warning_in_ten_seconds() {
    let mut world = World::converged(&[2, 2]);
    let from = ([10, 9, 8, 7], 6_543).into();
    for _ in 0..25 {
        let datagram = world.server_says(1, DatagramKind::Renew);
        assert!(world.hear(Input::Datagram { from, datagram }).is_empty());
        world.run_ms(1_000);
    }
    assert_eq!(world.kinds(1).iter().filter(|kind| **kind == "distrusted").count(), 3);
    assert!(
        !world.has("distrusted", 0),
        "the warning names the server that is given as the sender"
    );
    assert_eq!(world.machine.counters().datagrams_distrusted, 25);
    // The sender is not in the cluster file.
    let mut datagram = world.server_says(1, DatagramKind::Renew);
    datagram.sender = 77;
    world.run_ms(10_000);
    world.forget();
    assert!(world.hear(Input::Datagram { from, datagram }).is_empty());
    assert!(world.events.is_empty());
    assert_eq!(world.machine.counters().datagrams_distrusted, 26);
}

#[test]
fn a_server_may_report_others_but_not_itself() {
    let mut world = World::converged(&[2]);
    world.report_by_server(0, 0);
    let mut own = world.server_says(0, DatagramKind::ReportOk);
    own.subject = 0;
    world.reach_master(0, own);
    world.run_ms(100);
    assert!(world.events.is_empty(), "{:?}", world.events);
    let mut other = world.server_says(0, DatagramKind::ReportOk);
    other.subject = 1;
    world.reach_master(0, other);
    world.run_ms(100);
    assert!(world.has("reported_ok", 1));
    assert_eq!(world.verdicts.len(), 1, "and is answered");
}

#[test]
fn a_reporter_of_all_servers_is_told_of_an_offline_server() {
    let mut world = World::converged(&[3]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline", World::is_converged);
    for id in [1, 2, 1, 2] {
        world.report_by_client(id);
    }
    world.run_ms(100);
    world.verdicts.clear();
    world.report_by_client(0);
    world.run_ms(5);
    assert!(matches!(&world.verdicts[..], [v] if v.arg == ServerState::Offline as u32));
}

#[test]
fn the_masters_own_epochs_are_not_fetched() {
    let mut world = World::converged(&[2, 2]);
    for _ in 0..3 {
        world.set(0, Health::Dead);
        world.report_by_client(0);
        world.run_until("offline", World::is_converged);
        world.set(0, Health::Up);
        world.run_until("back", World::is_converged);
    }
    assert!(world.fetches.is_empty(), "{:?}", world.fetches);
}

#[test]
fn the_states_of_a_second_master_are_adopted_and_the_next_ones_a_lease_later() {
    let mut world = World::converged(&[2, 2]);
    give(&mut world, 1, epoch(9, 5), 0);
    world.run_until("adopted", |w| w.has("adopted", 1));
    assert_eq!((term(&world), world.fetches.len()), (10, 1));
    assert_eq!(world.machine.counters().adoptions, 1);
    let first = world.time_of("adopted", 1);
    give(&mut world, 2, epoch(20, 1), 0);
    world.run_until("adopted again", |w| w.has("adopted", 2));
    assert_eq!(term(&world), 21);
    let between = world.time_of("adopted", 2).since(first);
    assert!(between >= world.rules.lease, "two masters would adopt for ever: {between:?}");
    world.run_ms(10_000);
    assert_eq!(world.fetches.len(), 2, "there was nothing more to learn");
}

#[test]
fn a_term_that_leaves_no_room_for_higher_ones_is_ignored() {
    let mut world = World::converged(&[2, 2]);
    let before = term(&world);
    for beyond in [u32::MAX, (1 << 31) + 1] {
        give(&mut world, 1, epoch(beyond, 1), 0);
        world.run_ms(5_000);
        assert_eq!((term(&world), world.fetches.len()), (before, 0));
    }
    give(&mut world, 1, epoch(1 << 31, 1), 0);
    world.run_until("the highest accepted term", |w| w.has("adopted", 1));
    assert_eq!(term(&world), (1 << 31) + 1);
}

/// The server has reported a newer epoch, and then returns a map that the master already knows.
#[test]
fn a_fetched_map_that_is_already_known_changes_nothing() {
    let mut world = World::converged(&[2, 2]);
    let mut renewal = world.server_says(1, DatagramKind::Renew);
    renewal.epoch = epoch(9, 5);
    world.reach_master(1, renewal);
    world.run_ms(100);
    assert_eq!(world.fetches, [1]);
    assert!(!world.has("adopted", 1), "{:?}", world.events);
    assert_eq!(world.machine.counters().adoptions, 0);
    assert!(world.is_converged());
}

#[test]
fn a_map_that_was_not_requested_is_dropped() {
    let mut world = World::converged(&[2, 2]);
    give(&mut world, 1, epoch(9, 5), 0);
    let (statuses, topology) = (world.model(1).statuses.clone(), world.topology.clone());
    let map = standin_protocol::map::ClusterMap::new(topology, epoch(9, 5), statuses);
    world.inject(Input::Fetched { server: 2, map: Some(Box::new(map)) });
    assert!(!world.has("adopted", 2));
}

/// A server has restarted after it reported an epoch, so it has no map any more. The master must
/// not take that as the answer, and then announce under a term that the others already know.
#[test]
fn a_map_that_a_server_reported_and_has_lost_is_fetched_from_another() {
    let mut world = World::converged(&[2, 2]);
    let known = world.machine.registry().published_epoch();
    world.restart_master(None);
    let told = world.server_says(1, DatagramKind::Renew);
    world.model(1).epoch = MapEpoch::default();
    world.model(1).statuses.clear();
    world.reach_master(1, told);
    for id in [0, 2, 3] {
        let renewal = world.server_says(id, DatagramKind::Renew);
        world.reach_master(id, renewal);
    }
    world.run_until("learned", |w| w.events.iter().any(|(_, e)| e.kind() == "learned"));
    assert!(world.events.iter().any(|(_, e)| e.kind() == "adopted"), "{:?}", world.events);
    assert_eq!((world.fetches[0], term(&world)), (1, known.term + 1));
}

#[test]
fn the_newest_of_two_newer_maps_is_adopted() {
    for order in [[(1, 5), (2, 9)], [(2, 5), (1, 9)]] {
        let mut world = World::converged(&[2, 2]);
        for (id, counter) in order {
            let offline = if counter == 9 { 3 } else { 0 };
            give(&mut world, id, epoch(7, counter), offline);
        }
        world.restart_master(None);
        world.run_until("learned", |w| w.events.iter().any(|(_, e)| e.kind() == "learned"));
        let (newest, _) = order[1];
        assert!(world.has("adopted", newest), "{:?}", world.events);
        world.run_ms(2_000);
        assert!(world.has("returning", 3) && !world.has("returning", 0), "{:?}", world.events);
    }
}

/// Anybody who may be a client can report servers, and under as many names as they like.
#[test]
fn a_flood_of_reports_takes_no_server_offline_and_causes_a_bounded_number_of_probes() {
    const SECONDS: u64 = 10;
    let mut world = World::converged(&[2, 2]);
    world.run_ms(1_000);
    world.forget();
    let (probes, servers) = (world.machine.counters().probes, world.ids().len() as u64);
    let topology_id = world.topology.id;
    for number in 0..SECONDS * 1_000 {
        for subject in world.ids() {
            let sender = number * servers + u64::from(subject) + 1;
            let mut report =
                Datagram::new(DatagramKind::ReportFailed, SENDER_CLIENT, topology_id, sender);
            (report.subject, report.sequence, report.nonce) = (subject, 1, sender);
            world.inject(Input::Datagram { from: CLIENT, datagram: report });
        }
        world.run_ms(1);
    }
    for id in world.ids() {
        assert_eq!(world.state(id), ServerState::Online);
        for kind in ["offline", "waiting", "leaving", "frozen"] {
            assert!(!world.has(kind, id), "{kind}: {:?}", world.kinds(id));
        }
    }
    // One verification of each server's shards in a cool-down, each answered at the first attempt.
    let rules = world::rules();
    let most = SECONDS * 1_000 / rules.cool_down().as_millis() as u64;
    let shards: u64 = world.topology.servers.iter().map(|server| u64::from(server.shards)).sum();
    let caused = world.machine.counters().probes - probes;
    assert!(caused > 0 && caused <= most * shards.max(servers), "{caused} of {most} × {shards}");
}

/// What was heard once has no effect when somebody sends it again, also much later.
#[test]
fn a_recorded_datagram_that_is_sent_again_changes_nothing() {
    let mut world = World::converged(&[2, 2]);
    let from = world.topology.servers[1].address;
    let recorded: Vec<Datagram> =
        [DatagramKind::Renew, DatagramKind::Ack, DatagramKind::ReportFailed, DatagramKind::Leaving]
            .map(|kind| world.server_says(1, kind))
            .into();
    // The server itself has said the first three; the last is that of an incarnation that ended.
    for datagram in &recorded {
        world.inject(Input::Datagram { from, datagram: datagram.clone() });
    }
    world.run_ms(1_000);
    world.set(1, Health::Dead);
    world.run_until("its end", |world| world.state(1) == ServerState::Offline);
    world.set(1, Health::Up);
    world.run_until("its return", World::is_converged);
    world.run_ms(30_000);
    world.forget();
    let dropped = world.machine.counters().datagrams_dropped;
    for _ in 0..100 {
        for datagram in &recorded {
            assert!(world.hear(Input::Datagram { from, datagram: datagram.clone() }).is_empty());
        }
        world.run_ms(10);
    }
    assert_eq!(world.machine.counters().datagrams_dropped, dropped + 400);
    assert_eq!(world.state(1), ServerState::Online);
    assert!(!world.has("leaving", 1) && !world.has("offline", 1), "{:?}", world.kinds(1));
}
