//! The connections: some for reads, some for writes, and one for health checks. Each is opened,
//! used, lost, and opened again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use standin_postgres::ConnectError;
use standin_protocol::time::Micros;

use super::connect::{Backoff, OpenError, Opened, open};
use super::connection::Connection;
use super::locks::{self, Calls};
use super::tasks::Tasks;
use super::{FirstAttempt, Shared};
use crate::origin::queue::{Lane, Queues};
use crate::origin::{Failure, Outcome};

/// The lifetime after which a connection counts as good, so that the pauses start from the shortest
/// again.
const GOOD_AFTER: Duration = Duration::from_secs(1);

/// The time within which a start that is refused ends the thread. If it has not, it had stopped
/// waiting before, and the thread goes on.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    Reads,
    Writes,
}

/// The connections of one kind that are up, and the calls for them.
pub(super) struct Side {
    pub(super) lane: Arc<Lane>,
    connections: Vec<RefCell<Option<Rc<Connection>>>>,
}

impl Side {
    fn new(lane: &Arc<Lane>, connections: usize) -> Self {
        for slot in 0..connections {
            lane.reset(slot);
            lane.set_away(slot, true);
        }
        let connections = (0..connections).map(|_| RefCell::new(None)).collect();
        Self { lane: Arc::clone(lane), connections }
    }

    /// Returns the connection, if it is up.
    pub(super) fn connection(&self, slot: usize) -> Option<Rc<Connection>> {
        let connection = self.connections[slot].borrow();
        connection.as_ref().filter(|connection| !connection.client.is_closed()).cloned()
    }

    fn usable(&self) -> impl Iterator<Item = Rc<Connection>> {
        (0..self.connections.len()).filter_map(|slot| self.connection(slot))
    }

    fn set(&self, slot: usize, connection: Option<Rc<Connection>>) {
        let is_away = connection.is_none();
        self.connections[slot].replace(connection);
        self.lane.set_away(slot, is_away);
    }

    /// Refuses the waiting calls, and new ones until there is a connection.
    fn refuse(&self, reason: &str) {
        for job in self.lane.refuse(reason.to_owned()) {
            job.ticket.finish(Outcome::Failed(Failure::Refused(reason.to_owned())));
        }
    }
}

/// All connections.
pub(super) struct Pool {
    pub(super) shared: Shared,
    reads: Side,
    writes: Side,
    /// The number of calls under way.
    pub(super) under_way: Cell<usize>,
    pub(super) calls: Calls,
    pub(super) tasks: Rc<Tasks>,
}

impl Pool {
    pub(super) fn new(shared: Shared, queues: &Queues, tasks: Rc<Tasks>) -> Self {
        let (reads, writes) = (shared.connections, shared.connections);
        Self {
            reads: Side::new(&queues.reads, reads),
            writes: Side::new(&queues.writes, writes),
            shared,
            under_way: Cell::new(0),
            calls: Calls::default(),
            tasks,
        }
    }

    pub(super) fn side(&self, kind: Traffic) -> &Side {
        match kind {
            Traffic::Reads => &self.reads,
            Traffic::Writes => &self.writes,
        }
    }

    /// Returns how many calls each connection may have at once. For reads this is constant.
    pub(super) fn depths(&self, kind: Traffic) -> Vec<usize> {
        let side = match kind {
            Traffic::Reads => return Vec::new(),
            Traffic::Writes => &self.writes,
        };
        let now = Micros::boottime();
        (0..side.connections.len())
            .map(|slot| {
                side.connection(slot).map_or(1, |connection| connection.pace.borrow().depth(now))
            })
            .collect()
    }

    fn usable(&self) -> impl Iterator<Item = Rc<Connection>> {
        self.reads.usable().chain(self.writes.usable())
    }

    /// Notes that the server has answered, which marks it up if calls of both kinds can be sent.
    fn answers(&self) {
        if [&self.reads, &self.writes].iter().all(|side| side.usable().next().is_some()) {
            self.shared.health.mark_up();
        }
    }

    /// Notes that a health check had no answer, or no connection. That alone is not an outage.
    fn doubt(&self, error: &OpenError) {
        let is_alive = matches!(error, OpenError::Connect(ConnectError::Refused(_)));
        let since = Micros::boottime() - self.shared.patience();
        if self.usable().any(|connection| is_alive || connection.is_heard_since(since)) {
            tracing::debug!("the origin answers calls, but its health check failed: {error}");
            return;
        }
        self.is_down(error);
        for connection in self.usable() {
            connection.hang_up();
        }
    }

    fn is_down(&self, reason: &dyn std::fmt::Display) {
        self.shared.health.mark_down(reason);
        let text = format!("the database is unreachable: {reason}");
        self.reads.refuse(&text);
        self.writes.refuse(&text);
    }

    /// Notes that there is no connection of this kind, and that an attempt to open one has failed.
    fn failed(&self, kind: Traffic, error: &OpenError) {
        tracing::debug!("{error}");
        if self.usable().next().is_none() {
            self.is_down(error);
        } else if self.side(kind).usable().next().is_none() {
            self.side(kind).refuse(&error.to_string());
        }
    }

    /// It is too late to refuse the start, and retrying `init` for ever would keep the origin down.
    /// From now on each statement's own error says what is wrong.
    async fn give_up_init(&self, error: &OpenError) {
        if matches!(error, OpenError::Init(_)) {
            tracing::error!("{error}");
            *self.shared.initialised.lock().await = true;
        }
    }

    /// Makes a new connection available to calls, or reports a failure to the health.
    fn install(
        &self,
        kind: Traffic,
        slot: usize,
        attempt: Result<Opened, OpenError>,
    ) -> Result<Opened, OpenError> {
        match &attempt {
            Ok(opened) => {
                self.side(kind).set(slot, Some(Rc::clone(&opened.connection)));
                self.answers();
            }
            Err(error) => self.failed(kind, error),
        }
        attempt
    }
}

/// Connects for the first time, reports how that went, and keeps all connections up.
pub(super) async fn maintain_all(pool: Rc<Pool>, report: Option<FirstAttempt>) {
    let mut first = open(&pool.shared).await;
    if let Ok(opened) = &first {
        let check = super::fit::check(&opened.connection, &pool.shared.statements);
        let within = super::connect::CONNECT_WITHIN;
        let wrong = match tokio::time::timeout(within, check).await {
            Ok(checked) => checked.err(),
            Err(_) => Some(OpenError::Silent(within)),
        };
        if let Some(error) = wrong {
            first = Err(error);
        }
    }
    // The calls that follow the report must find connections.
    let mut ready = Vec::new();
    if first.is_ok() {
        for kind in [Traffic::Reads, Traffic::Writes] {
            ready.push(pool.install(kind, 0, open(&pool.shared).await));
        }
    } else if let Err(error) = &first
        && !(report.is_some() && error.refuses_start())
    {
        pool.is_down(error);
    }
    if let Some(report) = report {
        // Nobody receives this if the start has stopped waiting.
        let _ = report.send(first.as_ref().map(drop).map_err(Clone::clone));
        if let Err(error) = &first
            && error.refuses_start()
        {
            // The start ends this thread. The database is not down, and `init` need not fail again.
            tokio::time::sleep(REFUSED_WITHIN).await;
            pool.is_down(error);
        }
    }
    let mut ready = ready.into_iter();
    for kind in [Traffic::Reads, Traffic::Writes] {
        let mut first = ready.next();
        for slot in 0..pool.shared.connections {
            pool.tasks.spawn(maintain(Rc::clone(&pool), kind, slot, first.take()));
        }
    }
    watch(pool, first).await;
}

/// Keeps one connection up for ever.
async fn maintain(
    pool: Rc<Pool>,
    kind: Traffic,
    slot: usize,
    mut first: Option<Result<Opened, OpenError>>,
) {
    let mut pause = Backoff::new();
    loop {
        let attempt = match first.take() {
            Some(installed) => installed,
            None => pool.install(kind, slot, open(&pool.shared).await),
        };
        match attempt {
            Ok(mut opened) => {
                let since = Micros::boottime();
                let reason = ended(&mut opened).await;
                pool.side(kind).set(slot, None);
                if pool.usable().next().is_none() {
                    pool.is_down(&format_args!("lost the connection to PostgreSQL: {reason}"));
                }
                if Micros::boottime().since(since) >= GOOD_AFTER {
                    pause = Backoff::new();
                }
            }
            Err(error) => pool.give_up_init(&error).await,
        }
        tokio::time::sleep(pause.next()).await;
    }
}

/// Waits for the end of a connection, and returns the reason.
async fn ended(opened: &mut Opened) -> String {
    let reason = tokio::select! {
        ended = &mut opened.wire.0 => ended.ok().flatten(),
        () = opened.connection.given_up() => Some("it no longer answers".to_owned()),
    };
    reason.unwrap_or_else(|| "it was closed".to_owned())
}

/// Keeps the connection for health checks up, and makes the checks.
async fn watch(pool: Rc<Pool>, first: Result<Opened, OpenError>) {
    let mut first = Some(first);
    let mut pause = Backoff::new();
    loop {
        let attempt = match first.take() {
            Some(attempt) => attempt,
            None => open(&pool.shared).await,
        };
        let error = match attempt {
            Ok(opened) => {
                pool.answers();
                pause = Backoff::new();
                ask_until_silent(&pool, opened).await
            }
            Err(error) => {
                pool.give_up_init(&error).await;
                error
            }
        };
        pool.doubt(&error);
        pool.shared.locks.note(None);
        tokio::time::sleep(pause.next()).await;
    }
}

async fn ask_until_silent(pool: &Pool, mut opened: Opened) -> OpenError {
    let connection = Rc::clone(&opened.connection);
    loop {
        let asking = async {
            tokio::time::sleep(pool.shared.ask_every()).await;
            // An empty query has no effect, and waits for no lock.
            let patience = pool.shared.patience();
            match tokio::time::timeout(patience, connection.client.simple_query("")).await {
                Ok(answer) => answer.map(drop).map_err(OpenError::from),
                Err(_) => Err(OpenError::Silent(patience)),
            }
        };
        tokio::select! {
            answer = asking => match answer {
                Ok(()) => pool.answers(),
                Err(error) => return error,
            },
            reason = ended(&mut opened) => return ConnectError::Unreachable(reason).into(),
        }
        tokio::select! {
            () = look_for_locks(pool, &connection) => {}
            reason = ended(&mut opened) => return ConnectError::Unreachable(reason).into(),
        }
    }
}

/// Finds out who holds the lock that calls wait for, if one of them takes long. What comes of it is news for the
/// operator, and no word on whether the server answers: a database without these tables is none the worse.
async fn look_for_locks(pool: &Pool, connection: &Connection) {
    let shared = &pool.shared;
    if !pool.calls.has_long_one(Micros::boottime(), shared.timeout) {
        return shared.locks.note(None);
    }
    let asking = async {
        // The database gives up before this side does: what went on there would delay the next empty query, and
        // that counts as an outage.
        connection.limit(shared.patience()).await?;
        locks::holder(&connection.client).await
    };
    let holder = match tokio::time::timeout(shared.patience(), asking).await {
        Ok(Ok(holder)) => holder,
        Ok(Err(error)) => {
            tracing::debug!("the database does not say who holds its locks: {error}");
            None
        }
        Err(_) => {
            tracing::debug!("the database does not say in time who holds its locks");
            None
        }
    };
    shared.locks.note(holder);
}
