//! Load from several machines: agents that wait for work, and a coordinator that shares a run out among them.
//!
//! ```text
//! coordinator.rs ── connect, prove, compare clocks ──► agent.rs: one run at a time
//!       │           Prepare: the options                │ fills its share, connects its threads
//!       │        ◄─ Ready ─────────────────────────────┤
//!       │           Go: start at this time of yours ──► │ load/: its threads among those of all
//!       │        ◄─ Progress … Done: a Document ───────┘
//!       └─► report/merge.rs: one Document
//! channel.rs  bounded messages, each with a code that proves the secret     clock.rs  difference of two clocks
//! ```
//! The threads of all agents are numbered through: together they make the schedule and the requests of one run with
//! that many threads. Messages are authenticated, not encrypted.

mod agent;
mod channel;
mod clock;
mod coordinator;
mod message;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use agent::{Agent, Execute};
pub use coordinator::{Coordinator, Shared};
pub use message::{PlaceOfAgent, ScenarioText, Work};

use channel::ChannelError;
use standin_tls::private::{self, FileError};

/// The numbers of load threads that an agent may be asked for.
pub(crate) const WORKERS: RangeInclusive<u32> = 1..=1_024;
/// The shortest secret.
const SECRET_BYTES_MIN: usize = 16;

/// Why agents and coordinator can't work together.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No secret. On loopback, other users of the machine are others.
    #[error(
        "{0} can be reached by others, who could have this machine send load anywhere: give agents and coordinator the \
         same --agent-secret FILE, or --agent-insecure if everybody who can reach it may"
    )]
    Open(String),
    /// A file that a coordinator names.
    #[error(
        "{}: an agent reads only files under its folder; start it with --agent-files FOLDER, and put the file there",
        .0.display()
    )]
    File(PathBuf),
    /// A variable that a coordinator names.
    #[error(
        "an agent sends no variable of its environment anywhere ({0}); put the password into a file under its \
         --agent-files, and name that"
    )]
    Variable(String),
    /// A file that others than its owner can't read.
    #[error(
        "{}: not everybody on the agent's machine may read it, and messages about mistakes in it would show a part of it: \
         `chmod o+r` it if it has no secrets",
        .0.display()
    )]
    Private(PathBuf),
    /// A server that gets no password or certificate of an agent.
    #[error(
        "an agent logs in with its passwords and keys only where its own command line allows it: start it with \
         --agent-targets {0}"
    )]
    Login(String),
    /// A query of a coordinator.
    #[error(
        "an agent reads the keys of the keyspace's own table, or of a file, and executes no --row-query of somebody else: \
         use --existing-rows or --row-keys, or start it with --agent-row-queries"
    )]
    Query,
    /// The folder of an agent's files.
    #[error("--agent-files {path}: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// A coordinator asks for more than an agent takes.
    #[error("an agent takes {max} {what} at most, and {asked} are asked for")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many.
        asked: u64,
        /// The bound.
        max: u64,
    },
    /// The file of the secret can't be used.
    #[error(transparent)]
    Secret(#[from] FileError),
    /// The secret in this file is too short.
    #[error(
        "--agent-secret {}: a secret has {SECRET_BYTES_MIN} bytes or more; `openssl rand -hex 32` makes one",
        .0.display()
    )]
    TooShort(PathBuf),
    /// The agent's own address.
    #[error("--agent {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// The error.
        error: io::Error,
    },
    /// An agent.
    #[error("agent {agent}: {why}; the run has ended")]
    Agent {
        /// Its address.
        agent: String,
        /// What has happened.
        why: String,
    },
    /// The run was interrupted before it had begun.
    #[error("interrupted before the run began")]
    Interrupted,
}

/// What both sides must know.
#[derive(Clone)]
pub struct Secret(Option<[u8; 32]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Secret(…)" } else { "Secret(none)" })
    }
}

impl Secret {
    /// Reads the file of the secret; without one there is none.
    ///
    /// # Errors
    /// [`AgentError::Secret`] and [`AgentError::TooShort`].
    pub fn load(path: Option<&Path>) -> Result<Self, AgentError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let secret = private::password("--agent-secret", path)?;
        if secret.len() < SECRET_BYTES_MIN {
            return Err(AgentError::TooShort(path.to_owned()));
        }
        Ok(Self(Some(blake3::derive_key("standin load agents", &secret))))
    }

    /// Refuses to do without a secret, unless the user says so.
    ///
    /// # Errors
    /// [`AgentError::Open`].
    pub fn check(&self, address: SocketAddr, is_insecure: bool) -> Result<(), AgentError> {
        match self.0.is_some() || is_insecure {
            true => Ok(()),
            false => Err(AgentError::Open(address.to_string())),
        }
    }
}

fn lost(agent: &str, error: &ChannelError) -> AgentError {
    AgentError::Agent { agent: agent.to_owned(), why: error.to_string() }
}
