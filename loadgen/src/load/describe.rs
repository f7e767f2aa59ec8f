//! The configuration of a run for its results: every option as it was used, with the names of a scenario, and the
//! command line without passwords.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Load;
use super::rows::args::KeySource;
use crate::popularity::{Popularity, PopularityKind};
use crate::schedule::Rates;
use crate::schedule::phases::{Rate, Written};
use crate::schedule::profile::Shape;

/// Every option with its value, by the sections and keys of a scenario. What is not used is null.
pub(super) fn scenario(load: &Load) -> Value {
    let (still, moves) = match load.popularity {
        Popularity::Moving(still, moves) => (still.into(), Some(moves)),
        still => (still, None),
    };
    let (popularity, exponent, hot) = popularity(still);
    let open = load.closed.is_none() && !load.is_recorded();
    let find = load.find.as_ref();
    let rate = match load.rates {
        Rates::Steady(rate_per_s) => open.then_some(rate_per_s),
        Rates::Phased(_) => None,
    };
    let rows = load.rows.as_ref();
    let (trace, is_made) = (load.trace.as_ref(), load.trace.is_none());
    let path = |path: &Option<_>| path.as_deref().map(shown);
    let seconds = |duration: Duration| duration.as_secs_f64();
    json!({
        "target": {
            "url": load.target.as_ref().map(ToString::to_string),
            "config": load.target.is_none().then(|| shown(&load.config)),
            "keyspace": load.keyspace,
            "ca_file": path(&load.access.ca_file),
            "cert_file": path(&load.access.cert_file),
            "key_file": path(&load.access.key_file),
            "server_name": load.access.server_name,
            "user": load.access.user,
            "password_file": path(&load.access.password_file),
            "password_env": load.access.password_env,
            "units": (!load.processes.units.is_empty()).then(|| load.processes.units.join(",")),
        },
        "database": {
            "at": load.database.database.as_ref().map(ToString::to_string),
            "keyspace": load.database.database.as_ref().and(load.keyspace.as_ref()),
            "writes": load.database.aside_writes.map(word),
            "connections": load.database.database_connections,
        },
        "arrivals": {
            "rate": rate,
            "phases": load.phases.as_ref().map(|phases| phases.0.iter().map(phase).collect::<Vec<_>>()),
            "distribution": open.then(|| word(load.arrivals)),
            "closed": load.closed.map(|closed| format!("{}x{}", closed.clients, closed.depth)),
        },
        "find": {
            "objective": find.map(|find| find.objective.to_string()),
            "resolution": find.map(|find| find.resolution_percent),
            "settle": find.map(|find| seconds(find.settle)),
        },
        "keys": {
            "count": is_made.then_some(load.keys),
            "type": load.key_type.map(word),
            "template": rows.is_none().then(|| load.template.to_string()),
            "first": rows.is_none().then_some(load.first_key),
            "existing_rows": rows.is_some(),
            "row_query": rows.and_then(|rows| match &rows.source {
                KeySource::Query(query) => Some(query),
                KeySource::Table | KeySource::File(_) => None,
            }),
            "row_keys": rows.and_then(|rows| match &rows.source {
                KeySource::File(path) => Some(shown(path)),
                KeySource::Table | KeySource::Query(_) => None,
            }),
            "sample_rows": rows.is_some_and(|rows| rows.is_sample),
            "popularity": popularity,
            "zipf": exponent,
            "hot_keys": hot.map(|hot| hot.0),
            "hot_requests": hot.map(|hot| hot.1),
            "move_every": moves.map(|moves| seconds(moves.every)),
            "move_share": moves.map(|moves| 100.0 / f64::from(moves.steps)),
        },
        "mix": {
            "preset": load.preset.map(word),
            "reads": load.reads_percent,
            "reads_first": load.reads_first,
            "cold_reads": load.cold.percent,
            "cold_keys": load.cold.keys,
            "adds": load.others.adds_percent,
            "touches": load.others.touches_percent,
            "deletes": load.others.deletes_percent,
            "multi_gets": load.others.multi_gets_percent,
            "multi_get_keys": load.others.multi_get_keys,
            "cas": load.others.cas_percent,
            "cas_keys": load.others.cas_keys,
            "increments": load.others.increments_percent,
            "counters": load.others.counters,
            "ttl": load.others.ttl_s,
        },
        "values": {
            "sizes": (!load.sizes.is_even()).then(|| load.sizes.to_string()),
            "kind": load.form.template.is_none().then(|| word(load.form.kind)),
            "template": load.form.template.as_ref().map(ToString::to_string),
            "compressible": load.form.compressible_percent,
            "size": (load.sizes.min_bytes == load.sizes.max_bytes).then_some(load.sizes.min_bytes),
            "size_min": load.sizes.min_bytes,
            "size_max": load.sizes.max_bytes,
        },
        "trace": {
            "file": trace.map(|trace| shown(&trace.file.path)),
            "format": trace.map(|trace| word(trace.file.format)),
            "speed": trace.and_then(|trace| trace.speed),
            "keys": trace.filter(|_| load.fill).map(|trace| trace.keys_max),
        },
        "checks": {
            "fill": load.fill,
            "fill_misses": load.fill_misses,
            "check": load.check,
            "lossless": load.lossless,
        },
        "run": {
            "seconds": load.duration.map(seconds),
            "warm_up": load.warm_up.map_or(0.0, seconds),
            "workers": load.workers,
            "seed": load.seed,
            "json": path(&load.json),
            "hdr": path(&load.hdr),
            "hgrm": path(&load.hgrm),
            "csv": path(&load.csv),
            "html": path(&load.html),
            // Those of a search follow from the length of a measurement.
            "interval": find.is_none().then(|| humantime::format_duration(load.interval).to_string()),
            "label": load.label,
            "folder": path(&load.folder),
        },
        "script": {
            "processes": load.script.processes,
            "faults": load.script.faults,
            "expect": expected(load),
        },
    })
}

/// What the run must keep, with the keys of a scenario.
fn expected(load: &Load) -> Vec<Value> {
    let expected = load.expect.iter();
    let expected = expected.map(|one| json!({ "that": one.that.to_string(), "since": one.since }));
    expected.collect()
}

/// A phase of the rate, with the keys of a scenario.
fn phase(phase: &Written) -> Value {
    let seconds = |length: Duration| Some(length.as_secs_f64());
    let time = |length: Duration| humantime::format_duration(length).to_string();
    let (mut path, mut factor) = (None, None);
    let (mut last, mut number) = (None, None);
    let mut bursts = None;
    let (length, rate) = match &phase.rate {
        Rate::File { path: file, scale, length } => {
            (path, factor) = (Some(shown(file)), Some(*scale));
            (length.and_then(seconds), None)
        }
        Rate::Given(Shape::Ramp { length, from, to }) => {
            last = Some(*to);
            (seconds(*length), Some(*from))
        }
        Rate::Given(Shape::Steps { length, from, to, steps }) => {
            (last, number) = (Some(*to), Some(*steps));
            (seconds(*length), Some(*from))
        }
        Rate::Given(Shape::Bursts { length, rate, burst, every, lasting }) => {
            bursts = Some((*burst, time(*every), time(*lasting)));
            (seconds(*length), Some(*rate))
        }
        // Only files have points.
        Rate::Given(Shape::Curve { .. }) => (None, None),
    };
    json!({
        "name": phase.name,
        "seconds": length,
        "rate": rate,
        "to": last,
        "steps": number,
        "burst": bursts.as_ref().map(|bursts| bursts.0),
        "burst_every": bursts.as_ref().map(|bursts| &bursts.1),
        "burst_for": bursts.as_ref().map(|bursts| &bursts.2),
        "file": path,
        "scale": factor,
    })
}

/// Exponent, and percentages of hot keys and of requests for them, beside the name.
fn popularity(popularity: Popularity) -> (String, Option<f64>, Option<(f64, f64)>) {
    let (kind, exponent, hot) = match popularity {
        Popularity::Zipf { exponent, is_scrambled: true } => {
            (PopularityKind::Zipf, Some(exponent), None)
        }
        Popularity::Zipf { exponent, is_scrambled: false } => {
            (PopularityKind::ZipfByNumber, Some(exponent), None)
        }
        Popularity::Uniform => (PopularityKind::Uniform, None, None),
        Popularity::Sequential => (PopularityKind::Sequential, None, None),
        Popularity::Moving(still, _) => return self::popularity(still.into()),
        Popularity::Latest { exponent } => (PopularityKind::Latest, Some(exponent), None),
        Popularity::Hotspot { keys_percent, requests_percent } => {
            (PopularityKind::Hotspot, None, Some((keys_percent, requests_percent)))
        }
    };
    (word(kind), exponent, hot)
}

/// The word on the command line.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |word| word.get_name().to_owned())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The command line of this process, with `***` in the place of passwords in URLs.
pub(super) fn command_line(arguments: impl Iterator<Item = std::ffi::OsString>) -> Vec<String> {
    let mut is_text = false;
    let shown = |argument: std::ffi::OsString| {
        let argument = argument.to_string_lossy();
        // A text of the user's own is no URL, whatever it looks like.
        let is_own = std::mem::replace(&mut is_text, TEXTS.contains(&&*argument))
            || TEXTS
                .iter()
                .any(|text| argument.strip_prefix(text).is_some_and(|rest| rest.starts_with('=')));
        match is_own {
            true => argument.into_owned(),
            false => without_password(&argument),
        }
    };
    arguments.map(shown).collect()
}

/// Options whose values are texts of the user's own.
const TEXTS: [&str; 3] = ["--value-template", "--key-template", "--label"];

fn without_password(argument: &str) -> String {
    // What precedes the last `@` before the path is user and password; either may have an unescaped `@`.
    let Some((scheme, rest)) = argument.split_once("://") else { return argument.to_owned() };
    let Some((login, place)) = rest.rsplit_once('@') else { return argument.to_owned() };
    let user = login.split_once(':').map_or("", |(user, _)| user);
    format!("{scheme}://{user}:***@{place}")
}

#[cfg(test)]
mod tests {
    use super::super::LoadArgs;
    use super::super::scenario::tests::keys_known;
    use super::*;

    #[test]
    fn every_option_of_a_scenario_is_described() {
        let phases = Some("1s@5".parse().unwrap());
        let load = LoadArgs { phases, ..LoadArgs::default() }.resolve().unwrap();
        let mut described = scenario(&load);
        described["phases"] = described["arrivals"]["phases"][0].clone();
        let mut expected: Vec<String> = Vec::new();
        for (section, key) in keys_known() {
            expected.push(format!("{section}.{key}"));
        }
        expected.extend(["script.processes", "script.faults", "script.expect"].map(str::to_owned));
        let mut found: Vec<String> = Vec::new();
        for (section, keys) in described.as_object().unwrap() {
            found.extend(keys.as_object().unwrap().keys().map(|key| format!("{section}.{key}")));
        }
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "load/describe.rs has the options of load/scenario/mod.rs");
    }

    #[test]
    fn passwords_are_left_out() {
        let url = "redis://app:s3c:r@t@10.0.0.9:6379/2?protocol=3";
        let args = [url, "--target=redis://:p%40ss@h:1", "--rate", "5"].map(Into::into);
        let shown = command_line(args.into_iter());
        assert_eq!(shown[0], "redis://app:***@10.0.0.9:6379/2?protocol=3");
        assert_eq!(shown[1], "--target=redis://:***@h:1");
        assert_eq!(shown[2..], ["--rate", "5"]);
        let template = "http://a/{n}:x@{stamp}";
        let equal = format!("--value-template={template}");
        let args = ["--value-template", template, &equal, "--label", "a://b@c", url];
        let shown = command_line(args.map(Into::into).into_iter());
        assert_eq!(shown[..5], args[..5]);
        assert!(!shown[5].contains("s3c"), "{shown:?}");
        let target = Some("redis://app:s3cret@h:1/2?timeout=1s".parse().unwrap());
        let load = LoadArgs { target, ..LoadArgs::default() }.resolve().unwrap();
        let described = scenario(&load);
        assert_eq!(described["target"]["url"], "redis://app:***@h:1/2?timeout=1s");
    }
}
