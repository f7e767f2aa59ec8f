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
#[cfg(test)]
pub(crate) mod fake_cache;
#[cfg(test)]
pub(crate) mod fake_server;
pub mod operation;
mod url_error;
pub mod wire;

use std::sync::Arc;

use standin_client::ClientConfig;
use standin_protocol::map::Topology;

use wire::settings::Settings;

/// A target.
#[derive(Debug, Clone)]
pub enum Target {
    /// A Standin cluster, by the real client.
    Standin(Box<Standin>),
    /// Servers of another cache.
    Wire(Settings),
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
            Self::Wire(_) => None,
        }
    }

    /// As reports have it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Standin(_) => "Standin".to_owned(),
            Self::Wire(settings) => {
                let servers: Vec<&str> =
                    settings.servers.iter().map(|server| server.name.as_str()).collect();
                format!("{} at {}", settings.protocol.name(), servers.join(", "))
            }
        }
    }
}
