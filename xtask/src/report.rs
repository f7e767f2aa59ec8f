//! Runs steps and reports each in one line with its time, then the output of failed steps and what to do
//! about them, and a summary.
#![expect(clippy::disallowed_methods, reason = "a shell: it reports how long steps took")]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::counts::Counts;

/// Lines of a failing step's output that are shown; the log has all of them.
const SHOWN_LINES: usize = 150;
/// The column in which a step's result begins.
const RESULT_COLUMN: usize = 34;

/// The result of a step that passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// A note for the step's line.
    pub(crate) note: String,
    /// The tests it ran, if it ran any.
    pub(crate) counts: Counts,
}

impl Passed {
    pub(crate) fn with_note(note: impl Into<String>) -> Self {
        Self { note: note.into(), ..Self::default() }
    }
}

/// The result of a step that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The step's output.
    pub(crate) output: String,
    /// The instruction for mending the failure.
    pub(crate) remedy: String,
    /// The tests that it ran before it failed.
    pub(crate) counts: Counts,
}

impl Failed {
    pub(crate) fn new(output: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { output: output.into(), remedy: remedy.into(), counts: Counts::default() }
    }

    /// A failure to read or write a file or folder.
    pub(crate) fn of_file(path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()), "look at the disk and its rights")
    }
}

/// The result of a step.
pub(crate) type Outcome = Result<Passed, Failed>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ok,
    Failed,
    NotRun,
}

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    ends: Vec<(String, End)>,
    counts: Counts,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), ends: Vec::new(), counts: Counts::default() }
    }

    /// Runs a step, unless one of those it needs has not gone well.
    pub(crate) fn step(&mut self, name: &str, needs: &[&str], work: impl FnOnce() -> Outcome) {
        begin_line(name);
        if let Some(missing) = needs.iter().find(|need| self.end_of(need) != Some(End::Ok)) {
            println!("not run: it needs `{missing}`");
            self.ends.push((name.to_owned(), End::NotRun));
            return;
        }
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(Failed::new(
                "the step itself panicked; its message is above",
                "this is a bug in xtask, or in the helper it called; fix it",
            ))
        });
        let took = in_words(start.elapsed());
        let end = match outcome {
            Ok(passed) => {
                let note = if passed.note.is_empty() { "" } else { "  " };
                println!("ok      {took:>10}{note}{}", passed.note);
                self.counts += passed.counts;
                End::Ok
            }
            Err(failed) => {
                println!("FAILED  {took:>10}");
                print_failure(&failed);
                self.counts += failed.counts;
                // So that no failure leaves the last line at `0 failed`.
                if failed.counts.failed == 0 {
                    self.counts.failed += 1;
                }
                End::Failed
            }
        };
        self.ends.push((name.to_owned(), end));
    }

    /// Says that a step is left out, and why.
    pub(crate) fn left_out(&self, name: &str, why: &str) {
        begin_line(name);
        println!("left out: {why}");
    }

    fn end_of(&self, name: &str) -> Option<End> {
        self.ends.iter().find(|(step, _)| step == name).map(|&(_, end)| end)
    }

    /// Prints the summary; whether nothing failed.
    pub(crate) fn finish(self, logs: &Path) -> bool {
        let names = |wanted: End| {
            let found = self.ends.iter().filter(|(_, end)| *end == wanted);
            found.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        let took = in_words(self.started.elapsed());
        println!("\n{} steps in {took}; their output is in {}", self.ends.len(), logs.display());
        for (what, steps) in [("failed", names(End::Failed)), ("not run", names(End::NotRun))] {
            if !steps.is_empty() {
                println!("{what}: {}", steps.join(", "));
            }
        }
        println!("tests, and one for each other step that failed:\n{}", self.counts);
        self.ends.iter().all(|(_, end)| *end == End::Ok)
    }
}

fn begin_line(name: &str) {
    print!("{name:.<RESULT_COLUMN$} ");
    // A closed output is not a reason to stop.
    let _ = std::io::stdout().flush();
}

fn print_failure(failed: &Failed) {
    let lines: Vec<&str> = failed.output.lines().collect();
    let left_out = lines.len().saturating_sub(SHOWN_LINES);
    if left_out > 0 {
        println!("  | ({left_out} lines before)");
    }
    for line in &lines[left_out..] {
        println!("  | {line}");
    }
    println!("  → {}", failed.remedy.replace('\n', "\n    "));
}

/// A time as a step's line shows it.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(report: &Report) -> (u32, u32) {
        (report.counts.passed, report.counts.failed)
    }

    #[test]
    fn a_step_without_tests_that_fails_counts_as_one_failure() {
        let mut report = Report::new();
        report.step("style", &[], || Err(Failed::new("", "mend it")));
        report.step("tests", &[], || {
            let counts = Counts { passed: 5, failed: 2 };
            Err(Failed { counts, ..Failed::new("", "") })
        });
        report.step("more tests", &[], || {
            Ok(Passed { counts: Counts { passed: 7, failed: 0 }, ..Passed::default() })
        });
        assert_eq!(counts(&report), (12, 3));
        assert!(!report.finish(Path::new("logs")));
    }

    #[test]
    fn what_needs_a_failed_step_is_not_run() {
        let mut report = Report::new();
        report.step("build", &[], || Err(Failed::new("", "")));
        report.step("tests", &["build"], || panic!("it ran"));
        report.step("listing", &["tests"], || panic!("it ran"));
        assert_eq!(counts(&report), (0, 1));
        assert_eq!(report.end_of("listing"), Some(End::NotRun));
    }

    #[test]
    fn a_panic_fails_the_step_and_not_the_run() {
        let mut report = Report::new();
        report.step("fragile", &[], || panic!("expected by the test"));
        report.step("sound", &[], || Ok(Passed::default()));
        assert_eq!(report.end_of("fragile"), Some(End::Failed));
        assert_eq!(report.end_of("sound"), Some(End::Ok));
    }
}
