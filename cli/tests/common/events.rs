//! The file that `standin master --events` writes. It lists the events of the master in order.

use std::path::PathBuf;

use standin_testkit::wait::poll_for;

use super::WITHIN;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub t_us: u64,
    pub kind: String,
    pub server: String,
    pub text: String,
}

/// The event file.
pub struct Events {
    path: PathBuf,
}

impl Events {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns all events so far. An incomplete last line is left for the next call.
    pub fn all(&self) -> Vec<Event> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                let json: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
                let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
                let t_us = json["t_us"].as_u64().expect("a time");
                Event { t_us, kind: text("kind"), server: text("server"), text: text("text") }
            })
            .collect()
    }

    /// Returns the number of events so far. Later ones have this index or a higher one.
    pub fn mark(&self) -> usize {
        self.all().len()
    }

    /// Returns the events of a kind about a server, from a mark on.
    pub fn of(&self, mark: usize, kind: &str, server: &str) -> Vec<Event> {
        let all = self.all().into_iter().skip(mark);
        all.filter(|event| event.kind == kind && event.server == server).collect()
    }

    /// Waits until these (kind, server) have happened in this order, possibly with others in
    /// between, and returns them.
    #[track_caller]
    pub fn wait_in_order(&self, mark: usize, wanted: &[(&str, &str)]) -> Vec<Event> {
        let found = poll_for(WITHIN, || {
            let found = in_order(self.all().into_iter().skip(mark), wanted);
            (found.len() == wanted.len()).then_some(found)
        });
        found.unwrap_or_else(|| {
            let all: Vec<Event> = self.all().into_iter().skip(mark).collect();
            panic!("{wanted:?} has not happened in this order: {all:#?}")
        })
    }
}

fn in_order(events: impl Iterator<Item = Event>, wanted: &[(&str, &str)]) -> Vec<Event> {
    let mut found = Vec::new();
    for event in events {
        if wanted.get(found.len()) == Some(&(event.kind.as_str(), event.server.as_str())) {
            found.push(event);
        }
    }
    found
}
