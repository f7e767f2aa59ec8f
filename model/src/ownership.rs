//! The owner of the key, according to the shipped [`ClusterMap`]. It is computed once for every
//! combination of states, because an exploration needs it millions of times.

use std::sync::Arc;

use standin_protocol::map::{
    ClusterMap, MapEpoch, NO_SERVER, ServerInfo, ServerState, ServerStatus, Topology,
};

use crate::rules::{Rule, Rules};
use crate::state::{Map, SERVERS_MAX};

/// All states, in the order of their codes.
const STATES: [ServerState; 5] = [
    ServerState::Online,
    ServerState::Offline,
    ServerState::Returning,
    ServerState::Leaving,
    ServerState::Waiting,
];

/// The owner, and the number of servers (by rank) on which its epoch depends.
#[derive(Debug, Clone, Copy)]
struct Row {
    owner: Option<usize>,
    depth: usize,
}

/// The table for a number of servers in one group. They are numbered by the key's rank, so 0 is its
/// home.
#[derive(Debug)]
pub struct Ownerships {
    rows: Vec<Row>,
    servers: usize,
    /// Whether a server that is waiting counts as offline, as in a mutant.
    moves_at_waiting: bool,
}

impl Ownerships {
    /// Computes the table with the shipped code.
    ///
    /// # Panics
    /// If the shipped code refuses a topology of so few servers.
    #[must_use]
    pub fn new(servers: usize, rules: &Rules) -> Self {
        let info = |index: usize| ServerInfo {
            name: format!("s{index}"),
            group: 0,
            weight: 1,
            shards: 1,
            address: ([127, 0, 0, 1], 1).into(),
        };
        let infos = (0..servers).map(info).collect();
        let topology = Topology::new("model".to_owned(), ([127, 0, 0, 1], 2).into(), infos, 1);
        let Ok(topology) = topology else { panic!("a group of {servers} is a valid topology") };
        let topology = Arc::new(topology);
        let combinations = STATES.len().pow(u32::try_from(servers).unwrap_or(0));
        let row = |combination: usize| {
            let mut statuses = vec![ServerStatus::default(); servers];
            let mut rest = combination;
            for (counter, &id) in (1..).zip(topology.rank(0)) {
                let since = MapEpoch { term: 0, counter };
                let state = STATES[rest % STATES.len()];
                statuses[usize::from(id)] = ServerStatus { state, since, boot_id: 1 };
                rest /= STATES.len();
            }
            let map = ClusterMap::new(Arc::clone(&topology), MapEpoch::default(), statuses);
            let found = map.ownership(0);
            let position = |id: u16| topology.rank(0).iter().position(|&ranked| ranked == id);
            let owner = if found.owner == NO_SERVER { None } else { position(found.owner) };
            Row { owner, depth: found.epoch.counter as usize }
        };
        let moves_at_waiting = !rules.has(Rule::UnownedWhileWaiting);
        Self { rows: (0..combinations).map(row).collect(), servers, moves_at_waiting }
    }

    fn row(&self, map: &Map) -> Row {
        let digits = map.statuses[..self.servers].iter().rev();
        let index = digits.fold(0, |sum, status| {
            let state = match status.state {
                ServerState::Waiting if self.moves_at_waiting => ServerState::Offline,
                state => state,
            };
            sum * STATES.len() + state as usize
        });
        self.rows[index]
    }

    /// Returns the only server that may cache the key.
    #[must_use]
    pub fn owner(&self, map: &Map) -> Option<usize> {
        self.row(map).owner
    }

    /// Returns a number that changes whenever the owner has changed.
    #[must_use]
    pub fn epoch(&self, map: &Map) -> u8 {
        let depth = self.row(map).depth;
        map.statuses[..depth].iter().map(|status| status.since).max().unwrap_or(0)
    }

    /// Returns the server because of which nobody owns the key.
    #[must_use]
    pub fn blocker(&self, map: &Map) -> usize {
        self.row(map).depth - 1
    }

    /// Returns the server that will own the key if the waiting ones do not come back.
    #[must_use]
    pub fn next_owner(&self, map: &Map) -> Option<usize> {
        let mut later = *map;
        for status in &mut later.statuses[..self.servers] {
            if status.state == ServerState::Waiting {
                status.state = ServerState::Offline;
            }
        }
        self.owner(&later)
    }
}

const _: () = assert!(SERVERS_MAX >= 2, "there must be a server that can stand in");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Mode;

    #[test]
    fn the_table_is_that_of_the_shipped_code() {
        let table = Ownerships::new(3, &Rules::all(Mode::Strict));
        let mut map = Map::default();
        for (index, status) in map.statuses.iter_mut().enumerate() {
            status.since = [5, 7, 6][index];
        }
        assert_eq!((table.owner(&map), table.epoch(&map)), (Some(0), 5));
        map.statuses[0].state = ServerState::Waiting;
        assert_eq!((table.owner(&map), table.next_owner(&map)), (None, Some(1)));
        map.statuses[0].state = ServerState::Offline;
        assert_eq!((table.owner(&map), table.epoch(&map)), (Some(1), 7));
        map.statuses[1].state = ServerState::Returning;
        assert_eq!((table.owner(&map), table.epoch(&map)), (None, 7));
    }
}
