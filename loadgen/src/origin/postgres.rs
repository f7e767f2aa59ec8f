//! The run's table in a PostgreSQL database of the user's: made, marked, and dropped.

use std::collections::BTreeMap;

use std::time::Duration;

use standin_postgres::Target;
use tokio::runtime::Runtime;

use super::{OriginError, Rows, TABLE, TABLE_COMMENT};
use crate::postgres::{Link, connect, in_words};

/// Advisory lock that a running demo holds: `standin` in ASCII.
const LOCK: i64 = 0x0073_7461_6E64_696E;
/// Rows of one INSERT.
const BATCH_ROWS: usize = 10_000;
/// The longest time for a connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A connection that is held until the demo ends. The table goes when this is dropped.
#[derive(Debug)]
pub struct Session {
    // Ends before the runtime that its task is of.
    link: Link,
    runtime: Runtime,
    has_table: bool,
}

impl Session {
    /// Connects, and makes sure that no other demo and no table of the user's is in the way.
    pub(super) fn open(target: &Target) -> Result<Self, OriginError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| OriginError::Postgres(error.to_string()))?;
        let link = runtime.block_on(connect(target, CONNECT_WITHIN))?;
        let mut session = Self { link, runtime, has_table: false };
        session.make_table()?;
        Ok(session)
    }

    fn make_table(&mut self) -> Result<(), OriginError> {
        let client = &self.link.client;
        self.runtime.block_on(async {
            let lock = "SELECT pg_try_advisory_lock($1)";
            if !client.query_one(lock, &[&LOCK]).await.map_err(failed)?.get::<_, bool>(0) {
                return Err(OriginError::InUse);
            }
            let there = "SELECT to_regclass($1::text) IS NOT NULL, \
                         obj_description(to_regclass($1::text), 'pg_class')";
            let row = client.query_one(there, &[&TABLE]).await.map_err(failed)?;
            let (is_there, comment): (bool, Option<String>) = (row.get(0), row.get(1));
            if is_there && comment.as_deref() != Some(TABLE_COMMENT) {
                return Err(OriginError::NotOurs);
            }
            let make = format!(
                "DROP TABLE IF EXISTS {TABLE};
                 CREATE TABLE {TABLE} (id text PRIMARY KEY, value bytea NOT NULL);
                 COMMENT ON TABLE {TABLE} IS '{TABLE_COMMENT}'"
            );
            client.batch_execute(&make).await.map_err(failed)
        })?;
        self.has_table = true;
        Ok(())
    }

    /// Writes all rows, in one transaction.
    pub(super) fn fill(&self, rows: Rows) -> Result<(), OriginError> {
        let client = &self.link.client;
        let fill = async {
            client.batch_execute("BEGIN").await?;
            let sql = format!(
                "INSERT INTO {TABLE} (id, value) SELECT * FROM unnest($1::text[], $2::bytea[])"
            );
            let insert = client.prepare(&sql).await?;
            let mut rows = rows.iter();
            loop {
                let (keys, values): (Vec<String>, Vec<Vec<u8>>) =
                    rows.by_ref().take(BATCH_ROWS).unzip();
                if keys.is_empty() {
                    break;
                }
                client.execute(&insert, &[&keys, &values]).await?;
            }
            client.batch_execute("COMMIT").await?;
            client.batch_execute(&format!("ANALYZE {TABLE}")).await
        };
        self.runtime.block_on(fill).map_err(failed)
    }

    /// Every row as it is now.
    pub(super) fn read_all(&self) -> Result<BTreeMap<String, Vec<u8>>, OriginError> {
        let sql = format!("SELECT id, value FROM {TABLE}");
        let rows = self.runtime.block_on(self.link.client.query(&sql, &[])).map_err(failed)?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Drops the table.
    fn drop_table(&mut self) -> Result<(), OriginError> {
        if !std::mem::take(&mut self.has_table) {
            return Ok(());
        }
        let sql = format!("DROP TABLE IF EXISTS {TABLE}");
        self.runtime.block_on(self.link.client.batch_execute(&sql)).map_err(failed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.drop_table() {
            tracing::warn!(%error, "the table {TABLE} stays; the next demo will replace it");
        }
    }
}

fn failed(error: tokio_postgres::Error) -> OriginError {
    OriginError::Postgres(in_words(&error))
}
