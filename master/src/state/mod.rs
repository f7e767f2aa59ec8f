//! The state that a master keeps over a restart, as text with a checksum.
//!
//! ```text
//! standin master state 1
//! cluster demo
//! epoch 3.17
//! known 3.17
//! server online 3.2 0123456789abcdef - a1
//! server offline 3.17 fedcba9876543210 verdict a2
//! checksum 0123456789abcdef
//! ```
//! Servers are stored by name, because the cluster file may have been edited meanwhile.
//! [`crate::shell`] reads and writes the file.

use standin_protocol::hash::key_hash;
use standin_protocol::map::{MapEpoch, ServerState, ServerStatus};

const FIRST_LINE: &str = "standin master state 1";

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The name of the cluster.
    pub cluster: String,
    /// The epoch of these states. Its term is the highest that a master has used.
    pub epoch: MapEpoch,
    /// The epoch up to which these states contain everything that servers may have heard. It is
    /// zero if the states come from the cluster file alone. It is older than `epoch` if the master
    /// stopped before it had announced anything.
    pub known: MapEpoch,
    /// All servers.
    pub servers: Vec<SavedServer>,
}

/// One server in the state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedServer {
    /// The name of the server.
    pub name: String,
    /// The status of the server that was announced last.
    pub status: ServerStatus,
    /// Whether it is offline by verdict (or because of flapping), and not because it left.
    pub by_verdict: bool,
}

/// The reason why the bytes are not a valid state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes are not text, or not text of this kind.
    #[error("this is not the state of a Standin master")]
    NotOurs,
    /// The checksum does not match.
    #[error("the checksum does not match; the file was truncated or edited")]
    Checksum,
    /// A line can't be parsed.
    #[error("line {0} can't be parsed")]
    Line(usize),
}

impl State {
    /// Returns the text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let Self { cluster, epoch, known, .. } = self;
        let mut text = format!("{FIRST_LINE}\ncluster {cluster}\nepoch {epoch}\nknown {known}\n");
        for SavedServer { name, status, by_verdict } in &self.servers {
            let ServerStatus { state, since, boot_id } = status;
            let why = if *by_verdict { "verdict" } else { "-" };
            // Writing to a `String` can't fail.
            let _ = writeln!(text, "server {state} {since} {boot_id:016x} {why} {name}");
        }
        let _ = writeln!(text, "checksum {:016x}", key_hash(0, text.as_bytes()));
        text
    }

    /// Parses the bytes of the file.
    ///
    /// # Errors
    /// [`StateError`]. The state must not be used in part.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let text = std::str::from_utf8(bytes).map_err(|_| StateError::NotOurs)?;
        if text.lines().next() != Some(FIRST_LINE) {
            return Err(StateError::NotOurs);
        }
        let body_len = text.rfind("checksum ").ok_or(StateError::Checksum)?;
        let (body, last) = text.split_at(body_len);
        if last != format!("checksum {:016x}\n", key_hash(0, body.as_bytes())) {
            return Err(StateError::Checksum);
        }
        let mut lines = (1..).zip(body.lines()).skip(1);
        let mut field = |name: &str| {
            let (number, line) = lines.next().ok_or(StateError::NotOurs)?;
            let rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
            Ok((number, rest.ok_or(StateError::Line(number))?))
        };
        let (_, cluster) = field("cluster")?;
        let (number, epoch) = field("epoch")?;
        let epoch = read_epoch(epoch).ok_or(StateError::Line(number))?;
        let (number, known) = field("known")?;
        let known = read_epoch(known).ok_or(StateError::Line(number))?;
        let servers = lines
            .map(|(number, line)| read_server(line).ok_or(StateError::Line(number)))
            .collect::<Result<_, _>>()?;
        Ok(Self { cluster: cluster.to_owned(), epoch, known, servers })
    }

    /// Returns the entry of the server with this name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&SavedServer> {
        self.servers.iter().find(|server| server.name == name)
    }
}

fn read_epoch(text: &str) -> Option<MapEpoch> {
    let (term, counter) = text.split_once('.')?;
    Some(MapEpoch { term: term.parse().ok()?, counter: counter.parse().ok()? })
}

fn read_server(line: &str) -> Option<SavedServer> {
    // The name comes last because it may contain spaces.
    let mut parts = line.splitn(6, ' ');
    let ("server", state, since, boot_id, why, name) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?)
    else {
        return None;
    };
    let state = ServerState::of_name(state)?;
    let by_verdict = match why {
        "verdict" => true,
        "-" => false,
        _ => return None,
    };
    let boot_id = u64::from_str_radix(boot_id, 16).ok()?;
    let status = ServerStatus { state, since: read_epoch(since)?, boot_id };
    Some(SavedServer { name: name.to_owned(), status, by_verdict })
}

#[cfg(test)]
mod tests;
