//! One server, as the master sees it: claims 19, 20 and 21 as a table.
//!
//! | phase | seen | next | does |
//! |---|---|---|---|
//! | Online | reported, or another incarnation | Verifying | probe every shard (after the cool-down) |
//! | Online | silent for a lease | Verifying | probe every shard |
//! | Verifying | answered | Online | verdict |
//! | Verifying | unanswered, attempts left | Verifying | probe again, at once |
//! | Verifying | unanswered, under the cap | Offline | mark offline; verdict |
//! | Verifying | unanswered, not allowed to mark | Frozen | verdict |
//! | Frozen | recheck due | Frozen | probe |
//! | Frozen | answered | Online | – |
//! | Frozen | unanswered, under the cap | Offline | mark offline |
//! | Offline | recheck due, or reported online, or another incarnation | Offline | probe |
//! | Offline | answered, no hold-down | Returning | mark returning |
//! | Offline | answered, hold-down | Probation | – |
//! | Probation | unanswered | Offline | hold-down doubles |
//! | Probation | answered, held long enough | Returning | mark returning |
//! | Returning | drained | Online | mark online |
//! | Returning | reported, silent, or another incarnation | Returning | probe |
//! | Returning | unanswered for all attempts | Offline | mark offline; flap |
//! | Online, Verifying, Frozen, Returning | answered by another incarnation | Returning | mark returning; flap |
//! | Online, Verifying, Frozen, Returning | leaving | Leaving | mark leaving |
//! | Leaving | drained, or its time is up | Offline | mark offline, unverified; verdict |
//! | Offline, Probation | leaving | Offline | verdict |
//!
//! A renewal never ends a verification: a server whose control thread lives while a shard
//! is stuck is a gray home (scenario 13), and only the data path counts.
//! There is at most one probe under way per server. The caller owns what the world says of
//! the server (its state, incarnation, epoch); this owns only how it came to be believed.

use standin_protocol::time::Micros;

use crate::phase::{Attempt, Mark, Phase, Seen, Step};
use crate::rules::Rules;

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    attempt: Attempt,
    give_up_at: Micros,
}

/// One server's machine.
#[derive(Debug, Clone)]
pub struct Verify {
    phase: Phase,
    /// Last sign of life of the known incarnation.
    heard_at: Micros,
    /// End of the last verification; see [`Rules::cool_down`].
    probed_at: Option<Micros>,
    /// The probe under way, and when to stop waiting for its result.
    under_way: Option<UnderWay>,
    last_probe_id: u64,
    flaps: u32,
    returned_at: Option<Micros>,
}

impl Verify {
    /// A server that is in this phase when the master starts.
    #[must_use]
    pub fn new(now: Micros, phase: Phase) -> Self {
        Self {
            phase,
            heard_at: now,
            probed_at: None,
            under_way: None,
            last_probe_id: 0,
            flaps: 0,
            returned_at: None,
        }
    }

    /// Where the server stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The probe under way.
    #[must_use]
    pub fn probe_under_way(&self) -> Option<Attempt> {
        self.under_way.map(|probe| probe.attempt)
    }

    /// The number of the last probe sent.
    #[must_use]
    pub fn last_probe_id(&self) -> u64 {
        self.last_probe_id
    }

    /// Whether the probe under way should have had a result long ago.
    #[must_use]
    pub fn is_probe_lost(&self, now: Micros) -> bool {
        self.under_way.is_some_and(|probe| probe.give_up_at <= now)
    }

    /// Whether the world holds the server for offline.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        matches!(self.phase, Phase::Offline { .. } | Phase::Probation { .. })
    }

    /// Starts afresh in another phase, when the master has learned that its own view was
    /// out of date. A result that is still to come counts for nothing.
    pub fn reset(&mut self, now: Micros, phase: Phase) {
        self.phase = phase;
        self.heard_at = now;
        self.under_way = None;
    }

    /// What kept the master from marking the server has gone: probe it again without delay.
    pub fn thaw(&mut self, now: Micros) {
        if let Phase::Frozen { next_probe } = &mut self.phase {
            *next_probe = now;
        }
    }

    /// When [`Seen::Tick`] will do something.
    #[must_use]
    pub fn next_deadline(&self, rules: &Rules) -> Micros {
        let give_up_at = self.under_way.map_or(Micros::NEVER, |probe| probe.give_up_at);
        let silent_at = self.heard_at + rules.lease;
        let due = match self.phase {
            Phase::Online { verify_at } | Phase::Returning { attempt: 0, verify_at } => {
                verify_at.map_or(silent_at, |at| at.min(silent_at))
            }
            Phase::Verifying { .. } | Phase::Returning { .. } => Micros::NEVER,
            Phase::Leaving { until } => until,
            _ if self.under_way.is_some() => Micros::NEVER,
            Phase::Frozen { next_probe }
            | Phase::Offline { next_probe }
            | Phase::Probation { next_probe, .. } => next_probe,
        };
        due.min(give_up_at)
    }

    /// Takes in what was seen. `may_mark`: the cap, and the master's own knowledge, allow
    /// one more server to be marked offline by verdict.
    pub fn handle(&mut self, now: Micros, seen: Seen, may_mark: bool, rules: &Rules) -> Step {
        let mut step = Step::default();
        if matches!(seen, Seen::Answered { .. } | Seen::Busy | Seen::Unanswered) {
            self.under_way = None;
            self.probed_at = Some(now);
        }
        if matches!(seen, Seen::Answered { .. } | Seen::Busy | Seen::Renewed) {
            self.heard_at = now;
        }
        match (self.phase, seen) {
            (Phase::Offline { .. } | Phase::Probation { .. }, Seen::Left) => {
                self.under_way = None;
                self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
                step.verdict = true;
            }
            // It stops, whatever is said of it meanwhile; it is answered when it has left.
            (Phase::Leaving { until }, _) => {
                if seen == Seen::Drained || until <= now {
                    self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
                    step.mark = Some(Mark::Offline);
                    step.verdict = true;
                }
            }
            (_, Seen::Left) => {
                self.under_way = None;
                self.returned_at = None;
                self.phase = Phase::Leaving { until: now + rules.drain_overdue() };
                step.mark = Some(Mark::Leaving);
            }

            (Phase::Online { verify_at }, Seen::Reported | Seen::OtherIncarnation) => {
                let verify_at = Some(verify_at.unwrap_or(self.cooled_at(now, rules)));
                self.phase = Phase::Online { verify_at };
                self.verify_if_due(now, rules, &mut step);
            }
            (
                Phase::Returning { attempt: 0, verify_at },
                Seen::Reported | Seen::OtherIncarnation,
            ) => {
                let verify_at = Some(verify_at.unwrap_or(self.cooled_at(now, rules)));
                self.phase = Phase::Returning { attempt: 0, verify_at };
                self.verify_if_due(now, rules, &mut step);
            }
            (Phase::Online { .. } | Phase::Returning { attempt: 0, .. }, Seen::Tick) => {
                self.verify_if_due(now, rules, &mut step);
            }

            (Phase::Verifying { .. }, Seen::Answered { same: true } | Seen::Busy) => {
                self.phase = Phase::Online { verify_at: None };
                step.verdict = true;
            }
            (Phase::Verifying { attempt }, Seen::Unanswered) => {
                if attempt < rules.probe_attempts {
                    self.phase = Phase::Verifying { attempt: attempt + 1 };
                    self.probe(now, attempt + 1, rules, &mut step);
                } else {
                    self.give_up(now, may_mark, rules, &mut step);
                }
            }
            (Phase::Frozen { .. }, Seen::Answered { same: true } | Seen::Busy) => {
                self.phase = Phase::Online { verify_at: None };
            }
            (Phase::Frozen { .. }, Seen::Unanswered) => {
                self.give_up(now, may_mark, rules, &mut step);
            }
            (Phase::Frozen { .. }, Seen::Reported) => step.verdict = true,

            (Phase::Offline { .. }, Seen::Answered { .. }) => self.come_back(now, rules, &mut step),
            (Phase::Offline { .. }, Seen::Unanswered | Seen::Busy) => {
                self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
            }
            (Phase::Probation { until, .. }, Seen::Answered { .. } | Seen::Busy) => {
                if now >= until && seen != Seen::Busy {
                    self.mark_returning(now, &mut step);
                } else {
                    let next_probe = now + rules.recheck_interval;
                    let next_probe = if now < until { next_probe.min(until) } else { next_probe };
                    self.phase = Phase::Probation { until, next_probe };
                }
            }
            (Phase::Probation { .. }, Seen::Unanswered) => {
                self.flaps = self.flaps.saturating_add(1);
                self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
            }
            (Phase::Offline { .. } | Phase::Probation { .. }, Seen::Reported) => {
                step.verdict = true
            }
            (
                Phase::Offline { next_probe } | Phase::Probation { next_probe, .. },
                Seen::ReportedOk | Seen::OtherIncarnation,
            ) => {
                let soon = next_probe.min(self.cooled_at(now, rules));
                self.set_next_probe(soon);
                self.recheck_if_due(now, rules, &mut step);
            }
            (
                Phase::Offline { .. } | Phase::Probation { .. } | Phase::Frozen { .. },
                Seen::Tick,
            ) => self.recheck_if_due(now, rules, &mut step),

            (Phase::Returning { .. }, Seen::Drained) => {
                self.phase = Phase::Online { verify_at: None };
                step.mark = Some(Mark::Online);
            }
            (Phase::Returning { .. }, Seen::Answered { same: true } | Seen::Busy) => {
                self.phase = Phase::Returning { attempt: 0, verify_at: None };
                step.verdict = true;
            }
            (Phase::Returning { attempt, .. }, Seen::Unanswered) => {
                if attempt < rules.probe_attempts {
                    self.phase = Phase::Returning { attempt: attempt + 1, verify_at: None };
                    self.probe(now, attempt + 1, rules, &mut step);
                } else {
                    // It owns nothing now, so no cap stands in the way of saying so.
                    self.go_offline(now, rules, &mut step);
                }
            }

            (
                Phase::Verifying { .. } | Phase::Frozen { .. } | Phase::Returning { .. },
                Seen::Answered { same: false },
            ) => self.come_back_as_another(now, may_mark, rules, &mut step),
            // A result that nobody waits for any more.
            (Phase::Online { .. }, Seen::Answered { .. } | Seen::Busy | Seen::Unanswered) => {}
            (_, Seen::Renewed | Seen::ReportedOk | Seen::Drained) => {}
            // Verification is under way, or about to be.
            (_, Seen::Reported | Seen::OtherIncarnation | Seen::Tick) => {}
        }
        step
    }

    fn verify_if_due(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
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

    fn recheck_if_due(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
        let due = match self.phase {
            Phase::Offline { next_probe }
            | Phase::Probation { next_probe, .. }
            | Phase::Frozen { next_probe } => next_probe <= now,
            _ => false,
        };
        if due {
            self.probe(now, 0, rules, step);
        }
    }

    fn set_next_probe(&mut self, at: Micros) {
        if let Phase::Offline { next_probe } | Phase::Probation { next_probe, .. } = &mut self.phase
        {
            *next_probe = at;
        }
    }

    fn probe(&mut self, now: Micros, attempt: u32, rules: &Rules, step: &mut Step) {
        if self.under_way.is_some() {
            return;
        }
        self.last_probe_id += 1;
        // The shell answers within twice the timeout (a wait for its turn included); more is
        // only against its mistakes.
        let attempt = Attempt { probe_id: self.last_probe_id, attempt };
        self.under_way = Some(UnderWay { attempt, give_up_at: now + rules.probe_timeout * 4 });
        step.probe = Some(attempt);
    }

    fn give_up(&mut self, now: Micros, may_mark: bool, rules: &Rules, step: &mut Step) {
        if may_mark {
            self.go_offline(now, rules, step);
        } else {
            step.frozen = !matches!(self.phase, Phase::Frozen { .. });
            step.verdict = true;
            self.phase = Phase::Frozen { next_probe: now + rules.recheck_interval };
        }
    }

    fn go_offline(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
        self.flap(now, rules);
        self.phase = Phase::Offline { next_probe: now + rules.recheck_interval };
        step.mark = Some(Mark::Offline);
        step.verdict = true;
    }

    fn come_back(&mut self, now: Micros, rules: &Rules, step: &mut Step) {
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

    /// It restarted faster than anybody noticed. The first time it returns at once; one
    /// that keeps doing so is taken out for its hold-down.
    fn come_back_as_another(
        &mut self,
        now: Micros,
        may_mark: bool,
        rules: &Rules,
        step: &mut Step,
    ) {
        self.flap(now, rules);
        step.verdict = true;
        if may_mark && self.flaps > 0 {
            step.mark = Some(Mark::Offline);
            self.come_back(now, rules, step);
        } else {
            self.mark_returning(now, step);
        }
    }

    fn mark_returning(&mut self, now: Micros, step: &mut Step) {
        self.phase = Phase::Returning { attempt: 0, verify_at: None };
        self.heard_at = now;
        self.returned_at = Some(now);
        step.mark = Some(Mark::Returning);
    }

    fn flap(&mut self, now: Micros, rules: &Rules) {
        let Some(returned_at) = self.returned_at.take() else { return };
        let calm_us = rules.calm().as_micros().max(1);
        let forgiven = u32::try_from(now.since(returned_at).as_micros() / calm_us);
        self.flaps = match forgiven.unwrap_or(u32::MAX) {
            0 => self.flaps.saturating_add(1),
            forgiven => self.flaps.saturating_sub(forgiven),
        };
    }

    fn cooled_at(&self, now: Micros, rules: &Rules) -> Micros {
        self.probed_at.map_or(now, |at| (at + rules.cool_down()).max(now))
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
