//! The report's files: HTML, JSON, HDR log.

use super::outcome::{DemoReport, ReportFiles};
use super::script::Played;
use super::{DemoArgs, DemoError};
use crate::folder;
use crate::recorder::{TimelinePoint, wall_time};
use crate::report::files::Files;
use crate::report::html::Page;
use crate::report::plots::{Line, database_load, latencies, over_time, percentiles};
use crate::report::table::{cells, millis, thousands};
use crate::report::{Figures, Mark};

/// Makes the folder of the files, and notes in the report where they are.
pub(super) fn place(report: &mut DemoReport, args: &DemoArgs) -> Result<(), DemoError> {
    let folder = folder::for_report(args.report.as_ref())
        .map_err(DemoError::system("the folder for the report"))?;
    report.files = ReportFiles {
        html: folder.join("report.html"),
        json: folder.join("report.json"),
        hdr_log: folder.join("latency.hlog"),
    };
    Ok(())
}

/// Writes as many of the files as there is room for.
pub(super) fn write(
    report: &DemoReport,
    played: &Played,
    args: &DemoArgs,
) -> Result<(), DemoError> {
    let mut files = Files::default();
    let ReportFiles { html, json, hdr_log } = &report.files;
    let comment = format!("[standin demo, seed {}]", report.parameters.seed);
    let started = wall_time(played.recording.start);
    files.save_hdr_log(hdr_log, &played.recording, started, &comment);
    files.save(html, Ok(page(report)?));
    files.save_json(json, report);
    if let Some(path) = &args.json {
        files.save_json(path, report);
    }
    Ok(files.finish()?)
}

fn page(report: &DemoReport) -> Result<String, DemoError> {
    let mut page = Page::new("Standin demo: a cluster that loses a server");
    page.paragraph(&report.verdict(), Some(report.is_good()));
    report.problems.iter().for_each(|problem| page.paragraph(problem, Some(false)));
    phase_table(&mut page, report);
    event_table(&mut page, report);

    page.heading("Over time");
    let marks = marks(report);
    let points = report.timeline.iter();
    let line =
        |name: &str, value: fn(&TimelinePoint) -> f64| Line::over(name, points.clone(), value);
    let requests = [
        line("answers/s", |point| point.throughput_per_s),
        line("failed in the slot", |point| point.failed as f64),
    ];
    page.drawing(&over_time("Answers and failures", "per second", &requests, &marks, false)?);
    page.drawing(&latencies(points.clone(), &marks)?);
    page.drawing(&database_load(&report.origin_timeline, &marks)?);

    page.heading("Percentiles by phase");
    let curves: Vec<_> = report
        .phases
        .iter()
        .map(|phase| (phase.name.as_str(), phase.percentiles.as_slice()))
        .collect();
    page.drawing(&percentiles("Latency from the scheduled time", &curves)?);
    facts(&mut page, report);
    Ok(page.finish())
}

fn marks(report: &DemoReport) -> Vec<Mark> {
    let events = report.events.iter();
    events.map(|e| Mark { t_s: e.t_ms / 1_000.0, label: e.kind.words().to_owned() }).collect()
}

fn phase_table(page: &mut Page, report: &DemoReport) {
    page.heading("Phases");
    let head = [
        "phase",
        "requests",
        "failed",
        "stale",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "hits %",
        "origin reads",
        "by stand-ins",
        "sent again",
    ];
    let row = |name: &str, figures: &Figures| {
        let counts = [figures.counts.stand_in, figures.counts.resent].map(thousands);
        [&[name.to_owned()][..], &cells(figures), &counts].concat()
    };
    let mut rows: Vec<Vec<String>> =
        report.phases.iter().map(|phase| row(&phase.name, &phase.figures)).collect();
    rows.push(row("all", &report.total));
    page.table(&head, &rows, false);
    let operations = report.phases.iter().flat_map(|phase| {
        phase.operations.iter().map(|operation| {
            let latency = &operation.latency_us;
            let name = format!("{}, {}s", phase.name, operation.name);
            let times = [latency.p50, latency.p99, latency.p999, latency.max].map(millis);
            [vec![name, thousands(operation.requests)], times.to_vec()].concat()
        })
    });
    let rows: Vec<Vec<String>> = operations.collect();
    page.heading("Reads and writes");
    page.table(&["", "requests", "p50 ms", "p99 ms", "p99.9 ms", "max ms"], &rows, false);
    report.quotes.iter().for_each(|quote| page.paragraph(quote, Some(false)));
}

fn event_table(page: &mut Page, report: &DemoReport) {
    page.heading("Events");
    let rows: Vec<Vec<String>> = report
        .events
        .iter()
        .map(|event| {
            let seconds = format!("{:.3} s", event.t_ms / 1_000.0);
            let words = event.kind.words().to_owned();
            vec![seconds, words, event.server.clone(), event.text.clone()]
        })
        .collect();
    page.table(&["time", "event", "server", ""], &rows, true);
    let ms = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"));
    let rows = [
        ("kill → verified offline by the master", report.detect_ms),
        ("kill → first answer of a stand-in", report.stand_in_ms),
        ("kill → acknowledged by all other servers", report.announce_ms),
        ("restart → announced online", report.return_ms),
    ];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(what, time)| vec![(*what).to_owned(), ms(*time)]).collect();
    page.table(&["from → to", "took"], &rows, true);
}

fn facts(page: &mut Page, report: &DemoReport) {
    page.heading("How it was measured");
    let (parameters, machine) = (&report.parameters, &report.machine);
    let rows = [
        (
            "load",
            format!(
                "{} requests/s for {} s on a fixed schedule, {} load threads",
                thousands(parameters.rate_per_s.into()),
                parameters.seconds,
                parameters.workers
            ),
        ),
        (
            "workload",
            format!(
                "{} % reads, Zipf {} over {} keys, {}-byte values",
                parameters.reads_percent,
                parameters.zipf_exponent,
                thousands(parameters.rows.into()),
                parameters.value_bytes
            ),
        ),
        ("seed", parameters.seed.to_string()),
        ("database", parameters.origin.to_owned()),
        ("cluster", format!("{} failover groups of 2 servers, 1 shard each", parameters.groups)),
        (
            "machine",
            format!(
                "{} cores, {}, {} MiB, Linux {}",
                machine.cores,
                machine.processor,
                thousands(machine.memory_mib),
                machine.kernel
            ),
        ),
        ("latency", "from the time a request was due to its answer or final failure".to_owned()),
        ("sent late by the generator", format!("{} ms at p99", millis(report.lateness_p99_us))),
        ("stale", "older than a write of the key acknowledged before the read was sent".to_owned()),
        (
            "hit ratio after the warm-up",
            format!(
                "{:.1} % in its last half second ({:.1} % over all of it, which begins with empty caches)",
                report.warm_hit_ratio * 100.0,
                report.warm_up.hit_ratio * 100.0
            ),
        ),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    page.table(&["", ""], &rows, true);
}
