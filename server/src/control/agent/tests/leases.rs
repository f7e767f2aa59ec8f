//! The validity of a grant: from when, until when, and under which map.

use standin_protocol::lease::held_until;

use super::*;
use crate::node::Lease;

const BOTH: [ServerState; 2] = [ServerState::Online; 2];

/// An agent that holds map 3, and the nonce of the renewal that it sent at 0.
fn with_map() -> (Agent, u64) {
    let mut agent = agent();
    hear(&mut agent, Micros(0), from_master(DatagramKind::Announce, 1, 3, BOTH));
    let renewals = told(&mut agent);
    let (_, _, nonce) = *renewals.iter().find(|(kind, _, _)| *kind == DatagramKind::Renew).unwrap();
    (agent, nonce)
}

fn grant(sequence: u64, nonce: u64, counter: u32) -> Datagram {
    let arg = u32::try_from(LEASE.as_millis()).unwrap();
    let statuses = Vec::new();
    Datagram { nonce, arg, statuses, ..from_master(DatagramKind::Grant, sequence, counter, BOTH) }
}

fn leases(agent: &mut Agent) -> Vec<Lease> {
    let leases = outputs(agent).into_iter().filter_map(|output| match output {
        Output::Lease(lease) => Some(lease),
        _ => None,
    });
    leases.collect()
}

fn held(sent: Micros) -> Lease {
    Lease { until: held_until(sent, LEASE), orphan: false }
}

#[test]
fn it_counts_from_when_the_renewal_was_sent() {
    let (mut agent, nonce) = with_map();
    hear(&mut agent, at(700), grant(2, nonce, 3));
    assert_eq!(leases(&mut agent), vec![held(Micros(0))]);
    // A later grant of an earlier renewal takes nothing back.
    agent.handle(at(1_200), Input::Tick);
    let renewals = told(&mut agent);
    hear(&mut agent, at(1_201), grant(3, renewals[0].2, 3));
    hear(&mut agent, at(1_202), grant(4, nonce, 3));
    assert_eq!(leases(&mut agent), vec![held(at(1_200))]);
}

#[test]
fn the_answer_to_an_earlier_renewal_counts_too() {
    let (mut agent, nonce) = with_map();
    agent.handle(at(500), Input::Tick);
    assert!(told(&mut agent).iter().any(|(kind, ..)| *kind == DatagramKind::Renew));
    hear(&mut agent, at(501), grant(2, nonce, 3));
    assert_eq!(leases(&mut agent), vec![held(Micros(0))]);
}

#[test]
fn grants_under_two_maps_ahead_are_both_kept() {
    let (mut agent, first) = with_map();
    agent.handle(at(500), Input::Tick);
    let second = told(&mut agent).iter().find(|(kind, ..)| *kind == DatagramKind::Renew).unwrap().2;
    hear(&mut agent, at(501), grant(2, first, 4));
    hear(&mut agent, at(502), grant(3, second, 5));
    assert_eq!(leases(&mut agent), vec![]);
    hear(&mut agent, at(503), from_master(DatagramKind::Announce, 4, 4, BOTH));
    assert_eq!(leases(&mut agent), vec![held(Micros(0))]);
    hear(&mut agent, at(504), from_master(DatagramKind::Announce, 5, 5, BOTH));
    assert_eq!(leases(&mut agent), vec![held(at(500))]);
}

#[test]
fn what_is_no_grant() {
    let table = [
        ("of another's renewal", grant(2, 5, 3)),
        ("of no length", Datagram { arg: 0, ..grant(2, 101, 3) }),
        (
            "of a master that has a successor",
            Datagram { epoch: MapEpoch { term: 0, counter: 9 }, ..grant(2, 101, 3) },
        ),
        ("for another server", Datagram { recipient: 2, ..grant(2, 101, 3) }),
        ("by a member of the group", Datagram { sender: 1, ..grant(2, 101, 3) }),
    ];
    for (what, datagram) in table {
        let (mut agent, nonce) = with_map();
        assert_eq!(nonce, 101);
        hear(&mut agent, at(1), datagram);
        assert_eq!(leases(&mut agent), vec![], "{what}");
    }
}

#[test]
fn it_waits_for_the_map_of_the_grant_and_follows_it() {
    let (mut agent, nonce) = with_map();
    hear(&mut agent, at(1), grant(2, nonce, 4));
    assert_eq!(leases(&mut agent), vec![], "a map is missing");
    hear(&mut agent, at(2), from_master(DatagramKind::Announce, 3, 4, BOTH));
    let out = outputs(&mut agent);
    let place = |found: fn(&Output) -> bool| out.iter().position(found).unwrap();
    let map = place(|output| matches!(output, Output::Map(_)));
    assert!(map < place(|output| matches!(output, Output::Lease(_))));
}

#[test]
fn a_server_that_is_taken_out_gives_its_lease_back() {
    for state in [ServerState::Waiting, ServerState::Offline] {
        let (mut agent, nonce) = with_map();
        hear(&mut agent, at(1), grant(2, nonce, 3));
        outputs(&mut agent);
        hear(
            &mut agent,
            at(2),
            from_master(DatagramKind::Announce, 3, 4, [state, ServerState::Online]),
        );
        assert_eq!(leases(&mut agent), vec![super::super::NO_LEASE]);
        assert_eq!((agent.is_lease_lost(), agent.counters.is_leased), (false, 0), "not expired");
        hear(&mut agent, at(3), grant(4, nonce, 3));
        assert_eq!(leases(&mut agent), vec![], "that was granted before");
    }
}

#[test]
fn with_a_new_map_and_no_lease_it_renews_at_once() {
    let mut agent = agent();
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    hear(&mut agent, at(5), from_master(DatagramKind::Announce, 1, 3, BOTH));
    assert_eq!(told(&mut agent), vec![(DatagramKind::Renew, 0, 102)]);
    hear(&mut agent, at(6), grant(2, 102, 3));
    assert_eq!(leases(&mut agent), vec![held(at(5))]);
    hear(&mut agent, at(7), from_master(DatagramKind::Announce, 3, 4, BOTH));
    assert_eq!(told(&mut agent), vec![], "it has one");
}

#[test]
fn it_runs_out_and_that_is_counted_once() {
    let (mut agent, nonce) = with_map();
    hear(&mut agent, at(1), grant(2, nonce, 3));
    agent.handle(at(1_799), Input::Tick);
    assert_eq!(agent.counters.leases_expired, 0);
    assert_eq!((agent.is_lease_lost(), agent.counters.is_leased), (false, 1));
    assert_eq!(agent.next_deadline(), at(1_800));
    for now in [1_800, 1_801, 1_900] {
        agent.handle(at(now), Input::Tick);
        assert_eq!((agent.counters.leases_granted, agent.counters.leases_expired), (1, 1));
        assert_eq!((agent.is_lease_lost(), agent.counters.is_leased), (true, 0));
    }
    assert_eq!(agent.lease(), held(Micros(0)), "the shards compare for themselves");
    let renewals = told(&mut agent);
    let renewal = renewals.iter().find(|(kind, ..)| *kind == DatagramKind::Renew).unwrap();
    hear(&mut agent, at(1_950), grant(3, renewal.2, 3));
    assert_eq!((agent.is_lease_lost(), agent.counters.is_leased), (false, 1));
}
