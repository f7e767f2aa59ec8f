//! The driver for PostgreSQL and databases that speak its wire protocol: one thread, a few
//! connections, statements prepared on each.
//!
//! ```text
//! reads  ──► dispatch ──► a task per call ──► connection 0..n, reads pipelined ──► server
//! writes ──► (fair/)                     ──► connection 0..n, see pace.rs     ──►
//!                          watch ───────────► one connection, empty queries    ──►
//!                              ▲
//!                              a task per connection: connect, prepare the session,
//!                              wait for its end, connect again with growing pauses
//! ```
//!
//! ```text
//! connect.rs   opens a connection and sets up its session
//! connection.rs one connection: its session and prepared statements
//! pool.rs      the connections: used, lost, opened again; whether the server answers
//! fit.rs       whether statements fit their keyspace
//! key.rs       whether its keys are keys to the database
//! folding.rs   whether the database folds letters as key_case does
//! locks.rs     who holds the lock that statements wait for
//! pace.rs      how many writes a connection has at once
//! call.rs      one call: sent, retried where that is safe, answered
//! tasks.rs     tasks whose panic is the thread's
//! failure.rs   the server's errors → what a caller may conclude
//! types.rs     the types of parameters
//! column.rs    parameters and columns in PostgreSQL's binary format
//! ```
//! Where the server is, and who may connect to it as whom, is the crate standin-postgres.
//!
//! **Locks.** A statement that waits for a lock is not an outage. Reads have connections of their
//! own, a connection has statements of one keyspace at a time, and no keyspace gets all of them. A
//! separate connection checks whether the server answers.
//!
//! **Time.** The session's `statement_timeout` is a little shorter than the time that a write has
//! left, so that the server usually reports the outcome of a slow one. While several writes are on
//! a connection it is short, and a write that it ends is sent again. A connection on which nothing
//! was received for the time of a call is given up.
//!
//! **Order.** A write is sent only when no other write of its row is under way, so a late one
//! cannot overtake one that was submitted after it. A write of unknown outcome can take effect
//! later only if its connection was lost while the server had not executed it yet.

mod call;
mod column;
mod connect;
mod connection;
mod failure;
mod fit;
mod folding;
mod key;
mod locks;
mod pace;
mod pool;
mod tasks;
mod types;

pub(super) use folding::Folding;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use standin_config::{OriginConfig, PostgresAccess};
use standin_postgres::{Target, UrlError};
use tokio::sync::{Mutex, Notify};
use tokio::task::LocalSet;

use super::OriginStartError;
use super::failure_log::FailureLog;
use super::fair::Bounds;
use super::health::HealthCell;
use super::locks::LockCell;
use super::queue::{End, Lane, Queues};
use super::statements::Statements;
use super::threads::Threads;
use connect::{CONNECT_WITHIN, INIT_WITHIN, OpenError};
use connection::Limits;
use pace::Pipelining;
use pool::{Pool, Traffic};
use tasks::Tasks;

/// The bounds of the time without an answer after which the server is down. Within them it is
/// `timeout`.
const PATIENCE_LEAST: Duration = Duration::from_millis(500);
const PATIENCE_MOST: Duration = Duration::from_secs(2);
/// The interval between two health checks.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The largest number of threads that resolve names, and read passwords and certificates.
const ACCESS_THREADS: usize = 4;
/// The interval at which the ending thread checks whether all calls have been answered.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The settings for using the server.
pub(super) struct Setup<'c> {
    pub(super) url: &'c str,
    pub(super) access: &'c PostgresAccess,
    pub(super) connections: u32,
    pub(super) init: Option<String>,
    pub(super) statements: Arc<Statements>,
    pub(super) failure_log: Arc<FailureLog>,
}

/// The parsed settings, shared by everything on the thread.
#[derive(Clone)]
struct Shared {
    server: Target,
    /// The number of connections for reads, and also for writes.
    connections: usize,
    init: Option<String>,
    /// Whether `init` has run. Locked while it runs.
    initialised: Arc<Mutex<bool>>,
    statements: Arc<Statements>,
    timeout: Duration,
    health: Arc<HealthCell>,
    locks: Arc<LockCell>,
    failure_log: Arc<FailureLog>,
}

impl Shared {
    fn statement_limits(&self) -> Limits {
        Limits::new(self.timeout)
    }

    /// Returns the limits of writes that share a connection.
    fn pipelining(&self) -> Pipelining {
        Pipelining::new(self.timeout)
    }

    /// Returns the time without an answer after which the server is down.
    fn patience(&self) -> Duration {
        self.timeout.clamp(PATIENCE_LEAST, PATIENCE_MOST)
    }

    fn ask_every(&self) -> Duration {
        ASK_EVERY.min(self.patience())
    }
}

/// Starts the thread and waits for the first attempt to connect.
///
/// # Errors If the connection string cannot work, or `init` fails on a reachable server.
pub(super) fn start(
    config: &OriginConfig,
    setup: Setup<'_>,
    health: &Arc<HealthCell>,
    locks: &Arc<LockCell>,
    threads: &mut Threads,
) -> Result<Queues, OriginStartError> {
    let server = understand(setup.url, setup.access, config.timeout)?;
    readable(&server)?;
    let shared = Shared {
        server,
        connections: usize::try_from(setup.connections.min(config.concurrency)).unwrap_or(1).max(1),
        init: setup.init,
        initialised: Arc::default(),
        statements: setup.statements,
        timeout: config.timeout,
        health: Arc::clone(health),
        locks: Arc::clone(locks),
        failure_log: setup.failure_log,
    };
    let wake = Arc::new(Notify::new());
    let reads = usize::try_from(config.concurrency).unwrap_or(1).max(1);
    let calls = usize::try_from(config.queue).unwrap_or(usize::MAX).max(1);
    let bytes = usize::try_from(config.queue_bytes).unwrap_or(usize::MAX);
    let workers = shared.connections;
    let lane = |is_write| {
        let depth = if is_write { shared.pipelining().most } else { reads / workers };
        let bounds = Bounds { calls, bytes, workers, depth, is_ordered: is_write };
        Lane::new(bounds, shared.statements.ids(is_write), Arc::clone(&wake))
    };
    let queues = Queues { reads: lane(false), writes: lane(true) };
    let lanes = queues.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("origin-access")
        .max_blocking_threads(ACCESS_THREADS)
        .build()?;
    let (report, first_attempt) = std::sync::mpsc::sync_channel(1);
    let mut report = Some(report);
    threads.spawn("origin-postgres", move || {
        let body = dispatch(shared.clone(), &lanes, &wake, report.take());
        LocalSet::new().block_on(&runtime, body);
    })?;
    match first_attempt.recv_timeout(CONNECT_WITHIN * 3 + INIT_WITHIN) {
        Ok(Err(OpenError::Init(message))) => {
            queues.stop();
            Err(OriginStartError::Init(message))
        }
        Ok(Err(OpenError::Statement { keyspace, statement, message })) => {
            queues.stop();
            Err(OriginStartError::Statement { keyspace, statement, message })
        }
        // The server is down, or too slow to tell. The driver keeps trying to connect.
        _ => Ok(queues),
    }
}

fn understand(
    url: &str,
    access: &PostgresAccess,
    timeout: Duration,
) -> Result<Target, OriginStartError> {
    let wrong = |error: UrlError| OriginStartError::Url(error.0);
    let mut server = standin_postgres::read(url).map_err(wrong)?;
    if server.get_application_name().is_none() {
        server.application_name("standin");
    }
    // A statement that the network delays for longer than its call waits must not arrive at all,
    // not even on a connection that has been given up since.
    server.tcp_user_timeout(timeout);
    Target::new(server, access).map_err(wrong)
}

fn readable(server: &Target) -> Result<(), OriginStartError> {
    server.check().map_err(|error| OriginStartError::Access(error.to_string()))
}

/// Checks what can be checked without a connection, on any machine.
///
/// # Errors
/// If the connection string can't work, or not with this access.
pub(super) fn check(url: &str, access: &PostgresAccess) -> Result<(), OriginStartError> {
    understand(url, access, Duration::ZERO).map(drop)
}

/// Checks whether the password and the certificates can be read on this machine.
///
/// # Errors
/// As [`check`], and if they can't.
pub(super) fn check_here(url: &str, access: &PostgresAccess) -> Result<(), OriginStartError> {
    readable(&understand(url, access, Duration::ZERO)?)
}

/// The channel for the outcome of the first attempt to connect.
type FirstAttempt = SyncSender<Result<(), OpenError>>;

/// The thread's body: hands out calls until it is told to stop, then waits for those under way.
async fn dispatch(
    shared: Shared,
    queues: &Queues,
    wake: &Arc<Notify>,
    report: Option<FirstAttempt>,
) {
    let tasks = Tasks::new(wake);
    let pool = Rc::new(Pool::new(shared, queues, Rc::clone(&tasks)));
    tasks.spawn(pool::maintain_all(Rc::clone(&pool), report));
    let mut is_stopping = false;
    loop {
        standin_protocol::fault::point();
        tasks.check();
        for kind in [Traffic::Reads, Traffic::Writes] {
            for handed in pool.side(kind).lane.hand_out(&pool.depths(kind)) {
                pool.under_way.set(pool.under_way.get() + 1);
                tasks.spawn(call::serve(Rc::clone(&pool), kind, handed));
            }
        }
        match queues.end() {
            End::Reached if pool.under_way.get() == 0 => return,
            End::NotAsked => {}
            End::Reached | End::Asked => is_stopping = true,
        }
        match is_stopping {
            // The overdue thread may answer calls without a notification.
            true => drop(tokio::time::timeout(LOOK_AGAIN, wake.notified()).await),
            false => wake.notified().await,
        }
    }
}
