//! The master's events as lines of JSON, for whoever watches a cluster:
//! `{"t_us": …, "kind": "offline", "server": "a1", "text": "…"}`, time in microseconds of
//! `CLOCK_BOOTTIME`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;
use standin_master::MasterEvent;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;

/// An event file that is open for appending.
#[derive(Debug)]
pub(crate) struct EventFile {
    file: File,
}

impl EventFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("--events {}: {error}", path.display()))
        })?;
        Ok(Self { file })
    }

    pub(crate) fn append(&self, event: &MasterEvent, topology: &Topology) {
        let server = event.server().map(|id| &*topology.servers[usize::from(id)].name);
        let line = json!({
            "t_us": Micros::boottime().0,
            "kind": event.kind(),
            "server": server,
            "text": event.describe(topology),
        });
        // One write per line; a full disk must not stop the master.
        let _ = (&self.file).write_all(format!("{line}\n").as_bytes());
    }
}
