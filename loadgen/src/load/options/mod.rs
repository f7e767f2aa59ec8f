//! The options of `standin load`, from the command line and from a scenario. Neither has defaults: those are in
//! [`Load`](super::Load), which both together become.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::TypedValueParser;

use super::access::AccessArgs;
use super::agent_args::AgentArgs;
use super::cold_args::ColdArgs;
use super::database_args::DatabaseArgs;
use super::interval::Interval;
use super::presets::Preset;
use super::rows::args::RowsArgs;
use super::value_args::ValueArgs;
use super::words::percent;
use super::{Expect, Objective};
use crate::faults::script::Script;
use crate::key_names::{KeyType, Template};
use crate::popularity::PopularityKind;
use crate::schedule::Arrivals;
use crate::schedule::phases::Phases;
use crate::targets::address::{TargetUrl, UrlError};
use crate::trace::TraceFormat;

/// `standin load`.
#[derive(Debug, Clone, Default, Args)]
pub struct LoadArgs {
    /// Read the options from this file; those of the command line override it. scenario.example.toml has them all.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// The cluster file; cluster.toml by default.
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keyspace, by name or number; the first one by default.
    #[arg(long, short)]
    pub keyspace: Option<String>,
    /// Instead of the cluster of a file: memcached://host:port, redis://user:password@host:port/database,
    /// redis-cluster://host:port or standin://host:port. Several addresses, separated by commas, are servers over which the keys are
    /// spread. Parameters follow behind a question mark, such as
    /// ?protocol=meta&distribution=ketama&eject=3&retry=30s&timeout=250ms&connections=4&pipeline=16.
    #[arg(long, value_name = "URL", value_parser = UrlParser, conflicts_with = "config")]
    pub target: Option<TargetUrl>,
    /// TLS and login of the target.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The database of an application.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Requests per second on a fixed schedule (open loop); 1000 by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// Keys of rows that are there.
    #[command(flatten)]
    pub rows: RowsArgs,
    /// Distribution of the arrivals; constant by default.
    #[arg(long, value_enum)]
    pub arrivals: Option<Arrivals>,
    /// Instead of a rate and seconds, phases with rates of their own, separated by commas: 10s@5000 is steady, 10s@0..5000 a
    /// ramp, 10s@1000..5000/5 five steps, 60s@1000+9000/5s/500ms a burst to 9000 every 5 s for 500 ms, and
    /// @day.csv@0.1 a curve of lines seconds,rate, with a tenth of its rates; 60s@day.csv stretches it to 60 s.
    /// NAME= before a phase names it in the report.
    #[arg(long, value_name = "PHASES", conflicts_with_all = ["rate", "closed", "seconds"])]
    pub phases: Option<Phases>,
    /// Instead of a rate, run this many clients with this many requests each under way, such as 8x16.
    #[arg(long, value_name = "CLIENTSxDEPTH", conflicts_with_all = ["rate", "arrivals"])]
    pub closed: Option<Closed>,
    /// Instead of one run, search for the highest rate that keeps conditions, such as "p99<1ms,failed=0": percentiles, max and
    /// late (of sending, at its p99) below a time; failed, stale and wrong below a number or a share. --rate is where the
    /// search begins, --seconds and --warm-up (2 by default) are those of each measurement.
    #[arg(long, value_name = "OBJECTIVE", conflicts_with_all = ["closed", "phases"])]
    pub find: Option<Objective>,
    /// With --find: the largest difference of the rate that is found to one that misses the objective; 5 by default.
    #[arg(long, value_name = "PERCENT", value_parser = resolution)]
    pub find_resolution: Option<f64>,
    /// With --find: seconds between two measurements; 1 by default.
    #[arg(long, value_name = "SECONDS", value_parser = settle)]
    pub find_settle: Option<f64>,
    /// Conditions that decide about the exit code in place of "nothing failed, and no read was stale or wrong", such as
    /// "failed<0.1%,stale=0,p99<5ms,hits>90%". They replace those of a scenario. May be given several times.
    #[arg(long, value_name = "CONDITIONS", conflicts_with = "find")]
    pub expect: Vec<Expect>,
    /// Seconds of load; 10 by default, or the whole trace with --trace.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// Seconds of the same load before, which are not counted; none by default. Not with --trace.
    #[arg(long, value_name = "SECONDS")]
    pub warm_up: Option<u32>,
    /// Number of keys; 100000 by default, or all existing rows.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: Option<u32>,
    /// Type of the keys; by default that of the keyspace's keys, and text for other targets.
    #[arg(long, value_enum)]
    pub key_type: Option<KeyType>,
    /// Names of keys of type text, with a place for the number; key-{n:8} by default, which is key-00000042.
    #[arg(long, value_name = "TEXT")]
    pub key_template: Option<Template>,
    /// Number of the first key; 0 by default.
    #[arg(long, value_name = "NUMBER")]
    pub first_key: Option<u64>,
    /// How requests are spread over the keys; zipf by default.
    #[arg(long, value_enum)]
    pub popularity: Option<PopularityKind>,
    /// Exponent of the popularities zipf, zipf-by-number and latest; 0.99 by default, and 0 means uniform.
    #[arg(long, value_name = "EXPONENT", value_parser = exponent)]
    pub zipf: Option<f64>,
    /// With --popularity hotspot: percentage of the keys that are hot; 20 by default.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub hot_keys: Option<f64>,
    /// With --popularity hotspot: percentage of the requests that go to hot keys; 80 by default.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub hot_requests: Option<f64>,
    /// With --popularity zipf or hotspot: popular keys change every this many seconds; never by default.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub move_every: Option<u32>,
    /// With --move-every: percentage of the keys, popular or not, that change places with others each time; 10 by
    /// default. Each place changes once before any does again, so it is taken as 100 divided by a whole number.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub move_share: Option<f64>,
    /// A workload of YCSB, or of a cache cluster at Twitter: its shares of requests, popularity and size of values. Other
    /// options override it.
    #[arg(long, value_enum, conflicts_with = "trace")]
    pub preset: Option<Preset>,
    /// Percentage of reads, 95 by default; the rest are writes. Writes, and --fill, leave rows named
    /// after the keys in the keyspace's table. With --trace: percentage of the trace's reads that are
    /// made as reads.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub reads: Option<f64>,
    /// Read each key that is written right before. These reads come in addition to the percentage, and the write does
    /// not wait for their answers. Not with --trace.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub reads_first: Option<bool>,
    /// Reads that find nothing.
    #[command(flatten)]
    pub cold: ColdArgs,
    /// Percentage of the requests that write a value where there is none; 0 by default. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub adds: Option<f64>,
    /// Percentage of the requests that give a value a new lifetime; 0 by default. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub touches: Option<f64>,
    /// Percentage of the requests that delete a key; 0 by default. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub deletes: Option<f64>,
    /// Percentage of the requests that read several keys at once; 0 by default. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub multi_gets: Option<f64>,
    /// Number of keys of each of them; 10 by default.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=MULTI_GET_KEYS_MAX))]
    pub multi_get_keys: Option<u16>,
    /// Percentage of the requests that read a value with its version and then write another one if that version is
    /// still there; 0 by default. The conditional writes come in addition to the rate. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub cas: Option<f64>,
    /// Number of keys that have no other requests than these; 100 by default. They follow the other keys.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub cas_keys: Option<u32>,
    /// Percentage of the requests that add 1 to 9 to a counter; 0 by default. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub increments: Option<f64>,
    /// Number of counters; 1000 by default. They follow the other keys.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub counters: Option<u32>,
    /// Lifetime that writes, adds and touches give, in seconds; 0, the default, means the target's own, or none. Not
    /// with --trace.
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u32>,
    /// Size and form of the values written.
    #[command(flatten)]
    pub values: ValueArgs,
    /// Number of load threads; by default the number of cores, but at most 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub workers: Option<u32>,
    /// Seed of keys, sizes and arrivals; 1 by default.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write the results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write an HdrHistogram log to this file.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Write percentile distributions as HdrHistogram's tools plot them: NAME.all.hgrm, NAME.read.hgrm and so on.
    #[arg(long, value_name = "NAME")]
    pub hgrm: Option<PathBuf>,
    /// Write the timeline as CSV to this file: a line for each interval.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write a page with curves, timelines and the whole configuration to this file; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Account for the processor time and the memory of these processes of this machine, which are the target's.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub target_pid: Vec<u32>,
    /// The same for the processes of these units of systemd.
    #[arg(long, value_name = "UNIT", value_delimiter = ',')]
    pub target_unit: Vec<String>,
    /// A run of several machines.
    #[command(flatten)]
    pub together: AgentArgs,
    /// Length of an interval of the timeline, 100ms to 1h; 1s by default.
    #[arg(long, value_name = "DURATION")]
    pub interval: Option<Interval>,
    /// A name for the run, by which `standin report compare` groups repeated runs.
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Keep the logs and other files of the processes that the scenario starts in this folder; by default they are
    /// temporary.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The processes and faults of the scenario; the command line has none.
    #[arg(skip)]
    pub script: Option<Script>,
    /// First write every key once.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fill: Option<bool>,
    /// Write a value after each read that finds nothing, as an application does that uses a keyspace
    /// without a database. These writes come in addition to the rate, and count as writes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fill_misses: Option<bool>,
    /// With --fill: check whether any read is stale or wrong. Nothing else may write these keys.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub check: Option<bool>,
    /// With --check: also judge reads that find nothing, because the target has room for all keys and may
    /// lose none. A database behind Standin never may. Not with a trace that gives values lifetimes.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub lossless: Option<bool>,
    /// Replay this file instead of random requests, at its recorded times unless --rate, --phases, --closed or --find say
    /// otherwise. It may be compressed with zstd.
    #[arg(long, value_name = "FILE", requires = "format")]
    pub trace: Option<PathBuf>,
    /// Format of the trace.
    #[arg(long, value_enum)]
    pub format: Option<TraceFormat>,
    /// Replay the trace this many times as fast as it was recorded; 1 by default. Lifetimes stay as they are.
    #[arg(long, value_name = "FACTOR", value_parser = speed)]
    pub speed: Option<f64>,
    /// With --trace and --fill: the most distinct keys of the trace; 10000000 by default. Each takes some 64 bytes.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub trace_keys: Option<u32>,
}

impl LoadArgs {
    /// These options, and for each that is not given that of `below`. An option that excludes others of
    /// `below` is given in their place.
    #[must_use]
    pub fn over(self, mut below: Self) -> Self {
        if self.target.is_some() {
            below.config = None;
            // Otherwise it is the database's.
            below.keyspace = below.keyspace.filter(|_| below.database.has_file());
            // A password is for one target alone.
            below.access = AccessArgs::default();
        }
        self.displace_by_database(&mut below);
        if self.config.is_some() {
            (below.target, below.access) = (None, AccessArgs::default());
            below.database = DatabaseArgs::default();
        }
        if self.closed.is_some() {
            (below.rate, below.arrivals, below.phases) = (None, None, None);
        }
        let is_open = self.rate.is_some() || self.arrivals.is_some();
        if is_open || self.phases.is_some() || self.find.is_some() {
            below.closed = None;
        }
        let is_paced = is_open || self.closed.is_some() || self.phases.is_some();
        if is_paced || self.find.is_some() {
            below.speed = None;
        }
        if self.speed.is_some() {
            (below.rate, below.arrivals, below.phases, below.closed) = (None, None, None, None);
        }
        if self.closed.is_some() || self.phases.is_some() || self.speed.is_some() {
            (below.find, below.find_resolution, below.find_settle) = (None, None, None);
        }
        if self.find.is_some() {
            (below.phases, below.interval) = (None, None);
            (below.hdr, below.hgrm, below.csv, below.html) = (None, None, None, None);
            below.expect = Vec::new();
        }
        below.phases = below.phases.filter(|_| self.rate.is_none() && self.seconds.is_none());
        if self.phases.is_some() {
            (below.rate, below.seconds) = (None, None);
        }
        if self.preset.is_some() {
            (below.reads, below.reads_first, below.values.value_bytes) = (None, None, None);
            (below.popularity, below.zipf) = (None, None);
            (below.hot_keys, below.hot_requests) = (None, None);
            (below.adds, below.deletes, below.cas, below.increments) = (None, None, None, None);
            (below.cas_keys, below.counters) = (None, None);
            (below.trace, below.format, below.speed, below.trace_keys) = (None, None, None, None);
        }
        if self.key_type.is_some_and(|key_type| key_type != KeyType::Text) {
            below.key_template = None;
        }
        below.key_type = below.key_type.filter(|_| self.key_template.is_none());
        if self.popularity.is_some_and(|popularity| popularity != PopularityKind::Hotspot) {
            (below.hot_keys, below.hot_requests) = (None, None);
        }
        let moves = [None, Some(PopularityKind::Zipf), Some(PopularityKind::Hotspot)];
        if !moves.contains(&self.popularity) {
            (below.move_every, below.move_share) = (None, None);
        }
        if self.check == Some(false) || self.fill == Some(false) {
            below.lossless = None;
        }
        if self.fill == Some(false) {
            (below.check, below.trace_keys) = (None, None);
        }
        if self.trace.is_some() {
            (below.rows, below.cold) = (RowsArgs::default(), ColdArgs::default());
            (below.preset, below.reads, below.reads_first) = (None, None, None);
            (below.values.value_bytes, below.warm_up) = (None, None);
            (below.keys, below.key_type, below.key_template, below.first_key) =
                (None, None, None, None);
            (below.popularity, below.zipf) = (None, None);
            (below.hot_keys, below.hot_requests) = (None, None);
            (below.move_every, below.move_share) = (None, None);
            (below.adds, below.touches, below.deletes, below.ttl) = (None, None, None, None);
            (below.multi_gets, below.multi_get_keys) = (None, None);
            (below.cas, below.cas_keys, below.increments, below.counters) =
                (None, None, None, None);
        }
        let rows = self.rows.over(&mut below);
        Self {
            scenario: self.scenario.or(below.scenario),
            config: self.config.or(below.config),
            keyspace: self.keyspace.or(below.keyspace),
            target: self.target.or(below.target),
            access: self.access.over(below.access),
            database: self.database.over(below.database),
            rows,
            rate: self.rate.or(below.rate),
            arrivals: self.arrivals.or(below.arrivals),
            phases: self.phases.or(below.phases),
            closed: self.closed.or(below.closed),
            find: self.find.or(below.find),
            find_resolution: self.find_resolution.or(below.find_resolution),
            find_settle: self.find_settle.or(below.find_settle),
            seconds: self.seconds.or(below.seconds),
            warm_up: self.warm_up.or(below.warm_up),
            keys: self.keys.or(below.keys),
            key_type: self.key_type.or(below.key_type),
            key_template: self.key_template.or(below.key_template),
            first_key: self.first_key.or(below.first_key),
            popularity: self.popularity.or(below.popularity),
            zipf: self.zipf.or(below.zipf),
            hot_keys: self.hot_keys.or(below.hot_keys),
            hot_requests: self.hot_requests.or(below.hot_requests),
            move_every: self.move_every.or(below.move_every),
            move_share: self.move_share.or(below.move_share),
            preset: self.preset.or(below.preset),
            reads: self.reads.or(below.reads),
            reads_first: self.reads_first.or(below.reads_first),
            cold: self.cold.over(below.cold),
            adds: self.adds.or(below.adds),
            touches: self.touches.or(below.touches),
            deletes: self.deletes.or(below.deletes),
            multi_gets: self.multi_gets.or(below.multi_gets),
            multi_get_keys: self.multi_get_keys.or(below.multi_get_keys),
            cas: self.cas.or(below.cas),
            cas_keys: self.cas_keys.or(below.cas_keys),
            increments: self.increments.or(below.increments),
            counters: self.counters.or(below.counters),
            ttl: self.ttl.or(below.ttl),
            values: self.values.over(below.values),
            workers: self.workers.or(below.workers),
            seed: self.seed.or(below.seed),
            json: self.json.or(below.json),
            hdr: self.hdr.or(below.hdr),
            hgrm: self.hgrm.or(below.hgrm),
            csv: self.csv.or(below.csv),
            together: self.together,
            html: self.html.or(below.html),
            target_pid: either(self.target_pid, below.target_pid),
            target_unit: either(self.target_unit, below.target_unit),
            interval: self.interval.or(below.interval),
            label: self.label.or(below.label),
            folder: self.folder.or(below.folder),
            script: self.script.or(below.script),
            expect: either(self.expect, below.expect),
            fill: self.fill.or(below.fill),
            fill_misses: self.fill_misses.or(below.fill_misses),
            check: self.check.or(below.check),
            lossless: self.lossless.or(below.lossless),
            trace: self.trace.or(below.trace),
            format: self.format.or(below.format),
            speed: self.speed.or(below.speed),
            trace_keys: self.trace_keys.or(below.trace_keys),
        }
    }
}

fn either<T>(above: Vec<T>, below: Vec<T>) -> Vec<T> {
    if above.is_empty() { below } else { above }
}

/// Reads the URL of a target. The library's own message about a wrong one would show the password in it.
#[derive(Debug, Clone, Copy)]
struct UrlParser;

impl TypedValueParser for UrlParser {
    type Value = TargetUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<TargetUrl, clap::Error> {
        let text = value.to_string_lossy();
        text.parse().map_err(|error: UrlError| {
            let text = format!("--target: {error}\n");
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

/// A closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Clients, each with a connection to each shard.
    pub clients: u32,
    /// Requests that each has under way.
    pub depth: u32,
}

impl FromStr for Closed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(['x', 'X', '×']);
        match parts.map(|(clients, depth)| (clients.parse(), depth.parse())) {
            Some((Ok(clients @ 1..=10_000), Ok(depth @ 1..=65_536))) => Ok(Self { clients, depth }),
            _ => Err("write clients × depth, such as 8x16".to_owned()),
        }
    }
}

/// The largest number of keys of a request.
pub(super) const MULTI_GET_KEYS_MAX: i64 = 1_000;
/// The percentages of [`LoadArgs::find_resolution`].
pub(super) const RESOLUTION_PERCENT: RangeInclusive<f64> = 0.1..=100.0;
/// The seconds of [`LoadArgs::find_settle`].
pub(super) const SETTLE_SECONDS: RangeInclusive<f64> = 0.0..=3_600.0;

fn resolution(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if RESOLUTION_PERCENT.contains(&percent) => Ok(percent),
        _ => Err("write a percentage of 0.1 to 100".to_owned()),
    }
}

fn settle(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if SETTLE_SECONDS.contains(&seconds) => Ok(seconds),
        _ => Err("write seconds of 0 to 3600".to_owned()),
    }
}

/// The factors of [`LoadArgs::speed`].
pub(super) const SPEEDS: RangeInclusive<f64> = 0.001..=1_000_000.0;

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if SPEEDS.contains(&factor) => Ok(factor),
        _ => Err("write a factor of 0.001 to 1000000".to_owned()),
    }
}

/// The largest exponent.
pub(super) const EXPONENT_MAX: f64 = 10.0;

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=EXPONENT_MAX).contains(&exponent) => Ok(exponent),
        _ => Err("write an exponent of 0 to 10".to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests;
