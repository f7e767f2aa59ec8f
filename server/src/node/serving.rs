//! What a shard does with requests of a partition: the table of docs/FAILOVER.md as one
//! pure function, evaluated when the map or a peer's reachability changes, so that a
//! request only reads the answer.

use standin_protocol::map::{ClusterMap, NO_SERVER, ServerState};

/// How a shard treats requests of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// This server owns the partition: reads fill the cache, writes go through it.
    Cached,
    /// Nobody may cache the partition now: it is changing hands, or this server does not
    /// know yet. Reads go through to the origin, writes wait for the next map.
    Unowned,
    /// Another server owns it and is not known to be unreachable: send it on (claim 15).
    Forward(u16),
    /// The owner can't be reached and the master has not decided yet (claim 15). It may well
    /// be alive and caching, so nothing is kept here: reads go through to the origin, writes
    /// wait for the verdict.
    Provisional(u16),
}

/// What the table depends on besides the map.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This server.
    pub server: u16,
    /// Its incarnation.
    pub boot_id: u64,
    /// By server id: whether sending to it failed and nothing has contradicted that since.
    pub unreachable: &'a [bool],
}

/// First line that fits (docs/FAILOVER.md, "What a server does with a request").
#[must_use]
pub fn decide(map: Option<&ClusterMap>, partition: u32, view: View<'_>) -> Serving {
    // Before the first map a server knows of nobody's writes: it may not keep anything.
    let Some(map) = map else { return Serving::Unowned };
    let owner = map.ownership(partition).owner;
    if owner == NO_SERVER {
        return Serving::Unowned;
    }
    if owner == view.server {
        // The map may still speak of this server's last life; the master has to learn of
        // the new one, and the stand-ins have to let go, before anything may be cached.
        let known = map.statuses()[usize::from(owner)].boot_id == view.boot_id;
        return if known { Serving::Cached } else { Serving::Unowned };
    }
    if map.state(owner) == ServerState::Online && !view.unreachable[usize::from(owner)] {
        return Serving::Forward(owner);
    }
    Serving::Provisional(owner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use standin_protocol::map::{MapEpoch, ServerInfo, ServerStatus, Topology};

    use super::*;

    fn map(states: [ServerState; 2], boot_ids: [u64; 2]) -> ClusterMap {
        let server = |name: &str, port: u16| ServerInfo {
            name: name.to_owned(),
            group: 0,
            weight: 1,
            shards: 1,
            address: ([127, 0, 0, 1], port).into(),
        };
        let servers = vec![server("a1", 1), server("a2", 2)];
        let topology =
            Topology::new("t".to_owned(), ([127, 0, 0, 1], 9).into(), servers, 16).unwrap();
        let epoch = MapEpoch { term: 1, counter: 3 };
        let status =
            |i: usize| ServerStatus { state: states[i], since: epoch, boot_id: boot_ids[i] };
        ClusterMap::new(Arc::new(topology), epoch, vec![status(0), status(1)])
    }

    fn decide_at(server: u16, home: u16, map: &ClusterMap, unreachable: [bool; 2]) -> Serving {
        let partition = (0..16).find(|p| map.topology.home(*p) == home).unwrap();
        let view = View { server, boot_id: 7, unreachable: &unreachable };
        decide(Some(map), partition, view)
    }

    #[test]
    fn each_line_of_the_table() {
        use ServerState::{Offline, Online, Returning};
        let both = map([Online, Online], [7, 8]);
        let view = View { server: 0, boot_id: 7, unreachable: &[false, false] };
        assert_eq!(decide(None, 0, view), Serving::Unowned, "no map yet");
        assert_eq!(decide_at(0, 0, &both, [false; 2]), Serving::Cached, "own type");
        assert_eq!(decide_at(0, 1, &both, [false; 2]), Serving::Forward(1), "other type");
        assert_eq!(decide_at(0, 1, &both, [false, true]), Serving::Provisional(1), "no way there");
        let reborn = map([Online, Online], [6, 8]);
        assert_eq!(decide_at(0, 0, &reborn, [false; 2]), Serving::Unowned, "new incarnation");
        let alone = map([Online, Offline], [7, 8]);
        assert_eq!(decide_at(0, 1, &alone, [false; 2]), Serving::Cached, "stand-in");
        let back = map([Online, Returning], [7, 8]);
        assert_eq!(decide_at(0, 1, &back, [false; 2]), Serving::Unowned, "being handed back");
    }
}
