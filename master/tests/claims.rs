//! Tests of the master's claims and rules with a cluster in virtual time.

mod world;

use standin_master::{MasterEvent, Phase, State};
use standin_protocol::control::DatagramKind;
use standin_protocol::map::{MapEpoch, ServerState};
use world::{Health, World};

#[test]
fn c19_a_dead_server_is_reported_contacted_marked_and_announced_to_the_others() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("acknowledged", |w| w.has("acked", 1) && w.has("acked", 3));
    let kinds = world.kinds(0);
    assert_eq!(
        kinds,
        ["reported", "probing", "probe_failed", "probing", "probe_failed", "offline", "announced"]
    );
    let told: Vec<u16> = world.announced_to.iter().map(|(to, _)| *to).collect();
    assert_eq!(told, [1, 2, 3], "the servers other than the one that is offline");
    let (_, announcement) = &world.announced_to[0];
    assert_eq!((announcement.subject, announcement.arg), (0, ServerState::Offline as u32));
    let took = world.time_of("announced", 0).since(world.time_of("reported", 0));
    assert!(took.as_millis() < 10, "refused connections need no timeout: {took:?}");
    let verdict = &world.verdicts[0];
    assert_eq!((verdict.subject, verdict.arg), (0, ServerState::Offline as u32));
}

#[test]
fn c19_an_online_server_that_is_reported_is_contacted_and_stays_online() {
    let mut world = World::converged(&[2, 2]);
    for _ in 0..100 {
        world.report_by_client(0);
        world.report_by_server(1, 0);
        world.run_ms(17);
    }
    assert!(world.has("probe_ok", 0));
    assert!(!world.has("offline", 0) && !world.has("announced", 0));
    assert!(world.verdicts.iter().all(|v| v.arg == ServerState::Online as u32));
    assert!(world.verdicts.len() >= 2, "both reporters hear the verdict");
    let probes = world.kinds(0).iter().filter(|kind| **kind == "probing").count();
    assert!(probes <= 18, "reports don't amplify: {probes} probes in 1.7 s");
}

#[test]
fn a_reporter_of_all_servers_causes_fewer_probes_but_is_answered() {
    let mut world = World::converged(&[2, 2]);
    for _ in 0..40 {
        for id in world.ids() {
            world.report_by_client(id);
        }
        world.run_ms(100);
    }
    let probes = world.events.iter().filter(|(_, e)| e.kind() == "probing").count();
    assert!(probes < 4 * 10, "{probes} in four seconds");
    assert!(world.verdicts.len() > 4 * 30, "{}", world.verdicts.len());
    assert!(world.machine.counters().reports_discounted > 100);
    world.set(0, Health::Dead);
    world.run_ms(1_000);
    world.report_by_client(0);
    world.run_until("marked nevertheless", |w| w.has("offline", 0));
}

#[test]
fn c19_a_paused_server_is_marked_after_its_attempts_have_timed_out() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Paused);
    world.report_by_server(1, 0);
    world.run_until("waiting", |w| w.has("announced", 0));
    let took = world.time_of("announced", 0).since(world.time_of("reported", 0));
    assert!((200..310).contains(&took.as_millis()), "{took:?}");
    let attempts = world.events.iter().filter_map(|(_, event)| match event {
        MasterEvent::Probing { server: 0, attempt } => Some(*attempt),
        _ => None,
    });
    assert_eq!(attempts.take(2).collect::<Vec<_>>(), [1, 2], "as the events count them");
}

#[test]
fn a_stuck_shard_counts_although_an_earlier_shard_is_only_busy() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Gray);
    world.servers[0].is_full = true;
    world.report_by_client(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
}

#[test]
fn a_gray_server_whose_control_thread_is_alive_while_a_shard_is_stuck_is_marked() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Gray);
    world.report_by_client(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    world.forget();
    world.run_ms(1_000);
    let grants = &world.servers[0].grants;
    assert!(!grants.is_empty() && grants.iter().all(|grant| grant.arg == 0), "no lease");
    assert_eq!(world.servers[0].statuses[0].state, ServerState::Offline, "it learns of it");
}

#[test]
fn a_silent_server_is_verified_without_a_report() {
    let mut world = World::converged(&[2, 2]);
    world.set(2, Health::Dead);
    world.run_until("offline", |w| w.state(2) == ServerState::Offline);
    assert_eq!(world.kinds(2)[0], "silent");
}

#[test]
fn c20_c21_an_offline_server_is_checked_until_it_is_back_and_then_announced() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_ms(2_000);
    let checks = world.kinds(0).iter().filter(|kind| **kind == "probing").count();
    assert!((8..=10).contains(&checks), "{checks} in two seconds, every 250 ms");
    world.forget();
    world.start(0);
    world.run_until("online everywhere", World::is_converged);
    let kinds: Vec<_> = world.kinds(0).into_iter().filter(|k| *k != "acked").collect();
    assert!(
        kinds.ends_with(&["probe_ok", "returning", "announced", "online", "announced"]),
        "{kinds:?}"
    );
    let acked_by_peer = world.time_of("acked", 1);
    assert!(acked_by_peer >= world.time_of("returning", 0));
    assert!(acked_by_peer <= world.time_of("online", 0), "its stand-in has drained first");
    let took = world.time_of("online", 0).since(world.time_of("probe_ok", 0));
    assert!(took.as_millis() < 20, "the first return is not held down: {took:?}");
}

#[test]
fn c21_a_server_that_was_only_paused_returns_too() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    world.set(0, Health::Up);
    world.run_until("online everywhere", World::is_converged);
}

#[test]
fn c14_a_notice_of_success_makes_the_master_check_an_offline_server_at_once() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Paused);
    world.report_by_client(0);
    world.run_until("a check has failed", |w| {
        w.kinds(0).iter().filter(|kind| **kind == "probe_failed").count() == 3
    });
    world.set(0, Health::Up);
    world.run_ms(101);
    world.forget();
    world.report_ok_by_client(0);
    world.run_ms(2);
    assert_eq!(world.kinds(0)[..3], ["reported_ok", "probing", "probe_ok"]);
}

#[test]
fn an_unnoticed_restart_is_a_return() {
    let mut world = World::converged(&[2, 2]);
    world.start(0);
    world.run_until("online everywhere", World::is_converged);
    assert!(world.has("returning", 0) && !world.has("offline", 0));
    assert!(world.time_of("returning", 0).since(world.time_of("probing", 0)).as_millis() < 2);
}

#[test]
fn an_old_incarnations_datagram_changes_nothing() {
    let mut world = World::converged(&[2, 2]);
    let mut old = world.server_says(0, DatagramKind::Renew);
    old.boot_id ^= 0xFFFF;
    world.reach_master(0, old.clone());
    world.run_ms(200);
    assert!(world.has("probe_ok", 0), "the incarnation is probed");
    world.forget();
    old.sequence += 1;
    old.kind = DatagramKind::Leaving;
    world.reach_master(0, old);
    world.run_ms(200);
    assert!(world.kinds(0).is_empty(), "and not believed again: {:?}", world.events);
    assert_eq!(world.state(0), ServerState::Online);
}

#[test]
fn a_leaving_server_is_offline_when_all_have_drained_and_that_incarnation_never_returns() {
    let mut world = World::converged(&[2, 2]);
    world.leave(0);
    world.run_until("announced", |w| w.has("announced", 0));
    assert_eq!(world.state(0), ServerState::Leaving, "nobody owns its partitions");
    world.run_until("offline", |w| w.has("offline", 0));
    for acked in [0, 1] {
        assert!(world.has("acked", acked), "it and its stand-in first: {:?}", world.events);
    }
    assert!(!world.has("probing", 0), "{:?}", world.events);
    world.run_ms(50);
    let verdict = world.verdicts.last().unwrap();
    assert_eq!((verdict.subject, verdict.arg), (0, ServerState::Offline as u32));
    world.run_ms(1_000);
    assert_eq!(world.state(0), ServerState::Offline, "although it still answers probes");
    world.verdicts.clear();
    world.leave(0);
    world.run_ms(1);
    assert_eq!(world.verdicts.len(), 1, "a lost verdict is sent again");
    world.start(0);
    world.run_until("online everywhere", World::is_converged);
}

#[test]
fn a_server_that_left_and_flaps_returns_although_the_master_restarts() {
    let mut world = World::converged(&[2, 2]);
    for _ in 0..2 {
        world.start(0);
        world.run_until("back", |w| !w.is_converged());
        world.run_until("back", World::is_converged);
    }
    world.leave(0);
    world.run_until("offline", |w| w.state(0) == ServerState::Offline);
    world.forget();
    world.start(0);
    world.run_until("held down", |w| w.events.iter().any(|(_, e)| e.kind() == "held_down"));
    assert_eq!(world.state(0), ServerState::Offline);
    // The saved state names the new incarnation, which has not left.
    world.run_ms(10);
    let saved = world.saved.clone();
    world.restart_master(saved.as_ref());
    world.run_until("online everywhere", World::is_converged);
}

#[test]
fn beyond_the_cap_the_master_freezes_and_goes_on_when_it_can() {
    let mut world = World::converged(&[2, 2]);
    for id in 0..3 {
        world.set(id, Health::Dead);
        world.report_by_client(id);
        world.run_ms(50);
    }
    assert_eq!(world.state(2), ServerState::Online, "two of four may be offline");
    assert!(world.has("frozen", 2));
    assert!(matches!(world.machine.phase(2), Phase::Frozen { .. }));
    assert!(world.events.iter().any(|(_, event)| event.kind() == "cap_reached"));
    world.start(0);
    world.run_until("0 back, and 2 marked", World::is_converged);
}

#[test]
fn a_whole_group_may_go_and_come_back() {
    let mut world = World::converged(&[2, 2]);
    for id in 0..2 {
        world.set(id, Health::Dead);
        world.report_by_client(id);
    }
    world.run_until("both offline", World::is_converged);
    for id in 0..2 {
        world.start(id);
    }
    world.run_until("both online", World::is_converged);
}

#[test]
fn lost_acknowledgements_are_replaced_by_the_results_of_probes() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    world.start(0);
    world.run_until("returning", |w| w.state(0) == ServerState::Returning);
    // The server applies what it hears, but none of its datagrams arrives any more.
    world.run_ms(1);
    let (epoch, statuses) = (world.servers[0].epoch, world.servers[0].statuses.clone());
    let peer = world.model(1);
    peer.health = Health::Deaf;
    (peer.epoch, peer.statuses) = (epoch, statuses);
    world.run_until("online", |w| w.state(0) == ServerState::Online);
}

#[test]
fn grants_carry_the_lease_and_the_newest_epoch() {
    let mut world = World::converged(&[2, 2]);
    world.run_ms(600);
    let epoch = world.machine.registry().published_epoch();
    for model in &world.servers {
        assert!(model.grants.iter().all(|g| g.arg == 2_000 && g.epoch == epoch));
        assert!(!model.grants.is_empty());
    }
}

#[test]
fn a_server_with_an_old_map_is_told_in_answer_to_its_renewal() {
    let mut world = World::converged(&[2, 2]);
    let epoch = world.machine.registry().published_epoch();
    world.model(3).epoch = MapEpoch { term: 1, counter: 0 };
    world.run_until("caught up", |w| w.servers[3].epoch == epoch);
    assert_eq!(world.announced_to.len(), 1);
}

#[test]
fn a_server_that_never_started_is_offline_after_the_lease_and_online_when_it_starts() {
    let mut world = World::cold(&[2, 2]);
    world.set(3, Health::Dead);
    world.run_until("3 offline", |w| w.state(3) == ServerState::Offline);
    assert_eq!(world.machine.registry().published()[3].boot_id, 0);
    world.start(3);
    world.run_until("3 online", World::is_converged);
}

#[test]
fn a_restarted_master_goes_on_under_a_higher_term() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    let saved = world.saved.clone();
    let before = world.machine.registry().published_epoch();
    world.forget();
    world.restart_master(saved.as_ref());
    world.run_ms(501);
    let after = world.machine.registry().published_epoch();
    assert_eq!(after.term, before.term + 1);
    assert_eq!(world.state(0), ServerState::Offline, "scenario 10: it is not forgotten");
    assert_eq!(world.servers[1].epoch, after, "announced within a renewal interval");
    world.start(0);
    world.run_until("back", World::is_converged);
    assert!(!world.has("adopted", 1));
}

#[test]
fn a_master_without_a_file_listens_first_and_adopts_what_the_servers_know() {
    let mut world = World::converged(&[2, 2]);
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    let before = world.machine.registry().published_epoch();
    world.forget();
    world.restart_master(None);
    world.set(3, Health::Dead);
    world.report_by_client(3);
    world.run_until("adopted", |w| w.events.iter().any(|(_, e)| e.kind() == "adopted"));
    assert!(world.machine.map().is_none(), "it has nothing to announce yet");
    assert!(world.announced_to.is_empty() && world.verdicts.is_empty());
    world.run_until("everything is known and announced", World::is_converged);
    assert!(world.time_of("offline", 3) > world.time_of("frozen", 3));
    assert!(world.machine.registry().published_epoch().term > before.term);
    assert_eq!(world.state(0), ServerState::Offline);
    assert_eq!(world.verdicts[0].subject, 3, "and the reporter is told");
}

#[test]
fn a_master_with_an_old_file_adopts_what_the_servers_know() {
    let mut world = World::converged(&[2, 2]);
    let old: Option<State> = world.saved.clone();
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    world.forget();
    world.restart_master(old.as_ref());
    world.run_until("adopted", |w| w.events.iter().any(|(_, e)| e.kind() == "adopted"));
    world.run_until("as before", World::is_converged);
}

#[test]
fn a_new_cluster_does_not_wait() {
    let mut world = World::cold(&[2, 2]);
    world.run_ms(20);
    assert!(world.is_converged(), "{:?}", world.events);
}

#[test]
fn a_full_disk_does_not_end_failover() {
    let mut world = World::converged(&[2, 2]);
    world.disk_ok = false;
    let old = world.saved.clone();
    world.set(0, Health::Dead);
    world.report_by_client(0);
    world.run_until("offline everywhere", World::is_converged);
    assert!(world.events.iter().any(|(_, event)| event.kind() == "not_saved"));
    assert_eq!(world.saved, old);
    world.disk_ok = true;
    world.run_ms(1_100);
    let epoch = world.machine.registry().published_epoch();
    assert_eq!(world.saved.as_ref().map(|s| s.epoch), Some(epoch), "it is written later");
}

#[test]
fn a_master_without_a_file_and_without_all_servers_waits_for_a_lease() {
    let mut world = World::cold(&[2, 2]);
    world.set(3, Health::Dead);
    world.run_ms(2_199);
    assert!(world.machine.map().is_none() && world.announced_to.is_empty());
    world.run_ms(5);
    assert!(world.machine.map().is_some());
}

#[test]
fn a_map_that_one_server_can_not_give_is_fetched_from_another() {
    let mut world = World::converged(&[2, 2]);
    world.set(3, Health::Dead);
    world.report_by_client(3);
    world.run_until("offline everywhere", World::is_converged);
    world.forget();
    // The first server to renew is gray. It renews, but does not answer requests for its map.
    world.restart_master(None);
    world.set(0, Health::Gray);
    world.run_until("adopted", |w| w.events.iter().any(|(_, e)| e.kind() == "adopted"));
    assert!(!world.has("adopted", 0));
    world.set(0, Health::Up);
    world.run_until("as before", World::is_converged);
    assert!(!world.has("returning", 3), "it was not forgotten");
}

#[test]
fn a_master_that_can_not_fetch_newer_states_makes_all_servers_return() {
    let mut world = World::converged(&[2, 2]);
    world.forget();
    // All servers renew under the old master's epoch, and none answers requests for its map.
    world.restart_master(None);
    (0..4).for_each(|id| world.set(id, Health::Gray));
    world.run_until("done learning", |w| w.events.iter().any(|(_, e)| e.kind() == "learned"));
    assert!((0..4).all(|id| world.has("returning", id)), "{:?}", world.events);
    (0..4).for_each(|id| world.set(id, Health::Up));
    world.run_until("as before", World::is_converged);
}

#[test]
fn an_incarnation_that_the_file_does_not_know_is_not_mistaken_for_an_old_one() {
    let mut world = World::converged(&[2, 2]);
    world.disk_ok = false;
    world.start(0);
    world.run_until("returned", World::is_converged);
    world.disk_ok = true;
    let old = world.saved.clone();
    world.forget();
    world.restart_master(old.as_ref());
    // The probe that would verify it has no answer yet when its peers report it.
    world.set(0, Health::Gray);
    world.run_until("adopted", |w| w.events.iter().any(|(_, e)| e.kind() == "adopted"));
    world.set(0, Health::Up);
    world.report_by_client(0);
    world.run_ms(5_000);
    assert!(world.is_converged());
    assert!(!world.has("silent", 0), "its renewals count: {:?}", world.events);
}
