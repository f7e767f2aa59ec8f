//! Tests of requests that were forwarded or relayed to this server, or that another server did not
//! accept (scenario 18).

use super::*;

fn hop_head(action: Action, hop: Hop) -> CommandHead {
    CommandHead { hop, ..CommandHead::new(action, 1) }
}

#[test]
fn a_relayed_request_is_refused_if_its_owner_does_not_accept_it() {
    for action in [Action::Get, Action::Put] {
        for status in [Status::NotOwner, Status::ShuttingDown, Status::Unavailable] {
            let mut s = Script::new();
            let key = s.key_of(PEER);
            assert_eq!(s.send(hop_head(action, Hop::Relay), &key, b"v"), None);
            let forward = s.forward();
            s.forward_answered(forward, status);
            assert_eq!(s.reply().status, Status::Unavailable, "{action:?} after {status:?}");
            assert!(s.calls().is_empty(), "the server that asked can reach the database itself");
        }
    }
}

#[test]
fn a_relayed_read_is_not_processed_if_its_owner_is_unreachable() {
    use ForwardFailure::{NoRoom, Refused, TimedOut, Unreachable};
    for failure in [TimedOut, NoRoom, Unreachable, Refused] {
        let mut s = Script::new();
        let key = s.key_of(PEER);
        assert_eq!(s.send(hop_head(Action::Get, Hop::Relay), &key, &[]), None);
        let (_, token, _) = s.forward();
        s.forward_fails(token, failure);
        assert_eq!(s.reply().status, Status::Unavailable, "{failure:?}");
        assert!(s.calls().is_empty());
    }
}

#[test]
fn a_read_that_its_owner_does_not_accept_is_answered_from_the_database_at_once() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    assert_eq!(s.get(&key), None);
    let forward = s.forward();
    s.forward_answered(forward, Status::NotOwner);
    let call = s.call();
    s.found(&call, b"v");
    let got = s.reply();
    let stand_in = flags::STAND_IN | flags::PROVISIONAL;
    assert_eq!((got.value, got.flags), (b"v".to_vec(), flags::FILLED | stand_in));
}

#[test]
fn a_write_that_its_owner_did_not_accept_waits_even_if_the_owner_is_now_unreachable() {
    let mut s = Script::new();
    let keys = s.keys_of(PEER, 2);
    s.put(&keys[0], b"v");
    let first = s.forward();
    s.put(&keys[1], b"v");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.node.verdict(s.now, PEER, ServerState::Online);
    s.collect();
    let (_, ping, _) = s.forward_of(Action::Ping);
    s.forward_fails(ping, ForwardFailure::Unreachable);
    s.replies();
    s.forward_answered(first, Status::NotOwner);
    assert!(s.replies().is_empty(), "the next map may name another owner");
    s.advance(Duration::from_secs(1));
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
}

#[test]
fn a_forwarded_write_is_returned_when_its_partition_loses_its_owner() {
    for (hop, expected) in [(Hop::Forwarded, Status::NotOwner), (Hop::Relay, Status::Unavailable)] {
        let mut s = Script::new();
        let key = s.key_of(OWN);
        s.lease(Micros(0), false);
        assert_eq!(s.send(hop_head(Action::Put, hop), &key, b"v"), None, "it waits for a lease");
        s.announce([ServerState::Leaving, ServerState::Online]);
        assert_eq!(s.reply().status, expected);
        assert!(s.calls().is_empty());
    }
}

#[test]
fn bytes_from_a_peer_and_its_refusals_say_whether_it_can_be_reached() {
    for (failure, reports) in [(ForwardFailure::Unreachable, 1), (ForwardFailure::TimedOut, 0)] {
        let mut s = Script::new();
        let key = s.key_of(PEER);
        s.put(&key, b"v");
        let (_, token, _) = s.forward();
        // This stands for the process having been stopped: nobody waits for the answer any more.
        s.node.drop_waiting();
        s.collect();
        assert_eq!(s.reply().status, Status::OutcomeUnknown);
        s.forward_fails(token, failure);
        assert_eq!((s.reports(), s.node.counters.forwards_failed), (reports, 1), "{failure:?}");
    }
}

#[test]
fn only_successful_answers_of_all_shards_make_a_probe_succeed() {
    use standin_protocol::body::PingReply;
    let pong = PingReply { boot_id: 9, ..PingReply::default() };
    let answered = PeerProbe::Answered { boot_id: 9, map_epoch: MapEpoch::default() };
    for (status, expected) in [(Status::Ok, answered), (Status::Unavailable, PeerProbe::Silent)] {
        let mut s = Script::new();
        s.node.ask_probe(7, PEER);
        s.collect();
        let (_, token, _) = s.forward();
        let answer = Ok((AnswerHead::status(status), &pong.to_bytes()[..]));
        s.node.forward_done(s.now, PEER, token, answer);
        s.collect();
        let probed = s.outputs.iter().find_map(|output| match output {
            Output::Probed { outcome, .. } => Some(*outcome),
            _ => None,
        });
        assert_eq!(probed, Some(expected));
    }
}
