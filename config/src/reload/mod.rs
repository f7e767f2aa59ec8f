//! What of a changed cluster file a running server can take over, and what needs a restart.

use std::time::Duration;

use standin_protocol::users::{User, Users};

use crate::http::HttpConfig;
use crate::model::{ClusterConfig, KeyspaceConfig, Limits, LogLevel, ServerConfig};
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
        let named = |part: &str| match part {
            "[[group]]" => format!("{part} ({})", self.server_differences(new).join("; ")),
            part => part.to_owned(),
        };
        differing.map(|(part, _)| named(part)).collect()
    }

    /// What of the groups and their servers differs.
    fn server_differences(&self, new: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.groups != new.groups {
            differences.push("the groups".to_owned());
        }
        let named = |of: &Self, name: &str| of.servers.iter().any(|one| one.name == name);
        for server in &self.servers {
            match new.servers.iter().find(|one| one.name == server.name) {
                None => differences.push(format!("server {:?}: gone", server.name)),
                Some(other) => {
                    let keys = server.differing_keys(other);
                    if !keys.is_empty() {
                        differences.push(format!("server {:?}: {}", server.name, keys.join(", ")));
                    }
                }
            }
        }
        let added = new.servers.iter().filter(|server| !named(self, &server.name));
        differences.extend(added.map(|server| format!("server {:?}: new", server.name)));
        if differences.is_empty() {
            differences.push("the order of the servers".to_owned());
        }
        differences
    }
}

impl ServerConfig {
    /// The keys of the file in which two servers of one name differ.
    fn differing_keys(&self, new: &Self) -> Vec<&'static str> {
        // A key that is added has to be here.
        let Self {
            name: _,
            group,
            address,
            shards,
            cores,
            weight,
            memory_bytes,
            huge_pages,
            io,
            services,
            redis_node_port,
            metrics,
        } = self;
        let http = |port: &Option<HttpConfig>| port.as_ref().map(|port| port.address);
        let files =
            |port: &Option<HttpConfig>| port.as_ref().and_then(|port| port.passwords.clone());
        let keys = [
            ("group", *group == new.group),
            ("address", *address == new.address),
            ("shards", *shards == new.shards),
            ("cores", *cores == new.cores),
            ("weight", *weight == new.weight),
            ("memory", *memory_bytes == new.memory_bytes),
            ("huge_pages", *huge_pages == new.huge_pages),
            ("io", *io == new.io),
            ("memcached or redis", *services == new.services),
            ("redis_node_port", *redis_node_port == new.redis_node_port),
            ("metrics", http(metrics) == http(&new.metrics)),
            ("metrics_passwords", files(metrics) == files(&new.metrics)),
        ];
        keys.iter().filter(|(_, is_equal)| !is_equal).map(|(key, _)| *key).collect()
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
mod tests;
