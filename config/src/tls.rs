//! `[tls]`: the ports that take TLS and nothing else, and the files of the certificates.

use std::path::PathBuf;

use crate::services::ServiceProtocol;

/// A kind of port that can have TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsPort {
    /// The ports of memcached's protocol.
    Memcached,
    /// The ports of Redis' protocol, those of the nodes of Redis Cluster among them.
    Redis,
}

impl TlsPort {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 2] =
        [("memcached", Self::Memcached), ("redis", Self::Redis)];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Redis => "redis",
        }
    }
}

impl From<ServiceProtocol> for TlsPort {
    fn from(protocol: ServiceProtocol) -> Self {
        match protocol {
            ServiceProtocol::Memcached => Self::Memcached,
            ServiceProtocol::Redis => Self::Redis,
        }
    }
}

/// `[tls]`. Each machine has its own files at these paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The kinds of ports that take TLS and nothing else, sorted; at least one.
    pub ports: Vec<TlsPort>,
    /// The certificate of this machine, and those of the authorities between it and the one that others
    /// trust.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The authorities of which callers have to have certificates; `None`: they need none.
    pub client_ca_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether ports of this kind take TLS and nothing else.
    #[must_use]
    pub fn is_for(&self, port: impl Into<TlsPort>) -> bool {
        self.ports.contains(&port.into())
    }

    pub(crate) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.cert_file, &mut self.key_file].into_iter().chain(&mut self.client_ca_file)
    }
}
