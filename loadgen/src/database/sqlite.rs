//! Statements on an SQLite file, with a thread for each connection. Each has its time, also to wait for a lock, and ends at
//! once when nobody is left who waits for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use standin_config::ColumnType;
use standin_config::sql::Parameter;
use standin_protocol::time::Micros;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::keys::{KeysError, TakeKey};
use super::{Call, Database, DatabaseError, Done, Ended, LOOK, Statement, Threads, bound};
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// Steps of SQLite's machine between two looks whether a statement is to end: some 100 microseconds.
const STEPS: i32 = 4_000;
/// The longest that SQLite itself waits for a lock before it is looked whether the statement is to end.
const BUSY: Duration = Duration::from_millis(50);
/// SQLite does not wait where that would be in vain.
const AGAIN: Duration = Duration::from_millis(1);

/// When a statement ends without an answer.
struct Limit {
    /// Microseconds.
    ends: AtomicU64,
    is_stopped: Arc<AtomicBool>,
}

impl Limit {
    fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
            || Micros::boottime().0 >= self.ends.load(Ordering::Relaxed)
    }
}

/// A connection whose statements have their time.
struct Timed {
    connection: Connection,
    limit: Arc<Limit>,
}

impl Timed {
    /// Opens the file, and prepares the statement that is sent most.
    fn open(
        database: &Database,
        path: &Path,
        is_stopped: &Arc<AtomicBool>,
    ) -> rusqlite::Result<Self> {
        // A file that is not there would become an empty database.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        let (ends, is_stopped) = (AtomicU64::new(u64::MAX), Arc::clone(is_stopped));
        let limit = Arc::new(Limit { ends, is_stopped });
        let looked_at = Arc::clone(&limit);
        connection.progress_handler(STEPS, Some(move || looked_at.is_over()))?;
        connection.busy_timeout(BUSY)?;
        let timed = Self { connection, limit };
        timed.run(Micros::boottime() + database.timeout, |connection| {
            if database.is_read_only {
                connection.pragma_update(None, "query_only", true)?;
            }
            connection.prepare_cached(&database.get.text).map(drop)
        })?;
        Ok(timed)
    }

    /// Executes something that ends at this time at the latest. A statement that found the file locked has done nothing,
    /// and is executed again.
    fn run<T>(
        &self,
        ends: Micros,
        mut execute: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.limit.ends.store(ends.0, Ordering::Relaxed);
        loop {
            match execute(&self.connection) {
                Err(error) if is_locked(&error) && !self.limit.is_over() => {
                    std::thread::park_timeout(AGAIN);
                }
                ended => return ended,
            }
        }
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Starts a thread for each connection. They share the calls.
pub(super) fn start(
    database: &Database,
    path: &Path,
    done: &Done,
    (is_stopped, is_ended): (&Arc<AtomicBool>, &dyn Fn() -> bool),
) -> Result<(UnboundedSender<Call>, Threads), DatabaseError> {
    let (sender, receiver) = unbounded_channel();
    let calls = Arc::new(Mutex::new(receiver));
    let mut threads = Threads(Vec::new());
    for (number, timed) in (0..).zip(open_all(database, path, (is_stopped, is_ended))?) {
        let (database, calls, done) = (database.clone(), Arc::clone(&calls), done.clone());
        let thread = std::thread::Builder::new()
            .name(format!("database-{number}"))
            .spawn(move || serve(&database, &timed, &calls, &done))?;
        threads.0.push(thread);
    }
    Ok((sender, threads))
}

/// Opens all connections. The file may be locked, so a thread of its own waits, which can be ended.
fn open_all(
    database: &Database,
    path: &Path,
    (is_stopped, is_ended): (&Arc<AtomicBool>, &dyn Fn() -> bool),
) -> Result<Vec<Timed>, DatabaseError> {
    let waiting = std::thread::current();
    let opened = std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let all = 0..database.connections.max(1);
            let opened = all.map(|_| Timed::open(database, path, is_stopped)).collect();
            waiting.unpark();
            opened
        });
        while !opening.is_finished() {
            standin_protocol::fault::point();
            if is_ended() {
                is_stopped.store(true, Ordering::Release);
            }
            std::thread::park_timeout(LOOK);
        }
        opening.join()
    });
    let opened: rusqlite::Result<Vec<Timed>> =
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match is_stopped.load(Ordering::Acquire) {
        true => Err(DatabaseError::Interrupted),
        false => opened.map_err(|error| refused(path, &error)),
    }
}

fn refused(path: &Path, error: &rusqlite::Error) -> DatabaseError {
    DatabaseError::Refused(format!("{}: {error}", path.display()))
}

/// See [`Database::keys`]. The statement may take its time, but not wait longer than others for a lock.
pub(super) fn keys(
    database: &Database,
    path: &Path,
    statement: &str,
    is_interrupted: &Arc<AtomicBool>,
    take: TakeKey<'_>,
) -> Result<(), KeysError> {
    let failed = |error: rusqlite::Error| match is_interrupted.load(Ordering::Acquire) {
        true => KeysError::Interrupted,
        false => refused(path, &error).into(),
    };
    let timed = Timed::open(database, path, is_interrupted).map_err(failed)?;
    let connection = &timed.connection;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    // From its first read on, a transaction waits for no lock.
    connection.execute_batch("BEGIN").map_err(failed)?;
    let first = "SELECT count(*) FROM sqlite_schema";
    let ends = Micros::boottime() + database.timeout;
    timed.run(ends, |connection| connection.query_row(first, [], |_| Ok(()))).map_err(failed)?;
    timed.limit.ends.store(u64::MAX, Ordering::Relaxed);
    let mut statement = connection.prepare(statement).map_err(failed)?;
    if statement.column_count() != 1 {
        return Err(KeysError::Columns(statement.column_count()));
    }
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let is_enough = match row.get_ref(0).map_err(failed)? {
            ValueRef::Null => !take(None)?,
            ValueRef::Text(key) | ValueRef::Blob(key) => !take(Some(key))?,
            ValueRef::Integer(number) => !take(Some(number.to_string().as_bytes()))?,
            ValueRef::Real(_) => return Err(KeysError::Type("REAL".to_owned())),
        };
        if is_enough {
            break;
        }
        // Rows may be found in fewer steps than SQLite looks at it.
        if is_interrupted.load(Ordering::Acquire) {
            return Err(KeysError::Interrupted);
        }
    }
    Ok(())
}

fn serve(database: &Database, timed: &Timed, calls: &Mutex<UnboundedReceiver<Call>>, done: &Done) {
    loop {
        let next = calls.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        // The client is gone.
        let Some(call) = next else { return };
        if timed.limit.is_stopped.load(Ordering::Acquire) {
            return;
        }
        done.push(call.ticket, execute(database, timed, &call));
    }
}

fn execute(database: &Database, timed: &Timed, call: &Call) -> Ended {
    let translated = database.statement(call.statement)?;
    let now = Micros::boottime();
    let own = now + database.timeout;
    let ends = call.by.map_or(own, |by| by.min(own));
    if ends <= now {
        let text = format!("SQLite: its turn did not come within {:?}", database.timeout);
        return Err(Failure { kind: FailureKind::DeadlineExceeded, text });
    }
    let run = |connection: &Connection| -> rusqlite::Result<Option<Vec<u8>>> {
        let mut statement = connection.prepare_cached(&translated.text)?;
        let bound = bound(translated, call);
        let parameters: Vec<Text<'_>> = bound
            .iter()
            .map(|(parameter, bytes)| Text(*parameter, database.key_type, bytes))
            .collect();
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        match call.statement {
            Statement::Get => Ok(match row.get_ref(0)? {
                ValueRef::Null => None,
                ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Some(bytes.to_vec()),
                ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
                ValueRef::Real(number) => Some(number.to_string().into_bytes()),
            }),
            Statement::Put | Statement::Delete => Ok(None),
        }
    };
    timed.run(ends, run).map_err(|error| failure(&error, database.timeout))
}

fn failure(error: &rusqlite::Error, within: Duration) -> Failure {
    let (kind, text) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            FailureKind::DeadlineExceeded,
            format!("SQLite: the file was locked for {within:?} ({error})"),
        ),
        Some(ErrorCode::OperationInterrupted) => {
            (FailureKind::DeadlineExceeded, format!("SQLite: no answer within {within:?}"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::NotADatabase) => {
            (FailureKind::OriginUnavailable, format!("SQLite: {error}"))
        }
        _ => (FailureKind::OriginRejected, format!("SQLite: {error}")),
    };
    Failure { kind, text }
}

/// A key is of its column's type, because a blob is equal to no text; a value is a blob.
struct Text<'a>(Parameter, ColumnType, &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let Self(parameter, key_type, bytes) = self;
        let blob = ToSqlOutput::Borrowed(ValueRef::Blob(bytes));
        let text = std::str::from_utf8(bytes);
        Ok(match (parameter, key_type, text) {
            (Parameter::Key, ColumnType::Bytes, _) | (Parameter::Value, ..) => blob,
            (Parameter::Key, ColumnType::Integer, Ok(text)) => match text.parse() {
                Ok(number) => ToSqlOutput::Owned(Value::Integer(number)),
                Err(_) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            },
            (Parameter::Key, _, Ok(_)) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            (Parameter::Key, _, Err(_)) => blob,
            (Parameter::Flags, ..) => ToSqlOutput::Owned(Value::Integer(0)),
        })
    }
}
