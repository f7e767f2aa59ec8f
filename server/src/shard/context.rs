//! What a shard is told once, when it starts.

use std::sync::Arc;

use standin_config::{ClusterConfig, ServiceProtocol};
use standin_protocol::map::Topology;
use standin_protocol::users::DEFAULT_USER;
use standin_tls::{Acceptor, Connector};

use super::access::{Access, Grant};
use super::admission::Admission;
use super::challenges::Challenges;
use super::link::LinkConfig;
use crate::node::Status;

/// A shard's knowledge of its server and cluster.
#[derive(Clone)]
pub struct ShardContext {
    /// This shard.
    pub shard: u16,
    /// Shards of this server.
    pub shards: u16,
    /// This server's id.
    pub server: u16,
    /// The cluster file.
    pub cluster: Arc<ClusterConfig>,
    /// The topology that follows from it.
    pub topology: Arc<Topology>,
    /// Accepted connections of all shards.
    pub admission: Arc<Admission>,
    /// The challenges that callers have to answer if the cluster has a secret.
    pub challenges: Challenges,
    /// Who may connect, and what they may do.
    pub access: Arc<Access>,
    /// The certificates, if any of the ports has TLS.
    pub tls: Option<Arc<Acceptor>>,
    /// Whom the backend's own connections trust, if they have TLS.
    pub tls_calls: Option<Arc<Connector>>,
    /// Settings of links to peers.
    pub link: LinkConfig,
}

impl ShardContext {
    /// The grant of a client of Redis' protocol that gives a user and a password. Without a name,
    /// the user is `default`.
    ///
    /// # Errors
    /// The answer to it.
    pub(super) fn authenticate(&self, user: &[u8], password: &[u8]) -> Result<Grant, Status> {
        let user = if user.is_empty() { DEFAULT_USER.as_bytes() } else { user };
        let protocol = ServiceProtocol::Redis;
        if !self.access.asks(protocol) {
            return Err(Status::NotSupported);
        }
        self.access.admit(protocol, user, password).ok_or(Status::AuthFailed)
    }
}
