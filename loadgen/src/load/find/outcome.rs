//! The result of a search: the rate, why it is no higher, and each measurement.

use serde::Serialize;
use serde_json::Value;

use super::super::objective::figure::{Measured, OriginReads};
use super::super::objective::{Find, Miss, Objective};
use super::search::Next;
use crate::load::{Load, describe};
use crate::observer::told::Risen;
use crate::recorder::Counts;
use crate::report::LatencyUs;
use crate::report::document::{Document, Environment};
use crate::report::table::{millis, thousands};
use crate::schedule::Arrivals;

/// Share of the requests that must end while others are still sent, because a target that falls behind answers all of
/// them in the end; and that must not fail, if the objective does not say how many may.
const IN_TIME: f64 = 0.98;

/// The mark of the JSON of a search.
const FORMAT: &str = "standin-find";
/// Its version. It rises when a name changes its meaning or is gone, not when one is added.
const VERSION: u32 = 1;

/// What keeps the rate from being higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// The target: it missed the objective at the next higher rate.
    Target,
    /// The load generator: it was late or busy when the objective was missed, so the target may keep more.
    Generator,
    /// The highest rate that can be asked for was kept.
    HighestRate,
    /// The search was interrupted, has failed, or measured too often.
    Unfinished,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Step {
    /// Requests per second asked for.
    pub(crate) rate_per_s: u32,
    /// Whether this rate had been measured before.
    pub(crate) is_repeat: bool,
    /// Requests that have ended, well or not.
    pub(crate) requests: u64,
    /// Whether the objective was kept.
    pub(crate) is_kept: bool,
    /// The conditions that were not, each with its figure.
    pub(crate) misses: Vec<String>,
    /// Why the generator was the limit; empty: it was not.
    pub(crate) generator_limits: Vec<String>,
    /// The schedule's requests that were answered while others were sent, per second.
    pub(crate) answers_per_s: f64,
    /// Percentiles of the latencies.
    pub(crate) latency_us: LatencyUs,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Reads that were stale or wrong.
    pub(crate) bad: u64,
    /// Lateness of sending at its 99th percentile, in microseconds.
    pub(crate) late_p99_us: u64,
    /// Share of its time that the busiest load thread has computed, 0 to 1.
    pub(crate) busy: f64,
}

/// What is known of a search beside its measurements.
pub(super) struct Circumstances<'a> {
    pub(super) load: &'a Load,
    pub(super) find: &'a Find,
    pub(super) target: String,
    pub(super) command: &'a [String],
    /// Whether the search has ended by itself.
    pub(super) is_complete: bool,
    /// Why it could not go on.
    pub(super) error: Option<String>,
}

/// The whole search; the JSON has these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FindReport {
    /// [`FORMAT`].
    pub(crate) format: &'static str,
    /// [`VERSION`].
    pub(crate) version: u32,
    /// The objective.
    pub(crate) objective: String,
    /// The measured target.
    pub(crate) target: String,
    /// The highest rate that kept it; `None`: not even one request per second did.
    pub(crate) rate_per_s: Option<u32>,
    /// The lowest rate above it that did not.
    pub(crate) missed_per_s: Option<u32>,
    /// Whether the rate kept it twice.
    pub(crate) is_confirmed: bool,
    /// What keeps the rate from being higher.
    pub(crate) limit: Limit,
    /// Whether the target may keep a higher rate.
    pub(crate) is_lower_bound: bool,
    /// Why the search could not go on; `None`: it could.
    pub(crate) error: Option<String>,
    /// What to think of when reading the outcome.
    pub(crate) warnings: Vec<String>,
    /// Every option, with the names of a scenario.
    pub(crate) scenario: Value,
    /// The machine of the load generator.
    pub(crate) environment: Environment,
    /// The command line, without passwords.
    pub(crate) command: Vec<String>,
    /// The measurements in their order.
    pub(crate) steps: Vec<Step>,
}

impl Step {
    /// Judges a measurement, and the reads of its warm-up, of which there are counts.
    pub(super) fn of(
        rate_per_s: u32,
        is_repeat: bool,
        objective: &Objective,
        arrivals: Arrivals,
        (document, warm_up): (&Document, &Counts),
    ) -> Self {
        let (latency, service) = (document.latency(), document.service.histogram.histogram());
        let generator = &document.generator;
        let late_p99_us = generator.lateness.p99_us;
        let (total, counts) = (&document.total, &document.total.counts);
        let (latency, service) = (&latency, &service);
        // It has no conditions on what is not looked at.
        let (offline, origin, risen) = (0, OriginReads::default(), &Risen::new());
        let measured =
            Measured::Run { latency, service, counts, late_p99_us, offline, origin, risen };
        let missed = objective.misses(measured);
        let is_by_lateness = !missed.is_empty() && missed.iter().all(|miss| miss.is_by_lateness);
        let mut misses: Vec<String> = missed.into_iter().map(|Miss { text, .. }| text).collect();
        let own_misses = misses.len();
        let of_warm_up = objective.misses_of_reads(warm_up);
        misses.extend(of_warm_up.into_iter().map(|miss| format!("warm-up: {miss}")));
        if let (false, Some(miss)) = (objective.is_about_failures(), many_failures(counts)) {
            misses.push(miss);
        }
        // What is no failure, such as a trace that can't be read to its end. Its warnings say what.
        if !document.is_good && super::super::outcome::is_good(total) {
            misses.push(format!("the measurement broke off: {}", document.warnings.join("; ")));
        }
        let (answers, ended) = in_time(document);
        let answers_per_s = answers as f64 / total.seconds.max(1e-9);
        let schedule = Schedule { rate_per_s, seconds: total.seconds, arrivals };
        let points = document.timeline.iter().map(|interval| &interval.point);
        let ended_of_each = points.map(|point| (point.t_ms, point.scheduled_ended));
        if schedule.is_target_behind(document.interval_ms, ended_of_each) {
            let done = thousands((ended as f64 / total.seconds.max(1e-9)) as u64);
            let asked = thousands(rate_per_s.into());
            misses.push(format!("rate: {done} of {asked} answers/s came in time"));
        }
        // A measurement that is cut short is too slow anyway.
        if misses.is_empty() {
            misses.extend(super::super::outcome::unanswered(counts));
        }
        let mut generator_limits = generator.limits.clone();
        if is_by_lateness && misses.len() == own_misses {
            generator_limits.push(format!(
                "requests were sent {} ms late at p99, and would have kept the objective otherwise",
                millis(late_p99_us)
            ));
        }
        Self {
            rate_per_s,
            is_repeat,
            requests: total.requests,
            is_kept: misses.is_empty(),
            misses,
            generator_limits,
            answers_per_s,
            latency_us: total.latency_us,
            failed: total.failed,
            bad: total.stale + total.wrong,
            late_p99_us,
            busy: generator.busy,
        }
    }

    /// The heading of a table of measurements.
    pub(super) fn heading() -> String {
        format!(
            "{:>10}{:>11}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}{:>9}{:>7}",
            "asked/s",
            "done/s",
            "p50 ms",
            "p99",
            "p99.9",
            "max",
            "failed",
            "stale",
            "late p99",
            "busy %"
        )
    }

    /// A line of that table.
    pub(super) fn to_text(&self) -> String {
        let LatencyUs { p50, p99, p999, max, .. } = self.latency_us;
        let [p50, p99, p999, max] = [p50, p99, p999, max].map(millis);
        let outcome = match (self.is_kept, self.is_repeat) {
            (true, false) => "kept".to_owned(),
            (true, true) => "kept again".to_owned(),
            (false, _) => self.misses.join(", "),
        };
        let generator =
            if self.generator_limits.is_empty() { "" } else { " (generator at its limit)" };
        format!(
            "{:>10}{:>11}{p50:>8}{p99:>8}{p999:>8}{max:>8}{:>8}{:>7}{:>9}{:>7.0}  {outcome}{generator}",
            thousands(self.rate_per_s.into()),
            thousands(self.answers_per_s.round() as u64),
            thousands(self.failed),
            thousands(self.bad),
            millis(self.late_p99_us),
            self.busy * 100.0,
        )
    }
}

/// The schedule of a measurement.
struct Schedule {
    rate_per_s: u32,
    seconds: f64,
    arrivals: Arrivals,
}

impl Schedule {
    /// Whether the target falls behind: too few requests end while others are sent, in all of the time and in its second
    /// half. A target that is slow but keeps up has a backlog too, which no longer grows in the second half.
    ///
    /// There are the beginnings of intervals in milliseconds, each with the requests that ended in it.
    fn is_target_behind(&self, interval_ms: u64, ended: impl Iterator<Item = (u64, u64)>) -> bool {
        let end_ms = (self.seconds * 1e3) as u64;
        let half_ms = end_ms / 2 / interval_ms.max(1) * interval_ms;
        let (mut whole, mut second_half) = (0, 0);
        for (t_ms, count) in ended.filter(|(t_ms, _)| *t_ms < end_ms) {
            whole += count;
            second_half += if t_ms >= half_ms { count } else { 0 };
        }
        let second_half_s = self.seconds - half_ms as f64 / 1e3;
        self.is_too_few(whole, self.seconds) && self.is_too_few(second_half, second_half_s)
    }

    fn is_too_few(&self, ended: u64, seconds: f64) -> bool {
        let expected = f64::from(self.rate_per_s) * seconds;
        // The number of random arrivals is random too: four standard deviations.
        let spread = match self.arrivals {
            Arrivals::Constant => 0.0,
            Arrivals::Poisson => expected.sqrt() * 4.0,
        };
        // One may be under way at the end.
        (ended as f64) < expected * IN_TIME - spread - 1.0
    }
}

/// Any objective is kept by a target that refuses each request at once, unless failures count.
fn many_failures(counts: &Counts) -> Option<String> {
    let (failed, requests) = (counts.failed, counts.requests);
    let is_many = failed as f64 > requests as f64 * (1.0 - IN_TIME);
    is_many.then(|| format!("failed: {} of {} requests", thousands(failed), thousands(requests)))
}

/// The schedule's requests that were answered before the last one was due, and those that had ended then, well or not.
fn in_time(document: &Document) -> (u64, u64) {
    let end_ms = (document.total.seconds * 1e3) as u64;
    let points = document.timeline.iter().map(|interval| &interval.point);
    points.filter(|point| point.t_ms < end_ms).fold((0, 0), |(answers, ended), point| {
        (answers + point.scheduled_answers, ended + point.scheduled_ended)
    })
}

impl FindReport {
    /// Puts the outcome of a search together.
    pub(super) fn new(circumstances: Circumstances<'_>, end: Next, steps: Vec<Step>) -> Self {
        let Circumstances { load, find, target, command, is_complete, error } = circumstances;
        let (kept, missed, is_confirmed) = match end {
            Next::Done { kept, missed, is_confirmed } => (kept, missed, is_confirmed),
            Next::Try(_) => (None, None, false),
        };
        let mut of_missed =
            steps.iter().filter(|step| Some(step.rate_per_s) == missed && !step.is_kept);
        let limit = match missed {
            _ if !is_complete => Limit::Unfinished,
            None => Limit::HighestRate,
            Some(_) if of_missed.all(|step| !step.generator_limits.is_empty()) => Limit::Generator,
            Some(_) => Limit::Target,
        };
        let judged = steps.iter().filter(|step| Some(step.rate_per_s) == kept && step.is_kept);
        let fewest = judged.map(|step| step.requests).min();
        let too_fine = fewest.map(|requests| (requests, find.objective.too_fine_for(requests)));
        let too_fine = too_fine.filter(|(_, conditions)| !conditions.is_empty());
        let warnings = too_fine.into_iter().map(|(requests, conditions)| {
            format!(
                "of {} requests, {} is about the longest latency: measure for more --seconds",
                thousands(requests),
                conditions.join(", ")
            )
        });
        Self {
            format: FORMAT,
            version: VERSION,
            error,
            warnings: warnings.collect(),
            objective: find.objective.to_string(),
            target,
            scenario: describe::scenario(load),
            environment: Environment::here(),
            command: command.to_vec(),
            rate_per_s: kept,
            missed_per_s: missed,
            is_confirmed,
            limit,
            is_lower_bound: limit != Limit::Target,
            steps,
        }
    }

    /// Formats the outcome for the terminal, without the measurements.
    #[must_use]
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.outcome();
        self.warnings.iter().for_each(|warning| text += &format!("\n  WARNING: {warning}"));
        if let Some(error) = &self.error {
            text += &format!("\n  a measurement failed: {error}");
        }
        text
    }

    fn outcome(&self) -> String {
        let Self { objective, target, .. } = self;
        let Some(rate) = self.rate_per_s else {
            let lowest = self.steps.iter().map(|step| step.rate_per_s).min().unwrap_or(1);
            return match self.limit {
                Limit::Unfinished => format!("\nunfinished: no rate has kept {objective} so far"),
                _ => {
                    format!("\n{target} does not keep {objective}, not even at {lowest} requests/s")
                }
            };
        };
        let rate = thousands(rate.into());
        let or_more = if self.is_lower_bound { " or more" } else { "" };
        let mut text = format!("\n{target} keeps {objective} at {rate} requests/s{or_more}");
        if let Some(missed) = self.missed_per_s {
            text += &format!(", and misses it at {}", thousands(missed.into()));
        }
        text += match self.is_confirmed {
            true => "; measured twice\n",
            false => "; measured once\n",
        };
        text += &match self.limit {
            Limit::Target => "  the target was the limit".to_owned(),
            Limit::Generator => {
                let missed = |step: &&Step| Some(step.rate_per_s) == self.missed_per_s;
                let why = self.steps.iter().rev().find(missed);
                let why = why.map(|step| step.generator_limits.join("; ")).unwrap_or_default();
                format!(
                    "  the load generator was the limit, not the target: this is a lower bound\n  ({why})\n  use more \
                     --workers, a separate machine, or several"
                )
            }
            Limit::HighestRate => {
                "  this is the highest rate that can be asked for: a lower bound".to_owned()
            }
            Limit::Unfinished => "  the search was not finished: this is a lower bound".to_owned(),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::tests::parse;

    fn step(rate_per_s: u32, is_kept: bool, limits: &[&str]) -> Step {
        Step {
            rate_per_s,
            is_repeat: false,
            requests: 500,
            is_kept,
            misses: if is_kept { Vec::new() } else { vec!["p99<1ms: 2.00 ms".to_owned()] },
            generator_limits: limits.iter().map(|&text| text.to_owned()).collect(),
            answers_per_s: f64::from(rate_per_s),
            latency_us: LatencyUs { p50: 1, p90: 1, p99: 2, p999: 3, max: 4 },
            failed: 0,
            bad: 0,
            late_p99_us: 5,
            busy: 0.5,
        }
    }

    fn report(missed: Option<u32>, is_complete: bool, steps: Vec<Step>) -> FindReport {
        let load = parse(&["--find", "p99<1ms"]).unwrap().resolve().unwrap();
        let find = load.find.clone().unwrap();
        let target = "a target".to_owned();
        let (load, find, error) = (&load, &find, None);
        let circumstances = Circumstances { load, find, target, command: &[], is_complete, error };
        let end = Next::Done { kept: Some(1_000), missed, is_confirmed: true };
        FindReport::new(circumstances, end, steps)
    }

    #[test]
    fn the_limit_is_what_missed_the_next_higher_rate() {
        let busy = ["it was busy"];
        let kept = || step(1_000, true, &[]);
        let target = report(Some(1_050), true, vec![kept(), step(1_050, false, &[])]);
        assert_eq!((target.limit, target.is_lower_bound), (Limit::Target, false));
        let text = target.to_text();
        assert!(
            text.contains("keeps p99<1ms at 1,000 requests/s, and misses it at 1,050"),
            "{text}"
        );

        let generator = report(Some(1_050), true, vec![kept(), step(1_050, false, &busy)]);
        assert_eq!((generator.limit, generator.is_lower_bound), (Limit::Generator, true));
        let text = generator.to_text();
        assert!(
            text.contains("at 1,000 requests/s or more") && text.contains("it was busy"),
            "{text}"
        );

        // One miss without it is enough, and one at a higher rate says nothing.
        let both = vec![step(1_050, false, &busy), kept(), step(1_050, false, &[])];
        assert_eq!(report(Some(1_050), true, both).limit, Limit::Target);
        let higher = vec![step(2_000, false, &busy), kept(), step(1_050, false, &[])];
        assert_eq!(report(Some(1_050), true, higher).limit, Limit::Target);

        assert_eq!(report(None, true, vec![kept()]).limit, Limit::HighestRate);
        let unfinished = report(Some(2_000), false, vec![kept(), step(2_000, false, &[])]);
        assert_eq!((unfinished.limit, unfinished.is_lower_bound), (Limit::Unfinished, true));
    }

    #[test]
    fn percentiles_of_few_requests_are_told() {
        let few = Step { requests: 99, ..step(1_000, true, &[]) };
        let told = report(None, true, vec![few]);
        assert!(told.warnings[0].starts_with("of 99 requests, p99<1ms is"), "{:?}", told.warnings);
        assert!(told.to_text().contains("\n  WARNING: of 99"), "{}", told.to_text());
        assert!(report(None, true, vec![step(1_000, true, &[])]).warnings.is_empty());
    }

    #[test]
    fn a_target_is_behind_if_its_backlog_grows_until_the_end() {
        let is_behind = |arrivals, interval_ms: u64, ended: &[u64]| {
            let seconds = 10.0 * interval_ms as f64 / 1e3;
            let schedule = Schedule { rate_per_s: 1_000, seconds, arrivals };
            let times = (0..).step_by(interval_ms as usize);
            schedule.is_target_behind(interval_ms, times.zip(ended.iter().copied()))
        };
        let ends = |ended: &[u64]| is_behind(Arrivals::Constant, 1_000, ended);
        assert!(!ends(&[1_000; 10]));
        // A latency of 300 ms, and one of 3 s; what ends later is not in time.
        assert!(!ends(&[700, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 300]));
        assert!(!ends(&[0, 0, 0, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 2_000]));
        assert!(!is_behind(Arrivals::Constant, 100, &[0, 0, 0, 100, 100, 100, 100, 100, 100, 100]));
        // It does 97 % of the rate, a third of it, and at last nothing.
        assert!(ends(&[970; 10]) && ends(&[333; 30]));
        assert!(ends(&[1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 0, 0]));
        // Random arrivals may be fewer.
        assert!(!is_behind(Arrivals::Poisson, 1_000, &[970; 10]));
        assert!(is_behind(Arrivals::Poisson, 1_000, &[900; 10]));
    }

    #[test]
    fn some_failures_are_no_miss_of_their_own() {
        let miss = |failed| many_failures(&Counts { requests: 1_000, failed, ..Counts::default() });
        assert_eq!((miss(0), miss(19)), (None, None));
        assert_eq!(miss(1_000).as_deref(), Some("failed: 1,000 of 1,000 requests"));
        assert!(miss(21).is_some() && many_failures(&Counts::default()).is_none());
    }

    #[test]
    fn lines_have_the_columns_of_the_heading() {
        let line = step(1_234_567, true, &[]).to_text();
        let (columns, outcome) = line.split_at(Step::heading().chars().count());
        assert_eq!(outcome, "  kept", "{line}");
        assert_eq!(columns.split_whitespace().count(), 10);
        let missed = step(5, false, &["busy"]).to_text();
        assert!(missed.ends_with("p99<1ms: 2.00 ms (generator at its limit)"), "{missed}");
    }
}
