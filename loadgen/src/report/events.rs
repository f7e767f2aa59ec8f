//! What a scenario has done to its target: when, and what that did to the requests.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mark as PlotMark;
use super::table::thousands;
use crate::faults::Mark;
use crate::recorder::Window;

/// The beginning or the end of a fault. Times are in seconds from the first request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Name of the fault.
    pub name: String,
    /// Whether the fault ended then; otherwise it began.
    pub is_end: bool,
    /// When it was to happen.
    pub asked_s: f64,
    /// When it was done; `None`: it failed, or was still under way at the end.
    pub done_s: Option<f64>,
    /// How it failed.
    pub error: Option<String>,
    /// What happened to the requests that were due after it, until the next event; `None` if several events share that,
    /// but for the last of them, and after the end of the load.
    pub after: Option<Window>,
}

impl Event {
    /// A line of the plots.
    #[must_use]
    pub fn mark(&self) -> PlotMark {
        let label = if self.is_end { format!("end of {}", self.name) } else { self.name.clone() };
        PlotMark { t_s: self.done_s.unwrap_or(self.asked_s), label }
    }

    /// Puts what was done together with what was measured. `moments` are the beginnings of the windows.
    pub(crate) fn all(marks: &[Mark], moments: &[Duration], windows: &[Window]) -> Vec<Self> {
        let window_of = |index: usize| {
            let asked = marks[index].asked;
            let is_last = marks.get(index + 1).is_none_or(|next| next.asked != asked);
            let window = moments.iter().position(|moment| *moment == asked)?;
            is_last.then(|| windows.get(window).copied())?
        };
        (0..marks.len())
            .map(|index| {
                let Mark { fault, is_undo, asked, done, error } = &marks[index];
                Self {
                    name: fault.clone(),
                    is_end: *is_undo,
                    asked_s: asked.as_secs_f64(),
                    done_s: done.map(|done| done.as_secs_f64()),
                    error: error.clone(),
                    after: window_of(index),
                }
            })
            .collect()
    }
}

/// A table for the terminal; nothing without events.
pub(crate) fn table(events: &[Event]) -> String {
    let mut table = String::new();
    if events.is_empty() {
        return table;
    }
    let _ = writeln!(
        table,
        "  {:>9}  {:<30}{:>9}{:>8}{:>7}{:>7}{:>11}{:>10}",
        "s", "event", "requests", "failed", "stale", "wrong", "first good", "last bad"
    );
    for event in events {
        let ends = if event.is_end { "end of " } else { "" };
        let name: String = format!("{ends}{}", event.name).chars().take(29).collect();
        let at = event.done_s.unwrap_or(event.asked_s);
        let _ = write!(table, "  {at:>9.3}  {name:<30}");
        if let Some(after) = &event.after {
            let [requests, failed, stale, wrong] =
                [after.requests, after.failed, after.stale, after.wrong].map(thousands);
            let [first, last] = [after.first_good_us, after.last_bad_us].map(seconds);
            let _ =
                write!(table, "{requests:>9}{failed:>8}{stale:>7}{wrong:>7}{first:>11}{last:>10}");
        }
        table.push('\n');
        if let Some(error) = &event.error {
            let _ = writeln!(table, "  FAILED: {error}");
        }
    }
    table
}

/// A time since an event, such as `+0.312`.
fn seconds(us: Option<u64>) -> String {
    us.map_or_else(|| "–".to_owned(), |us| format!("+{:.3}", us as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_figures_of_the_time_after_them() {
        let second = Duration::from_secs;
        let mark = |fault: &str, is_undo, at_s| Mark {
            fault: fault.to_owned(),
            is_undo,
            asked: second(at_s),
            done: Some(second(at_s) + Duration::from_millis(2)),
            error: None,
        };
        let late = Duration::from_millis(9_500);
        let failed = Some("its command ended with exit status: 1: no".to_owned());
        let end = Mark { asked: late, done: None, error: failed, ..mark("stop b", true, 0) };
        let marks =
            [mark("pause a", false, 2), mark("pause a", true, 4), mark("stop b", false, 4), end];
        let window = |requests| Window {
            requests,
            failed: 3,
            first_good_us: Some(312_000),
            ..Window::default()
        };
        let events = Event::all(&marks, &[second(2), second(4)], &[window(200), window(50)]);
        let requests: Vec<_> = events.iter().map(|e| e.after.map(|after| after.requests)).collect();
        assert_eq!(requests, [Some(200), None, Some(50), None]);
        let text = table(&events);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("2.002  pause a ") && lines[1].ends_with("+0.312         –"),
            "{text}"
        );
        assert!(lines[2].contains("end of pause a") && lines[5].contains("FAILED: its"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
        assert_eq!(table(&[]), "");
    }
}
