//! The load that was asked for: the command line over the scenario over the defaults.

mod load;
pub(super) mod trace;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::AccessArgs;
use super::cold_args::Beside as BesideCold;
use super::database_args::{Beside, DatabaseArgs};
use super::interval::Interval;
use super::objective::Find;
use super::options::LoadArgs;
use super::presets::{Preset, Shares, Workload, check_sizes};
use super::{LoadError, Objective, scenario};
use crate::drive::Place;
use crate::key_names::{KeyNames, KeyType};
use crate::observer::usage::Chosen;
use crate::popularity::{Moves, Popularity, PopularityKind, Still};
use crate::request::ValueSizes;
use crate::schedule::Rates;
use crate::targets::address::TargetUrl;
use crate::trace::TraceFile;
use crate::value::VALUE_BYTES_MAX;
use crate::value_form::ValueForm;
use crate::workload::Others;
pub use load::Load;
use trace::Replay;

const SECONDS: u32 = 10;
const RATE_PER_S: u32 = 1_000;
/// The warm-up of each measurement of a search.
const FIND_WARM_UP_S: u32 = 2;
const FIND_RESOLUTION_PERCENT: f64 = 5.0;
const FIND_SETTLE_S: f64 = 1.0;
const KEYS: u32 = 100_000;
const READS_PERCENT: f64 = 95.0;
/// The defaults of YCSB's `hotspotdatafraction` and `hotspotopnfraction`.
const HOT_KEYS_PERCENT: f64 = 20.0;
const HOT_REQUESTS_PERCENT: f64 = 80.0;
const MOVE_SHARE_PERCENT: f64 = 10.0;
const MULTI_GET_KEYS: u16 = 10;
const CAS_KEYS: u32 = 100;
const COUNTERS: u32 = 1_000;
/// Bytes of the values written.
const VALUE_BYTES: u32 = 100;
/// Distinct keys of a trace that are remembered.
const TRACE_KEYS: u32 = 10_000_000;

impl LoadArgs {
    /// Puts the scenario, if there is one, and the defaults below these options.
    ///
    /// # Errors
    /// [`LoadError::Config`] with the mistakes of the scenario, and [`LoadError::Options`] if options do not fit
    /// together.
    pub fn resolve(&self) -> Result<Load, LoadError> {
        self.resolve_over(self.scenario.as_deref().map(scenario::load).transpose()?)
    }

    /// Puts these options of a scenario and the defaults below these options.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(super) fn resolve_over(&self, below: Option<Self>) -> Result<Load, LoadError> {
        let args = match below {
            Some(below) => self.clone().over(below),
            None => self.clone(),
        };
        args.check_together().map_err(|text| LoadError::Options(text.to_owned()))?;
        let form = args.values.form();
        let workload = args.workload(&form)?;
        let keys = args.keys.unwrap_or(KEYS);
        let first_key = args.first_key.unwrap_or(0);
        let others = args.others(workload.reads_percent, workload.shares)?;
        let cold = args.cold.cold();
        check_numbers(first_key, [keys, others.cas_keys, others.counters, cold.keys])?;
        let needs_stamp = match (args.check, others.cas_percent > 0.0) {
            (Some(true), _) => Some("--check"),
            (_, true) => Some("--cas"),
            (_, false) => None,
        };
        args.values.check(needs_stamp)?;
        if args.trace.is_none() || args.values.value_bytes.is_some() {
            check_sizes(&form, workload.sizes)?;
        }
        let has_template = args.key_template.is_some();
        let popularity = args.popularity(workload.popularity, workload.exponent);
        let of_seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let (rates, duration) = match &args.phases {
            Some(phases) => {
                let profile = phases.profile()?;
                let length = profile.length();
                (Rates::Phased(Arc::new(profile)), Some(length))
            }
            None => {
                let seconds = args.seconds.or(args.trace.is_none().then_some(SECONDS));
                (args.rate.unwrap_or(RATE_PER_S).into(), seconds.map(of_seconds))
            }
        };
        args.check_script(duration)?;
        let interval = Interval::of(args.interval, args.find.is_some(), duration);
        let is_warmed = args.find.is_some() && args.trace.is_none();
        let warm_up = args.warm_up.or(is_warmed.then_some(FIND_WARM_UP_S));
        let trace = args.replay();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = args.workers.unwrap_or(u32::try_from(cores.min(2)).unwrap_or(1)).max(1);
        let load = Load {
            config: args.config.unwrap_or_else(|| PathBuf::from("cluster.toml")),
            keyspace: args.keyspace,
            target: args.target,
            access: args.access,
            database: args.database,
            rates,
            phases: args.phases,
            arrivals: args.arrivals.unwrap_or_default(),
            closed: args.closed,
            find: args.find.map(|objective| Find {
                objective,
                resolution_percent: args.find_resolution.unwrap_or(FIND_RESOLUTION_PERCENT),
                settle: Duration::from_secs_f64(args.find_settle.unwrap_or(FIND_SETTLE_S)),
            }),
            duration,
            warm_up: warm_up.filter(|seconds| *seconds > 0).map(of_seconds),
            keys,
            rows: args.rows.chosen(args.keys),
            key_type: args.key_type.or(has_template.then_some(KeyType::Text)),
            template: args.key_template.unwrap_or_default(),
            first_key,
            popularity,
            preset: args.preset,
            reads_percent: workload.reads_percent,
            reads_first: workload.reads_first,
            others,
            cold,
            sizes: workload.sizes,
            form,
            workers,
            place: Place::default(),
            seed: args.seed.unwrap_or(1),
            json: args.json,
            hdr: args.hdr,
            hgrm: args.hgrm,
            csv: args.csv,
            html: args.html,
            processes: Chosen { pids: args.target_pid, units: args.target_unit },
            interval,
            label: args.label,
            folder: args.folder,
            script: args.script.unwrap_or_default(),
            expect: args.expect,
            fill: args.fill.unwrap_or(false),
            fill_misses: args.fill_misses.unwrap_or(false),
            check: args.check.unwrap_or(false),
            lossless: args.lossless.unwrap_or(false),
            trace,
            connections_max: None,
        };
        load.check_memory()?;
        Ok(load)
    }

    /// What can't be said of one option alone. Each text says which option to change.
    fn check_together(&self) -> Result<(), &'static str> {
        self.access.check(self.target.is_some())?;
        let is_set = |flag: Option<bool>| flag == Some(true);
        let has_find = self.find_resolution.is_some() || self.find_settle.is_some();
        let files = [&self.hdr, &self.hgrm, &self.csv, &self.html];
        let has_files = files.into_iter().any(Option::is_some);
        let has_other_rates = self.phases.is_some() || self.closed.is_some();
        let is_text = self.key_type.is_none_or(|key_type| key_type == KeyType::Text);
        let is_hotspot = self.popularity == Some(PopularityKind::Hotspot);
        let can_move = match self.popularity {
            None => self.preset.is_none_or(|preset| preset != Preset::YcsbD),
            Some(kind) => matches!(kind, PopularityKind::Zipf | PopularityKind::Hotspot),
        };
        let has_hot = self.hot_keys.is_some() || self.hot_requests.is_some();
        let has_rows = self.rows.chosen(None).is_some();
        let cold = BesideCold {
            has_trace: self.trace.is_some(),
            has_rows,
            fills_judged: is_set(self.fill_misses) && is_set(self.check),
        };
        if is_set(self.check) && !is_set(self.fill) && !has_rows {
            Err("--check needs --fill or --existing-rows: only what is known can be judged")
        } else if let Err(text) = self.rows.check(self) {
            Err(text)
        } else if let Err(text) = self.cold.check(&cold) {
            Err(text)
        } else if is_set(self.lossless) && !is_set(self.check) {
            Err("--lossless says what --check judges: add --check")
        } else if self.find.is_none() && has_find {
            Err("--find-resolution and --find-settle are for a search: add --find")
        } else if self.find.is_some() && has_files {
            Err("--find has many runs: leave --hdr, --hgrm, --csv and --html away, and use --json")
        } else if self.find.is_some() && self.interval.is_some() {
            Err("--find has no timeline: leave --interval away")
        } else if self.find.is_some() && has_other_rates {
            Err(
                "--find asks for rates of its own: leave phases and closed loops away, or the search",
            )
        } else if self.find.as_ref().is_some_and(Objective::is_about_reads) && !is_set(self.check) {
            Err(
                "stale and wrong in --find need reads that are checked: add --check, and --fill or --existing-rows",
            )
        } else if self.phases.is_some() && (self.rate.is_some() || self.seconds.is_some()) {
            Err("--phases say rate and length: leave --rate and --seconds away")
        } else if let Err(text) = self.database.check(&self.beside_database()) {
            Err(text)
        } else if self.keyspace.is_some() && self.target.is_some() && !self.database.has_file() {
            Err(
                "--keyspace is for the cluster of a file: add --config, or use standin://…?keyspace=1",
            )
        } else if self.key_template.is_some() && !is_text {
            Err("--key-template is for keys of type text: leave it or --key-type away")
        } else if has_hot && !is_hotspot {
            Err("--hot-keys and --hot-requests need --popularity hotspot")
        } else if self.trace.is_some() && (self.preset.is_some() || is_set(self.reads_first)) {
            Err("--trace has its own requests: leave --preset and --reads-first away")
        } else if self.trace.is_some() && self.has_keys() {
            Err(
                "--trace has its own keys: leave --keys, --key-type, --key-template, --first-key, --popularity, --zipf, \
                 --hot-keys, --hot-requests, --move-every and --move-share away",
            )
        } else if self.trace.is_none() && (self.speed.is_some() || self.trace_keys.is_some()) {
            Err("--speed and --trace-keys are for a trace: add --trace")
        } else if self.speed.is_some() && self.has_arrivals() {
            Err(
                "--speed keeps the times of the trace: leave --rate, --arrivals, --phases, --closed and --find away, or \
                 --speed",
            )
        } else if self.trace_keys.is_some() && !is_set(self.fill) {
            Err("--trace-keys is for --fill, which alone remembers keys: add it")
        } else if self.move_every.is_some() && !can_move {
            Err("--move-every needs --popularity zipf or hotspot")
        } else if self.move_share.is_some() && self.move_every.is_none() {
            Err("--move-share needs --move-every")
        } else if self.trace.is_some() && self.warm_up.is_some_and(|seconds| seconds > 0) {
            Err("--trace begins once, at its beginning: leave --warm-up away")
        } else {
            Ok(())
        }
    }

    /// Takes out of options below these what can't be together with their database, or a database with their target.
    pub(super) fn displace_by_database(&self, below: &mut Self) {
        let is_standin = |url: &TargetUrl| url.is_standin();
        if self.target.as_ref().is_some_and(is_standin) {
            below.database = DatabaseArgs::default();
        }
        if self.database.database.is_none() {
            return;
        }
        below.config = None;
        if below.target.as_ref().is_some_and(is_standin) {
            (below.target, below.access) = (None, AccessArgs::default());
        }
        below.keyspace = below.keyspace.take().filter(|_| self.database.has_file());
    }

    /// The options beside those of a database.
    fn beside_database(&self) -> Beside {
        let kinds = [self.adds, self.touches, self.multi_gets, self.cas, self.increments];
        Beside {
            has_config: self.config.is_some(),
            has_target: self.target.is_some(),
            is_standin: self.target.as_ref().is_some_and(TargetUrl::is_standin),
            has_keyspace: self.keyspace.is_some(),
            has_trace: self.trace.is_some(),
            has_kinds: kinds.into_iter().flatten().any(|percent| percent > 0.0),
            fills_misses: self.fill_misses == Some(true),
            has_ttl: self.ttl.is_some_and(|seconds| seconds > 0),
        }
    }

    /// The trace. Without a rate and the like, it is replayed at its recorded times.
    fn replay(&self) -> Option<Replay> {
        let file = self.trace.clone().zip(self.format);
        let file = file.map(|(path, format)| TraceFile { path, format })?;
        let speed = (!self.has_arrivals()).then(|| self.speed.unwrap_or(1.0));
        Some(Replay { file, speed, keys_max: self.trace_keys.unwrap_or(TRACE_KEYS) })
    }

    /// Whether an option says when requests are sent.
    fn has_arrivals(&self) -> bool {
        let is_open = self.rate.is_some() || self.arrivals.is_some() || self.phases.is_some();
        is_open || self.closed.is_some() || self.find.is_some()
    }

    /// Whether an option says which keys there are, or how requests are spread over them.
    fn has_keys(&self) -> bool {
        let keys = self.keys.is_some() || self.first_key.is_some();
        let names = self.key_type.is_some() || self.key_template.is_some();
        let popularity = self.popularity.is_some() || self.zipf.is_some();
        let hot = self.hot_keys.is_some() || self.hot_requests.is_some();
        let moves = self.move_every.is_some() || self.move_share.is_some();
        keys || names || popularity || hot || moves
    }

    /// Reads, writes and sizes: the options over the preset over the defaults.
    fn workload(&self, form: &ValueForm) -> Result<Workload, LoadError> {
        let usual = match (self.preset, &self.trace) {
            (Some(preset), _) => preset.workload().ok_or_else(|| {
                let text = "YCSB's workload E scans ranges of keys, which caches can't; use another preset";
                LoadError::Options(text.to_owned())
            })?,
            // What is judged says what it is, and an object or a template is one whether it is judged or not. Other small
            // values are digits.
            (None, Some(_)) => {
                let has_least = self.check == Some(true) || form.is_strict();
                let least = if has_least { form.bytes_min() } else { 0 };
                Workload::plain(100.0, ValueSizes::between(least, VALUE_BYTES_MAX))
            }
            (None, None) => Workload::plain(READS_PERCENT, ValueSizes::fixed(VALUE_BYTES)),
        };
        // Existing rows are never written.
        let usual_reads = match self.rows.chosen(None) {
            Some(_) => 100.0 - self.multi_gets.unwrap_or(0.0),
            None => usual.reads_percent,
        };
        Ok(Workload {
            reads_percent: self.reads.unwrap_or(usual_reads),
            reads_first: self.reads_first.unwrap_or(usual.reads_first),
            popularity: self.popularity.unwrap_or(usual.popularity),
            exponent: usual.exponent,
            shares: usual.shares,
            sizes: self.values.sizes(usual.sizes),
        })
    }

    fn others(&self, reads_percent: f64, usual: Shares) -> Result<Others, LoadError> {
        let (cas, increments) = (self.cas.or(usual.cas), self.increments.or(usual.increments));
        let others = Others {
            adds_percent: self.adds.or(usual.adds).unwrap_or(0.0),
            touches_percent: self.touches.unwrap_or(0.0),
            deletes_percent: self.deletes.or(usual.deletes).unwrap_or(0.0),
            multi_gets_percent: self.multi_gets.unwrap_or(0.0),
            multi_get_keys: match self.multi_gets {
                Some(_) => self.multi_get_keys.unwrap_or(MULTI_GET_KEYS),
                None => Others::NONE.multi_get_keys,
            },
            cas_percent: cas.unwrap_or(0.0),
            cas_keys: cas.map_or(0, |_| self.cas_keys.unwrap_or(CAS_KEYS)),
            increments_percent: increments.unwrap_or(0.0),
            counters: increments.map_or(0, |_| self.counters.unwrap_or(COUNTERS)),
            ttl_s: self.ttl.unwrap_or(0),
        };
        let lacks = |text: &str| Err(LoadError::Options(text.to_owned()));
        if others != Others::NONE && self.trace.is_some() {
            return lacks(
                "--trace has its own requests: leave --adds, --touches, --deletes, --multi-gets, --cas, --increments \
                 and --ttl away",
            );
        }
        if self.multi_get_keys.is_some() && self.multi_gets.is_none() {
            return lacks("--multi-get-keys needs --multi-gets");
        }
        if self.cas_keys.is_some() && cas.is_none() {
            return lacks("--cas-keys needs --cas");
        }
        if self.counters.is_some() && increments.is_none() {
            return lacks("--counters needs --increments");
        }
        if let Err(text) = self.database.check_kinds(&others) {
            return lacks(text);
        }
        let sum = reads_percent + others.percent();
        if sum > 100.0 {
            return Err(LoadError::Options(format!(
                "reads ({reads_percent} %) and the other kinds of request are {sum} % together: lower --reads or the others"
            )));
        }
        Ok(others)
    }

    fn popularity(&self, kind: PopularityKind, exponent: f64) -> Popularity {
        let exponent = self.zipf.unwrap_or(exponent);
        let hotspot = Still::Hotspot {
            keys_percent: self.hot_keys.unwrap_or(HOT_KEYS_PERCENT),
            requests_percent: self.hot_requests.unwrap_or(HOT_REQUESTS_PERCENT),
        };
        if let Some(seconds) = self.move_every {
            let still = match kind {
                PopularityKind::Hotspot => hotspot,
                _ => Still::Zipf { exponent },
            };
            let share = self.move_share.unwrap_or(MOVE_SHARE_PERCENT);
            let steps = (100.0 / share.max(1e-6)).round().clamp(1.0, f64::from(u32::MAX));
            let every = Duration::from_secs(seconds.into());
            return Popularity::Moving(still, Moves { every, steps: steps as u32 });
        }
        match kind {
            PopularityKind::Zipf => Popularity::Zipf { exponent, is_scrambled: true },
            PopularityKind::ZipfByNumber => Popularity::ranked(exponent),
            PopularityKind::Uniform => Popularity::Uniform,
            PopularityKind::Sequential => Popularity::Sequential,
            PopularityKind::Latest => Popularity::Latest { exponent },
            PopularityKind::Hotspot => hotspot.into(),
        }
    }
}

/// Each key has a number, and each number is one of the load generator's and of the key's type.
fn check_numbers(first_key: u64, counts: [u32; 4]) -> Result<(), LoadError> {
    let all: u64 = counts.map(u64::from).iter().sum();
    let Ok(all) = u32::try_from(all) else {
        let text = format!("{all} keys of all kinds are more than {}: lower --keys", u32::MAX);
        return Err(LoadError::Options(text));
    };
    if first_key > KeyNames::first_max(all) {
        return Err(LoadError::Options(format!(
            "--first-key {first_key}: with {all} keys it may be {} at most",
            KeyNames::first_max(all)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
