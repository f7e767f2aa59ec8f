//! Tests of the requirements for an answer to a probe, and of failures that are no evidence against
//! a server.

mod world;

use standin_master::ProbeFailure;
use standin_protocol::frame::Status;
use standin_protocol::map::ServerState;
use world::model::Shards;
use world::{Health, World};

#[test]
fn a_server_without_room_for_a_probe_neither_goes_offline_nor_returns() {
    let mut world = World::converged(&[2]);
    world.model(0).is_full = true;
    for _ in 0..10 {
        world.report_by_client(0);
        world.run_ms(300);
    }
    assert!(world.has("probe_failed", 0));
    assert!(!world.has("waiting", 0) && !world.has("offline", 0), "{:?}", world.events);
    assert!(world.verdicts.iter().all(|verdict| verdict.arg == ServerState::Online as u32));
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline", World::is_converged);
    world.set(0, Health::Up);
    world.run_ms(3_000);
    assert_eq!(world.state(0), ServerState::Offline, "not every shard has answered");
    world.model(0).is_full = false;
    world.run_until("back", World::is_converged);
}

#[test]
fn only_failures_of_the_server_itself_are_evidence() {
    assert!(ProbeFailure::Refused.is_evidence() && ProbeFailure::Timeout.is_evidence());
    assert!(ProbeFailure::Refusing(Status::ShuttingDown).is_evidence());
    assert!(!ProbeFailure::Refusing(Status::Overloaded).is_evidence());
    assert!(!ProbeFailure::NotTried.is_evidence());
}

type Twist = fn(&mut Shards);

#[test]
fn an_answer_that_is_not_the_servers_own_does_not_count() {
    let twists: [(&str, Twist); 5] = [
        ("another server's", |shards| shards.iter_mut().flatten().for_each(|r| r.server += 1)),
        ("another shard's", |shards| shards.iter_mut().flatten().for_each(|r| r.shard = 0)),
        ("of no incarnation", |shards| shards.iter_mut().flatten().for_each(|r| r.boot_id = 0)),
        ("of two incarnations", |shards| {
            for (shard, reply) in (0..).zip(shards.iter_mut().flatten()) {
                reply.boot_id += shard;
            }
        }),
        ("of too few shards", |shards| shards.truncate(1)),
    ];
    for (what, twist) in twists {
        // There is no other server to ask.
        let mut world = World::converged(&[1, 1]);
        world.model(0).twist = twist;
        world.report_by_client(0);
        world.run_until(what, |w| w.has("waiting", 0));
        assert!(!world.has("probe_ok", 0), "{what}");
    }
}

#[test]
fn servers_that_have_left_do_not_keep_the_master_from_marking_dead_ones() {
    let mut world = World::converged(&[2, 2, 2]);
    for id in [1, 3] {
        world.leave(id);
        world.run_until("it has left", |w| w.has("offline", id));
        world.set(id, Health::Dead);
    }
    // The cap is two.
    for id in [0, 2] {
        world.set(id, Health::Dead);
        world.report_by_client(id);
        world.run_until("marked", |w| w.has("offline", id));
    }
    assert!(!world.events.iter().any(|(_, event)| event.kind() == "cap_reached"));
    let counters = world.machine.counters();
    assert_eq!((counters.leavings, counters.verdicts_offline), (2, 2));
}

#[test]
fn a_restarted_server_waits_for_no_lease_in_mode_available() {
    let mut world = World::converged(&[2]);
    world.start(0);
    world.run_until("it returns", |w| w.has("returning", 0));
    let returning = world.time_of("returning", 0);
    world.run_until("back", World::is_converged);
    assert!(world.now.since(returning).as_millis() < 100, "{:?}", world.events);
}

#[test]
fn at_most_three_peers_that_can_answer_are_asked() {
    let asked = |world: &World| {
        let peers = world.events.iter().filter_map(|(_, event)| match event {
            standin_master::MasterEvent::ProbeAsked { server: 0, peers } => Some(*peers),
            _ => None,
        });
        peers.collect::<Vec<_>>()
    };
    let mut world = World::converged(&[6]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.has("waiting", 0));
    assert_eq!(asked(&world), [3]);
    assert_eq!(world.machine.counters().probes_asked, 3);
    let mut by: Vec<u16> = world
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            standin_master::MasterEvent::ProbeTold { server: 0, by, .. } => Some(*by),
            _ => None,
        })
        .collect();
    by.sort_unstable();
    by.dedup();
    assert_eq!(by.len(), 3, "three different ones");

    let mut world = World::converged(&[3]);
    world.set(1, Health::Dead);
    world.report_by_client(1);
    world.run_until("1 offline", World::is_converged);
    world.forget();
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.has("waiting", 0));
    assert_eq!(asked(&world), [1], "server 2");
}

#[test]
fn missing_acknowledgements_cause_one_warning_in_ten_seconds() {
    let mut world = World::converged(&[3]);
    world.model(1).is_busy = true;
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("announced", |w| w.has("announced", 0));
    world.run_until("warned", |w| w.has("unacknowledged", 1));
    let took = world.now.since(world.time_of("announced", 0));
    assert!(took >= world.rules.drain_overdue(), "{took:?}");
    assert!(took.as_millis() < 3 * world.rules.drain_overdue().as_millis(), "{took:?}");
    world.run_ms(9_500);
    let warnings =
        |world: &World| world.kinds(1).iter().filter(|kind| **kind == "unacknowledged").count();
    assert_eq!(warnings(&world), 1);
    world.run_ms(11_000);
    assert!((2..=3).contains(&warnings(&world)));
    assert!(world.machine.counters().announcements_overdue >= 2);
    let before = warnings(&world);
    world.model(1).is_busy = false;
    world.start(0);
    world.run_until("all is well", World::is_converged);
    world.run_ms(20_000);
    assert!(warnings(&world) <= before + 1, "nothing is unacknowledged any more");
}
