//! Tests of what a walk through cached keys sees here, and of whom it asks, and waits for, at others.

use standin_protocol::slots::{Prefixes, slot};

use super::*;

const WALK: u64 = 9;

/// The keys that a walk sees.
fn seen(s: &Script, slot: Option<u16>) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for part in 0..s.node.parts() {
        s.node.visit(s.now, part, slot, |keyspace, key| {
            assert_eq!(keyspace, 1);
            keys.push(key.to_vec());
        });
    }
    keys.sort();
    keys
}

fn ask(s: &mut Script) {
    s.node.ask_walk(s.now, WALK, (PEER, 0), Bytes::from_static(b"value"));
    s.collect();
}

/// What has come of the walk, if it has ended.
fn walked(s: &mut Script) -> Option<Walked> {
    s.collect();
    let at = s.outputs.iter().position(|output| matches!(output, Output::Walked { .. }))?;
    match s.outputs.remove(at) {
        Some(Output::Walked { walk: WALK, walked }) => Some(walked),
        other => panic!("{other:?}"),
    }
}

/// The WALK that was sent to the peer, if there is one.
fn sent(s: &mut Script) -> Option<u64> {
    let is_walk = |output: &Output| matches!(output, Output::Forward { command, .. } if command.head.action == Action::Walk);
    let at = s.outputs.iter().position(is_walk)?;
    match s.outputs.remove(at) {
        Some(Output::Forward { peer: PEER, shard: 0, token, command, .. }) => {
            assert_eq!(&command.value[..], b"value");
            Some(token)
        }
        other => panic!("{other:?}"),
    }
}

/// The peer answers under the map of this tag.
fn answers(s: &mut Script, token: u64, status: Status, map_tag: u32) {
    let head = AnswerHead { map_tag, ..AnswerHead::status(status) };
    s.node.forward_done(s.now, PEER, token, Ok((head, b"keys")));
    s.collect();
}

#[test]
fn a_walk_sees_what_a_get_would_find_in_the_cache() {
    let mut s = Script::new();
    let keys = s.keys_of(OWN, 6);
    for key in &keys[..4] {
        s.fill(key, b"v");
    }
    assert_eq!(s.get(&keys[4]), None);
    let call = s.call();
    s.answer(&call, Outcome::Value(None));
    assert_eq!(s.reply().status, Status::NotFound, "its absence is cached");
    let mut wanted = keys[..4].to_vec();
    wanted.sort();
    assert_eq!(seen(&s, None), wanted);
    let touched = CommandHead { ttl_ms: 1_000, ..CommandHead::new(Action::Touch, 1) };
    assert!(s.send(touched, &keys[0], &[]).is_some());
    s.op(Action::Invalidate, &keys[1], &[]);
    wanted.retain(|key| *key != keys[1]);
    assert_eq!(seen(&s, None), wanted);
    s.advance(Duration::from_secs(2));
    wanted.retain(|key| *key != keys[0]);
    assert_eq!(seen(&s, None), wanted, "its lifetime is over");
    s.op(Action::Flush, &keys[2], &[]);
    let partition = s.topology.partition(1, &keys[2]);
    wanted.retain(|key| s.topology.partition(1, key) != partition);
    assert_eq!(seen(&s, None), wanted);
    s.lease(Micros(0), false);
    s.advance(Duration::from_millis(1));
    assert_eq!(seen(&s, None), Vec::<Vec<u8>>::new(), "it may not serve them without a lease");
}

#[test]
fn a_walk_of_a_slot_sees_the_keys_of_that_slot() {
    let topology = Topology::clone(&pair(1, 64)).with_slots(Prefixes::default()).unwrap();
    let mut s = Script::on(&topology, |_| {});
    let keys = s.keys_of(OWN, 20);
    keys.iter().for_each(|key| s.fill(key, b"v"));
    for key in &keys {
        let of_slot: Vec<Vec<u8>> = {
            let mut same: Vec<_> = keys.iter().filter(|k| slot(k) == slot(key)).cloned().collect();
            same.sort();
            same
        };
        assert_eq!(seen(&s, Some(slot(key))), of_slot);
    }
    let free = (0..).find(|free| keys.iter().all(|key| slot(key) != *free)).unwrap();
    assert_eq!(seen(&s, Some(free)), Vec::<Vec<u8>>::new());
}

#[test]
fn a_server_is_asked_if_it_is_online_by_the_map() {
    let mut s = Script::new();
    ask(&mut s);
    let token = sent(&mut s).unwrap();
    assert_eq!(walked(&mut s), None);
    let tag = s.node.map_tag();
    answers(&mut s, token, Status::Ok, tag);
    assert_eq!(walked(&mut s), Some(Walked::Answer(Bytes::from_static(b"keys"))));
    for state in
        [ServerState::Offline, ServerState::Waiting, ServerState::Returning, ServerState::Leaving]
    {
        s.announce([ServerState::Online, state]);
        ask(&mut s);
        assert_eq!((sent(&mut s), walked(&mut s)), (None, Some(Walked::NotOnline)), "{state:?}");
    }
}

#[test]
fn a_walk_waits_for_the_master_s_decision_on_a_server_that_does_not_answer() {
    for failure in [ForwardFailure::Refused, ForwardFailure::Unreachable] {
        let mut s = Script::new();
        ask(&mut s);
        let token = sent(&mut s).unwrap();
        s.forward_fails(token, failure);
        assert_eq!((s.reports(), walked(&mut s), sent(&mut s)), (1, None, None));
        // Another walk knows of it.
        ask(&mut s);
        assert_eq!((walked(&mut s), sent(&mut s)), (None, None));
        s.announce([ServerState::Online, ServerState::Waiting]);
        assert_eq!(walked(&mut s), Some(Walked::NotOnline));
        assert_eq!(walked(&mut s), Some(Walked::NotOnline));
        assert_eq!(s.node.walks_asked.len(), 0);
    }
}

#[test]
fn a_walk_goes_on_when_the_server_answers_again() {
    let mut s = Script::new();
    ask(&mut s);
    let token = sent(&mut s).unwrap();
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.node.peer_answered(s.now, PEER);
    s.collect();
    let token = sent(&mut s).unwrap();
    let tag = s.node.map_tag();
    answers(&mut s, token, Status::Ok, tag);
    assert_eq!(walked(&mut s), Some(Walked::Answer(Bytes::from_static(b"keys"))));
}

#[test]
fn without_a_decision_a_walk_is_given_up_and_never_passes_over_a_server() {
    let mut s = Script::new();
    ask(&mut s);
    let token = sent(&mut s).unwrap();
    s.forward_fails(token, ForwardFailure::Unreachable);
    assert!(s.node.next_deadline().is_some());
    s.advance(Duration::from_millis(999));
    assert_eq!(walked(&mut s), None);
    s.advance(Duration::from_millis(1));
    assert_eq!(walked(&mut s), Some(Walked::Refused(Status::Unavailable)));
    // Only this server can't reach it.
    s.node.verdict(s.now, PEER, ServerState::Online);
    ask(&mut s);
    assert_eq!((walked(&mut s), sent(&mut s)), (None, None));
    s.advance(Duration::from_secs(1));
    assert_eq!(walked(&mut s), Some(Walked::Refused(Status::Unavailable)));
    // Without a map nobody knows who is there.
    let mut node = Node::new(node_config(OWN, BOOT), topology()).unwrap();
    node.ask_walk(s.now, WALK, (PEER, 0), Bytes::new());
    assert!(node.poll().is_none());
    node.tick(Now { mono: s.now.mono + Duration::from_secs(1), ..s.now });
    let refused = Walked::Refused(Status::Unavailable);
    assert!(matches!(node.poll(), Some(Output::Walked { walked, .. }) if walked == refused));
}

#[test]
fn an_answer_under_a_newer_map_counts_when_this_server_has_that_map() {
    let mut s = Script::new();
    ask(&mut s);
    let token = sent(&mut s).unwrap();
    let newer = s.node.map_tag() + 1;
    answers(&mut s, token, Status::Ok, newer);
    assert_eq!((walked(&mut s), sent(&mut s)), (None, None), "servers may be online by that map");
    s.announce([ServerState::Online, ServerState::Online]);
    assert_eq!(s.node.map_tag(), newer);
    let token = sent(&mut s).unwrap();
    answers(&mut s, token, Status::Ok, newer - 1);
    assert!(matches!(walked(&mut s), Some(Walked::Answer(_))));
}

#[test]
fn the_end_of_a_walk_says_why_it_was_not_answered() {
    for (status, wanted) in [
        (Status::Overloaded, Status::Overloaded),
        (Status::UnknownOpcode, Status::Unavailable),
        (Status::NotSupported, Status::Unavailable),
    ] {
        let mut s = Script::new();
        ask(&mut s);
        let token = sent(&mut s).unwrap();
        answers(&mut s, token, status, 0);
        assert_eq!(walked(&mut s), Some(Walked::Refused(wanted)), "{status}");
    }
    for (failure, wanted) in [
        (ForwardFailure::NoRoom, Status::Overloaded),
        (ForwardFailure::TimedOut, Status::Unavailable),
        (ForwardFailure::Stopped, Status::Unavailable),
    ] {
        let mut s = Script::new();
        ask(&mut s);
        let token = sent(&mut s).unwrap();
        s.forward_fails(token, failure);
        assert_eq!(walked(&mut s), Some(Walked::Refused(wanted)), "{failure:?}");
        assert_eq!(s.reports(), 0, "it is alive");
    }
    // The map that says that it leaves is under way.
    let mut s = Script::new();
    ask(&mut s);
    let token = sent(&mut s).unwrap();
    answers(&mut s, token, Status::ShuttingDown, 0);
    assert_eq!(walked(&mut s), None);
    s.announce([ServerState::Online, ServerState::Leaving]);
    assert_eq!(walked(&mut s), Some(Walked::NotOnline));
}
