//! Who may connect, and what they may do: the cluster's secrets, its users, and the password files of
//! services. A reload replaces all of it at once, and what each connection was admitted by is looked up
//! again.

use std::path::Path;

use standin_config::{Security, ServiceProtocol};
use standin_protocol::auth::ClusterKey;
use standin_protocol::hello::{Believed, Known};
use standin_protocol::users::{DEFAULT_USER, Proven, Rights, Users};

use super::users::{Users as Passwords, UsersError};

/// A caller's rights, and what they follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    why: Why,
    /// What the caller may do.
    pub rights: Rights,
}

/// What a caller was admitted by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// Nothing: at this port nobody has to say who they are.
    Anyway,
    /// A secret of the cluster, or the clients' key that is made from it.
    Key(Box<ClusterKey>),
    /// A password file, which is not looked at again.
    Password(Box<str>),
    /// As one of the users.
    User(Box<Proven>),
}

impl Default for Grant {
    /// Nothing is permitted to who has not been admitted.
    fn default() -> Self {
        Self { why: Why::Anyway, rights: Rights::default() }
    }
}

impl Grant {
    /// All rights, at a port at which nobody has to say who they are.
    pub const ALL: Self = Self { why: Why::Anyway, rights: Rights::ALL };

    fn user(proven: Proven, rights: &Rights) -> Self {
        Self { why: Why::User(Box::new(proven)), rights: *rights }
    }

    /// The name of the user, as the caller is told it.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.why {
            Why::User(proven) => &proven.name,
            Why::Password(name) => name,
            Why::Anyway | Why::Key(_) => DEFAULT_USER,
        }
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Access {
    keys: Vec<ClusterKey>,
    users: Option<Users>,
    passwords: Vec<(ServiceProtocol, Passwords)>,
}

impl Access {
    /// Reads the password files of services, beside these secrets and users.
    ///
    /// # Errors
    /// [`UsersError`] of the first file that can't be used.
    pub fn read<'a>(
        keys: Vec<ClusterKey>,
        security: &Security,
        services: impl Iterator<Item = (ServiceProtocol, Option<&'a Path>)>,
    ) -> Result<Self, UsersError> {
        let files = services.filter_map(|(protocol, path)| {
            Some(Passwords::read(path?).map(|passwords| (protocol, passwords)))
        });
        let (passwords, users) = (files.collect::<Result<_, _>>()?, security.users.clone());
        Ok(Self { keys, users, passwords })
    }

    /// The secret that is used for connections to other servers, if there is one.
    pub(super) fn key(&self) -> Option<ClusterKey> {
        self.keys.first().cloned()
    }

    /// What a HELLO is compared with.
    pub(super) fn known(&self) -> Known<'_> {
        Known { keys: &self.keys, users: self.users.as_ref() }
    }

    /// The grant of a caller whose HELLO was believed.
    pub(super) fn believed(&self, believed: Believed) -> Grant {
        match believed {
            Believed::Anyway => Grant::ALL,
            Believed::ByKey(number) => {
                let why = Why::Key(Box::new(self.keys[number].clone()));
                Grant { why, rights: Rights::ALL }
            }
            Believed::AsUser(proven, rights) => Grant::user(proven, &rights),
        }
    }

    fn passwords_of(&self, protocol: ServiceProtocol) -> Option<&Passwords> {
        self.passwords.iter().find(|(of, _)| *of == protocol).map(|(_, passwords)| passwords)
    }

    /// The grant of callers of a service who do not say who they are; `None`: they have to.
    #[must_use]
    pub fn unnamed(&self, protocol: ServiceProtocol) -> Option<Grant> {
        match &self.users {
            Some(users) => {
                let open = users.open()?;
                let proven = Proven { name: open.name.clone(), verifier: None };
                Some(Grant::user(proven, &open.rights))
            }
            None => self.passwords_of(protocol).is_none().then_some(Grant::ALL),
        }
    }

    /// Whether a service has anybody who could say who they are.
    pub(super) fn asks(&self, protocol: ServiceProtocol) -> bool {
        self.users.is_some() || self.passwords_of(protocol).is_some()
    }

    /// The grant of a caller of a service with this name and password; `None`: they are wrong. A name
    /// that is among the users is none in a password file.
    #[must_use]
    pub fn admit(&self, protocol: ServiceProtocol, name: &[u8], password: &[u8]) -> Option<Grant> {
        if let Some(users) = &self.users {
            let found = users.with_password(name, password);
            if let Some((user, proven)) = found {
                return Some(Grant::user(proven, &user.rights));
            }
            users.named(name).is_none().then_some(())?;
        }
        let is_right = self.passwords_of(protocol)?.admit(name, password);
        let why = Why::Password(String::from_utf8_lossy(name).into());
        is_right.then_some(Grant { why, rights: Rights::ALL })
    }

    /// The grant of a caller that was admitted before, at a port of this service (`None`: Standin's own);
    /// `None` if it would not be admitted any more.
    #[must_use]
    pub fn renew(&self, grant: &Grant, service: Option<ServiceProtocol>) -> Option<Grant> {
        match &grant.why {
            Why::Anyway => match service {
                None => Some(grant.clone()),
                Some(protocol) => self.unnamed(protocol),
            },
            Why::Key(key) => self.keys.contains(key).then(|| grant.clone()),
            // A name that has become a user's is in a password file no more.
            Why::Password(name) => {
                let of_user = self.users.as_ref().and_then(|users| users.named(name.as_bytes()));
                of_user.is_none().then(|| grant.clone())
            }
            Why::User(proven) => {
                let rights = self.users.as_ref()?.still(proven)?;
                Some(Grant { why: grant.why.clone(), rights: *rights })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::users::{User, UserKey};
    use standin_testkit::scratch::Scratch;

    use super::*;

    const REDIS: ServiceProtocol = ServiceProtocol::Redis;

    fn user(name: &str, password: Option<&str>, keyspace: u8) -> User {
        let verifier =
            |password: &str| UserKey::new(name.as_bytes(), password.as_bytes()).verifier();
        let mut rights = Rights::default();
        rights.read.set(keyspace, true);
        User { name: name.into(), verifiers: password.map(verifier).into_iter().collect(), rights }
    }

    fn access(users: Option<Vec<User>>, passwords: &str) -> Access {
        let scratch = Scratch::new("access");
        let path = scratch.file("passwords");
        std::fs::write(&path, passwords).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
        let path = (!passwords.is_empty()).then_some(&*path);
        let security = Security { users: users.map(Users::new), ..Security::default() };
        Access::read(Vec::new(), &security, [(REDIS, path)].into_iter()).unwrap()
    }

    #[test]
    fn without_users_and_passwords_everybody_has_all_rights() {
        let access = access(None, "");
        assert_eq!(access.unnamed(REDIS), Some(Grant::ALL));
        assert!(!access.asks(REDIS) && access.admit(REDIS, b"ann", b"x").is_none());
    }

    #[test]
    fn who_is_in_a_password_file_has_all_rights_also_beside_users() {
        let users = vec![user("ann", Some("hers"), 1), user("bob", Some("his"), 2)];
        for users in [None, Some(users)] {
            let access = access(users.clone(), "old:one\nann:stolen\n");
            assert!(access.asks(REDIS) && access.unnamed(REDIS).is_none());
            let old = access.admit(REDIS, b"old", b"one").unwrap();
            assert_eq!((old.rights, old.name()), (Rights::ALL, "old"));
            assert_eq!(access.renew(&old, Some(REDIS)), Some(old));
            assert!(access.admit(ServiceProtocol::Memcached, b"old", b"one").is_none());
            let ann = access.admit(REDIS, b"ann", b"stolen");
            assert_eq!(ann.is_none(), users.is_some(), "among the users, she is that user");
        }
    }

    #[test]
    fn the_open_user_is_who_names_none() {
        let access = access(Some(vec![user("default", None, 3), user("ann", Some("hers"), 1)]), "");
        let open = access.unnamed(REDIS).unwrap();
        assert!(open.rights.read.has(3) && !open.rights.read.has(1));
        assert_eq!(open.name(), "default");
        let ann = access.admit(REDIS, b"ann", b"hers").unwrap();
        assert!(ann.rights.read.has(1) && ann.name() == "ann");
        assert!(access.admit(REDIS, b"ann", b"his").is_none());
    }

    #[test]
    fn a_reload_changes_rights_and_drops_whom_it_no_longer_admits() {
        let before = access(Some(vec![user("default", None, 3), user("ann", Some("hers"), 1)]), "");
        let ann = before.admit(REDIS, b"ann", b"hers").unwrap();
        let open = before.unnamed(REDIS).unwrap();
        let after = access(Some(vec![user("ann", Some("hers"), 9)]), "");
        let renewed = after.renew(&ann, Some(REDIS)).unwrap();
        assert!(renewed.rights.read.has(9) && !renewed.rights.read.has(1));
        assert_eq!(after.renew(&open, Some(REDIS)), None, "it has to say who it is now");
        assert_eq!(after.renew(&Grant::ALL, Some(REDIS)), None);
        assert_eq!(after.renew(&Grant::ALL, None), Some(Grant::ALL), "it has a certificate");
        let other = access(Some(vec![user("ann", Some("other"), 1)]), "");
        assert_eq!(other.renew(&ann, Some(REDIS)), None);
        let none = access(None, "");
        assert_eq!(none.renew(&ann, Some(REDIS)), None);
        assert_eq!(none.renew(&Grant::ALL, Some(REDIS)), Some(Grant::ALL));
    }

    #[test]
    fn a_name_that_becomes_a_user_has_to_prove_it_again() {
        let before = access(None, "ann:hers\nbob:his\n");
        let [ann, bob] = [(&b"ann"[..], &b"hers"[..]), (b"bob", b"his")]
            .map(|(name, password)| before.admit(REDIS, name, password).unwrap());
        let after = access(Some(vec![user("ann", Some("hers"), 1)]), "ann:hers\nbob:his\n");
        assert_eq!(after.renew(&ann, Some(REDIS)), None);
        assert_eq!(after.renew(&bob, Some(REDIS)), Some(bob));
    }

    #[test]
    fn a_caller_by_a_secret_stays_as_long_as_the_secret_counts() {
        let key = |byte| ClusterKey::new([byte; 32]);
        let with = |keys: Vec<ClusterKey>| Access { keys, ..Access::default() };
        let two = with(vec![key(1), key(2)]);
        let [first, second] = [0, 1].map(|number| two.believed(Believed::ByKey(number)));
        let one = with(vec![key(2)]);
        assert_eq!(one.renew(&first, None), None, "also if it is a member of the cluster");
        assert_eq!(one.renew(&second, None), Some(second));
    }
}
