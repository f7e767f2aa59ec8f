//! Troubles of the table of a run, made by a session of their own: it is locked, or has no room.

use std::time::Duration;

use standin_config::PostgresAccess;
use tokio::runtime::Runtime;

use super::script::Trouble;
use crate::origin::TABLE;
use crate::postgres::{Link, connect, target};

/// The longest wait for the table, and for an answer.
const WITHIN: Duration = Duration::from_secs(5);

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    // Ends before the runtime that its task is of.
    link: Link,
    runtime: Runtime,
}

impl Session {
    /// Connects.
    pub(super) fn open(url: &str) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let target = target(url, &PostgresAccess::default()).map_err(|error| error.to_string())?;
        let link = runtime.block_on(connect(&target, WITHIN)).map_err(|error| error.to_string())?;
        Ok(Self { link, runtime })
    }

    fn run(&self, statements: &str) -> Result<(), String> {
        let run = async {
            tokio::time::timeout(WITHIN, self.link.client.batch_execute(statements)).await
        };
        let done = self.runtime.block_on(run).map_err(|_| silent())?;
        done.map_err(|error| match error.as_db_error() {
            Some(said) => said.to_string(),
            None => error.to_string(),
        })
    }
}

fn silent() -> String {
    format!("PostgreSQL has not answered within {WITHIN:?}")
}

/// A trouble that lasts. Dropping it ends a lock, but not the lack of room.
#[derive(Debug)]
pub struct Lasting {
    session: Session,
    trouble: Trouble,
}

impl Lasting {
    /// Begins it.
    ///
    /// # Errors
    /// PostgreSQL refuses, or does not answer; in words.
    pub fn begin(url: &str, trouble: Trouble) -> Result<Self, String> {
        let session = Session::open(url)?;
        session.run(&match trouble {
            // The session is in a transaction that it does not end.
            Trouble::Lock => format!(
                "BEGIN; SET LOCAL lock_timeout = '{}ms'; LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE",
                WITHIN.as_millis()
            ),
            // What a client sees of a full disk: the same error, while what is there can be read.
            Trouble::Full => format!(
                "CREATE OR REPLACE FUNCTION standin_full() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                   RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
                 END $$;
                 CREATE TRIGGER standin_full BEFORE INSERT OR UPDATE ON {TABLE}
                 FOR EACH STATEMENT EXECUTE FUNCTION standin_full()"
            ),
        })?;
        Ok(Self { session, trouble })
    }

    /// Ends it.
    ///
    /// # Errors
    /// As above.
    pub fn end(&self) -> Result<(), String> {
        match self.trouble {
            Trouble::Lock => self.session.run("ROLLBACK"),
            Trouble::Full => self.session.run(&format!("DROP TRIGGER standin_full ON {TABLE}")),
        }
    }
}
