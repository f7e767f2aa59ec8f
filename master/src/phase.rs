//! The types of [`crate::verify`]'s table: the phases of a server, the observations, and the actions.

use std::time::Duration;

use standin_protocol::time::Micros;

/// The phase of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Believed to be online; to be verified at `verify_at` if that is set.
    Online {
        /// When the verification begins that a report has asked for.
        verify_at: Option<Micros>,
    },
    /// Being probed; announced as online until the verdict.
    Verifying {
        /// 1 for the first probe.
        attempt: u32,
    },
    /// Does not answer, but may not be marked offline now; announced as online.
    Frozen {
        /// Next probe.
        next_probe: Micros,
    },
    /// Is stopping, and finishes what it has begun; nobody owns its partitions.
    Leaving {
        /// The time after which it is no longer waited for, if its lease has expired.
        until: Micros,
    },
    /// Does not answer, but may still hold a lease; nobody owns its partitions.
    Waiting {
        /// The time at which the lease has certainly expired.
        until: Micros,
        /// Next probe.
        next_probe: Micros,
    },
    /// Marked offline.
    Offline {
        /// Next probe (claim 20).
        next_probe: Micros,
    },
    /// Announced as offline; answers, and must keep answering until `until`.
    Probation {
        /// End of the hold-down.
        until: Micros,
        /// Next probe.
        next_probe: Micros,
    },
    /// Back; its stand-ins are draining.
    Returning {
        /// The probe under way, if it is being verified, otherwise 0.
        attempt: u32,
        /// When the verification begins that a report has asked for.
        verify_at: Option<Micros>,
    },
}

/// An observation of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A client or a server reports that sending to it failed.
    Reported,
    /// A reporter that has reported most of a group reports a server that was contacted just before.
    Discounted,
    /// A client reports that sending to it succeeded again.
    ReportedOk,
    /// A datagram of the known incarnation.
    Renewed,
    /// A datagram of an incarnation that is not the known one; it is believed only when a
    /// probe answers as that incarnation.
    OtherIncarnation,
    /// The known incarnation says that it is stopping.
    Left,
    /// Every shard has answered the probe.
    Answered {
        /// As the incarnation that is known.
        same: bool,
    },
    /// There is no evidence against the server, but not every shard has reported its state.
    Busy,
    /// At least one shard has not answered the probe.
    Unanswered {
        /// The connection was refused, and the mode considers that the end of the incarnation.
        is_dead: bool,
    },
    /// The server answers probes, but hears no announcements.
    Deaf,
    /// All servers that have to have acknowledged that it returns, or leaves.
    Drained,
    /// Time has passed.
    Tick,
}

/// The new state to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The server does not answer; nobody owns its partitions while it may hold a lease.
    Waiting,
    /// The server stops; its partitions are being handed over.
    Leaving,
    /// The server is offline.
    Offline,
    /// The server is back; its partitions are being handed back.
    Returning,
    /// The server is online.
    Online,
}

/// The knowledge of the rest of the master that a decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The cap, and the master's own knowledge, allow one more server to be marked.
    pub may_mark: bool,
    /// The server itself has acknowledged a map in which it owns nothing, and nothing newer
    /// makes it an owner.
    pub is_released: bool,
}

/// A probe to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Rises with every probe of this server.
    pub probe_id: u64,
    /// 1 for the first probe of a verification; 0: a recheck.
    pub attempt: u32,
}

/// An action that the machine demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Probe every shard.
    pub probe: Option<Attempt>,
    /// Announce a new state.
    pub mark: Option<Mark>,
    /// Answer those who reported the server.
    pub verdict: bool,
    /// The verification was not asked for: the server has been silent for a lease.
    pub silent: bool,
    /// The server does not answer and may not be marked.
    pub frozen: bool,
    /// The server's lease has expired.
    pub lease_over: bool,
    /// The server answers but has flapped: it must keep answering for this long.
    pub hold_down: Option<Duration>,
}
