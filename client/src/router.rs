//! Routing: the choice of the server for a partition's request, by the map's order and the failover
//! state of each server (claims 10, 11, 13).
//!
//! The map takes precedence: a newer map's owner is used at once. Servers in failover mode are
//! skipped. If no other candidate is left, the first one that the request has not tried is used
//! anyway.

use std::sync::Arc;

use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::time::Micros;

use crate::config::ClientConfig;
use crate::failover::{Choice, Failover, State};
use crate::random::Random;

/// The destination of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The server.
    pub server: u16,
    /// The shard of the server.
    pub shard: u16,
    /// Whether the result of the request decides if failover mode is left (claim 14).
    pub trial: bool,
}

/// The map in force and one failover machine per server.
#[derive(Debug)]
pub struct Router {
    map: Arc<ClusterMap>,
    machines: Vec<Failover>,
}

impl Router {
    /// Creates a router with all servers in state Home. The seed spreads the clients' hold times.
    #[must_use]
    pub fn new(map: ClusterMap, config: &ClientConfig, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let machine = |_| Failover::new(config.attempts, config.failover_hold, random.next());
        let machines = (0..map.topology.servers.len()).map(machine).collect();
        Self { map: Arc::new(map), machines }
    }

    /// Returns the map in force.
    #[must_use]
    pub fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// Returns the failover state of a server, or `None` if the map has no such server.
    #[must_use]
    pub fn state(&self, server: u16) -> Option<State> {
        self.machines.get(usize::from(server)).map(Failover::state)
    }

    /// Returns the machine of a server.
    ///
    /// # Panics
    /// If the map has no such server.
    pub fn machine(&mut self, server: u16) -> &mut Failover {
        &mut self.machines[usize::from(server)]
    }

    /// Returns the destination of a request for `partition` that the `tried` servers have not
    /// served. Returns `None` if no other server may serve it.
    pub fn route(&mut self, now: Micros, partition: u32, tried: &[u16]) -> Option<Route> {
        let candidates = || self.map.candidates(partition).filter(|id| !tried.contains(id));
        for server in candidates() {
            match self.machines[usize::from(server)].request(now) {
                Choice::StandIn => {}
                choice => return Some(self.route_to(server, partition, choice)),
            }
        }
        let server = candidates().next()?;
        let choice = self.machines[usize::from(server)].request_anyway();
        Some(self.route_to(server, partition, choice))
    }

    /// Applies a map if it is newer. Returns `Some` if it was, with the servers whose failover mode
    /// ended because the map says that they have come online.
    pub fn apply(&mut self, map: ClusterMap) -> Option<Vec<u16>> {
        if map.epoch <= self.map.epoch || map.topology.id != self.map.topology.id {
            return None;
        }
        let mut left = Vec::new();
        // Epoch zero is that of the map of a client that has not heard of any states yet.
        let is_first = self.map.epoch == MapEpoch::default();
        let statuses = self.map.statuses().iter().zip(map.statuses());
        for ((id, (old, new)), machine) in (0u16..).zip(statuses).zip(&mut self.machines) {
            let changed = old.state != ServerState::Online || new.since > old.since;
            if !is_first
                && changed
                && new.state == ServerState::Online
                && machine.announced_online()
            {
                left.push(id);
            }
        }
        self.map = Arc::new(map);
        Some(left)
    }

    fn route_to(&self, server: u16, partition: u32, choice: Choice) -> Route {
        let shard = self.map.topology.shard(server, partition);
        Route { server, shard, trial: choice == Choice::Trial }
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::map::ServerStatus;

    use super::*;
    use crate::testing::topology;

    const NOW: Micros = Micros(5_000_000);

    fn router(groups: &[u16]) -> Router {
        let topology = topology(groups);
        let map = ClusterMap::new(topology, MapEpoch { term: 1, counter: 1 }, Vec::new());
        Router::new(map, &ClientConfig::default(), 3)
    }

    fn with_state(router: &Router, server: u16, state: ServerState) -> ClusterMap {
        let epoch = router.map().epoch.next();
        let mut statuses: Vec<ServerStatus> = router.map().statuses().to_vec();
        statuses[usize::from(server)] = ServerStatus { state, since: epoch, boot_id: 0 };
        ClusterMap::new(router.map().topology.clone(), epoch, statuses)
    }

    fn server(router: &mut Router, tried: &[u16]) -> Option<u16> {
        router.route(NOW, 0, tried).map(|route| route.server)
    }

    #[test]
    fn c11_the_owner_is_determined_first_then_the_group() {
        let mut router = router(&[0, 0, 0, 1, 1]);
        let rank = router.map().topology.rank(0).to_vec();
        assert_eq!(server(&mut router, &[]), Some(rank[0]));
        assert_eq!(server(&mut router, &rank[..1]), Some(rank[1]));
        assert_eq!(server(&mut router, &rank), None, "nobody outside of the group");
    }

    #[test]
    fn c13_a_server_in_failover_mode_is_skipped() {
        let mut router = router(&[0, 0, 0]);
        let rank = router.map().topology.rank(0).to_vec();
        router.machine(rank[0]).failure(NOW, 9, false);
        assert_eq!(server(&mut router, &[]), Some(rank[1]));
        router.machine(rank[1]).failure(NOW, 9, false);
        assert_eq!(server(&mut router, &[]), Some(rank[2]));
        router.machine(rank[2]).failure(NOW, 9, false);
        let route = router.route(NOW, 0, &[]);
        assert_eq!(
            route.map(|r| (r.server, r.trial)),
            Some((rank[0], true)),
            "there is no better candidate"
        );
        assert_eq!(server(&mut router, &rank[..1]), Some(rank[1]));
    }

    #[test]
    fn a_newer_map_takes_effect_at_once_and_an_older_one_is_dropped() {
        let mut router = router(&[0, 0]);
        let rank = router.map().topology.rank(0).to_vec();
        let offline = with_state(&router, rank[0], ServerState::Offline);
        let old = (**router.map()).clone();
        assert_eq!(router.apply(offline), Some(vec![]));
        assert_eq!(server(&mut router, &[]), Some(rank[1]));
        assert_eq!(router.apply(old), None);
        assert_eq!(server(&mut router, &[]), Some(rank[1]));

        router.machine(rank[0]).failure(NOW, 9, false);
        let online = with_state(&router, rank[0], ServerState::Online);
        assert_eq!(router.apply(online), Some(vec![rank[0]]), "in any state");
        assert_eq!(router.machine(rank[0]).state(), State::Home);
        assert_eq!(server(&mut router, &[]), Some(rank[0]));
    }

    /// The client has missed the maps in between, or the server was back before a map was made.
    #[test]
    fn a_server_that_is_online_again_is_used_although_no_map_showed_it_offline() {
        let mut router = router(&[0, 0]);
        let rank = router.map().topology.rank(0).to_vec();
        router.machine(rank[0]).failure(NOW, 9, false);
        assert!(matches!(router.state(rank[0]), Some(State::Failover { .. })));
        let online = with_state(&router, rank[0], ServerState::Online);
        assert_eq!(router.apply(online), Some(vec![rank[0]]));
        assert_eq!(router.state(rank[0]), Some(State::Home));
        assert_eq!(router.state(2), None, "the map has no such server");
    }

    #[test]
    fn a_newer_map_about_another_server_leaves_failover_mode_alone() {
        let mut router = router(&[0, 0, 0]);
        let rank = router.map().topology.rank(0).to_vec();
        router.machine(rank[0]).failure(NOW, 9, false);
        let other = with_state(&router, rank[2], ServerState::Offline);
        assert_eq!(router.apply(other), Some(vec![]));
        assert_eq!(server(&mut router, &[]), Some(rank[1]));
    }

    #[test]
    fn the_map_of_another_cluster_is_refused() {
        let mut router = router(&[0, 0]);
        let epoch = MapEpoch { term: 9, counter: 0 };
        assert_eq!(router.apply(ClusterMap::new(topology(&[0, 0, 0]), epoch, Vec::new())), None);
    }
}
