//! The report as text for an operator, and as JSON. docs/DOCTOR.md describes both.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::report::{Finding, Report, Verdict};

/// The version of the JSON: it rises when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

/// Returns the report as text: what is wrong first, each with its reason and its remedy, and what is
/// good as a number. With `is_all`, everything has its line.
#[must_use]
pub fn table(report: &Report, is_all: bool) -> String {
    let mut text = format!("host {}\nfor  {}\n", report.host, report.judged_for);
    let is_in_full = |finding: &&Finding| finding.verdict <= Verdict::Advice;
    for finding in report.findings.iter().filter(is_in_full) {
        in_full(&mut text, finding);
    }
    let of = |verdict| report.findings.iter().filter(move |finding| finding.verdict == verdict);
    for verdict in [Verdict::Unread, Verdict::Absent, Verdict::Good] {
        if of(verdict).next().is_none() || (verdict == Verdict::Good && !is_all) {
            continue;
        }
        text.push('\n');
        if verdict == Verdict::Absent && !is_all {
            let names: Vec<String> = of(verdict).map(Finding::title).collect();
            wrapped(&mut text, "not on this host, and not judged: ", &names.join(", "));
            continue;
        }
        for finding in of(verdict) {
            let (name, title) = (verdict.name(), finding.title());
            let _ = writeln!(text, "{name:<8} {title:<34} {}", finding.found);
        }
    }
    let _ = writeln!(text, "\n{}", summary(report, is_all));
    text.truncate(text.trim_end().len());
    text
}

fn in_full(text: &mut String, finding: &Finding) {
    let (name, title) = (finding.verdict.name(), finding.title());
    let _ = writeln!(text, "\n{name:<8} {title}: {}", finding.found);
    for (label, what) in [
        ("wanted", finding.wanted.as_str()),
        ("why", finding.why),
        ("how", finding.how.as_str()),
        ("risk", finding.risk),
    ] {
        if !what.is_empty() && (label, what) != ("risk", "none") {
            let mark = match label == "how" && finding.verdict <= Verdict::Warning {
                true if !finding.changes.is_empty() => "   (--apply does it)",
                _ => "",
            };
            let _ = writeln!(text, "         {label:<7}{what}{mark}");
        }
    }
}

/// A list that is broken between its parts.
fn wrapped(text: &mut String, head: &str, list: &str) {
    const WIDTH: usize = 100;
    let mut column = 0;
    for word in head.split_inclusive(' ').chain(list.split_inclusive(", ")) {
        if column > 0 && column + word.trim_end().chars().count() > WIDTH {
            text.truncate(text.trim_end().len());
            text.push_str("\n  ");
            column = 2;
        }
        text.push_str(word);
        column += word.chars().count();
    }
    text.push('\n');
}

fn summary(report: &Report, is_all: bool) -> String {
    let count = |verdict| report.count(verdict);
    let mut parts = Vec::new();
    for (verdict, what) in [
        (Verdict::Serious, "serious"),
        (Verdict::Warning, if count(Verdict::Warning) == 1 { "warning" } else { "warnings" }),
        (Verdict::Advice, if count(Verdict::Advice) == 1 { "advice" } else { "pieces of advice" }),
        (Verdict::Unread, "could not be read"),
        (Verdict::Absent, "not on this host"),
        (Verdict::Good, "good"),
    ] {
        if count(verdict) > 0 || verdict == Verdict::Good {
            parts.push(format!("{} {what}", count(verdict)));
        }
    }
    let mut summary = parts.join(", ");
    if !is_all {
        summary += " (--all shows them)";
    }
    let changes = report.changes().len();
    if changes > 0 {
        let _ = write!(summary, "\n--apply would write {changes} of these settings");
    }
    summary
}

/// Returns the report as JSON.
#[must_use]
pub fn as_json(report: &Report) -> Value {
    let counts = Verdict::ALL
        .map(|verdict| (verdict.name().to_lowercase(), Value::from(report.count(verdict))));
    json!({
        "schema": SCHEMA,
        "host": report.host,
        "judged_for": report.judged_for,
        "exit_code": report.exit_code(),
        "counts": Value::Object(counts.into_iter().collect()),
        "findings": report.findings,
    })
}
