//! The result of the demo, as figures and as text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use standin_protocol::time::Micros;

use super::script::{KILL, ONLINE, PHASES, Played};
use super::story::StoryKind;
use super::warm::WarmUp;
use crate::observer::{OriginPoint, Reads, StatsReading, origin_reads};
use crate::recorder::{FailureKind, PhaseRecord, TimelinePoint};
use crate::report::figures::LATE_P99_US_MAX;
use crate::report::{Figures, Machine, PhaseFigures, table};

/// [`Parameters::origin`] of a run without a database.
pub(super) const NO_DATABASE: &str = "none";

/// The paths of the report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ReportFiles {
    /// The page for people.
    pub(super) html: PathBuf,
    /// The figures for programs.
    pub(super) json: PathBuf,
    /// The log for HdrHistogram's tools.
    pub(super) hdr_log: PathBuf,
}

impl fmt::Display for ReportFiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        write!(
            out,
            "{} (beside it {}, {})",
            self.html.display(),
            name(&self.json),
            name(&self.hdr_log)
        )
    }
}

/// With what the demo ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Parameters {
    /// Seconds of load.
    pub(super) seconds: u32,
    /// Requests per second.
    pub(super) rate_per_s: u32,
    /// Seed; the same one gives the same requests.
    pub(super) seed: u64,
    /// Rows in the table.
    pub(super) rows: u32,
    /// Bytes of a value.
    pub(super) value_bytes: u32,
    /// Exponent of the keys' distribution.
    pub(super) zipf_exponent: f64,
    /// Share of reads, 0 to 100.
    pub(super) reads_percent: f64,
    /// Database.
    pub(super) origin: &'static str,
    /// Failover groups, of two servers each.
    pub(super) groups: u16,
    /// Load threads, each with a client of its own.
    pub(super) workers: u32,
}

/// An event, relative to the start of the load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct EventReport {
    /// Milliseconds since the start.
    pub(super) t_ms: f64,
    /// What.
    pub(super) kind: StoryKind,
    /// Which server.
    pub(super) server: String,
    /// In words.
    pub(super) text: String,
}

/// The stand-ins' work, from the kill to the return.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct StoodIn {
    /// Requests that missed their caches or wrote: fetches and writes for the server's partitions.
    pub(super) requests: u64,
    /// The number of keys that they logged for it, to be handed back. A server that returns with
    /// its cache drops them; a restarted one has nothing to drop.
    pub(super) keys_logged: u64,
}

/// All of it; the JSON has these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DemoReport {
    /// The three phases together.
    #[serde(flatten)]
    pub(super) total: Figures,
    /// Before, failover, after return.
    pub(super) phases: Vec<PhaseFigures>,
    /// The events, with their times.
    pub(super) events: Vec<EventReport>,
    /// The time from the kill to the master's verdict.
    pub(super) detect_ms: Option<f64>,
    /// The time from the kill to the first answer of a stand-in.
    pub(super) stand_in_ms: Option<f64>,
    /// The time from the kill to the last other server's acknowledgement.
    pub(super) announce_ms: Option<f64>,
    /// The time from the start of the new process to the announcement that it is online.
    pub(super) return_ms: Option<f64>,
    /// The work of the stand-ins meanwhile, by the servers' own counters.
    pub(super) stood_in: Option<StoodIn>,
    /// The warm-up; it counts for the exit code, and for nothing else. Its hit ratio is over all of
    /// it, first reads included.
    pub(super) warm_up: Figures,
    /// Hit ratio of the warm-up's last half second, 0 to 1: what the caches begin the load with.
    pub(super) warm_hit_ratio: f64,
    /// Events that should have happened but did not, and processes that ended unexpectedly.
    pub(super) problems: Vec<String>,
    /// The first failures and bad reads.
    pub(super) quotes: Vec<String>,
    /// The lateness of sent requests in microseconds, at the 99th percentile.
    pub(super) lateness_p99_us: u64,
    /// Latencies and throughput over time.
    pub(super) timeline: Vec<TimelinePoint>,
    /// Load of the database over time.
    pub(super) origin_timeline: Vec<OriginPoint>,
    /// With what the demo ran.
    pub(super) parameters: Parameters,
    /// The machine.
    pub(super) machine: Machine,
    /// The files of the report.
    pub(super) files: ReportFiles,
}

impl DemoReport {
    pub(super) fn new(parameters: Parameters, played: &Played, warm_up: &WarmUp) -> Self {
        let Played { recording, story, moments, readings, problems } = played;
        let start = recording.start;
        let t_ms = |at: Micros| (at.0 as f64 - start.0 as f64) / 1_000.0;
        let end = Duration::from_secs(parameters.seconds.into());
        // A phase that was never reached has no time.
        let [kill, online] = [KILL, ONLINE].map(|moment| moments.at(moment).unwrap_or(end));
        let reads = Reads::since(start, &origin_reads(readings));
        let of_moments = [0..KILL, KILL..ONLINE, ONLINE..recording.phases.len()];
        // What is read for the last requests is read behind their time.
        let times = [(Duration::ZERO, kill), (kill, online), (online, Duration::MAX)];
        let phases = PHASES.iter().zip(of_moments).zip(times).map(|((name, of), (from, until))| {
            let record = PhaseRecord::sum(&recording.phases[of]);
            // The server may be back only while the last answers are waited for.
            let seconds = until.min(end).saturating_sub(from).as_secs_f64();
            PhaseFigures::new(*name, &record, seconds, reads.between(from, until))
        });
        let phases = phases.collect();
        let (seconds, latency) = (end.as_secs_f64(), recording.latency());
        let total = Figures::new(recording.counts(), &latency, seconds, reads.total());
        let events = story.events().into_iter().map(|event| EventReport {
            t_ms: t_ms(event.at),
            kind: event.kind,
            server: event.server,
            text: event.text,
        });
        let warm_hit_ratio = warm_up.final_hit_ratio;
        let warm_up = &warm_up.recording;
        let warm_seconds = warm_up.timeline().len() as f64 * warm_up.slot().as_secs_f64();
        Self {
            total,
            phases,
            events: events.collect(),
            detect_ms: story.between_ms(StoryKind::Killed, StoryKind::VerifiedOffline),
            stand_in_ms: story.between_ms(StoryKind::Killed, StoryKind::StandingIn),
            announce_ms: story.between_ms(StoryKind::Killed, StoryKind::Acknowledged),
            return_ms: story.between_ms(StoryKind::Restarted, StoryKind::Online),
            stood_in: stood_in(readings, start + kill, start + online),
            warm_up: Figures::new(warm_up.counts(), &warm_up.latency(), warm_seconds, None),
            warm_hit_ratio,
            problems: problems.clone(),
            quotes: warm_up.quotes.iter().chain(&recording.quotes).cloned().collect(),
            lateness_p99_us: recording.lateness.value_at_quantile(0.99),
            timeline: recording.timeline(),
            origin_timeline: reads.timeline(),
            parameters,
            machine: Machine::here(),
            files: ReportFiles::default(),
        }
    }

    /// No request failed or was given up, no read was stale or wrong, and all happened that should.
    #[must_use]
    pub(super) fn is_good(&self) -> bool {
        let clean =
            |f: &Figures| f.failed == 0 && f.counts.unanswered == 0 && f.stale == 0 && f.wrong == 0;
        clean(&self.total) && clean(&self.warm_up) && self.problems.is_empty()
    }

    fn has_database(&self) -> bool {
        self.parameters.origin != NO_DATABASE
    }

    /// The end of the demo's output.
    #[must_use]
    pub(super) fn to_text(&self) -> String {
        let mut text = format!("\n{}", table::phases(&self.phases, &self.total));
        let ms = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0} ms"));
        text += &format!(
            "\n  detected {} after the kill, first answer of a stand-in after {}, announced to \
             all after {};\n  online {} after the restart\n",
            ms(self.detect_ms),
            ms(self.stand_in_ms),
            ms(self.announce_ms),
            ms(self.return_ms)
        );
        if let Some(StoodIn { requests, keys_logged }) = self.stood_in {
            let what = if self.has_database() { "fetches and writes" } else { "misses and writes" };
            text += &format!(
                "  meanwhile its stand-ins had {requests} {what} for it, and logged \
                 {keys_logged} keys to hand\n  back; as a new process it had none of them cached\n"
            );
        }
        let fills = self.total.counts.fills;
        if fills > 0 {
            text += &format!(
                "  {} of the writes were made because a read had found nothing\n",
                table::thousands(fills)
            );
        }
        for problem in &self.problems {
            text += &format!("  PROBLEM: {problem}\n");
        }
        let failures = self.failures();
        if !failures.is_empty() {
            text += &format!("  failures: {failures}\n");
        }
        for quote in &self.quotes {
            text += &format!("  {quote}\n");
        }
        if self.lateness_p99_us > LATE_P99_US_MAX {
            text += &format!(
                "  This machine was busy: requests were sent {} ms late at p99, which is part of the\n  \
                 latencies above.\n",
                table::millis(self.lateness_p99_us)
            );
        }
        text += &format!("  {}\n", self.verdict());
        text + &format!("\nReport: {}", self.files)
    }

    /// One sentence.
    #[must_use]
    pub(super) fn verdict(&self) -> String {
        let sum = |of: fn(&Figures) -> u64| of(&self.total) + of(&self.warm_up);
        let (failed, stale) = (sum(|f| f.failed), sum(|f| f.stale));
        let mut text = format!("failed {failed}, stale {stale}");
        // The warm-up ends when the hit ratio is steady, and does not wait long for what is under way then.
        let rare = [("wrong", sum(|f| f.wrong)), ("unanswered", sum(|f| f.counts.unanswered))];
        for (what, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
            text += &format!(", {what} {count}");
        }
        text
    }

    fn failures(&self) -> String {
        let mut sum = self.total.counts.clone();
        sum.merge(&self.warm_up.counts);
        let kinds = sum
            .failures_by_kind()
            .map(|(kind, n): (FailureKind, u64)| format!("{n} {}", kind.name()));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

/// Between the last look before the kill and the first after the return: in the rest of that time nobody stands in.
fn stood_in(readings: &[StatsReading], kill: Micros, online: Micros) -> Option<StoodIn> {
    let from = readings.iter().rfind(|reading| reading.at <= kill)?;
    let to = readings.iter().find(|reading| reading.at >= online).or(readings.last())?;
    Some(StoodIn {
        requests: to.stand_in_requests.saturating_sub(from.stand_in_requests),
        keys_logged: to.keys_logged.saturating_sub(from.keys_logged),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::story::Story;
    use super::*;
    use crate::recorder::{Moments, Recorder};

    const SECONDS: u32 = 10;
    const SLOT: Duration = Duration::from_millis(250);

    /// The report of a demo without a request, with these moments in milliseconds.
    fn report(moments_ms: [u64; ONLINE + 1]) -> DemoReport {
        report_with(moments_ms, 0)
    }

    /// The same with so many requests of the warm-up that hang.
    fn report_with(moments_ms: [u64; ONLINE + 1], unanswered: u64) -> DemoReport {
        let parameters = Parameters {
            seconds: SECONDS,
            rate_per_s: 1,
            seed: 1,
            rows: 1,
            value_bytes: 64,
            zipf_exponent: 0.99,
            reads_percent: 95.0,
            origin: NO_DATABASE,
            groups: 2,
            workers: 1,
        };
        let recording = |phases| Recorder::new(Micros(1_000_000), phases, SLOT).finish();
        let moments = moments_ms.map(|ms| Some(Duration::from_millis(ms)));
        let played = Played {
            recording: recording(moments.len()),
            story: Story::new(vec!["a1".to_owned(), "a2".to_owned()], 0),
            moments: Arc::new(Moments::new(moments)),
            readings: Vec::new(),
            problems: Vec::new(),
        };
        let mut warm_up = WarmUp { recording: recording(1), final_hit_ratio: 0.0 };
        warm_up.recording.at_end.unanswered = unanswered;
        DemoReport::new(parameters, &played, &warm_up)
    }

    #[test]
    fn phases_end_with_the_load() {
        let seconds = |moments_ms| {
            let phases = report(moments_ms).phases.into_iter();
            phases.map(|phase| phase.figures.seconds).collect::<Vec<_>>()
        };
        assert_eq!(seconds([0, 3_000, 5_000, 6_000]), [3.0, 3.0, 4.0]);
        assert_eq!(seconds([0, 3_000, 5_000, 10_500]), [3.0, 7.0, 0.0], "back after the end");
        assert_eq!(seconds([0, 10_100, 10_200, 10_500]), [10.0, 0.0, 0.0], "all of it was late");
    }
    #[test]
    fn a_request_that_hangs_in_the_warm_up_is_no_success() {
        let moments_ms = [0, 3_000, 5_000, 6_000];
        let good = report(moments_ms);
        assert!(good.is_good(), "{}", good.verdict());
        assert_eq!(good.verdict(), "failed 0, stale 0");
        let hanging = report_with(moments_ms, 2);
        assert!(!hanging.is_good());
        assert_eq!(hanging.verdict(), "failed 0, stale 0, unanswered 2");
    }
}
