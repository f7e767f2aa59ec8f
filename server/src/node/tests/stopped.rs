//! Tests of a shard's waiting writes after its process was stopped, when their clients leave, and
//! when their time is up (scenario 14).

use std::num::NonZeroU64;

use super::*;
use crate::node::Left;

const GONE: Left = Left { conn: CONN, is_gone: true };
const ENDED: Left = Left { conn: CONN, is_gone: false };

/// Creates a node in which a write of the peer's key waits, because the peer does not answer.
fn waiting() -> (Script, Vec<u8>) {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"older");
    let (_, token, _) = s.forward();
    s.node.forward_done(s.now, PEER, token, Err(ForwardFailure::Unreachable));
    s.collect();
    assert!(s.replies().is_empty(), "it waits for a verdict");
    (s, key)
}

#[test]
fn a_write_that_waited_for_an_owner_while_the_process_was_stopped_never_begins() {
    let (mut s, key) = waiting();
    s.node.drop_waiting();
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    s.announce([ServerState::Online, ServerState::Offline]);
    s.collect();
    assert!(s.calls().is_empty(), "the write is not sent to the new owner");
    s.put(&key, b"newer");
    assert_eq!(s.calls().len(), 1, "but a write that arrives now begins");
}

#[test]
fn a_write_that_waited_for_its_turn_while_the_process_was_stopped_never_begins() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    s.put(&key, b"v2");
    let first = s.call();
    s.node.drop_waiting();
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable, "the second");
    s.written(&first);
    s.collect();
    assert_eq!(s.reply().status, Status::Ok, "the first was at the origin");
    assert!(s.calls().is_empty());
}

#[test]
fn a_cas_that_has_to_read_first_is_not_forwarded_after_the_process_was_stopped() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let fetch = s.call();
    let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 7 });
    let cas = CommandHead { version: 9, identity, ..CommandHead::new(Action::Cas, 1) };
    s.send(cas, &key, b"v1");
    // A repetition does not keep it: it, too, came before the process was stopped.
    s.send(CommandHead { is_retry: true, ..cas }, &key, b"v1");
    assert_eq!(s.node.counters.retries_joined, 1);
    s.node.drop_waiting();
    s.announce([ServerState::Waiting, ServerState::Online]);
    s.announce([ServerState::Offline, ServerState::Online]);
    s.found(&fetch, b"v0");
    let statuses: Vec<Status> = s.replies().iter().map(|reply| reply.status).collect();
    assert!(statuses.contains(&Status::Unavailable), "{statuses:?}");
    s.collect();
    let is_cas = |output: &Output| matches!(output, Output::Forward { command, .. } if command.head.action == Action::Cas);
    assert!(!s.outputs.iter().any(is_cas));
}

#[test]
fn a_write_that_was_forwarded_before_the_process_was_stopped_is_not_sent_again() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.put(&key, b"older");
    let (_, token, _) = s.forward();
    s.node.drop_waiting();
    s.collect();
    assert_eq!(s.reply().status, Status::OutcomeUnknown, "the peer may have it");
    s.node.forward_done(s.now, PEER, token, Err(ForwardFailure::Stopped));
    s.announce([ServerState::Online, ServerState::Offline]);
    s.collect();
    assert!(s.calls().is_empty() && s.replies().is_empty());
    assert_eq!(s.node.counters.reports, 0, "the failure says nothing about the peer");
}

#[test]
fn a_write_that_waits_for_an_owner_is_dropped_when_its_client_leaves() {
    for left in [GONE, ENDED] {
        let (mut s, _) = waiting();
        s.node.callers_left(&[left]);
        s.collect();
        assert_eq!(s.reply().status, Status::Unavailable);
        s.announce([ServerState::Online, ServerState::Offline]);
        s.collect();
        assert!(s.calls().is_empty());
        assert_eq!(s.node.counters.writes_dropped, 1);
    }
}

#[test]
fn a_write_that_waits_for_its_turn_is_executed_if_its_client_only_stops_sending() {
    for (left, writes) in [(ENDED, 1), (GONE, 0)] {
        let mut s = Script::new();
        let key = s.key_of(OWN);
        s.put(&key, b"v1");
        s.put(&key, b"v2");
        let first = s.call();
        s.node.callers_left(&[left]);
        s.written(&first);
        s.collect();
        assert_eq!(s.calls().len(), writes, "{left:?}");
    }
}

#[test]
fn a_map_that_arrives_when_the_time_of_a_write_is_up_is_too_late_for_it() {
    let (mut s, _) = waiting();
    // A second passes in which nothing happens here.
    s.now.mono = s.now.mono + Duration::from_secs(1);
    s.announce([ServerState::Online, ServerState::Offline]);
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    assert!(s.calls().is_empty());
}

#[test]
fn the_total_wait_of_a_write_is_bounded_whatever_changes_meanwhile() {
    let (mut s, _) = waiting();
    s.advance(Duration::from_millis(900));
    s.announce([ServerState::Online, ServerState::Returning]);
    s.collect();
    assert!(s.replies().is_empty(), "nobody owns it now");
    s.advance(Duration::from_millis(100));
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
}

/// Makes a request that the shell has not taken yet.
fn unsent(s: &mut Script, action: Action, key: &[u8]) {
    let command = Command::new(CommandHead::new(action, 1), key, b"v");
    let place = s.node.aim(s.node.place(1, key));
    s.node.begin(s.now);
    assert!(!s.node.serve(s.now, TO, &command, place, true, |_, _| {}));
}

fn forwarded(s: &Script) -> Vec<Action> {
    let actions = s.outputs.iter().filter_map(|output| match output {
        Output::Forward { command, .. } => Some(command.head.action),
        _ => None,
    });
    actions.collect()
}

#[test]
fn a_request_that_no_link_has_taken_is_certainly_not_executed() {
    for action in [Action::Get, Action::Put] {
        let mut s = Script::new();
        let key = s.key_of(PEER);
        unsent(&mut s, action, &key);
        // This server's own messages are not affected.
        s.node.ask_probe(9, PEER);
        s.node.drop_waiting();
        s.collect();
        assert_eq!(s.reply().status, Status::Unavailable, "{action:?}");
        assert_eq!(forwarded(&s), [Action::Ping], "{action:?}");
        assert_eq!(s.node.forwards(), 1);
    }
}

#[test]
fn a_read_that_a_link_has_taken_can_be_repeated() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    s.node.drop_waiting();
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    assert_eq!((forwarded(&s).len(), s.node.forwards()), (1, 1), "its answer is still expected");
    assert_eq!(s.node.counters.writes_dropped, 0);
}
