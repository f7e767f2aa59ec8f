//! The rows of [`super`]'s table. There is one function for each phase, which handles the
//! observations in that phase.

use standin_protocol::time::Micros;

use super::{Case, Verify};
use crate::phase::{Mark, Phase, Seen};

impl Verify {
    /// Handles a server that says that it is stopping, and that was considered part of the cluster.
    pub(super) fn leave(&mut self, case: &mut Case<'_>) {
        self.under_way = None;
        self.returned_at = None;
        self.phase = Phase::Leaving { until: case.now + case.rules.drain_overdue() };
        case.step.mark = Some(Mark::Leaving);
    }

    pub(super) fn while_leaving(&mut self, until: Micros, case: &mut Case<'_>) {
        let Case { now, seen, facts, rules, .. } = *case;
        let may_go = facts.is_released || self.lease_over_at <= now;
        if seen == Seen::Drained || (until <= now && may_go) {
            self.set_offline(now, rules, case.step);
        } else if until <= now {
            self.phase = Phase::Leaving { until: self.lease_over_at };
        }
    }

    pub(super) fn while_online(&mut self, verify_at: Option<Micros>, case: &mut Case<'_>) {
        let Case { now, seen, facts, rules, .. } = *case;
        match seen {
            Seen::Reported | Seen::OtherIncarnation => {
                let soon = self.cooled_at(now, rules.cool_down());
                let verify_at = Some(verify_at.map_or(soon, |at| at.min(soon)));
                self.phase = Phase::Online { verify_at };
                self.verify_if_due(now, rules, case.step);
            }
            Seen::Discounted => {
                if verify_at.is_none() {
                    let later = self.cooled_at(now, rules.discounted_cool_down());
                    self.phase = Phase::Online { verify_at: Some(later) };
                }
                case.step.verdict = true;
            }
            Seen::Tick => self.verify_if_due(now, rules, case.step),
            Seen::Deaf if facts.may_mark => self.take_out(now, false, facts, rules, case.step),
            // The result of a probe that is no longer awaited.
            Seen::Answered { .. } | Seen::Busy | Seen::Unanswered { .. } => {}
            Seen::Renewed | Seen::ReportedOk | Seen::Drained | Seen::Deaf | Seen::Left => {}
        }
    }

    pub(super) fn while_verifying(&mut self, attempt: u32, case: &mut Case<'_>) {
        let Case { now, seen, facts, rules, .. } = *case;
        match seen {
            Seen::Answered { same: true } | Seen::Busy => {
                self.phase = Phase::Online { verify_at: None };
                case.step.verdict = true;
            }
            Seen::Answered { same: false } => {
                self.come_back_as_another(now, facts, rules, case.step);
            }
            Seen::Unanswered { .. } if attempt < rules.probe_attempts => {
                self.phase = Phase::Verifying { attempt: attempt + 1 };
                self.probe(now, attempt + 1, rules, case.step);
            }
            Seen::Unanswered { is_dead } => self.give_up(now, is_dead, facts, rules, case.step),
            // The verdict of this verification is the answer.
            Seen::Reported | Seen::Discounted | Seen::OtherIncarnation | Seen::Tick => {}
            Seen::Renewed | Seen::ReportedOk | Seen::Drained | Seen::Deaf | Seen::Left => {}
        }
    }

    pub(super) fn while_frozen(&mut self, case: &mut Case<'_>) {
        let Case { now, seen, facts, rules, .. } = *case;
        match seen {
            Seen::Answered { same: true } | Seen::Busy => {
                self.phase = Phase::Online { verify_at: None };
            }
            Seen::Answered { same: false } => {
                self.come_back_as_another(now, facts, rules, case.step);
            }
            Seen::Unanswered { is_dead } => self.give_up(now, is_dead, facts, rules, case.step),
            Seen::Reported => case.step.verdict = true,
            Seen::Tick => self.recheck_if_due(now, rules, case.step),
            Seen::Discounted | Seen::OtherIncarnation => {}
            Seen::Renewed | Seen::ReportedOk | Seen::Drained | Seen::Deaf | Seen::Left => {}
        }
    }

    pub(super) fn while_waiting(&mut self, until: Micros, next_probe: Micros, case: &mut Case<'_>) {
        let Case { now, seen, facts, rules, .. } = *case;
        match seen {
            Seen::Tick if until <= now => {
                case.step.lease_over = true;
                self.set_offline(now, rules, case.step);
            }
            Seen::Tick => self.recheck_if_due(now, rules, case.step),
            Seen::Answered { same } => {
                let has_ended = !same && rules.refusal_is_death();
                if rules.hold_down(self.flaps).is_zero() {
                    self.mark_returning(now, case.step);
                } else if facts.is_released || has_ended {
                    self.set_offline(now, rules, case.step);
                    self.come_back(now, rules, case.step);
                } else {
                    self.set_next_probe(now + rules.recheck_interval);
                }
            }
            Seen::Unanswered { is_dead } if is_dead || facts.is_released => {
                self.set_offline(now, rules, case.step);
            }
            Seen::Unanswered { .. } | Seen::Busy => {
                self.set_next_probe(now + rules.recheck_interval);
            }
            Seen::Reported => case.step.verdict = true,
            Seen::ReportedOk | Seen::OtherIncarnation | Seen::Renewed => {
                self.recheck_soon(next_probe, case);
            }
            Seen::Discounted | Seen::Drained | Seen::Deaf | Seen::Left => {}
        }
    }

    pub(super) fn while_offline(&mut self, next_probe: Micros, case: &mut Case<'_>) {
        let Case { now, seen, rules, .. } = *case;
        match seen {
            Seen::Answered { .. } => self.come_back(now, rules, case.step),
            Seen::Unanswered { .. } | Seen::Busy => {
                self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
            }
            Seen::Left => self.stay_offline(case),
            Seen::Reported => case.step.verdict = true,
            Seen::ReportedOk | Seen::OtherIncarnation => self.recheck_soon(next_probe, case),
            Seen::Tick => self.recheck_if_due(now, rules, case.step),
            Seen::Discounted | Seen::Renewed | Seen::Drained | Seen::Deaf => {}
        }
    }

    pub(super) fn while_on_probation(
        &mut self,
        until: Micros,
        next_probe: Micros,
        case: &mut Case<'_>,
    ) {
        let Case { now, seen, rules, .. } = *case;
        match seen {
            Seen::Answered { .. } if now >= until => self.mark_returning(now, case.step),
            Seen::Answered { .. } | Seen::Busy => {
                let next_probe = now + rules.recheck_interval;
                let next_probe = if now < until { next_probe.min(until) } else { next_probe };
                self.phase = Phase::Probation { until, next_probe };
            }
            Seen::Unanswered { .. } => {
                self.flaps = self.flaps.saturating_add(1);
                self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
            }
            Seen::Left => self.stay_offline(case),
            Seen::Reported => case.step.verdict = true,
            Seen::ReportedOk | Seen::OtherIncarnation => self.recheck_soon(next_probe, case),
            Seen::Tick => self.recheck_if_due(now, rules, case.step),
            Seen::Discounted | Seen::Renewed | Seen::Drained | Seen::Deaf => {}
        }
    }

    pub(super) fn while_returning(
        &mut self,
        attempt: u32,
        verify_at: Option<Micros>,
        case: &mut Case<'_>,
    ) {
        let Case { now, seen, facts, rules, .. } = *case;
        match seen {
            Seen::Reported | Seen::OtherIncarnation if attempt == 0 => {
                let soon = self.cooled_at(now, rules.cool_down());
                let verify_at = Some(verify_at.unwrap_or(soon));
                self.phase = Phase::Returning { attempt: 0, verify_at };
                self.verify_if_due(now, rules, case.step);
            }
            Seen::Tick if attempt == 0 => self.verify_if_due(now, rules, case.step),
            Seen::Drained => {
                self.phase = Phase::Online { verify_at: None };
                case.step.mark = Some(Mark::Online);
            }
            Seen::Answered { same: true } | Seen::Busy => {
                self.phase = Phase::Returning { attempt: 0, verify_at: None };
                case.step.verdict = true;
            }
            Seen::Answered { same: false } => {
                self.come_back_as_another(now, facts, rules, case.step);
            }
            Seen::Unanswered { .. } if attempt < rules.probe_attempts => {
                self.phase = Phase::Returning { attempt: attempt + 1, verify_at: None };
                self.probe(now, attempt + 1, rules, case.step);
            }
            // The server owns nothing now, so the cap does not matter.
            Seen::Unanswered { is_dead } => self.take_out(now, is_dead, facts, rules, case.step),
            Seen::Deaf => self.take_out(now, false, facts, rules, case.step),
            // Verification is under way.
            Seen::Reported | Seen::Discounted | Seen::OtherIncarnation | Seen::Tick => {}
            Seen::Renewed | Seen::ReportedOk | Seen::Left => {}
        }
    }

    /// Handles an offline server that says that it is stopping.
    fn stay_offline(&mut self, case: &mut Case<'_>) {
        self.under_way = None;
        self.phase = Phase::Offline { next_probe: case.now + case.rules.recheck_interval };
        case.step.verdict = true;
    }

    /// Handles a sign of life of a server that does not serve: probes it again as soon as it may be
    /// probed.
    fn recheck_soon(&mut self, next_probe: Micros, case: &mut Case<'_>) {
        let soon = next_probe.min(self.cooled_at(case.now, case.rules.cool_down()));
        self.set_next_probe(soon);
        self.recheck_if_due(case.now, case.rules, case.step);
    }
}
