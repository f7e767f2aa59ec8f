//! Tests of a home that was away: what it keeps, what it drops, and which servers tell it of keys
//! (scenarios 1, 3, 8).

use super::net::{Net, boot};
use super::*;
use ServerState::{Offline, Online, Returning, Waiting};

/// Returns three servers, and two keys of server 0 that it has cached.
fn cached() -> (Net, Vec<u8>, Vec<u8>) {
    cached_with(|_| {})
}

fn cached_with(change: impl Fn(&mut NodeConfig)) -> (Net, Vec<u8>, Vec<u8>) {
    let mut net = Net::new(3, change);
    let (k, other) = (net.key(0, 0), net.key(0, 1));
    for key in [&k, &other] {
        net.origin.insert(key.clone(), b"v0".to_vec());
        net.get(0, key);
        assert!(net.hits(0, key));
    }
    (net, k, other)
}

/// Makes server 0 lose contact with the master, and its lease.
fn pause(net: &mut Net) {
    net.lease(0, Micros(0), false);
    net.say(0, Waiting, &[0]);
    net.say(0, Offline, &[0]);
}

fn resume(net: &mut Net) {
    net.say(0, Returning, &[]);
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
}

#[test]
fn scenarios_01_and_03_a_paused_home_keeps_all_but_what_was_written_elsewhere() {
    let (mut net, k, other) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    let write = net.put(stand_in, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    let before = net.drained.len();
    net.say(0, Returning, &[]);
    assert_eq!(net.drained.len(), before + 3, "all servers have drained");
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
    assert!(!net.hits(0, &k));
    assert_eq!(net.get(0, &k).value, b"v1");
    assert!(net.hits(0, &other), "nobody has written it");
    assert!(net.counters(0).partitions_kept > 0);
    assert_eq!(net.counters(0).partitions_dropped, 0);
    assert_eq!(net.counters(stand_in).handed_back, 1);
}

#[test]
fn a_home_that_missed_a_members_handback_drops_everything() {
    let (mut net, k, other) = cached();
    pause(&mut net);
    net.cut(0, 1);
    net.drained.clear();
    net.say(0, Returning, &[]);
    assert_eq!(net.drained.len(), 3, "a server that can't tell the home still drains");
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
    assert!(!net.hits(0, &k) && !net.hits(0, &other));
    assert_eq!(net.counters(1).handbacks_failed, 1);
    assert!(net.counters(0).partitions_dropped > 0);
}

#[test]
fn a_member_that_was_offline_all_the_time_need_not_say_anything() {
    let (mut net, k, _) = cached();
    net.say(1, Offline, &[]);
    pause(&mut net);
    net.cut(0, 1);
    resume(&mut net);
    assert!(net.hits(0, &k));
}

#[test]
fn a_member_that_went_offline_meanwhile_may_have_written() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    net.put(stand_in, &k, b"v1");
    net.cut(0, stand_in);
    net.say(stand_in, Offline, &[]);
    resume(&mut net);
    assert!(!net.hits(0, &k));
}

#[test]
fn a_member_that_restarted_meanwhile_has_forgotten() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    net.put(stand_in, &k, b"v1");
    net.say(stand_in, Offline, &[]);
    net.restart(stand_in, 1_000);
    net.say(stand_in, Returning, &[0]);
    net.say(stand_in, Online, &[0]);
    resume(&mut net);
    assert!(!net.hits(0, &k));
    assert!(net.counters(stand_in).handed_back > 0, "it has told of all keys that it knows");
}

/// Writes three keys of the partition of `k` through its stand-in.
fn write_three_beside(net: &mut Net, k: &[u8]) {
    let (stand_in, partition) = (net.stand_in(k), net.topology.partition(1, k));
    let keys = (0..).map(|i| format!("more{i}").into_bytes());
    let same = keys.filter(|key| net.topology.partition(1, key) == partition);
    for key in same.take(3).collect::<Vec<_>>() {
        net.put(stand_in, &key, b"v1");
    }
}

#[test]
fn a_partition_whose_log_overflowed_is_dropped_and_no_other() {
    let (mut net, k, other) = cached_with(|config| config.log_keys_max = 2);
    pause(&mut net);
    write_three_beside(&mut net, &k);
    assert!(net.counters(net.stand_in(&k)).keys_not_logged > 0);
    resume(&mut net);
    assert!(!net.hits(0, &k));
    assert_ne!(net.topology.partition(1, &other), net.topology.partition(1, &k));
    assert!(net.hits(0, &other));
}

#[test]
fn a_home_that_is_away_twice_before_it_owns_anything_is_told_of_both_absences() {
    let (mut net, k, other) = cached_with(|config| config.log_keys_max = 2);
    pause(&mut net);
    write_three_beside(&mut net, &k);
    // It returns, is told, and is away again before it has a lease.
    net.say(0, Returning, &[]);
    net.say(0, Online, &[]);
    net.say(0, Offline, &[]);
    let write = net.put(net.stand_in(&other), &other, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    resume(&mut net);
    assert!(!net.hits(0, &k), "overflowed the first time");
    assert!(!net.hits(0, &other), "written the second time");
}

#[test]
fn a_restarted_home_is_told_no_keys() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    net.put(stand_in, &k, b"v1");
    net.restart(0, 1_000);
    resume(&mut net);
    assert_eq!(net.counters(stand_in).settles_sent, 0);
    assert_eq!(net.get(0, &k).value, b"v1");
    assert_ne!(boot(0), 1_000);
}

#[test]
fn a_write_of_unknown_outcome_is_told_as_such() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    net.held.insert(stand_in);
    let write = net.put(stand_in, &k, b"v1");
    net.end_held_write(stand_in, Some(Failure::OutcomeUnknown));
    assert_eq!(net.status(write), Some(Status::OutcomeUnknown));
    resume(&mut net);
    assert_eq!(net.get(0, &k).flags & flags::CACHED, 0, "the write may still take effect");
    net.advance(Duration::from_secs(4));
    net.get(0, &k);
    assert!(net.hits(0, &k));
}

#[test]
fn the_handback_waits_for_writes_under_way() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    net.held.insert(stand_in);
    let write = net.put(stand_in, &k, b"v1");
    net.drained.clear();
    net.say(0, Returning, &[]);
    assert!(!net.drained.iter().any(|(server, _)| *server == stand_in));
    assert_eq!(net.counters(stand_in).settles_sent, 0);
    net.end_held_write(stand_in, None);
    assert_eq!(
        net.status(write),
        Some(Status::Ok),
        "nobody owns the partition before this server has released it"
    );
    assert!(net.drained.iter().any(|(server, _)| *server == stand_in));
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
    assert_eq!(net.get(0, &k).value, b"v1");
}

#[test]
fn an_invalidate_at_the_stand_in_reaches_the_home_when_it_returns() {
    let (mut net, k, other) = cached();
    pause(&mut net);
    let stand_in = net.stand_in(&k);
    let head = CommandHead::new(Action::Invalidate, 1);
    let tag = net.ask(stand_in, head, &k, &[]);
    assert_eq!(net.status(tag), Some(Status::Ok));
    resume(&mut net);
    assert!(!net.hits(0, &k));
    assert!(net.hits(0, &other));
}

#[test]
fn keys_written_after_the_handback_are_owed() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    net.say(0, Returning, &[]);
    // The return takes too long and the master is lost. Writes go on although this server has
    // already told the home that it has told of all keys.
    let stand_in = net.stand_in(&k);
    net.lease(stand_in, Micros::NEVER, true);
    net.advance(Duration::from_secs(1));
    let write = net.put(stand_in, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
    assert_eq!(net.get(0, &k).value, b"v1");
}

#[test]
fn settle_and_handback_are_for_servers_only() {
    let mut net = Net::new(2, |_| {});
    for action in [Action::Settle, Action::Handback] {
        let tag = net.ask(0, CommandHead::new(action, 0), &[], &[]);
        assert_eq!(net.status(tag), Some(Status::NotSupported));
    }
}

#[test]
fn a_map_that_names_no_incarnation_does_not_mean_that_the_home_restarted() {
    let (mut net, k, other) = cached();
    pause(&mut net);
    let write = net.put(net.stand_in(&k), &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    // A master that has lost its file and has not heard from the home lets all servers return.
    for member in [1, 2] {
        net.cut(0, member);
    }
    net.name(0, 0);
    net.say(0, Returning, &[0]);
    net.name(0, boot(0));
    net.say(0, Offline, &[0]);
    net.cut.clear();
    resume(&mut net);
    assert!(!net.hits(0, &k));
    assert_eq!(net.get(0, &k).value, b"v1");
    assert!(net.hits(0, &other), "it was told of all keys");
}

#[test]
fn a_home_that_was_taken_for_a_dead_incarnation_keeps_nothing() {
    let (mut net, k, _) = cached();
    pause(&mut net);
    // A master that has lost its file has got only an old map, which names a dead incarnation.
    net.name(0, 1_000);
    net.say(0, Offline, &[0]);
    let write = net.put(net.stand_in(&k), &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    net.name(0, boot(0));
    resume(&mut net);
    assert!(!net.hits(0, &k));
    assert_eq!(net.get(0, &k).value, b"v1");
    assert!(net.hits(0, &k), "it is the owner again");
}
