//! A table for a run: made and filled before the cluster starts, read at the end, dropped.

mod lost;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use standin_config::{AfterPut, KeyspaceConfig, OriginConfig, OriginKind, PostgresAccess};
use standin_postgres::UrlError;

use crate::checker::Checker;
use crate::interrupt::Interrupt;
use crate::postgres::{OpenError, target};
use crate::workload::Keys;
pub use lost::lost_rows;

/// The run's table. In PostgreSQL it carries [`TABLE_COMMENT`], so that no table of the
/// user's is ever dropped.
pub(crate) const TABLE: &str = "standin_demo";
const TABLE_COMMENT: &str = "made by `standin demo`, and dropped at its end";

/// Why there is no database for the run.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// SQLite.
    #[error("the run's SQLite file {path} can't be used: {error}; is there room on the disk?")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        error: rusqlite::Error,
    },
    /// The connection string.
    #[error("the connection string: {0}")]
    Url(#[from] UrlError),
    /// There is no connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// PostgreSQL refuses.
    #[error("PostgreSQL: {0}; write postgres://user:password@host:port/database")]
    Postgres(String),
    /// PostgreSQL hangs, or somebody else has locked the table.
    #[error(
        "PostgreSQL did not end a statement about the table standin_demo within {0:?}; end the session that has locked it \
         (SELECT pid FROM pg_locks WHERE relation = 'standin_demo'::regclass)"
    )]
    Locked(Duration),
    /// The rows are many, or PostgreSQL hangs.
    #[error(
        "PostgreSQL did not write or read all rows of the table standin_demo within {0:?}; use fewer or smaller ones, or a \
         database that has less to do"
    )]
    Slow(Duration),
    /// The user has interrupted it.
    #[error("interrupted while the table of the run was made, or its rows were written or read")]
    Interrupted,
    /// A table of that name belongs to another program.
    #[error(
        "the database has a table standin_demo that was not created by Standin; use another \
         database, or rename the table"
    )]
    NotOurs,
    /// Another demo uses the same database.
    #[error("another run is using this database; wait until it ends, or use another database")]
    InUse,
    /// Not a database that Standin knows.
    #[error("--origin {0}: only postgres:// and postgresql:// are supported")]
    UnknownScheme(String),
}

/// The rows before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The number of rows, which are named as in [`Keys::Numbered`].
    pub count: u32,
    /// The run that their values are of.
    pub run: u32,
    /// Bytes of each value.
    pub value_bytes: u32,
}

impl Rows {
    /// Key and value of every row.
    fn iter(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        (0..self.count).map(move |key| {
            let name = String::from_utf8_lossy(&Keys::Numbered.name(key)).into_owned();
            (name, Checker::first_value(self.run, key, self.value_bytes))
        })
    }
}

/// A database that is ready. Dropping it drops the table in the user's database; a file is removed with its folder.
#[derive(Debug)]
pub enum RunOrigin {
    /// A file.
    Sqlite {
        /// Its path.
        path: PathBuf,
    },
    /// A table in the user's database.
    Postgres {
        /// The database's URL, without the settings that a cluster file has keys for.
        url: String,
        /// These settings.
        access: PostgresAccess,
        /// The connection by which the table was made.
        session: Box<postgres::Session>,
    },
}

impl RunOrigin {
    /// Makes and fills the table: in a file of `folder`, or where `url` says. An interrupt ends the waiting for PostgreSQL.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn prepare(
        url: Option<&str>,
        folder: &Path,
        rows: Rows,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self, OriginError> {
        match url {
            None => {
                let path = folder.join("origin.sqlite");
                match sqlite::fill(&path, rows) {
                    Ok(()) => Ok(Self::Sqlite { path }),
                    Err(error) => Err(OriginError::Sqlite { path, error }),
                }
            }
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                let (url, access) = standin_postgres::take_access(url)?;
                let session = postgres::Session::open(&target(&url, &access)?, interrupt)?;
                session.fill(rows, interrupt)?;
                Ok(Self::Postgres { url, access, session: Box::new(session) })
            }
            Some(url) => {
                // The part after the scheme may contain a password.
                let scheme = url.split(':').next().unwrap_or_default();
                Err(OriginError::UnknownScheme(format!("{scheme}:…")))
            }
        }
    }

    /// As reports have it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    /// The `[origin]` of a cluster on it.
    #[must_use]
    pub fn config(&self) -> OriginConfig {
        match self {
            Self::Sqlite { path } => OriginConfig::sqlite(path),
            Self::Postgres { url, access, .. } => {
                let mut config = OriginConfig::postgres(url);
                if let OriginKind::Postgres { access: own, .. } = &mut config.kind {
                    own.clone_from(access);
                }
                config
            }
        }
    }

    /// The run's only keyspace. The statements are the same SQL in both databases.
    #[must_use]
    pub fn keyspace(id: u8) -> KeyspaceConfig {
        let mut keyspace =
            KeyspaceConfig::new(id, "demo", &format!("SELECT value FROM {TABLE} WHERE id = :key"));
        keyspace.put = Some(format!(
            "INSERT INTO {TABLE} (id, value) VALUES (:key, :value) \
             ON CONFLICT (id) DO UPDATE SET value = excluded.value"
        ));
        keyspace.delete = Some(format!("DELETE FROM {TABLE} WHERE id = :key"));
        // The column holds what is written to it.
        keyspace.after_put = AfterPut::Keep;
        keyspace
    }

    /// Every row as it is now.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn read_all(
        &self,
        interrupt: Option<&Interrupt>,
    ) -> Result<BTreeMap<String, Vec<u8>>, OriginError> {
        match self {
            Self::Sqlite { path } => sqlite::read_all(path)
                .map_err(|error| OriginError::Sqlite { path: path.clone(), error }),
            Self::Postgres { session, .. } => session.read_all(interrupt),
        }
    }
}
