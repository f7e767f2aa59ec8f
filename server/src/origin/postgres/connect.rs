//! Opening a connection to the server: the attempt to connect, the setup of the session, and the
//! task that transfers its bytes.

use std::rc::Rc;
use std::time::Duration;

use standin_postgres::{ConnectError, with_cause};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Shared;
use super::connection::Connection;

/// The bound on one attempt to connect, and on each step of setting up a session. A server that is
/// stopped still accepts TCP connections, but does not answer.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The bound on the configured `init`, which may fill tables.
pub(super) const INIT_WITHIN: Duration = Duration::from_secs(30);
/// The number of attempts to run `init`. Servers that start together race in `CREATE … IF NOT
/// EXISTS`, which PostgreSQL does not guard: the loser gets an error, and succeeds at its next
/// attempt.
const INIT_TRIES: u32 = 3;
/// The first and the longest pause before another attempt. Each is randomly shortened by up to
/// half.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// The reason why there is no session.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("PostgreSQL did not answer within {0:?}")]
    Silent(Duration),
    #[error("[origin] init failed: {0}")]
    Init(String),
    #[error("keyspace {keyspace}: `{statement}`: {message}")]
    Statement { keyspace: String, statement: &'static str, message: String },
}

impl OpenError {
    /// Whether it is a mistake in the configuration, with which a server does not start.
    pub(super) fn refuses_start(&self) -> bool {
        match self {
            Self::Init(_) | Self::Statement { .. } => true,
            Self::Connect(_) | Self::Silent(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Connect(error.into())
    }
}

/// A connection that is up, with the task that transfers its bytes.
pub(super) struct Opened {
    pub(super) connection: Rc<Connection>,
    pub(super) wire: Wire,
}

/// The task that transfers a connection's bytes. It ends with the connection, and returns the
/// reason if it is known.
pub(super) struct Wire(pub(super) JoinHandle<Option<String>>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, runs `init` if it has not been run, and sets up the session.
pub(super) async fn open(shared: &Shared) -> Result<Opened, OpenError> {
    let (client, transport) = within(CONNECT_WITHIN, shared.server.connect()).await??;
    let moving = async move { transport.await.err().map(|error| with_cause(&error)) };
    let wire = Wire(tokio::task::spawn_local(moving));
    {
        let mut initialised = shared.initialised.lock().await;
        if !*initialised {
            initialise(shared.init.as_deref(), &client).await?;
            *initialised = true;
        }
    }
    let connection = Connection::new(client, shared.statement_limits(), shared.pipelining());
    within(CONNECT_WITHIN, connection.set_longest()).await??;
    if shared.statements.any_reread() {
        within(CONNECT_WITHIN, connection.limit_transactions()).await??;
    }
    Ok(Opened { connection: Rc::new(connection), wire })
}

async fn initialise(init: Option<&str>, client: &tokio_postgres::Client) -> Result<(), OpenError> {
    let Some(init) = init else { return Ok(()) };
    let mut tries = 0;
    loop {
        tries += 1;
        match within(INIT_WITHIN, client.batch_execute(init)).await? {
            Err(error) if error.as_db_error().is_none() => return Err(error.into()),
            Err(error) if tries == INIT_TRIES => {
                return Err(OpenError::Init(with_cause(&error)));
            }
            Err(_) => tokio::time::sleep(PAUSE_FIRST).await,
            Ok(()) => return Ok(()),
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, OpenError> {
    timeout(limit, work).await.map_err(|_| OpenError::Silent(limit))
}

/// Pauses that double, each randomly shortened, so that the connections of many servers do not all
/// come back at once.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: PAUSE_FIRST }
    }

    pub(super) fn next(&mut self) -> Duration {
        let longest = self.next;
        self.next = (self.next * 2).min(PAUSE_LONGEST);
        longest - random_part(longest / 2)
    }
}

/// Returns a random part of a pause, and all of it if the system has no random number.
pub(super) fn random_part(pause: Duration) -> Duration {
    let permille = getrandom::u32().map_or(1_000, |random| random % 1_001);
    pause * permille / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..10).map(|_| backoff.next()).collect();
        assert!(pauses[0] >= PAUSE_FIRST / 2 && pauses[0] <= PAUSE_FIRST);
        assert!(
            pauses
                .iter()
                .skip(6)
                .all(|&pause| pause >= PAUSE_LONGEST / 2 && pause <= PAUSE_LONGEST)
        );
        assert!(pauses[7] != pauses[8] || pauses[8] != pauses[9]);
    }

    #[test]
    fn pauses_of_many_servers_are_spread_over_the_whole_range() {
        let pause = Duration::from_millis(1_000);
        let parts: Vec<Duration> = (0..2_000).map(|_| random_part(pause)).collect();
        for tenth in 0..10 {
            let (from, to) = (pause * tenth / 10, pause * (tenth + 1) / 10);
            let count = parts.iter().filter(|part| (from..to).contains(*part)).count();
            // Its mean is 200, and its standard deviation 13.
            assert!((80..320).contains(&count), "{count} of 2000 in {from:?}..{to:?}");
        }
        assert!(parts.iter().all(|part| *part <= pause));
    }
}
