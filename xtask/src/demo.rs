//! One run of `cargo run --release -- demo`, and the figures of its JSON report.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::process;
use crate::report::Failed;
use crate::workspace::{Workspace, items};

/// The time that the demo needs in addition to its length: start, fill, report, end.
const GRACE: Duration = Duration::from_secs(90);

/// The options of a run.
#[derive(Debug)]
pub(crate) struct Demo {
    /// The name of its folder below `target/xtask`.
    pub(crate) name: String,
    pub(crate) seconds: u32,
    pub(crate) seed: Option<u32>,
    /// The URL of a PostgreSQL database; `None`: SQLite.
    pub(crate) origin: Option<String>,
    /// Whether there is no database.
    pub(crate) is_cache: bool,
}

impl Demo {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), seconds: 12, seed: None, origin: None, is_cache: false }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) figures: Result<Figures, String>,
}

/// The report's figures that are checked or shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) stale: u64,
    pub(crate) hit_ratio: f64,
    pub(crate) origin_reads: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) detect_ms: f64,
    pub(crate) announce_ms: f64,
    pub(crate) return_ms: f64,
}

impl Figures {
    /// Whether there were requests, and none of them failed or was stale.
    pub(crate) fn is_clean(&self) -> bool {
        self.requests > 0 && self.failed == 0 && self.stale == 0
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, failed, stale, detect_ms, announce_ms, return_ms, .. } = self;
        write!(
            f,
            "{requests} requests, {failed} failed, {stale} stale; detected in {detect_ms} ms, \
             announced in {announce_ms} ms, back in {return_ms} ms"
        )
    }
}

/// Runs the demo in its own folder.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn run(workspace: &Workspace, demo: &Demo) -> Result<Run, Failed> {
    let folder = workspace.logs().join(&demo.name);
    let fresh = std::fs::remove_dir_all(&folder)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| std::fs::create_dir_all(&folder));
    if let Err(error) = fresh {
        return Err(Failed::of_file(&folder, &error));
    }
    let json = folder.join("report.json");
    let mut command = workspace.cargo(&["run", "--release", "--quiet", "--", "demo"]);
    // It writes its files to the folder in which it is started. The command is the README's.
    command.current_dir(&folder);
    command.arg("--seconds").arg(demo.seconds.to_string()).arg("--json").arg(&json);
    if let Some(seed) = demo.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if let Some(origin) = &demo.origin {
        command.arg("--origin").arg(origin);
    }
    if demo.is_cache {
        command.arg("--cache");
    }
    let limit = GRACE + Duration::from_secs(u64::from(demo.seconds));
    let finished = process::run_step(&mut command, &folder.join("output.log"), limit)?;
    Ok(Run {
        success: finished.success,
        code: finished.code,
        output: finished.output,
        figures: read(&json),
    })
}

fn read(path: &Path) -> Result<Figures, String> {
    let text =
        std::fs::read(path).map_err(|error| format!("no report {}: {error}", path.display()))?;
    let report = serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not JSON: {error}", path.display()))?;
    figures(&report)
}

/// Reads all figures of the report. The error names the first missing field.
fn figures(report: &Value) -> Result<Figures, String> {
    let phases = items(&report["phases"]);
    if phases.is_empty() {
        return Err("the report has no phases".to_owned());
    }
    for phase in phases {
        if !phase["name"].is_string() {
            return Err("a phase of the report has no name".to_owned());
        }
        common(phase)?;
    }
    let events = items(&report["events"]);
    let is_event = |event: &Value| event["t_ms"].is_number() && event["kind"].is_string();
    if events.is_empty() || !events.iter().all(is_event) {
        return Err("the report has no events, or one without t_ms or kind".to_owned());
    }
    Ok(Figures {
        detect_ms: number(report, "detect_ms")?,
        announce_ms: number(report, "announce_ms")?,
        return_ms: number(report, "return_ms")?,
        ..common(report)?
    })
}

/// Reads the figures that the whole run and each phase have.
fn common(part: &Value) -> Result<Figures, String> {
    let latency = &part["latency_us"];
    Ok(Figures {
        requests: count(part, "requests")?,
        failed: count(part, "failed")?,
        stale: count(part, "stale")?,
        hit_ratio: number(part, "hit_ratio")?,
        origin_reads: count(part, "origin_reads")?,
        p50_us: number(latency, "p50")?,
        p99_us: number(latency, "p99")?,
        p999_us: number(latency, "p999")?,
        max_us: number(latency, "max")?,
        detect_ms: 0.0,
        announce_ms: 0.0,
        return_ms: 0.0,
    })
}

fn number(part: &Value, field: &str) -> Result<f64, String> {
    part[field].as_f64().ok_or_else(|| format!("the report's {field} is {}", part[field]))
}

fn count(part: &Value, field: &str) -> Result<u64, String> {
    part[field].as_u64().ok_or_else(|| format!("the report's {field} is {}", part[field]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let latency = json!({"p50": 80, "p99": 900, "p999": 2000, "max": 210_000});
        let part = json!({
            "name": "before", "requests": 10, "failed": 0, "stale": 0, "hit_ratio": 0.9,
            "origin_reads": 1, "latency_us": latency,
        });
        let mut report = part.clone();
        report["phases"] = json!([part]);
        report["events"] = json!([{"t_ms": 4000, "kind": "killed", "server": "a1"}]);
        for (field, value) in [("detect_ms", 210), ("announce_ms", 400), ("return_ms", 900)] {
            report[field] = json!(value);
        }
        report
    }

    #[test]
    fn reads_a_report() {
        let figures = figures(&report()).unwrap();
        assert!(figures.is_clean());
        assert_eq!(figures.requests, 10);
        assert!((figures.p999_us - 2000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_failed_request_is_not_clean() {
        let mut report = report();
        report["failed"] = json!(1);
        assert!(!figures(&report).unwrap().is_clean());
    }

    #[test]
    fn every_field_is_missed() {
        for field in ["requests", "stale", "latency_us", "phases", "events", "return_ms"] {
            let mut report = report();
            report[field] = Value::Null;
            assert!(figures(&report).is_err(), "{field}");
        }
    }
}
