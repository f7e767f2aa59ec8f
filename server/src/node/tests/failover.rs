//! Tests of forwarding, standing in, maps and draining.

use standin_protocol::body::NotOwner;

use super::*;

#[test]
fn c15_forward_then_process_and_report() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    assert_eq!(s.get(&key), None);
    let (peer, token, head) = s.forward();
    assert_eq!((peer, head.hop), (PEER, Hop::Forwarded));
    assert!(s.calls().is_empty(), "not processed while the peer may answer");
    s.forward_fails(token, ForwardFailure::Unreachable);
    assert_eq!(s.reports(), 1, "the master is told");
    let fetch = s.call();
    s.found(&fetch, b"v");
    let reply = s.reply();
    assert_eq!(reply.value, b"v");
    let stand_in = flags::STAND_IN | flags::PROVISIONAL;
    assert_eq!(reply.flags & stand_in, stand_in);
    assert_eq!(reply.flags & flags::CACHED, 0, "the peer may still be the owner");
    assert_eq!(s.get(&key), None);
    assert_eq!(s.calls().len(), 1, "processed here, and not forwarded again");
    assert_eq!(s.reports(), 1);
}

#[test]
fn a_peer_without_room_for_a_connection_is_not_reported() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::NoRoom);
    let fetch = s.call();
    s.found(&fetch, b"v");
    let reply = s.reply();
    assert_eq!((reply.status, &reply.value[..]), (Status::Ok, &b"v"[..]));
    assert_eq!(reply.flags & flags::CACHED, 0, "the peer is the owner");
    s.put(&key, b"v1");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::NoRoom);
    assert_eq!(s.reply().status, Status::Overloaded, "the peer has not received the request");
    assert_eq!(s.reports(), 0, "the peer is alive");
    s.get(&key);
    s.forward();
}

#[test]
fn c15_a_write_is_processed_when_the_verdict_has_arrived() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"v1");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    assert_eq!(s.reports(), 1);
    assert!(s.calls().is_empty(), "the peer may still answer others from its cache");
    s.announce([ServerState::Online, ServerState::Offline]);
    let write = s.call();
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(s.get(&key).unwrap().value, b"v1");
}

#[test]
fn c16_a_write_goes_to_the_peer_after_all_if_the_verdict_is_online() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"v1");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.node.verdict(s.now, PEER, ServerState::Online);
    s.collect();
    let ping = s.forward();
    assert_eq!(ping.2.action, Action::Ping);
    s.forward_answered(ping, Status::Ok);
    assert_eq!(s.forward().2.action, Action::Put);
    assert!(s.calls().is_empty());
}

#[test]
fn c15_without_a_verdict_a_write_waits_and_is_then_refused() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"v1");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.advance(Duration::from_millis(999));
    s.collect();
    assert!(s.replies().is_empty());
    s.advance(Duration::from_millis(1));
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    assert!(s.calls().is_empty(), "the peer may be alive, and answer others from its cache");
}

#[test]
fn while_the_master_is_silent_only_the_first_writes_wait() {
    let mut s = Script::new();
    s.lease(Micros::NEVER, true);
    let key = s.key_of(PEER);
    s.put(&key, b"v1");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Refused);
    s.advance(Duration::from_secs(1));
    s.collect();
    let write = s.call();
    s.written(&write);
    s.replies();
    // The hold is over, and the peer is tried again without success.
    s.advance(Duration::from_secs(2));
    s.put(&key, b"v2");
    let (_, token, _) = s.forward_of(Action::Put);
    s.forward_fails(token, ForwardFailure::Refused);
    assert_eq!(s.calls().len(), 1, "no second wait");
}

#[test]
fn scenario_18_a_forwarded_write_that_waited_is_not_forwarded_again() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.lease(Micros(0), false);
    s.advance(Duration::from_millis(20));
    let mut head = CommandHead::new(Action::Put, 1);
    head.hop = Hop::Forwarded;
    assert_eq!(s.send(head, &key, b"v1"), None);
    s.announce([ServerState::Offline, ServerState::Online]);
    assert_eq!(s.reply().status, Status::NotOwner);
    assert!(s.calls().is_empty());
}

#[test]
fn an_invalidate_reaches_the_owner_or_waits_for_one() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    assert_eq!(s.op(Action::Invalidate, &key, &[]), None);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    assert!(s.replies().is_empty(), "the peer may still have the value");
    s.announce([ServerState::Online, ServerState::Offline]);
    assert_eq!(s.reply().status, Status::Ok);
    assert!(s.calls().is_empty(), "the database is left alone");
}

#[test]
fn a_late_answer_to_a_write_leaves_its_outcome_unknown() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"v1");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::TimedOut);
    assert_eq!(s.reply().status, Status::OutcomeUnknown);
    assert!(s.calls().is_empty(), "the peer may still execute it");
}

#[test]
fn a_forward_brings_the_owners_answer() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    let (_, token, _) = s.forward();
    let head = AnswerHead { flags: flags::HIT, ..AnswerHead::status(Status::Ok) };
    s.node.forward_done(s.now, PEER, token, Ok((head, b"v")));
    s.collect();
    let got = s.reply();
    assert_eq!(got.flags, flags::HIT | flags::FORWARDED);
    assert_eq!(got.value, b"v");
    assert_eq!(s.get(&key), None, "the value was not kept, so the read is forwarded again");
}

#[test]
fn one_late_answer_does_not_make_a_peer_unreachable() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::TimedOut);
    assert_eq!(s.reports(), 0);
    let fetch = s.call();
    s.found(&fetch, b"v");
    assert_eq!(s.reply().flags & flags::CACHED, 0, "the peer is still the owner");
    s.get(&key);
    s.forward();
}

#[test]
fn c16_an_online_verdict_ends_standing_in() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    let fetch = s.call();
    s.found(&fetch, b"v");
    s.replies();
    s.node.verdict(s.now, PEER, ServerState::Online);
    s.collect();
    let ping = s.forward();
    s.forward_answered(ping, Status::Ok);
    assert_eq!(s.get(&key), None);
    assert_eq!(s.forward().2.action, Action::Get);
}

#[test]
fn c17_an_offline_owner_is_not_asked() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.announce([ServerState::Online, ServerState::Offline]);
    assert_eq!(s.get(&key), None);
    let fetch = s.call();
    s.found(&fetch, b"v");
    assert_eq!(s.reply().ttl_s, 60, "it is the owner now, and caches the value like its own");
    let hit = s.get(&key).unwrap();
    let expected = flags::HIT | flags::CACHED | flags::STAND_IN;
    assert_eq!(hit.flags, expected);
}

#[test]
fn c03_scenario_08_stand_in_data_is_gone_after_the_return() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.announce([ServerState::Online, ServerState::Offline]);
    s.fill(&key, b"v0");
    s.announce([ServerState::Online, ServerState::Returning]);
    assert_eq!(s.get(&key), None, "nobody caches the partition while it is handed back");
    let fetch = s.call();
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    s.announce([ServerState::Online, ServerState::Online]);
    s.get(&key);
    assert_eq!(s.forward().0, PEER);
    s.announce([ServerState::Online, ServerState::Offline]);
    assert_eq!(s.get(&key), None, "a second failover finds nothing of the first");
}

#[test]
fn own_data_survives_failures_of_other_servers() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v");
    s.announce([ServerState::Online, ServerState::Offline]);
    s.announce([ServerState::Online, ServerState::Returning]);
    s.announce([ServerState::Online, ServerState::Online]);
    assert_eq!(s.get(&key).unwrap().value, b"v");
}

#[test]
fn a_partition_that_changed_owner_unnoticed_is_dropped() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v");
    // Both announcements of its own absence were lost. The last map reveals them by its epochs.
    let epoch = MapEpoch { term: 1, counter: 9 };
    let own = ServerStatus { state: ServerState::Online, since: epoch, boot_id: BOOT };
    let peer = s.node.map().unwrap().statuses()[1];
    let map = ClusterMap::new(Arc::clone(&s.topology), epoch, vec![own, peer]);
    s.node.apply_map(s.now, Arc::new(map));
    assert_eq!(s.get(&key), None);
}

#[test]
fn scenario_09_an_older_map_is_dropped() {
    let mut s = Script::new();
    s.announce([ServerState::Online, ServerState::Offline]);
    let held = s.node.map().unwrap().epoch;
    let old =
        ClusterMap::new(Arc::clone(&s.topology), MapEpoch { term: 1, counter: 1 }, Vec::new());
    s.node.apply_map(s.now, Arc::new(old));
    assert_eq!(s.node.map().unwrap().epoch, held);
}

#[test]
fn scenario_18_a_forwarded_request_is_not_forwarded_again() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    let mut head = CommandHead::new(Action::Get, 1);
    head.hop = Hop::Forwarded;
    let got = s.send(head, &key, &[]).unwrap();
    let epoch = s.node.map().unwrap().epoch.to_u64();
    let told = NotOwner::from_bytes(&got.value);
    assert_eq!((got.status, told), (Status::NotOwner, Ok(NotOwner { map_epoch: epoch })));
    assert_eq!(got.version, 0);
}

#[test]
fn a_write_waits_while_its_partition_changes_hands() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.announce([ServerState::Returning, ServerState::Online]);
    assert_eq!(s.put(&key, b"v1"), None);
    assert!(s.calls().is_empty(), "nobody begins a write");
    s.get(&key);
    let fetch = s.call();
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().value, b"v0", "reads go through");
    s.announce([ServerState::Online, ServerState::Online]);
    let write = s.call();
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(s.get(&key).unwrap().value, b"v1");
}

#[test]
fn a_write_does_not_wait_for_an_owner_for_ever() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.announce([ServerState::Returning, ServerState::Online]);
    s.put(&key, b"v1");
    s.advance(Duration::from_millis(999));
    assert!(s.calls().is_empty());
    assert_eq!(s.node.next_deadline(), Some(s.now.mono + Duration::from_millis(1)));
    s.advance(Duration::from_millis(1));
    s.collect();
    assert_eq!(
        s.reply().status,
        Status::Unavailable,
        "the next owner would not wait for the write"
    );
    let later = s.put(&key, b"v2").map_or_else(|| s.reply().status, |got| got.status);
    assert_eq!(later, Status::Unavailable, "later ones do not wait again");
    assert!(s.calls().is_empty());
}

#[test]
fn a_write_that_the_owner_does_not_accept_is_sent_again_and_not_processed_here() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"v1");
    let (mut pauses, mut last) = (Vec::new(), None);
    while last.is_none() {
        let forward = s.forward();
        s.forward_answered(forward, Status::NotOwner);
        let mut pause = 0;
        let goes_on =
            |output: &Output| matches!(output, Output::Forward { .. } | Output::Reply { .. });
        while !s.outputs.iter().any(goes_on) {
            s.advance(Duration::from_millis(1));
            s.collect();
            pause += 1;
        }
        pauses.push(pause);
        last = s.replies().pop();
    }
    assert_eq!(last.unwrap().status, Status::Unavailable);
    assert_eq!(pauses[..5], [5, 10, 20, 40, 40], "milliseconds");
    assert_eq!(pauses.iter().sum::<u32>(), 1_000);
    assert!(s.calls().is_empty());
}

#[test]
fn a_new_incarnation_keeps_nothing_until_the_master_knows_it() {
    let mut s = Script::with(|config| config.boot_id = 99);
    let key = s.key_of(OWN);
    s.get(&key);
    let fetch = s.call();
    s.found(&fetch, b"v");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    assert_eq!(s.get(&key), None);
}

#[test]
fn a_map_is_drained_when_the_writes_begun_under_the_last_one_have_ended() {
    let mut s = Script::new();
    assert_eq!(s.drained(), [1]);
    let theirs = s.key_of(PEER);
    let own = s.key_of(OWN);
    s.announce([ServerState::Online, ServerState::Offline]);
    s.put(&theirs, b"v1");
    s.put(&own, b"v1");
    let calls = s.calls();
    s.announce([ServerState::Online, ServerState::Returning]);
    assert_eq!(s.drained(), [1, 2], "a write of the partition is under way");
    s.announce([ServerState::Online, ServerState::Online]);
    s.written(&calls[0]);
    assert_eq!(s.drained(), [1, 2, 4], "the write of the own partition does not matter");
    for _ in 0..2 {
        // The new owner drops the key. It was told while the write was under way, and is told again
        // at its end.
        let settle = s.forward_of(Action::Settle);
        assert!(s.replies().is_empty());
        s.forward_answered(settle, Status::Ok);
    }
    s.written(&calls[1]);
    assert_eq!(s.replies().len(), 2, "both are answered");
    assert_eq!(s.get(&own).unwrap().value, b"v1");
}

#[test]
fn a_write_that_waits_goes_to_the_new_owner() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.announce([ServerState::Online, ServerState::Offline]);
    s.put(&key, b"v1");
    s.put(&key, b"v2");
    let first = s.call();
    s.announce([ServerState::Online, ServerState::Returning]);
    s.announce([ServerState::Online, ServerState::Online]);
    s.written(&first);
    assert_eq!(s.forward().0, PEER);
    assert!(s.calls().is_empty());
    assert!(s.node.writes.len() == 0);
}

#[test]
fn an_unreachable_peer_is_tried_again_after_the_hold() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.calls();
    assert_eq!(s.node.next_deadline(), Some(s.now.mono + Duration::from_secs(2)));
    s.advance(Duration::from_secs(2));
    s.get(b"another key of either server");
    s.collect();
    let partition = s.topology.partition(1, &key);
    assert_eq!(s.node.serving(partition), Serving::Forward(PEER));
}
