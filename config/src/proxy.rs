//! The contents of a valid file of a proxy, as plain values.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::http::HttpConfig;
use crate::model::{IoKind, KeyspaceConfig, Limits, LogLevel, Timings};
use crate::security::Security;
use crate::services::{Naming, ServiceProtocol};
use crate::tls::{TlsCalls, TlsConfig};

/// A proxy: the cluster that it uses, and where it listens.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyConfig {
    /// Addresses of some of the cluster's servers, from which it learns the others.
    pub servers: Vec<SocketAddr>,
    /// The places where it listens; at least one.
    pub services: Vec<ProxyService>,
    /// The mode of the Unix sockets among them.
    pub socket_mode: u32,
    /// Number of threads that serve connections.
    pub threads: u16,
    /// The cores to pin them to, one per thread; if empty, they are not pinned.
    pub cores: Vec<usize>,
    /// Which event loop they run on.
    pub io: IoKind,
    /// The port on which the proxy publishes its metrics; `None` if it does not.
    pub metrics: Option<HttpConfig>,
    /// The TLS of its own ports; `None`: they have none.
    pub tls: Option<TlsConfig>,
    /// The keyspaces, sorted by id, of which only ids and names are known.
    pub keyspaces: Vec<KeyspaceConfig>,
    /// The way in which a key names its keyspace.
    pub naming: Naming,
    /// Timings; those of servers and the master mean nothing here.
    pub timings: Timings,
    /// Bounds on what a client may ask of the proxy.
    pub limits: Limits,
    /// The cluster's secret.
    pub security: Security,
    /// The TLS by which the proxy calls the cluster; `None`: there is none.
    pub tls_calls: Option<TlsCalls>,
    /// The lines that the log has, unless the environment variable RUST_LOG says which.
    pub log_level: LogLevel,
}

/// A place where a proxy listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyService {
    /// The protocol.
    pub protocol: ServiceProtocol,
    /// The place.
    pub at: ListenAt,
    /// The file with the users who may use it and their passwords; `None`: everybody may. An address
    /// other than loopback has one.
    pub passwords: Option<PathBuf>,
}

/// An address, or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAt {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => path.display().fmt(out),
        }
    }
}
