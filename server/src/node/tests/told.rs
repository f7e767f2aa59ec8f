//! Tests of the information in answers, forwarded commands and counters in addition to the values.

use standin_protocol::body::PingReply;

use super::*;

const HIT: u8 = flags::HIT | flags::CACHED;

fn counters(script: &Script) -> Counters {
    script.node.counters
}

#[test]
fn an_answer_from_the_cache_says_so_for_every_action() {
    let stand_in = (PEER, ServerState::Offline, HIT | flags::STAND_IN);
    for (home, state, flags) in [(OWN, ServerState::Online, HIT), stand_in] {
        let mut script = Script::new();
        script.announce([ServerState::Online, state]);
        let key = script.key_of(home);
        script.fill(&key, b"v");
        script.advance(Duration::from_secs(20));
        let got = script.get(&key).unwrap();
        assert_eq!((got.status, got.flags, got.ttl_s), (Status::Ok, flags, 40));
        assert!(got.version > 0);
        let touched = script.op(Action::Touch, &key, &[]).unwrap();
        assert_eq!((touched.status, touched.flags, touched.ttl_s), (Status::Ok, flags, 60));
        assert_eq!((touched.version, touched.value), (got.version, Vec::new()));
        assert_eq!(script.get(&key).unwrap().ttl_s, 60);
    }
}

#[test]
fn touch_also_uses_the_cached_absence_of_a_row() {
    let mut script = Script::new();
    let key = script.key_of(OWN);
    assert_eq!(script.get(&key), None);
    let call = script.call();
    script.answer(&call, Outcome::Value(None));
    assert_eq!(script.reply().status, Status::NotFound);
    let touched = script.op(Action::Touch, &key, &[]).unwrap();
    assert_eq!((touched.status, touched.flags), (Status::NotFound, flags::HIT));
}

#[test]
fn a_ping_reports_the_database_and_the_waiting_requests() {
    let mut script = Script::new();
    let key = script.key_of(OWN);
    let ping = |script: &mut Script| {
        let got = script.op(Action::Ping, &[], &[]).unwrap();
        let reply = PingReply::from_bytes(&got.value).unwrap();
        (reply.origin_up, reply.in_flight, reply.map_epoch)
    };
    let epoch = script.node.map().unwrap().epoch.to_u64();
    script.node.set_origin_up(true);
    assert_eq!(ping(&mut script), (1, 0, epoch));
    script.get(&key);
    script.node.set_origin_up(false);
    assert_eq!(ping(&mut script), (0, 1, epoch));
    assert_eq!(script.node.in_flight(), 1);
    let call = script.call();
    script.found(&call, b"v");
    assert_eq!(script.node.in_flight(), 0);
}

#[test]
fn the_map_is_given_to_every_client_that_asks() {
    let mut script = Script::new();
    script.announce([ServerState::Online, ServerState::Offline]);
    let got = script.op(Action::Map, &[], &[]).unwrap();
    let map = ClusterMap::from_bytes(&got.value).unwrap();
    let held = script.node.map().unwrap();
    assert_eq!((map.epoch, map.statuses()), (held.epoch, held.statuses()));
}

#[test]
fn commands_that_a_shard_does_not_handle_are_refused() {
    let mut script = Script::new();
    for action in [Action::Put, Action::Cas, Action::Delete] {
        // The second keyspace has a statement for reads only.
        let head = CommandHead::new(action, 2);
        assert_eq!(script.send(head, b"key", b"").unwrap().status, Status::NotSupported);
    }
    let head = CommandHead::new(Action::Get, 3);
    assert_eq!(script.send(head, b"key", b"").unwrap().status, Status::UnknownKeyspace);
    assert!(script.calls().is_empty());
}

#[test]
fn a_forwarded_request_is_the_same_request_with_a_mark() {
    let mut script = Script::new();
    let key = script.key_of(PEER);
    for (is_retry, deadline_ms) in [(false, 0), (true, 500)] {
        let head = CommandHead { is_retry, deadline_ms, ..CommandHead::new(Action::Get, 1) };
        assert_eq!(script.send(head, &key, &[]), None);
        let tags = script.outputs.iter().filter_map(|output| match output {
            Output::Forward { map_tag, .. } => Some(*map_tag),
            _ => None,
        });
        assert_eq!(tags.collect::<Vec<_>>(), [script.node.map_tag()]);
        let (peer, token, forwarded) = script.forward();
        assert_eq!((peer, forwarded.hop, forwarded.is_retry), (PEER, Hop::Forwarded, is_retry));
        assert_eq!((forwarded.deadline_ms, forwarded.keyspace), (deadline_ms, 1));
        script.forward_answered((peer, token, forwarded), Status::NotFound);
        assert_eq!(script.reply().status, Status::NotFound);
    }
}

#[test]
fn the_lease_bounds_the_time_for_which_hits_are_served_without_checking_it_again() {
    let mut script = Script::new();
    let key = script.key_of(OWN);
    let partition = script.topology.partition(1, &key);
    let until = script.now.mono + Duration::from_secs(1);
    let before = Micros(until.0 - 1);
    for orphan in [false, true] {
        script.lease(until, orphan);
        assert!(script.node.caches(before, partition));
        assert_eq!(script.node.caches_by_lease(before, partition), !orphan);
        assert!(!script.node.caches(until, partition));
        assert!(!script.node.caches_by_lease(until, partition));
    }
    let elsewhere = script.topology.partition(1, &script.key_of(PEER));
    assert!(!script.node.caches(before, elsewhere));
}

#[test]
fn each_event_is_counted_once() {
    let mut script = Script::new();
    let key = script.key_of(OWN);
    script.op(Action::Ping, &[], &[]);
    assert_eq!((counters(&script).requests, counters(&script).data_requests), (1, 0));
    script.fill(&key, b"v");
    script.get(&key);
    let other = script.keys_of(OWN, 2).pop().unwrap();
    script.get(&other);
    script.get(&other);
    let call = script.call();
    script.found(&call, b"w");
    assert_eq!(script.replies().len(), 2);
    script.put(&key, b"x");
    let call = script.call();
    script.written(&call);
    script.put(&key, b"y");
    let call = script.call();
    script.answer(&call, Outcome::Failed(Failure::Unavailable));
    assert_eq!(script.replies().len(), 2);
    let counted = counters(&script);
    assert_eq!((counted.requests, counted.data_requests), (7, 6));
    assert_eq!((counted.hits, counted.misses, counted.coalesced), (1, 3, 1));
    assert_eq!((counted.origin_reads, counted.origin_writes), (2, 2));
    assert_eq!(counted.origin_failures, 1);
    assert_eq!((counted.kept_briefly, counted.stand_in_requests), (0, 0));
    script.node.refresh_counters();
    let counted = counters(&script);
    assert!((1..=2).contains(&counted.items) && counted.items_bytes > 0);
    assert_eq!(counted.evicted, 0);
}

#[test]
fn a_later_answer_names_the_map_under_which_it_is_given() {
    let mut script = Script::new();
    let key = script.key_of(OWN);
    script.get(&key);
    let call = script.call();
    let before = script.node.map_tag();
    script.announce([ServerState::Online, ServerState::Offline]);
    assert_ne!(script.node.map_tag(), before);
    assert!(!script.node.has_output());
    script.node.origin_done(script.now, call.token, Outcome::Value(None));
    assert!(script.node.has_output());
    let Some(Output::Reply { answer, .. }) = script.node.poll() else { panic!("an answer") };
    assert_eq!(answer.head.map_tag, script.node.map_tag());
    assert!(!script.node.has_output());
}
