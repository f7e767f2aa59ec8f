//! Where the partitions of a map are, by server: who stands in for whom, and what is between two owners. Pure.

use std::collections::BTreeMap;

use standin_protocol::map::{ClusterMap, MapEpoch, NO_SERVER, ServerState};

use super::shown::Partitions;

/// The partitions of one map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The epoch of the map and the id of its topology.
    pub(super) of: (MapEpoch, u64),
    pub(super) all: Partitions,
    servers: Vec<OfServer>,
    /// The number of partitions by home and stand-in.
    pub(super) stand_ins: BTreeMap<(u16, u16), u32>,
}

/// The partitions of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OfServer {
    /// It owns them.
    pub(super) owned: u32,
    /// It is their home.
    pub(super) home: u32,
    /// It is the home, and they have no owner until a change is over.
    pub(super) moving: u32,
    /// It is the home, and every server of the group is offline.
    pub(super) unowned: u32,
}

impl Standing {
    pub(super) fn of(map: &ClusterMap) -> Self {
        let topology = &map.topology;
        let mut standing = Self {
            of: (map.epoch, topology.id),
            servers: vec![OfServer::default(); topology.servers.len()],
            ..Self::default()
        };
        standing.all.total = topology.partitions;
        for partition in 0..topology.partitions {
            let ownership = map.ownership(partition);
            let (home, owner) = (ownership.home, ownership.owner);
            standing.servers[usize::from(home)].home += 1;
            if owner != NO_SERVER {
                standing.servers[usize::from(owner)].owned += 1;
            }
            if owner == home {
                standing.all.at_home += 1;
            } else if owner != NO_SERVER {
                standing.all.stood_in += 1;
                *standing.stand_ins.entry((home, owner)).or_default() += 1;
            } else if is_lost(map, partition) {
                standing.all.unowned += 1;
                standing.servers[usize::from(home)].unowned += 1;
            } else {
                standing.all.moving += 1;
                standing.servers[usize::from(home)].moving += 1;
            }
        }
        standing
    }

    pub(super) fn server(&self, id: u16) -> OfServer {
        self.servers.get(usize::from(id)).copied().unwrap_or_default()
    }
}

/// Whether every server that could own the partition is offline.
fn is_lost(map: &ClusterMap, partition: u32) -> bool {
    let mut rank = map.topology.rank(partition).iter();
    rank.all(|id| map.state(*id) == ServerState::Offline)
}
