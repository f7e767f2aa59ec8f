//! Watches a run: a table with a line for each second, a bar on a terminal, the faults of its script, and Ctrl-C.

use std::time::Duration;

use standin_protocol::time::Micros;

use crate::console::Console;
use crate::drive::{DriveError, Notable, Pacing, Plan, Running};
use crate::faults::Stage;
use crate::interrupt::Interrupt;
use crate::live::{Latencies, Live, Progress};
use crate::recorder::Recording;
use crate::report::table::{millis, thousands};
use crate::workload::Supply;

const PAUSE: Duration = Duration::from_millis(20);
/// The time that a line of the table is about.
const ROW: Duration = Duration::from_secs(1);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// How long a run of a search may send after its time.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// The number of lines after which the heading is shown again.
const ROWS_PER_HEADING: usize = 20;

/// What is shown of a run while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The table.
    Table,
    /// Its progress alone, behind these words.
    Progress(&'static str),
    /// Its progress alone; a run that is far behind its schedule is cut short, because its rate is not kept anyway.
    Search,
}

/// A run that is watched.
pub(crate) struct Watched<'r> {
    pub(crate) live: &'r Live,
    pub(crate) plan: &'r Plan,
    /// Number of requests, if it is known; 0: it ends by time.
    pub(crate) whole: u64,
    pub(crate) shown: Shown,
}

/// What an observer of a run is shown, many times while it lasts, and once when it is over.
pub(crate) struct Look<'r> {
    /// The time of the first request.
    pub(crate) start: Micros,
    /// What has happened since the last look.
    pub(crate) notables: Vec<Notable>,
    /// The faults, if there are any.
    pub(crate) stage: Option<&'r Stage>,
    pub(crate) console: &'r mut Console,
}

/// Says whether the run is to end.
pub(crate) type Observer<'o> = dyn FnMut(Look<'_>) -> bool + 'o;

/// Who sees nothing in it.
pub(crate) fn nobody(_: Look<'_>) -> bool {
    false
}

impl Watched<'_> {
    /// Waits for the end, while the scenario's faults begin and end. The console has its table, or how far it is. Returns the
    /// supplies, too, as the run has left them.
    pub(crate) fn until_end(
        &self,
        running: Running,
        mut stage: Option<&mut Stage>,
        interrupt: &Interrupt,
        console: &mut Console,
        observer: &mut Observer<'_>,
    ) -> Result<(Recording, Vec<Supply>), DriveError> {
        let mut look = |stage: Option<&Stage>, console: &mut Console| {
            let notables = running.notables.try_iter().collect();
            observer(Look { start: running.start, notables, stage, console })
        };
        let mut table = Table::new(running.start, self.live);
        let mut bar = (running.start, self.live.progress());
        while !running.is_finished() {
            let next = stage.as_deref_mut().and_then(|stage| stage.act(Micros::boottime()));
            let until = next.map_or(PAUSE, |next| next.since(Micros::boottime()));
            std::thread::park_timeout(until.min(PAUSE));
            if look(stage.as_deref(), console) {
                self.live.stop();
            }
            if interrupt.is_set() {
                self.live.stop();
                // At once: a user who interrupts again ends the program.
                stage.as_deref_mut().into_iter().for_each(Stage::undo);
            }
            let now = Micros::boottime();
            if self.shown == Shown::Search
                && self.plan.duration.is_some_and(|all| now.since(running.start) > all + BEHIND_MAX)
            {
                self.live.stop();
            }
            let is_table = self.shown == Shown::Table;
            if is_table && now.since(running.start) >= table.next {
                table.show(self, now, console);
            }
            // Lines of progress are for a terminal, where they replace each other, or for a run without a table.
            let passed = now.since(bar.0);
            if passed >= PROGRESS_INTERVAL
                && (console.is_terminal() || matches!(self.shown, Shown::Progress(_)))
            {
                let progress = self.live.progress();
                let recent = progress.since(bar.1);
                bar = (now, progress);
                self.progress(now.since(running.start), recent, passed, console);
            }
        }
        look(stage.as_deref(), console);
        if self.shown == Shown::Table && self.live.progress() != table.progress {
            table.show(self, Micros::boottime(), console);
        }
        console.end_progress();
        running.join_with_supplies()
    }

    fn progress(
        &self,
        elapsed: Duration,
        recent: Progress,
        passed: Duration,
        console: &mut Console,
    ) {
        let so_far = self.live.progress();
        let what = if let Shown::Progress(what) = self.shown { what } else { "" };
        let text = format!(
            "{what}{:>5.1} s  {:>9}/s  hits {:>5.1} %  failed {}  stale {}",
            elapsed.as_secs_f64(),
            thousands(per_s(recent.ended as f64, passed)),
            recent.hit_ratio() * 100.0,
            so_far.failed,
            so_far.bad,
        );
        match (self.whole, self.plan.duration) {
            (0, Some(duration)) => {
                let whole_ms = duration.as_millis() as u64;
                console.progress(elapsed.as_millis() as u64, whole_ms, &text);
            }
            (whole, _) => console.progress(so_far.ended, whole, &text),
        }
    }
}

/// The table, up to now.
struct Table {
    start: Micros,
    rows: usize,
    /// The end of the next line's time.
    next: Duration,
    /// The end of the last line's time.
    until: Duration,
    progress: Progress,
    latencies: Latencies,
}

impl Table {
    fn new(start: Micros, live: &Live) -> Self {
        let (progress, latencies) = (live.progress(), live.latencies());
        Self { start, rows: 0, next: ROW, until: Duration::ZERO, progress, latencies }
    }

    /// Adds a line about the time since the last one.
    fn show(&mut self, watched: &Watched<'_>, now: Micros, console: &mut Console) {
        let until = now.since(self.start);
        let (progress, latencies) = (watched.live.progress(), watched.live.latencies());
        let line = Line {
            until,
            passed: until - self.until,
            asked: asked(watched.plan, self.until, until),
            progress: progress.since(self.progress),
            latencies: latencies.since(&self.latencies),
            phase: phase(watched.plan, (self.until + until) / 2),
        };
        if self.rows.is_multiple_of(ROWS_PER_HEADING) {
            console.line(&heading());
        }
        console.line(&line.to_text());
        self.rows += 1;
        (self.until, self.progress, self.latencies) = (until, progress, latencies);
        // A pause of this thread makes one line longer, not several empty ones.
        while self.next <= until {
            self.next += ROW;
        }
    }
}

/// The requests that were asked for between two times; `None`: a closed loop.
fn asked(plan: &Plan, from: Duration, until: Duration) -> Option<f64> {
    let Pacing::Open { rates, .. } = &plan.pacing else { return None };
    let end = plan.duration.unwrap_or(Duration::MAX);
    Some(rates.requests_until(until.min(end)) - rates.requests_until(from.min(end)))
}

fn phase(plan: &Plan, time: Duration) -> &str {
    let Pacing::Open { rates, .. } = &plan.pacing else { return "" };
    let span = rates.spans().iter().find(|span| time <= span.end);
    span.map_or("", |span| span.name.as_str())
}

struct Line<'p> {
    until: Duration,
    passed: Duration,
    asked: Option<f64>,
    progress: Progress,
    latencies: Latencies,
    phase: &'p str,
}

fn heading() -> String {
    format!(
        "{:>6}{:>11}{:>11}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}{:>7}",
        "s", "asked/s", "done/s", "p50 ms", "p99", "p99.9", "max", "failed", "stale", "hits %"
    )
}

impl Line<'_> {
    /// Stale reads have wrong ones with them.
    fn to_text(&self) -> String {
        let asked = self.asked.map(|asked| thousands(per_s(asked, self.passed)));
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0]
            .map(|share| self.latencies.at(share).map_or_else(|| "–".to_owned(), millis));
        let hits = match self.progress.reads {
            0 => "–".to_owned(),
            _ => format!("{:.1}", self.progress.hit_ratio() * 100.0),
        };
        let text = format!(
            "{:>6.0}{:>11}{:>11}{p50:>8}{p99:>8}{p999:>8}{max:>8}{:>8}{:>7}{hits:>7}  {}",
            self.until.as_secs_f64(),
            asked.unwrap_or_else(|| "–".to_owned()),
            thousands(per_s(self.progress.ended as f64, self.passed)),
            thousands(self.progress.failed),
            thousands(self.progress.bad),
            self.phase,
        );
        text.trim_end().to_owned()
    }
}

fn per_s(count: f64, time: Duration) -> u64 {
    (count / time.as_secs_f64().max(1e-9)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_figures_of_its_time() {
        let mut line = Line {
            until: Duration::from_millis(3_020),
            passed: Duration::from_secs(2),
            asked: Some(20_000.0),
            progress: Progress { ended: 2_469_134, failed: 3, reads: 1_000, hits: 925, bad: 2 },
            latencies: Latencies::default(),
            phase: "rise",
        };
        let cells = |line: &Line<'_>| {
            line.to_text().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let expected = ["3", "10,000", "1,234,567", "–", "–", "–", "–", "3", "2", "92.5", "rise"];
        assert_eq!(cells(&line), expected);
        (line.asked, line.phase, line.progress.reads) = (None, "", 0);
        assert_eq!(cells(&line), ["3", "–", "1,234,567", "–", "–", "–", "–", "3", "2", "–"]);
        assert_eq!(line.to_text().chars().count(), heading().chars().count(), "columns");
    }
}
