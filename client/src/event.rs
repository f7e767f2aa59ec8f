//! The events that a client reports to its observers, such as the demo and the conformance tests.

use standin_protocol::control::DatagramKind;
use standin_protocol::map::{MapEpoch, ServerState};

/// Something that happened in a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// Failover mode was entered for a server (claim 10).
    EnteredFailover {
        /// The server.
        server: u16,
        /// Unsuccessful sends of the request that decided it; 0: the server itself said that
        /// it is stopping.
        attempts: u32,
    },
    /// The hold-down has passed and one request tries the server (claim 14).
    Trial {
        /// The server.
        server: u16,
    },
    /// The trial failed; failover mode goes on (claim 14).
    TrialFailed {
        /// The server.
        server: u16,
    },
    /// Failover mode was left (claim 14), or ended by the master's announcement.
    LeftFailover {
        /// The server.
        server: u16,
        /// True: a newer map said so. False: a trial succeeded.
        by_map: bool,
    },
    /// A notice was sent to the master for the first time.
    Reported {
        /// REPORT_FAILED or REPORT_OK.
        kind: DatagramKind,
        /// The server in question.
        server: u16,
        /// Repeated by the verdict.
        nonce: u64,
    },
    /// The master answered a notice.
    Verdict {
        /// The server in question.
        server: u16,
        /// The server's state according to the master.
        state: ServerState,
        /// The master's map.
        epoch: MapEpoch,
    },
    /// A newer map is obeyed from now on.
    MapApplied {
        /// Its version.
        epoch: MapEpoch,
    },
    /// The cluster differs from the client's cluster file, and the client now uses the cluster's own
    /// topology. Reported once.
    TopologyDiffers {
        /// The differences, in words.
        how: String,
    },
    /// A map was received that can't be used; the old one is kept.
    MapRefused {
        /// The reason.
        reason: String,
    },
}
