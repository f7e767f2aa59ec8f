//! A scenario: the options of `standin load` in a TOML file. `scenario.example.toml` is its manual.
//!
//! Here is the form of the file. What options mean together is checked where they meet those of the command line.

mod base;

use std::path::{Path, PathBuf};

use standin_config::{ConfigErrors, Report, Section};

use super::access::AccessArgs;
use super::cold_args::ColdArgs;
use super::database_args::DatabaseArgs;
use super::faults;
use super::find::section;
use super::objective::expect;
use super::options::{EXPONENT_MAX, LoadArgs, MULTI_GET_KEYS_MAX, SPEEDS};
use super::phases;
use super::rows::args::RowsArgs;
use super::value_args::ValueArgs;
use super::words::{parsed, parsed_as, word};

/// The file to start from.
const EXAMPLE: &str = "scenario.example.toml";
const RATE_MAX: u64 = 10_000_000;
const WORKERS_MAX: u64 = 1_024;
/// TOML's whole numbers are signed.
const WHOLE_MAX: u64 = i64::MAX as u64;

/// Reads a scenario. Relative paths in it are relative to its folder.
pub(super) fn load(path: &Path) -> Result<LoadArgs, ConfigErrors> {
    standin_config::read_file(path, EXAMPLE, read)
}

/// Reads the text of a scenario that stands alone. Relative paths in it are relative to the folder of this process.
pub(super) fn read_here(text: &str, name: &str) -> Result<LoadArgs, ConfigErrors> {
    standin_config::read_text(text, name, Path::new("."), read_alone)
}

/// The reader of a section, which sets the options that are in it.
type ReadSection = fn(&mut Section<'_>, &Path, &mut Report<'_>, &mut LoadArgs);

const SECTIONS: [(&str, ReadSection); 10] = [
    ("target", target),
    ("database", database),
    ("arrivals", arrivals),
    ("find", section::read),
    ("keys", keys),
    ("mix", mix),
    ("values", values),
    ("trace", trace),
    ("checks", checks),
    ("run", run),
];

fn read(root: Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Option<LoadArgs> {
    read_over(root, base_dir, false, report)
}

/// Reads a scenario that builds on no other.
fn read_alone(root: Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Option<LoadArgs> {
    read_over(root, base_dir, true, report)
}

fn read_over(
    mut root: Section<'_>,
    base_dir: &Path,
    is_alone: bool,
    report: &mut Report<'_>,
) -> Option<LoadArgs> {
    let load = |path: &Path| standin_config::read_file(path, EXAMPLE, read_alone);
    let base = base::read(&mut root, base_dir, is_alone, load, report);
    let is_whole = base.is_ok();
    let base = base.unwrap_or_default();
    let mut args = LoadArgs::default();
    for (name, read) in SECTIONS {
        // One that is no section was reported.
        let Some(mut section) = root.section(name, report) else { continue };
        read(&mut section, base_dir, report, &mut args);
        section.finish(report);
    }
    let script = base.as_ref().and_then(|base| base.script.clone()).unwrap_or_default();
    args.script = faults::read(&mut root, base_dir, (script, is_whole), report);
    args.expect = expect::read(&mut root, args.script.as_ref(), report);
    root.finish(report);
    let Some(mut base) = base else { return Some(args) };
    // Of lists it has those of both.
    args.expect.splice(0..0, std::mem::take(&mut base.expect));
    Some(args.over(base))
}

fn target(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
    args: &mut LoadArgs,
) {
    let units = section.text("units", "memcached.service", report).good();
    args.target_unit = units.iter().flat_map(|units| units.split(',')).map(str::to_owned).collect();
    args.access = AccessArgs::read(section, base_dir, report);
    // The text may have a password.
    args.target =
        parsed_as(section, "url", "memcached://127.0.0.1:11211", report, |_, error| error);
    if args.target.is_some() {
        let why = "is for the cluster of a file; remove it, or `url`";
        section.misplaced("config", why, report);
        section.misplaced("keyspace", why, report);
        return;
    }
    let path = section.text("config", "cluster.toml", report).good();
    // A name in braces stands for the file of a cluster that the scenario starts.
    args.config = path.map(|path| match path.starts_with('{') {
        true => PathBuf::from(path),
        false => base_dir.join(path),
    });
    args.keyspace = section.text("keyspace", "items", report).good().map(str::to_owned);
}

fn database(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
    args: &mut LoadArgs,
) {
    args.database = DatabaseArgs::read(section, base_dir, report);
    let keyspace = section.text("keyspace", "items", report).good();
    args.keyspace = keyspace.map(str::to_owned).or(args.keyspace.take());
}

fn arrivals(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
    args: &mut LoadArgs,
) {
    args.closed = parsed(section, "closed", "8x16", report);
    if args.closed.is_some() {
        let why = "is for a schedule; remove it, or `closed`";
        section.misplaced("rate", why, report);
        section.misplaced("distribution", why, report);
        section.misplaced("phases", why, report);
        return;
    }
    args.phases = phases::read(section, base_dir, report);
    if args.phases.is_some() {
        section.misplaced("rate", "is that of the phases; remove it, or the phases", report);
        args.arrivals = word(section, "distribution", report);
        return;
    }
    args.rate = section.whole_or_absent("rate", 1..=RATE_MAX, "1000", report).good();
    args.arrivals = word(section, "distribution", report);
}

fn keys(section: &mut Section<'_>, base_dir: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    args.rows = RowsArgs::read(section, base_dir, report);
    let count_max = u64::from(u32::MAX);
    args.keys = section.whole_or_absent("count", 1..=count_max, "100000", report).good();
    args.key_type = word(section, "type", report);
    args.key_template = parsed(section, "template", "key-{n:8}", report);
    args.first_key = section.whole_or_absent("first", 0..=WHOLE_MAX, "0", report).good();
    args.popularity = word(section, "popularity", report);
    args.zipf = section.decimal("zipf", 0.0..=EXPONENT_MAX, "0.99", report).good();
    args.hot_keys = section.decimal("hot_keys", 0.0..=100.0, "20", report).good();
    let seconds_max = u64::from(u32::MAX);
    args.move_every = section.whole_or_absent("move_every", 1..=seconds_max, "10", report).good();
    args.move_share = section.decimal("move_share", 0.0..=100.0, "10", report).good();
    args.hot_requests = section.decimal("hot_requests", 0.0..=100.0, "80", report).good();
}

fn mix(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    args.preset = word(section, "preset", report);
    args.reads = section.decimal("reads", 0.0..=100.0, "95", report).good();
    args.reads_first = section.boolean("reads_first", report).good();
    args.cold = ColdArgs::read(section, report);
    args.adds = section.decimal("adds", 0.0..=100.0, "1", report).good();
    args.touches = section.decimal("touches", 0.0..=100.0, "1", report).good();
    args.deletes = section.decimal("deletes", 0.0..=100.0, "1", report).good();
    args.multi_gets = section.decimal("multi_gets", 0.0..=100.0, "5", report).good();
    let keys_max = MULTI_GET_KEYS_MAX.unsigned_abs();
    args.multi_get_keys =
        section.whole_or_absent("multi_get_keys", 1..=keys_max, "10", report).good();
    let count_max = u64::from(u32::MAX);
    args.cas = section.decimal("cas", 0.0..=100.0, "1", report).good();
    args.cas_keys = section.whole_or_absent("cas_keys", 1..=count_max, "100", report).good();
    args.increments = section.decimal("increments", 0.0..=100.0, "1", report).good();
    args.counters = section.whole_or_absent("counters", 1..=count_max, "1000", report).good();
    args.ttl = section.whole_or_absent("ttl", 0..=u64::from(u32::MAX), "60", report).good();
}

fn values(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    args.values = ValueArgs::read(section, report);
}

fn trace(section: &mut Section<'_>, base_dir: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    let path = section.text("file", "requests.oracleGeneral", report).good();
    args.trace = path.map(|path| base_dir.join(path));
    args.format = word(section, "format", report);
    args.speed = section.decimal("speed", SPEEDS, "10", report).good();
    args.trace_keys =
        section.whole_or_absent("keys", 1..=u64::from(u32::MAX), "10000000", report).good();
    match (&args.trace, args.format) {
        (Some(_), None) => section.missing("format", "\"oracle\"", report),
        (None, Some(_)) => section.missing("file", "\"requests.oracleGeneral\"", report),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn checks(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    args.fill = section.boolean("fill", report).good();
    args.fill_misses = section.boolean("fill_misses", report).good();
    args.check = section.boolean("check", report).good();
    args.lossless = section.boolean("lossless", report).good();
}

fn run(section: &mut Section<'_>, base_dir: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    let seconds_max = u64::from(u32::MAX);
    args.seconds = section.whole_or_absent("seconds", 1..=seconds_max, "10", report).good();
    args.warm_up = section.whole_or_absent("warm_up", 0..=seconds_max, "5", report).good();
    args.workers = section.whole_or_absent("workers", 1..=WORKERS_MAX, "2", report).good();
    args.seed = section.whole_or_absent("seed", 0..=WHOLE_MAX, "1", report).good();
    let path = section.text("json", "result.json", report).good();
    args.json = path.map(|path| base_dir.join(path));
    let path = section.text("hdr", "result.hlog", report).good();
    args.hdr = path.map(|path| base_dir.join(path));
    let path = section.text("hgrm", "result", report).good();
    args.hgrm = path.map(|path| base_dir.join(path));
    let path = section.text("csv", "result.csv", report).good();
    args.csv = path.map(|path| base_dir.join(path));
    let path = section.text("html", "result.html", report).good();
    args.html = path.map(|path| base_dir.join(path));
    args.interval = parsed(section, "interval", "1s", report);
    let path = section.text("folder", "files", report).good();
    args.folder = path.map(|path| base_dir.join(path));
    args.label = section.text("label", "new kernel", report).good().map(str::to_owned);
}

#[cfg(test)]
pub(super) mod tests;
