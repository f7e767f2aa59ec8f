//! The timeline as CSV: a line for each interval. docs/LOAD.md describes the columns.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::LatencyUs;
use super::document::{Document, Interval};
use crate::recorder::{FailureKind, histogram};

/// Returns the text of the file.
#[must_use]
pub fn csv(document: &Document) -> String {
    let names: Vec<&str> = document.operations.iter().map(|op| op.name.as_str()).collect();
    let mut text = head(&names);
    for interval in &document.timeline {
        row(&mut text, document, &names, interval);
    }
    text
}

fn head(operations: &[&str]) -> String {
    let mut columns: Vec<String> =
        ["time", "t_s", "requests", "answers", "answers_per_s", "reads", "hits", "hit_ratio"]
            .map(str::to_owned)
            .to_vec();
    columns.extend(["stale", "wrong", "stand_in", "failed"].map(str::to_owned));
    columns.extend(FailureKind::ALL.iter().map(|kind| format!("failed_{}", kind.name())));
    columns.extend(["p50_us", "p99_us", "p999_us", "max_us"].map(str::to_owned));
    for name in operations {
        let of_operation = ["requests", "p50_us", "p99_us", "p999_us", "max_us"];
        columns.extend(of_operation.map(|column| format!("{name}_{column}")));
    }
    columns.join(",") + "\n"
}

fn row(text: &mut String, document: &Document, operations: &[&str], interval: &Interval) {
    let point = &interval.point;
    let time = document.started() + Duration::from_millis(point.t_ms);
    let time = humantime::format_rfc3339_millis(time);
    let seconds = point.t_ms as f64 / 1_000.0;
    let mut cell = |value: &dyn Display| {
        // Writing to a String can't fail.
        let _ = write!(text, "{value},");
    };
    cell(&time);
    cell(&format_args!("{seconds:.3}"));
    cell(&point.requests);
    cell(&point.answers);
    cell(&format_args!("{:.1}", point.throughput_per_s));
    cell(&point.reads);
    cell(&point.hits);
    cell(&format_args!("{:.4}", point.hit_ratio));
    [point.stale, point.wrong, point.stand_in, point.failed].iter().for_each(|count| cell(count));
    point.failures.iter().for_each(|count| cell(count));
    [point.p50_us, point.p99_us, point.p999_us, point.max_us].iter().for_each(|us| cell(us));
    for name in operations {
        let latency = interval.histograms.get(*name).map(|encoded| encoded.histogram());
        let latency = latency.unwrap_or_else(histogram);
        let LatencyUs { p50, p99, p999, max, .. } = LatencyUs::of(&latency);
        cell(&latency.len());
        [p50, p99, p999, max].iter().for_each(|us| cell(us));
    }
    text.pop();
    text.push('\n');
}
