//! What can be told of an origin without asking the database.

use standin_config::{KeyspaceConfig, OriginConfig, OriginKind};
use standin_postgres::DatabaseHost;

use super::postgres;
use super::statements::Statements;
use super::{Origin, OriginStartError};

impl Origin {
    /// Checks what can be checked of such an origin without asking the database.
    ///
    /// # Errors As [`Self::start`], except for errors that only the database can report.
    pub fn check(
        config: &OriginConfig,
        keyspaces: &[KeyspaceConfig],
    ) -> Result<(), OriginStartError> {
        Statements::translate(&config.kind, keyspaces)?;
        match &config.kind {
            OriginKind::Sqlite { .. } => Ok(()),
            OriginKind::Postgres { url, access, .. } => postgres::check(url, access),
        }
    }

    /// Checks whether the files and variables of such an origin can be read on this machine, by this
    /// process.
    ///
    /// # Errors As [`Self::start`].
    pub fn check_here(config: &OriginConfig) -> Result<(), OriginStartError> {
        match &config.kind {
            OriginKind::Sqlite { .. } => Ok(()),
            OriginKind::Postgres { url, access, .. } => postgres::check_here(url, access),
        }
    }

    /// Whether its connection string contains a password, as far as the string can be parsed.
    pub(crate) fn has_password(config: &OriginConfig) -> bool {
        match &config.kind {
            OriginKind::Sqlite { .. } => false,
            OriginKind::Postgres { url, .. } => standin_postgres::has_password(url),
        }
    }

    /// The places where the database is looked for, as far as its connection string can be parsed.
    pub(crate) fn hosts(config: &OriginConfig) -> Vec<DatabaseHost> {
        match &config.kind {
            OriginKind::Sqlite { .. } => Vec::new(),
            OriginKind::Postgres { url, .. } => standin_postgres::hosts(url),
        }
    }
}
