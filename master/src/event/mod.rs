//! The events of the master, for logs, the demo and the conformance tests.

mod levels;

use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::control::{DATAGRAM_BYTES_SENT_MAX, ProbeOutcome};
use standin_protocol::map::{MapEpoch, ServerState, Topology};

use crate::machine::ProbeFailure;

/// An event that an operator may want to know about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterEvent {
    /// The master has saved a term of its own and begins to work.
    Started {
        /// The term and counter with which it starts.
        epoch: MapEpoch,
        /// Whether it has a state file.
        has_history: bool,
    },
    /// The master has heard from enough servers to make announcements.
    Learned,
    /// A server knew states that this master did not. The master has adopted them under a higher term.
    Adopted {
        /// The server that had them.
        server: u16,
        /// The epoch that it had.
        epoch: MapEpoch,
    },
    /// The first datagram of a server's current incarnation, in a cluster that starts.
    Heard {
        /// The server.
        server: u16,
        /// Its incarnation.
        boot_id: u64,
    },
    /// A client or server could not reach a server (claims 10, 15, 19).
    Reported {
        /// The server.
        server: u16,
        /// The reporter.
        by: Reporter,
    },
    /// A report was discounted: its reporter has reported most of a group, and the server had been
    /// contacted just before.
    Discounted {
        /// The server.
        server: u16,
        /// The reporter.
        by: Reporter,
    },
    /// A client reached a server again (claim 14).
    ReportedOk {
        /// The server.
        server: u16,
        /// The reporter.
        by: Reporter,
    },
    /// A server has not renewed for a lease, and is verified although nobody has reported it.
    Silent {
        /// The server.
        server: u16,
    },
    /// The master contacts every shard of a server (claims 19, 20).
    Probing {
        /// The server.
        server: u16,
        /// The number of the probe in the verification, from 1; 0 for a periodic check.
        attempt: u32,
    },
    /// Every shard answered.
    ProbeOk {
        /// The server.
        server: u16,
        /// The incarnation that answered.
        boot_id: u64,
        /// The longest turn of any shard's loop.
        loop_lag_us: u32,
    },
    /// A shard did not answer.
    ProbeFailed {
        /// The server.
        server: u16,
        /// The number of the probe, as in [`Self::Probing`].
        attempt: u32,
        /// The first shard that did not answer.
        shard: u16,
        /// The reason.
        failure: ProbeFailure,
    },
    /// Other members of a server's group are asked to contact it as well.
    ProbeAsked {
        /// The server.
        server: u16,
        /// The number of members that are asked.
        peers: usize,
    },
    /// A member that was asked reports its result.
    ProbeTold {
        /// The server.
        server: u16,
        /// The member that was asked.
        by: u16,
        /// The result.
        outcome: ProbeOutcome,
    },
    /// A server says that it can't reach the database, but others of its group can.
    OriginDown {
        /// The server.
        server: u16,
    },
    /// A server runs in another mode than the master, and gets no lease.
    OtherMode {
        /// The server.
        server: u16,
        /// Whether its mode is `strict`.
        is_strict: bool,
    },
    /// More servers would be marked offline than allowed. The master assumes that the fault is its
    /// own.
    CapReached {
        /// The number of servers marked offline.
        offline: usize,
        /// The largest number that may be marked offline.
        max: usize,
    },
    /// A server does not answer, but its state is kept for now.
    Frozen {
        /// The server.
        server: u16,
    },
    /// A server is stopping. Nobody owns its partitions from this epoch on.
    Leaving {
        /// The server.
        server: u16,
        /// The epoch.
        epoch: MapEpoch,
    },
    /// A server does not answer, but may still hold a lease. Nobody owns its partitions from this
    /// epoch on (claim 19).
    MarkedWaiting {
        /// The server.
        server: u16,
        /// The epoch.
        epoch: MapEpoch,
        /// The longest time until the server is marked offline.
        at_most: Duration,
        /// The reason.
        reason: OfflineReason,
    },
    /// The lease of a waiting server has expired.
    LeaseOver {
        /// The server.
        server: u16,
    },
    /// A server is offline from this epoch on (claim 19).
    MarkedOffline {
        /// The server.
        server: u16,
        /// The epoch.
        epoch: MapEpoch,
        /// The reason.
        reason: OfflineReason,
    },
    /// A server that has flapped answers, and has to keep answering.
    HeldDown {
        /// The server.
        server: u16,
        /// The time for which it has to keep answering.
        hold_down: Duration,
    },
    /// A server is back, and its stand-ins are draining.
    Returning {
        /// The server.
        server: u16,
        /// The epoch.
        epoch: MapEpoch,
        /// Its incarnation.
        boot_id: u64,
    },
    /// A stand-in has not acknowledged a return, and is verified.
    DrainOverdue {
        /// The returning server.
        server: u16,
        /// The stand-in.
        peer: u16,
    },
    /// A server is online from this epoch on (claim 21).
    Online {
        /// The server.
        server: u16,
        /// The epoch.
        epoch: MapEpoch,
    },
    /// An epoch is sent for the first time to all servers that need to know it.
    Announced {
        /// The server whose state has changed most recently.
        server: u16,
        /// Its state.
        state: ServerState,
        /// The epoch.
        epoch: MapEpoch,
        /// The number of servers that are told.
        told: usize,
    },
    /// A server has applied an epoch and drained.
    Acked {
        /// The server.
        server: u16,
        /// The epoch.
        epoch: MapEpoch,
    },
    /// A server that answers has not acknowledged announcements.
    Unacknowledged {
        /// The server.
        server: u16,
        /// The number of other servers that have not acknowledged them either.
        others: usize,
        /// The newest epoch.
        epoch: MapEpoch,
        /// The time for which it has acknowledged nothing.
        waited: Duration,
    },
    /// A datagram that names a server as its sender came from another address.
    Distrusted {
        /// The server.
        server: u16,
        /// The address that it came from.
        from: SocketAddr,
    },
    /// The state file could not be written. The master continues without it.
    NotSaved {
        /// The epoch that is not in the file.
        epoch: MapEpoch,
    },
}

/// The sender of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reporter {
    /// A client, by its id.
    Client(u64),
    /// A server.
    Server(u16),
}

/// The reason why a server is offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfflineReason {
    /// It did not answer the master's probes.
    Verdict,
    /// It keeps restarting.
    Flapping,
    /// It can't reach the database, although other members of its group can.
    Origin,
    /// It said that it is stopping.
    Leaving,
}

impl std::fmt::Display for OfflineReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verdict => "does not answer",
            Self::Flapping => "keeps restarting",
            Self::Origin => "can't reach the database, although others can",
            Self::Leaving => "has left",
        })
    }
}

impl MasterEvent {
    /// Returns the short name, as in logs and reports.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Learned => "learned",
            Self::Adopted { .. } => "adopted",
            Self::Heard { .. } => "heard",
            Self::Reported { .. } => "reported",
            Self::Discounted { .. } => "discounted",
            Self::ReportedOk { .. } => "reported_ok",
            Self::Silent { .. } => "silent",
            Self::Probing { .. } => "probing",
            Self::ProbeOk { .. } => "probe_ok",
            Self::ProbeFailed { .. } => "probe_failed",
            Self::ProbeAsked { .. } => "probe_asked",
            Self::ProbeTold { .. } => "probe_told",
            Self::OriginDown { .. } => "origin_down",
            Self::OtherMode { .. } => "other_mode",
            Self::CapReached { .. } => "cap_reached",
            Self::Frozen { .. } => "frozen",
            Self::Leaving { .. } => "leaving",
            Self::MarkedWaiting { .. } => "waiting",
            Self::LeaseOver { .. } => "lease_over",
            Self::MarkedOffline { .. } => "offline",
            Self::HeldDown { .. } => "held_down",
            Self::Returning { .. } => "returning",
            Self::DrainOverdue { .. } => "drain_overdue",
            Self::Online { .. } => "online",
            Self::Announced { .. } => "announced",
            Self::Acked { .. } => "acked",
            Self::Unacknowledged { .. } => "unacknowledged",
            Self::Distrusted { .. } => "distrusted",
            Self::NotSaved { .. } => "not_saved",
        }
    }

    /// Returns the server that the event is about.
    #[must_use]
    pub fn server(&self) -> Option<u16> {
        match *self {
            Self::Started { .. } | Self::Learned => None,
            Self::CapReached { .. } | Self::NotSaved { .. } => None,
            Self::Adopted { server, .. }
            | Self::Heard { server, .. }
            | Self::Reported { server, .. }
            | Self::Discounted { server, .. }
            | Self::ReportedOk { server, .. }
            | Self::Silent { server }
            | Self::Probing { server, .. }
            | Self::ProbeOk { server, .. }
            | Self::ProbeFailed { server, .. }
            | Self::ProbeAsked { server, .. }
            | Self::ProbeTold { server, .. }
            | Self::OriginDown { server }
            | Self::OtherMode { server, .. }
            | Self::Frozen { server }
            | Self::Leaving { server, .. }
            | Self::MarkedWaiting { server, .. }
            | Self::LeaseOver { server }
            | Self::MarkedOffline { server, .. }
            | Self::HeldDown { server, .. }
            | Self::Returning { server, .. }
            | Self::DrainOverdue { server, .. }
            | Self::Online { server, .. }
            | Self::Announced { server, .. }
            | Self::Unacknowledged { server, .. }
            | Self::Distrusted { server, .. }
            | Self::Acked { server, .. } => Some(server),
        }
    }

    /// Describes the event in one line, with the servers' names.
    #[must_use]
    pub fn describe(&self, topology: &Topology) -> String {
        let name = |id: u16| topology.servers.get(usize::from(id)).map_or("?", |s| s.name.as_str());
        let who = |by: Reporter| match by {
            Reporter::Client(id) => format!("client {id:016x}"),
            Reporter::Server(id) => format!("server {}", name(id)),
        };
        match *self {
            Self::Started { epoch, has_history: true } => {
                format!("started at epoch {epoch}; listening to the servers first")
            }
            Self::Started { epoch, has_history: false } => {
                format!(
                    "started at epoch {epoch} without a state file; listening to all servers first"
                )
            }
            Self::Learned => "has heard from enough servers, and decides from now on".to_owned(),
            Self::Adopted { server, epoch } => {
                format!("{} has the newer epoch {epoch}, which the master adopts", name(server))
            }
            Self::Heard { server, boot_id } => format!("{} is up as {boot_id:016x}", name(server)),
            Self::Reported { server, by } => format!("{} can't reach {}", who(by), name(server)),
            Self::Discounted { server, by } => {
                format!("{} has reported most of the group of {}", who(by), name(server))
            }
            Self::ReportedOk { server, by } => {
                format!("{} reaches {} again", who(by), name(server))
            }
            Self::Silent { server } => format!("{} has not renewed for a lease", name(server)),
            Self::Probing { server, attempt: 0 } => format!("checks {} again", name(server)),
            Self::Probing { server, attempt } => {
                format!("contacts every shard of {}, attempt {attempt}", name(server))
            }
            Self::ProbeOk { server, loop_lag_us, .. } => {
                format!("every shard of {} answers, loop lag {loop_lag_us} µs", name(server))
            }
            Self::ProbeFailed { server, shard, failure, .. } => {
                format!("shard {shard} of {}: {failure}", name(server))
            }
            Self::ProbeAsked { server, peers } => {
                format!("asks {peers} other members of its group to contact {}", name(server))
            }
            Self::ProbeTold { server, by, outcome } => {
                format!("{} to {}: {outcome}", name(server), name(by))
            }
            Self::OriginDown { server } => {
                format!("{} says that it can't reach the database", name(server))
            }
            Self::OtherMode { server, is_strict } => format!(
                "{} runs in mode {}, but this master does not, so it grants no lease; stop all \
                 processes and start them with the same cluster file",
                name(server),
                if is_strict { "strict" } else { "available" }
            ),
            Self::CapReached { offline, max } => format!(
                "{offline} servers are marked offline, and at most {max} may be; is this master \
                 cut off? All other servers keep their state (see master.offline_servers_max)"
            ),
            Self::Frozen { server } => {
                format!("{} does not answer, but its state is kept for now", name(server))
            }
            Self::Leaving { server, epoch } => {
                format!("{} is stopping: leaving as of epoch {epoch}", name(server))
            }
            Self::MarkedWaiting { server, epoch, at_most, reason } => format!(
                "{} {reason}: waiting as of epoch {epoch}, for {at_most:?} at most",
                name(server)
            ),
            Self::LeaseOver { server } => format!("the lease of {} has expired", name(server)),
            Self::MarkedOffline { server, epoch, reason } => {
                format!("{} {reason}: offline as of epoch {epoch}", name(server))
            }
            Self::HeldDown { server, hold_down } => {
                format!(
                    "{} answers, but must keep answering for {hold_down:?} before it returns",
                    name(server)
                )
            }
            Self::Returning { server, epoch, .. } => {
                format!("{} is back: returning as of epoch {epoch}", name(server))
            }
            Self::DrainOverdue { server, peer } => {
                format!("{} has not acknowledged the return of {}", name(peer), name(server))
            }
            Self::Online { server, epoch } => {
                format!("{} is online as of epoch {epoch}", name(server))
            }
            Self::Announced { server, state, epoch, told } => {
                format!("announces epoch {epoch} to {told} servers: {} is {state}", name(server))
            }
            Self::Acked { server, epoch } => format!("{} has applied epoch {epoch}", name(server)),
            Self::Unacknowledged { server, others, epoch, waited } => {
                let rest = match others {
                    0 => String::new(),
                    1 => " and another server".to_owned(),
                    _ => format!(" and {others} other servers"),
                };
                format!(
                    "{}{rest} did not acknowledge epoch {epoch} for {:.1} s: check that UDP \
                     datagrams of up to {DATAGRAM_BYTES_SENT_MAX} bytes pass between this master \
                     and the servers, both ways",
                    name(server),
                    waited.as_secs_f64(),
                )
            }
            Self::Distrusted { server, from } => format!(
                "dropped a datagram from {from} that claims to come from {}, for which the \
                 cluster file has another address. Unless it is forged, check that all members \
                 use the same cluster file and that no address is translated between them",
                name(server)
            ),
            Self::NotSaved { epoch } => {
                format!("epoch {epoch} could not be saved; continuing, and retrying")
            }
        }
    }
}
