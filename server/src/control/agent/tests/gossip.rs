//! The agent's reactions to a member's gossip, one datagram at a time: the answers, the probes, and
//! the end of a time without the master.

use standin_protocol::control::gossip_flags::MASTER_LOST;

use super::*;
use crate::node::PeerProbe;

/// Server 0 of a group of three, with map 3, which has heard the master at 0.
fn of_three() -> Agent {
    let mut agent = Agent::new(config(0, Mode::Available), topology(3), Micros(0));
    let announce = Datagram {
        recipient: 0,
        sequence: 1,
        epoch: epoch(3),
        statuses: statuses(3),
        ..Datagram::new(DatagramKind::Announce, SENDER_MASTER, topology(3).id, 1)
    };
    let from = address(&topology(3), SENDER_MASTER);
    agent.handle(Micros(0), Input::Datagram { from, datagram: announce });
    agent.handle(Micros(0), Input::Tick);
    outputs(&mut agent);
    agent
}

fn statuses(counter: u32) -> Vec<ServerStatus> {
    let since = epoch(counter);
    let status = |id: u64| ServerStatus { state: ServerState::Online, since, boot_id: 70 + id };
    (0..4).map(status).collect()
}

/// Without states.
fn gossip(sender: u16, sequence: u64, counter: u32, arg: u32) -> Datagram {
    let boot_id = 70 + u64::from(sender);
    Datagram {
        recipient: 0,
        sequence,
        epoch: epoch(counter),
        arg,
        ..Datagram::new(DatagramKind::Gossip, sender, topology(3).id, boot_id)
    }
}

fn hear(agent: &mut Agent, now: Micros, datagram: Datagram) {
    let from = address(&topology(3), datagram.sender);
    agent.handle(now, Input::Datagram { from, datagram });
}

/// Returns the recipient, number of states, and name of each gossip sent.
fn gossiped(agent: &mut Agent) -> Vec<(u16, usize, u64)> {
    let sends = outputs(agent).into_iter().filter_map(|output| match output {
        Output::Send { to, datagram: d } if d.kind == DatagramKind::Gossip => {
            Some((to, d.statuses.len(), d.boot_id + d.sequence))
        }
        _ => None,
    });
    sends.collect()
}

fn told(agent: &mut Agent) -> Vec<u16> {
    gossiped(agent).into_iter().map(|(to, ..)| to).collect()
}

/// Ticks until then; returns the names of the last gossip to each member.
fn wait(agent: &mut Agent, from_ms: u64, to_ms: u64) -> [u64; 2] {
    let mut names = [0; 2];
    for ms in (from_ms..=to_ms).step_by(50) {
        agent.handle(at(ms), Input::Tick);
        for (to, _, name) in gossiped(agent) {
            names[usize::from(to) - 1] = name;
        }
    }
    names
}

/// Refuses all probes of this member; returns the name of the last gossip to server 2.
fn refuse(agent: &mut Agent, server: u16, from_ms: u64, to_ms: u64) -> u64 {
    let mut name = 0;
    for ms in (from_ms..=to_ms).step_by(10) {
        agent.handle(at(ms), Input::Tick);
        for output in outputs(agent) {
            match output {
                Output::AskProbe { nonce, server: asked } if asked == server => {
                    let outcome = PeerProbe::Refused;
                    agent.handle(at(ms), Input::Probed { nonce, server, outcome });
                }
                Output::Send { to: 2, datagram: d } if d.kind == DatagramKind::Gossip => {
                    name = d.boot_id + d.sequence;
                }
                _ => {}
            }
        }
    }
    name
}

#[test]
fn who_lacks_the_map_is_sent_it_and_who_has_a_newer_one_is_told_so() {
    // (epoch, first state, states; who is answered)
    let newer = statuses(4);
    let part = newer[..2].to_vec();
    let table = [
        (2, 0, Vec::new(), vec![1], "it lacks this map"),
        (2, 2, part.clone(), vec![], "only its first part is answered"),
        (3, 0, Vec::new(), vec![], "it has the same"),
        (4, 0, Vec::new(), vec![1], "this server lacks its map"),
        (4, 0, part, vec![], "the rest of it is on its way"),
        (4, 0, newer, vec![1], "this server has it now"),
    ];
    for (counter, first, statuses, answered, why) in table {
        let mut agent = of_three();
        hear(&mut agent, at(1), Datagram { first, statuses, ..gossip(1, 1, counter, 0) });
        assert_eq!(told(&mut agent), answered, "{why}");
        assert_eq!(agent.counters.gossip_received, 1);
    }
}

#[test]
fn a_new_map_goes_at_once_to_those_who_do_not_hear_the_master() {
    let mut agent = of_three();
    hear(&mut agent, at(1), gossip(1, 1, 3, MASTER_LOST));
    hear(&mut agent, at(1), gossip(2, 1, 3, 0));
    outputs(&mut agent);
    let announce = Datagram {
        recipient: 0,
        sequence: 2,
        epoch: epoch(4),
        statuses: statuses(4),
        ..Datagram::new(DatagramKind::Announce, SENDER_MASTER, topology(3).id, 1)
    };
    hear(&mut agent, at(2), announce);
    let sent = gossiped(&mut agent);
    assert!(matches!(sent[..], [(1, 4, _)]), "to server 1, with all states: {sent:?}");
}

#[test]
fn the_master_is_asked_for_by_those_who_hear_it_while_they_are_heard() {
    let mut agent = of_three();
    let reports = |agent: &mut Agent, ms: u64| {
        outputs(agent);
        agent.handle(at(ms), Input::Report(3));
        let sends = outputs(agent).into_iter().filter_map(|output| match output {
            Output::Send { to, datagram: d } if d.kind == DatagramKind::ReportFailed => Some(to),
            _ => None,
        });
        sends.collect::<Vec<u16>>()
    };
    hear(&mut agent, at(800), gossip(1, 1, 3, MASTER_LOST));
    hear(&mut agent, at(800), gossip(2, 1, 3, 0));
    assert_eq!(reports(&mut agent, 900), [SENDER_MASTER, 2]);
    // Nothing more is heard from server 2, which may be dead.
    let mut sent = reports(&mut agent, 800 + 1_250);
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, SENDER_MASTER]);
}

#[test]
fn a_member_that_is_heard_is_not_probed() {
    let mut agent = of_three();
    wait(&mut agent, 50, 1_000);
    for ms in (1_000..4_000).step_by(100) {
        hear(&mut agent, at(ms), gossip(1, ms, 3, MASTER_LOST));
        let probes = |output| match output {
            Output::AskProbe { server, .. } => Some(server),
            _ => None,
        };
        let probed: Vec<u16> = outputs(&mut agent).into_iter().filter_map(probes).collect();
        assert!(!probed.contains(&1), "{ms}");
    }
    assert!(agent.counters.peer_probes > 0, "but server 2 is");
}

#[test]
fn a_member_that_hears_the_master_again_is_a_way_to_it() {
    let mut agent = of_three();
    wait(&mut agent, 50, 1_110);
    hear(&mut agent, at(1_120), gossip(1, 1, 3, MASTER_LOST));
    let renews = |agent: &mut Agent| {
        let is_renewal = |output: &Output| match output {
            Output::Send { datagram, .. } => datagram.kind == DatagramKind::Renew,
            _ => false,
        };
        outputs(agent).iter().any(is_renewal)
    };
    assert!(!renews(&mut agent), "its turn comes with the interval");
    hear(&mut agent, at(1_130), gossip(1, 2, 3, 0));
    assert!(renews(&mut agent), "at once");
    hear(&mut agent, at(1_140), gossip(1, 3, 3, 0));
    assert!(!renews(&mut agent), "once");

    let mut agent = of_three();
    hear(&mut agent, at(20), gossip(1, 1, 3, MASTER_LOST));
    hear(&mut agent, at(30), gossip(1, 2, 3, 0));
    assert!(!renews(&mut agent), "this server hears the master itself");
}

#[test]
fn the_newest_word_of_a_member_counts_in_whatever_order_it_comes() {
    let mut agent = of_three();
    let names = wait(&mut agent, 50, 1_500);
    let lost = |server: u16, sequence| {
        let nonce = names[usize::from(server) - 1];
        Datagram { nonce, ..gossip(server, sequence, 3, MASTER_LOST) }
    };
    hear(&mut agent, at(1_501), lost(2, 1));
    // Server 1 has heard the master since it said this.
    hear(&mut agent, at(1_502), gossip(1, 9, 3, 0));
    hear(&mut agent, at(1_503), lost(1, 8));
    assert!(!agent.lease().orphan);
    hear(&mut agent, at(1_504), lost(1, 10));
    assert!(agent.lease().orphan, "now neither hears it");
}

/// Server 2 hears no master, and server 1 is dead.
fn orphan_by_a_dead_member() -> (Agent, Datagram) {
    let mut agent = of_three();
    let nonce = refuse(&mut agent, 1, 10, 2_100);
    let lost = Datagram { nonce, ..gossip(2, 1, 3, MASTER_LOST) };
    assert!(!agent.lease().orphan, "server 2 has said nothing");
    hear(&mut agent, at(2_110), lost.clone());
    assert!(agent.lease().orphan);
    (agent, lost)
}

#[test]
fn a_dead_member_that_is_heard_again_counts_as_alive_at_once() {
    let (mut agent, _) = orphan_by_a_dead_member();
    // Whether another incarnation hears the master is unknown.
    let back = Datagram { boot_id: 900, ..gossip(1, 1, 3, 0) };
    hear(&mut agent, at(2_120), back);
    assert!(!agent.lease().orphan);
}

#[test]
fn who_was_dead_under_the_map_before_may_be_an_owner_under_this_one() {
    let (mut agent, lost) = orphan_by_a_dead_member();
    let newer = Datagram { epoch: epoch(4), statuses: statuses(4), sequence: 2, ..lost };
    hear(&mut agent, at(2_120), newer);
    assert_eq!(agent.map().unwrap().epoch, epoch(4));
    assert!(!agent.lease().orphan);
}

#[test]
fn who_was_dead_before_the_master_was_lost_may_have_been_alive_since() {
    let (mut agent, lost) = orphan_by_a_dead_member();
    // The master is heard for a moment: it may have made server 1 an owner meanwhile.
    let grant = Datagram {
        recipient: 0,
        sequence: 2,
        epoch: epoch(3),
        ..Datagram::new(DatagramKind::Grant, SENDER_MASTER, topology(3).id, 1)
    };
    hear(&mut agent, at(2_120), grant);
    assert!(!agent.lease().orphan);
    outputs(&mut agent);
    agent.handle(at(3_121), Input::Tick);
    let name = gossiped(&mut agent).iter().find(|(to, ..)| *to == 2).unwrap().2;
    hear(&mut agent, at(3_122), Datagram { nonce: name, sequence: 2, ..lost });
    assert!(!agent.lease().orphan, "it has to be refused anew");
}
