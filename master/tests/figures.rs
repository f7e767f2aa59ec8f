//! The master's view of its servers, as the metrics have it.

mod world;

use standin_master::PortCounters;
use standin_protocol::counters::{Sample, SampleValue};
use standin_protocol::map::ServerState;
use world::{Health, World};

fn number(samples: &[Sample], name: &str, labels: &[&str]) -> u64 {
    let found =
        samples.iter().find(|s| s.figure.name == name && s.labels.starts_with(&owned(labels)));
    match found.map(|sample| &sample.value) {
        Some(SampleValue::Number(number)) => *number,
        other => panic!("{name} {labels:?}: {other:?}"),
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn samples(world: &World) -> Vec<Sample> {
    let groups: Vec<String> = (0..8).map(|number| format!("group-{number}")).collect();
    world.machine.samples(world.now, 7, &PortCounters::default(), &groups)
}

/// The state that the metrics have of server 0.
fn state(samples: &[Sample], name: &str) -> String {
    let is_its = |s: &&Sample| {
        s.figure.name == "server_state" && s.labels[0] == name && s.value == SampleValue::Number(1)
    };
    let mut states = samples.iter().filter(is_its).map(|sample| sample.labels[2].clone());
    let state = states.next().expect("it has a state");
    assert_eq!(states.next(), None, "it has one state");
    state
}

#[test]
fn each_server_has_one_state_and_what_the_master_waits_for() {
    let mut world = World::converged(&[2, 2]);
    let name = world.machine.registry().map().topology.servers[0].name.clone();
    let before = samples(&world);
    assert_eq!(state(&before, &name), "online");
    assert_eq!(number(&before, "log_lines_lost", &[]), 7);
    assert_eq!(number(&before, "is_announcing", &[]), 1);
    let cluster = &world.machine.registry().map().topology.name;
    assert_eq!(number(&before, "info", &[cluster]), 1);
    assert_eq!(number(&before, "servers_out", &[]), 0);
    assert_eq!(number(&before, "server_unacknowledged_us", &[&name, "group-0"]), 0);
    assert_eq!(number(&before, "server_probing", &[&name]), 0);

    world.set(0, Health::Dead);
    world.run_ms(1_000);
    let silent = number(&samples(&world), "server_silent_us", &[&name]);
    assert!((500_000..2_000_000).contains(&silent), "{silent}");
    world.report_by_client(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    world.run_until("offline everywhere", World::is_converged);
    let after = samples(&world);
    assert_eq!(state(&after, &name), "offline");
    assert_eq!(number(&after, "server_stopped", &[&name]), 0, "it has died");
    assert_eq!(number(&after, "servers_out", &[]), 1);
    assert_eq!(number(&after, "verdicts_offline", &[]), 1);
    assert!(number(&after, "map_epoch", &[]) > number(&before, "map_epoch", &[]));
}

#[test]
fn a_server_that_was_stopped_is_told_from_one_that_has_died() {
    let mut world = World::converged(&[2, 2]);
    let name = world.machine.registry().map().topology.servers[0].name.clone();
    let stopped = |world: &World| number(&samples(world), "server_stopped", &[&name]);
    assert_eq!(stopped(&world), 0, "it is online");
    world.leave(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    world.set(0, Health::Dead);
    world.run_ms(5_000);
    assert_eq!((stopped(&world), state(&samples(&world), &name)), (1, "offline".to_owned()));
    assert_eq!(number(&samples(&world), "servers_out", &[]), 0);
    // It comes back, and dies.
    world.start(0);
    world.run_until("online", World::is_converged);
    assert_eq!(stopped(&world), 0);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    assert_eq!(stopped(&world), 0);
}

#[test]
fn a_server_that_acknowledges_nothing_shows_for_how_long() {
    let mut world = World::converged(&[2, 2]);
    let name = world.machine.registry().map().topology.servers[1].name.clone();
    // It answers probes, but does not hear the master.
    world.set(1, Health::Deaf);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    world.run_ms(500);
    let unacknowledged = number(&samples(&world), "server_unacknowledged_us", &[&name]);
    assert!(unacknowledged >= 400_000, "{unacknowledged}");
}
