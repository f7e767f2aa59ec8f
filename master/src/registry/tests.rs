//! Tests of epochs, announcements and acknowledgements.

use std::time::Duration;

use standin_protocol::map::ServerInfo;

use super::*;

fn topology() -> Arc<Topology> {
    let server = |name: &str, group, port| ServerInfo {
        name: name.to_owned(),
        group,
        weight: 1,
        shards: 1,
        address: ([127, 0, 0, 1], port).into(),
    };
    let servers =
        vec![server("a1", 0, 1), server("a2", 0, 2), server("a3", 0, 3), server("b1", 1, 4)];
    let master = ([127, 0, 0, 1], 9).into();
    Arc::new(Topology::new("test".to_owned(), master, servers, 16).expect("sound"))
}

const NOW: Micros = Micros(1_000_000);

/// Returns a registry whose epoch 1.1 was announced and acknowledged by all servers.
fn registry() -> Registry {
    let mut registry = Registry::new(topology(), MapEpoch { term: 1, counter: 1 }, Vec::new());
    registry.start_announcing();
    save(&mut registry);
    for id in 0..4 {
        assert!(registry.acked(NOW, id, registry.published_epoch()));
    }
    registry
}

fn save(registry: &mut Registry) -> Option<Publication> {
    let (epoch, _) = registry.take_unsaved().expect("something to save");
    registry.saved(NOW, epoch)
}

#[test]
fn nothing_is_announced_before_it_is_saved() {
    let mut registry = registry();
    let before = registry.published_epoch();
    let epoch = registry.change(0, ServerState::Offline);
    assert_eq!(registry.published_epoch(), before);
    assert_eq!(registry.published()[0].state, ServerState::Online);
    assert!(registry.take_due(NOW, &Rules::example()).is_empty());
    assert_eq!(save(&mut registry).map(|p| p.epoch), Some(epoch));
    assert_eq!(registry.map().state(0), ServerState::Offline);
}

#[test]
fn decisions_made_during_a_save_are_saved_next() {
    let mut registry = registry();
    let first = registry.change(0, ServerState::Offline);
    let (epoch, _) = registry.take_unsaved().expect("something to save");
    assert_eq!(epoch, first);
    registry.change(3, ServerState::Offline);
    let last = registry.change(3, ServerState::Returning);
    assert!(registry.take_unsaved().is_none(), "one save at a time");
    registry.saved(NOW, first);
    assert_eq!(registry.published()[3].state, ServerState::Online);
    assert_eq!(save(&mut registry).map(|p| p.epoch), Some(last));
    assert_eq!(registry.published()[3].state, ServerState::Returning);
}

#[test]
fn c19_all_servers_but_the_offline_one_are_told_until_they_acknowledge() {
    let mut registry = registry();
    let epoch = registry.change(1, ServerState::Offline);
    let publication = save(&mut registry).expect("announced");
    assert_eq!((publication.subject, publication.told), (1, 3));
    assert_eq!(registry.take_due(NOW, &Rules::example()), [0, 2, 3]);
    assert!(registry.take_due(NOW, &Rules::example()).is_empty());
    assert!(registry.acked(NOW, 0, epoch));
    assert!(!registry.acked(NOW, 0, epoch), "it was already known the second time");
    let later = NOW + Duration::from_millis(50);
    assert_eq!(registry.next_deadline(), later);
    assert_eq!(registry.take_due(later, &Rules::example()), [2, 3]);
    registry.acked(NOW, 2, epoch);
    registry.acked(NOW, 3, epoch);
    assert_eq!(registry.next_deadline(), Micros::NEVER);
}

#[test]
fn an_offline_server_is_told_of_others_less_and_less_often() {
    let mut registry = registry();
    registry.change(1, ServerState::Offline);
    save(&mut registry);
    registry.change(3, ServerState::Offline);
    save(&mut registry);
    let mut now = NOW;
    let mut sends = 0;
    for _ in 0..1_000 {
        now = now + Duration::from_millis(10);
        sends += registry.take_due(now, &Rules::example()).iter().filter(|id| **id == 1).count();
    }
    assert!((6..=10).contains(&sends), "{sends} in ten seconds");
}

#[test]
fn an_acknowledgement_of_an_epoch_that_was_not_announced_is_ignored() {
    let mut registry = registry();
    let epoch = registry.change(1, ServerState::Offline);
    assert!(!registry.acked(NOW, 0, epoch));
    save(&mut registry);
    assert!(registry.acked(NOW, 0, epoch));
}

#[test]
fn a_return_waits_for_the_online_members_of_its_group() {
    let mut registry = registry();
    registry.change(0, ServerState::Offline);
    registry.change(2, ServerState::Offline);
    save(&mut registry);
    let epoch = registry.change(0, ServerState::Returning);
    assert_eq!(registry.undrained(0), None, "not announced yet");
    save(&mut registry);
    assert_eq!(registry.undrained(0), Some(vec![1, 0]), "2 is offline, 3 of another group");
    registry.acked(NOW, 3, epoch);
    assert_eq!(registry.undrained(0), Some(vec![1, 0]));
    registry.acked(NOW, 1, epoch);
    assert_eq!(registry.undrained(0), Some(vec![0]), "the server itself has to acknowledge too");
    assert!(!registry.is_released(0));
    registry.acked(NOW, 0, epoch);
    assert_eq!(registry.undrained(0), Some(Vec::new()));
    assert!(registry.is_released(0));
}

#[test]
fn no_server_drains_for_one_that_neither_returns_nor_leaves() {
    let mut registry = registry();
    assert_eq!(registry.undrained(0), None, "online");
    registry.change(0, ServerState::Returning);
    save(&mut registry);
    assert!(registry.undrained(0).is_some());
    registry.change(0, ServerState::Offline);
    assert_eq!(registry.undrained(0), None, "the return was given up");
}

#[test]
fn a_return_waits_for_all_servers_that_may_still_act_as_owners() {
    use ServerState::{Leaving, Offline, Returning, Waiting};
    for (state, counts) in [(Waiting, true), (Returning, true), (Leaving, true), (Offline, false)] {
        let mut registry = registry();
        registry.change(1, state);
        save(&mut registry);
        let epoch = registry.change(0, Returning);
        save(&mut registry);
        for id in [0, 2] {
            registry.acked(NOW, id, epoch);
        }
        let awaited = if counts { vec![1] } else { Vec::new() };
        assert_eq!(registry.undrained(0), Some(awaited), "{state}");
    }
}

#[test]
fn a_server_is_released_by_its_own_acknowledgement_of_its_current_state() {
    let mut registry = registry();
    let epoch = registry.change(0, ServerState::Waiting);
    assert!(!registry.is_released(0));
    save(&mut registry);
    registry.acked(NOW, 1, epoch);
    assert!(!registry.is_released(0), "another server has acknowledged");
    registry.acked(NOW, 0, epoch);
    assert!(registry.is_released(0));
    registry.change(0, ServerState::Online);
    assert!(!registry.is_released(0), "it may be an owner soon");
}

#[test]
fn a_waiting_server_learns_of_its_state_only_when_it_renews() {
    let mut registry = registry();
    registry.change(1, ServerState::Waiting);
    assert_eq!(save(&mut registry).map(|p| p.told), Some(3));
    assert_eq!(registry.take_due(NOW, &Rules::example()), [0, 2, 3]);
}

#[test]
fn a_new_incarnation_has_acknowledged_nothing() {
    let mut registry = registry();
    let since = registry.decided()[1].since;
    registry.set_boot_id(1, 77);
    save(&mut registry);
    assert_eq!(registry.tellings[1].acked, MapEpoch::default());
    assert_eq!(registry.published()[1].since, since, "no owner has changed");
    assert_eq!(registry.published()[1].boot_id, 77);
}

#[test]
fn a_used_up_counter_goes_into_the_next_term() {
    let mut registry = registry();
    registry.epoch.counter = u32::MAX;
    let epoch = registry.change(0, ServerState::Offline);
    assert_eq!(epoch, MapEpoch { term: 2, counter: 0 });
}

#[test]
fn servers_that_answer_without_acknowledging_are_named_and_offline_ones_are_not() {
    let patience = Duration::from_secs(2);
    let late = |registry: &Registry, at| -> Vec<(u16, Duration)> {
        registry.unacknowledged(at, patience).collect()
    };
    let (mut registry, just) = (registry(), NOW + patience);
    let soon = NOW + patience - Duration::from_micros(1);
    assert!(late(&registry, just + patience).is_empty(), "everything is acknowledged");
    let first = registry.change(1, ServerState::Offline);
    save(&mut registry);
    assert!(late(&registry, soon).is_empty());
    assert_eq!(late(&registry, just), [(0, patience), (2, patience), (3, patience)]);
    registry.acked(NOW, 0, first);
    // A later announcement does not restart the wait, but an acknowledgement does.
    registry.change(3, ServerState::Returning);
    let (epoch, _) = registry.take_unsaved().expect("something to save");
    registry.saved(NOW + patience / 2, epoch);
    assert_eq!(late(&registry, just), [(2, patience), (3, patience)]);
    registry.acked(NOW + patience / 2, 2, first);
    assert_eq!(late(&registry, just), [(3, patience)]);
    registry.set_boot_id(3, 77);
    assert_eq!(late(&registry, just), [], "the time starts again with another incarnation");
}
