//! What requests are sent to: a target turns each of them into bytes on connections that it owns, and ends it
//! with an answer or a failure. Workload, schedule, recorder and checker know nothing else of it.
//!
//! ```text
//! address.rs     --target URL ─► Target
//! operation.rs   Question ─► Answer, or Failure: the same for all
//! Standin        the real client, with its failover   (drive/link.rs)
//! wire/          memcached and Redis, pure            (drive/wire.rs moves the bytes)
//! ```

pub mod address;
pub mod operation;
mod url_error;
pub mod wire;

use std::sync::Arc;

use standin_client::ClientConfig;
use standin_protocol::map::Topology;

use wire::settings::Settings;

use crate::database::Database;

/// A target.
#[derive(Debug, Clone)]
pub enum Target {
    /// A Standin cluster, by the real client.
    Standin(Box<Standin>),
    /// Servers of another cache.
    Wire(Settings),
    /// The database of an application, alone or behind a cache that the application fills.
    Database(Box<Aside>),
}

/// A database, and the cache before it.
#[derive(Debug, Clone)]
pub struct Aside {
    /// The database.
    pub database: Database,
    /// The cache; `None`: the database alone.
    pub cache: Option<Settings>,
    /// What a write does with the cached value.
    pub writes: AsideWrites,
    /// The lifetime of cached values, in seconds; 0: none.
    pub ttl_s: u32,
}

/// What an application does with the cached value after it has written the row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AsideWrites {
    /// It deletes the value.
    #[default]
    Delete,
    /// It puts the new value in its place.
    Set,
}

/// A Standin cluster.
#[derive(Debug, Clone)]
pub struct Standin {
    /// Its servers.
    pub topology: Arc<Topology>,
    /// Timings, bounds and the secret of the clients.
    pub client: ClientConfig,
    /// Keyspace of all requests.
    pub keyspace: u8,
}

impl Target {
    /// The cluster, if it is one.
    #[must_use]
    pub fn standin(&self) -> Option<&Standin> {
        match self {
            Self::Standin(standin) => Some(standin),
            Self::Wire(_) | Self::Database(_) => None,
        }
    }

    /// The client of another cache, if there is one.
    #[must_use]
    pub fn cache(&self) -> Option<&Settings> {
        match self {
            Self::Wire(settings) => Some(settings),
            Self::Database(aside) => aside.cache.as_ref(),
            Self::Standin(_) => None,
        }
    }

    /// The database that this program asks itself, if it does.
    #[must_use]
    pub fn database(&self) -> Option<&Database> {
        match self {
            Self::Database(aside) => Some(&aside.database),
            Self::Standin(_) | Self::Wire(_) => None,
        }
    }

    /// The connections that each client makes, and those that all clients of a load thread share. A Redis Cluster may have
    /// more nodes than were named.
    #[must_use]
    pub fn connections(&self) -> (u64, u64) {
        let of_cache = |cache: &Settings| cache.servers.len() as u64 * u64::from(cache.connections);
        match self {
            Self::Standin(standin) => {
                (standin.topology.servers.iter().map(|server| u64::from(server.shards)).sum(), 0)
            }
            Self::Wire(settings) => (of_cache(settings), 0),
            Self::Database(aside) => {
                (aside.cache.as_ref().map_or(0, of_cache), aside.database.connections.into())
            }
        }
    }

    /// As reports have it.
    #[must_use]
    pub fn name(&self) -> String {
        let cache = self.cache().map(|settings| {
            let servers: Vec<&str> =
                settings.servers.iter().map(|server| server.name.as_str()).collect();
            format!("{} at {}", settings.protocol.name(), servers.join(", "))
        });
        match (cache, self.database()) {
            (Some(cache), Some(database)) => format!("{cache}, aside {}", database.name()),
            (Some(cache), None) => cache,
            (None, Some(database)) => database.name().to_owned(),
            (None, None) => "Standin".to_owned(),
        }
    }
}
