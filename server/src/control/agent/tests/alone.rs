//! Messages to the master, which are repeated until they are answered.

use standin_protocol::lease::over_at;

use super::*;
use crate::node::{PeerProbe, Word};

const BOTH: [ServerState; 2] = [ServerState::Online; 2];

#[test]
fn it_renews_at_once_and_then_by_interval() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    assert_eq!(told(&mut agent), vec![(DatagramKind::Renew, 0, 101)]);
    agent.handle(at(499), Input::Tick);
    assert_eq!(told(&mut agent), vec![]);
    assert_eq!(agent.next_deadline(), at(500));
    agent.handle(at(500), Input::OriginDown(true));
    let renewals = sent(&mut agent);
    assert_eq!(renewals.len(), 1);
    assert_eq!(renewals[0].1.arg, standin_protocol::control::renew_flags::ORIGIN_DOWN);
    assert_eq!((renewals[0].0, renewals[0].1.recipient), (SENDER_MASTER, SENDER_MASTER));
}

#[test]
fn a_report_is_repeated_until_the_verdict_with_its_nonce() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    agent.handle(Micros(0), Input::Report(1));
    assert_eq!(told(&mut agent), vec![(DatagramKind::ReportFailed, 1, 102)]);
    agent.handle(at(50), Input::Tick);
    assert_eq!(told(&mut agent), vec![(DatagramKind::ReportFailed, 1, 102)]);
    let verdict = |sequence, nonce| Datagram {
        subject: 1,
        nonce,
        ..from_master(DatagramKind::Verdict, sequence, 1, BOTH)
    };
    hear(&mut agent, at(60), verdict(1, 55));
    outputs(&mut agent);
    agent.handle(at(100), Input::Tick);
    assert_eq!(told(&mut agent), vec![(DatagramKind::ReportFailed, 1, 102)], "not the answer");
    hear(&mut agent, at(110), verdict(2, 102));
    let is_verdict =
        |o: &Output| matches!(o, Output::Verdict { server: 1, state: ServerState::Online });
    assert!(outputs(&mut agent).iter().any(is_verdict));
    agent.handle(at(200), Input::Tick);
    assert_eq!(told(&mut agent), vec![]);
}

#[test]
fn a_map_is_acknowledged_when_every_shard_has_drained_and_again_if_asked() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    let announce = |sequence| from_master(DatagramKind::Announce, sequence, 3, BOTH);
    hear(&mut agent, at(1), announce(1));
    let out = outputs(&mut agent);
    assert!(matches!(&out[0], Output::Map(map) if map.epoch.counter == 3));
    let drained = |shard| Input::Drained { shard, epoch: epoch(3) };
    agent.handle(at(2), drained(0));
    assert_eq!(told(&mut agent), vec![], "one shard is not enough");
    agent.handle(at(3), drained(1));
    assert_eq!(told(&mut agent), vec![(DatagramKind::Ack, 0, 0)]);
    hear(&mut agent, at(4), announce(2));
    assert_eq!(told(&mut agent), vec![(DatagramKind::Ack, 0, 0)], "the first one was lost");
    hear(&mut agent, at(4), announce(2));
    assert_eq!(told(&mut agent), vec![], "the same datagram twice");
    hear(&mut agent, at(5), from_master(DatagramKind::Announce, 3, 2, [ServerState::Offline; 2]));
    assert!(outputs(&mut agent).is_empty(), "not newer: dropped");
}

#[test]
fn leaving_ends_when_the_map_says_so_and_all_is_drained() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Leave);
    assert!(told(&mut agent).iter().any(|(kind, _, _)| *kind == DatagramKind::Leaving));
    let states = [ServerState::Offline, ServerState::Online];
    hear(&mut agent, at(1), from_master(DatagramKind::Verdict, 1, 4, states));
    assert!(!outputs(&mut agent).iter().any(|o| matches!(o, Output::Left)));
    for shard in 0..2 {
        agent.handle(at(2), Input::Drained { shard, epoch: epoch(4) });
    }
    assert!(outputs(&mut agent).iter().any(|o| matches!(o, Output::Left)));
}

#[test]
fn what_is_not_for_this_server_is_dropped() {
    let announce = || from_master(DatagramKind::Announce, 1, 3, BOTH);
    let changed = |change: &dyn Fn(&mut Datagram)| {
        let mut datagram = announce();
        change(&mut datagram);
        datagram
    };
    let table = [
        ("for the server of another group", changed(&|d| d.recipient = 2)),
        ("for nobody", changed(&|d| d.recipient = 77)),
        ("from a client", changed(&|d| d.sender = standin_protocol::control::SENDER_CLIENT)),
        ("an announcement of a member", changed(&|d| d.sender = 1)),
        ("gossip of another group", changed(&|d| (d.kind, d.sender) = (DatagramKind::Gossip, 2))),
        ("gossip of oneself", changed(&|d| (d.kind, d.sender) = (DatagramKind::Gossip, 0))),
        ("gossip of the master", changed(&|d| d.kind = DatagramKind::Gossip)),
        ("from the master for itself", changed(&|d| d.recipient = SENDER_MASTER)),
        (
            "gossip for another",
            changed(&|d| {
                (d.kind, d.sender, d.recipient) = (DatagramKind::Gossip, 1, 2);
            }),
        ),
    ];
    for (what, datagram) in table {
        let mut agent = agent();
        agent.handle(Micros(0), Input::Tick);
        outputs(&mut agent);
        hear(&mut agent, at(1), datagram);
        let word = |output: &Output| !matches!(output, Output::Distrust { .. });
        assert!(!outputs(&mut agent).iter().any(word), "{what}");
        let counters = &agent.counters;
        let dropped = counters.datagrams_dropped + counters.datagrams_distrusted;
        assert_eq!(dropped, 1, "{what}");
    }
}

#[test]
fn a_member_is_asked_for_again_only_after_the_answer() {
    let mut agent = agent();
    hear(&mut agent, Micros(0), from_master(DatagramKind::Announce, 1, 3, BOTH));
    outputs(&mut agent);
    let asked = |agent: &mut Agent, from_ms: u64| {
        (from_ms..from_ms + 10_000).step_by(100).for_each(|ms| agent.handle(at(ms), Input::Tick));
        let nonces = outputs(agent).into_iter().filter_map(|output| match output {
            Output::AskProbe { nonce, server: 1 } => Some(nonce),
            _ => None,
        });
        nonces.collect::<Vec<_>>()
    };
    // Shard 0 is stuck.
    let nonces = asked(&mut agent, 1_000);
    assert_eq!(nonces.len(), 1);
    let outcome = PeerProbe::Silent;
    agent.handle(at(11_000), Input::Probed { nonce: nonces[0], server: 1, outcome });
    assert_eq!(asked(&mut agent, 11_100).len(), 1);
}

#[test]
fn its_shards_know_of_its_word_before_a_member_does() {
    for mode in [Mode::Available, Mode::Strict] {
        let mut agent = Agent::new(config(0, mode), topology(2), Micros(0));
        hear(&mut agent, Micros(0), from_master(DatagramKind::Announce, 1, 3, BOTH));
        let is_word = |output: &Output| matches!(output, Output::Word(_));
        assert!(!outputs(&mut agent).iter().any(is_word), "it hears the master");
        agent.handle(at(1_000), Input::Tick);
        let out = outputs(&mut agent);
        let gossip = out.iter().position(|output| match output {
            Output::Send { datagram, .. } => datagram.kind == DatagramKind::Gossip,
            _ => false,
        });
        let before = out.get(gossip.unwrap().wrapping_sub(1));
        let expected = Word { epoch: epoch(3), until: over_at(at(1_000), LEASE) };
        match mode {
            Mode::Available => {
                assert!(matches!(before, Some(Output::Word(word)) if *word == expected));
            }
            Mode::Strict => assert!(!out.iter().any(is_word), "nobody goes on without it"),
        }
    }
}
