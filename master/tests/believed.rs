//! The datagrams that the master believes: by their address, by the server that they are about, and
//! by epochs other than its own.

mod world;

use standin_master::Input;
use standin_protocol::control::DatagramKind;
use standin_protocol::map::{MapEpoch, ServerState};
use world::{Health, World};

fn epoch(term: u32, counter: u32) -> MapEpoch {
    MapEpoch { term, counter }
}

/// A server has states of another master, by which `offline` is offline.
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
fn a_datagram_that_comes_from_elsewhere_is_dropped_and_complained_of_once_in_ten_seconds() {
    let mut world = World::converged(&[2, 2]);
    let from = ([10, 9, 8, 7], 6_543).into();
    for _ in 0..25 {
        let datagram = world.server_says(1, DatagramKind::Renew);
        assert!(world.hear(Input::Datagram { from, datagram }).is_empty());
        world.run_ms(1_000);
    }
    assert_eq!(world.kinds(1).iter().filter(|kind| **kind == "distrusted").count(), 3);
    assert!(!world.has("distrusted", 0), "the one that is named is told of");
    assert_eq!(world.machine.counters().datagrams_distrusted, 25);
    // A sender that the cluster file does not have.
    let mut datagram = world.server_says(1, DatagramKind::Renew);
    datagram.sender = 77;
    world.run_ms(10_000);
    world.forget();
    assert!(world.hear(Input::Datagram { from, datagram }).is_empty());
    assert!(world.events.is_empty());
    assert_eq!(world.machine.counters().datagrams_distrusted, 26);
}

#[test]
fn a_server_speaks_of_others_and_not_of_itself() {
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
fn a_reporter_that_accuses_everybody_hears_of_a_server_that_is_offline() {
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
fn its_own_epochs_are_fetched_from_nobody() {
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
    assert_eq!(world.fetches.len(), 2, "that is all that there was to know");
}

#[test]
fn a_term_that_leaves_no_room_for_further_ones_is_not_gone_after() {
    let mut world = World::converged(&[2, 2]);
    let before = term(&world);
    for beyond in [u32::MAX, (1 << 31) + 1] {
        give(&mut world, 1, epoch(beyond, 1), 0);
        world.run_ms(5_000);
        assert_eq!((term(&world), world.fetches.len()), (before, 0));
    }
    give(&mut world, 1, epoch(1 << 31, 1), 0);
    world.run_until("the highest that is", |w| w.has("adopted", 1));
    assert_eq!(term(&world), (1 << 31) + 1);
}

/// The server has told of a newer epoch and then gives what is known.
#[test]
fn a_fetched_map_that_is_no_news_changes_nothing() {
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
fn a_map_that_was_not_asked_for_is_dropped() {
    let mut world = World::converged(&[2, 2]);
    give(&mut world, 1, epoch(9, 5), 0);
    let (statuses, topology) = (world.model(1).statuses.clone(), world.topology.clone());
    let map = standin_protocol::map::ClusterMap::new(topology, epoch(9, 5), statuses);
    world.inject(Input::Fetched { server: 2, map: Some(Box::new(map)) });
    assert!(!world.has("adopted", 2));
}

/// A server that has started anew since it told of an epoch holds no map any more. The master must
/// not take that for the answer, and speak under a term that the others know already.
#[test]
fn what_a_server_has_told_of_and_cannot_give_any_more_is_fetched_from_another() {
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
fn of_two_servers_that_know_more_the_one_that_knows_most_is_believed() {
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
