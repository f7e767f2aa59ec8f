//! A connection to the file: it is opened and checked, and has a bound on how long any statement
//! may take.
#![expect(clippy::disallowed_methods, reason = "shell: waiting for another process's lock")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use standin_config::sql::Translated;
use standin_protocol::time::Micros;

use super::failure::{Trouble, TroubleKind};
use super::files::{Change, Files};
use super::fit;
use super::gate::{Gate, Pass};
use super::view::Views;
use crate::origin::OriginStartError;
use crate::origin::statements::{Keyspace, Statements};
use crate::origin::value::Param;

/// The time for which opening, including `init`, waits for other processes that do the same.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The time for which rescuing a deleted log's content waits for statements under way.
const RESCUE_WITHIN: Duration = Duration::from_secs(1);
/// The pause between two attempts to get a lock. It does not grow: a thread that backed off would
/// only be overtaken more often by writers of other processes.
const LOCK_PAUSE: Duration = Duration::from_micros(100);
/// The number of steps of SQLite's virtual machine between two checks whether a statement is
/// overdue. They take some milliseconds.
const STEPS_BETWEEN_CHECKS: i32 = 100_000;
/// The size of a connection's page cache.
const CACHE_KIBIBYTES: i64 = 8_192;
/// The size to which the WAL file shrinks after a checkpoint.
const WAL_KEPT_BYTES: i64 = 64 << 20;

/// The names that every table's row id has.
const ROW_ID: [&str; 3] = ["rowid", "oid", "_rowid_"];

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The reason why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("cannot use the SQLite file: {0}")]
    File(Trouble),
    #[error("other threads of this server still have the SQLite file open as it was")]
    StillOpen,
    #[error(
        "the SQLite file is empty, although it was not before; restore it, with its -wal file if \
         there is one"
    )]
    Emptied,
    #[error(
        "the SQLite file has been replaced, and its -wal file belongs to the previous one; delete \
         the -wal and -shm files, or restore the previous file"
    )]
    LogLeftBehind,
    #[error("the SQLite file cannot be used as it was opened: {0}")]
    Changed(Change),
    #[error("init failed: {0}")]
    Init(String),
    #[error("the SQLite file has not been opened for writing yet")]
    NotInitialised,
}

/// An open connection.
pub(super) struct Connection {
    pub(super) sql: rusqlite::Connection,
    /// The time until which a statement may run, in µs. The handlers inside SQLite read it.
    until: Arc<AtomicU64>,
    views: Views,
    gate: Arc<Gate>,
    /// Whether its log differs from the other connections'.
    is_apart: bool,
    /// The pass, which must be dropped last.
    _pass: Pass,
}

impl Connection {
    /// Opens the file. `may_create`: the file may be missing, or empty.
    pub(super) fn open(
        path: &Path,
        access: Access,
        may_create: bool,
        gate: &Arc<Gate>,
    ) -> Result<Self, OpenError> {
        // One thread at a time, so that no other thread creates a new log between the opening of
        // the files and the check which files they were.
        let _opening = gate.opening();
        let pass = loop {
            let pass = gate.enter(OPEN_WITHIN).ok_or(OpenError::StillOpen)?;
            // Opening a file whose log has been deleted would create another log.
            match gate.look(path) {
                Change::None => break pass,
                change => gate.condemn(change),
            }
        };
        let before = Files::at(path);
        if before.is_empty() && !may_create {
            // SQLite would consider it a new file, and delete the log.
            return Err(OpenError::Emptied);
        }
        if gate.is_log_left_behind(&before) {
            return Err(OpenError::LogLeftBehind);
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, may_create);
        let mut sql = rusqlite::Connection::open_with_flags(path, flags).map_err(file_error)?;
        let views = Views::watch(&mut sql).map_err(file_error)?;
        let until = Arc::new(AtomicU64::new(0));
        let gate_of_it = Arc::clone(gate);
        let mut connection =
            Self { sql, until, views, gate: gate_of_it, is_apart: false, _pass: pass };
        connection.set_deadline(Micros::boottime() + OPEN_WITHIN);
        let configured = connection.configure(access);
        let change = match &configured {
            Ok(has_log) => gate.opened(Files::at(path), *has_log),
            Err(_) => Change::None,
        };
        let change = match gate.has_begun_log(path) {
            // This connection read the new, empty log with the index of the old one, which the other
            // connections still have open.
            true => {
                connection.is_apart = true;
                Change::LogGone
            }
            false => change,
        };
        if change != Change::None {
            gate.condemn(change);
            return Err(OpenError::Changed(change));
        }
        configured.map_err(file_error)?;
        Ok(connection)
    }

    /// Configures the connection; returns whether it has a log.
    fn configure(&mut self, access: Access) -> rusqlite::Result<bool> {
        let until = Arc::clone(&self.until);
        self.sql.busy_handler(Some(move |_tries| wait_for_lock(&until)))?;
        let until = Arc::clone(&self.until);
        let is_late = move || Micros::boottime().0 >= until.load(Ordering::Relaxed);
        self.sql.progress_handler(STEPS_BETWEEN_CHECKS, Some(is_late))?;
        let mode = self.enter_wal_mode()?;
        let has_log = mode.eq_ignore_ascii_case("wal");
        if !has_log {
            tracing::warn!(
                "the SQLite file stays in journal mode {mode}: readers and writers block each other"
            );
        }
        // The first read creates the log and its index if they are missing.
        self.sql.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        self.sql.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
        self.sql.set_prepared_statement_cache_capacity(3 * 256);
        match access {
            Access::Read => self.sql.pragma_update(None, "query_only", true)?,
            Access::Write => {
                self.sql.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
                self.sql.pragma_update(None, "synchronous", "FULL")?;
            }
        }
        Ok(has_log)
    }

    /// Changes the journal mode to WAL. This needs exclusive access, and SQLite does not call the
    /// busy handler for it: without the retries, two processes that start at once would make each
    /// other fail.
    fn enter_wal_mode(&self) -> rusqlite::Result<String> {
        self.retry_while_busy(|sql| sql.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)))
    }

    fn retry_while_busy<T>(
        &self,
        run: impl Fn(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        loop {
            match run(&self.sql) {
                Err(error) if is_busy(&error) && wait_for_lock(&self.until) => {}
                result => return result,
            }
        }
    }

    /// Runs the configured statements.
    pub(super) fn initialise(&self, init: &str) -> Result<(), OpenError> {
        let run = |sql: &rusqlite::Connection| {
            let result = sql.execute_batch(init);
            if !sql.is_autocommit() {
                // The failure has left a transaction of these statements open.
                sql.execute_batch("ROLLBACK")?;
            }
            result
        };
        self.retry_while_busy(run).map_err(|error| {
            let trouble = Trouble::from(error);
            match trouble.kind {
                TroubleKind::Constraint | TroubleKind::Statement => {
                    OpenError::Init(trouble.to_string())
                }
                _ => OpenError::File(trouble),
            }
        })
    }

    /// Compiles every statement. Errors of the file, not of a statement, are ignored here, because
    /// they will be reported in use.
    pub(super) fn check(&self, statements: &Statements) -> Result<(), OriginStartError> {
        for (_, keyspace, verb, statement) in statements.all() {
            let wrong = |message| OriginStartError::Statement {
                keyspace: keyspace.name.clone(),
                statement: verb.name(),
                message,
            };
            match self.sql.prepare(&statement.text) {
                Ok(prepared) => {
                    if let Some(message) = fit::wrong(keyspace, verb, &prepared) {
                        return Err(wrong(message));
                    }
                    drop(prepared);
                    let columns = self.key_columns(keyspace, &statement.text);
                    if let Some(message) = fit::wrong_key(keyspace, verb, &columns) {
                        return Err(wrong(message));
                    }
                }
                Err(error) => {
                    let trouble = Trouble::from(error);
                    if trouble.kind == TroubleKind::Statement {
                        return Err(wrong(trouble.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the columns that a statement reads and may compare with the key.
    fn key_columns(&self, keyspace: &Keyspace, statement: &str) -> Vec<fit::Column> {
        let reads = self.views.columns_read(&self.sql, statement);
        let mut found = Vec::new();
        for (table, name) in reads {
            let metadata = self.sql.column_metadata(None, &*table, &*name);
            // The metadata of a view's columns is not known.
            let Ok((type_, collation, _, is_primary, _)) = metadata else { continue };
            let text = |text: Option<&std::ffi::CStr>| {
                text.map(|text| text.to_string_lossy().to_ascii_uppercase()).unwrap_or_default()
            };
            let (type_, collation) = (text(type_), text(collation));
            let is_row_id = is_primary && type_ == "INTEGER";
            let is_key = keyspace.is_compared(&name)
                || is_row_id && ROW_ID.iter().any(|name| keyspace.is_compared(name));
            found.push(fit::Column { name, type_, collation, is_key });
        }
        found
    }

    /// Sets the time at which statements, and waits for locks, end.
    pub(super) fn set_deadline(&self, until: Micros) {
        self.until.store(until.0, Ordering::Relaxed);
    }

    /// Whether the open files are still those at the path. If not, this connection and all others
    /// have to be dropped. The log's content is saved if possible.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        match self.gate.look(path) {
            Change::None => !self.gate.is_condemned(),
            change => {
                self.gate.condemn(change);
                false
            }
        }
    }

    /// Writes the log's content to the main file. The deleted log is still open. Returns why it could
    /// not.
    fn write_log(&self, until: Micros) -> Result<(), String> {
        self.set_deadline(until);
        loop {
            let checkpoint = self.sql.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            });
            return match checkpoint {
                Ok((false, in_log, written)) if in_log == written => Ok(()),
                // SQLite itself does not wait for a checkpoint of another process.
                Ok((true, ..)) if wait_for_lock(&self.until) => continue,
                Ok((true, ..)) => Err("another connection is using it".to_owned()),
                Ok((false, in_log, written)) => Err(format!("{written} of {in_log} pages were")),
                Err(error) => Err(error.to_string()),
            };
        }
    }

    /// Returns the number of rows that the last statement has changed. `before` is the connection's
    /// total before it.
    pub(super) fn rows_changed(&self, statement: &Translated, before: u64) -> u64 {
        match (self.sql.changes(), self.sql.total_changes() - before) {
            (0, behind @ 1..) if self.views.is_written_by(&self.sql, &statement.text) => behind,
            (rows, _) => rows,
        }
    }

    /// Returns the statement with its parameters, ready to be stepped.
    pub(super) fn bind(
        &self,
        statement: &Translated,
        params: &[Param<'_>],
    ) -> Result<rusqlite::CachedStatement<'_>, Trouble> {
        let mut prepared = self.sql.prepare_cached(&statement.text)?;
        for (number, param) in (1..).zip(params) {
            prepared.raw_bind_parameter::<usize, _>(number, param)?;
        }
        Ok(prepared)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.gate.is_condemned() && !self.gate.keeps_log() && !self.is_apart {
            self.gate.rescue(RESCUE_WITHIN, |until| self.write_log(until));
        }
        if self.is_apart || self.gate.is_condemned() && self.gate.keeps_log() {
            let off = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            if let Err(error) = self.sql.set_db_config(off, true) {
                tracing::error!("closing the SQLite file: {error}");
            }
        }
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) | Self::Uuid(text, _) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Integer(number) => ValueRef::Integer(*number),
        }))
    }
}

fn file_error(error: rusqlite::Error) -> OpenError {
    OpenError::File(Trouble::from(error))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Pauses before the next attempt; returns false if the time is over. SQLite's own handler pauses
/// for up to 100 ms, in which other writers commit many transactions.
fn wait_for_lock(until: &AtomicU64) -> bool {
    let left = Micros(until.load(Ordering::Relaxed)).since(Micros::boottime());
    if left.is_zero() {
        return false;
    }
    std::thread::sleep(LOCK_PAUSE.min(left));
    true
}
