//! The largest cluster.

use super::growth::SERVERS_MAX;
use super::*;

#[test]
fn a_thousand_servers_learn_every_map_in_datagrams_that_no_network_fragments() {
    let mut crowd = Crowd::new(SERVERS_MAX);
    crowd.settles(Duration::from_secs(6), &[]);

    // A server dies silently.
    crowd.agents[17] = None;
    crowd.settles(LEASE * 3, &[17]);

    // An agent that does not hear the master gets the next map from its group.
    crowd.muted = Some(40);
    crowd.runs_for(LEASE);
    crowd.agents[18] = None;
    let deadline = crowd.now + LEASE * 3;
    let knows = |crowd: &Crowd| {
        let map = crowd.agents[40].as_ref().and_then(|agent| agent.map());
        map.is_some_and(|map| map.state(18) == ServerState::Offline)
    };
    while !knows(&crowd) {
        assert!(crowd.now < deadline, "gossip carries the map");
        crowd.step();
    }
    crowd.muted = None;
    crowd.settles(LEASE * 3, &[17, 18]);

    // The master restarts from its file.
    let term = crowd.master.term();
    crowd.queue.retain(|_, event| !matches!(event, Event::ToMaster(_) | Event::WakeMaster));
    crowd.wakes[usize::from(SERVERS_MAX)] = Micros::NEVER;
    let saved = crowd.saved.clone();
    crowd.master =
        Machine::new(crowd.now, rules(SERVERS_MAX), crowd.topology.clone(), saved.as_ref());
    crowd.drain_master();
    crowd.settles(LEASE * 3, &[17, 18]);
    assert!(crowd.master.term() > term);
    assert_eq!(crowd.warnings, 0, "all acknowledge in time");
}
