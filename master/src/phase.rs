//! The words of [`crate::verify`]'s table: where a server stands, what is seen of it, what is
//! to be done.

use std::time::Duration;

use standin_protocol::time::Micros;

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Believed to be online; to be verified at `verify_at` if that is set.
    Online {
        /// When the verification begins that a report has asked for.
        verify_at: Option<Micros>,
    },
    /// Being probed; online for the world until the verdict.
    Verifying {
        /// 1 for the first probe.
        attempt: u32,
    },
    /// Does not answer, but may not be marked offline now; online for the world.
    Frozen {
        /// Next probe.
        next_probe: Micros,
    },
    /// Stops, and finishes what it has begun; nobody owns its partitions.
    Leaving {
        /// Not waited for any longer, if its lease is over.
        until: Micros,
    },
    /// Does not answer, but may still hold a lease; nobody owns its partitions.
    Waiting {
        /// When the lease has certainly run out.
        until: Micros,
        /// Next probe.
        next_probe: Micros,
    },
    /// Marked offline.
    Offline {
        /// Next probe (claim 20).
        next_probe: Micros,
    },
    /// Offline for the world; answers, and must go on answering until `until`.
    Probation {
        /// End of the hold-down.
        until: Micros,
        /// Next probe.
        next_probe: Micros,
    },
    /// Back; its stand-ins are draining.
    Returning {
        /// The probe under way, if it is being verified; 0: it is not.
        attempt: u32,
        /// When the verification begins that a report has asked for.
        verify_at: Option<Micros>,
    },
}

/// What has been seen of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A client or a server says that sending to it failed.
    Reported,
    /// The same of a server that was contacted just before, from one who accuses most of a group.
    Discounted,
    /// A client says that sending to it succeeded again.
    ReportedOk,
    /// A datagram of the known incarnation.
    Renewed,
    /// A datagram of an incarnation that is not the known one; it is believed only when a
    /// probe answers as that incarnation.
    OtherIncarnation,
    /// The known incarnation says that it stops.
    Left,
    /// Every shard has answered the probe.
    Answered {
        /// As the incarnation that is known.
        same: bool,
    },
    /// Nothing speaks against the server, but not every shard has said how it is.
    Busy,
    /// At least one shard has not answered the probe.
    Unanswered {
        /// Nobody listens there, and the mode takes that for the end of the incarnation.
        is_dead: bool,
    },
    /// It answers probes, but hears no announcements.
    Deaf,
    /// All who have to have acknowledged its return, or that it leaves.
    Drained,
    /// Time has passed.
    Tick,
}

/// What the world is to be told.
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

/// What the rest of the master knows when something is seen of a server.
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

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Probe every shard.
    pub probe: Option<Attempt>,
    /// Tell the world.
    pub mark: Option<Mark>,
    /// Answer those who reported the server.
    pub verdict: bool,
    /// The verification was not asked for: the server has been silent for a lease.
    pub silent: bool,
    /// The server does not answer and may not be marked.
    pub frozen: bool,
    /// The server's lease has run out.
    pub lease_over: bool,
    /// The server answers but has flapped: it must go on answering for so long.
    pub hold_down: Option<Duration>,
}
