//! The settings of a client of other caches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_tls::{Connector, Tls};

use super::codec::{Login, Protocol};
use super::placement::{Distribution, KeyHash};

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `host:port`, as ketama and reports have it.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
}

impl Server {
    /// A node that another one has named; `None`: it has not named an address.
    #[must_use]
    pub fn named(name: String) -> Option<Self> {
        let address = name.parse().ok()?;
        Some(Self { name, address })
    }
}

/// The TLS of all connections, made of files that are read once. It is equal to no other.
#[derive(Debug, Clone)]
pub struct Sealing(Arc<Connector>);

impl PartialEq for Sealing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sealing {}

impl Sealing {
    /// The TLS that these files and names make.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self(Arc::new(connector))
    }

    /// The state of a connection that has been opened to this server. Unless a name is given for all, the certificate
    /// has to be for the name or address by which the server was found.
    #[must_use]
    pub fn connect(&self, server: &Server) -> Tls {
        let host = server.name.rsplit_once(':').map_or(&*server.name, |(host, _)| host);
        self.0.connect_to(host, server.address)
    }
}

/// Failover as libmemcached and twemproxy do it: the keys of a server that fails go to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failed connections in a row after which a server is left out.
    pub failures: u32,
    /// The time until it is tried again.
    pub retry: Duration,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The servers; at least one.
    pub servers: Vec<Server>,
    /// Their protocol.
    pub protocol: Protocol,
    /// How keys are spread over them.
    pub distribution: Distribution,
    /// The hash of keys for that.
    pub hash: KeyHash,
    /// What happens if a server fails; `None`: its requests fail.
    pub ejection: Option<Ejection>,
    /// The longest time for an answer, and for a connect.
    pub timeout: Duration,
    /// The shortest time between two attempts to connect. Requests wait for the next attempt.
    pub reconnect: Duration,
    /// Connections of each client to each server.
    pub connections: u16,
    /// The largest number of unanswered requests on a connection; others wait. `None`: no limit.
    pub pipeline: Option<u32>,
    /// Whether the servers are nodes of a Redis Cluster, which says itself where keys are. Other nodes are
    /// found through these.
    pub is_cluster: bool,
    /// The beginning of a connection.
    pub login: Login,
    /// `None`: connections are not encrypted.
    pub sealing: Option<Sealing>,
}

impl Settings {
    /// The usual settings for these servers.
    #[must_use]
    pub fn new(protocol: Protocol, servers: Vec<Server>) -> Self {
        let distribution = Distribution::default();
        Self {
            servers,
            protocol,
            distribution,
            hash: distribution.default_hash(),
            ejection: None,
            timeout: Duration::from_secs(5),
            reconnect: Duration::from_millis(10),
            connections: 1,
            pipeline: None,
            is_cluster: false,
            login: Login::default(),
            sealing: None,
        }
    }
}
