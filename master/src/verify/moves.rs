//! The steps of [`super`]'s table: when a probe is due, and how each phase ends.

use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::{UnderWay, Verify};
use crate::phase::{Attempt, Facts, Mark, Phase, Step};
use crate::rules::Rules;

impl Verify {
    pub(super) fn verify_if_due(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
        let (Phase::Online { verify_at } | Phase::Returning { attempt: 0, verify_at }) = self.phase
        else {
            return;
        };
        let is_asked = verify_at.is_some_and(|at| at <= now);
        let is_silent = self.heard_at + rules.lease <= now;
        if !is_asked && !is_silent {
            return;
        }
        step.silent = is_silent && !is_asked;
        self.phase = match self.phase {
            Phase::Online { .. } => Phase::Verifying { attempt: 1 },
            _ => Phase::Returning { attempt: 1, verify_at: None },
        };
        self.probe(now, 1, rules, step);
    }

    pub(super) fn recheck_if_due(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
        let due = match self.phase {
            Phase::Offline { next_probe }
            | Phase::Probation { next_probe, .. }
            | Phase::Frozen { next_probe }
            | Phase::Waiting { next_probe, .. } => next_probe <= now,
            _ => false,
        };
        if due {
            self.probe(now, 0, rules, step);
        }
    }

    pub(super) fn set_next_probe(&mut self, at: Micros) {
        if let Phase::Offline { next_probe }
        | Phase::Probation { next_probe, .. }
        | Phase::Waiting { next_probe, .. } = &mut self.phase
        {
            *next_probe = at;
        }
    }

    pub(super) fn probe(&mut self, now: Micros, attempt: u32, rules: &Rules, step: &mut Step) {
        if self.under_way.is_some() {
            return;
        }
        self.last_probe_id += 1;
        // The shell answers within twice the timeout, including a wait for a connection. The longer
        // time only covers faults of the shell.
        let attempt = Attempt { probe_id: self.last_probe_id, attempt };
        self.under_way = Some(UnderWay { attempt, give_up_at: now + rules.probe_timeout * 4 });
        step.probe = Some(attempt);
    }

    /// Handles the failure of the last attempt.
    pub(super) fn give_up(
        &mut self,
        now: Micros,
        is_dead: bool,
        facts: Facts,
        rules: &Rules,
        step: &mut Step,
    ) {
        if facts.may_mark {
            self.take_out(now, is_dead, facts, rules, step);
        } else {
            step.frozen = !matches!(self.phase, Phase::Frozen { .. });
            step.verdict = true;
            self.phase = Phase::Frozen { next_probe: now + rules.recheck_interval };
        }
    }

    /// Marks the server offline at once if it can't act as an owner any more. Otherwise nobody owns
    /// its partitions until its lease has expired (scenario 3).
    pub(super) fn take_out(
        &mut self,
        now: Micros,
        is_dead: bool,
        facts: Facts,
        rules: &Rules,
        step: &mut Step,
    ) {
        self.flap(now, rules);
        let is_over = self.lease_over_at <= now || mutant::is(Mutant::NoWaiting);
        if is_dead || is_over || facts.is_released {
            self.set_offline(now, rules, step);
            return;
        }
        let next_probe = now + rules.recheck_interval;
        self.phase = Phase::Waiting { until: self.lease_over_at, next_probe };
        step.mark = Some(Mark::Waiting);
        step.verdict = true;
    }

    pub(super) fn set_offline(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
        self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
        step.mark = Some(Mark::Offline);
        step.verdict = true;
    }

    pub(super) fn come_back(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
        let hold_down = rules.hold_down(self.flaps);
        if hold_down.is_zero() {
            self.mark_returning(now, step);
            return;
        }
        let until = now + hold_down;
        self.phase =
            Phase::Probation { until, next_probe: (now + rules.recheck_interval).min(until) };
        step.hold_down = Some(hold_down);
    }

    /// Handles a restart that was too fast to be noticed. The first time, the server returns at
    /// once. A server that keeps restarting is marked offline for its hold-down.
    pub(super) fn come_back_as_another(
        &mut self,
        now: Micros,
        facts: Facts,
        rules: &Rules,
        step: &mut Step,
    ) {
        self.flap(now, rules);
        step.verdict = true;
        let has_ended = rules.refusal_is_death() || self.lease_over_at <= now;
        if facts.may_mark && has_ended && self.flaps > 0 {
            step.mark = Some(Mark::Offline);
            self.come_back(now, rules, step);
        } else {
            self.mark_returning(now, step);
        }
    }

    pub(super) fn mark_returning(&mut self, now: Micros, step: &mut Step) {
        self.phase = Phase::Returning { attempt: 0, verify_at: None };
        self.heard_at = now;
        self.returned_at = Some(now);
        step.mark = Some(Mark::Returning);
    }

    pub(super) fn flap(&mut self, now: Micros, rules: &Rules) {
        // A server that has never returned has not flapped.
        let Some(returned_at) = self.returned_at.take() else { return };
        let calm_us = rules.calm().as_micros().max(1);
        let forgiven = u32::try_from(now.since(returned_at).as_micros() / calm_us);
        self.flaps = match forgiven.unwrap_or(u32::MAX) {
            0 => self.flaps.saturating_add(1),
            forgiven => self.flaps.saturating_sub(forgiven),
        };
    }

    pub(super) fn cooled_at(&self, now: Micros, cool_down: Duration) -> Micros {
        self.probed_at.map_or(now, |at| (at + cool_down).max(now))
    }
}
