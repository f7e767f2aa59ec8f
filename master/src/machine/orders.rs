//! The inputs and outputs of the machine.

use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::body::PingReply;
use standin_protocol::control::Datagram;
use standin_protocol::frame::Status;
use standin_protocol::map::{ClusterMap, MapEpoch};

use crate::event::MasterEvent;
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
        /// As in the order.
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
    /// For logs and tests.
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

/// The reason why a shard gave no [`PingReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// The connection was refused: the process is gone.
    #[error("connection refused")]
    Refused,
    /// The network reports that there is no route.
    #[error("unreachable")]
    Unreachable,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection was closed or reset before the answer.
    #[error("closed the connection")]
    Closed,
    /// The secret was not accepted.
    #[error("refuses the cluster's secret: is it the same in both configurations?")]
    AuthFailed,
    /// Another status than OK.
    #[error("answers {0}")]
    Refusing(Status),
    /// Not the protocol, another cluster, or another server than expected.
    #[error("answers what no server of this cluster would; is the address right?")]
    Nonsense,
    /// It answers, but can't reach the database, although other members of its group can.
    #[error("can't reach the database, which others of its group can")]
    OriginDown,
    /// The master itself could not try (descriptors, ports, memory).
    #[error("could not be tried: this master is out of descriptors, ports or memory")]
    NotTried,
}

impl ProbeFailure {
    /// Whether this says that the server is *not* doing its work. A server that is busy is
    /// alive: its load would only crush the next one. And what could not be tried is no
    /// evidence.
    #[must_use]
    pub fn is_evidence(self) -> bool {
        !matches!(self, Self::NotTried | Self::Refusing(Status::Overloaded))
    }
}
