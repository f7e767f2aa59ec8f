//! Statements on an SQLite file, with a thread for each connection.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use standin_config::ColumnType;
use standin_config::sql::Parameter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::keys::{KeysError, TakeKey};
use super::{Call, Database, DatabaseError, Done, Ended, Statement, bound};
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// Starts a thread for each connection. They share the calls.
pub(super) fn start(
    database: &Database,
    path: &Path,
    done: &Done,
) -> Result<UnboundedSender<Call>, DatabaseError> {
    let (sender, receiver) = unbounded_channel();
    let calls = Arc::new(Mutex::new(receiver));
    for number in 0..database.connections.max(1) {
        let connection = open(database, path).map_err(|error| refused(path, &error))?;
        let (database, calls, done) = (database.clone(), Arc::clone(&calls), done.clone());
        std::thread::Builder::new()
            .name(format!("database-{number}"))
            .spawn(move || serve(&database, &connection, &calls, &done))?;
    }
    Ok(sender)
}

fn open(database: &Database, path: &Path) -> rusqlite::Result<Connection> {
    // A file that is not there would become an empty database.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(database.timeout)?;
    if database.is_read_only {
        connection.pragma_update(None, "query_only", true)?;
    }
    connection.prepare_cached(&database.get.text)?;
    Ok(connection)
}

fn refused(path: &Path, error: &rusqlite::Error) -> DatabaseError {
    DatabaseError::Refused(format!("{}: {error}", path.display()))
}

/// See [`Database::keys`].
pub(super) fn keys(
    database: &Database,
    path: &Path,
    statement: &str,
    is_interrupted: &dyn Fn() -> bool,
    take: TakeKey<'_>,
) -> Result<(), KeysError> {
    let refused = |error: rusqlite::Error| refused(path, &error);
    let connection = open(database, path).map_err(refused)?;
    connection.pragma_update(None, "query_only", true).map_err(refused)?;
    let mut statement = connection.prepare(statement).map_err(refused)?;
    if statement.column_count() != 1 {
        return Err(KeysError::Columns(statement.column_count()));
    }
    let mut rows = statement.query([]).map_err(refused)?;
    while let Some(row) = rows.next().map_err(refused)? {
        let is_enough = match row.get_ref(0).map_err(refused)? {
            ValueRef::Null => !take(None)?,
            ValueRef::Text(key) | ValueRef::Blob(key) => !take(Some(key))?,
            ValueRef::Integer(number) => !take(Some(number.to_string().as_bytes()))?,
            ValueRef::Real(_) => return Err(KeysError::Type("REAL".to_owned())),
        };
        if is_enough {
            break;
        }
        if is_interrupted() {
            return Err(KeysError::Interrupted);
        }
    }
    Ok(())
}

fn serve(
    database: &Database,
    connection: &Connection,
    calls: &Mutex<UnboundedReceiver<Call>>,
    done: &Done,
) {
    loop {
        let next = calls.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        // The client is gone.
        let Some(call) = next else { return };
        done.push(call.ticket, execute(database, connection, &call));
    }
}

fn execute(database: &Database, connection: &Connection, call: &Call) -> Ended {
    let translated = database.statement(call.statement)?;
    let run = || -> rusqlite::Result<Option<Vec<u8>>> {
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
    run().map_err(|error| failure(&error))
}

fn failure(error: &rusqlite::Error) -> Failure {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FailureKind::DeadlineExceeded,
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::NotADatabase) => {
            FailureKind::OriginUnavailable
        }
        _ => FailureKind::OriginRejected,
    };
    Failure { kind, text: format!("SQLite: {error}") }
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
