//! The ports on which a process answers over HTTP: for its metrics, and the master for the dashboard.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The keys of a port in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpKeys {
    /// The key of its address.
    pub address: &'static str,
    /// The key of its password file.
    pub passwords: &'static str,
    /// The purpose of the port, as in "the address of the master for metrics".
    pub what_for: &'static str,
    /// An address, for examples.
    pub example: &'static str,
}

/// The keys of the port for metrics, of a server, the master or a proxy.
pub const METRICS: HttpKeys = HttpKeys {
    address: "metrics",
    passwords: "metrics_passwords",
    what_for: "metrics",
    example: "127.0.0.1:9100",
};
/// The keys of the port for the dashboard, of the master.
pub const DASHBOARD: HttpKeys = HttpKeys {
    address: "dashboard",
    passwords: "dashboard_passwords",
    what_for: "the dashboard",
    example: "127.0.0.1:7190",
};

/// The number of files and sockets that a process needs for such a port.
pub const HTTP_DESCRIPTORS: u64 = 16;

/// A port on which a process answers over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// TCP address.
    pub address: SocketAddr,
    /// The file with the users who may use it and their passwords; `None`: everybody may. An
    /// address other than loopback has one.
    pub passwords: Option<PathBuf>,
}
