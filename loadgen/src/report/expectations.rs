//! What a scenario expected of its run, and what became of it; and what masters have announced.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use standin_protocol::map::ServerState;

use crate::faults::Announcement;

/// Conditions, and whether they were kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The conditions.
    pub that: String,
    /// The event behind which they had to be kept; `None`: in the whole run.
    pub since: Option<String>,
    /// Whether all of them were.
    pub is_kept: bool,
    /// Those that were not, with their figures.
    pub misses: Vec<String>,
}

/// What the master of a Standin cluster of the scenario has announced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// When, in seconds since the first request.
    pub t_s: f64,
    /// The server, by its name in the scenario.
    pub server: String,
    /// Its state from then on.
    pub state: String,
}

impl From<&Announcement> for Announced {
    fn from(Announcement { at, server, state }: &Announcement) -> Self {
        let (server, state) = (server.clone(), state.name().to_owned());
        Self { t_s: at.as_secs_f64(), server, state }
    }
}

/// The number of servers that were announced as out of service between these times, because they did not answer.
pub(crate) fn servers_out(announcements: &[Announced], (from_s, until_s): (f64, f64)) -> u64 {
    let out = [ServerState::Offline, ServerState::Waiting].map(ServerState::name);
    let within = announcements
        .iter()
        .filter(|one| (from_s..until_s).contains(&one.t_s) && out.contains(&one.state.as_str()));
    within.map(|one| &one.server).collect::<BTreeSet<_>>().len() as u64
}

impl Expectation {
    /// The conditions and where they hold, and what became of them.
    pub(crate) fn words(&self) -> [String; 2] {
        let since = self.since.as_ref().map(|since| format!(" since {since}"));
        let outcome = match self.is_kept {
            true => "kept".to_owned(),
            false => format!("MISSED ({})", self.misses.join("; ")),
        };
        [format!("{}{}", self.that, since.unwrap_or_default()), outcome]
    }
}

/// Lines for the terminal; nothing without expectations.
pub(crate) fn lines(expectations: &[Expectation]) -> String {
    let mut text = String::new();
    for [that, outcome] in expectations.iter().map(Expectation::words) {
        let _ = writeln!(text, "  expected {that}: {outcome}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_says_what_became_of_it() {
        let kept = Expectation {
            that: "failed=0".to_owned(),
            since: None,
            is_kept: true,
            misses: Vec::new(),
        };
        let missed = Expectation {
            since: Some("kill a".to_owned()),
            is_kept: false,
            misses: vec!["failed=0: 3".to_owned()],
            ..kept.clone()
        };
        let text = lines(&[kept, missed]);
        let expected =
            "  expected failed=0: kept\n  expected failed=0 since kill a: MISSED (failed=0: 3)\n";
        assert_eq!(text, expected);
    }
}
