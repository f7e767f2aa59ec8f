//! What of a changed cluster file a running server can take over, and what needs a restart.

use std::time::Duration;

use standin_protocol::users::{User, Users};

use crate::model::{ClusterConfig, KeyspaceConfig, Limits, LogLevel};
use crate::proxy::ProxyConfig;
use crate::security::Security;

/// The settings of a keyspace that a running server takes over. They concern what is cached from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The keyspace's id.
    pub keyspace: u8,
    /// See [`KeyspaceConfig::ttl`].
    pub ttl: Option<Duration>,
    /// See [`KeyspaceConfig::negative_ttl`].
    pub negative_ttl: Duration,
    /// See [`KeyspaceConfig::ttl_jitter_percent`].
    pub ttl_jitter_percent: u8,
    /// See [`KeyspaceConfig::log_slower_than`].
    pub log_slower_than: Option<Duration>,
}

impl Lifetimes {
    /// Those of a keyspace.
    #[must_use]
    pub fn of(keyspace: &KeyspaceConfig) -> Self {
        Self {
            keyspace: keyspace.id,
            ttl: keyspace.ttl,
            negative_ttl: keyspace.negative_ttl,
            ttl_jitter_percent: keyspace.ttl_jitter_percent,
            log_slower_than: keyspace.log_slower_than,
        }
    }

    /// Sets them in a keyspace.
    pub fn apply_to(&self, keyspace: &mut KeyspaceConfig) {
        keyspace.ttl = self.ttl;
        keyspace.negative_ttl = self.negative_ttl;
        keyspace.ttl_jitter_percent = self.ttl_jitter_percent;
        keyspace.log_slower_than = self.log_slower_than;
    }
}

/// The differences of a file from the one that a process runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Reload {
    /// The running configuration with what can be taken over from the new file.
    pub config: ClusterConfig,
    /// What can be taken over, as `keyspace "items": ttl 1h -> 5m`.
    pub changed: Vec<String>,
    /// The parts of the file that differ and need a restart.
    pub needs_restart: Vec<String>,
}

impl ClusterConfig {
    /// Compares a new file with this one.
    #[must_use]
    pub fn reload(&self, new: &Self) -> Reload {
        let mut config = self.clone();
        let mut changed = Vec::new();
        for keyspace in &mut config.keyspaces {
            let Some(wanted) = new.keyspaces.iter().find(|wanted| wanted.id == keyspace.id) else {
                continue;
            };
            let (old, new) = (Lifetimes::of(keyspace), Lifetimes::of(wanted));
            changed.extend(
                old.differences(&new)
                    .into_iter()
                    .map(|difference| format!("keyspace {:?}: {difference}", keyspace.name)),
            );
            new.apply_to(keyspace);
        }
        config.limits = self.limits.reload(&new.limits, &mut changed);
        config.log_level = self.log_level.reload(new.log_level, &mut changed);
        config.security = self.reload_security(new, &mut changed);
        let needs_restart = config.differing_parts(new);
        Reload { config, changed, needs_restart }
    }

    fn reload_security(&self, new: &Self, changed: &mut Vec<String>) -> Security {
        let security = self.security.reload_secrets(&new.security, changed);
        // A process that believes every caller that it is a server has no use for users.
        if self.security.secret.is_none() || !names_all_served(&self.keyspaces, &new.keyspaces) {
            return security;
        }
        changed.extend(user_changes(self.security.users.as_ref(), new.security.users.as_ref()));
        Security { users: new.security.users.clone(), ..security }
    }

    /// Compares a new file with this one, for the master, which has no use for most of what servers take over.
    #[must_use]
    pub fn reload_of_master(&self, new: &Self) -> Reload {
        let mut changed = Vec::new();
        let mut config = self.reload(new).config;
        config.limits.handshake_timeout = self.limits.handshake_timeout;
        config.log_level = self.log_level.reload(new.log_level, &mut changed);
        config.security = self.reload_security(new, &mut changed);
        let needs_restart = config.differing_parts(new);
        Reload { config, changed, needs_restart }
    }

    /// The names of the parts in which two files differ.
    fn differing_parts(&self, new: &Self) -> Vec<String> {
        let cluster = |file: &Self| {
            (file.name.clone(), file.partitions, file.hash, file.mode, file.naming.clone())
        };
        let parts = [
            ("[cluster]", cluster(self) == cluster(new)),
            ("[master]", self.master == new.master),
            ("[[group]]", self.servers == new.servers && self.groups == new.groups),
            ("[origin]", self.origin == new.origin),
            ("[[keyspace]]", self.keyspaces == new.keyspaces),
            ("[timings]", self.timings == new.timings),
            ("[limits]", self.limits == new.limits),
            ("[security]", self.security == new.security),
            ("[tls]", self.tls == new.tls),
        ];
        let differing = parts.iter().filter(|(_, is_equal)| !is_equal);
        differing.map(|(part, _)| (*part).to_owned()).collect()
    }
}

impl LogLevel {
    fn reload(self, new: Self, changed: &mut Vec<String>) -> Self {
        if self != new {
            changed.push(format!("[log] level {} -> {}", self.name(), new.name()));
        }
        new
    }
}

impl Limits {
    /// Returns what a running server uses of another file: all but the sizes of what it has made room for.
    fn reload(&self, new: &Self, changed: &mut Vec<String>) -> Self {
        let mut compare = |key: &str, old: String, new: String| {
            if old != new {
                changed.push(format!("[limits] {key} {old} -> {new}"));
            }
        };
        let number = |number: u32| number.to_string();
        let time = |time: Duration| format!("{time:?}");
        compare("connections", number(self.connections), number(new.connections));
        compare("handshakes", number(self.handshakes), number(new.handshakes));
        let in_flight = |of: &Self| number(of.in_flight_per_connection);
        compare("in_flight_per_connection", in_flight(self), in_flight(new));
        compare("output_timeout", time(self.output_timeout), time(new.output_timeout));
        compare("handshake_timeout", time(self.handshake_timeout), time(new.handshake_timeout));
        Self {
            connections: new.connections,
            handshakes: new.handshakes,
            in_flight_per_connection: new.in_flight_per_connection,
            output_timeout: new.output_timeout,
            handshake_timeout: new.handshake_timeout,
            ..self.clone()
        }
    }
}

impl Security {
    /// Returns this with the secrets of another file, if the one that is used counts before and after. Otherwise
    /// those that have changed theirs and those that have not would not believe each other.
    fn reload_secrets(&self, new: &Self, changed: &mut Vec<String>) -> Self {
        let mut security = self.clone();
        let secrets = |of: &Self| (of.secret, of.second_secret);
        let all = |of: &Self| [of.secret, of.second_secret];
        let is_step = self.secret.is_some()
            && new.secret.is_some()
            && all(self).contains(&new.secret)
            && all(new).contains(&self.secret);
        if secrets(self) != secrets(new) && is_step {
            let used =
                if self.secret == new.secret { "the same is used" } else { "another is used" };
            let number = 1 + usize::from(new.second_secret.is_some());
            changed.push(format!("the cluster's secrets: {used}, and {number} count"));
            (security.secret, security.second_secret) = secrets(new);
        }
        security
    }
}

/// Whether a new file still names all keyspaces that are served, by the same ids. Rights are by ids. Those
/// for a keyspace that the file does not name any more would be those for all others (`*`), and it is served
/// until a restart.
fn names_all_served(served: &[KeyspaceConfig], new: &[KeyspaceConfig]) -> bool {
    let is_same = |a: &KeyspaceConfig, b: &KeyspaceConfig| a.id == b.id && a.name == b.name;
    served.iter().all(|a| new.iter().any(|b| is_same(a, b)))
}

/// The users that differ, by name.
fn user_changes(old: Option<&Users>, new: Option<&Users>) -> Vec<String> {
    let named = |users: Option<&Users>, name: &str| -> Option<User> {
        users.and_then(|users| users.named(name.as_bytes())).cloned()
    };
    let (none, mut changes) = (Users::default(), Vec::new());
    for user in new.unwrap_or(&none).iter() {
        match named(old, &user.name) {
            None => changes.push(format!("user {:?}: new", user.name)),
            Some(old) if old != *user => changes.push(format!("user {:?}: changed", user.name)),
            Some(_) => {}
        }
    }
    for user in old.unwrap_or(&none).iter() {
        if named(new, &user.name).is_none() {
            changes.push(format!("user {:?}: gone", user.name));
        }
    }
    if old.is_some() && new.is_none() {
        changes.push(
            "there are no users any more: at ports of memcached and Redis without a password file, everybody \
             has all rights"
                .to_owned(),
        );
    }
    changes
}

impl ProxyConfig {
    /// Compares a new file with this one: returns this with what can be taken over, what that changes, and the
    /// names of the parts in which the files differ otherwise.
    #[must_use]
    pub fn reload(&self, new: &Self) -> (Self, Vec<String>, Vec<String>) {
        let (mut config, mut changed) = (self.clone(), Vec::new());
        if names_all_served(&self.keyspaces, &new.keyspaces) {
            changed = user_changes(self.security.users.as_ref(), new.security.users.as_ref());
            config.security.users.clone_from(&new.security.users);
        }
        config.limits = self.limits.reload(&new.limits, &mut changed);
        config.log_level = self.log_level.reload(new.log_level, &mut changed);
        let needs_restart = config.differing_parts(new);
        (config, changed, needs_restart)
    }

    fn differing_parts(&self, new: &Self) -> Vec<String> {
        let proxy = |file: &Self| Self {
            keyspaces: Vec::new(),
            timings: self.timings.clone(),
            limits: self.limits.clone(),
            log_level: self.log_level,
            security: self.security.clone(),
            tls_calls: self.tls_calls.clone(),
            ..file.clone()
        };
        let parts = [
            ("[proxy]", proxy(self) == proxy(new)),
            ("[[keyspace]]", self.keyspaces == new.keyspaces),
            ("[timings]", self.timings == new.timings),
            ("[limits]", self.limits == new.limits),
            ("[security]", self.security == new.security),
            ("[tls]", self.tls_calls == new.tls_calls),
        ];
        let differing = parts.iter().filter(|(_, is_equal)| !is_equal);
        differing.map(|(part, _)| (*part).to_owned()).collect()
    }
}

impl Lifetimes {
    fn differences(&self, new: &Self) -> Vec<String> {
        let lifetime = |time: Option<Duration>| match time {
            Some(time) => format!("{time:?}"),
            None => "none".to_owned(),
        };
        let mut differences = Vec::new();
        let mut compare = |key: &str, old: String, new: String| {
            if old != new {
                differences.push(format!("{key} {old} -> {new}"));
            }
        };
        compare("ttl", lifetime(self.ttl), lifetime(new.ttl));
        compare(
            "negative_ttl",
            lifetime(Some(self.negative_ttl)),
            lifetime(Some(new.negative_ttl)),
        );
        compare(
            "ttl_jitter_percent",
            self.ttl_jitter_percent.to_string(),
            new.ttl_jitter_percent.to_string(),
        );
        compare("log_slower_than", lifetime(self.log_slower_than), lifetime(new.log_slower_than));
        differences
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::users::Rights;

    use crate::database::OriginConfig;

    use super::*;

    fn config() -> ClusterConfig {
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let servers = [("a1", address(7_101)), ("a2", address(7_102))];
        let mut config = ClusterConfig::new("c", address(7_100), OriginConfig::sqlite("o"))
            .with_group("a", servers);
        config.keyspaces = vec![KeyspaceConfig::cache(1, "one"), KeyspaceConfig::cache(2, "two")];
        config
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let reload = config().reload(&config());
        assert_eq!(reload, Reload { config: config(), changed: vec![], needs_restart: vec![] });
    }

    #[test]
    fn lifetimes_are_taken_over_and_told() {
        let mut new = config();
        new.keyspaces[1].ttl = Some(Duration::from_secs(300));
        new.keyspaces[1].negative_ttl = Duration::from_secs(5);
        new.keyspaces[0].log_slower_than = None;
        let old = config().keyspaces[1].negative_ttl;
        let reload = config().reload(&new);
        assert_eq!(reload.config, new);
        assert_eq!(reload.needs_restart, Vec::<String>::new());
        let expected = [
            format!(
                "keyspace \"one\": log_slower_than {:?} -> none",
                config().keyspaces[0].log_slower_than.unwrap()
            ),
            "keyspace \"two\": ttl none -> 300s".to_owned(),
            format!("keyspace \"two\": negative_ttl {old:?} -> 5s"),
        ];
        assert_eq!(reload.changed, expected);
    }

    #[test]
    fn all_else_needs_a_restart_and_lifetimes_are_taken_over_beside_it() {
        let mut new = config();
        new.keyspaces[0].ttl_jitter_percent = 50;
        new.limits.key_bytes = 7;
        new.limits.connections = 77;
        new.limits.output_timeout = Duration::from_secs(9);
        new.log_level = LogLevel::Debug;
        new.servers[0].address.set_port(7_109);
        let mut expected = config();
        expected.keyspaces[0].ttl_jitter_percent = 50;
        expected.limits.connections = 77;
        expected.limits.output_timeout = Duration::from_secs(9);
        expected.log_level = LogLevel::Debug;
        let reload = config().reload(&new);
        assert_eq!(reload.config, expected);
        assert_eq!(reload.needs_restart, ["[[group]]", "[limits]"]);
        let wanted = [
            "keyspace \"one\": ttl_jitter_percent 0 -> 50",
            "[limits] connections 10000 -> 77",
            "[limits] output_timeout 30s -> 9s",
            "[log] level info -> debug",
        ];
        assert_eq!(reload.changed, wanted);
    }

    #[test]
    fn users_are_taken_over_and_the_log_names_those_that_differ() {
        let user = |name: &str, keyspace| {
            let mut rights = Rights::default();
            rights.read.set(keyspace, true);
            User { name: name.into(), verifiers: Vec::new(), rights }
        };
        let with = |users: Vec<User>| {
            let mut config = config();
            config.security.secret = Some([1; 32]);
            config.security.users = Some(Users::new(users));
            config
        };
        let old = with(vec![user("ann", 1), user("bob", 1), user("eve", 1)]);
        let new = with(vec![user("ann", 1), user("bob", 2), user("new", 1)]);
        let reload = old.reload(&new);
        assert_eq!(reload.config, new);
        assert_eq!(
            reload.changed,
            ["user \"bob\": changed", "user \"new\": new", "user \"eve\": gone"]
        );
        assert_eq!(reload.needs_restart, Vec::<String>::new());
    }

    #[test]
    fn users_are_not_taken_over_if_their_rights_would_be_for_other_keyspaces() {
        let with = |keyspace, names: [(u8, &str); 2], secret| {
            let mut rights = Rights::default();
            rights.read.set(keyspace, true);
            let users = Users::new(vec![User { name: "ann".into(), verifiers: vec![], rights }]);
            let mut config = config();
            config.security.secret = secret;
            config.security.users = Some(users);
            config.keyspaces =
                names.map(|(id, name)| KeyspaceConfig::cache(id, name)).into_iter().collect();
            config
        };
        let some = Some([1; 32]);
        let old = with(1, [(1, "one"), (2, "two")], some);
        for (names, is_taken) in [
            ([(1, "one"), (2, "two")], true),
            ([(2, "two"), (3, "three")], false),
            ([(1, "two"), (2, "one")], false),
            ([(1, "one"), (2, "secrets")], false),
            ([(1, "one"), (3, "two")], false),
        ] {
            let new = with(2, names, some);
            for reload in [old.reload(&new), old.reload_of_master(&new)] {
                let users = if is_taken { &new } else { &old }.security.users.clone();
                assert_eq!(reload.config.security.users, users, "{names:?}");
                assert_eq!(reload.changed.is_empty(), !is_taken, "{names:?}");
                let is_told = reload.needs_restart.contains(&"[security]".to_owned());
                assert_eq!(is_told, !is_taken, "{names:?}");
            }
        }
        let mut open = old.clone();
        open.security.users = None;
        let reload = old.reload(&open);
        let [gone, all] = &*reload.changed else { panic!("two lines") };
        assert!(gone.ends_with(": gone") && all.contains("everybody has all rights"), "{all}");
        let without = with(1, [(1, "one"), (2, "two")], None);
        let reload = without.reload(&with(2, [(1, "one"), (2, "two")], some));
        assert_eq!(reload.config, without, "every caller may say that it is a server");
        assert_eq!(reload.needs_restart, ["[security]"]);
    }

    #[test]
    fn secrets_are_taken_over_if_the_one_in_use_counts_before_and_after() {
        let reload = |old: (u8, u8), new: (u8, u8)| {
            let with = |(secret, second)| {
                let mut config = config();
                let some = |byte: u8| (byte > 0).then_some([byte; 32]);
                config.security.secret = some(secret);
                config.security.second_secret = some(second);
                config
            };
            let reload = with(old).reload(&with(new));
            let is_taken = reload.config == with(new);
            assert_eq!(reload.needs_restart.is_empty(), is_taken);
            assert_eq!(reload.changed.is_empty(), !is_taken || old == new);
            is_taken
        };
        for (old, new) in [((1, 0), (1, 2)), ((1, 2), (2, 1)), ((2, 1), (2, 0)), ((1, 2), (1, 0))] {
            assert!(reload(old, new), "{old:?} {new:?}");
        }
        for (old, new) in [
            ((1, 0), (2, 0)),
            ((1, 0), (2, 1)),
            ((1, 2), (2, 0)),
            ((1, 2), (2, 3)),
            ((0, 0), (1, 0)),
            ((1, 0), (0, 0)),
        ] {
            assert!(!reload(old, new), "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_keyspace_more_or_less_needs_a_restart() {
        let mut new = config();
        new.keyspaces.pop();
        new.keyspaces[0].ttl = Some(Duration::from_secs(1));
        let reload = config().reload(&new);
        assert_eq!(reload.config.keyspaces[0].ttl, Some(Duration::from_secs(1)));
        assert_eq!(reload.config.keyspaces.len(), 2);
        assert_eq!(reload.needs_restart, ["[[keyspace]]"]);
    }
}
