//! The page of a run: everything in its [`Document`], for people, in one file.

use serde_json::Value;

use super::document::{Document, Operation};
use super::html::Page;
use super::plots::{Line, PlotError, database_load, latencies, over_time, percentiles};
use super::table::{millis, thousands};
use super::{CurvePoint, Figures, LatencyUs, Mark, figures::curve};
use crate::recorder::{FailureKind, TimelinePoint};

/// Returns the text of the page.
///
/// # Errors
/// [`PlotError`].
pub fn run_page(document: &Document) -> Result<String, PlotError> {
    let mut page = Page::new(&title(document));
    verdict(&mut page, document);
    expectations(&mut page, document);
    summary(&mut page, document);
    timeline(&mut page, document)?;
    page.heading("Percentiles");
    let curves: Vec<(&str, Vec<CurvePoint>)> =
        std::iter::once(("all", document.percentiles.clone()))
            .chain(
                there(&document.operations).map(|op| (&*op.name, curve(&op.histogram.histogram()))),
            )
            .collect();
    // Without the wait for a sender that was late.
    let sent = curve(&document.service.histogram.histogram());
    let curves =
        curves.iter().map(|(name, points)| (*name, points)).chain([("from sending", &sent)]);
    let curves: Vec<(&str, &[CurvePoint])> =
        curves.map(|(name, points)| (name, points.as_slice())).collect();
    page.drawing(&percentiles("Latency from the scheduled time", &curves)?);
    target(&mut page, document);
    configuration(&mut page, document);
    Ok(page.finish())
}

fn title(document: &Document) -> String {
    match &document.label {
        Some(label) => format!("Load: {label}"),
        None => format!("Load on {}", document.target.name),
    }
}

fn verdict(page: &mut Page, document: &Document) {
    let total = &document.total;
    let text = format!(
        "{} requests in {:.1} s, {} answers/s; failed {}, stale {}, wrong {}",
        thousands(total.requests),
        total.seconds,
        thousands(total.throughput_per_s.round() as u64),
        thousands(total.failed),
        thousands(total.stale),
        thousands(total.wrong)
    );
    page.paragraph(&text, Some(document.is_good));
    for warning in &document.warnings {
        page.paragraph(&format!("Warning: {warning}"), Some(false));
    }
    document.quotes.iter().for_each(|quote| page.paragraph(quote, Some(false)));
}

fn expectations(page: &mut Page, document: &Document) {
    if document.expectations.is_empty() {
        return;
    }
    page.heading("Expectations");
    let rows: Vec<_> = document.expectations.iter().map(|one| one.words().to_vec()).collect();
    page.table(&["", ""], &rows, true);
}

/// The operations that there were.
fn there(operations: &[Operation]) -> impl Iterator<Item = &Operation> {
    operations.iter().filter(|operation| operation.requests > 0)
}

fn latency_cells(latency: &LatencyUs) -> Vec<String> {
    let LatencyUs { p50, p90, p99, p999, max } = *latency;
    [p50, p90, p99, p999, max].map(millis).to_vec()
}

fn summary(page: &mut Page, document: &Document) {
    page.heading("Operations");
    let head = ["", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];
    let row = |name: &str, requests: u64, latency: &LatencyUs| {
        [vec![name.to_owned(), thousands(requests)], latency_cells(latency)].concat()
    };
    let total = &document.total;
    let mut rows: Vec<_> =
        there(&document.operations).map(|op| row(&op.name, op.requests, &op.latency_us)).collect();
    rows.push(row("all", total.requests, &total.latency_us));
    page.table(&head, &rows, false);
    if !document.phases.is_empty() {
        page.heading("Phases");
        let head = ["", "asked/s", "answers/s", "failed", "p50 ms", "p99 ms", "p99.9 ms", "max ms"];
        let row = |name: &str, asked: f64, figures: &Figures| {
            let LatencyUs { p50, p99, p999, max, .. } = figures.latency_us;
            let mut row = vec![
                name.to_owned(),
                thousands(asked.round() as u64),
                thousands(figures.throughput_per_s.round() as u64),
                thousands(figures.failed),
            ];
            row.extend([p50, p99, p999, max].map(millis));
            row
        };
        let phases = document.phases.iter();
        let rows: Vec<_> =
            phases.map(|phase| row(&phase.name, phase.asked_per_s, &phase.total)).collect();
        page.table(&head, &rows, false);
    }
    if total.failed > 0 {
        page.heading("Failures");
        let kinds = total.counts.failures_by_kind();
        let rows: Vec<_> =
            kinds.map(|(kind, count)| vec![kind.name().to_owned(), thousands(count)]).collect();
        page.table(&["kind", "requests"], &rows, false);
    }
}

fn timeline(page: &mut Page, document: &Document) -> Result<(), PlotError> {
    page.heading("Over time");
    let marks = marks(document);
    let length_s = document.interval().as_secs_f64();
    let points = document.timeline.iter().map(|interval| &interval.point);
    let line =
        |name: &str, value: &dyn Fn(&TimelinePoint) -> f64| Line::over(name, points.clone(), value);
    let per_s = |count: u64| count as f64 / length_s;
    let throughput = [
        line("answers", &|point| point.throughput_per_s),
        line("requests due", &|point| per_s(point.requests)),
    ];
    page.drawing(&over_time("Throughput", "per second", &throughput, &marks, false)?);
    page.drawing(&latencies(points.clone(), &marks)?);
    if document.total.failed > 0 {
        let kinds = document.total.counts.failures_by_kind();
        let lines = kinds.map(|(kind, _)| {
            let index = FailureKind::ALL.iter().position(|other| *other == kind).unwrap_or(0);
            line(kind.name(), &|point| per_s(point.failures[index]))
        });
        let lines: Vec<Line> = lines.collect();
        page.drawing(&over_time("Failures by kind", "per second", &lines, &marks, false)?);
    }
    if document.generator.is_checked {
        let lines = [
            line("stale", &|point| per_s(point.stale)),
            line("wrong", &|point| per_s(point.wrong)),
        ];
        page.drawing(&over_time("Stale and wrong reads", "per second", &lines, &marks, false)?);
    }
    let hits = [line("hits", &|point| point.hit_ratio * 100.0)];
    page.drawing(&over_time("Hit ratio", "percent of reads", &hits, &marks, false)?);
    if !document.origin.is_empty() {
        page.drawing(&database_load(&document.origin, &marks)?);
    }
    if !document.samples.is_empty() {
        let mut lines = vec![Line { name: "load generator".to_owned(), points: Vec::new() }];
        if document.target.usage.is_some() {
            lines.push(Line { name: "target".to_owned(), points: Vec::new() });
        }
        for sample in &document.samples {
            let values = [Some(sample.generator_cores), sample.target_cores];
            for (line, value) in lines.iter_mut().zip(values) {
                line.points.extend(value.map(|value| (sample.t_ms / 1_000.0, value)));
            }
        }
        page.drawing(&over_time("Processors kept busy", "processors", &lines, &marks, false)?);
    }
    Ok(())
}

/// The events of the run, and the beginnings of its phases.
fn marks(document: &Document) -> Vec<Mark> {
    let phases = document.phases.iter().filter(|phase| phase.begin_s > 0.0);
    let phases = phases.map(|phase| Mark { t_s: phase.begin_s, label: phase.name.clone() });
    let mut marks: Vec<Mark> = document.marks.iter().cloned().chain(phases).collect();
    marks.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    marks
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn target(page: &mut Page, document: &Document) {
    page.heading("Target and generator");
    let target = &document.target;
    let mut rows = vec![vec!["target".to_owned(), target.name.clone()]];
    if let Some(usage) = &target.usage {
        let text = format!(
            "{}: {:.2} s of processor time ({:.2} s in its own code, {:.2} s in the kernel), {:.1} µs for each \
             request; at most {} of memory",
            usage.processes.join(", "),
            usage.cpu_s,
            usage.user_s,
            usage.system_s,
            usage.cpu_us_per_request,
            mib(usage.resident_bytes_max)
        );
        rows.push(vec!["its processes".to_owned(), text]);
    }
    for server in &target.servers {
        let figures = server.figures.iter();
        let figures: Vec<_> =
            figures.map(|(name, value)| format!("{name} {}", thousands(*value))).collect();
        let version = server.version.as_deref().map(|version| format!("version {version}; "));
        let text = version.unwrap_or_default() + &figures.join(", ");
        rows.push(vec![format!("server {}", server.name), text]);
    }
    let generator = &document.generator;
    rows.push(vec![
        "load generator".to_owned(),
        format!(
            "{} threads, the busiest {:.0} % of the time; sent late by {} ms at p50, {} at p99, {} at most (part of the \
             latencies)",
            generator.workers,
            generator.busy * 100.0,
            millis(generator.lateness.p50_us),
            millis(generator.lateness.p99_us),
            millis(generator.lateness.max_us)
        ),
    ]);
    let (here, machine) = (&document.environment, &document.environment.machine);
    rows.push(vec![
        "its machine".to_owned(),
        format!(
            "{}: Linux {}, {}, {} processors (allowed {}), governor {}, {} MiB; Standin {}",
            here.host,
            machine.kernel,
            machine.processor,
            machine.cores,
            here.cpus_allowed,
            here.governor.as_deref().unwrap_or("none"),
            thousands(machine.memory_mib),
            here.standin
        ),
    ]);
    for part in &document.parts {
        let text = format!(
            "{} requests, failed {}, p50 {} ms, p99 {} ms; busy {:.0} %",
            thousands(part.requests),
            thousands(part.failed),
            millis(part.latency_us.p50),
            millis(part.latency_us.p99),
            part.busy * 100.0
        );
        rows.push(vec![format!("part from {}, {}", part.host, part.started), text]);
    }
    page.table(&["", ""], &rows, true);
}

fn configuration(page: &mut Page, document: &Document) {
    page.heading("Configuration");
    let mut rows = vec![
        vec!["started".to_owned(), document.started.clone()],
        vec!["command".to_owned(), document.command.join(" ")],
    ];
    for (section, keys) in document.scenario.as_object().into_iter().flatten() {
        rows.push(vec![section.clone(), words(keys)]);
    }
    rows.retain(|row| !row[1].is_empty());
    page.table(&["", ""], &rows, true);
}

/// A value in words, without what is not used.
fn words(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let used = entries.iter().filter(|(_, value)| !value.is_null());
            let used = used.map(|(key, value)| format!("{key} {}", words(value)));
            used.collect::<Vec<_>>().join(", ")
        }
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join("; "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
