//! The run's table in a PostgreSQL database of the user's: made, marked, and dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use standin_postgres::Target;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{OriginError, Rows, TABLE, TABLE_COMMENT};
use crate::interrupt::Interrupt;
use crate::postgres::{Link, connect, in_words};

/// Advisory lock that a running demo holds: `standin` in ASCII.
const LOCK: i64 = 0x0073_7461_6E64_696E;
/// Rows of one INSERT.
const BATCH_ROWS: usize = 10_000;
/// The longest time for a connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The longest time for making the table, and for dropping it: others may have locked it.
const TABLE_WITHIN: Duration = Duration::from_secs(10);
/// The interval at which an interrupt is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// The longest time for filling the table, and for reading all of it.
const ROWS_WITHIN: Duration = Duration::from_secs(600);

/// A connection that is held until the demo ends. The table goes when this is dropped.
#[derive(Debug)]
pub struct Session {
    // Ends before the runtime that its task is of.
    link: Link,
    runtime: Runtime,
    target: Target,
    has_table: bool,
}

impl Session {
    /// Connects, and makes sure that no other demo and no table of the user's is in the way.
    pub(super) fn open(
        target: &Target,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self, OriginError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| OriginError::Postgres(error.to_string()))?;
        let connected = runtime.block_on(async {
            tokio::select! {
                connected = connect(target, CONNECT_WITHIN) => connected.map_err(OriginError::from),
                () = interrupted(interrupt) => Err(OriginError::Interrupted),
            }
        });
        let link = match connected {
            Ok(link) => link,
            Err(error) => {
                // The name of a host may be looked up for longer than anybody waits.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let mut session = Self { link, runtime, target: target.clone(), has_table: false };
        session.make_table(interrupt)?;
        Ok(session)
    }

    fn make_table(&mut self, interrupt: Option<&Interrupt>) -> Result<(), OriginError> {
        let client = &self.link.client;
        self.within((TABLE_WITHIN, OriginError::Locked), interrupt, async {
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
    pub(super) fn fill(
        &self,
        rows: Rows,
        interrupt: Option<&Interrupt>,
    ) -> Result<(), OriginError> {
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
        self.within((ROWS_WITHIN, OriginError::Slow), interrupt, async {
            fill.await.map_err(failed)
        })
    }

    /// Every row as it is now.
    pub(super) fn read_all(
        &self,
        interrupt: Option<&Interrupt>,
    ) -> Result<BTreeMap<String, Vec<u8>>, OriginError> {
        let sql = format!("SELECT id, value FROM {TABLE}");
        let rows = self.within((ROWS_WITHIN, OriginError::Slow), interrupt, async {
            self.link.client.query(&sql, &[]).await.map_err(failed)
        })?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Drops the table, also if filling it has failed on the way.
    fn drop_table(&mut self) -> Result<(), OriginError> {
        if !std::mem::take(&mut self.has_table) {
            return Ok(());
        }
        let sql = format!("ROLLBACK; DROP TABLE IF EXISTS {TABLE}");
        self.within((TABLE_WITHIN, OriginError::Locked), None, async {
            self.link.client.batch_execute(&sql).await.map_err(failed)
        })
    }

    /// Executes something in this time. What takes longer is ended, and the connection with it. What is interrupted is ended,
    /// but the connection goes on: the table is still to be dropped.
    fn within<T>(
        &self,
        (limit, overdue): (Duration, fn(Duration) -> OriginError),
        interrupt: Option<&Interrupt>,
        execute: impl Future<Output = Result<T, OriginError>>,
    ) -> Result<T, OriginError> {
        self.runtime.block_on(async {
            let executed = tokio::select! {
                executed = timeout(limit, execute) => executed,
                () = interrupted(interrupt) => {
                    self.link.end_statement(&self.target).await;
                    return Err(OriginError::Interrupted);
                }
            };
            match executed {
                Ok(executed) => executed,
                Err(_) => {
                    self.link.cancel(&self.target).await;
                    Err(overdue(limit))
                }
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.drop_table() {
            tracing::warn!(%error, "the table {TABLE} stays; the next demo will replace it");
        }
    }
}

/// Ends when the user has interrupted the run.
async fn interrupted(interrupt: Option<&Interrupt>) {
    while !interrupt.is_some_and(Interrupt::is_set) {
        standin_protocol::fault::point();
        tokio::time::sleep(LOOK).await;
    }
}

fn failed(error: tokio_postgres::Error) -> OriginError {
    OriginError::Postgres(in_words(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use standin_config::PostgresAccess;
    use standin_testkit::{Postgres, wait_until};

    use super::*;

    #[test]
    fn a_table_that_others_have_locked_is_given_up() {
        let Some(postgres) = Postgres::start_or_skip("origin-locked") else { return };
        let target = crate::postgres::target(&postgres.url(), &PostgresAccess::default()).unwrap();
        let mut session = Session::open(&target, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let other = runtime.block_on(async {
            let other = connect(&target, CONNECT_WITHIN).await.unwrap();
            let lock = format!("BEGIN; LOCK TABLE {TABLE}");
            other.client.batch_execute(&lock).await.unwrap();
            other
        });
        let error = session.drop_table().unwrap_err().to_string();
        assert!(error.contains("end the session that has locked it"), "{error}");
        wait_until(CONNECT_WITHIN, "the end of the statement", || {
            let count = runtime.block_on(other.client.query_one(waiting, &[])).unwrap();
            count.get::<_, i64>(0) == 0
        });
    }

    #[test]
    fn a_table_that_could_not_be_filled_goes_too() {
        let Some(postgres) = Postgres::start_or_skip("origin-unfilled") else { return };
        let target = crate::postgres::target(&postgres.url(), &PostgresAccess::default()).unwrap();
        let session = Session::open(&target, None).unwrap();
        let is_there = |client: &tokio_postgres::Client, runtime: &Runtime| {
            let there = "SELECT to_regclass($1::text) IS NOT NULL";
            let row = runtime.block_on(client.query_one(there, &[&TABLE])).unwrap();
            row.get::<_, bool>(0)
        };
        let refuse = format!("ALTER TABLE {TABLE} ADD CHECK (id IS NULL)");
        session.runtime.block_on(session.link.client.batch_execute(&refuse)).unwrap();
        let error = session.fill(Rows { count: 3, run: 1, value_bytes: 64 }, None).unwrap_err();
        assert!(matches!(error, OriginError::Postgres(_)), "{error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let other = runtime.block_on(connect(&target, CONNECT_WITHIN)).unwrap();
        assert!(is_there(&other.client, &runtime));
        drop(session);
        assert!(!is_there(&other.client, &runtime));
    }

    #[test]
    fn an_interrupt_ends_the_reading_of_rows_and_the_table_goes() {
        let Some(postgres) = Postgres::start_or_skip("origin-interrupted") else { return };
        let target = crate::postgres::target(&postgres.url(), &PostgresAccess::default()).unwrap();
        let session = Session::open(&target, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let other = runtime.block_on(connect(&target, CONNECT_WITHIN)).unwrap();
        let lock = format!("BEGIN; LOCK TABLE {TABLE}");
        runtime.block_on(other.client.batch_execute(&lock)).unwrap();
        let interrupt = Interrupt::of_flag(Arc::new(AtomicBool::new(true)));
        let error = session.read_all(Some(&interrupt)).unwrap_err();
        assert!(matches!(error, OriginError::Interrupted), "{error}");
        runtime.block_on(other.client.batch_execute("ROLLBACK")).unwrap();
        drop(session);
        let there = "SELECT to_regclass($1::text) IS NOT NULL";
        let row = runtime.block_on(other.client.query_one(there, &[&TABLE])).unwrap();
        assert!(!row.get::<_, bool>(0));
    }
}
