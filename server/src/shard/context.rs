//! What a shard is told once, when it starts.

use std::sync::Arc;

use standin_config::{ClusterConfig, ServiceProtocol};
use standin_protocol::auth::ClusterKey;
use standin_protocol::map::Topology;
use standin_tls::{Acceptor, Connector};

use super::admission::Admission;
use super::challenges::Challenges;
use super::link::LinkConfig;
use super::users::AllUsers;
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
    /// The cluster's key, if it has one.
    pub key: Option<ClusterKey>,
    /// Accepted connections of all shards.
    pub admission: Arc<Admission>,
    /// The challenges that callers have to answer if the cluster has a secret.
    pub challenges: Challenges,
    /// The users of services that ask for passwords.
    pub users: Arc<AllUsers>,
    /// The certificates, if any of the ports has TLS.
    pub tls: Option<Arc<Acceptor>>,
    /// Whom the backend's own connections trust, if they have TLS.
    pub tls_calls: Option<Arc<Connector>>,
    /// Settings of links to peers.
    pub link: LinkConfig,
}

impl ShardContext {
    /// The answer to a client of Redis' protocol that gives a user and a password. Without a name,
    /// the user is `default`.
    pub(super) fn authenticate(&self, user: &[u8], password: &[u8]) -> Status {
        let user = if user.is_empty() { &b"default"[..] } else { user };
        match self.users.of(ServiceProtocol::Redis) {
            Some(users) if users.admit(user, password) => Status::Ok,
            Some(_) => Status::AuthFailed,
            None => Status::NotSupported,
        }
    }
}
