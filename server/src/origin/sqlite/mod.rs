//! The driver for SQLite: `concurrency` reader threads, and one writer thread that commits all
//! waiting writes in one transaction. Several processes may use one file at once.
//!
//! ```text
//! reads  ──► reader 0..n   each its own connection, read-only, prepared statements
//! writes ──► writer        BEGIN IMMEDIATE, up to 256 writes, COMMIT, then the answers
//! ```
//!
//! ```text
//! connection.rs   opening, checking and preparing the file
//! failure.rs      SQLite's errors → what a caller may conclude
//! files.rs        the file, its log and the log's index: what has become of them
//! fit.rs          whether statements fit their keyspace
//! gate.rs         all connections are closed before one is opened anew
//! reader.rs       one read after the other
//! view.rs         whether a statement writes to a view
//! writer.rs       batches
//! ```
//!
//! **Durability.** The file is in WAL mode with `synchronous=FULL`: an acknowledged write survives
//! a crash of the process and, unless the disk loses synced data, of the machine. `PRAGMA
//! synchronous=NORMAL` in `init` gives up the latter for speed, until the file is opened again.
//!
//! **Order.** The writer takes writes in the order of their submission, so a write whose outcome
//! was unknown has ended before the next begins.

mod connection;
mod failure;
mod files;
mod fit;
mod gate;
mod reader;
mod view;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use standin_config::OriginConfig;

use super::failure_log::FailureLog;
use super::fair::Bounds;
use super::health::HealthCell;
use super::queue::{Lane, Queues};
use super::statements::Statements;
use super::threads::Threads;
use super::{Call, Failure, OriginStartError};
use connection::{Access, Connection, OpenError};
use failure::Trouble;
use gate::Gate;

/// The interval at which a thread without a connection checks whether the file is back, even
/// without calls, so that [`super::Health`] is up to date.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The settings for opening and using the file.
pub(super) struct Setup {
    pub(super) path: PathBuf,
    pub(super) init: Option<String>,
    pub(super) statements: Arc<Statements>,
    pub(super) failure_log: Arc<FailureLog>,
}

/// The state shared by the threads.
struct Shared {
    setup: Setup,
    health: Arc<HealthCell>,
    gate: Arc<Gate>,
    /// Whether `init` has run, which only the writer's connection does. Until then a missing file
    /// is created; afterwards it is a failure.
    initialised: AtomicBool,
}

/// Opens the file, checks the statements and starts the threads.
///
/// # Errors If `init` or a statement is wrong, provided that the file can be opened.
pub(super) fn start(
    config: &OriginConfig,
    setup: Setup,
    health: &Arc<HealthCell>,
    threads: &mut Threads,
) -> Result<Queues, OriginStartError> {
    let shared = Arc::new(Shared {
        setup,
        health: Arc::clone(health),
        gate: Arc::default(),
        initialised: AtomicBool::new(false),
    });
    // The connection that ran `init` becomes the writer's, with the settings that `init` made.
    let first = Mutex::new(shared.first_connection()?);
    let readers = usize::try_from(config.concurrency).unwrap_or(1).max(1);
    let calls = usize::try_from(config.queue).unwrap_or(usize::MAX).max(1);
    let bytes = usize::try_from(config.queue_bytes).unwrap_or(usize::MAX);
    // One writer takes all writes in their order, because the file has one lock for all of them.
    let bounds = |workers| Bounds { calls, bytes, workers, depth: 1, is_ordered: false };
    let lane = |is_write, workers| {
        Lane::new(bounds(workers), shared.setup.statements.ids(is_write), Arc::default())
    };
    let queues = Queues { reads: lane(false, readers), writes: lane(true, 1) };
    shared.gate.wakes(queues.clone());
    let spawned = (|| {
        let (writer, lanes) = (Arc::clone(&shared), queues.clone());
        threads.spawn("origin-writer", move || {
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            writer::run(&writer, first, &lanes.writes);
        })?;
        for index in 0..readers {
            let (reader, lanes) = (Arc::clone(&shared), queues.clone());
            threads.spawn(&format!("origin-read-{index}"), move || {
                reader::run(&reader, index, &lanes.reads);
            })?;
        }
        Ok(())
    })();
    match spawned {
        Ok(()) => Ok(queues),
        Err(error) => {
            queues.stop();
            Err(error)
        }
    }
}

impl Shared {
    /// Returns the answer to a call for which there is no connection.
    fn unavailable(&self) -> Failure {
        match self.health.reason() {
            Some(reason) => Failure::Refused(format!("the database is unreachable: {reason}")),
            None => Failure::Unavailable,
        }
    }

    fn log_failure(&self, call: &Call, trouble: &Trouble) {
        if let Ok((keyspace, _)) = self.setup.statements.of(call) {
            self.setup.failure_log.log(&keyspace.name, &trouble.code(), trouble);
        }
    }

    /// Opens the first connection. Returns `None` if the file cannot be used now.
    fn first_connection(&self) -> Result<Option<Connection>, OriginStartError> {
        match self.open(Access::Write) {
            Ok(connection) => {
                connection.check(&self.setup.statements)?;
                Ok(Some(connection))
            }
            Err(OpenError::Init(message)) => Err(OriginStartError::Init(message)),
            Err(error) => {
                self.health.mark_down(&error);
                Ok(None)
            }
        }
    }

    /// Opens the file. At the first opening for writing, runs `init`.
    fn open(&self, access: Access) -> Result<Connection, OpenError> {
        let initialised = self.initialised.load(Ordering::Acquire);
        if !initialised && access == Access::Read {
            return Err(OpenError::NotInitialised);
        }
        let connection = Connection::open(&self.setup.path, access, !initialised, &self.gate)?;
        if !initialised {
            if let Some(init) = &self.setup.init {
                connection.initialise(init)?;
            }
            self.initialised.store(true, Ordering::Release);
        }
        self.health.mark_up();
        Ok(connection)
    }

    /// Opens the file for a thread that continues without it after a failure, which is noted.
    fn try_open(&self, access: Access) -> Option<Connection> {
        match self.open(access) {
            Ok(connection) => Some(connection),
            // The writer's failure is the reason, and it has been noted.
            Err(OpenError::NotInitialised) => None,
            Err(error) => {
                if let OpenError::Init(message) = &error {
                    // It is too late to refuse the start, and retrying would not help. From now on
                    // each statement's own error says what is wrong.
                    tracing::error!("[origin] init failed: {message}");
                    self.initialised.store(true, Ordering::Release);
                }
                self.health.mark_down(&error);
                None
            }
        }
    }
}
