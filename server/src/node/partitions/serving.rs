//! How a partition is served: the table of docs/FAILOVER.md as one pure function. It is evaluated
//! when the map, the lease or a peer's reachability changes, so that a request only reads the
//! result.
//!
//! | owner by the map | and | [`Serving`] | reads | writes |
//! |---|---|---|---|---|
//! | this server | this incarnation is known, and it has a lease (or is orphan) | `Cached` | cache, filled from the origin | origin, then cache |
//! | this server | otherwise | `Through` | origin | wait for a lease, then UNAVAILABLE |
//! | nobody: it is silent and may still have a lease | `available`, this server comes next and has a lease (or is orphan) | `Waiting` | cache, filled from the origin for L(1−ρ) | origin, logged |
//! | nobody otherwise (one returns, leaves, is silent), or no map | | `Unowned` | origin | wait; then orphan: origin, logged; otherwise UNAVAILABLE |
//! | another | it can be reached, as far as is known | `Forward` | forwarded | forwarded |
//! | another | only this server can't reach it (the master says that it is online) | `Relay` | through a member of the group, otherwise origin | through a member of the group, otherwise UNAVAILABLE |
//! | another | it can't be reached, and the master has not decided yet | `Provisional` | origin | wait; then orphan: origin if the owner is dead, otherwise relay; not orphan: UNAVAILABLE |
//!
//! Only `Cached` and `Waiting` keep values. The values that `Waiting` keeps are never older than a
//! lease, whichever server writes meanwhile. `Early` (words.rs) is served like `Cached`, but keeps
//! values like `Waiting`. A request that was forwarded (FORWARDED) is answered with NOT_OWNER
//! unless this server is the owner by the map. *Wait* is bounded by `park_max`. Servers outside the
//! partition's group never write for it.

use standin_protocol::map::{ClusterMap, NO_SERVER, ServerState};
use standin_protocol::mutant::{self, Mutant};

/// The way in which a shard serves one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// This server owns the partition. Reads fill the cache, and writes go through it.
    Cached,
    /// This server has become the owner of the partition not long after it told its group that it
    /// had lost the master. A member may still write because of that word (words.rs). Values that
    /// are read are kept for a lease at most.
    Early,
    /// This server owns the partition according to the map, but has no lease. Another server may
    /// own it by now.
    Through,
    /// The owner is silent and may still have a lease. Nobody owns the partition until that lease
    /// has run out, and this server owns it afterwards. In mode `available` it may write until
    /// then, because it will not have an older value in its cache afterwards. It keeps the values
    /// that it reads for a lease at most.
    Waiting,
    /// No server may cache the partition now, because its owner is changing or this server does not
    /// know it yet.
    Unowned,
    /// Another server owns the partition and is not known to be unreachable. Requests are forwarded
    /// to it (claim 15).
    Forward(u16),
    /// The owner can't be reached from here, but the master can reach it. It remains the owner, and
    /// is reached through a member of its group.
    Relay(u16),
    /// The owner can't be reached, and the master has not decided yet (claim 15). The owner may
    /// well be alive and caching, so nothing is kept here.
    Provisional(u16),
}

impl Serving {
    /// Returns the other server that owns the partition.
    #[must_use]
    pub fn other(self) -> Option<u16> {
        match self {
            Self::Forward(owner) | Self::Relay(owner) | Self::Provisional(owner) => Some(owner),
            Self::Cached | Self::Early | Self::Through | Self::Waiting | Self::Unowned => None,
        }
    }

    /// Whether reads are answered from the cache and fill it.
    #[inline]
    #[must_use]
    pub fn keeps(self) -> bool {
        matches!(self, Self::Cached | Self::Early | Self::Waiting)
    }

    /// Whether the values kept are valid for a lease at most.
    #[must_use]
    pub fn is_brief(self) -> bool {
        matches!(self, Self::Early | Self::Waiting)
    }

    /// Whether the map says that this server owns the partition.
    #[must_use]
    pub fn is_own(self) -> bool {
        matches!(self, Self::Cached | Self::Early | Self::Through)
    }
}

/// Whether a peer can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// It can be reached, as far as is known.
    #[default]
    Direct,
    /// Sending to the peer failed, and nothing has contradicted that since.
    None,
    /// Sending to the peer failed, but the master says that it is online. Only this server can't
    /// reach it.
    Split,
}

/// The inputs of the table in addition to the map.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This server.
    pub server: u16,
    /// The incarnation of this server.
    pub boot_id: u64,
    /// Whether writes go on without an owner, as they do in mode `available`.
    pub is_available: bool,
    /// Whether this server has a lease, or is an orphan where the mode allows that.
    pub may_own: bool,
    /// The reachability of peers, by server id.
    pub reach: &'a [Reach],
}

/// Returns the result of the first line of the table that applies (docs/FAILOVER.md, "What a server
/// does with a request").
#[must_use]
pub fn decide(map: Option<&ClusterMap>, partition: u32, view: View<'_>) -> Serving {
    // A server without a map does not know of the writes of others, and may not cache anything.
    let Some(map) = map else { return Serving::Unowned };
    let owner = map.ownership(partition).owner;
    if owner == NO_SERVER {
        let is_silent =
            |id: &&u16| matches!(map.state(**id), ServerState::Offline | ServerState::Waiting);
        let next = map.topology.rank(partition).iter().find(|id| !is_silent(id)).copied();
        let is_known = map.statuses()[usize::from(view.server)].boot_id == view.boot_id;
        let is_next = next == Some(view.server) && map.state(view.server) == ServerState::Online;
        let may_act = is_known && view.is_available && view.may_own;
        return if is_next && may_act { Serving::Waiting } else { Serving::Unowned };
    }
    if owner == view.server {
        // The map may still name the previous incarnation of this server. Before anything may be
        // cached, the master has to learn of the new one, and the stand-ins have to release the
        // partition.
        let is_known = map.statuses()[usize::from(owner)].boot_id == view.boot_id;
        return if is_known && view.may_own { Serving::Cached } else { Serving::Through };
    }
    match view.reach[usize::from(owner)] {
        Reach::Direct => Serving::Forward(owner),
        _ if mutant::is(Mutant::ProvisionalCaches) => Serving::Cached,
        Reach::Split => Serving::Relay(owner),
        Reach::None => Serving::Provisional(owner),
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::map::{MapEpoch, ServerStatus};

    use super::*;
    use crate::node::tests::pair;

    fn map(states: [ServerState; 2], boot_ids: [u64; 2]) -> ClusterMap {
        let epoch = MapEpoch { term: 1, counter: 3 };
        let status =
            |i: usize| ServerStatus { state: states[i], since: epoch, boot_id: boot_ids[i] };
        ClusterMap::new(pair(1, 16), epoch, vec![status(0), status(1)])
    }

    const VIEW: View<'_> = View {
        server: 0,
        boot_id: 7,
        is_available: true,
        may_own: true,
        reach: &[Reach::Direct; 2],
    };

    /// Returns how server 0 serves a partition with this home.
    fn decided(home: u16, map: &ClusterMap, may_own: bool, reach: Reach) -> Serving {
        let partition = (0..16).find(|p| map.topology.home(*p) == home).unwrap();
        let reach = [Reach::Direct, reach];
        decide(Some(map), partition, View { may_own, reach: &reach, ..VIEW })
    }

    #[test]
    fn each_line_of_the_table() {
        use Reach::{Direct, None as Unreachable, Split};
        use ServerState::{Leaving, Offline, Online, Returning, Waiting};
        let both = map([Online, Online], [7, 8]);
        assert_eq!(decide(None, 0, VIEW), Serving::Unowned, "no map yet");
        assert_eq!(decided(0, &both, true, Direct), Serving::Cached, "own, with a lease");
        assert_eq!(decided(0, &both, false, Direct), Serving::Through, "own, without");
        let reborn = map([Online, Online], [6, 8]);
        assert_eq!(decided(0, &reborn, true, Direct), Serving::Through, "new incarnation");
        let silent = map([Online, Waiting], [7, 8]);
        assert_eq!(
            decided(1, &silent, true, Direct),
            Serving::Waiting,
            "the owner may still have a lease"
        );
        assert_eq!(
            decided(1, &silent, false, Direct),
            Serving::Unowned,
            "this server has no lease"
        );
        let theirs = (0..16).find(|p| silent.topology.home(*p) == 1).unwrap();
        let strict = View { is_available: false, ..VIEW };
        assert_eq!(decide(Some(&silent), theirs, strict), Serving::Unowned, "strict");
        let reborn = map([Online, Waiting], [6, 8]);
        assert_eq!(decided(1, &reborn, true, Direct), Serving::Unowned, "not known yet");
        let own = map([Waiting, Online], [7, 8]);
        assert_eq!(
            decided(0, &own, true, Direct),
            Serving::Unowned,
            "the map names no owner for an unknown reason"
        );
        let back = map([Online, Returning], [7, 8]);
        assert_eq!(decided(1, &back, true, Direct), Serving::Unowned, "being handed back");
        let leaving = map([Online, Leaving], [7, 8]);
        assert_eq!(decided(1, &leaving, true, Direct), Serving::Unowned, "being given up");
        assert_eq!(
            decided(1, &both, true, Direct),
            Serving::Forward(1),
            "the other server owns it"
        );
        assert_eq!(
            decided(1, &both, true, Split),
            Serving::Relay(1),
            "only this server can't reach it"
        );
        assert_eq!(
            decided(1, &both, true, Unreachable),
            Serving::Provisional(1),
            "it can't be reached"
        );
        let alone = map([Online, Offline], [7, 8]);
        assert_eq!(decided(1, &alone, true, Unreachable), Serving::Cached, "stand-in");
        assert_eq!(decided(1, &alone, false, Unreachable), Serving::Through, "without a lease");
    }
}
