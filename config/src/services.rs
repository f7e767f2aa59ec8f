//! Ports on which servers speak other protocols than their own, and how keys name their keyspaces there.

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) const KEY_SEPARATOR: &str = ":";

/// A port on which a server speaks another protocol than its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The protocol.
    pub protocol: ServiceProtocol,
    /// TCP address.
    pub address: SocketAddr,
    /// The file with the users who may use it and their passwords; `None`: everybody may. An address
    /// other than loopback has one.
    pub passwords: Option<PathBuf>,
}

/// A protocol that a server speaks beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceProtocol {
    /// The text and meta commands of memcached.
    Memcached,
    /// RESP2 and RESP3, the protocol of Redis.
    Redis,
}

impl ServiceProtocol {
    /// All variants.
    pub const ALL: [Self; 2] = [Self::Memcached, Self::Redis];

    /// The key of its address in the cluster file.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Redis => "redis",
        }
    }

    /// The key of its password file in the cluster file.
    #[must_use]
    pub fn passwords_key(self) -> &'static str {
        match self {
            Self::Memcached => "memcached_passwords",
            Self::Redis => "redis_passwords",
        }
    }

    /// The port that its servers usually have.
    #[must_use]
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Memcached => 11_211,
            Self::Redis => 6_379,
        }
    }
}

/// The way in which a key names its keyspace, in protocols that have no keyspaces: `users:alice` is
/// the key `alice` of the keyspace `users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// The text between the name of a keyspace and the rest of the key.
    pub separator: String,
    /// The id of the keyspace of all keys that name none; `None`: such keys are refused.
    pub default_keyspace: Option<u8>,
}

impl Default for Naming {
    fn default() -> Self {
        Self { separator: KEY_SEPARATOR.to_owned(), default_keyspace: None }
    }
}
