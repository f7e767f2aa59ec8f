//! The model: its rules, its scope, and the steps that they allow.

use crate::action::Action;
use crate::clock::{Clock, Rates};
use crate::ownership::Ownerships;
use crate::rules::Rules;
use crate::scope::Scope;
use crate::state::{Budget, HOME, State, Write};
use crate::tally::Tally;

/// The rules, the scope, and values computed from them.
#[derive(Debug)]
pub struct Failover {
    /// The rules of the design, or of a mutant.
    pub rules: Rules,
    /// The scope of the exploration.
    pub scope: Scope,
    /// A second model that looks for a way home from every state, if that is to be checked. It
    /// takes time. It is a separate model so that its steps are not counted.
    pub healer: Option<Box<Self>>,
    /// The counts of events.
    pub tally: Tally,
    pub(crate) clock: Clock,
    pub(crate) ownerships: Ownerships,
}

impl Failover {
    /// Creates a world of this size under these rules.
    #[must_use]
    pub fn new(rules: Rules, scope: Scope, rates: Rates) -> Self {
        Self {
            rules,
            scope,
            healer: None,
            tally: Tally::default(),
            clock: Clock::new(rates, scope.lease_steps, &rules),
            ownerships: Ownerships::new(scope.servers, &rules),
        }
    }

    pub(crate) fn ids(&self) -> std::ops::Range<usize> {
        0..self.scope.servers
    }

    pub(crate) fn others(&self, id: usize) -> impl Iterator<Item = usize> + use<> {
        self.ids().filter(move |other| *other != id)
    }

    /// Carries out a step, whether or not the scope allows it.
    pub(crate) fn apply(&self, state: &mut State, action: Action) {
        match action {
            Action::Time => self.step(state),
            Action::Silence(id) => state.servers[id].is_silent = true,
            Action::MasterCrash => state.master.is_down = true,
            Action::LateGrant(id) => self.late_grant(state, id),
            Action::Resume => self.resume(state),
            Action::Learn(id, epoch) => {
                self.learn(state, id, epoch);
                // Other servers know older maps too. Only a new map certainly comes from the
                // master.
                if epoch == state.published {
                    self.hear(state, id);
                }
            }
            Action::Ack(id) => self.ack(state, id),
            Action::HandBack(id, epoch) => self.hand_back(state, id, epoch),
            Action::Crash(id) => self.crash(state, id),
            Action::Restart(id) => self.restart(state, id),
            Action::MasterRestart => self.master_restart(state),
            Action::MasterForgets(given) => self.master_forgets(state, given),
            Action::Named(id) => self.named(state, id),
            Action::GiveUp(id) => self.give_up(state, id),
            Action::Over(id) => self.over(state, id),
            Action::Returns(id) => self.returns(state, id),
            Action::Online(id) => self.online(state, id),
            Action::Leave(id) => self.leave(state, id),
            Action::Left(id) => self.left(state, id),
            Action::Begin(write, id) => self.begin(state, write, id),
            Action::Commit(write) => self.commit(state, write),
            Action::Acknowledge(write) => self.acknowledge(state, write),
            Action::Settle(write, owner) => self.settle(state, write, owner),
            Action::Abandon(write) => self.abandon(state, write),
            Action::Pay(id, owner) => self.pay(state, id, owner),
            Action::Gossip(from, to) => self.gossip(state, from, to),
            Action::Heard(id) => self.hear(state, id),
        }
        self.grant_all(state);
        self.normalise(state);
    }

    fn step(&self, state: &mut State) {
        if self.rules.is_available() {
            for age in (1..=self.scope.stale_steps()).rev() {
                state.acknowledged[age] = state.acknowledged[age].max(state.acknowledged[age - 1]);
            }
        }
        for id in self.ids() {
            self.server_step(state, id);
        }
        self.master_step(state);
    }

    pub(crate) fn spend(budget: &mut Budget, action: Action) {
        match action {
            Action::Crash(_) => budget.crashes -= 1,
            Action::MasterCrash => budget.master_restarts -= 1,
            Action::MasterForgets(_) => budget.file_losses -= 1,
            Action::Silence(_) => budget.silences -= 1,
            Action::Leave(_) => budget.leaves -= 1,
            _ => {}
        }
    }

    pub(crate) fn steps_of_master(&self, state: &State, id: usize, actions: &mut Vec<Action>) {
        if self.is_over(state, id) {
            actions.push(Action::Over(id));
        }
        if self.may_return(state, id) {
            actions.push(Action::Returns(id));
        }
        if self.may_go_online(state, id) {
            actions.push(Action::Online(id));
        }
        if self.has_left(state, id) {
            actions.push(Action::Left(id));
        }
        if self.may_give_up(state, id) {
            actions.push(Action::GiveUp(id));
        }
        if self.may_be_named(state, id) {
            actions.push(Action::Named(id));
        }
        if state.budget.leaves > 0 && self.may_leave(state, id) {
            actions.push(Action::Leave(id));
        }
    }

    pub(crate) fn steps_of_server(&self, state: &State, id: usize, actions: &mut Vec<Action>) {
        let server = &state.servers[id];
        if !server.is_up {
            actions.push(Action::Restart(id));
            return;
        }
        actions.extend(self.learnable(state, id).map(|epoch| Action::Learn(id, epoch)));
        if state.budget.silences > 0 && !server.is_silent {
            actions.push(Action::Silence(id));
        }
        if server.has_late_grant {
            actions.push(Action::LateGrant(id));
        }
        if id == HOME && self.may_resume(state) {
            actions.push(Action::Resume);
        }
        if self.may_ack(state, id) {
            actions.push(Action::Ack(id));
        }
        if let Some(epoch) = self.handback_due(state, id) {
            actions.push(Action::HandBack(id, epoch));
        }
        if state.budget.crashes > 0 {
            actions.push(Action::Crash(id));
        }
        if let Some(write) = self.next_write(state, id) {
            actions.push(Action::Begin(write, id));
        }
        if let Some(owner) = self.owes(state, id) {
            actions.push(Action::Pay(id, owner));
        }
        if self.scope.orphans && self.rules.is_available() {
            if server.is_lost {
                actions.push(Action::Heard(id));
            }
            let peers = self.others(id).filter(|to| state.servers[*to].is_up);
            actions.extend(peers.map(|to| Action::Gossip(id, to)));
        }
    }

    pub(crate) fn steps_of_write(&self, state: &State, which: usize, actions: &mut Vec<Action>) {
        let Write::Running(write) = &state.writes[which] else { return };
        if self.may_commit(state, which) {
            actions.push(Action::Commit(which));
        } else {
            if self.may_acknowledge(state, write) {
                actions.push(Action::Acknowledge(which));
            }
            if let Some(owner) = self.settles_at(state, write.server) {
                actions.push(Action::Settle(which, owner));
            }
        }
        actions.push(Action::Abandon(which));
    }
}
