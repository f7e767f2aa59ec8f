//! The configuration of a client: its timings and limits, and where to find the cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_config::{ClusterConfig, Timings, TlsCalls};
use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::{FrameLimits, VALUE_BYTES_MAX};
use standin_protocol::handshake::Credential;
use standin_protocol::map::Topology;
use standin_protocol::users::UserKey;

/// The source from which a client learns the cluster's servers.
#[derive(Debug, Clone)]
pub enum Bootstrap {
    /// The cluster file.
    Config(Arc<Topology>),
    /// Any server that answers at one of these addresses.
    Seeds(Vec<SocketAddr>),
}

/// The timings and limits of one client.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The time for which a connection may be silent while an answer is due. After that it is given
    /// up and the send counts as failed.
    pub attempt_timeout: Duration,
    /// The number of failed sends to one server after which failover mode begins (claim 12).
    pub attempts: u32,
    /// The time in failover mode before the server is tried again (claim 13). It is varied at
    /// random by ±25 %.
    pub failover_hold: Duration,
    /// The limit on the time of one operation over all its sends.
    pub operation_timeout: Duration,
    /// The limit on the time of a TCP connect.
    pub connect_timeout: Duration,
    /// The shortest time between two fetches of the map.
    pub map_fetch_interval: Duration,
    /// The time before a notice to the master that has received no verdict is sent again. It
    /// doubles with each send.
    pub notice_resend: Duration,
    /// The largest number of sends of one notice.
    pub notice_sends_max: u32,
    /// The number of connections to each shard of each server.
    pub connections_per_shard: u16,
    /// The largest number of unanswered requests on one connection. Further requests wait in the
    /// client.
    pub in_flight_per_connection: usize,
    /// The largest number of open operations. Further ones fail with
    /// [`Overloaded`](crate::ClientError::Overloaded).
    pub operations_max: usize,
    /// The largest number of bytes of the keys and values of all open operations. Further
    /// operations fail with [`Overloaded`](crate::ClientError::Overloaded).
    pub operation_bytes_max: usize,
    /// The sizes of the largest key and value. They are checked before anything is sent.
    pub limits: FrameLimits,
    /// The clients' key, made from the cluster's secret, if it has one. The secret itself will do.
    pub key: Option<ClusterKey>,
    /// The TLS of connections to servers and the master; `None`: there is none.
    pub tls: Option<TlsCalls>,
    /// The name and the key of the user that this client is; it needs no other key then. Such a client sends no
    /// notices.
    pub user: Option<(String, UserKey)>,
    /// The names of keyspaces, for messages.
    pub keyspaces: BTreeMap<u8, String>,
    /// Whether this client only requests maps and counters. It then gets a connection even if
    /// clients use all of theirs.
    pub observer: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        let timings = Timings::default();
        Self {
            attempt_timeout: timings.attempt_timeout,
            attempts: timings.attempts,
            failover_hold: timings.failover_hold,
            operation_timeout: timings.operation_timeout,
            connect_timeout: timings.connect_timeout,
            map_fetch_interval: Duration::from_millis(100),
            notice_resend: Duration::from_millis(100),
            notice_sends_max: 6,
            connections_per_shard: 1,
            in_flight_per_connection: 1_024,
            operations_max: 65_536,
            operation_bytes_max: 256 << 20,
            limits: FrameLimits { key_bytes: u16::MAX, value_bytes: VALUE_BYTES_MAX },
            key: None,
            tls: None,
            user: None,
            keyspaces: BTreeMap::new(),
            observer: false,
        }
    }
}

impl ClientConfig {
    /// What it proves by, if it has to.
    pub(crate) fn credential(&self) -> Option<Credential> {
        match &self.user {
            Some((name, key)) => Some(Credential::User(name.as_str().into(), key.clone())),
            None => self.key.clone().map(Credential::Key),
        }
    }

    /// The name of a keyspace, or its number if it is in no cluster file that this client knows.
    pub(crate) fn keyspace(&self, id: u8) -> String {
        self.keyspaces.get(&id).cloned().unwrap_or_else(|| format!("number {id}"))
    }
}

impl From<&ClusterConfig> for ClientConfig {
    fn from(cluster: &ClusterConfig) -> Self {
        let timings = &cluster.timings;
        let limits = &cluster.limits;
        Self {
            attempt_timeout: timings.attempt_timeout,
            attempts: timings.attempts,
            failover_hold: timings.failover_hold,
            operation_timeout: timings.operation_timeout,
            connect_timeout: timings.connect_timeout,
            limits: FrameLimits { key_bytes: limits.key_bytes, value_bytes: limits.value_bytes },
            key: cluster.client_key(),
            tls: cluster.tls_calls.clone(),
            user: cluster.security.user.clone(),
            keyspaces: cluster.keyspaces.iter().map(|k| (k.id, k.name.clone())).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_the_cluster_file_are_used() {
        let origin = standin_config::OriginConfig::sqlite("origin.sqlite");
        let mut cluster = ClusterConfig::new("t", ([127, 0, 0, 1], 7_100).into(), origin);
        let ms = Duration::from_millis;
        cluster.timings.attempt_timeout = ms(11);
        cluster.timings.attempts = 12;
        cluster.timings.failover_hold = ms(13);
        cluster.timings.operation_timeout = ms(14);
        cluster.timings.connect_timeout = ms(15);
        cluster.limits.key_bytes = 16;
        cluster.limits.value_bytes = 17;
        let config = ClientConfig::from(&cluster);
        assert_eq!((config.attempt_timeout, config.attempts), (ms(11), 12));
        assert_eq!((config.failover_hold, config.operation_timeout), (ms(13), ms(14)));
        assert_eq!(config.connect_timeout, ms(15));
        assert_eq!((config.limits.key_bytes, config.limits.value_bytes), (16, 17));
        assert!(config.key.is_none());
        cluster.security.secret = Some([7; 32]);
        assert!(ClientConfig::from(&cluster).key.is_some());
    }
}
