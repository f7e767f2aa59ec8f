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
    /// A datagram whose code and topology have been checked.
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
        /// False if it could not be written.
        ok: bool,
    },
    /// The result of [`Output::FetchMap`].
    Fetched {
        /// The server.
        server: u16,
        /// Its map; `None` if it could not be fetched.
        map: Option<Box<ClusterMap>>,
    },
    /// Time has passed; due at [`super::Machine::next_deadline`] at the latest.
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
    /// Contact all shards in parallel, and report back within the timeout.
    Probe(ProbeOrder),
    /// Write the state to disk, and report back.
    Persist(State),
    /// Fetch a server's map over TCP, and report back.
    FetchMap {
        /// The server.
        server: u16,
        /// Its address.
        address: SocketAddr,
    },
    /// An event, for logs and tests.
    Event(MasterEvent),
}

/// See [`Output::Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOrder {
    /// The server.
    pub server: u16,
    /// A number that the result repeats.
    pub probe_id: u64,
    /// The server's address.
    pub address: SocketAddr,
    /// HELLO and PING go to each of shards `0..shards`.
    pub shards: u16,
    /// Bound on the whole probe.
    pub timeout: Duration,
}
