//! What has happened, the last events only. Pure.

use std::collections::VecDeque;

use standin_master::{MasterEvent, OfflineReason};
use standin_protocol::map::Topology;
use tracing::Level;

use super::shown::Event;

/// The number of events that are kept.
const EVENTS_MAX: usize = 200;
/// The longest text of an event or of a reason that is kept, in characters.
const TEXT_MAX: usize = 300;

/// The last events, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Timeline(VecDeque<Event>);

impl Timeline {
    pub(super) fn push(&mut self, event: Event) {
        if self.0.len() == EVENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Event { text: cut(&event.text), ..event });
    }

    pub(super) fn list(&self) -> Vec<Event> {
        self.0.iter().cloned().collect()
    }
}

/// Returns a text that is not longer than what is kept.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} …", &text[..end]),
    }
}

/// Returns an event of the master as it is shown; `None` if it repeats while nothing changes, or if another
/// one says the same.
pub(super) fn shown(at_ms: u64, event: &MasterEvent, topology: &Topology) -> Option<Event> {
    let is_said = matches!(event, MasterEvent::Announced { .. } | MasterEvent::Heard { .. });
    if is_said || !event.is_change() {
        return None;
    }
    let severity = match event {
        MasterEvent::MarkedOffline { reason: OfflineReason::Leaving, .. } => "info",
        MasterEvent::MarkedOffline { .. } => "critical",
        MasterEvent::Online { .. } | MasterEvent::Learned => "good",
        event => match event.level() {
            Level::ERROR => "critical",
            Level::WARN => "warning",
            _ => "info",
        },
    };
    let server = event.server().and_then(|id| topology.servers.get(usize::from(id)));
    Some(Event {
        at_ms,
        severity,
        kind: event.kind(),
        server: server.map(|server| server.name.clone()),
        text: event.describe(topology),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_and_long_texts_are_cut() {
        let mut timeline = Timeline::default();
        for at_ms in 0..=EVENTS_MAX as u64 {
            let text = "ä".repeat(TEXT_MAX + 1);
            timeline.push(Event { at_ms, severity: "info", kind: "x", server: None, text });
        }
        let events = timeline.list();
        assert_eq!((events.len(), events[0].at_ms), (EVENTS_MAX, 1));
        assert_eq!(events[0].text.chars().count(), TEXT_MAX + 2);
        assert_eq!(cut("short"), "short");
    }
}
