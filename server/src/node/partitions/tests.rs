//! Tests of the effects of maps, leases, words and flushes on partitions, without a node.

use std::time::Duration;

use super::*;
use crate::node::tests::{node_config, pair};

const BOOT: u64 = 7;
const LATE: Micros = Micros(1_000_000);

struct Script {
    partitions: Partitions,
    topology: Arc<Topology>,
    floor: u64,
    counter: u32,
}

impl Script {
    /// Creates server 0 of two. It holds a lease until [`LATE`].
    fn new() -> Self {
        let topology = pair(1, 16);
        let mut partitions = Partitions::new(&node_config(0, BOOT), Arc::clone(&topology));
        partitions.renew_lease(Micros(0), Lease { until: LATE, orphan: false });
        Self { partitions, topology, floor: 100, counter: 0 }
    }

    /// Returns a partition of this home.
    fn of(&self, home: u16) -> u32 {
        (0..16).find(|partition| self.topology.home(*partition) == home).unwrap()
    }

    fn refresh(&mut self, before: Option<&ClusterMap>, may_keep: bool) -> Refreshed {
        self.floor += 1;
        let reach = &[Reach::Direct; 2];
        let circumstances = Circumstances { now: Micros(5), before, reach, floor: self.floor };
        self.partitions.refresh(circumstances, |_| may_keep)
    }

    /// Applies a map with these states of the servers. `may_keep` says that the home was told of
    /// all keys.
    fn map(&mut self, states: [ServerState; 2], may_keep: bool) -> Refreshed {
        self.counter += 1;
        let epoch = MapEpoch { term: 1, counter: self.counter };
        let old = self.partitions.map().cloned();
        let status = |id: usize| {
            let was = old.as_ref().map(|map| map.statuses()[id]);
            let since = was.filter(|was| was.state == states[id]).map_or(epoch, |was| was.since);
            ServerStatus { state: states[id], since, boot_id: BOOT + id as u64 }
        };
        let statuses = vec![status(0), status(1)];
        let map = Arc::new(ClusterMap::new(Arc::clone(&self.topology), epoch, statuses));
        assert!(self.partitions.is_newer(&map));
        let before = self.partitions.replace_map(Micros(0), map);
        self.refresh(before.as_deref(), may_keep)
    }
}

use ServerState::{Offline, Online, Returning, Waiting};

#[test]
fn a_map_is_newer_once() {
    let mut s = Script::new();
    s.map([Online, Online], false);
    let map = s.partitions.map().unwrap().clone();
    assert!(!s.partitions.is_newer(&map));
    assert_eq!(s.partitions.drained(), Some(map.epoch));
    assert_eq!(s.partitions.drained(), None, "it was already known the second time");
}

#[test]
fn a_partition_begins_empty_when_it_is_taken_over_and_when_it_returns() {
    let mut s = Script::new();
    let (own, other) = (s.of(0), s.of(1));
    let first = s.map([Online, Online], false);
    assert!(first.owns_home && first.has_begun_to_own_home);
    assert!(first.taken.iter().all(|taken| taken.is_home) && first.dropped == 0);
    let own_floor = s.partitions.read_floor(1, own);
    let taken = s.map([Online, Offline], false);
    assert!(taken.owns_home && !taken.has_begun_to_own_home, "its own have not changed");
    assert!(taken.taken.iter().all(|taken| !taken.is_home && taken.changed == 1));
    assert_eq!(s.partitions.read_floor(1, other), s.floor);
    assert_eq!(s.partitions.read_floor(1, own), own_floor);
    assert_eq!(s.partitions.state(other).flags(), answer::flags::STAND_IN);
    s.map([Online, Returning], false);
    assert_eq!(s.partitions.serving(other), Serving::Unowned);
    let back = s.map([Online, Offline], false);
    assert_eq!(s.partitions.read_floor(1, other), s.floor, "another may have written");
    assert!(!back.taken.is_empty());
}

#[test]
fn a_home_that_was_told_of_all_keys_keeps_its_values() {
    for may_keep in [true, false] {
        let mut s = Script::new();
        let own = s.of(0);
        s.map([Online, Online], false);
        s.map([Offline, Online], false);
        s.map([Returning, Online], false);
        let floor = s.partitions.read_floor(1, own);
        let back = s.map([Online, Online], may_keep);
        assert_eq!(s.partitions.read_floor(1, own) == floor, may_keep);
        assert_eq!((back.kept > 0, back.dropped > 0), (may_keep, !may_keep));
        assert!(back.has_begun_to_own_home);
    }
}

#[test]
fn losing_and_regaining_a_lease_drops_nothing_while_the_ownership_is_the_same() {
    let mut s = Script::new();
    let own = s.of(0);
    s.map([Online, Online], false);
    let floor = s.partitions.read_floor(1, own);
    let begun = s.partitions.generation(1, own);
    assert_eq!(s.partitions.check_lease(LATE), Some(LeaseChange::Lost));
    let map = s.partitions.map().cloned();
    assert_eq!(s.refresh(map.as_deref(), false).dropped, 0);
    assert_eq!(s.partitions.serving(own), Serving::Through);
    let until = LATE + Duration::from_secs(1);
    s.partitions.renew_lease(LATE, Lease { until, orphan: false });
    s.refresh(map.as_deref(), false);
    assert_eq!(s.partitions.serving(own), Serving::Cached);
    assert_eq!(s.partitions.read_floor(1, own), floor);
    assert!(!s.partitions.is_of(begun, own), "the result of an earlier fetch is not kept");
}

#[test]
fn a_partition_that_is_owned_while_a_word_is_open_is_good_for_reads_only() {
    let mut s = Script::new();
    let other = s.of(1);
    s.map([Online, Online], false);
    let epoch = s.partitions.map().unwrap().epoch;
    s.partitions.give_word(Word { epoch, until: Micros(50) });
    s.map([Online, Offline], false);
    assert_eq!(s.partitions.serving(other), Serving::Early);
    assert_eq!(s.partitions.owned_floor(1, other), u64::MAX);
    assert_eq!(s.partitions.state(other).told_version(s.floor + 1), 0);
    assert!(!s.partitions.end_words(Micros(49)) && s.partitions.end_words(Micros(50)));
    let map = s.partitions.map().cloned();
    let floor = s.partitions.read_floor(1, other);
    let refreshed = {
        let reach = &[Reach::Direct; 2];
        let before = map.as_deref();
        let circumstances = Circumstances { now: Micros(50), before, reach, floor: 200 };
        s.partitions.refresh(circumstances, |_| false)
    };
    assert_eq!(s.partitions.serving(other), Serving::Cached);
    assert_eq!(s.partitions.read_floor(1, other), floor, "kept values expire by themselves");
    assert_eq!(s.partitions.owned_floor(1, other), 200);
    assert!(refreshed.taken.iter().any(|taken| taken.partition == other));
}

#[test]
fn a_flush_raises_the_floors_of_its_keyspaces_in_one_partition() {
    let mut s = Script::new();
    let own = s.of(0);
    s.map([Online, Online], false);
    let (floor, begun) = (s.partitions.read_floor(3, own), s.partitions.generation(1, own));
    s.partitions.flush([1, 2].into_iter(), own, 900);
    assert_eq!((s.partitions.read_floor(1, own), s.partitions.owned_floor(2, own)), (900, 900));
    assert_eq!(s.partitions.read_floor(3, own), floor);
    assert_ne!(s.partitions.generation(1, own), begun);
    assert!(s.partitions.is_of(begun, own), "its partition has not changed hands");
}

#[test]
fn a_takeover_says_how_many_servers_are_away_at_the_same_time() {
    let mut s = Script::new();
    let none = s.map([Offline, Offline], false);
    assert!(none.taken.is_empty() && !none.owns_home && !none.has_begun_to_own_home);
    let taken = s.map([Online, Offline], false).taken;
    let changed = |is_home: bool| {
        let changed = taken.iter().filter(|taken| taken.is_home == is_home);
        changed.map(|taken| taken.changed).collect::<Vec<_>>()
    };
    let (home, stand_in) = (changed(true), changed(false));
    assert!(!home.is_empty() && home.iter().all(|changed| *changed == 2), "before it came back");
    assert!(!stand_in.is_empty() && stand_in.iter().all(|changed| *changed == 1));
}

#[test]
fn a_home_that_is_away_or_has_no_lease_owns_none_of_its_partitions() {
    let mut s = Script::new();
    s.map([Online, Online], false);
    let away = s.map([Offline, Online], false);
    assert!(!away.owns_home && !away.has_begun_to_own_home);
    assert!(s.map([Online, Online], true).has_begun_to_own_home);
    s.partitions.check_lease(LATE);
    let map = s.partitions.map().cloned();
    let without = s.refresh(map.as_deref(), false);
    assert!(!without.owns_home && !without.has_begun_to_own_home);
}

#[test]
fn the_state_of_a_server_is_reported_as_in_the_map() {
    let mut s = Script::new();
    assert_eq!((s.partitions.map_tag(), s.partitions.is_online(0)), (0, false));
    assert_eq!(s.partitions.lease_ends(), LATE);
    s.map([Online, Offline], false);
    let epoch = s.partitions.map().unwrap().epoch;
    assert_eq!(s.partitions.map_tag(), epoch.tag());
    assert_eq!([0, 1].map(|server| s.partitions.is_online(server)), [true, false]);
    assert_eq!(s.partitions.drained_epoch(), MapEpoch::default());
    s.partitions.drained();
    assert_eq!(s.partitions.drained_epoch(), epoch);
}

#[test]
fn a_version_from_before_the_ownership_can_not_be_used_in_a_cas() {
    let mut s = Script::new();
    s.map([Online, Online], false);
    let state = s.partitions.state(s.of(0));
    assert_eq!([s.floor - 1, s.floor].map(|version| state.told_version(version)), [0, s.floor]);
}

#[test]
fn the_end_of_a_word_matters_only_if_a_partition_was_early() {
    let mut s = Script::new();
    s.map([Online, Online], false);
    let epoch = s.partitions.map().unwrap().epoch;
    s.partitions.give_word(Word { epoch, until: Micros(50) });
    s.map([Online, Online], false);
    assert_eq!(s.partitions.words_end(), Some(Micros(50)));
    assert!(!s.partitions.end_words(Micros(50)), "every partition is owned as before");
}

#[test]
fn a_home_that_comes_back_while_its_word_is_open_does_not_know_of_all_writes() {
    let mut s = Script::new();
    let own = s.of(0);
    s.map([Online, Online], false);
    let epoch = s.partitions.map().unwrap().epoch;
    s.partitions.give_word(Word { epoch, until: Micros(50) });
    s.map([Offline, Online], false);
    s.map([Online, Online], false);
    assert_eq!(s.partitions.serving(own), Serving::Early);
}

#[test]
fn a_stand_in_keeps_its_values_without_a_lease_and_drops_them_for_another_owner() {
    let mut s = Script::new();
    let other = s.of(1);
    s.map([Online, Offline], false);
    let floor = s.partitions.read_floor(1, other);
    s.partitions.check_lease(LATE);
    let map = s.partitions.map().cloned();
    assert_eq!(s.refresh(map.as_deref(), false).dropped, 0);
    let until = LATE + Duration::from_secs(1);
    s.partitions.renew_lease(LATE, Lease { until, orphan: false });
    assert_eq!(s.refresh(map.as_deref(), false).dropped, 0);
    assert_eq!(s.partitions.serving(other), Serving::Cached);
    assert_eq!(s.partitions.read_floor(1, other), floor);
    assert!(s.map([Online, Returning], false).dropped > 0);
    assert_eq!(s.partitions.read_floor(1, other), s.floor);
}

#[test]
fn values_kept_before_the_takeover_expire_by_themselves_even_while_a_word_is_open() {
    let mut s = Script::new();
    let other = s.of(1);
    s.map([Online, Online], false);
    let epoch = s.partitions.map().unwrap().epoch;
    s.partitions.give_word(Word { epoch, until: Micros(50) });
    s.map([Online, Waiting], false);
    assert_eq!(s.partitions.serving(other), Serving::Waiting);
    let floor = s.partitions.read_floor(1, other);
    s.map([Online, Offline], false);
    assert_eq!(s.partitions.serving(other), Serving::Early);
    assert_eq!(s.partitions.read_floor(1, other), floor);
}
