//! What the runs of one scenario on several systems say of each, as a table. Pure: from the results of `standin load`.

use standin_loadgen::report::document::Document;
use standin_loadgen::report::events::Event;

use crate::report::{Spread, markdown_head, markdown_row};

const HEAD: [&str; 12] = [
    "system",
    "runs",
    "failed",
    "killed: failed until the return",
    "first good answer",
    "last bad answer",
    "paused: failed until the return",
    "first good answer",
    "last bad answer",
    "stale reads",
    "oldest",
    "reads that no cache answered, per s: before → most",
];

/// The names of the faults in the scenarios.
const FAULTS: [&str; 2] = ["kill", "pause"];

/// The figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// What each of [`FAULTS`] did.
    faults: [Outage; 2],
    failed: f64,
    stale: f64,
    /// Seconds.
    stale_oldest_s: f64,
    misses_before_per_s: f64,
    misses_most_per_s: f64,
}

/// The requests from the beginning of a fault to its end. Times are in seconds since the beginning.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Outage {
    failed: f64,
    first_good_s: f64,
    last_bad_s: f64,
}

impl Figures {
    /// Takes the figures from the results of a run.
    ///
    /// # Errors
    /// It is not a run of these scenarios.
    pub fn of(run: &Document) -> Result<Self, String> {
        let event = |name: &str| {
            let mut events = run.events.iter();
            let found = events.find(|event| event.name == name && !event.is_end);
            found.ok_or_else(|| format!("the run has no fault named {name:?}"))
        };
        let [kill, pause] = FAULTS.map(event);
        let (kill, pause) = (kill?, pause?);
        let struck_s = kill.done_s.unwrap_or(kill.asked_s);
        // Seconds of the timeline: reads that were answered, but not from a cache.
        let length_s = run.interval_ms as f64 / 1_000.0;
        let misses = run.timeline.iter().map(|interval| {
            let point = &interval.point;
            (point.t_ms as f64 / 1_000.0, (point.reads - point.hits) as f64 / length_s)
        });
        let (before, after): (Vec<_>, Vec<_>) =
            misses.partition(|(begin_s, _)| begin_s + length_s <= struck_s);
        let sum: f64 = before.iter().map(|(_, per_s)| per_s).sum();
        Ok(Self {
            faults: [Outage::of(kill)?, Outage::of(pause)?],
            failed: run.total.failed as f64,
            stale: run.total.stale as f64,
            stale_oldest_s: run.total.counts.stale_age_us_max as f64 / 1e6,
            misses_before_per_s: sum / before.len().max(1) as f64,
            misses_most_per_s: after.iter().map(|(_, per_s)| *per_s).fold(0.0, f64::max),
        })
    }

    /// How bad the run was, for the choice of the one in the middle.
    #[must_use]
    pub fn bad(&self) -> f64 {
        self.stale + self.failed
    }
}

impl Outage {
    fn of(event: &Event) -> Result<Self, String> {
        let after = event.after.ok_or_else(|| format!("{} has no figures", event.name))?;
        let seconds = |us: Option<u64>| us.unwrap_or(0) as f64 / 1e6;
        Ok(Self {
            failed: after.failed as f64,
            first_good_s: seconds(after.first_good_us),
            last_bad_s: seconds(after.last_bad_us),
        })
    }
}

/// The head of the table, in Markdown.
#[must_use]
pub fn head() -> String {
    markdown_head(&HEAD)
}

/// The row of a system: medians of its runs, with the smallest and the largest.
#[must_use]
pub fn line(system: &str, runs: &[Figures]) -> String {
    let spread = |unit: &str, digits: usize, of: &dyn Fn(&Figures) -> f64| {
        let Spread { median, min, max } = Spread::of(runs.iter().map(of));
        match min == max {
            true => format!("{median:.digits$}{unit}"),
            false => format!("{median:.digits$}{unit} ({min:.digits$}–{max:.digits$})"),
        }
    };
    let failed = spread("", 0, &|run| run.failed);
    let mut cells = vec![system.to_owned(), runs.len().to_string(), failed];
    for fault in 0..FAULTS.len() {
        let is_clean = runs.iter().all(|run| run.faults[fault].last_bad_s == 0.0);
        cells.push(spread("", 0, &|run| run.faults[fault].failed));
        for of in [|outage: &Outage| outage.first_good_s, |outage: &Outage| outage.last_bad_s] {
            cells.push(match is_clean {
                true => "–".to_owned(),
                false => spread(" s", 2, &|run| of(&run.faults[fault])),
            });
        }
    }
    cells.push(spread("", 0, &|run| run.stale));
    cells.push(match runs.iter().all(|run| run.stale == 0.0) {
        true => "–".to_owned(),
        false => spread(" s", 1, &|run| run.stale_oldest_s),
    });
    cells.push(format!(
        "{} → {}",
        spread("", 0, &|run| run.misses_before_per_s),
        spread("", 0, &|run| run.misses_most_per_s)
    ));
    markdown_row(&cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stale: f64, failed: f64, last_bad_s: f64) -> Figures {
        let outage = Outage { failed, first_good_s: last_bad_s / 2.0, last_bad_s };
        let quiet = Outage { failed: 0.0, first_good_s: 0.0, last_bad_s: 0.0 };
        Figures {
            faults: [outage, quiet],
            failed,
            stale,
            stale_oldest_s: stale / 10.0,
            misses_before_per_s: 10.0,
            misses_most_per_s: 70.0,
        }
    }

    #[test]
    fn a_row_has_medians_with_their_spread() {
        let row = line("x", &[run(0.0, 4.0, 2.0), run(50.0, 8.0, 3.0), run(20.0, 8.0, 2.0)]);
        assert_eq!(
            row,
            "| x | 3 | 8 (4–8) | 8 (4–8) | 1.00 s (1.00–1.50) | 2.00 s (2.00–3.00) | 0 | – | – | 20 (0–50) | 2.0 s (0.0–5.0) | \
             10 → 70 |"
        );
        let columns = |line: &str| line.matches('|').count();
        let head = head();
        assert!(head.lines().all(|line| columns(line) == columns(&row)), "{head}");
    }

    #[test]
    fn nothing_bad_is_no_time() {
        let row = line("x", &[run(0.0, 0.0, 0.0)]);
        assert_eq!(row, "| x | 1 | 0 | 0 | – | – | 0 | – | – | 0 | – | 10 → 70 |");
    }
}
