//! Rules that can be switched off, to see that the tests notice (docs/FAILOVER.md). Only in
//! builds with the feature `mutants`; in all others [`is`] is the constant `false`.

use crate::codes::wire_enum;

wire_enum! {
    /// A rule that is missing.
    Mutant {
        /// Fills ignore writes that began or ended meanwhile (scenarios 5, 15).
        NoFillToken = 0, "no-fill-token";
        /// A read joins a fetch that already runs (6).
        JoinRunningFetch = 1, "join-running-fetch";
        /// A write of unknown outcome does not close its key (7).
        NoQuarantine = 2, "no-quarantine";
        /// A server's lease never runs out (3, 16).
        NoLease = 3, "no-lease";
        /// Owners move without waiting for the lease of the last one (3).
        NoWaiting = 4, "no-waiting";
        /// A stand-in's entries survive the release of the partition (8).
        KeepStandInEntries = 5, "keep-stand-in-entries";
        /// Maps that are not newer are applied (9, 11).
        NoEpochCheck = 6, "no-epoch-check";
        /// A master that starts holds all servers for online, and speaks at once (10).
        ForgetOffline = 7, "forget-offline";
        /// A home keeps its cache whatever was written meanwhile (1).
        NoHandback = 8, "no-handback";
        /// Keys written elsewhere are not told to an owner that is online (2).
        NoOwed = 9, "no-owed";
        /// A write is acknowledged by a server that is no owner any more (4).
        NoSettle = 10, "no-settle";
        /// What was sent on is sent on again (18).
        ForwardTwice = 11, "forward-twice";
        /// Datagrams that were seen before are taken again (12).
        NoReplayWindow = 12, "no-replay-window";
        /// One shard that answers is enough for a probe (13).
        ProbeOneShard = 13, "probe-one-shard";
        /// Two writes of a key run at once, and both may be kept (15).
        WritesRace = 14, "writes-race";
        /// Values are kept before the master's verdict (2).
        ProvisionalCaches = 15, "provisional-caches";
        /// Maps are acknowledged before what was begun under older ones has ended (4, 14).
        NoDrain = 16, "no-drain";
        /// The owner does not remember requests (14).
        NoIdentity = 17, "no-identity";
        /// Misses after a takeover or a return are not held back (17, 19).
        NoSurgeLimit = 18, "no-surge-limit";
        /// Announcements are sent once (9).
        NoResend = 19, "no-resend";
        /// Writes to a server that only this one can't reach are made here (2).
        VerdictIgnored = 20, "verdict-ignored";
        /// A server that was stopped carries out what lies in its sockets (14).
        KeepConnections = 21, "keep-connections";
        /// Logs that have forgotten keys do not say so (1).
        NoOverflow = 22, "no-overflow";
        /// A new process does not take the group's word for what is usual.
        NoToldMeasure = 23, "no-told-measure";
        /// What was kept while the last owner's lease ran out does not end soon (2).
        BriefStays = 24, "brief-stays";
        /// A map that names no incarnation of a server is taken for word of another one (10).
        UnnamedIsAnother = 25, "unnamed-is-another";
        /// What a home was told before it gave its word that it has lost the master counts after.
        HandbackOutlivesWord = 26, "handback-outlives-word";
        /// Who has given its word that it has lost the master owns partitions anew at once.
        WordForgotten = 27, "word-forgotten";
        /// A master that learns believes that a server leaves (10).
        LeavingWhileLearning = 37, "leaving-while-learning";
        /// An orphan writes for an owner that is only silent as for one that is dead (26).
        OrphanSkipsSilent = 39, "orphan-skips-silent";
        /// What was sent is kept, whatever the row holds (22).
        KeepSent = 28, "keep-sent";
        /// A write that changed no row is acknowledged (23).
        AckNoRow = 29, "ack-no-row";
        /// A server that was stopped goes on with the requests that wait in it (14).
        KeepWaiting = 30, "keep-waiting";
        /// A server that was stopped hands the database the writes that waited for that (14).
        KeepQueued = 31, "keep-queued";
        /// A write that waits for an owner is carried out though its client has left (14).
        KeepAbandoned = 32, "keep-abandoned";
        /// A map lets through writes that had waited for long enough when it came (14).
        MapBeforeTime = 33, "map-before-time";
        /// The lease of a server that has left and acknowledged is waited for (3).
        ReleasedMayOwn = 34, "released-may-own";
        /// A home that returns is told of a flush as of the write of one key (24).
        FlushForgotten = 35, "flush-forgotten";
        /// What was fetched before a flush is kept after it (24).
        FlushKeepsFills = 36, "flush-keeps-fills";
        /// A write leaves what is cached of the same row in another keyspace (25).
        BoundForgotten = 38, "bound-forgotten";
        /// `reads_per_second` bounds nothing (27).
        NoReadCeiling = 40, "no-read-ceiling";
        /// A server believes datagrams whatever their address and epoch (12).
        BelieveAnybody = 41, "believe-anybody";
        /// Who was dead a moment ago owns partitions anew at once, although a member is away (28).
        ClosedPortForgotten = 42, "closed-port-forgotten";
    }
}

/// Whether this build can leave rules out. What is shipped is not built so.
pub const ARE_COMPILED_IN: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Removes a rule for this thread, or puts them all back.
    pub fn set(mutant: Option<Mutant>) {
        MUTANT.set(mutant);
    }

    /// Whether this rule is missing.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set};

/// Whether this rule is missing: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
