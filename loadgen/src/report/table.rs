//! Tables for a terminal of 80 to 100 columns.

use std::fmt::Write as _;

use super::{Figures, LatencyUs, PhaseFigures};

/// The width of the names of phases, unless one is longer.
const NAME_WIDTH: usize = 12;

/// One row per phase, and one for all of them. Latencies in milliseconds.
#[must_use]
pub fn phases(phases: &[PhaseFigures], total: &Figures) -> String {
    let names = phases.iter().map(|phase| phase.name.chars().count());
    let width = names.max().unwrap_or(0).max(NAME_WIDTH) + 1;
    let mut table = format!(
        "{:<width$}{:>10}{:>7}{:>6}{:>9}{:>8}{:>8}{:>8}{:>9}{:>7}{:>9}\n",
        "", "requests", "failed", "stale", "req/s", "p50", "p99", "p99.9", "max", "hits", "origin"
    );
    let _ = writeln!(
        table,
        "{:<width$}{:>10}{:>7}{:>6}{:>9}{:>8}{:>8}{:>8}{:>9}{:>7}{:>9}",
        "", "", "", "", "", "ms", "ms", "ms", "ms", "%", "reads"
    );
    for phase in phases {
        row(&mut table, width, &phase.name, &phase.figures);
    }
    row(&mut table, width, "all", total);
    table
}

fn row(table: &mut String, width: usize, name: &str, figures: &Figures) {
    let [requests, failed, stale, rate, p50, p99, p999, max, hits, origin] = cells(figures);
    // Writing to a String can't fail.
    let _ = writeln!(
        table,
        "{name:<width$}{requests:>10}{failed:>7}{stale:>6}{rate:>9}{p50:>8}{p99:>8}{p999:>8}{max:>9}\
         {hits:>7}{origin:>9}"
    );
}

/// The figures of a row: requests, failed and stale ones, requests per second, latencies in
/// milliseconds (p50, p99, p99.9, maximum), hits in percent, reads of the origin.
pub(crate) fn cells(figures: &Figures) -> [String; 10] {
    let latency = &figures.latency_us;
    [
        thousands(figures.requests),
        thousands(figures.failed),
        thousands(figures.stale + figures.wrong),
        thousands(figures.throughput_per_s.round() as u64),
        millis(latency.p50),
        millis(latency.p99),
        millis(latency.p999),
        millis(latency.max),
        format!("{:.1}", figures.hit_ratio * 100.0),
        figures.origin_reads.map_or_else(|| "–".to_owned(), thousands),
    ]
}

/// One row per operation: how many, and how long they took, in milliseconds.
#[must_use]
pub fn operations(rows: &[(&str, u64, LatencyUs)]) -> String {
    let mut table = format!(
        "{:<10}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "", "requests", "p50 ms", "p90", "p99", "p99.9", "max"
    );
    for (name, requests, latency) in rows {
        let LatencyUs { p50, p90, p99, p999, max } = *latency;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(millis);
        let requests = thousands(*requests);
        let _ =
            writeln!(table, "{name:<10}{requests:>13}{p50:>9}{p90:>9}{p99:>9}{p999:>9}{max:>9}");
    }
    table
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as milliseconds with three significant digits or so.
#[must_use]
pub fn millis(us: u64) -> String {
    let ms = us as f64 / 1_000.0;
    match us {
        0..10_000 => format!("{ms:.2}"),
        10_000..100_000 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Counts, histogram};

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(12_345_678), "12,345,678");
        assert_eq!(millis(1_234), "1.23");
        assert_eq!(millis(12_345), "12.3");
        assert_eq!(millis(1_234_567), "1235");
    }

    #[test]
    fn rows_fit_the_terminal() {
        let counts = Counts { requests: 12_345_678, ..Counts::default() };
        let figures = Figures::new(counts, &histogram(), 100.0, Some(1_234_567));
        let phase = PhaseFigures {
            name: "after return".to_owned(),
            figures: figures.clone(),
            operations: Vec::new(),
            percentiles: Vec::new(),
        };
        let table = phases(&[phase], &figures);
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        assert_eq!(table.lines().count(), 4);
    }
}
