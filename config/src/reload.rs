//! What of a changed cluster file a running server can take over, and what needs a restart.

use std::time::Duration;

use crate::model::{ClusterConfig, KeyspaceConfig};
use crate::proxy::ProxyConfig;

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

impl ProxyConfig {
    /// The names of the parts in which a new file differs. A running proxy takes over none of them.
    #[must_use]
    pub fn differing_parts(&self, new: &Self) -> Vec<String> {
        let proxy = |file: &Self| Self {
            keyspaces: Vec::new(),
            timings: self.timings.clone(),
            limits: self.limits.clone(),
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
        new.servers[0].address.set_port(7_109);
        let mut expected = config();
        expected.keyspaces[0].ttl_jitter_percent = 50;
        let reload = config().reload(&new);
        assert_eq!(reload.config, expected);
        assert_eq!(reload.needs_restart, ["[[group]]", "[limits]"]);
        assert_eq!(reload.changed.len(), 1);
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
