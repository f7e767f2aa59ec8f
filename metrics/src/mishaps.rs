//! What goes wrong with the callers of a port: counted, and told in the log now and then with the address of the last
//! one, also when no other follows.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use standin_protocol::bursts::Bursts;
use standin_protocol::time::Micros;
use standin_tls::Failure;
use tokio::sync::Notify;
use tracing::warn;

/// The requests of all ports of this process that had a wrong user or password.
static FAILED_LOGINS: AtomicU64 = AtomicU64::new(0);

/// The connections of all ports of this process that were closed because of TLS.
static TLS_FAILURES: AtomicU64 = AtomicU64::new(0);

/// Returns the number of requests that had a wrong user or password, at all ports of this process.
pub(crate) fn failed_logins() -> u64 {
    FAILED_LOGINS.load(Ordering::Relaxed)
}

/// Returns the number of connections that were closed because of TLS, at all ports of this process.
pub(crate) fn tls_failures() -> u64 {
    TLS_FAILURES.load(Ordering::Relaxed)
}

/// What has not been told of a port.
pub(crate) struct Mishaps {
    /// The key of the file that names the port.
    name: &'static str,
    untold: Mutex<Untold>,
    added: Notify,
}

#[derive(Default)]
struct Untold {
    /// Callers that were closed because of TLS.
    tls: Bursts<(IpAddr, Failure)>,
    /// Requests with a wrong user or password.
    logins: Bursts<IpAddr>,
}

impl Mishaps {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, untold: Mutex::default(), added: Notify::new() }
    }

    /// Counts a caller that is closed because of TLS.
    pub(crate) fn tls_failed(&self, from: IpAddr, why: Failure) {
        TLS_FAILURES.fetch_add(1, Ordering::Relaxed);
        self.lock().tls.add(1, (from, why));
        self.added.notify_one();
    }

    /// Counts a wrong user or password.
    pub(crate) fn login_failed(&self, from: IpAddr) {
        FAILED_LOGINS.fetch_add(1, Ordering::Relaxed);
        self.lock().logins.add(1, from);
        self.added.notify_one();
    }

    /// Tells what is due, as long as it is polled.
    pub(crate) async fn keep_telling(&self) {
        loop {
            let now = Micros::boottime();
            self.tell(now);
            let due_at = self.lock().due_at();
            let added = self.added.notified();
            match due_at {
                None => added.await,
                // Of another kind, one may be due at once.
                Some(at) => drop(tokio::time::timeout(at.since(now), added).await),
            }
        }
    }

    /// Tells what is due at this time.
    pub(crate) fn tell(&self, now: Micros) {
        let mut untold = self.lock();
        let (tls, logins) = (untold.tls.due(now), untold.logins.due(now));
        drop(untold);
        let name = self.name;
        if let Some((failed, (from, why))) = tls {
            warn!(
                failed,
                "closed callers of `{name}` because of TLS; the last, from {from}: {why}"
            );
        }
        if let Some((failed, from)) = logins {
            warn!(
                failed,
                "refused requests to `{name}` because of a wrong user or password; the last came from {from}: give \
                 that client the right one, or close the port to it"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Untold {
    fn due_at(&self) -> Option<Micros> {
        [self.tls.due_at(), self.logins.due_at()].into_iter().flatten().min()
    }
}
