//! The types of [`crate::verify`]'s table: the phases of a server, the observations, and the actions.

use std::time::Duration;

use standin_protocol::time::Micros;

/// The phase of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Considered online. The server is verified at `verify_at` if that is set.
    Online {
        /// The time at which a verification that a report has asked for begins.
        verify_at: Option<Micros>,
    },
    /// Being probed, and announced as online until the verdict.
    Verifying {
        /// The number of the probe, from 1.
        attempt: u32,
    },
    /// Not answering, but announced as online because no further server may be marked offline now.
    Frozen {
        /// The time of the next probe.
        next_probe: Micros,
    },
    /// Stopping, and ending what it has begun. Nobody owns its partitions.
    Leaving {
        /// The time until which the master waits for it. Afterwards it waits only for its lease to
        /// expire.
        until: Micros,
    },
    /// Not answering, but possibly still holding a lease. Nobody owns its partitions.
    Waiting {
        /// The time at which the lease has certainly expired.
        until: Micros,
        /// The time of the next probe.
        next_probe: Micros,
    },
    /// Marked offline.
    Offline {
        /// The time of the next probe (claim 20).
        next_probe: Micros,
    },
    /// Announced as offline. It answers, and has to keep answering until `until`.
    Probation {
        /// The end of the hold-down.
        until: Micros,
        /// The time of the next probe.
        next_probe: Micros,
    },
    /// Back, while its stand-ins are draining.
    Returning {
        /// The number of the probe under way if the server is being verified; otherwise 0.
        attempt: u32,
        /// The time at which a verification that a report has asked for begins.
        verify_at: Option<Micros>,
    },
}

/// An observation of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A client or a server reports that sending to it failed.
    Reported,
    /// A discounted report: its reporter has reported most of a group, and the server had been
    /// contacted just before.
    Discounted,
    /// A client reports that sending to it succeeded again.
    ReportedOk,
    /// A datagram of the known incarnation.
    Renewed,
    /// A datagram of an incarnation that is not the known one. That incarnation is believed only
    /// when it answers a probe.
    OtherIncarnation,
    /// The known incarnation says that it is stopping.
    Left,
    /// Every shard has answered the probe.
    Answered {
        /// Whether the known incarnation has answered.
        same: bool,
    },
    /// There is no evidence against the server, but not every shard has reported its state.
    Busy,
    /// At least one shard has not answered the probe.
    Unanswered {
        /// Whether the connection was refused and the mode accepts that as the end of the
        /// incarnation.
        is_dead: bool,
    },
    /// The server answers probes, but hears no announcements.
    Deaf,
    /// All servers that have to acknowledge that the server returns or leaves have done so.
    Drained,
    /// Time has passed.
    Tick,
}

/// The new state to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The server does not answer. Nobody owns its partitions while it may hold a lease.
    Waiting,
    /// The server is stopping, and its partitions are being handed over.
    Leaving,
    /// The server is offline.
    Offline,
    /// The server is back, and its partitions are being handed back.
    Returning,
    /// The server is online.
    Online,
}

/// The facts outside this machine on which a decision depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether the cap and the master's own knowledge allow it to mark one more server.
    pub may_mark: bool,
    /// Whether the server itself has acknowledged a map in which it owns nothing, and no newer map
    /// makes it an owner.
    pub is_released: bool,
}

/// A probe to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// A number that rises with every probe of this server.
    pub probe_id: u64,
    /// The number of the probe within its verification, from 1; 0 for a recheck.
    pub attempt: u32,
}

/// The actions that the machine demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Probe every shard.
    pub probe: Option<Attempt>,
    /// Announce a new state.
    pub mark: Option<Mark>,
    /// Answer those who reported the server.
    pub verdict: bool,
    /// The verification was started because the server has been silent for a lease, and not by a
    /// report.
    pub silent: bool,
    /// The server does not answer and may not be marked.
    pub frozen: bool,
    /// The lease of the server has expired.
    pub lease_over: bool,
    /// The time for which a server that has flapped has to keep answering.
    pub hold_down: Option<Duration>,
}
