//! The demo's database: one table of 200,000 rows, filled before the cluster starts.

mod postgres;
mod sqlite;

use std::path::{Path, PathBuf};

use standin_config::{KeyspaceConfig, OriginConfig};

use crate::checker::Checker;
use crate::workload::Keys;

/// The demo's table. In PostgreSQL it carries [`TABLE_COMMENT`], so that no table of the
/// user's is ever dropped.
const TABLE: &str = "standin_demo";
const TABLE_COMMENT: &str = "made by `standin demo`, and dropped at its end";

/// Why there is no database for the demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoOriginError {
    /// SQLite.
    #[error("the demo's SQLite file {path} can't be filled: {error}; is there room on the disk?")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// PostgreSQL can't be reached, or refuses.
    #[error("PostgreSQL: {0}; --origin takes postgres://user:password@host:port/database")]
    Postgres(String),
    /// A table of that name is somebody's.
    #[error(
        "the database has a table standin_demo that the demo has not made; name another database, \
         or rename the table"
    )]
    NotOurs,
    /// Another demo uses the same database.
    #[error("another demo is using this database; wait for its end, or name another database")]
    InUse,
    /// Not a database that Standin knows.
    #[error("--origin {0}: only postgres:// and postgresql:// are known here")]
    UnknownScheme(String),
}

/// The rows of the demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) count: u32,
    pub(super) run: u32,
    pub(super) value_bytes: u32,
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

/// A database that is ready. It is removed after the servers have ended.
pub(super) enum DemoOrigin {
    Sqlite { path: PathBuf },
    Postgres { url: String, session: Box<postgres::Session> },
}

impl DemoOrigin {
    /// Makes and fills the table: in a file of `folder`, or where `url` says.
    pub(super) fn prepare(
        url: Option<&str>,
        folder: &Path,
        rows: Rows,
    ) -> Result<Self, DemoOriginError> {
        match url {
            None => {
                let path = folder.join("origin.sqlite");
                match sqlite::fill(&path, rows) {
                    Ok(()) => Ok(Self::Sqlite { path }),
                    Err(error) => Err(DemoOriginError::Sqlite { path, error }),
                }
            }
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                let session = postgres::Session::open(url)?;
                session.fill(rows)?;
                Ok(Self::Postgres { url: url.to_owned(), session: Box::new(session) })
            }
            Some(url) => {
                // What follows the scheme may hold a password.
                let scheme = url.split(':').next().unwrap_or_default();
                Err(DemoOriginError::UnknownScheme(format!("{scheme}:…")))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    pub(super) fn config(&self) -> OriginConfig {
        match self {
            Self::Sqlite { path } => OriginConfig::sqlite(path),
            Self::Postgres { url, .. } => OriginConfig::postgres(url),
        }
    }

    /// The demo's only keyspace. The statements are the same SQL in both databases.
    pub(super) fn keyspace(id: u8) -> KeyspaceConfig {
        let mut keyspace =
            KeyspaceConfig::new(id, "demo", &format!("SELECT value FROM {TABLE} WHERE id = :key"));
        keyspace.put = Some(format!(
            "INSERT INTO {TABLE} (id, value) VALUES (:key, :value) \
             ON CONFLICT (id) DO UPDATE SET value = excluded.value"
        ));
        keyspace.delete = Some(format!("DELETE FROM {TABLE} WHERE id = :key"));
        keyspace
    }

    /// Drops a table in somebody's database; a file goes with its folder. Dropping the origin
    /// does the same, without a word about errors.
    pub(super) fn remove(self) -> Result<(), DemoOriginError> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres { mut session, .. } => session.drop_table(),
        }
    }
}
