//! The merging of equivalent states: states that no later step can distinguish become one state.
//!
//! Values that no rule will ever read again are set to a default. Epochs are renumbered 1, 2, … in
//! their order, because rules only compare them. So the model does not bound the number of maps
//! ever published, and a world that has healed is the same as at the beginning.

use standin_protocol::map::ServerState;

use crate::failover::Failover;
use crate::rules::Rule;
use crate::serving::Serving;
use crate::state::{HOME, MAPS_MAX, Map, NEVER, State};

impl Failover {
    pub(crate) fn normalise(&self, state: &mut State) {
        if self.serving(state, HOME).is_cached() {
            state.servers[HOME].left = state.servers[HOME].map;
        }
        for id in self.ids() {
            self.keep_briefly(state, id);
            self.forget_at_server(state, id);
            self.forget_at_master(state, id);
        }
        self.forget_return(state);
        self.forget_maps(state);
        if !self.scope.delays && self.rules.has(Rule::OnlyNewerMaps) {
            renumber(state);
        }
    }

    fn forget_at_server(&self, state: &mut State, id: usize) {
        let serving = self.serving(state, id);
        let owns = serving.is_cached() || serving == Serving::Through;
        let forgets =
            self.rules.has(Rule::StandInEntriesGo) && self.rules.has(Rule::ProvisionalKeepsNothing);
        let left = state.servers[HOME].left;
        let status = state.newest().statuses[id];
        let server = &mut state.servers[id];
        if id != HOME && !owns && forgets {
            server.value = 0;
        }
        // In these states no server renews, whether it is heard or not.
        if !matches!(
            status.state,
            ServerState::Online | ServerState::Returning | ServerState::Leaving
        ) {
            server.is_silent = false;
        }
        if server.heard <= server.map {
            server.heard = 0;
        }
        if id == HOME {
            server.complete_since = 0;
        } else if server.complete_since != 0 && server.complete_since <= left {
            server.complete_since = 1;
        }
        if self.rules.has(Rule::OnlyNewerMaps) {
            let mut oldest = NEVER;
            for granted in &mut server.leases {
                let usable = if *granted <= server.map { 0 } else { *granted };
                *granted = if usable < oldest { usable } else { NEVER };
                oldest = oldest.min(usable);
            }
        }
    }

    fn forget_at_master(&self, state: &mut State, id: usize) {
        let map = *state.newest();
        // The server will be granted another lease before any rule reads this age.
        if map.statuses[id].state == ServerState::Offline {
            state.master.lease_ages[id] = self.clock.over_steps;
        }
        // Acknowledgements count only for servers that are now between online and offline. Later
        // states have a newer epoch than any of these.
        let is_between = |state| !matches!(state, ServerState::Online | ServerState::Offline);
        let acked = state.master.acked[id];
        let open = map.statuses.iter().filter(|status| is_between(status.state));
        let answered = open.map(|status| status.since).filter(|since| *since <= acked);
        state.master.acked[id] = answered.max().unwrap_or(0);
    }

    /// Forgets the logs that were handed over for another return than one that can still end.
    fn forget_return(&self, state: &mut State) {
        if !self.rules.has(Rule::LogOfThisReturn) || !self.rules.has(Rule::OnlyNewerMaps) {
            return;
        }
        let home = &mut state.servers[HOME];
        for handback in &mut home.handbacks {
            if *handback < home.returned {
                *handback = 0;
            }
        }
        let returned = home.returned;
        let is_open = home.handbacks.contains(&returned)
            || (1..=state.published).any(|epoch| {
                let status = state.maps[usize::from(epoch) - 1].statuses[HOME];
                status.state == ServerState::Returning && status.since >= returned
            });
        if !is_open {
            state.servers[HOME].returned = 0;
        }
    }

    /// Forgets the maps that no server can still apply, and that the home can't compare with.
    fn forget_maps(&self, state: &mut State) {
        let left = state.servers[HOME].left;
        let held = self.ids().map(|id| state.servers[id].map);
        let may_start = state.budget.crashes > 0 || held.clone().any(|epoch| epoch == 0);
        if self.scope.delays && (may_start || !self.rules.has(Rule::OnlyNewerMaps)) {
            return;
        }
        let oldest = held.clone().min().unwrap_or(0);
        for epoch in (1..state.published).filter(|epoch| *epoch != left) {
            let may_be_learned = match self.scope.delays {
                true => epoch >= oldest,
                false => held.clone().any(|held| held == epoch),
            };
            if !may_be_learned {
                state.maps[usize::from(epoch) - 1] = Map::default();
            }
        }
    }
}

/// Calls `visit` with every epoch in a state.
fn each_epoch(state: &mut State, mut visit: impl FnMut(&mut u8)) {
    for server in &mut state.servers {
        for epoch in
            [&mut server.map, &mut server.heard, &mut server.complete_since, &mut server.left]
        {
            visit(epoch);
        }
        visit(&mut server.returned);
        server.handbacks.iter_mut().for_each(&mut visit);
        server.leases.iter_mut().filter(|epoch| **epoch != NEVER).for_each(&mut visit);
    }
    state.master.acked.iter_mut().for_each(&mut visit);
    state.running_mut().for_each(|write| visit(&mut write.epoch));
    for map in &mut state.maps[..usize::from(state.published)] {
        map.statuses.iter_mut().for_each(|status| visit(&mut status.since));
    }
    visit(&mut state.published);
}

fn renumber(state: &mut State) {
    // Zero means "none". One stands for the epoch of all maps that were forgotten.
    let mut used: u32 = 0b11;
    let mut copy = *state;
    each_epoch(&mut copy, |epoch| used |= 1 << *epoch);
    if used.count_ones() == u32::from(state.published) + 1 {
        return;
    }
    let number = |epoch: u8| {
        let before = used & ((1u32 << epoch) - 1);
        u8::try_from(before.count_ones()).unwrap_or(NEVER)
    };
    let mut maps = [Map::default(); MAPS_MAX];
    for epoch in (1..=state.published).filter(|epoch| used & 1 << epoch != 0) {
        maps[usize::from(number(epoch)) - 1] = state.maps[usize::from(epoch) - 1];
    }
    let published = state.published;
    state.maps = maps;
    // The maps are in their new places, and there are no more of them than before.
    state.published = u8::try_from(MAPS_MAX).unwrap_or(published);
    each_epoch(state, |epoch| {
        if usize::from(*epoch) <= usize::from(published) {
            *epoch = number(*epoch);
        }
    });
    state.published = number(published);
}
