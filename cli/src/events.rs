//! The master's events as lines of JSON, for programs that watch a cluster:
//! `{"t_us": …, "time": "2026-05-04T03:02:01.123456Z", "kind": "offline", "server": "a1",
//! "text": "…"}`; `t_us` is in microseconds of `CLOCK_BOOTTIME`.

use std::io;
use std::path::Path;

use serde_json::json;
use standin_master::MasterEvent;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;

use crate::diagnostics::{Diagnostics, Sink, wall_time};

/// An event file that is open for appending. A disk that is full or hangs does not stop the
/// master; lost lines are counted and reported.
pub(crate) struct EventFile {
    sink: Sink,
}

impl EventFile {
    pub(crate) fn open(path: &Path, diagnostics: &Diagnostics) -> io::Result<Self> {
        let note = |count| line("lines_lost", None, &format!("{count} lines were not written"));
        Ok(Self { sink: diagnostics.file("events", "--events", path, note)? })
    }

    pub(crate) fn append(&self, event: &MasterEvent, topology: &Topology) {
        let server = event.server().map(|id| &*topology.servers[usize::from(id)].name);
        let line = line(event.kind(), server, &event.describe(topology));
        self.sink.push(line.as_bytes());
    }

    /// Reopens the file.
    pub(crate) fn reopen(&self) {
        self.sink.reopen();
    }
}

fn line(kind: &str, server: Option<&str>, text: &str) -> String {
    let line = json!({
        "t_us": Micros::boottime().0,
        "time": wall_time(),
        "kind": kind,
        "server": server,
        "text": text,
    });
    format!("{line}\n")
}
