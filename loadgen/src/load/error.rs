//! The reasons why there was no load, or no report of it.

use std::path::PathBuf;

use standin_config::ConfigErrors;
use standin_protocol::map::MapError;

use super::access::AccessError;
use crate::agents::AgentError;
use crate::database::{DatabaseError, KeysError};
use crate::drive::DriveError;
use crate::faults::SettingError;
use crate::observer::usage::UsageError;
use crate::origin::OriginError;
use crate::report::FilesError;
use crate::schedule::phases::PhasesError;
use crate::targets::address::UrlError;
use crate::trace::TraceError;

/// Why there was no load, or no report of it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The cluster file.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The topology.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The trace.
    #[error("trace {path}: {error}")]
    Trace {
        /// The file.
        path: PathBuf,
        /// The mistake.
        error: TraceError,
    },
    /// No such keyspace.
    #[error("the cluster file has no keyspace {name:?}; it has: {known}")]
    Keyspace {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The URL of the target.
    #[error("--target: {0}")]
    Target(#[from] UrlError),
    /// TLS or login of the target.
    #[error("--target: {0}")]
    Access(#[from] AccessError),
    /// The database.
    #[error("--database: {0}")]
    Database(DatabaseError),
    /// A table of the run's own.
    #[error("--database: {0}")]
    Origin(OriginError),
    /// No server of the cluster has answered.
    #[error(
        "no server of the cluster answers: {0}; if the cluster has a secret, use --config instead \
         of --target, or the --user or certificate that it knows"
    )]
    NoCluster(String),
    /// The options contradict the cluster file or the target.
    #[error("{0}")]
    Options(String),
    /// Nothing was measured.
    #[error("interrupted during {0}: nothing was measured")]
    Interrupted(&'static str),
    /// Reads of the warm-up were stale or wrong.
    #[error(
        "{bad} reads of the warm-up were stale or wrong; run it without --warm-up for what is known of them"
    )]
    StaleWarmUp {
        /// How many.
        bad: u64,
    },
    /// Not every key could be written.
    #[error("{failed} of {keys} keys could not be filled; the first error: {first}")]
    Fill {
        /// Their number.
        failed: u64,
        /// Of how many.
        keys: u64,
        /// The first failure.
        first: String,
    },
    /// Keys of existing rows.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The rows are in no database that is known.
    #[error(
        "existing rows are in a database, and the cluster file has no [origin]: use a file that has one, or --row-keys \
         without --check"
    )]
    RowsWithoutOrigin,
    /// What rows have could not be read.
    #[error("{unread} existing rows could not be read before the run: {why}")]
    Rows {
        /// Their number.
        unread: u64,
        /// The first error.
        why: String,
    },
    /// The scenario's processes.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The load.
    #[error(transparent)]
    Drive(DriveError),
    /// Phases of the rate.
    #[error("--phases: {0}")]
    Phases(#[from] PhasesError),
    /// The target's processes.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Agents.
    #[error(transparent)]
    Agents(#[from] AgentError),
    /// Files of the report.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file or a thread.
    #[error("{what}: {error}")]
    System {
        /// The action that failed.
        what: String,
        /// The error.
        error: std::io::Error,
    },
}

/// The part of a run in which there are no connections yet.
const OPENING: &str = "the opening of connections";

impl From<DriveError> for LoadError {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Interrupted | DriveError::Database(DatabaseError::Interrupted) => {
                Self::Interrupted(OPENING)
            }
            error => Self::Drive(error),
        }
    }
}

impl From<OriginError> for LoadError {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Interrupted => Self::Interrupted("the making of the run's table"),
            error => Self::Origin(error),
        }
    }
}

impl From<DatabaseError> for LoadError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Interrupted => Self::Interrupted(OPENING),
            error => Self::Database(error),
        }
    }
}

impl LoadError {
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}
