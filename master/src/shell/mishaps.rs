//! What goes wrong with those who call the master, send it datagrams or are called by it: counted, and told in the log
//! now and then with the last one, also when no other follows.

use std::cell::RefCell;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};

use standin_protocol::bursts::Bursts;
use standin_protocol::control::DatagramError;
use standin_protocol::time::Micros;
use tracing::warn;

use crate::counters::PortCounters;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Mishaps {
    counters: RefCell<PortCounters>,
    untold: RefCell<Untold>,
}

/// A datagram that can't be used, or the reason why none can be received. Anybody can send many, so nothing is put into
/// words that is not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Dropped {
    #[error("from {0}: {1}")]
    From(SocketAddr, DatagramError),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// What has not been told.
#[derive(Default)]
struct Untold {
    datagrams: Bursts<Dropped>,
    accepting: Bursts<String>,
    tls: Bursts<(IpAddr, String)>,
    tls_to: Bursts<(SocketAddr, String)>,
    logins: Bursts<IpAddr>,
}

impl Mishaps {
    /// The counters of the port since the start.
    pub(crate) fn counters(&self) -> PortCounters {
        *self.counters.borrow()
    }

    /// A datagram can't be used, or none can be received.
    pub(crate) fn datagram_dropped(&self, why: Dropped) {
        if matches!(why, Dropped::From(..)) {
            self.counters.borrow_mut().datagrams_refused += 1;
        }
        self.note(|untold| untold.datagrams.add(1, why));
    }

    /// A connection can't be accepted.
    pub(crate) fn not_accepted(&self, why: &dyn Display) {
        self.note(|untold| untold.accepting.add(1, why.to_string()));
    }

    /// TLS was set up with a caller.
    pub(crate) fn tls_set_up(&self) {
        self.counters.borrow_mut().tls_handshakes += 1;
    }

    /// A caller is closed because of TLS.
    pub(crate) fn tls_failed(&self, from: IpAddr, why: &dyn Display) {
        self.counters.borrow_mut().tls_failures += 1;
        self.note(|untold| untold.tls.add(1, (from, why.to_string())));
    }

    /// A connection to a server ends because of TLS.
    pub(crate) fn tls_to_failed(&self, to: SocketAddr, why: &dyn Display) {
        self.counters.borrow_mut().tls_failures += 1;
        self.note(|untold| untold.tls_to.add(1, (to, why.to_string())));
    }

    /// A caller has not proved to know a secret or to be a user.
    pub(crate) fn login_failed(&self, from: IpAddr) {
        self.counters.borrow_mut().auth_failures_native += 1;
        self.note(|untold| untold.logins.add(1, from));
    }

    fn note(&self, add: impl FnOnce(&mut Untold)) {
        add(&mut self.untold.borrow_mut());
        self.tell(Micros::boottime());
    }

    /// Tells what is due at this time.
    pub(crate) fn tell(&self, now: Micros) {
        let mut untold = self.untold.borrow_mut();
        if let Some((count, why)) = untold.datagrams.due(now) {
            warn!(count, "datagrams dropped; the last: {why}");
        }
        if let Some((count, why)) = untold.accepting.due(now) {
            warn!(count, "connections not accepted; the last: {why}");
        }
        if let Some((failed, (from, why))) = untold.tls.due(now) {
            warn!(failed, "closed callers because of TLS; the last, from {from}: {why}");
        }
        if let Some((failed, (to, why))) = untold.tls_to.due(now) {
            warn!(failed, "TLS to servers failed; the last, to the server at {to}: {why}");
        }
        if let Some((failed, from)) = untold.logins.due(now) {
            warn!(
                failed,
                "refused logins because of a wrong secret, user or password; the last came from {from}: give that \
                 party the right one, or close the port to it"
            );
        }
    }
}
