//! Who may connect to the master, and whose datagrams it believes: the cluster's secrets and users. Another
//! thread may replace them; the event loop takes them over when it is woken.

use std::sync::{Arc, Mutex, PoisonError};

use standin_config::ClusterConfig;
use standin_protocol::auth::ClusterKey;
use standin_protocol::hello::{Believed, Known};
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

    /// What a caller is believed by who was believed by others; `None` if it would not be any more.
    pub(crate) fn renew(&self, others: &Self, believed: &Believed) -> Option<Believed> {
        match believed {
            // There is no secret, or the caller has a certificate.
            Believed::Anyway => Some(Believed::Anyway),
            Believed::ByKey(number) => {
                let key = &others.keys[*number];
                self.keys.iter().position(|own| own == key).map(Believed::ByKey)
            }
            Believed::AsUser(proven, _) => {
                let rights = self.users.as_ref()?.still(proven)?;
                Some(Believed::AsUser(proven.clone(), *rights))
            }
        }
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

    /// Has the master take over the secrets and users of a file ([`ClusterConfig::reload`]). With the next request
    /// on a connection its caller is looked up again, and the connection is closed if it is not believed any more.
    pub fn reload(&self, cluster: &ClusterConfig) {
        let next = Some(Access::new(cluster));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.stopper.wake();
    }

    pub(super) fn take(&self) -> Option<Access> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::users::{Right, Rights, User, UserKey};

    use super::*;

    fn access(keys: &[u8], password: &str, rights: Rights) -> Access {
        let verifier = UserKey::new(b"ann", password.as_bytes()).verifier();
        let ann = User { name: "ann".into(), verifiers: vec![verifier], rights };
        let keys = keys.iter().map(|byte| ClusterKey::new([*byte; 32])).collect();
        Access { keys, users: Some(Users::new(vec![ann])) }
    }

    #[test]
    fn a_caller_is_believed_as_long_as_its_secret_or_password_counts() {
        let none = Rights::default();
        let before = access(&[1, 2], "one", none);
        let by_key = |keys: &[u8], number| {
            access(keys, "one", none).renew(&before, &Believed::ByKey(number))
        };
        assert_eq!(by_key(&[2, 1], 0), Some(Believed::ByKey(1)));
        assert_eq!(by_key(&[2], 1), Some(Believed::ByKey(0)));
        assert_eq!(by_key(&[2], 0), None);

        let users = before.users.as_ref().unwrap();
        let (_, proven) = users.with_password(b"ann", b"one").unwrap();
        let ann = Believed::AsUser(proven.clone(), none);
        let mut more = none;
        more.of_mut(Right::Administer).set(7, true);
        let renewed = access(&[1], "one", more).renew(&before, &ann);
        assert_eq!(renewed, Some(Believed::AsUser(proven, more)), "with the rights of now");
        assert_eq!(access(&[1], "two", none).renew(&before, &ann), None);
        let without = Access { users: None, ..access(&[1], "one", none) };
        assert_eq!(without.renew(&before, &ann), None);
    }
}
