//! The database as an application asks it: the statements of a keyspace on connections of this program's own, with no
//! Standin between.
//!
//! ```text
//! a load thread ── Call ──► thread of the database: postgres.rs (pipelined), or sqlite.rs (one thread per connection)
//!        ▲                                                                     │
//!        └── wake-up ◄── Done: answers, and a descriptor that becomes readable ┘
//! ```
//! Not here: what an application makes of the answers. `drive/aside.rs` is such an application.

mod columns;
mod done;
mod keys;
mod postgres;
mod sqlite;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_config::sql::{Dialect, Parameter, SqlError, Translated, translate};
use standin_config::{ColumnType, KeyspaceConfig, OriginConfig, OriginKind};
use standin_postgres::{Target, UrlError};
use standin_protocol::time::Micros;

pub use done::Done;
pub use done::Finished;
pub use keys::KeysError;

use crate::postgres::{OpenError, target};
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// The largest number of calls under way of one load thread.
pub const CALLS_MAX: usize = 65_536;

/// The longest wait for the threads of a client that is gone: longer than a server is asked to end a statement.
const END_WITHIN: Duration = Duration::from_secs(2);
/// The time between two looks whether they have ended.
const END_LOOK: Duration = Duration::from_millis(1);
/// The time between two looks whether the opening of connections is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A database with the statements of a keyspace.
#[derive(Clone)]
pub struct Database {
    place: DatabasePlace,
    get: Translated,
    put: Option<Translated>,
    delete: Option<Translated>,
    key_type: ColumnType,
    /// Whether the database is asked to refuse whatever writes.
    pub is_read_only: bool,
    /// Connections of each load thread.
    pub connections: u16,
    /// The longest time for a statement, from its turn on, and for a connect.
    pub timeout: Duration,
    reads: Arc<AtomicU64>,
}

/// Where a database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabasePlace {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// PostgreSQL, with access to it.
    Postgres(Box<Target>),
}

/// Without the connection string, which may have a password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("get", &self.get.text).finish_non_exhaustive()
    }
}

/// The reason why a database can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A statement.
    #[error("the keyspace's statement `{0}`: {1}")]
    Statement(&'static str, SqlError),
    /// A cluster file without a database.
    #[error("the cluster file has no [origin]; give one that has, or a postgres:// URL")]
    NoOrigin,
    /// A keyspace without a database.
    #[error("keyspace {0} has no database; use another --keyspace")]
    NoStatements(String),
    /// The connection string.
    #[error("[origin] url: {0}")]
    Url(#[from] UrlError),
    /// There is no connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What would keep a session from writing is not kept.
    #[error(
        "the session is not read-only, although it was to begin so: connect to PostgreSQL itself, and to no pooler in \
         front of it"
    )]
    NotReadOnly,
    /// The run was ended before there was a connection.
    #[error("interrupted while connections were opened")]
    Interrupted,
    /// A thread or a connection.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The database refuses.
    #[error("the database: {0}")]
    Refused(String),
}

/// The action of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// Read the row.
    Get,
    /// Write the row.
    Put,
    /// Delete the row.
    Delete,
}

/// A statement to execute.
#[derive(Debug)]
pub struct Call {
    /// The caller's name of it.
    pub ticket: u64,
    /// The statement.
    pub statement: Statement,
    /// The key.
    pub key: Vec<u8>,
    /// The value of a put.
    pub value: Vec<u8>,
    /// The time after which nobody waits for it; `None`: however long others take before it.
    pub by: Option<Micros>,
}

impl DatabasePlace {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// The end of a call: of a get the value, if there is a row.
pub type Ended = Result<Option<Vec<u8>>, Failure>;

impl Database {
    /// The longest time for a statement, unless something else is said.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// The statements of a keyspace, in this database.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn new(place: DatabasePlace, keyspace: &KeyspaceConfig) -> Result<Self, DatabaseError> {
        let dialect = place.dialect();
        if keyspace.is_cache() {
            return Err(DatabaseError::NoStatements(keyspace.name.clone()));
        }
        let translated = |name, sql: &String| {
            translate(sql, dialect).map_err(|error| DatabaseError::Statement(name, error))
        };
        Ok(Self {
            get: translated("get", &keyspace.get)?,
            put: keyspace.put.as_ref().map(|sql| translated("put", sql)).transpose()?,
            delete: keyspace.delete.as_ref().map(|sql| translated("delete", sql)).transpose()?,
            key_type: keyspace.key_type,
            is_read_only: false,
            place,
            connections: 1,
            timeout: Self::TIMEOUT,
            reads: Arc::default(),
        })
    }

    /// Where the `[origin]` of a cluster file is.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn place(origin: &OriginConfig) -> Result<DatabasePlace, DatabaseError> {
        match &origin.kind {
            OriginKind::Sqlite { path, .. } => Ok(DatabasePlace::Sqlite(path.clone())),
            OriginKind::Postgres { url, access, .. } => {
                Ok(DatabasePlace::Postgres(Box::new(target(url, access)?)))
            }
        }
    }

    /// The dialect of its statements.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.place.dialect()
    }

    /// A database with the same statements whose reads are counted apart.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { reads: Arc::default(), ..self.clone() }
    }

    /// As reports have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.place {
            DatabasePlace::Sqlite(_) => "SQLite",
            DatabasePlace::Postgres(_) => "PostgreSQL",
        }
    }

    /// The rows that were asked for so far, by all clients of this database.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Starts the threads of a client, connects, and prepares the statements. The client is the returned end of a channel;
    /// the threads end with it, and drop what is under way. Nothing waits longer for connections when `is_ended`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn connect(
        &self,
        done: &Done,
        is_ended: &dyn Fn() -> bool,
    ) -> Result<Caller, DatabaseError> {
        let stop = Stop::default();
        let (calls, threads) = match &self.place {
            DatabasePlace::Sqlite(path) => sqlite::start(self, path, done, (&stop.0, is_ended))?,
            DatabasePlace::Postgres(target) => {
                postgres::start(self, target, done, (&stop.0, is_ended))?
            }
        };
        Ok(Caller { _stop: stop, calls, _threads: threads, reads: Arc::clone(&self.reads) })
    }

    fn statement(&self, statement: Statement) -> Result<&Translated, Failure> {
        let (translated, name) = match statement {
            Statement::Get => (Some(&self.get), "get"),
            Statement::Put => (self.put.as_ref(), "put"),
            Statement::Delete => (self.delete.as_ref(), "delete"),
        };
        let lacks = || Failure {
            kind: FailureKind::Refused,
            text: format!("the keyspace has no statement `{name}`"),
        };
        translated.ok_or_else(lacks)
    }

    /// Gives `take` each key that the statement returns, at most `needs`, until it needs no more.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn keys(
        &self,
        statement: &str,
        needs: Option<u64>,
        is_interrupted: &Arc<AtomicBool>,
        take: keys::TakeKey<'_>,
    ) -> Result<(), KeysError> {
        // Nested below, where a semicolon has no place.
        let statement = statement.trim_end().trim_end_matches(';');
        let limit = needs.map_or_else(String::new, |needs| format!(" LIMIT {needs}"));
        let statement = format!("SELECT * FROM (\n{statement}\n) AS keys{limit}");
        match &self.place {
            DatabasePlace::Sqlite(path) => {
                sqlite::keys(self, path, &statement, is_interrupted, take)
            }
            DatabasePlace::Postgres(target) => {
                postgres::keys(self, target, &statement, is_interrupted, take)
            }
        }
    }
}

/// Tells the threads of a client that it is gone.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The threads of a client. They are told to end, and waited for, but not for long: a statement may hang.
#[derive(Debug)]
struct Threads(Vec<JoinHandle<()>>);

impl Drop for Threads {
    fn drop(&mut self) {
        let deadline = Micros::boottime() + END_WITHIN;
        for thread in self.0.drain(..) {
            while !thread.is_finished() && Micros::boottime() < deadline {
                standin_protocol::fault::point();
                std::thread::park_timeout(END_LOOK);
            }
            // A panic was printed by the thread itself.
            let _ = thread.is_finished().then(|| thread.join());
        }
    }
}

/// A client of the database: gives it calls.
#[derive(Debug)]
pub struct Caller {
    // Before the channel: its end is seen by threads that look whether this is set.
    _stop: Stop,
    calls: tokio::sync::mpsc::UnboundedSender<Call>,
    // Behind both: they end by them.
    _threads: Threads,
    reads: Arc<AtomicU64>,
}

impl Caller {
    /// Gives the database a call. Its end will be in [`Done`], unless all threads have ended.
    pub fn call(&self, call: Call) -> bool {
        if call.statement == Statement::Get {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        self.calls.send(call).is_ok()
    }

    /// Ends several: their threads are all told to end before any is waited for.
    pub(crate) fn end_all(callers: impl Iterator<Item = Self>) {
        let tell = |Self { _stop: stop, calls, _threads: mut threads, .. }: Self| {
            drop(stop);
            drop(calls);
            std::mem::take(&mut threads.0)
        };
        drop(Threads(callers.flat_map(tell).collect()));
    }
}

/// The values of a statement's parameters. The flags of a row are those of a value without any.
fn bound<'c>(statement: &Translated, call: &'c Call) -> Vec<(Parameter, &'c [u8])> {
    let value = |parameter: &Parameter| match parameter {
        Parameter::Key => (Parameter::Key, &call.key[..]),
        Parameter::Value => (Parameter::Value, &call.value[..]),
        Parameter::Flags => (Parameter::Flags, &b"0"[..]),
    };
    statement.parameters.iter().map(value).collect()
}

#[cfg(test)]
mod tests;
