//! The model's table of what a server does with a request is that of the shipped servers, for
//! every combination of states.

use std::sync::Arc;

use standin_model::clock::Rates;
use standin_model::failover::Failover;
use standin_model::rules::{Mode, Rules};
use standin_model::scope::Scope;
use standin_model::serving::Serving;
use standin_model::state::{NEVER, State, Status};
use standin_protocol::map::{
    ClusterMap, MapEpoch, ServerInfo, ServerState, ServerStatus, Topology,
};
use standin_server::node::serving::{Reach, Serving as Shipped, View, decide};
use stateright::Model;

const STATES: [ServerState; 5] = [
    ServerState::Online,
    ServerState::Offline,
    ServerState::Returning,
    ServerState::Leaving,
    ServerState::Waiting,
];
const SERVERS: usize = 3;
const BOOT: u8 = 1;

fn topology() -> Arc<Topology> {
    let info = |index: usize| ServerInfo {
        name: format!("any{index}"),
        group: 0,
        weight: 1,
        shards: 1,
        address: ([127, 0, 0, 1], 1).into(),
    };
    let infos = (0..SERVERS).map(info).collect();
    let master = ([127, 0, 0, 1], 2).into();
    let topology = Topology::new("shipped".to_owned(), master, infos, 1);
    Arc::new(topology.expect("three servers are a sound topology"))
}

/// Returns how the shipped server serves the key, in the model's terms. Servers are numbered by
/// rank there.
fn shipped(
    topology: &Arc<Topology>,
    mode: Mode,
    statuses: &[Status],
    id: usize,
    may_own: bool,
) -> Shipped {
    let rank = topology.rank(0);
    let mut all = vec![ServerStatus::default(); SERVERS];
    for (&server, status) in rank.iter().zip(statuses) {
        all[usize::from(server)] = ServerStatus {
            state: status.state,
            since: MapEpoch { term: 1, counter: u32::from(status.since) },
            boot_id: u64::from(status.boot),
        };
    }
    let map = ClusterMap::new(Arc::clone(topology), MapEpoch { term: 1, counter: 1 }, all);
    let reach = [Reach::Direct; SERVERS];
    let (server, boot_id) = (rank[id], u64::from(BOOT));
    let is_available = mode == Mode::Available;
    let view = View { server, boot_id, is_available, may_own, reach: &reach };
    decide(Some(&map), 0, view)
}

fn compare(model: &Failover, state: &State, topology: &Arc<Topology>, id: usize, may_own: bool) {
    let theirs = shipped(topology, model.rules.mode, &state.maps[0].statuses, id, may_own);
    let ours = model.serving(state, id);
    let fits = match (ours, theirs) {
        (Serving::Cached, Shipped::Cached) => may_own,
        (Serving::Through, Shipped::Through) => true,
        (Serving::Unowned(_), Shipped::Waiting | Shipped::Unowned) => {
            // Under a lease only the next owner writes, and keeps anything.
            let is_next = theirs == Shipped::Waiting;
            let begins = model.may_begin(state, id).is_some();
            begins == is_next && model.keeps_briefly(state, id) == is_next
        }
        (Serving::Other(owner), Shipped::Forward(other)) => topology.rank(0)[owner] == other,
        _ => false,
    };
    assert!(fits, "{id} in {:?}: {ours:?}, shipped {theirs:?}", state.maps[0]);
}

#[test]
fn the_models_table_is_that_of_the_shipped_servers() {
    let scope = Scope {
        servers: SERVERS,
        lease_steps: 1,
        writes: 1,
        maps_max: 2,
        delays: false,
        silences: 0,
        crashes: 0,
        master_restarts: 0,
        file_losses: 0,
        leaves: 0,
        orphans: false,
    };
    for mode in [Mode::Available, Mode::Strict] {
        compare_all(&Failover::new(Rules::all(mode), scope, Rates::WORST));
    }
}

fn compare_all(model: &Failover) {
    let topology = topology();
    let first = model.init_states()[0];
    for combination in 0..STATES.len().pow(3) {
        let mut state = first;
        for (index, status) in (0..).zip(&mut state.maps[0].statuses) {
            let digit = combination / STATES.len().pow(index);
            status.state = STATES[digit % STATES.len()];
        }
        for id in 0..SERVERS {
            for may_own in [true, false] {
                let mut state = state;
                if !may_own {
                    state.servers[id].leases = [NEVER; _];
                }
                compare(model, &state, &topology, id, may_own);
                // Another incarnation; the master gives it no lease.
                state.maps[0].statuses[id].boot = BOOT + 1;
                state.servers[id].leases = [NEVER; _];
                compare(model, &state, &topology, id, false);
            }
        }
    }
}
