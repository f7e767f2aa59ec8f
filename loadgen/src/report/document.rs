//! The results of a run as its JSON has them, and as they are read again. docs/LOAD.md has a table of all of it.
//!
//! ```text
//! load/outcome.rs ─► Document ─► JSON ─► Document ─┬─► compare, merge
//!                       └──────────────────────────┴─► csv.rs, percentile_file.rs, HDR log, run_page.rs
//! ```
//! It has the histograms themselves, so everything that is shown can be computed from it again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use standin_protocol::time::Micros;

use super::events::Event;
use super::expectations::{Announced, Expectation};
use super::{CurvePoint, Figures, LatencyUs, Machine, Mark};
use crate::observer::OriginPoint;
use crate::observer::told::Told;
use crate::observer::usage::Watched;
use crate::recorder::{
    Encoded, HdrLogError, LogLine, OpKind, PhaseRecord, Recording, TimelinePoint, add, histogram,
    write_hdr_lines,
};

/// The mark of such a file.
pub const FORMAT: &str = "standin-load";
/// The version of the JSON. It rises when a name changes its meaning or is gone, not when one is added.
pub const VERSION: u32 = 1;
/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 30;

/// The results of one run, or of several that were merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// A name that the user has given the run.
    pub label: Option<String>,
    /// Whether the expectations were kept; without any, whether no request failed, and no read was stale or wrong.
    pub is_good: bool,
    /// The beginning of the run, by the wall clock: RFC 3339.
    pub started: String,
    /// The command line, without passwords.
    pub command: Vec<String>,
    /// The measured target.
    pub target: TargetFacts,
    /// Every option, with the names of a scenario.
    pub scenario: Value,
    /// The machine of the load generator.
    pub environment: Environment,
    /// All requests together.
    pub total: Figures,
    /// By operation.
    pub operations: Vec<Operation>,
    /// The times of all operations from when they were sent, not from when they were due.
    pub service: Operation,
    /// Each phase of the rate, if it has phases.
    pub phases: Vec<Phase>,
    /// The load generator itself.
    pub generator: Generator,
    /// The ways in which the generator distorted the result.
    pub warnings: Vec<String>,
    /// The first failures and bad reads.
    pub quotes: Vec<String>,
    /// The distribution of all latencies.
    pub percentiles: Vec<CurvePoint>,
    /// Length of an interval of the timeline.
    pub interval_ms: u64,
    /// The intervals in order of time; those without a request are left out.
    pub timeline: Vec<Interval>,
    /// Processor time and memory over time.
    pub samples: Vec<Sample>,
    /// Load of the database over time, where it is known.
    pub origin: Vec<OriginPoint>,
    /// Events of the run.
    pub marks: Vec<Mark>,
    /// What the scenario has done to the target.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What masters have announced of the servers of the scenario's clusters.
    #[serde(default)]
    pub announcements: Vec<Announced>,
    /// What was expected of the run.
    #[serde(default)]
    pub expectations: Vec<Expectation>,
    /// The runs that were merged; empty for a single one.
    pub parts: Vec<Part>,
}

/// The measured target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Its kind and its servers.
    pub name: String,
    /// Whether it is a Standin cluster.
    pub is_standin: bool,
    /// What its servers say of themselves after the run; those that do not answer are left out.
    pub servers: Vec<Told>,
    /// What its processes on this machine have used; `None`: the run was not told which they are.
    pub usage: Option<TargetUsage>,
}

/// What the target's processes have used during the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetUsage {
    /// Their names and numbers.
    pub processes: Vec<String>,
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Of it in the processes' own code, to the kernel's tick.
    pub user_s: f64,
    /// Of it in the kernel, to the kernel's tick.
    pub system_s: f64,
    /// Processor time for each request, in microseconds.
    pub cpu_us_per_request: f64,
    /// The most memory that they used together.
    pub resident_bytes_max: u64,
}

/// Processor time and memory over time: from the sample before to this one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, in milliseconds since the start of the run.
    pub t_ms: f64,
    /// Processors that the load generator kept busy.
    pub generator_cores: f64,
    /// Processors that the target's processes kept busy.
    pub target_cores: Option<f64>,
    /// Their memory.
    pub resident_bytes: Option<u64>,
}

/// The machine of a load generator, and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Processor, memory and kernel.
    #[serde(flatten)]
    pub machine: Machine,
    /// Name of the host.
    pub host: String,
    /// The processors on which the load threads may run, such as `0-3,8`.
    pub cpus_allowed: String,
    /// The governor of the processors' frequency, if there is one.
    pub governor: Option<String>,
    /// Version of Standin.
    pub standin: String,
}

/// One kind of operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Latencies.
    pub latency_us: LatencyUs,
    /// All of them.
    pub histogram: Encoded,
}

/// A phase of the rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// The beginning, in seconds since the start of the run.
    pub begin_s: f64,
    /// Requests per second asked for, over the whole phase.
    pub asked_per_s: f64,
    /// The measurements of the requests that were due in it.
    pub total: Figures,
    /// By operation.
    pub operations: Vec<Operation>,
    /// The times of all operations from when they were sent.
    pub service: Operation,
}

/// The load generator itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Load threads.
    pub workers: u32,
    /// The time that they have computed, in seconds.
    pub cpu_s: f64,
    /// Share of its time that the busiest of them has computed, 0 to 1.
    pub busy: f64,
    /// Each of them.
    pub threads: Vec<Thread>,
    /// The reasons why the generator, not the target, was the limit; empty if it was not.
    pub limits: Vec<String>,
    /// Requests per second asked for; `None`: a closed loop.
    pub asked_per_s: Option<f64>,
    /// Whether reads were judged.
    pub is_checked: bool,
    /// The lateness of sent requests.
    pub lateness: Lateness,
}

/// A load thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Its number.
    pub worker: u32,
    /// Share of its time that it has computed, 0 to 1.
    pub busy: f64,
    /// Share of its time that it has waited for a core, 0 to 1.
    pub waiting: f64,
}

/// The lateness of sent requests in microseconds. It is part of the latencies, but not caused by
/// the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Longest.
    pub max_us: u64,
    /// All of them.
    pub histogram: Encoded,
}

/// An interval of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Counts and latencies of all operations.
    #[serde(flatten)]
    pub point: TimelinePoint,
    /// Latencies by operation.
    pub histograms: BTreeMap<String, Encoded>,
}

/// How far a machine's clocks are ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockDifference {
    /// The shortest round trip. The differences are wrong by half of it at most.
    pub round_trip_us: u64,
    /// `CLOCK_BOOTTIME`, which begins when a machine starts.
    pub boottime_us: i64,
    /// The wall clock.
    pub wall_us: i64,
}

/// A run that is part of a merged one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The host of its generator.
    pub host: String,
    /// The beginning of the run, by the wall clock of that host.
    pub started: String,
    /// Its requests.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Its latencies.
    pub latency_us: LatencyUs,
    /// Its generator's share of busy time.
    pub busy: f64,
    /// The agent's address, if one has made it.
    pub agent: Option<String>,
    /// How far the agent's clocks were ahead of the coordinator's.
    pub clock: Option<ClockDifference>,
}

/// A file that is not such a document.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct DocumentError {
    path: PathBuf,
    why: String,
}

/// The beginning of each version.
#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u32>,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DocumentError`]: it can't be read, or is something else.
    pub fn load(path: &Path) -> Result<Self, DocumentError> {
        let failed = |why: String| DocumentError { path: path.to_owned(), why };
        let mut text = String::new();
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(failed(format!("is larger than {} MiB", BYTES_MAX >> 20)));
        }
        Self::read(&text).map_err(failed)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn read(text: &str) -> Result<Self, String> {
        let head: Head = serde_json::from_str(text)
            .map_err(|error| format!("is no result of `standin load --json`: {error}"))?;
        match (head.format.as_deref(), head.version) {
            (Some(FORMAT), Some(VERSION)) => {}
            (Some(FORMAT), Some(other)) => {
                return Err(format!(
                    "has version {other} of the format, and this program reads version {VERSION}; use the \
                     version of standin that wrote it"
                ));
            }
            _ => return Err("is no result of `standin load --json`".to_owned()),
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The latencies of all operations.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = histogram();
        self.operations
            .iter()
            .for_each(|operation| add(&mut all, &operation.histogram.histogram()));
        all
    }

    /// Length of an interval of the timeline.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.max(1))
    }

    /// The beginning of the run.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        humantime::parse_rfc3339_weak(&self.started).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The HDR log.
    ///
    /// # Errors
    /// [`HdrLogError`].
    pub fn hdr_log(&self) -> Result<Vec<u8>, HdrLogError> {
        let mut log = Vec::new();
        let length = self.interval();
        write_hdr_lines(self.started(), "[standin load]", &mut log, |write| {
            for interval in &self.timeline {
                let begin = Duration::from_millis(interval.point.t_ms);
                for (name, encoded) in &interval.histograms {
                    let latency = &encoded.histogram();
                    write(&LogLine { tag: name, begin, length, latency })?;
                }
            }
            Ok(())
        })?;
        Ok(log)
    }
}

impl TargetUsage {
    /// From the looks of a run.
    #[must_use]
    pub fn of(watched: &Watched, requests: u64) -> Option<Self> {
        let used = || watched.looks.iter().filter_map(|look| look.target);
        let (first, last) = (used().next()?, used().next_back()?);
        let cpu_s = last.cpu.saturating_sub(first.cpu).as_secs_f64();
        Some(Self {
            processes: watched.names.clone(),
            cpu_s,
            user_s: last.user.saturating_sub(first.user).as_secs_f64(),
            system_s: last.system.saturating_sub(first.system).as_secs_f64(),
            cpu_us_per_request: cpu_s * 1e6 / requests.max(1) as f64,
            resident_bytes_max: used().map(|used| used.resident_bytes).max().unwrap_or(0),
        })
    }
}

impl Sample {
    /// From the looks of a run that started then.
    #[must_use]
    pub fn all_of(watched: &Watched, start: Micros) -> Vec<Self> {
        let pairs = watched.looks.windows(2).filter_map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            let seconds = to.at.since(from.at).as_secs_f64();
            // The last look comes when it comes; a share of so little time is noise.
            if seconds < 0.02 || to.at < start {
                return None;
            }
            let cores =
                |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / seconds;
            Some(Self {
                t_ms: (to.at.0 as f64 - start.0 as f64) / 1_000.0,
                generator_cores: cores(from.generator, to.generator),
                target_cores: from.target.zip(to.target).map(|(from, to)| cores(from.cpu, to.cpu)),
                resident_bytes: to.target.map(|used| used.resident_bytes),
            })
        });
        pairs.collect()
    }
}

impl Environment {
    /// The one in which this program runs.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            machine: Machine::here(),
            host: read("/proc/sys/kernel/hostname").trim().to_owned(),
            cpus_allowed: cpus.unwrap_or_default().trim().to_owned(),
            governor: Some(governor.trim().to_owned()).filter(|governor| !governor.is_empty()),
            standin: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Operation {
    /// The figures of an operation.
    #[must_use]
    pub fn new(name: &str, latency: &Histogram<u64>) -> Self {
        Self {
            name: name.to_owned(),
            requests: latency.len(),
            latency_us: LatencyUs::of(latency),
            histogram: Encoded::new(latency),
        }
    }

    /// The figures of all operations of a recording, or of a phase of it.
    #[must_use]
    pub fn all_of(record: &PhaseRecord) -> Vec<Self> {
        let of = |op: &OpKind| Self::new(op.name(), &record.latency[*op as usize]);
        OpKind::ALL.iter().map(of).collect()
    }
}

impl Lateness {
    /// The figures of a histogram.
    #[must_use]
    pub fn of(late: &Histogram<u64>) -> Self {
        Self {
            p50_us: late.value_at_quantile(0.5),
            p99_us: late.value_at_quantile(0.99),
            max_us: late.max(),
            histogram: Encoded::new(late),
        }
    }
}

impl Interval {
    /// The timeline of a recording.
    #[must_use]
    pub fn all_of(recording: &Recording) -> Vec<Self> {
        let length = recording.slot();
        let intervals = recording.slots().map(|slot| {
            let by_name = OpKind::ALL.iter().map(|op| (op.name(), &slot.latency[*op as usize]));
            let there = by_name.filter(|(_, latency)| !latency.is_empty());
            Self {
                point: slot.point(length),
                histograms: there
                    .map(|(name, latency)| (name.to_owned(), Encoded::new(latency)))
                    .collect(),
            }
        });
        intervals.collect()
    }
}
