//! One row of the table, from what was seen in one or more runs of a case. Pure.

use std::time::Duration;

use serde::Serialize;
use standin_testkit::languages::judge::Verdict;
use standin_testkit::languages::load::{Ending, Quote, Sample};

use super::Case;
use super::run::{Observed, SCRIPTS};
use crate::report::{Spread, markdown_head, markdown_row};

/// Characters of an error that are shown.
const NOTE_CHARS: usize = 200;
/// Different texts of a run that are shown; the JSON has all.
const TEXTS_MAX: usize = 8;
const HEAD: [&str; 9] = [
    "client",
    "servers",
    "checks",
    "requests",
    "failed",
    "after the return",
    "stale reads",
    "first good answer",
    "last failure",
];

/// The figures of one run; the JSON has these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    checks: usize,
    /// The checks that were wrong, and how.
    wrong_checks: Vec<String>,
    requests: usize,
    failed_before: usize,
    /// Before the return.
    failed: usize,
    failed_after_return: usize,
    /// Values that had been overwritten or deleted by an acknowledged write before the read was asked.
    stale: usize,
    /// Values of writes that had failed, over a later one that was acknowledged.
    late: usize,
    /// Values that nobody wrote.
    wrong: usize,
    /// The time from the fault until every script has had a good answer to a request that it asked after the
    /// fault, for a key of the server; `None`: one of them had none.
    first_good_ms: Option<f64>,
    /// The time from the fault until the last request of those asked before the return had failed; `None`: none
    /// failed.
    last_failure_ms: Option<f64>,
    /// Each failure, and each read that should not have been.
    said: Vec<Saying>,
}

/// What was said of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saying {
    /// The time from the fault until it was asked; negative: it was asked before.
    asked_ms: f64,
    took_ms: f64,
    text: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    client: String,
    version: String,
    protocol: &'static str,
    servers: String,
    runs: Vec<Figures>,
}

impl Figures {
    /// Evaluates a run.
    #[must_use]
    pub fn of(seen: &Observed) -> Self {
        let count = |is_meant: &dyn Fn(&Sample) -> bool| {
            seen.samples.iter().filter(|sample| is_meant(sample)).count()
        };
        let failed = |from: Duration, until: Duration| {
            count(&|s| s.ending == Ending::Failed && s.ended >= from && s.ended < until)
        };
        let read = |verdict| count(&|s| s.ending == Ending::Read(verdict));
        let before_return = seen.samples.iter().filter(|s| s.asked < seen.returned);
        let last_failure = before_return
            .filter(|s| s.ending == Ending::Failed && s.ended >= seen.began)
            .map(|s| s.ended - seen.began)
            .max();
        let wrong = seen.checks.iter().filter_map(|check| {
            let wrong = check.wrong.as_deref()?;
            Some(format!("{}: {wrong}", check.what))
        });
        Self {
            checks: seen.checks.len(),
            wrong_checks: wrong.collect(),
            requests: seen.samples.len(),
            failed_before: failed(Duration::ZERO, seen.began),
            failed: failed(seen.began, seen.returned),
            failed_after_return: failed(seen.returned, Duration::MAX),
            stale: read(Verdict::Stale),
            late: read(Verdict::Late),
            wrong: read(Verdict::Wrong),
            first_good_ms: first_good(seen).map(in_ms),
            last_failure_ms: last_failure.map(in_ms),
            said: seen.quotes.iter().map(|quote| Saying::of(quote, seen.began)).collect(),
        }
    }

    /// Whether the library did all that it should, without a failure before the fault or a wrong value.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let values = self.stale + self.late + self.wrong;
        self.wrong_checks.is_empty() && self.failed_before == 0 && values == 0
    }

    /// Returns the checks that were wrong and how, and each different text of failures and of reads that should not
    /// have been, with their number and their times.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut texts: Vec<&str> = Vec::new();
        for Saying { text, .. } in &self.said {
            if texts.len() < TEXTS_MAX && !texts.contains(&&**text) {
                texts.push(text);
            }
        }
        let of_text = |text: &str| {
            let all: Vec<&Saying> = self.said.iter().filter(|said| said.text == text).collect();
            let asked = Spread::of(all.iter().map(|said| said.asked_ms));
            let took = Spread::of(all.iter().map(|said| said.took_ms));
            let short: String = text.chars().take(NOTE_CHARS).collect();
            format!(
                "{} × {short}; asked {:.0} to {:.0} ms after the fault, took {:.0} to {:.0} ms",
                all.len(),
                asked.min,
                asked.max,
                took.min,
                took.max
            )
        };
        self.wrong_checks.iter().cloned().chain(texts.into_iter().map(of_text)).collect()
    }
}

impl Saying {
    fn of(quote: &Quote, began: Duration) -> Self {
        Self {
            asked_ms: in_ms(quote.asked) - in_ms(began),
            took_ms: in_ms(quote.ended - quote.asked),
            text: quote.text.clone(),
        }
    }
}

/// The time until the slowest script has had its first good answer for a key of the server with the fault.
fn first_good(seen: &Observed) -> Option<Duration> {
    let of_script = |worker: usize| {
        let is_good = |sample: &&Sample| {
            let is_wrong = matches!(
                sample.ending,
                Ending::Failed | Ending::Read(Verdict::Stale | Verdict::Late | Verdict::Wrong)
            );
            sample.worker == worker
                && sample.asked >= seen.began
                && seen.struck.contains(&sample.key)
                && !is_wrong
        };
        seen.samples.iter().filter(is_good).map(|sample| sample.ended - seen.began).min()
    };
    let all: Option<Vec<Duration>> = (0..SCRIPTS).map(of_script).collect();
    all?.into_iter().max()
}

impl Row {
    /// Puts the runs of a case together.
    #[must_use]
    pub fn of(case: &Case, version: &str, runs: Vec<Figures>) -> Self {
        Self {
            client: case.library.name.to_owned(),
            version: version.to_owned(),
            protocol: case.service.word(),
            servers: case.system.to_string(),
            runs,
        }
    }

    fn cells(&self) -> [String; HEAD.len()] {
        let sum = |of: fn(&Figures) -> usize| self.runs.iter().map(of).sum::<usize>();
        let spread = |of: fn(&Figures) -> f64, shown: fn(f64) -> String| {
            let spread = Spread::of(self.runs.iter().map(of));
            match spread.min == spread.max {
                true => shown(spread.median),
                false => format!(
                    "{} ({}–{})",
                    shown(spread.median),
                    shown(spread.min),
                    shown(spread.max)
                ),
            }
        };
        let checks = match (sum(|run| run.checks), sum(|run| run.wrong_checks.len())) {
            (0, _) => "–".to_owned(),
            (checks, 0) => checks.to_string(),
            (checks, wrong) => format!("{checks}, wrong {wrong}"),
        };
        let mut stale = sum(|run| run.stale).to_string();
        for (what, count) in [("late", sum(|run| run.late)), ("wrong", sum(|run| run.wrong))] {
            if count > 0 {
                stale += &format!(", {what} {count}");
            }
        }
        let number = |count: f64| format!("{count:.0}");
        [
            format!("{} {}, {}", self.client, self.version, self.protocol),
            self.servers.clone(),
            checks,
            sum(|run| run.requests).to_string(),
            spread(|run| (run.failed_before + run.failed) as f64, number),
            spread(|run| run.failed_after_return as f64, number),
            stale,
            spread(|run| run.first_good_ms.unwrap_or(f64::INFINITY), shown_ms),
            spread(|run| run.last_failure_ms.unwrap_or(0.0), shown_ms),
        ]
    }
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn shown_ms(ms: f64) -> String {
    match ms {
        0.0 => "–".to_owned(),
        f64::INFINITY => "never".to_owned(),
        0.0..10.0 => format!("{ms:.1} ms"),
        10.0..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

/// The head of the table, in Markdown.
#[must_use]
pub fn head() -> String {
    markdown_head(&HEAD)
}

/// A row of it.
#[must_use]
pub fn line(row: &Row) -> String {
    markdown_row(&row.cells())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(worker: usize, key: usize, asked_ms: u64, took_ms: u64, ending: Ending) -> Sample {
        let asked = Duration::from_millis(asked_ms);
        Sample { worker, key, asked, ended: asked + Duration::from_millis(took_ms), ending }
    }

    /// The load of scripts that have had a good answer for key 1 at 1,030 ms, with the fault at 1,000 ms and the
    /// return at 5,000 ms, and these requests.
    fn seen(more: Vec<Sample>) -> Observed {
        let good = (1..SCRIPTS).map(|worker| sample(worker, 1, 1_020, 10, Ending::Written));
        Observed {
            checks: Vec::new(),
            samples: good.chain(more).collect(),
            struck: [1].into(),
            began: Duration::from_millis(1_000),
            returned: Duration::from_millis(5_000),
            quotes: Vec::new(),
        }
    }

    #[test]
    fn the_first_good_answer_is_that_of_the_slowest_script_for_a_key_of_the_server_with_the_fault()
    {
        let right = Ending::Read(Verdict::Right);
        let figures = Figures::of(&seen(vec![
            // Asked before the fault, for another key, stale, failed.
            sample(0, 1, 990, 20, right.clone()),
            sample(0, 2, 1_040, 1, right.clone()),
            sample(0, 1, 1_050, 1, Ending::Read(Verdict::Stale)),
            sample(0, 1, 1_060, 100, Ending::Failed),
            sample(0, 1, 1_200, 50, Ending::Read(Verdict::Missing)),
            sample(0, 1, 1_300, 1, right),
        ]));
        assert_eq!(figures.first_good_ms, Some(250.0));
        assert_eq!((figures.failed, figures.last_failure_ms), (1, Some(160.0)));
        assert_eq!((figures.stale, figures.is_clean()), (1, false));
    }

    #[test]
    fn a_script_without_a_good_answer_makes_it_never() {
        let figures = Figures::of(&seen(vec![sample(0, 1, 1_100, 1, Ending::Failed)]));
        assert_eq!(figures.first_good_ms, None);
        let row = Row {
            client: "x".into(),
            version: "1".into(),
            protocol: "redis",
            servers: "y".into(),
            runs: vec![figures],
        };
        assert!(line(&row).ends_with("| 1 | 0 | 0 | never | 101 ms |"), "{}", line(&row));
    }

    #[test]
    fn failures_are_counted_by_when_they_ended() {
        let figures = Figures::of(&seen(vec![
            sample(0, 2, 900, 10, Ending::Failed),
            sample(0, 2, 980, 50, Ending::Failed),
            sample(0, 1, 1_010, 10, Ending::Written),
            sample(0, 2, 6_000, 10, Ending::Failed),
        ]));
        let failed = (figures.failed_before, figures.failed, figures.failed_after_return);
        assert_eq!(failed, (1, 1, 1));
        assert_eq!((figures.first_good_ms, figures.last_failure_ms), (Some(30.0), Some(30.0)));
        assert!(!figures.is_clean(), "a failure before the fault");
    }

    #[test]
    fn what_failed_is_told_once_for_each_text_with_its_times() {
        let quote = |asked_ms: u64, took_ms: u64, text: &str| {
            let asked = Duration::from_millis(asked_ms);
            let ended = asked + Duration::from_millis(took_ms);
            Quote { worker: 0, asked, ended, text: text.to_owned() }
        };
        let quotes = vec![
            quote(990, 20, "refused"),
            quote(1_500, 100, "timed out"),
            quote(3_000, 7, "refused"),
        ];
        let figures = Figures::of(&Observed { quotes, ..seen(Vec::new()) });
        assert_eq!(
            figures.notes(),
            [
                "2 × refused; asked -10 to 2000 ms after the fault, took 7 to 20 ms",
                "1 × timed out; asked 500 to 500 ms after the fault, took 100 to 100 ms",
            ]
        );
    }

    #[test]
    fn several_runs_have_a_median() {
        let run =
            |until_ms| Figures::of(&seen(vec![sample(0, 1, 1_000, until_ms, Ending::Written)]));
        let runs = vec![run(40), run(2_000), run(60)];
        let row = Row {
            client: "x".into(),
            version: "1".into(),
            protocol: "redis",
            servers: "y".into(),
            runs,
        };
        assert!(line(&row).contains("| 60 ms (40 ms–2.0 s) |"), "{}", line(&row));
    }
}
