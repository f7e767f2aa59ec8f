//! One server, as the master sees it: claims 19, 20 and 21 as a table.
//!
//! | phase | seen | next | does |
//! |---|---|---|---|
//! | Online | reported, or another incarnation | Verifying | probe every shard (after the cool-down) |
//! | Online | reported by a reporter of most of a group, just after a probe | Online | verdict; verifies after a longer cool-down |
//! | Online | silent for a lease | Verifying | probe every shard |
//! | Online | deaf: has acknowledged nothing for a long time, under the cap | Waiting | as below |
//! | Verifying | answered | Online | verdict |
//! | Verifying | unanswered, attempts left | Verifying | probe again, at once |
//! | Verifying, Frozen | unanswered, under the cap, lease over or known dead | Offline | mark offline; verdict |
//! | Verifying, Frozen | unanswered, under the cap, otherwise | Waiting | mark waiting; verdict |
//! | Verifying | unanswered, not allowed to mark | Frozen | verdict |
//! | Frozen, Waiting, Offline, Probation | reported | the same | verdict |
//! | Frozen | recheck due | Frozen | probe |
//! | Frozen | answered | Online | – |
//! | Waiting | sign of life, reported online, or recheck due | Waiting | probe |
//! | Waiting | answered, no hold-down | Returning | mark returning |
//! | Waiting | lease over | Offline | mark offline; verdict |
//! | Waiting | unanswered, known dead or released | Offline | mark offline; verdict |
//! | Waiting | answered, hold-down, released or another incarnation | Probation | mark offline |
//! | Offline | recheck due, or reported online, or another incarnation | Offline | probe |
//! | Offline | answered, no hold-down | Returning | mark returning |
//! | Offline | answered, hold-down | Probation | – |
//! | Probation | unanswered | Offline | hold-down doubles |
//! | Probation | answered, held long enough | Returning | mark returning |
//! | Returning | drained | Online | mark online |
//! | Returning | reported, silent, or another incarnation | Returning | probe |
//! | Returning | unanswered for all attempts, or deaf: lease over, known dead or released | Offline | mark offline; flap |
//! | Returning | the same, otherwise | Waiting | mark waiting; flap |
//! | Verifying, Frozen, Returning | answered by another incarnation | Returning | mark returning; flap |
//! | Verifying, Frozen, Returning | the same, hold-down, under the cap, lease over or known dead | Probation | mark offline; flap |
//! | Online, Verifying, Frozen, Returning, Waiting | leaving | Leaving | mark leaving |
//! | Leaving | drained, or its time is up and its lease is over or it is released | Offline | mark offline, unverified; verdict |
//! | Offline, Probation | leaving | Offline | verdict |
//!
//! *Known dead*: the server's port refuses connections. Only mode `available` relies on that.
//! *Released*: the server has itself acknowledged that it owns nothing.
//!
//! A renewal never ends a verification. The control thread of a server may be alive while a shard
//! is stuck (scenario 13), so only the data path counts. There is at most one probe under way per
//! server. The caller owns the announced state of the server (state, incarnation, epoch). This
//! machine owns only the verification, and the time until which the server may act on its leases.

mod moves;
mod phases;

use standin_protocol::time::Micros;

use crate::phase::{Attempt, Facts, Phase, Seen, Step};
use crate::rules::Rules;

/// An observation with its circumstances, and the step that answers it.
struct Case<'a> {
    now: Micros,
    seen: Seen,
    facts: Facts,
    rules: &'a Rules,
    step: &'a mut Step,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    attempt: Attempt,
    give_up_at: Micros,
}

/// One server's machine.
#[derive(Debug, Clone)]
pub struct Verify {
    phase: Phase,
    /// The time of the last sign of life of the known incarnation.
    heard_at: Micros,
    /// The end of the last verification (see [`Rules::cool_down`]).
    probed_at: Option<Micros>,
    /// The probe under way, and the time until which its result is awaited.
    under_way: Option<UnderWay>,
    last_probe_id: u64,
    flaps: u32,
    returned_at: Option<Micros>,
    /// The time at which all leases that were granted to it have expired.
    lease_over_at: Micros,
}

impl Verify {
    /// Creates a server that is in this phase when the master starts, and that holds a lease of the
    /// predecessor until `lease_over_at`.
    #[must_use]
    pub fn new(now: Micros, phase: Phase, lease_over_at: Micros) -> Self {
        Self {
            phase,
            lease_over_at,
            heard_at: now,
            probed_at: None,
            under_way: None,
            last_probe_id: 0,
            flaps: 0,
            returned_at: None,
        }
    }

    /// Returns the phase of the server.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the time of the last sign of life.
    #[must_use]
    pub fn heard_at(&self) -> Micros {
        self.heard_at
    }

    /// Returns the probe under way.
    #[must_use]
    pub fn probe_under_way(&self) -> Option<Attempt> {
        self.under_way.map(|probe| probe.attempt)
    }

    /// Returns the number of the last probe sent.
    #[must_use]
    pub fn last_probe_id(&self) -> u64 {
        self.last_probe_id
    }

    /// Whether the result of the probe under way is overdue.
    #[must_use]
    pub fn is_probe_lost(&self, now: Micros) -> bool {
        self.under_way.is_some_and(|probe| probe.give_up_at <= now)
    }

    /// Whether the server is announced as offline.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        matches!(self.phase, Phase::Offline { .. } | Phase::Probation { .. })
    }

    /// Whether the server is announced as offline or waiting.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.is_offline() || matches!(self.phase, Phase::Waiting { .. })
    }

    /// Notes that the server is granted a lease now.
    pub fn granted(&mut self, now: Micros, rules: &Rules) {
        self.lease_over_at = self.lease_over_at.max(rules.lease_over_at(now));
    }

    /// Returns the time from which on the server can't hold a lease, unless it is granted another.
    #[must_use]
    pub fn lease_over_at(&self) -> Micros {
        self.lease_over_at
    }

    /// Whether a probe of the server has ended within this time.
    #[must_use]
    pub fn was_probed_within(&self, now: Micros, time: std::time::Duration) -> bool {
        self.probed_at.is_some_and(|at| now < at + time)
    }

    /// Restarts in another phase, when the master has learned that its own view was out of date.
    /// The result of a probe under way will not count. The server counts as holding a lease from now
    /// on, because another master may just have granted one.
    pub fn reset(&mut self, now: Micros, phase: Phase, rules: &Rules) {
        self.granted(now, rules);
        self.phase = phase;
        self.heard_at = now;
        self.under_way = None;
    }

    /// Probes the server again without delay, because the obstacle to marking it is gone.
    pub fn thaw(&mut self, now: Micros) {
        if let Phase::Frozen { next_probe } = &mut self.phase {
            *next_probe = now;
        }
    }

    /// Returns the time at which [`Seen::Tick`] will have an effect.
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
            Phase::Waiting { until, .. } if self.under_way.is_some() => until,
            Phase::Waiting { until, next_probe } => until.min(next_probe),
            _ if self.under_way.is_some() => Micros::NEVER,
            Phase::Frozen { next_probe }
            | Phase::Offline { next_probe }
            | Phase::Probation { next_probe, .. } => next_probe,
        };
        due.min(give_up_at)
    }

    /// Handles an observation.
    pub fn handle(&mut self, now: Micros, seen: Seen, facts: Facts, rules: &Rules) -> Step {
        let mut step = Step::default();
        if matches!(seen, Seen::Answered { .. } | Seen::Busy | Seen::Unanswered { .. }) {
            self.under_way = None;
            self.probed_at = Some(now);
        }
        if matches!(seen, Seen::Answered { .. } | Seen::Busy | Seen::Renewed) {
            self.heard_at = now;
        }
        let mut case = Case { now, seen, facts, rules, step: &mut step };
        match self.phase {
            Phase::Offline { next_probe } => self.while_offline(next_probe, &mut case),
            Phase::Probation { until, next_probe } => {
                self.while_on_probation(until, next_probe, &mut case);
            }
            // The server stops, whatever is reported about it meanwhile. Its reporters are answered
            // when it has left.
            Phase::Leaving { until } => self.while_leaving(until, &mut case),
            _ if seen == Seen::Left => self.leave(&mut case),
            Phase::Online { verify_at } => self.while_online(verify_at, &mut case),
            Phase::Verifying { attempt } => self.while_verifying(attempt, &mut case),
            Phase::Frozen { .. } => self.while_frozen(&mut case),
            Phase::Waiting { until, next_probe } => {
                self.while_waiting(until, next_probe, &mut case);
            }
            Phase::Returning { attempt, verify_at } => {
                self.while_returning(attempt, verify_at, &mut case);
            }
        }
        step
    }
}

#[cfg(test)]
mod tests;
