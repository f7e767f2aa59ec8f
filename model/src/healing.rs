//! Whether a world recovers once there are no more faults. Every process runs and every message
//! arrives, and the home must own the key again after a bounded number of rounds.
//!
//! It follows only one fair run from each state. That shows that no state is a trap.

use standin_protocol::map::ServerState;

use crate::action::Action;
use crate::failover::Failover;
use crate::state::{HOME, State, Write};

/// The largest number of rounds. Each round moves every server by at least one state, and the
/// longest way has five.
const ROUNDS_MAX: usize = 12;

impl Failover {
    /// Whether the fair run from this state ends with the key at its home.
    pub(crate) fn heals_from(&self, state: &State) -> bool {
        let mut state = *state;
        (0..ROUNDS_MAX).any(|_| {
            self.fair_round(&mut state);
            self.is_home(&state)
        })
    }

    fn is_home(&self, state: &State) -> bool {
        let map = state.newest();
        self.ids().all(|id| map.statuses[id].state == ServerState::Online)
            && self.serving(state, HOME).is_cached()
            && state.servers[HOME].map == state.published
    }

    fn fair_round(&self, state: &mut State) {
        if state.master.is_down {
            self.apply(state, Action::MasterRestart);
        }
        for which in 0..state.writes.len() {
            if let Write::Running(_) = state.writes[which] {
                self.apply(state, Action::Abandon(which));
            }
        }
        for id in self.ids() {
            if !state.servers[id].is_up {
                self.apply(state, Action::Restart(id));
            }
            state.servers[id].is_silent = false;
            if state.servers[id].map < state.published {
                self.apply(state, Action::Learn(id, state.published));
            }
            if self.may_ack(state, id) {
                self.apply(state, Action::Ack(id));
            }
        }
        if self.may_resume(state) {
            self.apply(state, Action::Resume);
        }
        for id in self.ids() {
            if self.may_be_named(state, id) {
                self.apply(state, Action::Named(id));
            }
            let action = if self.may_return(state, id) {
                Action::Returns(id)
            } else if self.may_go_online(state, id) {
                Action::Online(id)
            } else if self.has_left(state, id) {
                Action::Left(id)
            } else {
                continue;
            };
            self.apply(state, action);
        }
    }
}
