//! The port on which a process publishes its metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The key of its address in the files.
pub const METRICS_KEY: &str = "metrics";
/// The key of its password file in the files.
pub const METRICS_PASSWORDS_KEY: &str = "metrics_passwords";

/// The number of files and sockets that a process needs for its port.
pub const METRICS_DESCRIPTORS: u64 = 16;

/// The port on which a server, the master or a proxy publishes its metrics, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// TCP address.
    pub address: SocketAddr,
    /// The file with the users who may read them and their passwords; `None`: everybody may. An
    /// address other than loopback has one.
    pub passwords: Option<PathBuf>,
}
