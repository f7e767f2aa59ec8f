//! The database that `--database` names, ready to be asked.

use std::path::Path;

use standin_config::{ClusterConfig, KeyspaceConfig};

use super::database_args::DatabaseName;
use super::{Load, LoadError};
use crate::database::{Database, DatabaseError};
use crate::faults::{Places, kinds};
use crate::origin::{Rows, RunOrigin};

/// The keyspace of a table of the run's own.
const KEYSPACE: u8 = 1;

/// Finds the keyspace of a cluster file.
pub(super) type KeyspaceOf<'k> = &'k dyn Fn(&ClusterConfig) -> Result<KeyspaceConfig, LoadError>;

/// A database that is ready.
pub(super) struct Prepared {
    pub(super) database: Database,
    /// The keyspace of a cluster file, and the file.
    pub(super) file: Option<(KeyspaceConfig, ClusterConfig)>,
    /// The table of the run's own, which goes with this.
    pub(super) table: Option<RunOrigin>,
}

/// Finds the database, or makes a table in it.
pub(super) fn prepare(
    load: &Load,
    name: &DatabaseName,
    folder: &Path,
    places: &Places,
    keyspace: KeyspaceOf<'_>,
) -> Result<Prepared, LoadError> {
    let mut prepared = match name {
        DatabaseName::File(path) => of_file(path, keyspace)?,
        DatabaseName::Sqlite => of_own(None, folder)?,
        DatabaseName::Postgres(url) => of_own(Some(url), folder)?,
        DatabaseName::Process(name) => {
            let address = places.addresses(name).and_then(|addresses| addresses.first());
            let address = address.ok_or_else(|| {
                LoadError::Options(format!(
                    "--database: {{{name}}} is no process that the scenario starts"
                ))
            })?;
            of_own(Some(&kinds::postgres::url(*address)), folder)?
        }
    };
    prepared.database.connections = load.database.connections_of_thread();
    Ok(prepared)
}

fn of_file(path: &Path, keyspace: KeyspaceOf<'_>) -> Result<Prepared, LoadError> {
    let cluster = ClusterConfig::load(path)?;
    let origin = cluster.origin.as_ref().ok_or(DatabaseError::NoOrigin)?;
    let place = Database::place(origin)?;
    let keyspace = keyspace(&cluster)?;
    let database = Database::new(place, &keyspace)?;
    Ok(Prepared { database, file: Some((keyspace, cluster)), table: None })
}

fn of_own(url: Option<&str>, folder: &Path) -> Result<Prepared, LoadError> {
    let rows = Rows { count: 0, run: 0, value_bytes: 0 };
    let table = RunOrigin::prepare(url, folder, rows)?;
    let place = Database::place(&table.config())?;
    let database = Database::new(place, &RunOrigin::keyspace(KEYSPACE))?;
    Ok(Prepared { database, file: None, table: Some(table) })
}
