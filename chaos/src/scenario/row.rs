//! The row of a scenario: from the results of `standin load`.

use std::time::Duration;

use standin_loadgen::recorder::TimelinePoint;
use standin_loadgen::report::document::{Document, Operation};

use crate::outage::{self, Level, SlotFigures};
use crate::row::{Latency, Row};

impl Row {
    /// Takes the figures from the results of a run.
    pub(crate) fn of_run(fault: &str, seed: u64, run: &Document) -> Self {
        let counts = run.total.counts.clone();
        let begins = || run.events.iter().filter(|event| !event.is_end);
        let struck_s = begins().next().map_or(0.0, |event| event.done_s.unwrap_or(event.asked_s));
        let worst =
            |times: &mut dyn Iterator<Item = u64>| times.max().map(|us| us as f64 / 1_000.0);
        let slots = Slots::of(run, struck_s);
        let (before, after): (Vec<_>, Vec<_>) =
            run.origin.iter().partition(|point| point.t_ms / 1_000.0 <= struck_s);
        let rates = |points: &[&standin_loadgen::observer::OriginPoint]| -> Vec<f64> {
            points.iter().map(|point| point.reads_per_s).collect()
        };
        let (before, after) = (rates(&before), rates(&after));
        let end = run.events.iter().rfind(|event| event.is_end).and_then(|event| event.done_s);
        let latency = |name: &str| {
            let found = run.operations.iter().find(|operation| operation.name == name);
            found.map_or(Latency::default(), latency_of)
        };
        let mut row = Self {
            fault: fault.to_owned(),
            seed,
            stale_beyond: counts.stale_beyond + counts.wrong,
            counts,
            first_good_ms: worst(&mut begins().filter_map(|event| event.after?.all_answered_us)),
            silence_ms: worst(&mut run.events.iter().filter_map(|event| event.silence_us)),
            announced_ms: worst(&mut begins().filter_map(|event| event.announced_us)),
            origin_reads_steady_per_s: before.iter().sum::<f64>() / before.len().max(1) as f64,
            origin_reads_peak_per_s: after.iter().copied().fold(0.0, f64::max),
            hit_ratio_steady: slots.steady.map_or(0.0, |level| level.hit_ratio),
            hit_ratio_lowest: slots.lowest_hit_ratio().unwrap_or(0.0),
            normal_ms: slots.normal().map(|since| since.as_secs_f64() * 1_000.0),
            healed_ms: end.map(|end_s| (end_s - struck_s) * 1_000.0),
            reads: latency("read"),
            writes: latency("write"),
            ..Self::default()
        };
        for missed in run.expectations.iter().filter(|one| !one.is_kept) {
            let since = missed.since.as_ref().map(|since| format!(" since {since}"));
            row.misses.push(missed.misses.join("; ") + &since.unwrap_or_default());
        }
        let failed = run.events.iter().filter_map(|event| event.error.clone());
        row.misses.extend(failed);
        if !run.is_good && row.misses.is_empty() {
            row.misses.push("it did not go as the scenario says".to_owned());
        }
        row.notes.extend(row.failed_text());
        row.notes.push(row.latency_text());
        row.notes.extend(run.warnings.iter().cloned());
        if row.counts.failed + row.stale_beyond > 0 {
            row.notes.extend(run.quotes.iter().take(4).cloned());
        }
        row
    }
}

fn latency_of(operation: &Operation) -> Latency {
    let ms = |us: u64| us as f64 / 1_000.0;
    Latency { p99_ms: ms(operation.latency_us.p99), max_ms: ms(operation.latency_us.max) }
}

/// The timeline from the first fault on, and the level before it.
struct Slots {
    steady: Option<Level>,
    since: Vec<SlotFigures>,
    slot: Duration,
}

impl Slots {
    fn of(run: &Document, struck_s: f64) -> Self {
        let slot = Duration::from_millis(run.interval_ms);
        let points = run.timeline.iter().map(|interval| &interval.point);
        let (before, since): (Vec<&TimelinePoint>, Vec<&TimelinePoint>) =
            points.partition(|point| (point.t_ms + run.interval_ms) as f64 / 1_000.0 <= struck_s);
        let reads: u64 = before.iter().map(|point| point.reads).sum();
        let hits: u64 = before.iter().map(|point| point.hits).sum();
        let mut medians: Vec<u64> = before.iter().map(|point| point.p50_us).collect();
        medians.sort_unstable();
        let median = medians.get(medians.len() / 2).copied();
        let steady = median.map(|us| Level {
            hit_ratio: hits as f64 / reads.max(1) as f64,
            median: Duration::from_micros(us),
        });
        let since = since.into_iter().map(|point| SlotFigures {
            bad: point.failed + point.wrong,
            hit_ratio: (point.reads >= outage::READS_MIN).then_some(point.hit_ratio),
            median: Some(Duration::from_micros(point.p50_us)),
        });
        Self { steady, since: since.collect(), slot }
    }

    fn lowest_hit_ratio(&self) -> Option<f64> {
        self.since.iter().filter_map(|slot| slot.hit_ratio).min_by(f64::total_cmp)
    }

    /// The time from the first fault until everything was normal again.
    fn normal(&self) -> Option<Duration> {
        let slots = (0..).zip(self.since.iter().copied());
        outage::normal_since(slots, self.steady?).map(|slots| self.slot * slots)
    }
}
