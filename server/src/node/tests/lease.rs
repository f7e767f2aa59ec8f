//! Tests of leases, orphans, the modes, and the acknowledgement of writes (docs/FAILOVER.md).

use super::net::Net;
use super::*;
use ServerState::{Leaving, Offline, Online, Returning, Waiting};

fn strict(config: &mut NodeConfig) {
    config.mode = Mode::Strict;
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_a_lease_reads_go_through_and_writes_wait() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v0");
    let until = s.now.mono + SECOND;
    s.lease(until, false);
    s.advance(SECOND - Duration::from_micros(1));
    assert!(s.get(&key).is_some(), "until the last moment");
    s.now.mono = until;
    assert_eq!(s.get(&key), None, "no tick has run in between");
    assert!(!s.node.caches(s.now.mono, s.topology.partition(1, &key)));
    let fetch = s.call();
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    assert_eq!(s.put(&key, b"v1"), None);
    assert!(s.calls().is_empty());
    s.lease(Micros::NEVER, false);
    let write = s.call();
    assert_eq!(
        s.get(&key).unwrap().value,
        b"v0",
        "no other server has owned the partition, so the value is kept"
    );
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(s.node.counters.leases_lost, 1);
}

#[test]
fn a_write_that_waits_for_a_lease_in_vain_is_refused() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.lease(Micros(0), false);
    s.put(&key, b"v1");
    s.advance(SECOND);
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    s.put(&key, b"v2");
    assert_eq!(s.reply().status, Status::Unavailable, "later ones do not wait again");
    assert!(s.calls().is_empty());
}

#[test]
fn a_deadline_ends_a_wait() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.lease(Micros(0), false);
    let head = CommandHead { deadline_ms: 50, ..CommandHead::new(Action::Put, 1) };
    s.send(head, &key, b"v1");
    s.advance(Duration::from_millis(51));
    s.collect();
    assert_eq!(s.reply().status, Status::DeadlineExceeded);
}

#[test]
fn a_forwarded_write_does_not_wait_for_long() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.lease(Micros(0), false);
    let mut head = CommandHead::new(Action::Put, 1);
    head.hop = Hop::Forwarded;
    s.send(head, &key, b"v1");
    s.advance(Duration::from_millis(50));
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
}

#[test]
fn an_orphan_goes_on_only_where_the_mode_allows_it() {
    for (mode, goes_on) in [(Mode::Available, true), (Mode::Strict, false)] {
        let mut s = Script::with(|config| config.mode = mode);
        let key = s.key_of(OWN);
        s.fill(&key, b"v0");
        s.lease(Micros::NEVER, true);
        assert_eq!(s.get(&key).is_some(), goes_on, "{mode:?}");
    }
}

#[test]
fn a_fetch_begun_before_the_lease_was_lost_is_not_kept() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let fetch = s.call();
    s.lease(Micros(0), false);
    s.lease(Micros::NEVER, false);
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
}

#[test]
fn a_write_that_ends_without_a_lease_waits_for_one() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v0");
    s.put(&key, b"v1");
    let write = s.call();
    s.lease(Micros(0), false);
    s.written(&write);
    assert!(s.replies().is_empty(), "another may own it by now");
    s.lease(Micros::NEVER, false);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(s.get(&key), None, "the previous value is gone");
}

#[test]
fn a_write_that_can_not_be_acknowledged_has_an_unknown_outcome() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    let write = s.call();
    s.lease(Micros(0), false);
    s.written(&write);
    assert_eq!(s.node.next_deadline(), Some(s.now.mono + SECOND));
    s.advance(SECOND);
    s.collect();
    assert_eq!(s.reply().status, Status::OutcomeUnknown);
    assert_eq!(s.node.counters.writes_unacknowledged, 1);
}

#[test]
fn scenario_04_a_write_that_ends_after_a_takeover_is_settled_at_the_new_owner() {
    let mut net = Net::new(2, |_| {});
    let k = net.key(0, 0);
    net.origin.insert(k.clone(), b"v0".to_vec());
    net.held.insert(0);
    let write = net.put(0, &k, b"v1");
    net.lease(0, Micros(0), false);
    net.say(0, Offline, &[0]);
    net.get(1, &k);
    assert!(net.hits(1, &k), "the new owner has read v0");
    net.end_held_write(0, None);
    assert_eq!(net.status(write), None, "not before the new owner has dropped the key");
    net.tell(0);
    assert_eq!(net.status(write), Some(Status::Ok));
    assert_eq!(net.get(1, &k).value, b"v1");
    assert_eq!(net.counters(1).keys_settled, 1);
}

#[test]
fn a_write_that_can_not_be_settled_in_time_is_unknown_and_still_owed() {
    let mut net = Net::new(2, |_| {});
    let k = net.key(0, 0);
    net.origin.insert(k.clone(), b"v0".to_vec());
    net.held.insert(0);
    let write = net.put(0, &k, b"v1");
    net.cut(0, 1);
    net.say(0, Offline, &[]);
    net.get(1, &k);
    net.end_held_write(0, None);
    net.advance(SECOND);
    assert_eq!(net.status(write), Some(Status::OutcomeUnknown));
    assert_eq!(net.get(1, &k).value, b"v0", "not told yet");
    net.cut.clear();
    net.advance(Duration::from_millis(100));
    assert_eq!(net.get(1, &k).value, b"v1");
}

#[test]
fn telling_a_returning_server_acknowledges_no_write() {
    let mut net = Net::new(3, strict);
    let k = net.key(0, 0);
    net.say(0, Offline, &[0]);
    let a = net.stand_in(&k);
    net.held.insert(a);
    let write = net.put(a, &k, b"v1");
    net.say(0, Online, &[]);
    net.cut(0, a);
    net.end_held_write(a, None);
    assert_eq!(net.status(write), None, "the owner is not reached");
    net.lease(a, Micros(0), false);
    net.lease(a, Micros::NEVER, false);
    net.cut.clear();
    net.say(0, Returning, &[]);
    assert!(net.counters(0).keys_settled > 0, "it has dropped the key");
    assert_eq!(net.status(write), None, "but another may have owned it meanwhile");
    net.say(0, Online, &[]);
    net.advance(Duration::from_millis(200));
    assert_eq!(net.status(write), Some(Status::Ok));
}

#[test]
fn while_the_owner_may_still_have_a_lease() {
    let mut net = Net::new(2, |_| {});
    let k = net.key(0, 0);
    net.say(0, Waiting, &[0]);
    let write = net.put(1, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok), "available: at once");
    assert_eq!(net.get(1, &k).flags & flags::HIT, 0, "its value is not kept");

    let mut net = Net::new(2, strict);
    net.say(0, Waiting, &[0]);
    let first = net.put(1, &k, b"v1");
    assert_eq!(net.status(first), None);
    net.say(0, Offline, &[0]);
    assert_eq!(net.status(first), Some(Status::Ok), "the owner has moved");

    let mut net = Net::new(2, strict);
    net.say(0, Waiting, &[0]);
    let second = net.put(1, &k, b"v1");
    net.advance(SECOND);
    assert_eq!(net.status(second), Some(Status::Unavailable));
}

#[test]
fn while_nobody_owns_it_writes_wait_and_only_orphans_go_on() {
    for state in [Returning, Leaving] {
        let mut net = Net::new(2, |_| {});
        let k = net.key(0, 0);
        net.say(0, state, &[]);
        let write = net.put(1, &k, b"v1");
        assert_eq!(net.status(write), None);
        net.advance(SECOND);
        assert_eq!(
            net.status(write),
            Some(Status::Unavailable),
            "the next owner would not wait for its end"
        );

        let modes = [(Mode::Available, Status::Ok), (Mode::Strict, Status::Unavailable)];
        for (mode, expected) in modes {
            let mut net = Net::new(2, |config| config.mode = mode);
            net.lease(1, Micros::NEVER, true);
            net.say(0, state, &[]);
            let write = net.put(1, &k, b"v1");
            net.advance(SECOND);
            assert_eq!(net.status(write), Some(expected), "without a master");
        }
    }
}

#[test]
fn in_strict_a_drained_write_is_acknowledged_only_if_the_lease_never_ended() {
    for (gap, expected) in [(false, Some(Status::Ok)), (true, None)] {
        let mut net = Net::new(2, strict);
        let k = net.key(0, 0);
        net.held.insert(0);
        let write = net.put(0, &k, b"v1");
        if gap {
            // Another server may have owned the partition, and cached the previous value.
            net.lease(0, Micros(0), false);
            net.lease(0, Micros::NEVER, false);
        }
        net.say(0, Leaving, &[]);
        net.end_held_write(0, None);
        assert_eq!(net.status(write), expected);
    }
}

#[test]
fn a_cas_is_decided_by_a_lease_holder_only() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v0");
    let version = s.get(&key).unwrap().version;
    s.lease(Micros(0), false);
    let cas = CommandHead { version, ..CommandHead::new(Action::Cas, 1) };
    s.send(cas, &key, b"v1");
    s.advance(SECOND);
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    s.lease(Micros::NEVER, false);
    assert!(s.send(cas, &key, b"v1").is_none(), "it would be decided by a value cached before");
    let write = s.call();
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
}

/// Creates servers that do not hear the master. Server 0 has `v0` of its key cached.
fn without_a_master() -> (Net, Vec<u8>) {
    let mut net = Net::new(3, |_| {});
    let k = net.key(0, 0);
    net.origin.insert(k.clone(), b"v0".to_vec());
    net.get(0, &k);
    for server in 0..3 {
        net.lease(server, Micros::NEVER, true);
    }
    (net, k)
}

#[test]
fn scenario_26_an_orphan_does_not_write_for_an_owner_that_is_only_silent() {
    let (mut net, k) = without_a_master();
    net.cut(0, 1);
    net.cut(0, 2);
    let write = net.put(1, &k, b"v1");
    net.advance(SECOND);
    assert_eq!(net.status(write), Some(Status::Unavailable));
    assert_eq!(net.origin[&k], b"v0", "the write might end before the owner knows of it");
    assert!(net.hits(0, &k));
}

#[test]
fn scenario_26_an_orphan_sends_a_write_to_a_silent_owner_through_others() {
    let (mut net, k) = without_a_master();
    net.cut(0, 1);
    let write = net.put(1, &k, b"v1");
    net.advance(SECOND);
    assert_eq!(net.status(write), Some(Status::Ok));
    assert_eq!(net.get(0, &k).value, b"v1", "the owner has written it");
}

#[test]
fn scenario_26_an_orphan_writes_for_an_owner_that_is_dead() {
    let (mut net, k) = without_a_master();
    net.dead.insert(0);
    let write = net.put(1, &k, b"v1");
    net.advance(SECOND);
    assert_eq!(net.status(write), Some(Status::Ok));
    assert_eq!(net.origin[&k], b"v1");
}

#[test]
fn scenario_26_an_orphan_acknowledges_when_the_owner_knows_or_is_dead() {
    let expected = [
        ("silent", Status::OutcomeUnknown),
        ("dead", Status::Ok),
        ("told through another", Status::Ok),
    ];
    for (owner, expected) in expected {
        let mut net = Net::new(3, |_| {});
        let k = net.key(0, 0);
        let stand_in = net.stand_in(&k);
        net.say(0, Offline, &[]);
        net.held.insert(stand_in);
        let write = net.put(stand_in, &k, b"v1");
        net.lease(stand_in, Micros::NEVER, true);
        match owner {
            "silent" => [1, 2].into_iter().for_each(|other| net.cut(0, other)),
            "dead" => _ = net.dead.insert(0),
            _ => net.cut(0, stand_in),
        }
        net.say(0, Online, &[]);
        net.end_held_write(stand_in, None);
        for _ in 0..9 {
            net.advance(SECOND / 10);
        }
        if expected == Status::OutcomeUnknown {
            assert_eq!(net.status(write), None, "{owner}");
        }
        net.advance(SECOND);
        assert_eq!(net.status(write), Some(expected), "{owner}");
    }
}

#[test]
fn a_write_whose_key_can_not_be_logged_for_the_owner_does_not_begin() {
    let mut net = Net::new(2, |config| config.log_keys_max = 0);
    let k = net.key(0, 0);
    net.lease(1, Micros::NEVER, true);
    net.dead.insert(0);
    let write = net.put(1, &k, b"v1");
    net.advance(SECOND);
    assert_eq!(net.status(write), Some(Status::Unavailable));
    assert!(net.origin.is_empty());
}
