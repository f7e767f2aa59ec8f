//! Several runs as one: the counts are added, and so are the histograms, so that the percentiles are those of all
//! requests. Averages of percentiles would be of none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::document::{
    Document, Generator, Interval, Lateness, Operation, Part, Phase, Sample, TargetUsage, Thread,
};
use super::{Figures, figures::curve};
use crate::recorder::{Counts, Encoded, QUOTES_MAX, add, histogram};

/// Runs that can't be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// No run.
    #[error("there is nothing to merge; name two files or more")]
    Nothing,
    /// The timelines have other steps.
    #[error(
        "the runs have intervals of {0} ms and {1} ms, and an interval can't be divided; merge runs with the same \
         --interval"
    )]
    Intervals(u64, u64),
}

/// Merges runs that ran at the same time; their timelines are laid over each other.
///
/// # Errors
/// [`MergeError`].
pub fn merge(documents: &[Document]) -> Result<Document, MergeError> {
    let first = documents.first().ok_or(MergeError::Nothing)?;
    let mut others = documents.iter();
    if let Some(other) = others.find(|other| other.interval_ms != first.interval_ms) {
        return Err(MergeError::Intervals(first.interval_ms, other.interval_ms));
    }
    let operations = operations(documents.iter().map(|document| &document.operations));
    let mut latency = histogram();
    operations.iter().for_each(|operation| add(&mut latency, &operation.histogram.histogram()));
    let total = figures(documents.iter().map(|document| &document.total), &latency);
    let total = Figures { origin_reads: origin_reads(documents), ..total };
    let started = documents.iter().map(|document| &document.started).min();
    let quotes = documents.iter().flat_map(|document| document.quotes.iter().cloned());
    let mut marks: Vec<_> = documents.iter().flat_map(|document| document.marks.clone()).collect();
    marks.sort_by(|a, b| a.t_s.total_cmp(&b.t_s).then_with(|| a.label.cmp(&b.label)));
    marks.dedup();
    let mut target = first.target.clone();
    target.usage = usage(documents, total.requests);
    Ok(Document {
        label: first
            .label
            .clone()
            .filter(|_| documents.iter().all(|document| document.label == first.label)),
        is_good: documents.iter().all(|document| document.is_good),
        started: started.unwrap_or(&first.started).clone(),
        target,
        scenario: scenario(documents),
        percentiles: curve(&latency),
        operations,
        service: service(documents.iter().map(|document| &document.service)),
        phases: phases(documents),
        generator: generator(documents),
        warnings: warnings(documents),
        quotes: quotes.take(QUOTES_MAX).collect(),
        timeline: timeline(documents),
        samples: samples(documents),
        origin: documents
            .iter()
            .map(|document| &document.origin)
            .max_by_key(|origin| origin.len())
            .cloned()
            .unwrap_or_default(),
        marks,
        parts: documents.iter().flat_map(parts).collect(),
        total,
        ..first.clone()
    })
}

/// The run as a part, or its own parts.
fn parts(document: &Document) -> Vec<Part> {
    if !document.parts.is_empty() {
        return document.parts.clone();
    }
    vec![Part {
        host: document.environment.host.clone(),
        started: document.started.clone(),
        requests: document.total.requests,
        failed: document.total.failed,
        latency_us: document.total.latency_us,
        busy: document.generator.busy,
        agent: None,
        clock: None,
    }]
}

/// A cluster counts all fetches from its database, for whomever they are, so each of its runs has them all. A run that asks a
/// database itself counts its own.
fn origin_reads(documents: &[Document]) -> Option<u64> {
    let reads = |is_standin: bool| {
        let all = documents.iter().filter(move |document| document.target.is_standin == is_standin);
        all.filter_map(|document| document.total.origin_reads)
    };
    reads(true).max().into_iter().chain(reads(false)).reduce(u64::saturating_add)
}

/// The longest run gives the time. Fetches from a database are not known of phases.
fn figures<'d>(
    all: impl Iterator<Item = &'d Figures> + Clone,
    latency: &hdrhistogram::Histogram<u64>,
) -> Figures {
    let mut counts = Counts::default();
    all.clone().for_each(|figures| counts.merge(&figures.counts));
    let seconds = all.map(|figures| figures.seconds).fold(0.0, f64::max);
    Figures::new(counts, latency, seconds, None)
}

/// In the order in which they are first named.
fn operations<'d>(all: impl Iterator<Item = &'d Vec<Operation>>) -> Vec<Operation> {
    let mut merged: Vec<(String, hdrhistogram::Histogram<u64>)> = Vec::new();
    for operation in all.flatten() {
        let theirs = operation.histogram.histogram();
        match merged.iter_mut().find(|(name, _)| *name == operation.name) {
            Some((_, sum)) => add(sum, &theirs),
            None => merged.push((operation.name.clone(), theirs)),
        }
    }
    merged.iter().map(|(name, latency)| Operation::new(name, latency)).collect()
}

/// The times from sending to the answer.
fn service<'d>(all: impl Iterator<Item = &'d Operation> + Clone) -> Operation {
    let mut sum = histogram();
    let name = all.clone().next().map_or("", |one| one.name.as_str());
    all.for_each(|one| add(&mut sum, &one.histogram.histogram()));
    Operation::new(name, &sum)
}

/// Those of the first run, if all have the same.
fn phases(documents: &[Document]) -> Vec<Phase> {
    let names = |document: &Document| {
        document.phases.iter().map(|phase| phase.name.clone()).collect::<Vec<_>>()
    };
    let Some(first) = documents.first() else { return Vec::new() };
    if documents.iter().any(|document| names(document) != names(first)) {
        return Vec::new();
    }
    let merged = first.phases.iter().enumerate().map(|(index, phase)| {
        let all = || documents.iter().map(move |document| &document.phases[index]);
        let operations = operations(all().map(|phase| &phase.operations));
        let mut latency = histogram();
        operations.iter().for_each(|op| add(&mut latency, &op.histogram.histogram()));
        Phase {
            asked_per_s: all().map(|phase| phase.asked_per_s).sum(),
            total: figures(all().map(|phase| &phase.total), &latency),
            service: service(all().map(|phase| &phase.service)),
            operations,
            ..phase.clone()
        }
    });
    merged.collect()
}

fn generator(documents: &[Document]) -> Generator {
    let all = || documents.iter().map(|document| &document.generator);
    let mut late = histogram();
    all().for_each(|generator| add(&mut late, &generator.lateness.histogram.histogram()));
    // Numbered through.
    let mut first = 0;
    let mut threads = Vec::new();
    for generator in all() {
        let own = generator.threads.iter();
        threads.extend(own.map(|thread| Thread { worker: first + thread.worker, ..*thread }));
        first += generator.workers;
    }
    let limits = documents.iter().flat_map(|document| {
        let host = &document.environment.host;
        document.generator.limits.iter().map(move |limit| format!("{host}: {limit}"))
    });
    Generator {
        workers: first,
        cpu_s: all().map(|generator| generator.cpu_s).sum(),
        busy: all().map(|generator| generator.busy).fold(0.0, f64::max),
        threads,
        limits: limits.collect(),
        // A closed loop among them has no rate.
        asked_per_s: all().map(|generator| generator.asked_per_s).sum(),
        is_checked: all().all(|generator| generator.is_checked),
        lateness: Lateness::of(&late),
    }
}

fn timeline(documents: &[Document]) -> Vec<Interval> {
    let mut merged: BTreeMap<u64, Interval> = BTreeMap::new();
    for interval in documents.iter().flat_map(|document| &document.timeline) {
        let Some(ours) = merged.get_mut(&interval.point.t_ms) else {
            merged.insert(interval.point.t_ms, interval.clone());
            continue;
        };
        ours.point.add_counts(&interval.point);
        for (name, theirs) in &interval.histograms {
            let mut sum = theirs.histogram();
            if let Some(ours) = ours.histograms.get(name) {
                add(&mut sum, &ours.histogram());
            }
            ours.histograms.insert(name.clone(), Encoded::new(&sum));
        }
    }
    let length = documents[0].interval();
    let mut timeline: Vec<Interval> = merged.into_values().collect();
    for interval in &mut timeline {
        let latency: Vec<_> = interval.histograms.values().map(Encoded::histogram).collect();
        interval.point = interval.point.derived(length, &latency);
    }
    timeline
}

/// Whether a run has watched the same processes as one before it.
fn is_watched_before(documents: &[Document], index: usize) -> bool {
    let watched = |document: &Document| {
        let processes = document.target.usage.as_ref().map(|usage| usage.processes.clone());
        (document.environment.host.clone(), processes)
    };
    documents[..index].iter().any(|other| watched(other) == watched(&documents[index]))
}

fn usage(documents: &[Document], requests: u64) -> Option<TargetUsage> {
    let mut sum: Option<TargetUsage> = None;
    for (index, document) in documents.iter().enumerate() {
        // That run has not watched the target.
        let Some(usage) = &document.target.usage else { continue };
        if is_watched_before(documents, index) {
            continue;
        }
        match &mut sum {
            None => sum = Some(usage.clone()),
            Some(sum) => {
                sum.processes.extend(usage.processes.iter().cloned());
                sum.cpu_s += usage.cpu_s;
                sum.user_s += usage.user_s;
                sum.system_s += usage.system_s;
                sum.resident_bytes_max += usage.resident_bytes_max;
            }
        }
    }
    sum.map(|usage| TargetUsage {
        cpu_us_per_request: usage.cpu_s * 1e6 / requests.max(1) as f64,
        ..usage
    })
}

/// The generators are added, and so are target's processes that only one of the runs has watched.
fn samples(documents: &[Document]) -> Vec<Sample> {
    let mut merged: Vec<Sample> = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let is_again = is_watched_before(documents, index);
        for (number, sample) in document.samples.iter().enumerate() {
            let Some(ours) = merged.get_mut(number) else {
                merged.push(*sample);
                continue;
            };
            ours.generator_cores += sample.generator_cores;
            if !is_again {
                ours.target_cores = match (ours.target_cores, sample.target_cores) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
                ours.resident_bytes = match (ours.resident_bytes, sample.resident_bytes) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
            }
        }
    }
    merged
}

/// The options of the first run, with the rate and the threads of all of them.
fn scenario(documents: &[Document]) -> Value {
    let mut scenario = documents[0].scenario.clone();
    for (section, key) in [("arrivals", "rate"), ("run", "workers")] {
        let each = documents.iter().map(|document| document.scenario[section][key].as_u64());
        if let Some(sum) = each.sum::<Option<u64>>() {
            scenario[section][key] = json!(sum);
        }
    }
    scenario
}

/// Their own, each with its host, and one if they have not run at the same time.
fn warnings(documents: &[Document]) -> Vec<String> {
    let own = documents.iter().flat_map(|document| {
        let host = &document.environment.host;
        document.warnings.iter().map(move |warning| format!("{host}: {warning}"))
    });
    let mut warnings: Vec<String> = own.collect();
    let begins = || documents.iter().map(Document::started);
    if let (Some(first), Some(last)) = (begins().min(), begins().max())
        && let Ok(apart) = last.duration_since(first)
        && apart.as_secs() >= 1
    {
        warnings.push(format!(
            "the runs began up to {:.1} s apart, by the clocks of their machines; the timeline lays one over the other",
            apart.as_secs_f64()
        ));
    }
    let names: std::collections::BTreeSet<_> =
        documents.iter().map(|document| document.target.name.as_str()).collect();
    if names.len() > 1 {
        let names = names.into_iter().collect::<Vec<_>>().join("; ");
        warnings.push(format!("the runs have different targets: {names}"));
    }
    warnings
}
