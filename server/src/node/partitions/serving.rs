//! The serving of a partition: the table of docs/FAILOVER.md as one pure function. It is evaluated
//! when the map, the lease or a peer's reachability changes, so that a request only reads the
//! result.
//!
//! | owner by the map | and | [`Serving`] | reads | writes |
//! |---|---|---|---|---|
//! | this server | this incarnation is known, and it has a lease (or is orphan) | `Cached` | cache, filled from the origin | origin, then cache |
//! | this server | otherwise | `Through` | origin | wait for a lease, then UNAVAILABLE |
//! | nobody: it is silent and may still have a lease | `available`, this server comes next and has a lease (or is orphan) | `Waiting` | cache, filled from the origin for L(1−ρ) | origin, logged |
//! | nobody otherwise (one comes back, leaves, is silent), or no map | | `Unowned` | origin | wait; then orphan: origin, logged; else UNAVAILABLE |
//! | another | it can be reached, as far as is known | `Forward` | sent on | sent on |
//! | another | only this server can't reach it (verdict) | `Relay` | through a member of the group, else origin | through a member of the group, else UNAVAILABLE |
//! | another | it can't be reached, no verdict yet | `Provisional` | origin | wait; then orphan: origin if the owner is dead, else relay; else UNAVAILABLE |
//!
//! Only `Cached` and `Waiting` keep anything; what `Waiting` keeps is never older than a lease,
//! whichever server writes meanwhile. `Early` (words.rs) is `Cached` that keeps like `Waiting`. A request that
//! was sent on (FORWARDED) gets NOT_OWNER unless the owner by the map is this server. *Wait* is bounded by
//! `park_max`; servers outside the partition's group never write for it.

use standin_protocol::map::{ClusterMap, NO_SERVER, ServerState};
use standin_protocol::mutant::{self, Mutant};

/// The way in which a shard serves one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// This server owns the partition: reads fill the cache, writes go through it.
    Cached,
    /// The partition has become this server's, which has told its group not long ago that it had lost
    /// the master: a member may still write by that word (words.rs). What is read is kept for a lease
    /// at most.
    Early,
    /// This server owns the partition, but has no lease: another may own it by now.
    Through,
    /// The owner is silent and may still have a lease; nobody owns the partition until that
    /// has run out. Then it is this server's, which may write until then (`available`): it will not
    /// have an older value in its cache afterwards. What it reads it keeps for a lease at most.
    Waiting,
    /// No server may cache the partition now: its owner is changing, or this server does not know
    /// it yet.
    Unowned,
    /// Another server owns it and is not known to be unreachable: send it on (claim 15).
    Forward(u16),
    /// The owner can't be reached from here, but the master can reach it: it goes on as the
    /// owner, and is reached through a member of its group.
    Relay(u16),
    /// The owner can't be reached and the master has not decided yet (claim 15). It may well
    /// be alive and caching, so nothing is kept here.
    Provisional(u16),
}

impl Serving {
    /// The other server that owns the partition.
    #[must_use]
    pub fn other(self) -> Option<u16> {
        match self {
            Self::Forward(owner) | Self::Relay(owner) | Self::Provisional(owner) => Some(owner),
            Self::Cached | Self::Early | Self::Through | Self::Waiting | Self::Unowned => None,
        }
    }

    /// Whether reads are answered from the cache, and leave something there.
    #[inline]
    #[must_use]
    pub fn keeps(self) -> bool {
        matches!(self, Self::Cached | Self::Early | Self::Waiting)
    }

    /// Whether what it leaves there is good for a lease at most.
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
    /// As far as is known.
    #[default]
    Direct,
    /// Sending to it failed and nothing has contradicted that since.
    None,
    /// Sending to it failed, and the master has contradicted that: only this server can't reach it.
    Split,
}

/// The inputs of the table besides the map.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This server.
    pub server: u16,
    /// Its incarnation.
    pub boot_id: u64,
    /// Whether writes go on without an owner (mode `available`).
    pub is_available: bool,
    /// Whether it has a lease, or is orphan where that counts as much.
    pub may_own: bool,
    /// By server id.
    pub reach: &'a [Reach],
}

/// The first line that fits (docs/FAILOVER.md, "What a server does with a request").
#[must_use]
pub fn decide(map: Option<&ClusterMap>, partition: u32, view: View<'_>) -> Serving {
    // Without a map a server does not know of others' writes, and may not cache anything.
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
        // The map may still speak of this server's last life; the master has to learn of
        // the new one, and the stand-ins have to let go, before anything may be cached.
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

    /// Server 0's view of a partition with this home.
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
        assert_eq!(decided(1, &silent, true, Direct), Serving::Waiting, "its lease may last");
        assert_eq!(decided(1, &silent, false, Direct), Serving::Unowned, "so may another's");
        let theirs = (0..16).find(|p| silent.topology.home(*p) == 1).unwrap();
        let strict = View { is_available: false, ..VIEW };
        assert_eq!(decide(Some(&silent), theirs, strict), Serving::Unowned, "strict");
        let reborn = map([Online, Waiting], [6, 8]);
        assert_eq!(decided(1, &reborn, true, Direct), Serving::Unowned, "not known yet");
        let own = map([Waiting, Online], [7, 8]);
        assert_eq!(decided(0, &own, true, Direct), Serving::Unowned, "given up, not known why");
        let back = map([Online, Returning], [7, 8]);
        assert_eq!(decided(1, &back, true, Direct), Serving::Unowned, "being handed back");
        let leaving = map([Online, Leaving], [7, 8]);
        assert_eq!(decided(1, &leaving, true, Direct), Serving::Unowned, "being given up");
        assert_eq!(decided(1, &both, true, Direct), Serving::Forward(1), "other type");
        assert_eq!(decided(1, &both, true, Split), Serving::Relay(1), "no way there from here");
        assert_eq!(decided(1, &both, true, Unreachable), Serving::Provisional(1), "no way there");
        let alone = map([Online, Offline], [7, 8]);
        assert_eq!(decided(1, &alone, true, Unreachable), Serving::Cached, "stand-in");
        assert_eq!(decided(1, &alone, false, Unreachable), Serving::Through, "without a lease");
    }
}
