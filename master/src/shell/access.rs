//! Who may connect to the master, and whose datagrams it believes: the cluster's secrets and users. Another
//! thread may replace them; the event loop takes them over when it is woken.

use std::sync::{Arc, Mutex, PoisonError};

use standin_config::ClusterConfig;
use standin_protocol::auth::ClusterKey;
use standin_protocol::hello::Known;
use standin_protocol::users::Users;

use crate::shell::stopper::Stopper;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Access {
    /// The secrets that count, the one that is used first.
    pub(crate) keys: Vec<ClusterKey>,
    users: Option<Users>,
}

impl Access {
    pub(crate) fn new(cluster: &ClusterConfig) -> Self {
        Self { keys: cluster.cluster_keys(), users: cluster.security.users.clone() }
    }

    /// The secret that is used for what the master sends, if there is one.
    pub(crate) fn key(&self) -> Option<&ClusterKey> {
        self.keys.first()
    }

    /// What a HELLO is compared with.
    pub(crate) fn known(&self) -> Known<'_> {
        Known { keys: &self.keys, users: self.users.as_ref() }
    }
}

/// What a running master takes over from another thread.
#[derive(Debug, Clone)]
pub struct Reloader {
    next: Arc<Mutex<Option<Access>>>,
    stopper: Stopper,
}

impl Reloader {
    pub(super) fn new(stopper: Stopper) -> Self {
        Self { next: Arc::default(), stopper }
    }

    /// Has the master take over the secrets and users of a file ([`ClusterConfig::reload`]). Connections that
    /// are open stay.
    pub fn reload(&self, cluster: &ClusterConfig) {
        let next = Some(Access::new(cluster));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.stopper.wake();
    }

    pub(super) fn take(&self) -> Option<Access> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
