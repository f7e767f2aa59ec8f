//! The result of a load, and whether the generator itself distorted it.

use std::time::Duration;

use serde::Serialize;

use super::Load;
use crate::drive::{Pacing, Plan};
use crate::recorder::{Recording, TimelinePoint};
use crate::report::figures::LATE_US_MAX;
use crate::report::table::{self, millis, operations, thousands};
use crate::report::{CurvePoint, Figures, Machine, OperationFigures, PhaseFigures, figures::curve};
use crate::schedule::Rates;

/// Share of its threads' time at which a generator is the bottleneck.
const BUSY: f64 = 0.9;
/// Share of the asked rate below which the rate was not reached.
const REACHED: f64 = 0.98;

/// The lateness of sent requests in microseconds. It is part of the latencies, but not caused by
/// the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lateness {
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Longest.
    pub max_us: u64,
}

/// A phase of the rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadPhase {
    /// The beginning, in seconds since the start of the run.
    pub begin_s: f64,
    /// Requests per second asked for, over the whole phase.
    pub asked_per_s: f64,
    /// The measurements of the requests that were due in it.
    #[serde(flatten)]
    pub figures: PhaseFigures,
}

impl LoadPhase {
    /// The phases that have begun in a run that sent for this time.
    fn all(rates: &Rates, sent_for: Duration, recording: &Recording) -> Vec<Self> {
        let begun = rates.spans().iter().zip(&recording.phases);
        begun
            .filter(|(span, _)| span.begin < sent_for)
            .map(|(span, record)| {
                let seconds = (span.end.min(sent_for) - span.begin).as_secs_f64();
                let asked = rates.requests_until(span.end) - rates.requests_until(span.begin);
                Self {
                    begin_s: span.begin.as_secs_f64(),
                    asked_per_s: asked / (span.end - span.begin).as_secs_f64(),
                    figures: PhaseFigures::new(span.name.clone(), record, seconds, None),
                }
            })
            .collect()
    }
}

/// All of it; the JSON has these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// All requests together.
    #[serde(flatten)]
    pub total: Figures,
    /// Reads and writes apart.
    pub operations: Vec<OperationFigures>,
    /// The measured target.
    pub target: String,
    #[serde(skip)]
    is_standin: bool,
    /// Requests per second asked for, over the whole run; `None`: a closed loop.
    pub asked_per_s: Option<f64>,
    /// Each phase of the rate, if it has phases.
    pub phases: Vec<LoadPhase>,
    /// Whether reads were judged.
    pub is_checked: bool,
    /// The lateness of sent requests.
    pub lateness: Lateness,
    /// Share of its threads' time that the generator has computed, 0 to 1.
    pub generator_busy: f64,
    /// The ways in which the generator distorted the result.
    pub warnings: Vec<String>,
    /// The first failures and bad reads.
    pub quotes: Vec<String>,
    /// The distribution of the latencies.
    pub percentiles: Vec<CurvePoint>,
    /// Latencies and throughput over time.
    pub timeline: Vec<TimelinePoint>,
    /// Seed.
    pub seed: u64,
    /// Load threads.
    pub workers: u32,
    /// On what.
    pub machine: Machine,
}

impl LoadReport {
    pub(super) fn new(
        load: &Load,
        plan: &Plan,
        recording: &Recording,
        ran_for: Duration,
        cpu: Duration,
        origin_reads: Option<u64>,
    ) -> Self {
        let latency = recording.latency();
        // An open loop waits for its last answers; its rate is over the time of sending.
        let seconds = match (&plan.pacing, plan.duration) {
            (Pacing::Open { .. }, Some(duration)) => duration.min(ran_for).as_secs_f64(),
            _ => ran_for.as_secs_f64(),
        };
        let total = Figures::new(recording.counts(), &latency, seconds, origin_reads);
        let sent_for = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        let (asked_per_s, phases) = match &plan.pacing {
            Pacing::Open { rates, .. } => {
                let phases = LoadPhase::all(rates, sent_for, recording);
                (Some(rates.mean_per_s(plan.duration.unwrap_or(sent_for))), phases)
            }
            Pacing::Closed { .. } => (None, Vec::new()),
        };
        let late = &recording.lateness;
        let lateness = Lateness {
            p50_us: late.value_at_quantile(0.5),
            p99_us: late.value_at_quantile(0.99),
            max_us: late.max(),
        };
        let workers = load.workers;
        let busy = cpu.as_secs_f64() / (ran_for.as_secs_f64() * f64::from(workers)).max(1e-9);
        Self {
            operations: OperationFigures::of(&recording.whole()),
            warnings: warnings(asked_per_s, &total, lateness, busy),
            total,
            target: plan.target.name(),
            is_standin: plan.target.standin().is_some(),
            asked_per_s,
            phases,
            is_checked: plan.checker.is_some(),
            lateness,
            generator_busy: busy,
            quotes: recording.quotes.clone(),
            percentiles: curve(&latency),
            timeline: recording.timeline(),
            seed: load.seed,
            workers,
            machine: Machine::here(),
        }
    }

    /// No request failed, and no read was stale or wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.total.failed == 0 && self.total.stale == 0 && self.total.wrong == 0
    }

    /// Formats the outcome for the terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let total = &self.total;
        let mut rows: Vec<_> =
            self.operations.iter().map(|op| (op.name, op.requests, op.latency_us)).collect();
        rows.retain(|(_, requests, _)| *requests > 0);
        rows.push(("all", total.requests, total.latency_us));
        let mut text = format!("\n{}\n", operations(&rows));
        if !self.phases.is_empty() {
            let phases: Vec<_> = self.phases.iter().map(|phase| phase.figures.clone()).collect();
            text += &format!("{}\n", table::phases(&phases, total));
        }
        text += &format!(
            "  {} answers/s over {:.1} s, hit ratio {:.1} %",
            thousands(total.throughput_per_s.round() as u64),
            total.seconds,
            total.hit_ratio * 100.0,
        );
        if self.is_standin {
            let reads = total.origin_reads.map_or_else(|| "unknown".to_owned(), thousands);
            text += &format!(", origin reads {reads}");
        }
        text.push('\n');
        let counts = &total.counts;
        text += &format!("  failed {}", thousands(total.failed));
        for (kind, count) in counts.failures_by_kind() {
            text += &format!(", {} {}", thousands(count), kind.name());
        }
        if self.is_checked {
            text += &format!(
                "; of {} checked reads stale {}, wrong {}",
                thousands(counts.checked),
                total.stale,
                total.wrong
            );
            if total.stale > 0 {
                text += &format!(
                    " (beyond the bound {}, the oldest by {} ms)",
                    counts.stale_beyond,
                    millis(counts.stale_age_us_max)
                );
            }
        }
        if counts.late_writes > 0 {
            text += &format!(
                "\n  {} reads showed a write without an acknowledgement that took effect after a newer one",
                thousands(counts.late_writes)
            );
        }
        text += &match self.is_standin {
            true => format!(
                "\n  by stand-ins {}, forwarded {}, sent again {}, no such row {}\n",
                thousands(counts.stand_in),
                thousands(counts.forwarded),
                thousands(counts.resent),
                thousands(counts.absent)
            ),
            false => {
                format!("\n  {}; reads of absent keys {}\n", self.target, thousands(counts.absent))
            }
        };
        if counts.redraws > 0 {
            text += &format!(
                "  keys with a write under way: another key was drawn {} times\n",
                thousands(counts.redraws)
            );
        }
        if counts.became_reads > 0 {
            text += &format!(
                "  {} writes became reads because every key drawn had a write under way\n",
                thousands(counts.became_reads)
            );
        }
        if self.asked_per_s.is_some() {
            text += &format!(
                "  sent late by {} ms at p50, {} at p99, {} at most (part of the latencies)\n",
                millis(self.lateness.p50_us),
                millis(self.lateness.p99_us),
                millis(self.lateness.max_us)
            );
        }
        self.quotes.iter().for_each(|quote| text += &format!("  {quote}\n"));
        self.warnings.iter().for_each(|warning| text += &format!("  WARNING: {warning}\n"));
        text.truncate(text.trim_end().len());
        text
    }
}

fn warnings(asked: Option<f64>, total: &Figures, lateness: Lateness, busy: f64) -> Vec<String> {
    let mut warnings = Vec::new();
    if busy > BUSY {
        warnings.push(format!(
            "the load threads were busy {:.0} % of the time: they, not the cluster, may be the \
             limit; use more --workers, or a separate machine",
            busy * 100.0
        ));
    }
    // A closed loop has no schedule that it could miss.
    let Some(asked) = asked else { return warnings };
    if lateness.p99_us > LATE_US_MAX {
        warnings.push(format!(
            "requests were sent {} ms late at p99: the latencies are partly the generator's own; \
             lower --rate, or use a separate machine",
            millis(lateness.p99_us)
        ));
    }
    let reached = total.requests as f64 / total.seconds.max(1e-9);
    if total.seconds >= 1.0 && reached < asked * REACHED {
        warnings.push(format!(
            "only {} of {} requests/s were sent; the end of a trace or an interrupt may have \
             ended the run early",
            thousands(reached as u64),
            thousands(asked.round() as u64)
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Counts, histogram};

    #[test]
    fn the_generator_accuses_itself() {
        let figures = |requests| {
            let counts = Counts { requests, ..Counts::default() };
            Figures::new(counts, &histogram(), 10.0, None)
        };
        let on_time = Lateness { p50_us: 20, p99_us: 300, max_us: 9_000 };
        assert!(warnings(Some(1_000.0), &figures(10_000), on_time, 0.3).is_empty());
        let late = Lateness { p99_us: 5_000, ..on_time };
        assert_eq!(warnings(Some(1_000.0), &figures(10_000), late, 0.3).len(), 1);
        assert_eq!(warnings(Some(1_000.0), &figures(9_000), on_time, 0.3).len(), 1);
        assert_eq!(warnings(None, &figures(9_000), late, 0.99).len(), 1);
    }
}
