//! The file that `standin master --events FILE` appends to: one JSON object per line,
//! `{"t_us": …, "kind": "offline", "server": "a1", …}`, time in µs of `CLOCK_BOOTTIME`.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use serde::Deserialize;
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MasterLine {
    /// The time, in microseconds of `CLOCK_BOOTTIME`.
    pub t_us: u64,
    /// The kind of the event; see `MasterEvent::kind` of the master.
    pub kind: String,
    /// Name of the server in question.
    #[serde(default)]
    pub server: Option<String>,
    /// The event in words.
    #[serde(default)]
    pub text: String,
}

impl MasterLine {
    /// When.
    #[must_use]
    pub fn at(&self) -> Micros {
        Micros(self.t_us)
    }

    /// The server and the state that it has from now on, if the line is about the announcement of a map.
    #[must_use]
    pub fn announced(&self) -> Option<(&str, ServerState)> {
        if self.kind != "announced" {
            return None;
        }
        let state = ServerState::of_name(self.text.rsplit(' ').next()?)?;
        Some((self.server.as_deref()?, state))
    }
}

/// Reads what is appended to the file.
#[derive(Debug)]
pub struct EventTail {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
}

impl EventTail {
    /// Reads from the beginning of a file that need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, partial: Vec::new() }
    }

    /// Returns the events completed since the last call. Other lines are skipped: the demo must not fail
    /// because of a line that it does not understand.
    pub fn take(&mut self) -> Vec<MasterLine> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        // The master has not created the file yet.
        let Some(file) = &mut self.file else { return Vec::new() };
        if file.read_to_end(&mut self.partial).is_err() {
            return Vec::new();
        }
        // No line is complete yet.
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let complete: Vec<u8> = self.partial.drain(..=end).collect();
        let lines = complete.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn lines_come_once_and_whole() {
        let scratch = Scratch::new("events");
        let path = scratch.file("events.jsonl");
        let mut tail = EventTail::new(&path);
        assert!(tail.take().is_empty(), "not there yet");
        let mut file = File::create(&path).unwrap();
        file.write_all(
            b"{\"t_us\":5,\"kind\":\"offline\",\"server\":\"a1\",\"text\":\"x\"}\n{\"t_us\":6,",
        )
        .unwrap();
        let lines = tail.take();
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].at(), &*lines[0].kind), (Micros(5), "offline"));
        assert_eq!(lines[0].server.as_deref(), Some("a1"));
        assert!(tail.take().is_empty());
        file.write_all(b"\"kind\":\"learned\",\"server\":null}\nnonsense\n").unwrap();
        let lines = tail.take();
        assert_eq!(lines.len(), 1);
        assert_eq!((&*lines[0].kind, lines[0].server.as_deref()), ("learned", None));
    }

    #[test]
    fn an_announcement_says_who_is_in_which_state() {
        let line = |kind: &str, text: &str| MasterLine {
            t_us: 1,
            kind: kind.to_owned(),
            server: Some("a1".to_owned()),
            text: text.to_owned(),
        };
        let announced = line("announced", "announces epoch 3 to 4 servers: a1 is waiting");
        assert_eq!(announced.announced(), Some(("a1", ServerState::Waiting)));
        assert_eq!(line("offline", "a1 is offline").announced(), None);
        assert_eq!(line("announced", "announces epoch 3: a1 is gone").announced(), None);
    }
}
