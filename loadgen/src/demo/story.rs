//! The order of events, combined from three witnesses: the script (kill, restart), the
//! master's event file, and the clients. Pure: it is told everything, with its time.
//!
//! ```text
//! killed ─► failover mode ─► reported ─► verified offline ─► announced ─► acknowledged
//!                └► standing in                                              by all others
//! restarted ─► returning ─► online ─► back (the first answer of its own)
//! ```

use std::collections::BTreeSet;

use serde::Serialize;
use standin_client::ClientEvent;
use standin_protocol::control::DatagramKind;
use standin_protocol::time::Micros;

use crate::drive::Notable;
use crate::observer::MasterLine;

/// A step of the story, in the order in which they usually happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoryKind {
    /// SIGKILL was sent.
    Killed,
    /// The first client stopped sending to the server (claim 10).
    FailoverMode,
    /// The first report reached the master, or left a client.
    Reported,
    /// The first answer of a stand-in.
    StandingIn,
    /// The master has verified that the server is offline (claim 19).
    VerifiedOffline,
    /// The master tells the others (claim 19).
    Announced,
    /// The last of the others has applied it.
    Acknowledged,
    /// The process was started again.
    Restarted,
    /// The master has reached it; its stand-ins drain.
    Returning,
    /// The master has announced that it is online (claim 21).
    Online,
    /// The first answer of its own.
    Back,
}

impl StoryKind {
    /// Returns the text for the terminal and the report.
    #[must_use]
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::FailoverMode => "failover mode",
            Self::Reported => "reported",
            Self::StandingIn => "standing in",
            Self::VerifiedOffline => "verified",
            Self::Announced => "announced",
            Self::Acknowledged => "acknowledged",
            Self::Restarted => "restarted",
            Self::Returning => "returning",
            Self::Online => "online",
            Self::Back => "back",
        }
    }
}

/// A step that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoryEvent {
    /// When.
    pub(super) at: Micros,
    /// What.
    pub(super) kind: StoryKind,
    /// Which server.
    pub(super) server: String,
    /// Further details.
    pub(super) text: String,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Story {
    servers: Vec<String>,
    victim: u16,
    events: Vec<StoryEvent>,
    acknowledged_by: BTreeSet<String>,
    /// The index in `events` of the first that has not been taken.
    taken: usize,
}

impl Story {
    /// The story of the killing of server `victim`.
    #[must_use]
    pub(super) fn new(servers: Vec<String>, victim: u16) -> Self {
        let (events, acknowledged_by) = (Vec::new(), BTreeSet::new());
        Self { servers, victim, events, acknowledged_by, taken: 0 }
    }

    /// The script has killed the victim.
    pub(super) fn killed(&mut self, at: Micros, pid: u32) {
        self.tell(at, StoryKind::Killed, self.victim, format!("SIGKILL to process {pid}"));
    }

    /// The script has restarted the victim.
    pub(super) fn restarted(&mut self, at: Micros, pid: u32) {
        self.tell(at, StoryKind::Restarted, self.victim, format!("as process {pid}"));
    }

    /// The master has written a line.
    pub(super) fn master(&mut self, line: &MasterLine) {
        // A line about no server is no part of the story.
        let Some(server) = &line.server else { return };
        let is_victim = *server == self.victim_name();
        let is_down = self.has(StoryKind::Killed) && !self.has(StoryKind::Restarted);
        let at = line.at();
        match &*line.kind {
            "reported" if is_victim && is_down => {
                self.tell(at, StoryKind::Reported, self.victim, line.text.clone());
            }
            "waiting" | "offline" if is_victim && is_down => {
                let text = "the master's probes went unanswered".to_owned();
                self.tell(at, StoryKind::VerifiedOffline, self.victim, text);
            }
            "announced" if is_victim && self.has(StoryKind::VerifiedOffline) => {
                let text = format!("to the {} others", self.servers.len().saturating_sub(1));
                self.tell(at, StoryKind::Announced, self.victim, text);
            }
            // After the restart the acknowledgements are of other announcements.
            "acked" if !is_victim && self.has(StoryKind::Announced) && is_down => {
                self.acknowledged_by.insert(server.clone());
                if self.acknowledged_by.len() + 1 == self.servers.len() {
                    let text = "by all others".to_owned();
                    self.tell(at, StoryKind::Acknowledged, self.victim, text);
                }
            }
            "returning" if is_victim && self.has(StoryKind::Restarted) => {
                let text = "reachable; its stand-ins drain".to_owned();
                self.tell(at, StoryKind::Returning, self.victim, text);
            }
            "online" if is_victim && self.has(StoryKind::Restarted) => {
                let text = "announced: it owns its partitions again".to_owned();
                self.tell(at, StoryKind::Online, self.victim, text);
            }
            _ => {}
        }
    }

    /// A worker or its client has something to say.
    pub(super) fn client(&mut self, notable: &Notable) {
        match *notable {
            Notable::Client { at, ref event, .. } if self.has(StoryKind::Killed) => match *event {
                ClientEvent::EnteredFailover { server, attempts } if server == self.victim => {
                    let text = format!("a client, after {attempts} unsuccessful sends");
                    self.tell(at, StoryKind::FailoverMode, server, text);
                }
                ClientEvent::Reported { kind: DatagramKind::ReportFailed, server, .. }
                    if server == self.victim =>
                {
                    self.tell(at, StoryKind::Reported, server, "by a client".to_owned());
                }
                _ => {}
            },
            Notable::FirstAnswer { at, server, is_stand_in: true, .. }
                if self.has(StoryKind::Killed) =>
            {
                let text = format!("first answer for {}", self.victim_name());
                self.tell(at, StoryKind::StandingIn, server, text);
            }
            Notable::FirstAnswer { at, server, is_stand_in: false, .. }
                if server == self.victim && self.has(StoryKind::Online) =>
            {
                let text = "first answer of its own".to_owned();
                self.tell(at, StoryKind::Back, server, text);
            }
            Notable::Client { .. } | Notable::FirstAnswer { .. } => {}
        }
    }

    /// The events since the last call, in order of time as far as it is known.
    pub(super) fn take_new(&mut self) -> Vec<StoryEvent> {
        let mut new = self.events[self.taken..].to_vec();
        self.taken = self.events.len();
        new.sort_by_key(|event| event.at);
        new
    }

    /// Everything, in order of time.
    #[must_use]
    pub(super) fn events(&self) -> Vec<StoryEvent> {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at);
        events
    }

    /// Returns the time at which this first happened.
    #[must_use]
    pub(super) fn at(&self, kind: StoryKind) -> Option<Micros> {
        self.events.iter().find(|event| event.kind == kind).map(|event| event.at)
    }

    /// Milliseconds from one step to another, if both have happened.
    #[must_use]
    pub(super) fn between_ms(&self, from: StoryKind, to: StoryKind) -> Option<f64> {
        let taken = self.at(to)?.since(self.at(from)?);
        Some(taken.as_micros() as f64 / 1_000.0)
    }

    /// Name of the server that is killed.
    #[must_use]
    pub(super) fn victim_name(&self) -> String {
        self.name(self.victim)
    }

    fn has(&self, kind: StoryKind) -> bool {
        self.at(kind).is_some()
    }

    fn name(&self, server: u16) -> String {
        self.servers.get(usize::from(server)).cloned().unwrap_or_else(|| format!("#{server}"))
    }

    /// Each step is told once, at its first witness.
    fn tell(&mut self, at: Micros, kind: StoryKind, server: u16, text: String) {
        if !self.has(kind) {
            let server = self.name(server);
            self.events.push(StoryEvent { at, kind, server, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story() -> Story {
        Story::new(["a1", "a2", "b1", "b2"].map(str::to_owned).to_vec(), 0)
    }

    fn line(t_us: u64, kind: &str, server: &str) -> MasterLine {
        let (kind, server) = (kind.to_owned(), Some(server.to_owned()));
        MasterLine { t_us, kind, server, text: String::new() }
    }

    fn first_answer(t_us: u64, server: u16, is_stand_in: bool) -> Notable {
        Notable::FirstAnswer { at: Micros(t_us), phase: 1, server, is_stand_in }
    }

    #[test]
    fn a_whole_outage() {
        let mut story = story();
        story.master(&line(1, "acked", "b1"));
        story.client(&first_answer(2, 0, false));
        assert!(story.take_new().is_empty(), "nothing before the kill belongs to it");
        story.killed(Micros(1_000), 77);
        let event = ClientEvent::EnteredFailover { server: 0, attempts: 2 };
        story.client(&Notable::Client { at: Micros(1_300), worker: 0, event });
        story.client(&first_answer(1_500, 1, true));
        story.master(&line(1_400, "reported", "a1"));
        story.master(&line(5_000, "offline", "a1"));
        story.master(&line(5_100, "announced", "a1"));
        for (t_us, server) in [(5_200, "a2"), (5_250, "a2"), (5_300, "b1"), (6_000, "b2")] {
            story.master(&line(t_us, "acked", server));
        }
        let kinds: Vec<StoryKind> = story.take_new().iter().map(|event| event.kind).collect();
        assert_eq!(
            kinds,
            [
                StoryKind::Killed,
                StoryKind::FailoverMode,
                StoryKind::Reported,
                StoryKind::StandingIn,
                StoryKind::VerifiedOffline,
                StoryKind::Announced,
                StoryKind::Acknowledged,
            ]
        );
        assert_eq!(story.between_ms(StoryKind::Killed, StoryKind::VerifiedOffline), Some(4.0));
        assert_eq!(story.between_ms(StoryKind::Killed, StoryKind::Acknowledged), Some(5.0));
        assert_eq!(story.between_ms(StoryKind::Restarted, StoryKind::Online), None);

        story.restarted(Micros(9_000), 78);
        story.master(&line(9_500, "returning", "a1"));
        story.master(&line(9_600, "acked", "a2"));
        story.client(&first_answer(9_700, 0, false));
        story.master(&line(9_800, "online", "a1"));
        story.client(&first_answer(9_900, 0, false));
        let kinds: Vec<StoryKind> = story.take_new().iter().map(|event| event.kind).collect();
        let expected =
            [StoryKind::Restarted, StoryKind::Returning, StoryKind::Online, StoryKind::Back];
        assert_eq!(kinds, expected);
        assert_eq!(story.between_ms(StoryKind::Restarted, StoryKind::Online), Some(0.8));
        assert_eq!(story.events().len(), 11);
    }

    #[test]
    fn other_servers_do_not_confuse_it() {
        let mut story = story();
        story.killed(Micros(1_000), 77);
        story.master(&line(2_000, "offline", "b1"));
        story.master(&line(2_100, "announced", "b1"));
        let event = ClientEvent::EnteredFailover { server: 2, attempts: 2 };
        story.client(&Notable::Client { at: Micros(2_200), worker: 0, event });
        assert_eq!(story.events().len(), 1);
    }
}
