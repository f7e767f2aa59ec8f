//! The run's table in a SQLite file of its own.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Result, params};

use super::{Rows, TABLE};

/// Makes the file with all rows, in one transaction. Nobody else has the file yet, and it is
/// gone with the demo: nothing need be synced.
pub(super) fn fill(path: &Path, rows: Rows) -> Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(&format!(
        "CREATE TABLE {TABLE} (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
    ))?;
    let mut insert =
        transaction.prepare(&format!("INSERT INTO {TABLE} (id, value) VALUES (?1, ?2)"))?;
    for (key, value) in rows.iter() {
        insert.execute(params![key, value])?;
    }
    drop(insert);
    transaction.commit()?;
    // The servers start with an empty log.
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE")
}

/// Every row as it is now.
pub(super) fn read_all(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let connection = Connection::open(path)?;
    let mut select = connection.prepare(&format!("SELECT id, value FROM {TABLE}"))?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::*;
    use crate::value::Stamp;
    use crate::value_form::ValueForm;

    #[test]
    fn every_row_is_there() {
        let scratch = Scratch::new("demo-sqlite");
        let path = scratch.file("origin.sqlite");
        fill(&path, Rows { count: 1_000, run: 5, value_bytes: 100 }).unwrap();
        let connection = Connection::open(&path).unwrap();
        let count: u32 = connection
            .query_row("SELECT count(*) FROM standin_demo", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1_000);
        let sql = "SELECT value FROM standin_demo WHERE id = 'key-00000999'";
        let value: Vec<u8> = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(value.len(), 100);
        assert_eq!(
            Stamp::of(&value, &ValueForm::default()),
            Ok(Stamp { run: 5, key: 999, sequence: 0 })
        );
        let rows = read_all(&path).unwrap();
        assert_eq!((rows.len(), rows.get("key-00000999")), (1_000, Some(&value)));
    }
}
