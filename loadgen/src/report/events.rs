//! What a scenario has done to its target: when, and what that did to the requests.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use standin_protocol::map::ServerState;

use super::Mark as PlotMark;
use super::table::thousands;
use crate::faults::{Announcement, Mark};
use crate::recorder::{Answered, Moments, Window};

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
    /// From then until the master of a Standin cluster announced that the server concerned is out of service, in
    /// microseconds.
    #[serde(default)]
    pub announced_us: Option<u64>,
    /// The longest time until the next event without a good answer for a key of the server concerned, or for any key if no
    /// server of a Standin cluster is, in microseconds.
    #[serde(default)]
    pub silence_us: Option<u64>,
    /// What happened to the requests that were due after it, until the next event that was to be at another time; `None`
    /// after the end of the load.
    pub after: Option<Window>,
}

impl Event {
    /// A line of the plots.
    #[must_use]
    pub fn mark(&self) -> PlotMark {
        PlotMark { t_s: self.done_s.unwrap_or(self.asked_s), label: self.label() }
    }

    /// As marks and expectations have it.
    #[must_use]
    pub fn label(&self) -> String {
        if self.is_end { format!("end of {}", self.name) } else { self.name.clone() }
    }

    /// Puts what was done together with what was measured, and with what masters have announced.
    pub(crate) fn all(
        marks: &[Mark],
        (moments, run): (&Moments, Duration),
        windows: &[(Window, Answered)],
        announcements: &[Announcement],
    ) -> Vec<Self> {
        let event = |mark: &Mark| {
            let Mark { fault, is_undo, server, moment, asked, done, error } = mark;
            let own = moment.filter(|moment| moments.at(*moment).is_some_and(|at| at < run));
            let announced = done.zip(server.as_ref()).filter(|_| !is_undo);
            let announced = announced.and_then(|(done, server)| {
                let mut later = announcements.iter().filter(|one| one.at >= done);
                let out = later.find(|one| {
                    let is_back =
                        [ServerState::Online, ServerState::Returning].contains(&one.state);
                    one.server == *server && !is_back
                })?;
                Some((out.at - done).as_micros() as u64)
            });
            Self {
                name: fault.clone(),
                is_end: *is_undo,
                asked_s: asked.as_secs_f64(),
                done_s: done.map(|done| done.as_secs_f64()),
                error: error.clone(),
                announced_us: announced,
                silence_us: own.and_then(|own| silence_us(own, (moments, run), windows)),
                after: own.map(|own| windows[own].0),
            }
        };
        marks.iter().map(event).collect()
    }
}

/// The longest silence behind a moment, in a run of this length.
pub(crate) fn silence_us(
    moment: usize,
    (moments, run): (&Moments, Duration),
    windows: &[(Window, Answered)],
) -> Option<u64> {
    let length = moments.length(moment, run)?;
    Some(windows.get(moment)?.1.longest_silence(length).as_micros() as u64)
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
            server: fault.split(' ').nth(1).map(str::to_owned),
            moment: None,
            asked: second(at_s),
            done: Some(second(at_s) + Duration::from_millis(2)),
            error: None,
        };
        let late = Duration::from_millis(9_500);
        let failed = Some("its command ended with exit status: 1: no".to_owned());
        let end = Mark { asked: late, done: None, error: failed, ..mark("stop b", true, 0) };
        let [pause, resume, stop] =
            [mark("pause a", false, 2), mark("pause a", true, 4), mark("stop b", false, 4)];
        let at = |moment, mark| Mark { moment: Some(moment), ..mark };
        let marks = [at(1, pause), at(2, resume), at(3, stop), end];
        let moments = Moments::new([0, 2, 4, 4].map(|at_s| Some(second(at_s))));
        let announced = |at_s, server: &str, state| Announcement {
            at: second(at_s),
            server: server.to_owned(),
            state,
        };
        let announcements = [
            announced(1, "a", ServerState::Offline),
            announced(3, "a", ServerState::Waiting),
            announced(5, "b", ServerState::Returning),
            announced(6, "a", ServerState::Offline),
        ];
        let window = |requests| Window {
            requests,
            failed: 3,
            first_good_us: Some(312_000),
            ..Window::default()
        };
        let windows = [window(1), window(200), window(50), window(50)];
        let windows = windows.map(|window| (window, Answered::default()));
        let events = Event::all(&marks, (&moments, second(9)), &windows, &announcements);
        let silences: Vec<_> = events.iter().map(|event| event.silence_us).collect();
        assert_eq!(silences, [Some(2_000_000), Some(5_000_000), Some(5_000_000), None]);
        let announced: Vec<_> = events.iter().map(|event| event.announced_us).collect();
        assert_eq!(announced, [Some(998_000), None, None, None]);
        let requests: Vec<_> = events.iter().map(|e| e.after.map(|after| after.requests)).collect();
        assert_eq!(requests, [Some(200), Some(50), Some(50), None]);
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
