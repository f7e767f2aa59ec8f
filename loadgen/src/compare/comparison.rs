//! Groups of runs, compared figure by figure. Pure: from documents to a [`Comparison`].

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::stats::{ENOUGH, Estimate, estimate, ratio};
use crate::recorder::Window;
use crate::report::document::Document;

/// The sections of a scenario that must be alike: they say what the target was asked for. So must the times of its
/// faults. Which target it was, and with how many threads, may differ.
const SECTIONS: [&str; 6] = ["arrivals", "keys", "mix", "values", "trace", "checks"];
/// The other options that must be alike.
const OPTIONS: [(&str, &str); 2] = [("run", "seconds"), ("run", "warm_up")];
/// Beside those: what must be alike within a group.
const OF_GROUP: [(&str, &str); 3] = [("target", "url"), ("target", "config"), ("run", "workers")];

/// Runs of the same configuration.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The runs; at least one.
    pub runs: Vec<Document>,
}

/// The comparison of several groups with the first one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// `standin-compare`.
    pub format: &'static str,
    /// The version of the JSON.
    pub version: u32,
    /// How intervals were computed.
    pub method: &'static str,
    /// Whether all runs had the same load.
    pub is_comparable: bool,
    /// The options that differ, in words.
    pub differences: Vec<String>,
    /// What else to know: other machines and versions, few repetitions, distorted runs.
    pub notes: Vec<String>,
    /// The groups.
    pub groups: Vec<GroupFacts>,
    /// The figures.
    pub rows: Vec<Row>,
}

/// A group in the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupFacts {
    /// Its name.
    pub name: String,
    /// The number of its runs.
    pub runs: usize,
    /// Its target.
    pub target: String,
}

/// A figure of all groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub figure: String,
    /// Its unit; empty: a number.
    pub unit: &'static str,
    /// The median of each group; `None`: its runs do not have it.
    pub medians: Vec<Option<Estimate>>,
    /// The ratio of each group's median to the first group's, from the second group on.
    pub ratios: Vec<Option<Estimate>>,
}

/// Compares groups.
#[must_use]
pub fn compare(groups: &[Group]) -> Comparison {
    let differences = differences(groups);
    Comparison {
        format: "standin-compare",
        version: 1,
        method: "medians; 95 % intervals by the percentile bootstrap (10,000 draws)",
        is_comparable: differences.is_empty(),
        differences,
        notes: notes(groups),
        groups: groups
            .iter()
            .map(|group| GroupFacts {
                name: group.name.clone(),
                runs: group.runs.len(),
                target: group.runs[0].target.name.clone(),
            })
            .collect(),
        rows: rows(groups),
    }
}

type Figure = (String, &'static str, Box<dyn Fn(&Document) -> Option<f64>>);

/// The figures that are compared.
fn figures(groups: &[Group]) -> Vec<Figure> {
    fn figure(
        name: &str,
        unit: &'static str,
        value: impl Fn(&Document) -> Option<f64> + 'static,
    ) -> Figure {
        (name.to_owned(), unit, Box::new(value))
    }
    let ms = |us: u64| Some(us as f64 / 1_000.0);
    let mut figures = vec![
        figure("answers", "/s", |run| Some(run.total.throughput_per_s)),
        figure("p50", "ms", move |run| ms(run.total.latency_us.p50)),
        figure("p90", "ms", move |run| ms(run.total.latency_us.p90)),
        figure("p99", "ms", move |run| ms(run.total.latency_us.p99)),
        figure("p99.9", "ms", move |run| ms(run.total.latency_us.p999)),
        figure("max", "ms", move |run| ms(run.total.latency_us.max)),
    ];
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let operations = runs().flat_map(|run| &run.operations).filter(|op| op.requests > 0);
    let names: BTreeSet<&str> = operations.map(|operation| operation.name.as_str()).collect();
    for name in names.iter().filter(|_| names.len() > 1) {
        for (label, of) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let wanted = (*name).to_owned();
            figures.push(figure(&format!("{name} {label}"), "ms", move |run| {
                let operation = run.operations.iter().find(|op| op.name == wanted)?;
                let latency = &operation.latency_us;
                let us = if of < 0.9 {
                    latency.p50
                } else if of < 0.995 {
                    latency.p99
                } else {
                    latency.p999
                };
                ms(us).filter(|_| operation.requests > 0)
            }));
        }
    }
    figures.push(figure("failed", "", |run| Some(run.total.failed as f64)));
    let begins = || runs().flat_map(|run| &run.events).filter(|event| !event.is_end);
    let faults: BTreeSet<&str> = begins().map(|event| event.name.as_str()).collect();
    for fault in faults {
        let name = fault.to_owned();
        figures.push(figure(&format!("failed after {fault}"), "", move |run| {
            Some(after(run, &name)?.failed as f64)
        }));
        let name = fault.to_owned();
        figures.push(figure(&format!("first good after {fault}"), "ms", move |run| {
            ms(after(run, &name)?.first_good_us?)
        }));
    }
    figures.extend([
        figure("stale and wrong", "", |run| {
            run.generator.is_checked.then_some((run.total.stale + run.total.wrong) as f64)
        }),
        figure("hit ratio", "%", |run| Some(run.total.hit_ratio * 100.0)),
        figure("database reads", "", |run| run.total.origin_reads.map(|reads| reads as f64)),
        figure("target's processor time", "µs/request", |run| {
            Some(run.target.usage.as_ref()?.cpu_us_per_request)
        }),
        figure("sent late, p99", "ms", move |run| ms(run.generator.lateness.p99_us)),
    ]);
    figures
}

/// The requests after the beginning of a fault.
fn after(run: &Document, fault: &str) -> Option<Window> {
    let mut events = run.events.iter();
    events.find(|event| event.name == fault && !event.is_end)?.after
}

fn rows(groups: &[Group]) -> Vec<Row> {
    let row = |(name, unit, value): Figure| {
        let values: Vec<Vec<f64>> =
            groups.iter().map(|group| group.runs.iter().filter_map(&value).collect()).collect();
        let medians: Vec<_> = values.iter().map(|values| estimate(values)).collect();
        let ratios = values[1..].iter().map(|other| ratio(&values[0], other)).collect();
        let has_any = medians.iter().any(Option::is_some);
        has_any.then_some(Row { figure: name, unit, medians, ratios })
    };
    figures(groups).into_iter().filter_map(row).collect()
}

/// The options by which runs differ in what they asked for.
fn differences(groups: &[Group]) -> Vec<String> {
    let first = &groups[0].runs[0];
    let mut found = Vec::new();
    for group in groups {
        for run in &group.runs {
            for section in SECTIONS {
                let keys = |run: &Document| {
                    let keys = run.scenario[section].as_object().into_iter().flatten();
                    keys.map(|(key, _)| key.clone()).collect::<BTreeSet<String>>()
                };
                for key in keys(first).union(&keys(run)) {
                    note_difference(&mut found, groups, (first, run), (section, key), &group.name);
                }
            }
            for option in OPTIONS {
                note_difference(&mut found, groups, (first, run), option, &group.name);
            }
            let (here, there) = (fault_times(first), fault_times(run));
            if here != there {
                found.push(format!(
                    "faults: {here} in {}, {there} in {}",
                    groups[0].name, group.name
                ));
            }
            for option in OF_GROUP {
                let pair = (&group.runs[0], run);
                note_difference(&mut found, groups, pair, option, &group.name);
            }
        }
    }
    found.dedup();
    found
}

/// When the faults of a run were to begin, and how long they were to last. Whom they concern depends on the target.
fn fault_times(run: &Document) -> String {
    let seconds = |time: &Value| {
        let part = |key, per_s: f64| time[key].as_f64().unwrap_or(0.0) / per_s;
        time.is_object().then(|| part("secs", 1.0) + part("nanos", 1e9))
    };
    let faults = run.scenario["script"]["faults"].as_array().into_iter().flatten();
    let times: Vec<String> = faults
        .map(|fault| {
            let lasts =
                seconds(&fault["lasts"]).map_or_else(String::new, |s| format!(" for {s} s"));
            format!("at {} s{lasts}", seconds(&fault["at"]).unwrap_or(0.0))
        })
        .collect();
    if times.is_empty() { "none".to_owned() } else { times.join(", ") }
}

fn note_difference(
    found: &mut Vec<String>,
    groups: &[Group],
    (first, run): (&Document, &Document),
    (section, key): (&str, &str),
    group: &str,
) {
    let value = |run: &Document| match &run.scenario[section][key] {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (here, there) = (value(first), value(run));
    if here == there {
        return;
    }
    let is_within = groups
        .iter()
        .any(|other| other.name == group && other.runs.iter().any(|one| std::ptr::eq(one, first)));
    let text = match is_within {
        true => format!("{section}.{key} differs within {group}: {here} and {there}"),
        false => format!("{section}.{key}: {here} in {}, {there} in {group}", groups[0].name),
    };
    if !found.contains(&text) {
        found.push(text);
    }
}

fn notes(groups: &[Group]) -> Vec<String> {
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let mut notes = Vec::new();
    let mut differ = |what: &str, value: &dyn Fn(&Document) -> String| {
        let values: BTreeSet<String> = runs().map(value).collect();
        if values.len() > 1 {
            let values = values.into_iter().collect::<Vec<_>>().join("; ");
            notes.push(format!("the runs have different {what}: {values}"));
        }
    };
    differ("hosts of the generator", &|run| run.environment.host.clone());
    differ("kernels", &|run| run.environment.machine.kernel.clone());
    differ("processors", &|run| run.environment.machine.processor.clone());
    differ("allowed processors", &|run| run.environment.cpus_allowed.clone());
    differ("versions of the generator", &|run| run.environment.standin.clone());
    differ("numbers of load threads", &|run| run.generator.workers.to_string());
    for group in groups {
        let count = group.runs.len();
        match count {
            1 => notes.push(format!(
                "{} is a single run: a difference may be chance; repeat it, and compare {ENOUGH} runs or more",
                group.name
            )),
            _ if count < ENOUGH => notes.push(format!(
                "{} has {count} runs: the intervals of so few are too narrow; compare {ENOUGH} runs or more",
                group.name
            )),
            _ => {}
        }
        let warned = group.runs.iter().filter(|run| !run.warnings.is_empty()).count();
        if warned > 0 {
            notes.push(format!(
                "in {warned} of the {count} runs of {} the generator distorted the result: {}",
                group.name,
                group.runs.iter().find_map(|run| run.warnings.first()).map_or("", String::as_str)
            ));
        }
    }
    notes
}
