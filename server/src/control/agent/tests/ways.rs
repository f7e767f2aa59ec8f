//! Detours around a dead link, through members of the group, in both directions.

use standin_protocol::control::ProbeOutcome;

use super::world::World;
use super::*;
use crate::node::PeerProbe;

const BOTH: [ServerState; 2] = [ServerState::Online; 2];

#[test]
fn one_dead_link_to_the_master_costs_no_lease() {
    for members in [2, 5] {
        let mut world = World::new(members, Mode::Strict);
        world.cut(0, SENDER_MASTER);
        world.run_and(Duration::from_secs(20), |world| {
            (0..members).for_each(|id| assert!(world.acts(id).0, "{id} of {members}"));
        });
        let counters = |id: u16| world.node(id).agent.counters;
        assert!(counters(0).datagrams_detoured > 0 && counters(0).leases_expired == 0);
        assert!((1..members).map(|id| counters(id).datagrams_relayed).sum::<u64>() > 0);
        assert_eq!(counters(1).datagrams_detoured, 0, "who hears the master asks nobody");
    }
}

#[test]
fn each_half_of_a_link_may_be_the_dead_one() {
    for half in [(0, SENDER_MASTER), (SENDER_MASTER, 0)] {
        let mut world = World::new(3, Mode::Strict);
        world.cuts.insert(half);
        world.run_and(Duration::from_secs(10), |world| assert!(world.acts(0).0, "{half:?}"));
    }
}

#[test]
fn what_the_master_may_not_hear_goes_two_more_ways_each_under_its_own_number() {
    let mut agent = Agent::new(config(0, Mode::Available), topology(4), Micros(0));
    agent.handle(at(740), Input::Tick);
    sent(&mut agent);
    agent.handle(at(750), Input::Report(4));
    let copies = sent(&mut agent);
    let to: Vec<u16> = copies.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, vec![SENDER_MASTER, 1, 2]);
    let numbers: Vec<u64> = copies.iter().map(|(_, d)| d.sequence).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let same = |d: &Datagram| (d.kind, d.nonce, d.sender, d.recipient);
    assert!(copies.iter().all(|(_, d)| same(d) == same(&copies[0].1)));
    agent.handle(at(800), Input::Tick);
    let to: Vec<u16> = sent(&mut agent).iter().map(|(to, _)| *to).collect();
    assert_eq!(to, vec![SENDER_MASTER, 3, 1], "others the next time");
}

#[test]
fn what_is_for_another_is_passed_on_as_it_came() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    let down = Datagram { recipient: 1, ..from_master(DatagramKind::Announce, 9, 3, BOTH) };
    let up = Datagram { sequence: 5, ..Datagram::new(DatagramKind::Renew, 1, topology(2).id, 71) };
    for (datagram, expected) in [(down, 1), (up, SENDER_MASTER)] {
        hear(&mut agent, at(1), datagram.clone());
        assert_eq!(sent(&mut agent), vec![(expected, datagram)]);
    }
    // Its own datagrams are not relayed back, nor are those of other groups, nor gossip.
    let own = Datagram { sequence: 1, ..Datagram::new(DatagramKind::Renew, 0, topology(2).id, 70) };
    let foreign =
        Datagram { sequence: 1, ..Datagram::new(DatagramKind::Renew, 2, topology(2).id, 72) };
    for datagram in [own, foreign] {
        hear(&mut agent, at(2), datagram);
        assert_eq!(sent(&mut agent), vec![]);
    }
    assert!(agent.map().is_none(), "what is passed on is not taken in");
    assert_eq!((agent.counters.datagrams_relayed, agent.counters.datagrams_dropped), (2, 2));
}

#[test]
fn it_probes_members_for_the_master() {
    let outcomes = [
        (PeerProbe::Silent, ProbeOutcome::Silent, None),
        (PeerProbe::Refused, ProbeOutcome::Refused, None),
        (PeerProbe::Busy, ProbeOutcome::Busy, None),
        (
            PeerProbe::Answered { boot_id: 71, map_epoch: epoch(3) },
            ProbeOutcome::Answered,
            Some((71, epoch(3))),
        ),
    ];
    for (outcome, expected, status) in outcomes {
        let mut agent = agent();
        agent.handle(Micros(0), Input::Tick);
        outputs(&mut agent);
        let ask = |subject, sequence| Datagram {
            subject,
            nonce: 77,
            statuses: Vec::new(),
            ..from_master(DatagramKind::AskProbe, sequence, 3, BOTH)
        };
        for (subject, sequence) in [(0, 1), (2, 2), (99, 3)] {
            hear(&mut agent, at(1), ask(subject, sequence));
            assert!(outputs(&mut agent).is_empty(), "itself, another group, nobody");
        }
        hear(&mut agent, at(1), ask(1, 4));
        let out = outputs(&mut agent);
        let [Output::AskProbe { nonce, server: 1 }] = out[..] else { panic!("{out:?}") };
        hear(&mut agent, at(2), ask(1, 5));
        assert!(outputs(&mut agent).is_empty(), "under way");
        agent.handle(at(3), Input::Probed { nonce, server: 1, outcome });
        let results = sent(&mut agent);
        let [(SENDER_MASTER, result)] = &results[..] else { panic!("{results:?}") };
        assert_eq!((result.kind, result.subject, result.nonce), (DatagramKind::ProbeResult, 1, 77));
        assert_eq!(result.arg, expected as u32);
        assert_eq!(result.probed.map(|found| (found.boot_id, found.map_epoch)), status);
        agent.handle(at(4), Input::Probed { nonce, server: 1, outcome });
        assert_eq!(sent(&mut agent), vec![], "once");
    }
}
