//! How requests for the key are served: the table of docs/FAILOVER.md, reduced to the parts that
//! matter for caches and acknowledgements.

use standin_protocol::map::ServerState;

use crate::failover::Failover;
use crate::rules::Rule;
use crate::state::{HOME, Map, NEVER, State};

/// The way in which a server serves the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// The server owns the key and holds a lease.
    Cached,
    /// The server owns the key and has no lease, but nobody hears the master (`available`).
    Orphan,
    /// The home owns the key, and has not yet found out whether it may keep its cached value.
    Unreconciled,
    /// The server owns the key and may not act on it now.
    Through,
    /// Nobody owns the key because of this server, or there is no map yet.
    Unowned(Option<usize>),
    /// Another server owns the key, reachable or not.
    Other(usize),
}

impl Serving {
    /// Whether reads are answered from the cache, and writes go through it.
    #[must_use]
    pub fn is_cached(self) -> bool {
        matches!(self, Self::Cached | Self::Orphan)
    }
}

impl Failover {
    /// Returns the result of the first line that applies.
    #[must_use]
    pub fn serving(&self, state: &State, id: usize) -> Serving {
        let server = &state.servers[id];
        let Some(map) = state.map_at(id) else { return Serving::Unowned(None) };
        match self.ownerships.owner(map) {
            None => Serving::Unowned(Some(self.ownerships.blocker(map))),
            Some(owner) if owner != id => Serving::Other(owner),
            Some(_) => {
                let is_known = map.statuses[id].boot == server.boot;
                if !is_known {
                    return Serving::Through;
                }
                let may = self.has_lease(state, id) || self.is_orphan(state, id);
                if may && id == HOME && !self.is_reconciled(state, map) {
                    Serving::Unreconciled
                } else if self.has_lease(state, id) {
                    Serving::Cached
                } else if self.is_orphan(state, id) {
                    Serving::Orphan
                } else {
                    Serving::Through
                }
            }
        }
    }

    /// Whether a server holds a lease that it may use.
    #[must_use]
    pub fn has_lease(&self, state: &State, id: usize) -> bool {
        let server = &state.servers[id];
        let needs = if self.rules.has(Rule::LeaseNeedsMap) { server.map } else { NEVER - 1 };
        server.is_up && server.leases.iter().any(|granted| *granted <= needs)
    }

    /// Whether the home has found out whether it may keep its value, under this map or under one
    /// with the same owner.
    fn is_reconciled(&self, state: &State, map: &Map) -> bool {
        let left = state.map(state.servers[HOME].left);
        left.is_some_and(|left| self.ownerships.epoch(left) == self.ownerships.epoch(map))
    }

    /// Whether a server without a lease may go on, because the others of its group are dead
    /// or have lost the master as well.
    #[must_use]
    pub fn is_orphan(&self, state: &State, id: usize) -> bool {
        let server = &state.servers[id];
        if !self.rules.is_available() || !server.is_up || self.has_lease(state, id) {
            return false;
        }
        if server.heard > server.map && self.rules.has(Rule::OrphanKnowsNothingNewer) {
            return false;
        }
        let needs_others = self.rules.has(Rule::OrphanNeedsOthers);
        self.others(id)
            .all(|other| !needs_others || !state.servers[other].is_up || server.lost_too[other] > 0)
    }

    /// Whether a server answers reads of the key from its cache.
    #[must_use]
    pub fn answers_from_cache(&self, state: &State, id: usize) -> bool {
        match self.serving(state, id) {
            Serving::Cached | Serving::Orphan => true,
            Serving::Other(_) => !self.rules.has(Rule::ProvisionalKeepsNothing),
            Serving::Unreconciled | Serving::Through | Serving::Unowned(_) => false,
        }
    }

    /// Whether a server will be the next owner and keeps the values that it reads for a lease at
    /// most, because the owner is waiting.
    #[must_use]
    pub fn keeps_briefly(&self, state: &State, id: usize) -> bool {
        let Serving::Unowned(Some(blocker)) = self.serving(state, id) else { return false };
        let may =
            self.rules.is_available() && (self.has_lease(state, id) || self.is_orphan(state, id));
        state.map_at(id).is_some_and(|map| {
            may && map.statuses[id].boot == state.servers[id].boot
                && map.statuses[blocker].state == ServerState::Waiting
                && self.ownerships.next_owner(map) == Some(id)
        })
    }

    /// Returns the authority under which a server could begin a write now: true if it is the owner.
    #[must_use]
    pub fn may_begin(&self, state: &State, id: usize) -> Option<bool> {
        if !state.servers[id].is_up {
            return None;
        }
        let is_orphan = self.is_orphan(state, id);
        let (map, blocker) = match self.serving(state, id) {
            Serving::Cached | Serving::Orphan => return Some(true),
            Serving::Unreconciled | Serving::Through | Serving::Unowned(None) => return None,
            // The server has neither a lease nor a verdict: it can't reach the owner, and nobody
            // hears the master.
            Serving::Other(_) => return is_orphan.then_some(false),
            Serving::Unowned(Some(blocker)) => (state.map_at(id)?, blocker),
        };
        if !self.rules.is_available() || !(is_orphan || self.has_lease(state, id)) {
            return None;
        }
        let may = match map.statuses[blocker].state {
            ServerState::Waiting if self.rules.has(Rule::NextOwnerWrites) => {
                is_orphan || self.ownerships.next_owner(map) == Some(id)
            }
            ServerState::Waiting => true,
            _ => is_orphan || !self.rules.has(Rule::NoWritesDuringReturn),
        };
        may.then_some(false)
    }
}
