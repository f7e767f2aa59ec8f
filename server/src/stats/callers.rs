//! Who has the most connections, published while they run out.

use std::net::IpAddr;
use std::sync::PoisonError;

use standin_protocol::counters::{Sample, samples};

use super::StatsHub;

standin_protocol::counters! {
    /// The address that has the most connections.
    pub(crate) struct CallerFigures by ["address"] {
        /// Connections of clients from the address that has the most of them, without those of the servers and the
        /// master. Published only while clients have more than four fifths of the connections that they may have.
        Gauge caller_connections,
    }
}

/// An address, and how many connections it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The address of the other side.
    pub address: IpAddr,
    /// Its connections as a client.
    pub connections: u64,
}

impl StatsHub {
    /// Publishes who has the most connections; `None` while there are enough for all.
    pub(crate) fn set_most_connected(&self, caller: Option<Caller>) {
        *self.most_connected.lock().unwrap_or_else(PoisonError::into_inner) = caller;
    }

    pub(super) fn most_connected(&self) -> Option<Caller> {
        self.most_connected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn caller_samples(&self) -> Vec<Sample> {
        let Some(caller) = self.most_connected() else { return Vec::new() };
        let figures = CallerFigures { caller_connections: caller.connections };
        samples(CallerFigures::FIGURES, figures.values(), &[&*caller.address.to_string()]).collect()
    }
}
