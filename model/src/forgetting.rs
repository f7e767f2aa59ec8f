//! A master that starts without its state file. It adopts a server's map if it hears all servers
//! and they are the incarnations that the newest map names. Otherwise it makes all servers that
//! seem online return.
//!
//! This takes as long as a lease, so that the leases of the previous master have expired by then.
//!
//! Any server may give its map, or none, because fetches fail and some servers are heard too late.
//! If a server is not heard, and the map that the master uses does not name its incarnation, the
//! master does not know the incarnation. It is zero until that server is heard or answers.

use standin_protocol::map::ServerState;

use crate::failover::Failover;
use crate::rules::Rule;
use crate::state::{Map, State, Status};
use crate::tally::Event;

impl Failover {
    /// Whether a server's renewals reach a master that learns.
    fn is_heard(state: &State, id: usize) -> bool {
        state.servers[id].is_up && !state.servers[id].is_silent
    }

    /// Whether a server could give the master its map.
    fn may_give(&self, state: &State, id: usize) -> bool {
        Self::is_heard(state, id) && state.servers[id].map != 0
    }

    /// Whether the map of this server contains everything that there is to know.
    fn is_all(&self, state: &State, given: usize) -> bool {
        let Some(map) = state.map_at(given) else { return false };
        let newest = state.servers[given].map;
        self.ids().all(|id| {
            let server = &state.servers[id];
            let is_named = map.statuses[id].boot == server.boot;
            Self::is_heard(state, id) && is_named && server.map <= newest
        })
    }

    /// Whether the master adopts the map of this server.
    fn believes(&self, state: &State, given: usize) -> bool {
        self.is_all(state, given) || !self.rules.has(Rule::NoFileNeedsAll)
    }

    /// Whether a master may have learned from this server (or from none) by now, and may make
    /// announcements.
    pub(crate) fn may_forget(&self, state: &State, given: Option<usize>) -> bool {
        let over = self.clock.over_steps;
        let ages = &state.master.lease_ages[..self.scope.servers];
        match given {
            Some(id) if !self.may_give(state, id) => false,
            Some(id) if self.believes(state, id) => true,
            _ => ages.iter().all(|age| *age >= over),
        }
    }

    /// Starts the master without its file. It learns from this server, or from none.
    pub(crate) fn master_forgets(&self, state: &mut State, given: Option<usize>) {
        let map = given.and_then(|id| state.map_at(id)).copied();
        let is_believed = given.is_some_and(|id| self.believes(state, id));
        let (map, ages) = match map.filter(|_| is_believed) {
            Some(map) => (map, None),
            None => (self.all_return(state, map), Some(state.master.lease_ages)),
        };
        self.restarted(state, map);
        if let Some(ages) = ages {
            state.master.lease_ages = ages;
        }
        self.tally.note(Event::MasterForgot);
    }

    fn all_return(&self, state: &State, given: Option<Map>) -> Map {
        let since = state.published + 1;
        let mut map = given.unwrap_or_default();
        for id in self.ids() {
            let Status { state: was, boot, .. } = map.statuses[id];
            let heard = if Self::is_heard(state, id) { state.servers[id].boot } else { 0 };
            let is_named = given.is_some() && boot != 0;
            map.statuses[id] = Status {
                state: if was == ServerState::Online { ServerState::Returning } else { was },
                since,
                boot: if is_named { boot } else { heard },
            };
        }
        map
    }

    /// Whether the master can learn the incarnation of a server without learning anything else.
    pub(crate) fn may_be_named(&self, state: &State, id: usize) -> bool {
        let status = state.newest().statuses[id];
        let is_out = matches!(status.state, ServerState::Waiting | ServerState::Offline);
        status.boot == 0 && !is_out && Self::is_heard(state, id)
    }

    /// Makes the master learn the incarnation of a server.
    pub(crate) fn named(&self, state: &mut State, id: usize) {
        let mut map = *state.newest();
        map.statuses[id].boot = state.servers[id].boot;
        state.master.acked[id] = 0;
        self.publish(state, map);
    }
}
