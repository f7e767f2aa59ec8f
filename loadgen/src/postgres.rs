//! Connections to PostgreSQL, for all that ask it: the database of an application, the table of a run, and faults.
//! Where it is, and how one logs in, is for standin-postgres.

use std::time::Duration;

use standin_config::PostgresAccess;
pub(crate) use standin_postgres::with_cause as in_words;
use standin_postgres::{ConnectError, Target, UrlError};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Client;

/// The longest time for asking a server to end a statement.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server, or the access to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not answer.
    #[error("PostgreSQL did not answer within {0:?}")]
    Silent(Duration),
}

/// A connection, which ends with this.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    moving: JoinHandle<()>,
}

impl Link {
    /// Closes it, whatever is under way on it.
    pub(crate) fn close(&self) {
        self.moving.abort();
    }

    /// Closes it, and asks the server to end what it still executes for it: it would see only at the end that nobody
    /// waits.
    pub(crate) async fn cancel(&self, target: &Target) {
        self.close();
        self.end_statement(target).await;
    }

    /// Asks the server to end what it executes, and keeps the connection.
    pub(crate) async fn end_statement(&self, target: &Target) {
        let asked = timeout(CANCEL_WITHIN, target.cancel(&self.client.cancel_token())).await;
        if !matches!(asked, Ok(Ok(()))) {
            tracing::debug!("PostgreSQL was not asked to end a statement");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// The target of a connection string and the settings beside it.
///
/// # Errors
/// They can't be used.
pub(crate) fn target(url: &str, access: &PostgresAccess) -> Result<Target, UrlError> {
    let mut config = standin_postgres::read(url)?;
    if config.get_application_name().is_none() {
        config.application_name("standin load");
    }
    Target::new(config, access)
}

/// Connects, as a task of this runtime.
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn connect(target: &Target, within: Duration) -> Result<Link, OpenError> {
    let connected = timeout(within, target.connect()).await;
    let (client, connection) = connected.map_err(|_| OpenError::Silent(within))??;
    let moving = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL has ended");
        }
    });
    Ok(Link { client, moving })
}
