//! The inputs and outputs of the machine.

use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::body::PingReply;
use standin_protocol::control::Datagram;
use standin_protocol::map::{ClusterMap, MapEpoch};

use crate::event::MasterEvent;
use crate::machine::failure::ProbeFailure;
use crate::state::State;

/// An input of the master.
#[derive(Debug)]
pub enum Input {
    /// A datagram whose authentication code and topology have been verified.
    Datagram {
        /// The address that it came from.
        from: SocketAddr,
        /// The datagram.
        datagram: Datagram,
    },
    /// The result of [`Output::Probe`]: one answer for each shard, in order.
    Probed {
        /// The server.
        server: u16,
        /// The probe's id, as in the order.
        probe_id: u64,
        /// The answer of each shard.
        shards: Vec<Result<PingReply, ProbeFailure>>,
    },
    /// The result of [`Output::Persist`].
    Persisted {
        /// The epoch of that state.
        epoch: MapEpoch,
        /// Whether the state could be written.
        ok: bool,
    },
    /// The result of [`Output::FetchMap`].
    Fetched {
        /// The server.
        server: u16,
        /// The server's map, or `None` if it could not be fetched.
        map: Option<Box<ClusterMap>>,
    },
    /// Time has passed. This input is due at [`super::Machine::next_deadline`] at the latest.
    Tick,
}

/// An action that the shell carries out.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// The address.
        to: SocketAddr,
        /// The datagram.
        datagram: Datagram,
    },
    /// Contact all shards in parallel, and report the results within the timeout.
    Probe(ProbeOrder),
    /// Write the state to disk, and report the result.
    Persist(State),
    /// Fetch a server's map over TCP, and report the result.
    FetchMap {
        /// The server.
        server: u16,
        /// Its address.
        address: SocketAddr,
    },
    /// An event, for logs and tests.
    Event(MasterEvent),
}

/// The details of an [`Output::Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOrder {
    /// The server.
    pub server: u16,
    /// The number that the result repeats.
    pub probe_id: u64,
    /// The server's address.
    pub address: SocketAddr,
    /// The number of shards. HELLO and PING go to each of the shards `0..shards`.
    pub shards: u16,
    /// The limit on the time of the whole probe.
    pub timeout: Duration,
}
