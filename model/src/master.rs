//! The master: which servers are online, which of them hold a lease, and how the two depend on each
//! other.
//!
//! The model does not contain when the master verifies a server, and what it concludes. Pauses,
//! cuts and losses can make any verification fail, so the model's master may give a server up at
//! any time. A server *answers* whenever it runs. The model contains what the master may publish
//! after that.

use standin_protocol::map::ServerState;

use crate::failover::Failover;
use crate::rules::Rule;
use crate::state::{Map, State};
use crate::tally::Event;

impl Failover {
    pub(crate) fn publish(&self, state: &mut State, map: Map) {
        state.maps[usize::from(state.published)] = map;
        state.published += 1;
    }

    /// Publishes a change of one server's state.
    fn mark(&self, state: &mut State, id: usize, to: ServerState) {
        let mut map = *state.newest();
        map.statuses[id].state = to;
        map.statuses[id].since = state.published + 1;
        self.publish(state, map);
    }

    /// Whether the incarnation that the master knows is gone: its port refuses connections,
    /// or another one listens there.
    fn is_known_dead(&self, state: &State, id: usize) -> bool {
        let server = &state.servers[id];
        let known = state.newest().statuses[id].boot;
        let is_dead = !server.is_up || known != 0 && server.boot != known;
        self.rules.is_available() && (is_dead || !self.rules.has(Rule::KnownDeadRefuses))
    }

    /// Whether a server can't act as an owner any more, whatever it believes.
    fn has_released(&self, state: &State, id: usize) -> bool {
        state.master.lease_ages[id] >= self.clock.over_steps || self.is_known_dead(state, id)
    }

    /// Whether a RENEW of the server would be answered with a lease.
    pub(crate) fn may_grant(&self, state: &State, id: usize) -> bool {
        let (server, status) = (&state.servers[id], state.newest().statuses[id]);
        let is_in = match status.state {
            ServerState::Online | ServerState::Returning | ServerState::Leaving => true,
            ServerState::Waiting | ServerState::Offline => false,
        };
        !state.master.is_down
            && server.is_up
            && !server.is_silent
            && server.boot == status.boot
            && is_in
    }

    /// Exchanges RENEW and GRANT with every server for which that makes a difference. The holder
    /// counts from when it sent the RENEW, so a slow RENEW only makes the lease end earlier.
    /// Servers that are heard always hold a lease. To hold no lease for a while would be the same
    /// as doing nothing for a while.
    pub(crate) fn grant_all(&self, state: &mut State) {
        for id in self.ids() {
            if self.may_grant(state, id) {
                state.master.lease_ages[id] = 0;
                self.granted(state, id);
                self.hear(state, id);
            }
        }
    }

    /// Lets one step of time pass at the master.
    pub(crate) fn master_step(&self, state: &mut State) {
        for age in &mut state.master.lease_ages[..self.scope.servers] {
            *age = self.clock.over_steps.min(*age + 1);
        }
    }

    /// Whether the verification of a server may fail.
    pub(crate) fn may_give_up(&self, state: &State, id: usize) -> bool {
        let status = state.newest().statuses[id];
        let server = &state.servers[id];
        let is_quiet = server.is_silent || !server.is_up || server.boot != status.boot;
        is_quiet && matches!(status.state, ServerState::Online | ServerState::Returning)
    }

    /// Marks a server whose verification has failed.
    pub(crate) fn give_up(&self, state: &mut State, id: usize) {
        let was = state.newest().statuses[id].state;
        let is_aborted = was == ServerState::Returning && !self.rules.has(Rule::ReturnEndsByLease);
        let at_once = is_aborted || !self.rules.has(Rule::WaitForLease);
        let to = match at_once || self.has_released(state, id) {
            true => ServerState::Offline,
            false => ServerState::Waiting,
        };
        self.mark(state, id, to);
    }

    /// Whether a waiting server's partitions may move.
    pub(crate) fn is_over(&self, state: &State, id: usize) -> bool {
        let status = state.newest().statuses[id];
        let has_revoked = state.master.acked[id] >= status.since;
        status.state == ServerState::Waiting && (has_revoked || self.has_released(state, id))
    }

    /// Moves the partitions of a waiting server.
    pub(crate) fn over(&self, state: &mut State, id: usize) {
        self.mark(state, id, ServerState::Offline);
    }

    /// Whether a probe can find a server in another state than the master assumed.
    pub(crate) fn may_return(&self, state: &State, id: usize) -> bool {
        let (server, status) = (&state.servers[id], state.newest().statuses[id]);
        let is_out = matches!(status.state, ServerState::Waiting | ServerState::Offline);
        let is_another =
            status.boot != 0 && server.boot != status.boot && status.state != ServerState::Leaving;
        server.is_up && (is_out || is_another)
    }

    /// Makes a server that answers return.
    pub(crate) fn returns(&self, state: &mut State, id: usize) {
        let mut map = *state.newest();
        let status = &mut map.statuses[id];
        if status.boot != state.servers[id].boot {
            status.boot = state.servers[id].boot;
            state.master.acked[id] = 0;
        }
        state.servers[id].is_silent = false;
        status.state = ServerState::Returning;
        status.since = state.published + 1;
        self.publish(state, map);
    }

    /// Whether all servers that could still act on a partition of this server have acknowledged its
    /// state.
    fn has_all_acks(&self, state: &State, id: usize, by_itself: bool) -> bool {
        let map = state.newest();
        let since = map.statuses[id].since;
        let has_acked = |member: usize| state.master.acked[member] >= since;
        let counts = |member: &usize| match map.statuses[*member].state {
            ServerState::Offline => false,
            ServerState::Online => true,
            _ => self.rules.has(Rule::AllMembersAck),
        };
        let others = self.others(id).filter(counts).all(has_acked);
        (others || !self.rules.has(Rule::ReturnNeedsAcks)) && (!by_itself || has_acked(id))
    }

    /// Whether a returning server may own its partitions again.
    pub(crate) fn may_go_online(&self, state: &State, id: usize) -> bool {
        state.newest().statuses[id].state == ServerState::Returning
            && self.has_all_acks(state, id, self.rules.has(Rule::ReturnAckedByItself))
    }

    /// Makes a returning server the owner again.
    pub(crate) fn online(&self, state: &mut State, id: usize) {
        self.mark(state, id, ServerState::Online);
    }

    /// Whether a server that is asked to stop would be believed.
    pub(crate) fn may_leave(&self, state: &State, id: usize) -> bool {
        let (server, status) = (&state.servers[id], state.newest().statuses[id]);
        let is_in = matches!(status.state, ServerState::Online | ServerState::Returning);
        server.is_up && server.boot == status.boot && is_in
    }

    /// Marks a server that is asked to stop as leaving.
    pub(crate) fn leave(&self, state: &mut State, id: usize) {
        self.mark(state, id, ServerState::Leaving);
    }

    /// Whether a server that is stopping has released everything.
    pub(crate) fn has_left(&self, state: &State, id: usize) -> bool {
        state.newest().statuses[id].state == ServerState::Leaving
            && (self.has_all_acks(state, id, true) || self.has_released(state, id))
    }

    /// Moves the partitions of a server that has stopped.
    pub(crate) fn left(&self, state: &mut State, id: usize) {
        self.mark(state, id, ServerState::Offline);
    }

    /// Whether an acknowledgement of a server's current map would change anything.
    pub(crate) fn may_ack(&self, state: &State, id: usize) -> bool {
        let server = &state.servers[id];
        server.is_up
            && server.boot == state.newest().statuses[id].boot
            && state.master.acked[id] < server.map
            && self.is_drained(state, id)
    }

    /// Makes the acknowledgement arrive.
    pub(crate) fn ack(&self, state: &mut State, id: usize) {
        state.master.acked[id] = state.servers[id].map;
    }

    /// Restarts the master. It has the states, because they were saved before they were announced,
    /// but does not remember leases and acknowledgements. It announces the same states under an
    /// epoch of its own.
    pub(crate) fn master_restart(&self, state: &mut State) {
        let map = *state.newest();
        self.restarted(state, map);
        self.tally.note(Event::MasterRestarted);
    }

    /// Lets a master begin with this map, under an epoch of its own.
    pub(crate) fn restarted(&self, state: &mut State, map: Map) {
        self.publish(state, map);
        let assumed = match self.rules.has(Rule::RestartWaitsForLeases) {
            true => 0,
            false => self.clock.over_steps,
        };
        state.master.lease_ages[..self.scope.servers].fill(assumed);
        state.master.acked = Default::default();
        state.master.is_down = false;
    }
}
