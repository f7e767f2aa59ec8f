//! PostgreSQL, and what speaks its wire protocol: one thread, a few connections,
//! statements prepared on each and pipelined.
//!
//! ```text
//! calls ──► dispatch ──► a task per call (≤ concurrency) ──► link 0..n ──► server
//!                                                              ▲
//!                              a task per connection: connect, prepare the session,
//!                              wait for its end, connect again with growing pauses
//! ```
//!
//! ```text
//! pool.rs      the connections: opened, found, lost, opened again
//! link.rs      one connection: its session and prepared statements
//! call.rs      one call: sent, retried where that is safe, answered
//! failure.rs   the server's errors → what a caller may conclude
//! column.rs    parameters and columns in PostgreSQL's binary format
//! ```
//!
//! **Time.** The session's `statement_timeout` is a little shorter than a call's
//! `timeout`, so that the server as a rule says what came of a slow write. A
//! connection on which nothing at all was heard during a call's time is given up.
//!
//! **Order.** A key has its connection for writes, and a connection's statements are
//! executed in order: a write that is late cannot overtake one that was submitted
//! after it. Only while connections are lost and come back, and the server still
//! holds what was sent on another one, can a write of unknown outcome come later.

mod call;
mod column;
mod failure;
mod link;
mod pool;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use standin_config::OriginConfig;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;
use tokio_postgres::config::SslMode;

use super::health::HealthCell;
use super::queue::{Job, Lanes, Message, Queues, Waiting};
use super::statements::Statements;
use super::threads::Threads;
use super::{Failure, OriginStartError, Outcome};
use pool::{CONNECT_WITHIN, ConnectError, INIT_WITHIN, Pool};

/// What is needed to use the server.
pub(super) struct Setup<'c> {
    pub(super) url: &'c str,
    pub(super) connections: u32,
    pub(super) init: Option<String>,
    pub(super) statements: Arc<Statements>,
}

/// The same, understood, and shared by everything on the thread.
#[derive(Clone)]
struct Shared {
    server: tokio_postgres::Config,
    connections: usize,
    init: Option<String>,
    statements: Arc<Statements>,
    timeout: Duration,
    concurrency: u32,
    health: Arc<HealthCell>,
}

/// Starts the thread and waits for the first attempt to connect.
///
/// # Errors
/// When the connection string cannot work, or `init` fails on a server in reach.
pub(super) fn start(
    config: &OriginConfig,
    setup: Setup<'_>,
    health: &Arc<HealthCell>,
    threads: &mut Threads,
) -> Result<Queues, OriginStartError> {
    let shared = Shared {
        server: understand(setup.url, config.timeout)?,
        connections: usize::try_from(setup.connections).unwrap_or(1).max(1),
        init: setup.init,
        statements: setup.statements,
        timeout: config.timeout,
        concurrency: config.concurrency.max(1),
        health: Arc::clone(health),
    };
    let waiting = Waiting::new(config.queue);
    let (calls, mut messages) = tokio::sync::mpsc::unbounded_channel();
    let queues = Queues::new(Arc::clone(&waiting), Lanes::Postgres(calls));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (report, first_attempt) = std::sync::mpsc::sync_channel(1);
    let mut report = Some(report);
    threads.spawn("origin-postgres", move || {
        let body = dispatch(shared.clone(), &waiting, &mut messages, report.take());
        LocalSet::new().block_on(&runtime, body);
    })?;
    match first_attempt.recv_timeout(CONNECT_WITHIN * 3 + INIT_WITHIN) {
        Ok(Err(ConnectError::Init(message))) => {
            queues.stop();
            Err(OriginStartError::Init(message))
        }
        // Down, or too slow to tell: it is looked for until it is there.
        _ => Ok(queues),
    }
}

fn understand(url: &str, timeout: Duration) -> Result<tokio_postgres::Config, OriginStartError> {
    let mut server: tokio_postgres::Config =
        url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            OriginStartError::Url(format!(
                "{error}{cause}; write postgres://user@host:port/database"
            ))
        })?;
    if server.get_ssl_mode() == SslMode::Require {
        let message = "sslmode=require cannot be met: there is no TLS to the origin yet; \
                       use a private network or a local proxy, and sslmode=prefer";
        return Err(OriginStartError::Url(message.to_owned()));
    }
    if server.get_application_name().is_none() {
        server.application_name("standin");
    }
    // A statement that the network holds for longer than its call waits must not arrive at all,
    // also not on a connection that has been given up since.
    server.tcp_user_timeout(timeout);
    Ok(server)
}

/// What the first attempt to connect came to.
type FirstAttempt = SyncSender<Result<(), ConnectError>>;

/// The thread's body: takes calls until told to stop, then waits for those under way.
async fn dispatch(
    shared: Shared,
    waiting: &Waiting,
    messages: &mut UnboundedReceiver<Message>,
    report: Option<FirstAttempt>,
) {
    let concurrency = shared.concurrency;
    let under_way = Arc::new(Semaphore::new(usize::try_from(concurrency).unwrap_or(1)));
    let pool = Rc::new(Pool::new(shared));
    let _connections = tokio::task::spawn_local(pool::maintain_all(Rc::clone(&pool), report));
    // The permit first: a call stays among the waiting until there is one for it.
    while let Ok(permit) = Arc::clone(&under_way).acquire_owned().await {
        match messages.recv().await {
            Some(Message::Job(job)) => {
                waiting.leave();
                if pool.is_empty() {
                    refuse(job);
                    continue;
                }
                let pool = Rc::clone(&pool);
                tokio::task::spawn_local(async move {
                    call::serve(&pool, job).await;
                    drop(permit);
                });
            }
            Some(Message::Stop) | None => break,
        }
    }
    let _all = under_way.acquire_many(concurrency).await;
}

fn refuse(job: Job) {
    job.ticket.finish(Outcome::Failed(Failure::Unavailable));
}
