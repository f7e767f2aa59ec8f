//! The origin: the user's database, behind bounded queues and on threads of its own. A shard
//! submits a [`Call`] and never waits. Each call gets exactly one answer, a [`Done`] in the shard's
//! mailbox.
//!
//! ```text
//! shard ──submit──► reads │ writes: by keyspace, in turn, bounded ──► driver threads ──► database
//!   ▲      │                                  │
//!   │      └─ a ticket per call ──► overdue   │ finish
//!   └────────── deliver(Done) ◄─────┴─────────┘ whichever is first
//! ```
//!
//! ```text
//! checks.rs      what is known without asking the database
//! ticket.rs      a call's claim to exactly one answer
//! overdue.rs     the thread that answers for a database which does not
//! fair/          how many calls may wait, and whose turn it is
//! pause.rs       writes that waited while this process was stopped
//! queue.rs       handing them to the threads
//! failure_log.rs the lines in the log about failed calls
//! health.rs      up or down, and why
//! locks.rs       the lock that calls wait for, and who holds it
//! threads.rs     driver threads: started again after a panic, joined within a bound
//! statements.rs  SQL of each keyspace in the driver's dialect
//! value.rs       bytes on the wire ↔ columns
//! sqlite/        reader threads and one writer thread with batches
//! postgres/      connections of one thread, pipelined
//! ```
//!
//! Calls are not ordered: the node has at most one write of a key under way. A write whose outcome
//! is unknown may still happen after its answer. Each driver says how it prevents such a write from
//! overtaking a later one of this server.

mod checks;
mod failure_log;
mod fair;
mod health;
mod locks;
mod overdue;
pub mod pause;
mod postgres;
mod queue;
mod sqlite;
mod statements;
mod threads;
mod ticket;
mod value;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use standin_config::{KeyspaceConfig, OriginConfig, OriginKind};
use standin_protocol::time::Micros;

use failure_log::FailureLog;
use health::HealthCell;
pub use health::{Health, State};
use locks::LockCell;
pub use locks::LockWait;
use overdue::Overdue;
use pause::Heartbeat;
use queue::{Job, NotTaken, Queues};
use statements::Statements;
use threads::Threads;
use ticket::Ticket;

/// The time beyond a call's `timeout` for which a shutdown waits for the driver threads.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// The largest length of an error text of the database that is reported.
const TEXT_BYTES_MAX: usize = 1_000;

/// A shard's request to the database.
#[derive(Debug, Clone)]
pub struct Call {
    /// The shard that gets the answer.
    pub shard: u16,
    /// A number that is returned in [`Done::token`]. It means something only to the shard.
    pub token: u64,
    /// Id of the keyspace.
    pub keyspace: u8,
    /// The operation.
    pub operation: Operation,
    /// The key as in the request.
    pub key: Box<[u8]>,
    /// The time at which the shard made the call. If this process has been stopped since, the
    /// reason for the decision (for a write, the lease) may no longer hold.
    pub made: Micros,
    /// The time after which nobody waits for the answer; [`Micros::NEVER`] for none. The configured
    /// `timeout` applies as well, counted from [`Origin::submit`].
    pub deadline: Micros,
}

/// The operation on the key.
#[derive(Debug, Clone)]
pub enum Operation {
    /// The keyspace's `get`.
    Get,
    /// The keyspace's `put`.
    Put {
        /// The value as in the request.
        value: Bytes,
        /// The client's flags of the value.
        flags: u32,
    },
    /// The keyspace's `delete`.
    Delete,
}

impl Operation {
    fn is_write(&self) -> bool {
        !matches!(self, Self::Get)
    }
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The [`Call::token`].
    pub token: u64,
    /// The outcome.
    pub outcome: Outcome,
    /// When it was last sent to the database, if it was.
    pub sent: Option<Micros>,
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The answer to a get: the value, or `None` if there is no row, or its first column is NULL.
    Value(Option<RowValue>),
    /// The answer to a put or delete: it has been committed.
    Written {
        /// The number of rows that the statement changed, as the database counts them (see
        /// docs/PROTOCOL.md); 1 if it does not count them.
        rows: u64,
        /// The content of the row after a put, according to the keyspace's `after_put`.
        stored: Stored,
    },
    /// The call failed.
    Failed(Failure),
}

impl Outcome {
    /// Whether it is unknown if a write has happened, or may still happen.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_in_doubt())
    }

    /// Whether a write has happened, or it is in doubt.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        !matches!(self, Self::Failed(failure) if !failure.is_in_doubt())
    }

    /// Creates the outcome of a delete, or of a put after which nothing is cached.
    #[must_use]
    pub fn changed(rows: u64) -> Self {
        Self::Written { rows, stored: Stored::Unknown }
    }
}

/// The knowledge of a row after a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Unknown: the next request has to read it.
    Unknown,
    /// It contains the value that was sent.
    Sent,
    /// It contains this value; `None`: `get` finds no row, or NULL.
    Row(Option<RowValue>),
}

/// What a row holds for the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowValue {
    /// The value.
    pub bytes: Bytes,
    /// The clients' flags; 0 if the keyspace has no column for them.
    pub flags: u32,
}

impl<B: Into<Bytes>> From<B> for RowValue {
    fn from(bytes: B) -> Self {
        Self { bytes: bytes.into(), flags: 0 }
    }
}

/// The reason why a call failed, classified by what the caller may conclude from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The database is unreachable, locked or full, or gave up. Certainly not executed.
    Unavailable,
    /// The same, and the text says why.
    Refused(String),
    /// A write that may or may not have happened, or may still happen.
    OutcomeUnknown,
    /// The same, and the text says why.
    Doubtful(String),
    /// A read timed out.
    Timeout,
    /// Too many calls wait: the caller's answer for a call that [`Origin::submit`] returned.
    /// Certainly not executed.
    Overloaded,
    /// The database refused the call, or it violates the keyspace's definition; the text says why.
    /// Certainly not executed, and it would fail again.
    Rejected(String),
}

impl Failure {
    /// Whether the write may have happened, or may still happen.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::OutcomeUnknown | Self::Doubtful(_))
    }

    /// Returns the database's error text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Refused(text) | Self::Doubtful(text) | Self::Rejected(text) => Some(text),
            Self::Unavailable | Self::OutcomeUnknown | Self::Timeout | Self::Overloaded => None,
        }
    }
}

/// Cuts an error text of the database to [`TEXT_BYTES_MAX`].
fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

/// The destination of answers: the shards' mailboxes.
pub trait Completions: Send + Sync {
    /// Takes an answer. Called from driver threads, and also by [`Origin::submit`] on
    /// the submitting thread; it must neither block nor call the origin.
    fn deliver(&self, shard: u16, done: Done);
}

/// The reason why an origin cannot be started. An unreachable database is not one.
#[derive(Debug, thiserror::Error)]
pub enum OriginStartError {
    /// A keyspace's statement.
    #[error("keyspace {keyspace}: the database does not accept `{statement}`: {message}")]
    Statement {
        /// Name of the keyspace.
        keyspace: String,
        /// `get`, `put` or `delete`.
        statement: &'static str,
        /// The error.
        message: String,
    },
    /// The statements to run at start.
    #[error("[origin] init failed: {0}")]
    Init(String),
    /// The connection string.
    #[error("[origin] url: {0}")]
    Url(String),
    /// The password or a certificate, which a server reads itself.
    #[error("[origin] {0}")]
    Access(String),
    /// The system refused a thread.
    #[error("cannot start a thread for the origin: {0}; raise the limit of processes (ulimit -u)")]
    Thread(#[from] std::io::Error),
}

/// Handle to the origin; clones share it. In a cluster whose keyspaces have no rows there is no
/// database, and the handle has nothing to do.
#[derive(Clone)]
pub struct Origin {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    completions: Arc<dyn Completions>,
    statements: Arc<Statements>,
    timeout: Duration,
    queues: Queues,
    health: Arc<HealthCell>,
    locks: Arc<LockCell>,
    overdue: Arc<Overdue>,
    heartbeat: Arc<Heartbeat>,
    failure_log: Arc<FailureLog>,
    closing: AtomicBool,
    /// Taken by the first shutdown.
    threads: Mutex<Option<Threads>>,
}

impl Origin {
    /// Starts the driver threads. Waits for PostgreSQL's first connection attempt (a few seconds at
    /// most), so that the first calls find it up. A write that was waiting when this process was
    /// stopped for more than `pause_max` never begins.
    ///
    /// # Errors If the configuration cannot work: see [`OriginStartError`]. An unreachable database
    /// is not an error: the driver keeps trying to connect.
    pub fn start(
        config: Option<&OriginConfig>,
        keyspaces: &[KeyspaceConfig],
        completions: Arc<dyn Completions>,
        pause_max: Duration,
    ) -> Result<Self, OriginStartError> {
        let Some(config) = config else { return Ok(Self { inner: None }) };
        let statements = Arc::new(Statements::translate(&config.kind, keyspaces)?);
        let health = Arc::new(HealthCell::default());
        let locks = Arc::new(LockCell::default());
        let mut threads = Threads::default();
        let heartbeat = Arc::new(Heartbeat::new(pause_max));
        let failure_log = Arc::new(FailureLog::default());
        let overdue = Arc::new(Overdue::new(Arc::clone(&heartbeat), Arc::clone(&failure_log)));
        let (watched, known) = (Arc::clone(&overdue), Arc::clone(&statements));
        threads.spawn("origin-overdue", move || watched.run())?;
        let started = match &config.kind {
            OriginKind::Sqlite { path, init } => {
                let file = sqlite::Setup {
                    path: path.clone(),
                    init: init.clone(),
                    statements,
                    failure_log: Arc::clone(&failure_log),
                };
                sqlite::start(config, file, &health, &mut threads)
            }
            OriginKind::Postgres { url, access, connections, init } => {
                let server = postgres::Setup {
                    url,
                    access,
                    connections: *connections,
                    init: init.clone(),
                    statements,
                    failure_log: Arc::clone(&failure_log),
                };
                postgres::start(config, server, &health, &locks, &mut threads)
            }
        };
        let queues = match started {
            Ok(queues) => queues,
            Err(error) => {
                overdue.close();
                threads.join(config.timeout + SHUTDOWN_GRACE);
                return Err(error);
            }
        };
        let threads = Mutex::new(Some(threads));
        let (timeout, closing) = (config.timeout, AtomicBool::new(false));
        let inner = Inner {
            completions,
            statements: known,
            timeout,
            queues,
            health,
            locks,
            overdue,
            heartbeat,
            failure_log,
            closing,
            threads,
        };
        Ok(Self { inner: Some(Arc::new(inner)) })
    }

    /// Submits a call. Its answer is delivered later, or before this returns if it is already known
    /// (deadline passed, PostgreSQL known to be down, shutdown).
    ///
    /// # Errors The call itself if too many calls wait. It gets no answer: tell the client that the
    /// origin is overloaded.
    ///
    /// # Panics
    /// If there is no database: only keyspaces with rows make calls, and they require one.
    pub fn submit(&self, call: Call) -> Result<(), Call> {
        self.inner.as_ref().expect("only keyspaces with rows make calls").submit(call)
    }

    /// Whether there is a database.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether the database was reachable at the last attempt. One that does not exist counts as
    /// reachable.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.as_ref().map_or(Health::Up, |inner| inner.health.get())
    }

    /// Returns the reason why the database is unreachable, if it is.
    #[must_use]
    pub fn outage(&self) -> Option<String> {
        self.inner.as_ref()?.health.reason()
    }

    /// Returns what this server knows of the database now.
    #[must_use]
    pub fn state(&self) -> State {
        let lock_wait = self.inner.as_ref().and_then(|inner| inner.locks.get());
        State { health: self.health(), outage: self.outage(), lock_wait }
    }

    /// Returns the number of reads and of writes that wait, and their bytes; `None` if there is no
    /// database.
    #[must_use]
    pub fn waiting(&self) -> Option<[(&'static str, (usize, usize)); 2]> {
        let queues = &self.inner.as_ref()?.queues;
        Some([("read", queues.reads.waiting()), ("write", queues.writes.waiting())])
    }

    /// Stops taking calls, lets the submitted ones finish (each within its `timeout`), answers
    /// those that have not, and ends the threads. A thread that hangs in the database for longer
    /// than that is left behind.
    pub fn shutdown(self) {
        let timeout = self.inner.as_ref().map_or(Duration::ZERO, |inner| inner.timeout);
        self.shutdown_within(timeout + SHUTDOWN_GRACE * 2);
    }

    /// Shuts down like [`Self::shutdown`], but within this time. Returns false if a thread is left
    /// behind.
    pub fn shutdown_within(self, within: Duration) -> bool {
        let Some(inner) = self.inner else { return true };
        inner.stop();
        let threads = inner.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let have_ended = threads.is_none_or(|threads| {
            // The driver threads get the rest of the time to end.
            inner.overdue.close_when_idle(within - (within / 4).min(SHUTDOWN_GRACE));
            threads.join(within)
        });
        inner.failure_log.flush();
        have_ended
    }
}

impl Inner {
    fn submit(&self, call: Call) -> Result<(), Call> {
        let now = Micros::boottime();
        let due = call.deadline.min(now + self.timeout);
        let ticket = Ticket::new(&call, due, &self.completions, &self.heartbeat);
        if due <= now {
            ticket.expire();
            return Ok(());
        }
        if self.closing.load(Ordering::Acquire) {
            ticket.finish(Outcome::Failed(Failure::Unavailable));
            return Ok(());
        }
        if let Err(failure) = self.statements.of(&call) {
            ticket.finish(Outcome::Failed(failure));
            return Ok(());
        }
        let watch = ticket.watch();
        match self.queues.push(Job { call, ticket, tries: 0, wants_alone: false }) {
            Ok(()) => {
                self.overdue.add(watch);
                Ok(())
            }
            Err(NotTaken::Refused(job, reason)) => {
                job.ticket.finish(Outcome::Failed(Failure::Refused(reason)));
                Ok(())
            }
            Err(NotTaken::Full(job)) => {
                let Job { call, ticket, .. } = *job;
                ticket.withdraw();
                Err(call)
            }
        }
    }

    /// Tells the driver threads to end after they have processed the waiting calls.
    fn stop(&self) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            self.queues.stop();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
        self.overdue.close();
    }
}
