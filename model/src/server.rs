//! The servers: their maps, leases, cached values, and logs of keys written elsewhere.
//!
//! Of the cache and of the fetches under way only one value is kept: the oldest that the server
//! could answer with. A fetch may be arbitrarily slow. So at any time a fetch may be under way that
//! began right after the last event that ended all earlier ones (the end of a write, a settled key,
//! another owner). A value may then stay in the cache for ever. So the oldest possible value is the
//! one that the origin had at that event, and no choice is left to explore. Values that were read
//! before the server owned the key expire by age, and are kept separately.

use standin_protocol::map::ServerState;

use crate::failover::Failover;
use crate::rules::Rule;
use crate::serving::Serving;
use crate::state::{Authority, HOME, Map, NEVER, NOTHING, Running, Server, State};
use crate::tally::Event;

impl Failover {
    /// Makes a map reach a server in any way. It may be any map that was ever published: a delayed
    /// copy, a map from another server, or the newest one.
    pub(crate) fn learn(&self, state: &mut State, id: usize, epoch: u8) {
        let (old, new) = (state.map_at(id).copied(), state.map(epoch).copied());
        let Some(new) = new else { return };
        let is_moved = old.is_none_or(|old| {
            self.ownerships.epoch(&old) != self.ownerships.epoch(&new)
                || self.ownerships.owner(&old) != self.ownerships.owner(&new)
        });
        if is_moved {
            self.lose_rights(state, id, &new);
        }
        self.apply_map(state, id, epoch, is_moved);
    }

    /// Changes the authority of a server's writes, because the owner has changed. A server whose
    /// lease is valid at this moment knows that no other server was the owner in between.
    fn lose_rights(&self, state: &mut State, id: usize, new: &Map) {
        let holds = self.has_lease(state, id) || self.is_orphan(state, id);
        let released = self.ownerships.owner(new).is_none()
            && matches!(
                new.statuses[self.ownerships.blocker(new)].state,
                ServerState::Returning | ServerState::Leaving
            );
        let was_last = holds || !self.rules.has(Rule::ReleasedByLastOwner);
        for write in state.running_mut().filter(|write| write.server == id) {
            write.authority = match write.authority {
                Authority::Owner if was_last && released => Authority::Released,
                Authority::Unowned if was_last => Authority::Unowned,
                _ => Authority::Lapsed,
            };
        }
    }

    fn apply_map(&self, state: &mut State, id: usize, epoch: u8, is_moved: bool) {
        let Some(new) = state.map(epoch).copied() else { return };
        let old = state.map_at(id).copied();
        let commits = state.commits;
        let server = &mut state.servers[id];
        server.map = epoch;
        server.lost_too = Default::default();
        if !new.statuses[id].state.answers() && self.rules.has(Rule::OutEndsLeases) {
            server.leases = [NEVER; _];
        }
        let is_named = new.statuses[id].boot == server.boot;
        if server.complete_since == 0 && (is_named || !self.rules.has(Rule::LogSinceNamed)) {
            server.complete_since = epoch;
        }
        let home = new.statuses[HOME];
        if id == HOME {
            if home.state == ServerState::Returning {
                server.returned = home.since;
            }
            return;
        }
        // The cached values of a stand-in are dropped when the partition is released.
        if is_moved && self.rules.has(Rule::StandInEntriesGo) {
            server.value = commits;
        }
        // A new incarnation has nothing to drop.
        let before = old.map_or(0, |old| old.statuses[HOME].boot);
        let is_named = home.boot != 0 || !self.rules.has(Rule::UnnamedIsNoOther);
        if is_named && before != 0 && home.boot != before {
            server.is_logged = false;
        }
        let was_since = old.map_or(0, |old| old.statuses[HOME].since);
        let is_back = home.state == ServerState::Online && home.since != was_since;
        if is_back && !self.rules.has(Rule::LogsClearedByDelivery) {
            server.is_logged = false;
        }
    }

    /// Returns the maps that may reach a server now.
    pub(crate) fn learnable(&self, state: &State, id: usize) -> impl Iterator<Item = u8> {
        let held = state.servers[id].map;
        let oldest = if self.rules.has(Rule::OnlyNewerMaps) { held + 1 } else { 1 };
        let others = state.servers;
        let (delays, newest, ids) = (self.scope.delays, state.published, self.ids());
        (oldest..=newest).filter(move |epoch| {
            let is_held =
                ids.clone().any(|other| others[other].is_up && others[other].map == *epoch);
            *epoch != held && (delays || *epoch == newest || is_held)
        })
    }

    /// Whether no write is left at this server that began under another owner than that of its map.
    /// Without an owner, no write may be left that began under another map.
    pub(crate) fn is_drained(&self, state: &State, id: usize) -> bool {
        let Some(map) = state.map_at(id) else { return false };
        let owner_epoch = self.ownerships.epoch(map);
        let is_outdated = |write: &Running| match write.authority {
            Authority::Owner => write.epoch != owner_epoch,
            Authority::Released | Authority::Lapsed => true,
            Authority::Unowned => {
                write.epoch != state.servers[id].map && self.rules.has(Rule::UnownedWritesDrain)
            }
        };
        let any = state.running().any(|write| write.server == id && is_outdated(write));
        !any || !self.rules.has(Rule::Drain)
    }

    /// Returns the return of the home for which a member of its group may hand over its log.
    pub(crate) fn handback_due(&self, state: &State, id: usize) -> Option<u8> {
        let server = &state.servers[id];
        let home = state.map_at(id)?.statuses[HOME];
        let is_due = id != HOME
            && server.is_up
            && state.servers[HOME].is_up
            && home.state == ServerState::Returning
            && self.is_drained(state, id);
        is_due.then_some(home.since)
    }

    /// Sends SETTLE for every key in the log, then HANDBACK. A handover that fails and is given up
    /// is modelled as the member's acknowledgement without this step.
    pub(crate) fn hand_back(&self, state: &mut State, id: usize, epoch: u8) {
        if state.servers[id].is_logged && self.rules.has(Rule::LogsNameKeys) {
            self.tally.note(Event::KeySettledOnReturn);
            self.settle_at(state, HOME);
        }
        if self.rules.has(Rule::LogsClearedByDelivery) {
            state.servers[id].is_logged = false;
        }
        let since = state.servers[id].complete_since;
        let home = &mut state.servers[HOME];
        let is_complete = since != 0 && since <= home.left;
        if is_complete || !self.rules.has(Rule::LogIsComplete) {
            home.handbacks[id] = epoch;
        }
    }

    /// Notes that a server is told that the key was written elsewhere. It drops its copy, and
    /// fetches and writes under way may not keep an older one.
    pub(crate) fn settle_at(&self, state: &mut State, id: usize) {
        if !self.rules.has(Rule::SettleEndsFills) {
            return;
        }
        self.drop_value(state, id);
        for write in state.running_mut().filter(|write| write.server == id) {
            write.is_disturbed = true;
        }
    }

    /// Drops the server's values of the key.
    pub(crate) fn drop_value(&self, state: &mut State, id: usize) {
        state.servers[id].value = state.commits;
        state.servers[id].brief = [NOTHING; _];
    }

    /// Lets a client read the key at the next owner, at every instant. The model leaves out that
    /// such values are dropped when another server owns the key, because their age alone has to
    /// bound them.
    pub(crate) fn keep_briefly(&self, state: &mut State, id: usize) {
        if self.keeps_briefly(state, id) {
            let oldest = &mut state.servers[id].brief[0];
            *oldest = (*oldest).min(state.commits);
        }
    }

    /// Ends a process with everything that it knew. Its writes may still commit, but nobody will
    /// ever be told.
    pub(crate) fn crash(&self, state: &mut State, id: usize) {
        let boot = state.servers[id].boot;
        let (leases, brief) = ([NEVER; _], [NOTHING; _]);
        state.servers[id] = Server { boot, leases, brief, ..Server::default() };
        self.end_writes_of(state, id);
    }

    /// Starts a new incarnation, which knows nothing.
    pub(crate) fn restart(&self, state: &mut State, id: usize) {
        let server = &mut state.servers[id];
        server.is_up = true;
        server.boot += 1;
        server.is_lost = self.rules.is_available();
    }

    /// Grants a lease to a server. The server *may* hold it from now on. If the GRANT is slow or
    /// lost, the server simply does nothing for a while.
    pub(crate) fn granted(&self, state: &mut State, id: usize) {
        let epoch = state.published;
        let server = &mut state.servers[id];
        server.leases[0] = server.leases[0].min(epoch);
        server.has_late_grant |= !self.rules.has(Rule::LeaseCountsFromAsking);
    }

    /// Delivers the late GRANT of a mutant, whose holder counts a lease from the answer.
    pub(crate) fn late_grant(&self, state: &mut State, id: usize) {
        let server = &mut state.servers[id];
        server.leases[0] = server.leases[0].min(server.map);
        server.has_late_grant = false;
    }

    /// Delivers a datagram of the master to a server. It says that the master is alive and how many
    /// maps it has published.
    pub(crate) fn hear(&self, state: &mut State, id: usize) {
        let newest = state.published;
        let server = &mut state.servers[id];
        server.is_lost = false;
        if self.rules.is_available() {
            server.heard = newest;
        }
    }

    /// Makes a member tell another whether it has lost the master. It sends its map as well. Its
    /// word is valid for two and a half renewal intervals, which is less than a lease.
    pub(crate) fn gossip(&self, state: &mut State, from: usize, to: usize) {
        let (theirs, ours) = (state.servers[from].map, state.servers[to].map);
        if theirs > ours {
            self.learn(state, to, theirs);
        }
        let knows_newer = state.servers[from].heard > state.servers[to].map;
        let is_believed = !knows_newer || !self.rules.has(Rule::OrphanKnowsNothingNewer);
        let says_lost = state.servers[from].is_lost && theirs >= ours && is_believed;
        state.servers[to].is_misled = says_lost && knows_newer;
        state.servers[to].lost_too[from] = if says_lost { self.scope.lease_steps } else { 0 };
    }

    /// Lets one step of time pass at a server.
    pub(crate) fn server_step(&self, state: &mut State, id: usize) {
        let server = &mut state.servers[id];
        if self.rules.has(Rule::LeaseEnds) {
            server.leases.rotate_right(1);
            server.leases[0] = NEVER;
            server.leases[usize::from(self.clock.held_steps)..].fill(NEVER);
        }
        if self.rules.has(Rule::BriefEntriesEnd) {
            server.brief.rotate_right(1);
            server.brief[0] = NOTHING;
            server.brief[usize::from(self.clock.held_steps)..].fill(NOTHING);
        }
        server.is_lost = self.rules.is_available() && server.is_up;
        for steps in &mut server.lost_too {
            *steps = steps.saturating_sub(1);
        }
    }

    /// Whether the home could serve from its cache again.
    pub(crate) fn may_resume(&self, state: &State) -> bool {
        self.serving(state, HOME) == Serving::Unreconciled
    }

    /// Lets the home serve from its cache again. The home decides whether to keep its values.
    pub(crate) fn resume(&self, state: &mut State) {
        if self.keeps(state) {
            self.tally.note(Event::HomeKept);
        } else {
            self.tally.note(Event::HomeDropped);
            state.servers[HOME].value = state.commits;
        }
        state.servers[HOME].left = state.servers[HOME].map;
    }

    /// Whether the home, which serves from its cache again, may keep its values.
    fn keeps(&self, state: &State) -> bool {
        let home = &state.servers[HOME];
        let (Some(old), Some(new)) = (state.map(home.left), state.map_at(HOME)) else {
            return false;
        };
        if self.ownerships.epoch(old) == self.ownerships.epoch(new) {
            return true;
        }
        !self.rules.has(Rule::HomeNeedsLogs)
            || self.others(HOME).all(|member| self.has_not_written(state, new, member))
    }

    /// Whether a member has told of all its writes, or can't have written anything.
    fn has_not_written(&self, state: &State, map: &Map, member: usize) -> bool {
        let home = &state.servers[HOME];
        let status = map.statuses[member];
        let is_trusted = status.since <= home.left || !self.rules.has(Rule::OfflineSinceBefore);
        let handback = home.handbacks[member];
        let is_this = handback == home.returned || !self.rules.has(Rule::LogOfThisReturn);
        (status.state == ServerState::Offline && is_trusted) || (handback != 0 && is_this)
    }
}
