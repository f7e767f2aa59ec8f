//! Statements on connections to PostgreSQL, pipelined on each, by a thread with a loop of its own. A connection that is
//! lost is opened again for the next call.
//!
//! The time of a statement begins with its turn: those sent before it on its connection are answered first. A connection
//! on which nothing was answered for that long is closed, with all that waits on it, and the server is asked to end what
//! it executes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use standin_config::sql::Translated;
use standin_postgres::Target;
use standin_protocol::time::Micros;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, ToSql};

use super::columns::{Bytes, Text};
use super::keys::{KeysError, TakeKey};
use super::{
    CALLS_MAX, Call, Database, DatabaseError, Done, Ended, LOOK, Statement, Threads, bound,
};
use crate::postgres::{Link, OpenError, connect, in_words};
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// Rows of keys that are fetched at once.
const KEY_ROWS: i32 = 10_000;
/// What makes a session read-only from its beginning on, as `options` of a connection string.
const READ_ONLY: &str = "-c default_transaction_read_only=on";

/// A connection with its statements.
struct Session {
    link: Link,
    get: tokio_postgres::Statement,
    put: Option<tokio_postgres::Statement>,
    delete: Option<tokio_postgres::Statement>,
    /// The time of its last answer, or of the end of its opening; microseconds.
    heard: AtomicU64,
    /// The statements that wait for an answer.
    under_way: AtomicUsize,
    /// Whether it was closed because it did not answer.
    is_overdue: AtomicBool,
}

impl Session {
    fn heard(&self) -> Micros {
        Micros(self.heard.load(Ordering::Relaxed))
    }

    /// Waits for the answer to a statement: from its turn on, for this long. `None`: the connection is overdue.
    async fn in_turn<T>(&self, within: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let sent = Micros::boottime();
        let mut answer = pin!(answer);
        loop {
            // Each answer on the connection may be that before this one's.
            let turn = sent.max(self.heard());
            let left = (turn + within).since(Micros::boottime());
            match timeout(left, &mut answer).await {
                Ok(answer) => {
                    self.heard.fetch_max(Micros::boottime().0, Ordering::Relaxed);
                    return Some(answer);
                }
                Err(_) if self.heard() > turn => {}
                Err(_) => return None,
            }
        }
    }
}

/// The place of a connection, which may be lost.
type Slot = Arc<Mutex<Option<Arc<Session>>>>;

/// What the tasks of a client share.
struct Shared {
    database: Database,
    target: Target,
    slots: Vec<Slot>,
    done: Done,
    /// The calls that have not ended.
    under_way: AtomicUsize,
}

/// Starts the thread, and waits until all connections are open. It ends soon after `is_stopped` is set.
pub(super) fn start(
    database: &Database,
    target: &Target,
    done: &Done,
    (is_stopped, is_ended): (&Arc<AtomicBool>, &dyn Fn() -> bool),
) -> Result<(UnboundedSender<Call>, Threads), DatabaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, calls) = unbounded_channel();
    let slots: Vec<Slot> = (0..database.connections.max(1)).map(|_| Slot::default()).collect();
    let opened = runtime.block_on(async {
        let open_all = async {
            for slot in &slots {
                *slot.lock().await = Some(Arc::new(open(database, target).await?));
            }
            Ok(())
        };
        tokio::select! {
            opened = open_all => opened,
            () = until(is_ended) => Err(DatabaseError::Interrupted),
        }
    });
    if let Err(error) = opened {
        // The name of a host may be looked up for longer than anybody waits.
        runtime.shutdown_background();
        return Err(error);
    }
    let shared = Arc::new(Shared {
        database: database.clone(),
        target: target.clone(),
        slots,
        done: done.clone(),
        under_way: AtomicUsize::new(0),
    });
    let is_stopped = Arc::clone(is_stopped);
    let thread = std::thread::Builder::new().name("database".to_owned()).spawn(move || {
        runtime.block_on(async {
            serve(&shared, calls, &is_stopped).await;
            cancel_all(&shared).await;
        });
        runtime.shutdown_background();
    })?;
    Ok((sender, Threads(vec![thread])))
}

/// Waits until this says so.
async fn until(is_ended: impl Fn() -> bool) {
    while !is_ended() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Has the server end what is left, which nobody waits for; on all connections at once, so that one that hangs holds up no
/// other.
async fn cancel_all(shared: &Arc<Shared>) {
    let mut cancelled = JoinSet::new();
    for slot in &shared.slots {
        // While a connection is opened, nothing is executed on it.
        let session = slot.try_lock().ok().and_then(|mut place| place.take());
        let busy = session.filter(|one| one.under_way.load(Ordering::Relaxed) > 0);
        if let Some(session) = busy {
            let shared = Arc::clone(shared);
            cancelled.spawn(async move { session.link.cancel(&shared.target).await });
        }
    }
    cancelled.join_all().await;
}

async fn serve(shared: &Arc<Shared>, mut calls: UnboundedReceiver<Call>, is_stopped: &AtomicBool) {
    let mut next = 0;
    while let Some(call) = calls.recv().await {
        if is_stopped.load(Ordering::Acquire) {
            return;
        }
        // Those that nobody waits for any more count as well: they are sent, and can't be taken back.
        if shared.under_way.load(Ordering::Relaxed) >= CALLS_MAX {
            let text = format!("PostgreSQL has {CALLS_MAX} calls of this client to answer already");
            let failure = Failure { kind: FailureKind::Overloaded, text };
            shared.done.push(call.ticket, Err(failure));
            continue;
        }
        shared.under_way.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::clone(&shared.slots[next]);
        next = (next + 1) % shared.slots.len();
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            answer(&shared, &slot, &call).await;
            shared.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Executes a call, and tells its end when there is one or nobody waits for it any more.
async fn answer(shared: &Shared, slot: &Slot, call: &Call) {
    let mut executed = pin!(execute(shared, slot, call));
    let in_time = match call.by {
        Some(by) => timeout(by.since(Micros::boottime()), &mut executed).await.ok(),
        None => Some((&mut executed).await),
    };
    match in_time {
        Some(ended) => shared.done.push(call.ticket, ended),
        None => {
            shared.done.push(call.ticket, Err(overdue(shared.database.timeout)));
            // The connection may be overdue as well, which only those that wait on it can tell.
            let _ = executed.await;
        }
    }
}

/// Connects, read-only if it is to be.
async fn connect_to(database: &Database, target: &Target) -> Result<Link, DatabaseError> {
    let within = database.timeout;
    if !database.is_read_only {
        return Ok(connect(target, within).await?);
    }
    // Not by a statement: behind a pooler, its effect would stay with a connection that others use.
    let link = connect(&target.with_options(READ_ONLY), within).await?;
    let shown = link.client.query_one("SHOW transaction_read_only", &[]);
    let shown = timeout(within, shown).await.map_err(|_| OpenError::Silent(within))?;
    let shown = shown.and_then(|row| row.try_get::<_, String>(0)).map_err(|e| refused(&e))?;
    match &*shown {
        "on" => Ok(link),
        _ => Err(DatabaseError::NotReadOnly),
    }
}

async fn open(database: &Database, target: &Target) -> Result<Session, DatabaseError> {
    let within = database.timeout;
    let link = connect_to(database, target).await?;
    let client = &link.client;
    let prepare = async |statement: Option<&Translated>| match statement {
        Some(statement) => client.prepare(&statement.text).await.map(Some),
        None => Ok(None),
    };
    let prepared = async {
        let get = client.prepare(&database.get.text).await?;
        Ok((get, prepare(database.put.as_ref()).await?, prepare(database.delete.as_ref()).await?))
    };
    let prepared = timeout(within, prepared).await.map_err(|_| OpenError::Silent(within))?;
    let (get, put, delete) = prepared.map_err(|error: tokio_postgres::Error| refused(&error))?;
    let heard = AtomicU64::new(Micros::boottime().0);
    let (under_way, is_overdue) = Default::default();
    Ok(Session { link, get, put, delete, heard, under_way, is_overdue })
}

fn refused(error: &tokio_postgres::Error) -> DatabaseError {
    DatabaseError::Refused(failure(error).text)
}

/// See [`Database::keys`].
pub(super) fn keys(
    database: &Database,
    target: &Target,
    statement: &str,
    is_interrupted: &AtomicBool,
    take: TakeKey<'_>,
) -> Result<(), KeysError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DatabaseError::System)?;
    let read = runtime.block_on(async {
        let mut interrupted = pin!(until(|| is_interrupted.load(Ordering::Acquire)));
        let mut link = tokio::select! {
            link = connect_to(database, target) => link?,
            () = &mut interrupted => return Err(KeysError::Interrupted),
        };
        let read = tokio::select! {
            read = read_keys(&mut link, statement, take) => Some(read),
            () = &mut interrupted => None,
        };
        match read {
            Some(read) => read,
            None => {
                link.cancel(target).await;
                Err(KeysError::Interrupted)
            }
        }
    });
    // The name of a host may be looked up for longer than anybody waits.
    runtime.shutdown_background();
    read
}

async fn read_keys(link: &mut Link, statement: &str, take: TakeKey<'_>) -> Result<(), KeysError> {
    let failed = |error: tokio_postgres::Error| refused(&error);
    let transaction =
        link.client.build_transaction().read_only(true).start().await.map_err(failed)?;
    let statement = transaction.prepare(statement).await.map_err(failed)?;
    match statement.columns() {
        [column] if !Bytes::accepts(column.type_()) => {
            return Err(KeysError::Type(column.type_().name().to_owned()));
        }
        [_] => {}
        columns => return Err(KeysError::Columns(columns.len())),
    }
    let portal = transaction.bind(&statement, &[]).await.map_err(failed)?;
    loop {
        let rows = transaction.query_portal(&portal, KEY_ROWS).await.map_err(failed)?;
        for row in &rows {
            let key = row.try_get::<_, Option<Bytes>>(0).map_err(failed)?;
            if !take(key.as_ref().map(|key| &key.0[..]))? {
                return Ok(());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

async fn execute(shared: &Shared, slot: &Slot, call: &Call) -> Ended {
    let Shared { database, target, .. } = shared;
    let translated = database.statement(call.statement)?;
    let session = {
        let mut place = slot.lock().await;
        match &*place {
            Some(session) if !session.link.client.is_closed() => Arc::clone(session),
            // Those that wait behind it find it open.
            _ => {
                let session = open(database, target).await.map_err(|error| unopened(&error))?;
                let session = Arc::new(session);
                *place = Some(Arc::clone(&session));
                session
            }
        }
    };
    session.under_way.fetch_add(1, Ordering::Relaxed);
    let within = database.timeout;
    let answered = session.in_turn(within, ask(&session, translated, call)).await;
    session.under_way.fetch_sub(1, Ordering::Relaxed);
    match answered {
        Some(Ok(row)) => Ok(row),
        Some(Err(_)) if session.is_overdue.load(Ordering::Relaxed) => Err(overdue(within)),
        Some(Err(error)) => Err(failure(&error)),
        None => {
            // The first of those that wait on it tells the others, and the server.
            if !session.is_overdue.swap(true, Ordering::Relaxed) {
                session.link.cancel(target).await;
            }
            Err(overdue(within))
        }
    }
}

/// Sends a statement, and returns what it says.
async fn ask(
    session: &Session,
    translated: &Translated,
    call: &Call,
) -> Result<Option<Vec<u8>>, tokio_postgres::Error> {
    let client = &session.link.client;
    let statement = match call.statement {
        Statement::Get => Some(&session.get),
        Statement::Put => session.put.as_ref(),
        Statement::Delete => session.delete.as_ref(),
    };
    let statement = statement.expect("a statement of the keyspace is prepared");
    let bound = bound(translated, call);
    let texts: Vec<Text<'_>> = bound.iter().map(|(_, bytes)| Text(bytes)).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> =
        texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
    match call.statement {
        Statement::Get => {
            let Some(row) = client.query_opt(statement, &parameters).await? else {
                return Ok(None);
            };
            Ok(row.try_get::<_, Option<Bytes>>(0)?.map(|bytes| bytes.0))
        }
        Statement::Put | Statement::Delete => {
            client.execute(statement, &parameters).await.map(|_| None)
        }
    }
}

/// A connection that could not be opened again.
fn unopened(error: &DatabaseError) -> Failure {
    let kind = match error {
        DatabaseError::Open(OpenError::Silent(_)) => FailureKind::DeadlineExceeded,
        DatabaseError::Refused(_) => FailureKind::OriginRejected,
        _ => FailureKind::OriginUnavailable,
    };
    Failure { kind, text: error.to_string() }
}

fn overdue(within: Duration) -> Failure {
    let text = format!("PostgreSQL: no answer within {within:?}");
    Failure { kind: FailureKind::DeadlineExceeded, text }
}

fn failure(error: &tokio_postgres::Error) -> Failure {
    let kind = match error.as_db_error() {
        // Its class says that it is going or too busy.
        Some(db) if ["57", "53", "08"].iter().any(|class| db.code().code().starts_with(class)) => {
            FailureKind::OriginUnavailable
        }
        Some(_) => FailureKind::OriginRejected,
        None => FailureKind::OriginUnavailable,
    };
    Failure { kind, text: format!("PostgreSQL: {}", in_words(error)) }
}
