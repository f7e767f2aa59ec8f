//! Tests of servers that have lost their connection to the database (scenario 13).

mod world;

use standin_protocol::map::ServerState;
use world::{Health, World};

#[test]
fn a_server_that_alone_can_not_reach_the_database_is_marked_offline_without_waiting_for_its_lease()
{
    let mut world = World::converged(&[2, 2]);
    world.model(0).origin_down = true;
    world.run_until("waiting", |w| w.state(0) == ServerState::Waiting);
    let took = world.now.since(world.time_of("origin_down", 0)).as_millis();
    assert!(took < 10, "{took} ms");
    assert!(world.now.0 > 1_003_000_000, "the problem has lasted for a lease: {}", world.now.0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    let took = world.now.since(world.time_of("waiting", 0)).as_millis();
    assert!(took < 300, "it has acknowledged that it owns nothing: {took} ms");
    assert!(!world.has("lease_over", 0));
    assert!(world.events.iter().any(|(_, e)| e.describe(&world.topology).contains("database")));
    world.run_ms(5_000);
    assert_eq!(world.state(0), ServerState::Offline, "although it answers");
    world.model(0).origin_down = false;
    world.run_until("back", World::is_converged);
}

#[test]
fn a_database_that_is_down_for_all_servers_marks_no_server_offline() {
    let mut world = World::converged(&[2, 2]);
    for id in world.ids() {
        world.model(id).origin_down = true;
        world.run_ms(130);
    }
    for _ in 0..50 {
        world.report_by_client(0);
        world.run_ms(200);
    }
    assert!(world.ids().all(|id| !world.has("waiting", id) && !world.has("offline", id)));
    for id in world.ids() {
        world.model(id).origin_down = false;
        world.run_ms(130);
    }
    world.run_ms(1_000);
    assert!(world.is_converged());
}

#[test]
fn a_database_that_is_up_again_is_found_by_one_server_after_the_other() {
    let mut world = World::converged(&[2, 2]);
    for id in world.ids() {
        world.model(id).origin_down = true;
    }
    world.run_ms(10_000);
    world.model(0).origin_down = false;
    world.model(2).origin_down = false;
    world.run_ms(1_900);
    assert!(world.ids().all(|id| !world.has("origin_down", id)), "{:?}", world.events);
    // Server 1 finds it now, and server 3 never does.
    world.model(1).origin_down = false;
    world.run_ms(3_000);
    assert!(!world.has("origin_down", 1), "{:?}", world.events);
    assert!(world.has("origin_down", 3));
}

#[test]
fn a_short_problem_marks_no_server_offline() {
    let mut world = World::converged(&[2, 2]);
    for _ in 0..5 {
        world.model(0).origin_down = true;
        world.report_by_client(0);
        world.run_ms(1_900);
        world.model(0).origin_down = false;
        world.run_ms(600);
    }
    assert!(!world.has("waiting", 0), "{:?}", world.events);
}

#[test]
fn the_lease_of_a_server_that_falls_silent_is_waited_for() {
    let mut world = World::converged(&[2, 2]);
    world.model(0).origin_down = true;
    world.run_until("marked", |w| w.has("waiting", 0));
    world.set(0, Health::Paused);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    assert!(world.has("lease_over", 0));
}

#[test]
fn the_last_server_of_a_group_stays_online() {
    let mut world = World::converged(&[2]);
    world.set(1, Health::Dead);
    world.report_by_client(1);
    world.run_until("offline", World::is_converged);
    world.model(0).origin_down = true;
    for _ in 0..20 {
        world.report_by_client(0);
        world.run_ms(300);
    }
    assert_eq!(world.state(0), ServerState::Online);
}
