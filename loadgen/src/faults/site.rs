//! The place of one process.

use std::net::SocketAddr;

use crate::net::Network;

/// Where a process runs: its addresses, and its network, if that is one of its own.
#[derive(Debug, Clone)]
pub struct Site {
    /// As many as it needs, the one for clients first.
    pub addresses: Vec<SocketAddr>,
    /// `None`: that of the thread which starts it.
    pub network: Option<Network>,
}

impl Site {
    /// The address for clients.
    ///
    /// # Panics
    /// The process has none.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}
