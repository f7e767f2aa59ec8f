//! The datagrams that an agent believes, by their address, how far their epoch is ahead, and
//! whether they are replayed.

use super::*;

const BOTH: [ServerState; 2] = [ServerState::Online; 2];

fn complaints(agent: &mut Agent) -> usize {
    let is_one = |output: &Output| matches!(output, Output::Distrust { .. });
    outputs(agent).iter().filter(|output| is_one(output)).count()
}

fn far() -> MapEpoch {
    MapEpoch { term: 1 << 20, counter: 1 }
}

fn grant(nonce: u64, sequence: u64) -> Datagram {
    Datagram {
        nonce,
        epoch: far(),
        statuses: Vec::new(),
        ..from_master(DatagramKind::Grant, sequence, 3, BOTH)
    }
}

fn announce(sequence: u64) -> Datagram {
    Datagram { epoch: far(), ..from_master(DatagramKind::Announce, sequence, 3, BOTH) }
}

#[test]
fn a_term_far_ahead_is_believed_after_an_answer_to_this_servers_renewal() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    // Renewal 101 is the only one that has been sent.
    hear(&mut agent, at(1), announce(1));
    hear(&mut agent, at(2), Datagram { kind: DatagramKind::AskProbe, ..grant(101, 2) });
    hear(&mut agent, at(3), grant(55, 3));
    hear(&mut agent, at(4), announce(4));
    assert!(agent.map().is_none());
    assert_eq!(agent.counters.datagrams_distrusted, 4);
    hear(&mut agent, at(5), grant(101, 5));
    hear(&mut agent, at(6), announce(6));
    assert_eq!(agent.map().map(|map| map.epoch), Some(far()));
    assert_eq!(agent.counters.datagrams_distrusted, 4);
}

#[test]
fn only_the_masters_word_may_come_through_another() {
    let topology = topology(3);
    let mut agent = Agent::new(config(0, Mode::Available), std::sync::Arc::clone(&topology), at(0));
    agent.handle(at(0), Input::Tick);
    outputs(&mut agent);
    let gossip = Datagram {
        recipient: 0,
        sequence: 1,
        epoch: epoch(3),
        ..Datagram::new(DatagramKind::Gossip, 1, topology.id, 71)
    };
    let from = address(&topology, 2);
    agent.handle(at(1), Input::Datagram { from, datagram: gossip.clone() });
    assert_eq!(complaints(&mut agent), 1);
    assert_eq!(agent.counters.gossip_received, 0);
    let from = address(&topology, 1);
    agent.handle(at(2), Input::Datagram { from, datagram: gossip });
    assert_eq!(agent.counters.gossip_received, 1);
}

#[test]
fn there_is_one_complaint_in_ten_seconds() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    let mut told = Vec::new();
    for second in 0..25 {
        for sequence in 0..3 {
            hear(&mut agent, at(second * 1_000 + sequence), announce(second * 3 + sequence));
        }
        told.push(complaints(&mut agent));
    }
    let seconds = (0..25).filter(|second| told[*second] > 0);
    assert_eq!(seconds.collect::<Vec<_>>(), [0, 10, 20]);
    assert_eq!(told.iter().sum::<usize>(), 3);
    assert_eq!(agent.counters.datagrams_distrusted, 75, "all are counted");
}

#[test]
fn what_an_earlier_incarnation_said_is_not_heard_again() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    let of = |boot_id: u64, sequence: u64| Datagram {
        boot_id,
        ..from_master(DatagramKind::Announce, sequence, 3, BOTH)
    };
    for boot_id in [1, 2, 3, 4] {
        hear(&mut agent, at(boot_id), of(boot_id, 5));
    }
    assert_eq!(agent.counters.datagrams_dropped, 0);
    for boot_id in [1, 2, 3, 4] {
        hear(&mut agent, at(10 + boot_id), of(boot_id, 5));
    }
    assert_eq!(agent.counters.datagrams_dropped, 4);
}

#[test]
fn a_verdict_waits_for_the_map_that_it_belongs_to() {
    let mut agent = agent();
    hear(&mut agent, Micros(0), from_master(DatagramKind::Announce, 1, 3, BOTH));
    outputs(&mut agent);
    agent.handle(at(1), Input::Report(1));
    let (_, _, nonce) = told(&mut agent)[0];
    let verdict = |sequence, statuses| Datagram {
        subject: 1,
        nonce,
        statuses,
        arg: ServerState::Offline as u32,
        ..from_master(DatagramKind::Verdict, sequence, 4, BOTH)
    };
    let is_verdict = |output: &Output| matches!(output, Output::Verdict { .. });
    hear(&mut agent, at(2), verdict(2, Vec::new()));
    assert!(!outputs(&mut agent).iter().any(is_verdict), "map 4 is not here");
    agent.handle(at(60), Input::Tick);
    assert_eq!(told(&mut agent), vec![(DatagramKind::ReportFailed, 1, nonce)], "so it asks again");
    let states =
        from_master(DatagramKind::Verdict, 0, 4, [ServerState::Online, ServerState::Offline]);
    hear(&mut agent, at(61), verdict(3, states.statuses));
    let out = outputs(&mut agent);
    let map = out.iter().position(|output| matches!(output, Output::Map(_)));
    assert!(map.is_some() && map < out.iter().position(is_verdict), "first the map");
}

#[test]
fn each_counter_has_a_name_of_its_own() {
    let counters = super::super::AgentCounters { leases_granted: 7, ..Default::default() };
    let listed = counters.list();
    let names: std::collections::BTreeSet<&str> = listed.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), listed.len());
    assert_eq!(listed.iter().map(|counter| counter.value).sum::<u64>(), 7);
    assert_eq!(listed.iter().find(|c| c.name == "leases_granted").map(|c| c.value), Some(7));
}
