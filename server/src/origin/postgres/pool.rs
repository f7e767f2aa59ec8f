//! The connections: opened, found for a call, lost, opened again.

use std::cell::RefCell;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use standin_protocol::time::Micros;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use super::link::Link;
use super::{FirstAttempt, Shared};
use crate::origin::Call;

/// Bounds one attempt to connect, and each step of setting up a session. A server
/// that is stopped takes TCP connections and then says nothing.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Bounds the configured `init`, which may fill tables.
pub(super) const INIT_WITHIN: Duration = Duration::from_secs(30);
/// Servers that start together race in `CREATE … IF NOT EXISTS`, which PostgreSQL
/// does not guard: the loser gets an error and would succeed the next time.
const INIT_TRIES: u32 = 3;
/// First and longest pause before another attempt; each is shortened by up to half.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// A connection that lasted this long was a good one: pauses begin anew.
const GOOD_AFTER: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect to PostgreSQL: {0}")]
    Server(String),
    #[error("PostgreSQL does not answer within {0:?}")]
    Silent(Duration),
    #[error("[origin] init failed: {0}")]
    Init(String),
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(with_cause(&error))
    }
}

/// All connections; those that are up.
pub(super) struct Pool {
    pub(super) shared: Shared,
    links: Vec<RefCell<Option<Rc<Link>>>>,
    /// `init` has run. Locked while it runs.
    initialised: Mutex<bool>,
}

/// A connection that is up, with the task that moves its bytes.
struct Opened {
    link: Rc<Link>,
    wire: Wire,
}

/// Moves a connection's bytes; ends with it.
struct Wire(JoinHandle<Option<String>>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pool {
    pub(super) fn new(shared: Shared) -> Self {
        let links = (0..shared.connections).map(|_| RefCell::new(None)).collect();
        Self { shared, links, initialised: Mutex::new(false) }
    }

    /// No connection is up.
    pub(super) fn is_empty(&self) -> bool {
        self.links.iter().all(|link| link.borrow().is_none())
    }

    /// Connections there are when all are up.
    pub(super) fn connections(&self) -> usize {
        self.links.len()
    }

    /// The connection for a call: a write's key says which, a read takes the one
    /// with the fewest calls.
    pub(super) fn pick(&self, call: &Call) -> Option<Rc<Link>> {
        let usable = |index: usize| {
            let link = self.links[index].borrow();
            link.as_ref().filter(|link| !link.client.is_closed()).cloned()
        };
        let count = self.links.len();
        if call.operation.is_write() {
            let mut hasher = DefaultHasher::new();
            (call.keyspace, &call.key).hash(&mut hasher);
            let home =
                usize::try_from(hasher.finish() % u64::try_from(count).unwrap_or(1)).unwrap_or(0);
            (home..home + count).find_map(|index| usable(index % count))
        } else {
            (0..count).filter_map(usable).min_by_key(|link| link.under_way())
        }
    }

    async fn open(&self) -> Result<Opened, ConnectError> {
        let (client, connection) =
            within(CONNECT_WITHIN, self.shared.server.connect(NoTls)).await??;
        let moving = async move { connection.await.err().map(|error| with_cause(&error)) };
        let wire = Wire(tokio::task::spawn_local(moving));
        {
            let mut initialised = self.initialised.lock().await;
            if !*initialised {
                self.initialise(&client).await?;
                *initialised = true;
            }
        }
        // A little less than the call's own time: see the head of mod.rs.
        let statement_ms = (self.shared.timeout.as_millis() * 9 / 10).max(1);
        let session = format!("SET statement_timeout = {statement_ms}");
        within(CONNECT_WITHIN, client.batch_execute(&session)).await??;
        Ok(Opened { link: Rc::new(Link::new(client)), wire })
    }

    async fn initialise(&self, client: &tokio_postgres::Client) -> Result<(), ConnectError> {
        let Some(init) = &self.shared.init else { return Ok(()) };
        let mut tries = 0;
        loop {
            tries += 1;
            match within(INIT_WITHIN, client.batch_execute(init)).await? {
                Err(error) if error.as_db_error().is_none() => return Err(error.into()),
                Err(error) if tries == INIT_TRIES => {
                    return Err(ConnectError::Init(with_cause(&error)));
                }
                Err(_) => tokio::time::sleep(PAUSE_FIRST).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Too late to refuse the start, and to try `init` for ever would keep the origin
    /// down: from here on each statement says for itself what is wrong.
    async fn give_up_init(&self, error: &ConnectError) {
        if matches!(error, ConnectError::Init(_)) {
            tracing::error!("{error}");
            *self.initialised.lock().await = true;
        }
    }
}

/// Connects for the first time, reports how that went, and keeps all connections up.
pub(super) async fn maintain_all(pool: Rc<Pool>, report: Option<FirstAttempt>) {
    let mut first = pool.open().await;
    if let Ok(opened) = &first {
        let check = opened.link.check(&pool.shared.statements);
        if timeout(CONNECT_WITHIN, check).await.is_err() {
            first = Err(ConnectError::Silent(CONNECT_WITHIN));
        }
    }
    // The calls that follow the report must find the connection.
    let installed = install(&pool, 0, first);
    if let Some(report) = report {
        // Nobody listens any more when the start has lost its patience.
        let _ = report.send(match &installed {
            Ok(_) => Ok(()),
            Err(ConnectError::Init(message)) => Err(ConnectError::Init(message.clone())),
            Err(error) => Err(ConnectError::Server(error.to_string())),
        });
    }
    for index in 1..pool.links.len() {
        tokio::task::spawn_local(maintain(Rc::clone(&pool), index, None));
    }
    maintain(pool, 0, Some(installed)).await;
}

/// Keeps one connection up for ever.
async fn maintain(pool: Rc<Pool>, index: usize, mut first: Option<Result<Opened, ConnectError>>) {
    let mut pause = Backoff::new();
    loop {
        let attempt = match first.take() {
            Some(installed) => installed,
            None => install(&pool, index, pool.open().await),
        };
        match attempt {
            Ok(mut opened) => {
                let since = Micros::boottime();
                let reason = tokio::select! {
                    ended = &mut opened.wire.0 => ended.ok().flatten(),
                    () = opened.link.given_up() => Some("it says nothing any more".to_owned()),
                };
                pool.links[index].replace(None);
                let reason = reason.unwrap_or_else(|| "it was closed".to_owned());
                if pool.is_empty() {
                    pool.shared
                        .health
                        .mark_down(&format_args!("lost the connection to PostgreSQL: {reason}"));
                }
                if Micros::boottime().since(since) >= GOOD_AFTER {
                    pause = Backoff::new();
                }
            }
            Err(error) => pool.give_up_init(&error).await,
        }
        tokio::time::sleep(pause.next()).await;
    }
}

/// Makes a new connection known to the calls, or a failure to the health.
fn install(
    pool: &Pool,
    index: usize,
    attempt: Result<Opened, ConnectError>,
) -> Result<Opened, ConnectError> {
    match &attempt {
        Ok(opened) => {
            pool.links[index].replace(Some(Rc::clone(&opened.link)));
            pool.shared.health.mark_up();
        }
        Err(error) => {
            tracing::debug!("{error}");
            if pool.is_empty() {
                pool.shared.health.mark_down(error);
            }
        }
    }
    attempt
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, ConnectError> {
    timeout(limit, work).await.map_err(|_| ConnectError::Silent(limit))
}

/// tokio-postgres says "db error" and leaves what the server said to the cause.
fn with_cause(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Pauses that double, each shortened at random, so that the connections of many
/// servers do not come back all at once.
struct Backoff {
    next: Duration,
    random: RandomState,
    step: u64,
}

impl Backoff {
    fn new() -> Self {
        Self { next: PAUSE_FIRST, random: RandomState::new(), step: 0 }
    }

    fn next(&mut self) -> Duration {
        let longest = self.next;
        self.next = (self.next * 2).min(PAUSE_LONGEST);
        self.step += 1;
        let permille = u32::try_from(self.random.hash_one(self.step) % 501).unwrap_or(0);
        longest - longest * permille / 1_000
    }
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
}
