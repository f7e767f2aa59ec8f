//! Gossip: maps, and whether the group may go on without the master.

use super::world::World;
use super::*;

const ALIVE: [ServerState; 2] = [ServerState::Online; 2];

/// Seconds.
fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn all_hold_leases_while_the_master_is_there() {
    let mut world = World::new(3, Mode::Available);
    world.run_and(s(10), |world| {
        (0..3).for_each(|id| assert_eq!(world.acts(id), (true, false)));
    });
    assert_eq!(world.node(0).agent.counters.leases_expired, 0);
    assert_eq!(world.node(0).agent.counters.masters_lost, 0);
}

#[test]
fn without_the_master_the_group_goes_on_and_nothing_stops_in_between() {
    for members in [1, 2, 3, 7] {
        let mut world = World::new(members, Mode::Available);
        world.is_master_up = false;
        world.run_and(s(30), |world| {
            (0..members).for_each(|id| assert!(world.acts(id).0, "{id} of {members}"));
        });
        assert!((0..members).all(|id| world.acts(id).1));
        world.is_master_up = true;
        world.run_and(s(1), |world| {
            // The first member that hears the master ends the others' time as orphans until they
            // hear it too.
            assert!(members > 1 || world.acts(0).0);
        });
        assert!((0..members).all(|id| world.acts(id) == (true, false)));
        // A server that is alone in its group is an orphan even before its first lease.
        let times = if members == 1 { 2 } else { 1 };
        assert_eq!(world.node(0).agent.counters.orphan_spells, times);
    }
}

#[test]
fn a_master_that_still_learns_stops_nobody() {
    let mut world = World::new(3, Mode::Available);
    world.is_master_up = false;
    world.run(s(1));
    (world.is_master_up, world.is_learning) = (true, true);
    world.run_and(s(5), |world| assert!((0..3).all(|id| world.acts(id).0)));
    world.is_learning = false;
    world.run(s(1));
    assert!((0..3).all(|id| world.acts(id) == (true, false)));
}

#[test]
fn strict_has_no_orphans() {
    for members in [1, 3] {
        let mut world = World::new(members, Mode::Strict);
        world.is_master_up = false;
        world.run_and(s(5), |world| assert!((0..members).all(|id| !world.acts(id).1)));
        assert!((0..members).all(|id| !world.acts(id).0));
    }
}

#[test]
fn a_member_that_is_cut_off_may_have_a_master() {
    let mut world = World::new(3, Mode::Available);
    world.is_master_up = false;
    world.cut(0, 2);
    world.run_and(s(10), |world| assert!(!world.acts(0).1 && !world.acts(2).1));
    assert_eq!(world.acts(0), (false, false));
    assert_eq!(world.acts(1), (true, true), "the one that reaches both");
    world.cuts.clear();
    world.run(s(2));
    assert!((0..3).all(|id| world.acts(id) == (true, true)));
    world.cut(0, 2);
    // The other members' word was valid up to now.
    world.run(s(2));
    assert_eq!(world.acts(0), (false, false));
}

#[test]
fn a_member_that_is_dead_has_none() {
    let mut world = World::new(3, Mode::Available);
    world.is_master_up = false;
    world.nodes[2] = None;
    world.run_and(s(10), |world| assert!(world.acts(0).0 && world.acts(1).0));
    assert_eq!(world.acts(0), (true, true));
    // Another incarnation answers, but whether it hears the master is not known yet.
    world.restart(2);
    world.run(s(2));
    assert_eq!(world.node(2).epoch, world.node(0).epoch, "it has the map from the others");
    world.run(s(2));
    assert_eq!(world.acts(0), (true, true), "it has said that it hears nothing either");
}

#[test]
fn who_was_cut_off_asks_the_master_before_it_goes_by_a_dead_member() {
    // Server 0 is cut off, server 1 is killed meanwhile, and the master is there all the time.
    for cut_for_ms in (2_000..2_520).step_by(7) {
        let mut world = World::new(2, Mode::Available);
        world.cut(0, 1);
        world.cut(0, SENDER_MASTER);
        world.run(Duration::from_millis(cut_for_ms));
        world.nodes[1] = None;
        world.cuts.clear();
        world.run_and(s(3), |world| assert!(!world.acts(0).1, "cut off for {cut_for_ms} ms"));
        assert_eq!(world.acts(0), (true, false));
        // If the master is lost as well, the server goes on without it, and service does not stop
        // in between.
        world.is_master_up = false;
        world.run_and(s(10), |world| assert!(world.acts(0).0, "cut off for {cut_for_ms} ms"));
        assert_eq!(world.acts(0), (true, true));
    }
}

#[test]
fn whoever_knows_of_a_newer_map_is_no_orphan_and_makes_none() {
    let mut world = World::new(2, Mode::Available);
    world.is_master_up = false;
    world.run(s(5));
    assert!(world.acts(0).1 && world.acts(1).1);
    // A grant without a lease tells server 0 of a newer map, which does not come.
    let newer = world.epoch.next();
    let topology_id = topology(2).id;
    let grant = Datagram {
        recipient: 0,
        sequence: 1_000_000,
        epoch: newer,
        ..Datagram::new(DatagramKind::Grant, SENDER_MASTER, topology_id, 1)
    };
    world.send(SENDER_MASTER, 0, grant);
    // Longer than the master counts as heard, and longer than the word to the other member is
    // valid.
    world.run(Duration::from_millis(100));
    world.run_and(s(8), |world| assert!(!world.acts(0).1, "it knows of a newer map"));
    assert!(world.node(0).epoch < newer);
    assert_eq!(world.acts(1), (false, false), "and is not believed");
    // The map arrives: both have it, and neither hears the master.
    world.change(1, ServerState::Online);
    world.run(s(5));
    assert!(world.acts(0).1 && world.acts(1).1);
}

#[test]
fn whoever_hears_the_master_keeps_the_others_from_going_on() {
    let mut world = World::new(3, Mode::Available);
    world.is_master_up = false;
    world.run(s(5));
    assert!((0..3).all(|id| world.acts(id).1));
    // The master is back, for server 2 only, and no server relays anything.
    world.is_master_up = true;
    world.cut(0, SENDER_MASTER);
    world.cut(1, SENDER_MASTER);
    world.run_and(Duration::from_millis(600), |_| {});
    for id in [0, 1] {
        assert!(!world.acts(id).1, "not as an orphan");
        assert_eq!(world.acts(id), (true, false), "but by server 2 it has a lease");
    }
}

#[test]
fn a_map_comes_by_gossip_when_it_does_not_come_from_the_master() {
    let mut world = World::new(2, Mode::Available);
    world.cuts.insert((SENDER_MASTER, 0));
    world.run(s(2));
    world.change(2, ServerState::Offline);
    world.run(Duration::from_millis(600));
    assert_eq!(world.node(0).epoch, world.epoch);
    assert!(world.node(0).agent.counters.maps_by_gossip > 0);
    let acknowledged =
        |d: &Datagram| d.kind == DatagramKind::Ack && d.sender == 0 && d.epoch == world.epoch;
    assert!(world.heard.iter().any(acknowledged));
}

#[test]
fn gossip_that_was_long_on_its_way_extends_nothing() {
    let mut agent = agent();
    hear(&mut agent, Micros(0), from_master(DatagramKind::Announce, 1, 3, ALIVE));
    let echo = |agent: &mut Agent| {
        let mut sends = outputs(agent).into_iter().filter_map(|output| match output {
            Output::Send { to: 1, datagram } if datagram.kind == DatagramKind::Gossip => {
                Some(datagram.boot_id + datagram.sequence)
            }
            _ => None,
        });
        sends.next_back()
    };
    let lost = standin_protocol::control::gossip_flags::MASTER_LOST;
    let gossip = |sequence: u64, nonce: u64| Datagram {
        kind: DatagramKind::Gossip,
        sender: 1,
        boot_id: 71,
        sequence,
        nonce,
        arg: lost,
        ..from_master(DatagramKind::Gossip, 0, 3, ALIVE)
    };
    let mut names = Vec::new();
    for ms in (0..=5_000).step_by(100) {
        agent.handle(at(ms), Input::Tick);
        names.extend(echo(&mut agent));
    }
    // Its answers to the first few arrive now, from a full socket.
    for (number, name) in (1..).zip(&names[..4]) {
        hear(&mut agent, at(5_001), gossip(number, *name));
        assert!(!agent.lease().orphan);
    }
    let last = *names.last().unwrap();
    hear(&mut agent, at(5_002), gossip(9, last));
    assert!(agent.lease().orphan);
    let until = agent.lease().until;
    assert!(until <= at(5_000) + LEASE);
    // The same once more, and one that repeats nothing.
    for datagram in [gossip(9, last), gossip(10, 0), gossip(11, 5)] {
        hear(&mut agent, at(5_010), datagram);
        assert_eq!(agent.lease().until, until);
    }
    hear(&mut agent, at(5_011), Datagram { arg: 0, ..gossip(12, last) });
    assert!(!agent.lease().orphan, "it hears the master");
    let other = Datagram { boot_id: 5, ..gossip(13, last) };
    hear(&mut agent, at(5_012), other);
    assert!(!agent.lease().orphan, "another incarnation than the map's");
}

#[test]
fn a_lossy_network_costs_time_not_truth() {
    let mut world = World::new(4, Mode::Available);
    for loss in [3, 5, 9, 2] {
        world.loss = loss;
        world.run(s(3));
        world.change(4, ServerState::Offline);
        world.run(s(5));
        world.is_master_up = false;
        world.run(s(5));
        world.is_master_up = true;
        world.run_and(s(5), |world| {
            for id in 0..4 {
                assert!(world.node(id).epoch <= world.epoch);
            }
        });
    }
    world.loss = 0;
    world.run(s(1));
    for id in 0..4 {
        assert_eq!(world.acts(id), (true, false));
        assert_eq!(world.node(id).epoch, world.epoch);
    }
}
