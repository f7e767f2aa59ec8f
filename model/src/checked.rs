//! The interface of the model to the checker: the initial state, the possible steps, and the
//! properties.

use stateright::{Model, Property};

use crate::action::Action;
use crate::failover::Failover;
use crate::properties;
use crate::state::{
    Budget, HOME, MAPS_MAX, Map, Master, NEVER, NOTHING, SERVERS_MAX, Server, State, Write,
};

impl Model for Failover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            maps: [Map::default(); MAPS_MAX],
            published: 1,
            master: Master::default(),
            servers: [Server::default(); SERVERS_MAX],
            commits: 0,
            writes: [Write::Over; _],
            acknowledged: [0; _],
            budget: Budget {
                crashes: self.scope.crashes,
                master_restarts: self.scope.master_restarts,
                file_losses: self.scope.file_losses,
                silences: self.scope.silences,
                leaves: self.scope.leaves,
            },
        };
        state.writes[..self.scope.writes].fill(Write::Idle);
        for id in self.ids() {
            state.master.acked[id] = 1;
            let server = &mut state.servers[id];
            (server.is_up, server.boot) = (true, 1);
            server.leases = [NEVER; _];
            server.brief = [NOTHING; _];
            (server.map, server.complete_since) = (1, 1);
        }
        state.servers[HOME].left = 1;
        self.grant_all(&mut state);
        self.normalise(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Time);
        for id in self.ids() {
            self.steps_of_server(state, id, actions);
            if !state.master.is_down {
                self.steps_of_master(state, id, actions);
            }
        }
        if state.master.is_down {
            actions.push(Action::MasterRestart);
            if state.budget.file_losses > 0 {
                let givers = self.ids().map(Some).chain([None]);
                let givers = givers.filter(|given| self.may_forget(state, *given));
                actions.extend(givers.map(Action::MasterForgets));
            }
        } else if state.budget.master_restarts > 0 {
            actions.push(Action::MasterCrash);
        }
        for which in 0..self.scope.writes {
            self.steps_of_write(state, which, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        Self::spend(&mut next.budget, action);
        // There must be room for one more map, because nobody publishes beyond the scope.
        if action.publishes() && state.published >= self.scope.maps_max {
            return None;
        }
        self.apply(&mut next, action);
        (next != *state).then_some(next)
    }

    /// Whether a state has to be explored further. It does not if nothing can go wrong any more,
    /// because no write is left and no server has a value that is too old.
    fn within_boundary(&self, state: &State) -> bool {
        let is_done = state.writes.iter().all(|write| *write == Write::Over);
        let newest = state.acknowledged[0];
        let oldest = |server: &Server| server.brief.iter().copied().fold(server.value, u8::min);
        let is_behind = self.ids().any(|id| oldest(&state.servers[id]) < newest);
        self.scope.writes == 0 || !is_done || is_behind
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self.healer.is_some())
    }
}
