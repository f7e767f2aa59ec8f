//! Tests of leases, and of what waits for them, with a cluster in virtual time.

mod world;

use standin_config::Mode;
use standin_protocol::control::DatagramKind;
use standin_protocol::map::{NO_SERVER, ServerState};
use world::{Health, World};

#[test]
fn a_return_waits_for_a_stand_in_that_does_not_hear_of_it_until_its_lease_is_over() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    world.set(1, Health::Deaf);
    world.start(0);
    world.run_ms(2_000);
    assert_eq!(world.state(0), ServerState::Returning, "1 may still act as the owner");
    world.run_until("returned", |w| w.state(0) == ServerState::Online);
    assert!(world.has("drain_overdue", 0) && world.has("probe_ok", 1));
    assert!(world.has("waiting", 1), "it answers, but is of no use: {:?}", world.events);
    world.set(1, Health::Up);
    world.run_until("both are back", World::is_converged);
}

#[test]
fn a_return_waits_for_a_stand_in_that_answers_until_it_has_drained() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    world.model(1).is_busy = true;
    world.start(0);
    world.run_ms(10_000);
    assert!(world.has("drain_overdue", 0) && world.has("probe_ok", 1), "{:?}", world.events);
    assert_eq!(world.state(0), ServerState::Returning, "its write may still be acknowledged");
    assert_eq!(world.state(1), ServerState::Online);
    world.model(1).is_busy = false;
    world.run_until("returned", World::is_converged);
}

#[test]
fn a_returning_server_waits_for_a_dead_stand_in_only_until_it_is_verified() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    world.set(1, Health::Dead);
    world.start(0);
    world.run_until("the other returns", World::is_converged);
}

#[test]
fn two_servers_that_return_at_once_do_not_wait_for_each_other_for_ever() {
    for second in [Health::Up, Health::Dead, Health::Paused, Health::Deaf, Health::Gray] {
        let mut world = World::converged(&[3]);
        for id in 0..2 {
            world.set(id, Health::Dead);
            world.report_by_client(id);
        }
        world.run_until("both offline", World::is_converged);
        for id in 0..2 {
            world.start(id);
        }
        world.run_until("returning", |w| w.has("returning", 1));
        world.set(1, second);
        world.run_until("the first is online", |w| w.state(0) == ServerState::Online);
        world.report_by_client(1);
        if second != Health::Deaf {
            world.run_until("converged", World::is_converged);
        }
    }
}

#[test]
fn a_server_of_another_mode_gets_no_lease() {
    let mut world = World::converged(&[2]);
    world.model(1).is_strict = true;
    world.run_ms(1_000);
    assert!(world.has("other_mode", 1) && !world.has("other_mode", 0));
    world.forget();
    let grants =
        |world: &World, id: usize| world.servers[id].grants.iter().filter(|g| g.arg > 0).count();
    let before = (grants(&world, 0), grants(&world, 1));
    world.run_ms(5_000);
    assert!(grants(&world, 0) > before.0);
    assert_eq!(grants(&world, 1), before.1);
    assert!(!world.has("other_mode", 1), "it is reported once");
    world.model(1).is_strict = false;
    world.run_ms(1_000);
    assert!(grants(&world, 1) > before.1);
}

#[test]
fn a_paused_server_is_waited_for_until_its_lease_is_over() {
    let mut world = World::converged(&[2, 2]);
    world.run_until("a lease", |w| !w.servers[0].grants.is_empty());
    let granted = world.now;
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.state(0) == ServerState::Waiting);
    let verdict = world.verdicts.last().expect("the reporter hears of it");
    assert_eq!((verdict.subject, verdict.arg), (0, ServerState::Waiting as u32));
    world.run_until("announced", |w| w.has("acked", 1) && w.has("acked", 3));
    let told: Vec<u16> = world.announced_to.iter().map(|(to, _)| *to).collect();
    assert_eq!(told, [1, 2, 3], "claim 19: the servers other than the waiting one");
    let map = world.machine.map().expect("a map").clone();
    let nobodys = (0..16).filter(|p| map.ownership(*p).owner == NO_SERVER);
    assert!(nobodys.clone().all(|p| map.ownership(p).home == 0) && nobodys.count() > 0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    let kinds: Vec<_> = world.kinds(0).into_iter().filter(|k| !k.starts_with("prob")).collect();
    assert_eq!(kinds, ["reported", "waiting", "announced", "lease_over", "offline", "announced"]);
    let waited = world.time_of("offline", 0).since(granted);
    assert!((2_100..2_300).contains(&waited.as_millis()), "L(1+ρ) after the grant: {waited:?}");
    let counters = world.machine.counters();
    let counted = (counters.waitings, counters.leases_over, counters.verdicts_offline);
    assert_eq!(counted, (1, 1, 1));
}

#[test]
fn a_paused_server_that_resumes_while_its_lease_is_waited_for_returns_without_a_change_of_owner() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.state(0) == ServerState::Waiting);
    world.set(0, Health::Up);
    world.run_until("back", World::is_converged);
    assert!(!world.has("offline", 0) && world.has("returning", 0), "{:?}", world.events);
}

#[test]
fn a_refused_connection_ends_the_wait_but_not_in_strict() {
    for (mode, is_waited_for) in [(Mode::Available, false), (Mode::Strict, true)] {
        let mut world = World::converged_in(mode, &[2, 2]);
        world.set(0, Health::Paused);
        world.report_by_client(0);
        world.run_until("waiting", |w| w.state(0) == ServerState::Waiting);
        let waiting_at = world.now;
        world.set(0, Health::Dead);
        world.run_until("offline", |w| w.state(0) == ServerState::Offline);
        let waited = world.now.since(waiting_at).as_millis();
        assert_eq!(waited > 1_000, is_waited_for, "{mode:?}: {waited} ms");
        assert_eq!(world.has("lease_over", 0), is_waited_for);
    }
}

#[test]
fn in_strict_a_restarted_server_is_online_when_the_lease_of_its_previous_incarnation_is_over() {
    let mut world = World::converged_in(Mode::Strict, &[2, 2]);
    world.start(0);
    world.run_until("returning", |w| w.state(0) == ServerState::Returning);
    let at = world.now;
    world.run_until("online", World::is_converged);
    let took = world.now.since(at).as_millis();
    assert!((1_000..2_300).contains(&took), "{took} ms");
}

#[test]
fn the_cap_counts_waiting_servers() {
    let mut world = World::converged(&[2, 2]);
    for id in 0..3 {
        world.set(id, Health::Paused);
        world.report_by_client(id);
    }
    world.run_ms(700);
    let waiting = world.ids().filter(|id| world.state(*id) == ServerState::Waiting).count();
    assert_eq!(waiting, 2);
    assert!(world.has("frozen", 2), "{:?}", world.events);
}

#[test]
fn a_master_that_restarts_while_a_server_is_waited_for_waits_on() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("waiting", |w| w.state(0) == ServerState::Waiting);
    world.run_ms(1_000);
    let saved = world.saved.clone();
    let restarted = world.now;
    world.restart_master(saved.as_ref());
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    let waited = world.now.since(restarted).as_millis();
    assert!((2_200..2_300).contains(&waited), "it can't know when the last grant was: {waited}");
}

#[test]
fn a_master_that_restarts_in_the_middle_of_a_return_or_a_departure_ends_it() {
    for state in [ServerState::Returning, ServerState::Leaving] {
        let mut world = World::converged(&[2, 2]);
        match state {
            ServerState::Returning => world.start(0),
            _ => world.leave(0),
        }
        world.run_until("in between", |w| {
            w.saved.as_ref().is_some_and(|saved| saved.servers[0].status.state == state)
        });
        let saved = world.saved.clone();
        world.restart_master(saved.as_ref());
        match state {
            ServerState::Returning => world.run_until("online", World::is_converged),
            _ => world.run_until("gone", |w| w.state(0) == ServerState::Offline),
        }
    }
}

#[test]
fn a_master_that_learns_grants_nothing() {
    let mut world = World::cold(&[2, 2]);
    world.set(3, Health::Dead);
    world.run_ms(1_900);
    assert!(world.machine.map().is_none());
    for model in &world.servers[..3] {
        assert!(!model.grants.is_empty() && model.grants.iter().all(|grant| grant.arg == 0));
    }
}

#[test]
fn datagrams_for_another_recipient_are_dropped() {
    let mut world = World::converged(&[2, 2]);
    let mut datagram = world.server_says(0, DatagramKind::Leaving);
    datagram.recipient = 1;
    world.reach_master(0, datagram);
    world.run_ms(10);
    assert_eq!(world.state(0), ServerState::Online);
    assert_eq!(world.machine.counters().datagrams_dropped, 1);
}

#[test]
fn a_successor_does_not_wait_for_the_lease_of_an_incarnation_that_left_and_acknowledged() {
    let mut world = World::converged_in(Mode::Strict, &[2, 2]);
    let before = world.now;
    world.leave(0);
    world.run_until("it has left", |w| w.state(0) == ServerState::Offline);
    world.start(0);
    world.run_until("its successor is online", World::is_converged);
    let took = world.now.since(before);
    assert!(took < world.rules.lease / 2, "{took:?}, but there was nothing to wait for");
}

#[test]
fn a_successor_waits_for_the_lease_of_an_incarnation_that_left_without_acknowledging() {
    let mut world = World::converged_in(Mode::Strict, &[2, 2]);
    // Its stand-in may know by then, but nobody knows that the server has ended what it began.
    world.set(0, Health::Deaf);
    let before = world.now;
    world.leave(0);
    world.run_ms(100);
    world.start(0);
    world.run_until("its successor is online", World::is_converged);
    let took = world.now.since(before);
    assert!(took > world.rules.lease / 2, "{took:?}: it could have acted on its lease");
}
