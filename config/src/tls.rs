//! `[tls]`: the ports that take TLS and nothing else, the files of the certificates, and how callers of such
//! ports verify them.

use std::path::PathBuf;

use crate::services::ServiceProtocol;

/// A kind of port that can have TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsPort {
    /// The addresses of servers and of the master, for Standin's own protocol (TCP).
    Standin,
    /// The ports of memcached's protocol.
    Memcached,
    /// The ports of Redis' protocol, those of the nodes of Redis Cluster among them.
    Redis,
    /// The ports for metrics and the dashboard: HTTPS.
    Http,
}

impl TlsPort {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 4] = [
        ("standin", Self::Standin),
        ("memcached", Self::Memcached),
        ("redis", Self::Redis),
        ("http", Self::Http),
    ];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standin => "standin",
            Self::Memcached => "memcached",
            Self::Redis => "redis",
            Self::Http => "http",
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

/// Whether the kernel encrypts connections that others make to the ports, after their handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelUse {
    /// Where it can.
    Auto,
    /// Never.
    #[default]
    Off,
}

impl KernelUse {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 2] = [("auto", Self::Auto), ("off", Self::Off)];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
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
    /// Whether clients with such a certificate need no proof of the clients' key; only with
    /// [`TlsPort::Standin`] and `client_ca_file`.
    pub is_certificate_enough: bool,
    /// Whether the kernel encrypts connections to ports of servers and proxies, after their handshakes.
    pub kernel: KernelUse,
    /// The authorities of the certificates of servers and the master; there are some with
    /// [`TlsPort::Standin`], and only then.
    pub ca_file: Option<PathBuf>,
    /// The name that these certificates are for; `None`: each is for the address in this file.
    pub name: Option<String>,
}

/// The TLS of whoever calls servers and the master by Standin's own protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsCalls {
    /// The authorities of their certificates.
    pub authorities: TlsAuthorities,
    /// The name that the certificates are for; `None`: each is for the address that is called.
    pub name: Option<String>,
    /// The certificate of the caller; `None`: it has none.
    pub own: Option<TlsOwn>,
}

/// The authorities that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsAuthorities {
    /// Those of a PEM file.
    File(PathBuf),
    /// Those of this text, which has the form of such a file.
    Pem(String),
}

/// The certificate of a caller: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOwn {
    /// The certificate.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl TlsConfig {
    /// Whether ports of this kind take TLS and nothing else.
    #[must_use]
    pub fn is_for(&self, port: impl Into<TlsPort>) -> bool {
        self.ports.contains(&port.into())
    }

    /// The TLS of members that call each other, if their ports have it. If callers need certificates, they
    /// have those by which they are called.
    #[must_use]
    pub fn calls(&self) -> Option<TlsCalls> {
        let authorities = TlsAuthorities::File(self.ca_file.clone()?);
        let (cert_file, key_file) = (self.cert_file.clone(), self.key_file.clone());
        let own = self.client_ca_file.is_some().then_some(TlsOwn { cert_file, key_file });
        Some(TlsCalls { authorities, name: self.name.clone(), own })
    }

    /// Whether clients of Standin's own protocol need a certificate and no proof of a key.
    #[must_use]
    pub fn lets_clients_in(&self) -> bool {
        self.is_certificate_enough && self.is_for(TlsPort::Standin) && self.client_ca_file.is_some()
    }

    pub(crate) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let others = [&mut self.client_ca_file, &mut self.ca_file];
        [&mut self.cert_file, &mut self.key_file].into_iter().chain(others.into_iter().flatten())
    }
}

impl TlsCalls {
    pub(crate) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let of_authorities = match &mut self.authorities {
            TlsAuthorities::File(path) => Some(path),
            TlsAuthorities::Pem(_) => None,
        };
        let own = self.own.iter_mut().flat_map(|own| [&mut own.cert_file, &mut own.key_file]);
        of_authorities.into_iter().chain(own)
    }
}
