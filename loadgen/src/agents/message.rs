//! What coordinator and agents say to each other.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use crate::report::document::Document;

/// The version of these messages. Beside it, both sides must be of the same version of Standin: a run's requests depend
/// on it.
pub(super) const VERSION: u32 = 2;

/// From the coordinator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ToAgent {
    /// The answer to the agent's hello.
    Begin {
        version: u32,
        standin: String,
        nonce: String,
        /// Proves the secret, if there is one.
        proof: Option<String>,
    },
    /// Asks for the clocks.
    Clock,
    /// The run.
    Prepare(Box<Work>),
    /// All agents are ready: start the next part of the run at this time of your clock.
    Go { start_us: u64 },
    /// Send nothing more, and tell what there is.
    Stop,
}

/// From an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ToCoordinator {
    /// The first message of a connection.
    Hello { version: u32, standin: String, nonce: String },
    /// The coordinator may go on.
    Welcome { proof: Option<String> },
    /// It may not.
    Refused { why: String },
    /// The clocks.
    Clock(Clocks),
    /// Waits for the others.
    Ready,
    /// Still there, and how far.
    Progress { ended: u64, failed: u64, bad: u64, reads: u64, hits: u64 },
    /// The run is over.
    Done { document: Box<Document> },
    /// The run has failed.
    Failed { why: String },
}

/// The run, and the agent's part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The command line of the coordinator, behind `standin load`.
    pub arguments: Vec<String>,
    /// The scenario that it names.
    pub scenario: Option<ScenarioText>,
    /// Load threads of each agent.
    pub workers: u32,
    /// The agent among all.
    pub place: PlaceOfAgent,
}

/// The text of a scenario. Paths in it are those of the agent's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioText {
    /// The name of its file, for messages.
    pub name: String,
    /// The text.
    pub text: String,
}

/// An agent among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceOfAgent {
    /// Its number, from 0.
    pub number: u32,
    /// The number of agents.
    pub of: u32,
}
