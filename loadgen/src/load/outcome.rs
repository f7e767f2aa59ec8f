//! The result of a load, and whether the generator itself distorted it.

use std::time::{Duration, SystemTime};

use super::observers::Observed;
use super::{Load, describe};
use crate::drive::{Pacing, Plan};
use crate::faults::Announcement;
use crate::recorder::{Counts, LoadThread, Recording};
use crate::report::document::{
    Document, Environment, FORMAT, Generator, Interval, Lateness, Operation, Phase, Sample,
    TargetFacts, TargetUsage, Thread, VERSION,
};
use crate::report::events::{self, Event};
use crate::report::expectations::{self, Announced};
use crate::report::figures::{LATE_P99_US_MAX, curve};
use crate::report::table::{self, millis, operations, thousands};
use crate::report::{Figures, PhaseFigures};
use crate::schedule::Rates;

/// Share of a thread's time above which it is the limit.
const BUSY: f64 = 0.9;
/// The name of the times from sending to the answer.
const SERVICE: &str = "service";
/// Share of the asked rate below which the rate was not reached.
const REACHED: f64 = 0.98;

/// What is known of a run beside its recording.
#[derive(Debug)]
pub(super) struct Circumstances<'a> {
    /// The beginning, by the wall clock.
    pub(super) started: SystemTime,
    /// Length of the run, with the wait for the last answers.
    pub(super) ran_for: Duration,
    /// Whether somebody has ended it.
    pub(super) is_stopped: bool,
    /// What was observed beside the requests.
    pub(super) observed: Observed,
    /// The command line.
    pub(super) command: &'a [String],
}

/// The results of a run.
pub(super) fn document(
    load: &Load,
    plan: &Plan,
    recording: &Recording,
    circumstances: Circumstances<'_>,
) -> Document {
    let Circumstances { started, ran_for, is_stopped, observed, command } = circumstances;
    let Observed { origin_reads, reads, risen: _, watched, told } = observed;
    let origin = reads.timeline();
    let latency = recording.latency();
    // An open loop waits for its last answers; its rate is over the time of sending.
    let seconds = match (&plan.pacing, plan.duration) {
        (Pacing::Open { .. } | Pacing::Recorded, Some(duration)) => {
            duration.min(ran_for).as_secs_f64()
        }
        _ => ran_for.as_secs_f64(),
    };
    let total = Figures::new(recording.counts(), &latency, seconds, origin_reads);
    let sent_for = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    let share = load.place.share(load.workers);
    let (asked_per_s, phases) = match &plan.pacing {
        Pacing::Open { rates, .. } => {
            let asked_per_s = rates.mean_per_s(plan.duration.unwrap_or(sent_for));
            (Some(asked_per_s * share), phases(rates, share, sent_for, recording))
        }
        // All that was recorded is sent, if perhaps late.
        Pacing::Recorded => (Some(total.counts.scheduled as f64 / seconds.max(1e-9)), Vec::new()),
        Pacing::Closed { .. } => (None, Vec::new()),
    };
    let generator = generator(load, plan, recording, asked_per_s);
    let mut warnings = warnings(&generator, &total);
    warnings.extend(is_stopped.then(|| cut_short(ran_for, plan.duration)).flatten());
    warnings.extend(unanswered(&total.counts));
    if generator.is_checked && total.counts.checked == 0 {
        let text = "no read was judged, so nothing is known of stale and wrong reads: is there a read among the requests, and \
                    was one answered?";
        warnings.push(text.to_owned());
    }
    let whole = recording.whole();
    Document {
        format: FORMAT.to_owned(),
        version: VERSION,
        label: load.label.clone(),
        is_good: is_good(&total),
        started: humantime::format_rfc3339_millis(started).to_string(),
        command: command.to_vec(),
        target: TargetFacts {
            name: plan.target.name(),
            is_standin: plan.target.standin().is_some(),
            servers: told,
            usage: TargetUsage::of(&watched, total.requests),
        },
        scenario: describe::scenario(load),
        environment: Environment::here(),
        operations: Operation::all_of(&whole),
        service: Operation::new(SERVICE, &whole.service),
        phases,
        warnings,
        generator,
        quotes: recording.quotes.clone(),
        percentiles: curve(&latency),
        interval_ms: u64::try_from(recording.slot().as_millis()).unwrap_or(u64::MAX),
        timeline: Interval::all_of(recording),
        samples: Sample::all_of(&watched, recording.start),
        origin,
        marks: Vec::new(),
        events: Vec::new(),
        announcements: Vec::new(),
        expectations: Vec::new(),
        parts: Vec::new(),
        total,
    }
}

/// The generator's own share in the result.
fn generator(
    load: &Load,
    plan: &Plan,
    recording: &Recording,
    asked_per_s: Option<f64>,
) -> Generator {
    let thread =
        |one: &LoadThread| Thread { worker: one.worker, busy: one.busy(), waiting: one.waiting() };
    let threads: Vec<Thread> = recording.threads.iter().map(thread).collect();
    let busy = threads.iter().map(|thread| thread.busy).fold(0.0, f64::max);
    let computed: Duration = recording.threads.iter().map(|thread| thread.computed).sum();
    let lateness = Lateness::of(&recording.lateness);
    // A closed loop has no schedule that it could miss.
    let late_p99_us = asked_per_s.map(|_| lateness.p99_us);
    Generator {
        workers: load.workers,
        cpu_s: computed.as_secs_f64(),
        busy,
        limits: limits(&threads, late_p99_us),
        threads,
        asked_per_s,
        is_checked: plan.checker.is_some() || plan.rows.is_some(),
        lateness,
    }
}

/// The reasons why the generator was the limit.
fn limits(threads: &[Thread], late_p99_us: Option<u64>) -> Vec<String> {
    let mut limits = Vec::new();
    let busiest = threads.iter().max_by(|one, other| one.busy.total_cmp(&other.busy));
    if let Some(Thread { worker, busy, .. }) = busiest.filter(|thread| thread.busy > BUSY) {
        limits.push(format!("load thread {worker} computed {:.0} % of the time", busy * 100.0));
    }
    if let Some(late_us) = late_p99_us.filter(|late_us| *late_us > LATE_P99_US_MAX) {
        let waiting = threads.iter().map(|thread| thread.waiting).fold(0.0, f64::max) * 100.0;
        // The half that is rounded to one percent.
        let and = match waiting < 0.5 {
            true => String::new(),
            false => format!(", and a load thread waited {waiting:.0} % of the time for a core"),
        };
        limits.push(format!("requests were sent {} ms late at p99{and}", millis(late_us)));
    }
    limits
}

/// Adds what a scenario has done to the target, and what else happened to its processes.
pub(super) fn with_faults(
    document: Document,
    events: Vec<Event>,
    announcements: &[Announcement],
    problems: Vec<String>,
) -> Document {
    let is_done = events.iter().all(|event| event.error.is_none());
    Document {
        is_good: document.is_good && is_done && problems.is_empty(),
        marks: events.iter().map(Event::mark).collect(),
        warnings: [document.warnings, problems].concat(),
        events,
        announcements: announcements.iter().map(Announced::from).collect(),
        ..document
    }
}

/// The phases that have begun in a run that sent for this time.
fn phases(rates: &Rates, share: f64, sent_for: Duration, recording: &Recording) -> Vec<Phase> {
    let begun = rates.spans().iter().zip(&recording.phases);
    let begun = begun.filter(|(span, _)| span.begin < sent_for);
    begun
        .map(|(span, record)| {
            let seconds = (span.end.min(sent_for) - span.begin).as_secs_f64();
            let asked = rates.requests_until(span.end) - rates.requests_until(span.begin);
            Phase {
                name: span.name.clone(),
                begin_s: span.begin.as_secs_f64(),
                asked_per_s: share * asked / (span.end - span.begin).as_secs_f64(),
                total: Figures::new(record.counts.clone(), &record.all(), seconds, None),
                operations: Operation::all_of(record),
                service: Operation::new(SERVICE, &record.service),
            }
        })
        .collect()
}

/// No request failed or was given up, and no read was stale or wrong; among these are the counters, also as they were read
/// at the end.
pub(super) fn is_good(total: &Figures) -> bool {
    total.failed == 0 && total.counts.unanswered == 0 && total.stale == 0 && total.wrong == 0
}

/// What is to be said of requests that nobody waited for any longer.
pub(super) fn unanswered(counts: &Counts) -> Option<String> {
    (counts.unanswered > 0).then(|| {
        format!(
            "{} requests were still without an answer when the run was ended, and are in no other figure: they may have \
             failed, or taken longer than any that is shown",
            thousands(counts.unanswered)
        )
    })
}

/// Formats the outcome for the terminal.
pub(super) fn to_text(document: &Document) -> String {
    let Document { total, generator, .. } = document;
    let mut rows: Vec<_> = document
        .operations
        .iter()
        .map(|op| (op.name.as_str(), op.requests, op.latency_us))
        .collect();
    rows.retain(|(_, requests, _)| *requests > 0);
    rows.push(("all", total.requests, total.latency_us));
    let mut text = format!("\n{}\n", operations(&rows));
    if !document.phases.is_empty() {
        let phases = document.phases.iter().map(|phase| PhaseFigures {
            name: phase.name.clone(),
            figures: phase.total.clone(),
            operations: Vec::new(),
            percentiles: Vec::new(),
        });
        text += &format!("{}\n", table::phases(&phases.collect::<Vec<_>>(), total));
    }
    text += &format!(
        "  {} answers/s over {:.1} s, hit ratio {:.1} %",
        thousands(total.throughput_per_s.round() as u64),
        total.seconds,
        total.hit_ratio * 100.0,
    );
    if document.target.is_standin || total.origin_reads.is_some() {
        let reads = total.origin_reads.map_or_else(|| "unknown".to_owned(), thousands);
        text += &format!(", origin reads {reads}");
    }
    text.push('\n');
    let counts = &total.counts;
    text += &format!("  failed {}", thousands(total.failed));
    for (kind, count) in counts.failures_by_kind() {
        text += &format!(", {} {}", thousands(count), kind.name());
    }
    if generator.is_checked {
        text += &format!(
            "; of {} checked reads stale {}, wrong {}",
            thousands(counts.checked),
            total.stale,
            total.wrong
        );
        if total.stale > 0 {
            text += &format!(" (beyond the bound {}", counts.stale_beyond);
            if counts.stale_age_us_max > 0 {
                text += &format!(", the oldest by {} ms", millis(counts.stale_age_us_max));
            }
            text.push(')');
        }
    }
    text += &own_kinds(counts);
    if counts.rows_read + counts.changed + counts.unjudged > 0 {
        text += &format!(
            "\n  {} existing rows read at the end, {} of them changed by others; {} reads showed what others have written, and \
             of {} nothing can be said",
            thousands(counts.rows_read),
            thousands(counts.rows_changed),
            thousands(counts.changed),
            thousands(counts.unjudged)
        );
    }
    if counts.late_writes > 0 {
        text += &format!(
            "\n  {} reads showed a write without an acknowledgement that took effect after a newer one",
            thousands(counts.late_writes)
        );
    }
    text += &match document.target.is_standin {
        true => format!(
            "\n  by stand-ins {}, forwarded {}, sent again {}, no such row {}\n",
            thousands(counts.stand_in),
            thousands(counts.forwarded),
            thousands(counts.resent),
            thousands(counts.absent)
        ),
        false => {
            format!(
                "\n  {}; reads of absent keys {}\n",
                document.target.name,
                thousands(counts.absent)
            )
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
    if generator.asked_per_s.is_some() {
        let service = &document.service.latency_us;
        text += &format!(
            "  sent late by {} ms at p50, {} at p99, {} at most (part of the latencies)\n",
            millis(generator.lateness.p50_us),
            millis(generator.lateness.p99_us),
            millis(generator.lateness.max_us)
        );
        text += &format!(
            "  from sending to the answer {} ms at p50, {} at p99, {} at most\n",
            millis(service.p50),
            millis(service.p99),
            millis(service.max)
        );
    }
    text += &events::table(&document.events);
    text += &expectations::lines(&document.expectations);
    let waiting = generator.threads.iter().map(|thread| thread.waiting).fold(0.0, f64::max);
    text += &format!(
        "  load threads: the busiest computed {:.0} % of the time; the longest wait for a core {:.0} %\n",
        generator.busy * 100.0,
        waiting * 100.0
    );
    if let Some(usage) = &document.target.usage {
        text += &format!(
            "  target's processes: {:.1} µs of processor time per request ({:.2} s, of it {:.2} s in the kernel), at \
             most {} MiB of memory\n",
            usage.cpu_us_per_request,
            usage.cpu_s,
            usage.system_s,
            thousands(usage.resident_bytes_max >> 20)
        );
    }
    document.quotes.iter().for_each(|quote| text += &format!("  {quote}\n"));
    document.warnings.iter().for_each(|warning| text += &format!("  WARNING: {warning}\n"));
    text.truncate(text.trim_end().len());
    text
}

/// The lines about requests that only some loads have.
fn own_kinds(counts: &Counts) -> String {
    let mut text = String::new();
    if counts.multi_gets > 0 {
        text += &format!(
            "\n  {} requests for several keys: {} keys answered, {} failed; {} requests failed for some of their keys only",
            thousands(counts.multi_gets),
            thousands(counts.multi_keys),
            thousands(counts.multi_keys_failed),
            thousands(counts.multi_gets_partial)
        );
    }
    if counts.swaps + counts.swaps_refused > 0 {
        text += &format!(
            "\n  compare-and-swaps: {} made, {} refused because the value was another one",
            thousands(counts.swaps),
            thousands(counts.swaps_refused)
        );
    }
    if counts.increments + counts.increments_absent > 0 {
        text += &format!("\n  increments: {} made", thousands(counts.increments));
        if counts.increments_absent > 0 {
            text += &format!(", {} found no counter", thousands(counts.increments_absent));
        }
    }
    if counts.counters_read + counts.counters_gone > 0 {
        text += &format!(
            "; {} counters read at the end: {}, {}",
            thousands(counts.counters_read),
            off("increments lost", counts.increments_lost, counts.increments_lost_by),
            off("doubled", counts.increments_extra, counts.increments_extra_by)
        );
        if counts.counters_gone > 0 {
            text += &format!(
                "; {} counters were gone, and are not judged",
                thousands(counts.counters_gone)
            );
        }
    }
    text
}

/// How often counters were off, and by how much.
fn off(what: &str, times: u64, by: u64) -> String {
    match times {
        0 => format!("{what} 0"),
        1 => format!("{what} once, by {}", thousands(by)),
        _ => format!("{what} {} times, by {} in all", thousands(times), thousands(by)),
    }
}

/// What is to be said of a run that was ended; `None`: its time was over.
fn cut_short(ran_for: Duration, asked: Option<Duration>) -> Option<String> {
    let ran_s = ran_for.as_secs_f64();
    match asked {
        Some(asked) if ran_for >= asked => None,
        Some(asked) => Some(format!(
            "the run was interrupted after {ran_s:.1} of {:.1} s",
            asked.as_secs_f64()
        )),
        None => Some(format!("the run was interrupted after {ran_s:.1} s")),
    }
}

fn warnings(generator: &Generator, total: &Figures) -> Vec<String> {
    let mut warnings = Vec::new();
    if !generator.limits.is_empty() {
        warnings.push(format!(
            "the load generator was the limit, not the target: {}; use more --workers, a lower --rate, or a \
             machine of its own",
            generator.limits.join("; ")
        ));
    }
    let Some(asked) = generator.asked_per_s else { return warnings };
    // What follows from answers comes in addition.
    let reached = total.counts.scheduled as f64 / total.seconds.max(1e-9);
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
    use crate::recorder::histogram;

    #[test]
    fn the_generator_accuses_itself() {
        let thread = |busy| Thread { worker: 3, busy, waiting: 0.25 };
        assert!(limits(&[thread(0.3), thread(0.9)], Some(200)).is_empty());
        let busy = limits(&[thread(0.3), thread(0.95)], None);
        assert_eq!(busy, ["load thread 3 computed 95 % of the time"]);
        let late = limits(&[thread(0.3)], Some(201));
        assert!(late[0].contains("0.20 ms late") && late[0].contains("25 %"), "{late:?}");
        assert_eq!(limits(&[thread(1.0)], Some(5_000)).len(), 2);
        let alone = limits(&[Thread { waiting: 0.004, ..thread(0.3) }], Some(201));
        assert_eq!(alone, ["requests were sent 0.20 ms late at p99"]);
    }

    #[test]
    fn an_end_before_the_time_is_told() {
        let seconds = Duration::from_secs;
        assert_eq!(cut_short(seconds(9), Some(seconds(9))), None, "its last answers were late");
        let said = cut_short(seconds(2), Some(seconds(9))).unwrap();
        assert_eq!(said, "the run was interrupted after 2.0 of 9.0 s");
        assert_eq!(cut_short(seconds(2), None).unwrap(), "the run was interrupted after 2.0 s");
    }

    #[test]
    fn what_distorts_a_run_is_told() {
        let figures = |requests| {
            let follow_ups = requests / 2;
            let counts = Counts {
                requests: requests + follow_ups,
                scheduled: requests,
                ..Counts::default()
            };
            Figures::new(counts, &histogram(), 10.0, None)
        };
        let generator = |asked_per_s, limits: &[&str]| Generator {
            workers: 1,
            cpu_s: 1.0,
            busy: 0.1,
            threads: Vec::new(),
            limits: limits.iter().map(|&text| text.to_owned()).collect(),
            asked_per_s,
            is_checked: false,
            lateness: Lateness::of(&histogram()),
        };
        let open = |limits| generator(Some(1_000.0), limits);
        assert!(warnings(&open(&[]), &figures(10_000)).is_empty());
        let limited = warnings(&open(&["it was late"]), &figures(10_000));
        assert!(limited[0].contains("was the limit") && limited[0].contains("it was late"));
        assert_eq!(warnings(&open(&[]), &figures(9_000)).len(), 1);
        assert!(warnings(&generator(None, &[]), &figures(9_000)).is_empty(), "a closed loop");
    }
}
