//! The events that a client reports to its observers, such as the demo and the conformance tests.

use standin_protocol::control::DatagramKind;
use standin_protocol::map::{MapEpoch, ServerState};

/// An event in a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Failover mode was entered for a server (claim 10).
    EnteredFailover {
        /// The server.
        server: u16,
        /// The number of unsuccessful sends of the request that caused this; 0 if the server itself
        /// said that it is stopping.
        attempts: u32,
    },
    /// The hold time has passed, and one request tries the server (claim 14).
    Trial {
        /// The server.
        server: u16,
    },
    /// The trial failed, and failover mode goes on (claim 14).
    TrialFailed {
        /// The server.
        server: u16,
    },
    /// Failover mode was left (claim 14), or ended by the master's announcement.
    LeftFailover {
        /// The server.
        server: u16,
        /// Whether a newer map ended it. Otherwise a trial succeeded.
        by_map: bool,
    },
    /// A notice was sent to the master for the first time.
    Reported {
        /// The kind of the notice: REPORT_FAILED or REPORT_OK.
        kind: DatagramKind,
        /// The server in question.
        server: u16,
        /// The nonce, which the verdict repeats.
        nonce: u64,
    },
    /// The master answered a notice.
    Verdict {
        /// The server in question.
        server: u16,
        /// The server's state according to the master.
        state: ServerState,
        /// The epoch of the master's map.
        epoch: MapEpoch,
    },
    /// A newer map has been applied.
    MapApplied {
        /// The epoch of the map.
        epoch: MapEpoch,
    },
    /// The cluster differs from the client's cluster file, and the client now uses the cluster's
    /// own topology. This is reported once.
    TopologyDiffers {
        /// The differences, in words.
        how: String,
    },
    /// A map was received that can't be used. The client keeps the old one.
    MapRefused {
        /// The reason.
        reason: String,
    },
}
