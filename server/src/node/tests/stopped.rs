//! Waiting writes of a shard when its process was stopped, when their clients leave, and when their
//! time is up (scenario 14).

use super::*;
use crate::node::Left;

const GONE: Left = Left { conn: CONN, is_gone: true };
const ENDED: Left = Left { conn: CONN, is_gone: false };

/// A node in which a write of the peer's key waits: the peer does not answer.
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
    assert!(s.calls().is_empty(), "the new owner has nothing to carry out");
    s.put(&key, b"newer");
    assert_eq!(s.calls().len(), 1, "but what comes now");
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
fn a_cas_that_has_to_read_first_is_not_sent_on_after_the_process_was_stopped() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let fetch = s.call();
    let cas = CommandHead { version: 9, ..CommandHead::new(Action::Cas, 1) };
    s.send(cas, &key, b"v1");
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
fn a_write_that_was_sent_on_before_the_process_was_stopped_is_not_sent_again() {
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
    assert_eq!(s.node.counters.reports, 0, "it says nothing of the peer");
}

#[test]
fn a_write_that_waits_for_an_owner_goes_with_its_client() {
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
fn a_write_that_waits_for_its_turn_is_carried_out_for_who_only_sends_no_more() {
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
fn a_map_that_comes_with_the_end_of_a_writes_time_is_too_late_for_it() {
    let (mut s, _) = waiting();
    // A second passes in which nothing happens here.
    s.now.mono = s.now.mono + Duration::from_secs(1);
    s.announce([ServerState::Online, ServerState::Offline]);
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    assert!(s.calls().is_empty());
}

#[test]
fn a_write_waits_for_its_time_in_all_whatever_changes_meanwhile() {
    let (mut s, _) = waiting();
    s.advance(Duration::from_millis(900));
    s.announce([ServerState::Online, ServerState::Returning]);
    s.collect();
    assert!(s.replies().is_empty(), "nobody owns it now");
    s.advance(Duration::from_millis(100));
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
}

/// A request that the shell has not been given yet.
fn unsent(s: &mut Script, action: Action, key: &[u8]) {
    let command = Command { head: CommandHead::new(action, 1), key, value: b"v" };
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
fn a_request_that_was_not_given_to_a_link_is_certainly_not_carried_out() {
    for action in [Action::Get, Action::Put] {
        let mut s = Script::new();
        let key = s.key_of(PEER);
        unsent(&mut s, action, &key);
        // This server's own messages do no harm.
        s.node.ask_probe(9, PEER);
        s.node.drop_waiting();
        s.collect();
        assert_eq!(s.reply().status, Status::Unavailable, "{action:?}");
        assert_eq!(forwarded(&s), [Action::Ping], "{action:?}");
        assert_eq!(s.node.forwards(), 1);
    }
}

#[test]
fn a_read_that_was_given_to_a_link_can_be_asked_for_again() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    s.get(&key);
    s.node.drop_waiting();
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
    assert_eq!((forwarded(&s).len(), s.node.forwards()), (1, 1), "its answer is still to come");
    assert_eq!(s.node.counters.writes_dropped, 0);
}
