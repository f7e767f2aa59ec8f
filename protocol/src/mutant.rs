//! Rules that a test can switch off, to show that something fails without them (docs/FAILOVER.md).
//! Only in builds with the feature `mutants`; in all others [`is`] is the constant `false`.

use crate::codes::wire_enum;

wire_enum! {
    /// A rule that is switched off; each variant says what then happens.
    Mutant {
        /// Fills ignore writes that began or ended meanwhile (scenarios 5, 15).
        NoFillToken = 0, "no-fill-token";
        /// A read joins a fetch that is already running (6).
        JoinRunningFetch = 1, "join-running-fetch";
        /// A write of unknown outcome does not close its key (7).
        NoQuarantine = 2, "no-quarantine";
        /// A server's lease never expires (3, 16).
        NoLease = 3, "no-lease";
        /// Owners change without waiting for the lease of the previous one (3).
        NoWaiting = 4, "no-waiting";
        /// A stand-in's entries survive the release of the partition (8).
        KeepStandInEntries = 5, "keep-stand-in-entries";
        /// Maps that are not newer are applied (9, 11).
        NoEpochCheck = 6, "no-epoch-check";
        /// A master that starts considers all servers online, and announces that at once (10).
        ForgetOffline = 7, "forget-offline";
        /// A home keeps its cache, whatever was written while it was away (1).
        NoHandback = 8, "no-handback";
        /// An owner that is online is not told of keys written elsewhere (2).
        NoOwed = 9, "no-owed";
        /// A server acknowledges a write although it is no longer the owner (4).
        NoSettle = 10, "no-settle";
        /// A forwarded request is forwarded again (18).
        ForwardTwice = 11, "forward-twice";
        /// Datagrams that were seen before are accepted again (12).
        NoReplayWindow = 12, "no-replay-window";
        /// One shard that answers is enough for a probe (13).
        ProbeOneShard = 13, "probe-one-shard";
        /// Two writes of a key run at once, and both may be kept (15).
        WritesRace = 14, "writes-race";
        /// A stand-in caches values before the master's verdict (2).
        ProvisionalCaches = 15, "provisional-caches";
        /// Maps are acknowledged before everything that began under older ones has ended (4, 14).
        NoDrain = 16, "no-drain";
        /// The owner does not recognise repeated requests (14).
        NoIdentity = 17, "no-identity";
        /// Misses after a takeover or a return are not held back (17, 19).
        NoSurgeLimit = 18, "no-surge-limit";
        /// Announcements are sent once (9).
        NoResend = 19, "no-resend";
        /// A server processes writes for an owner that only it can't reach (2).
        VerdictIgnored = 20, "verdict-ignored";
        /// A server that was stopped processes the requests in its sockets (14).
        KeepConnections = 21, "keep-connections";
        /// A log that has overflowed does not say so (1).
        NoOverflow = 22, "no-overflow";
        /// A new process does not use its group's usual rate of fetches.
        NoToldMeasure = 23, "no-told-measure";
        /// Values cached while the previous owner's lease was running out do not expire soon (2).
        BriefStays = 24, "brief-stays";
        /// A map that names no incarnation of a server counts as naming another one (10).
        UnnamedIsAnother = 25, "unnamed-is-another";
        /// A home still relies on what it was told before it gave its word that it has lost the
        /// master (20).
        HandbackOutlivesWord = 26, "handback-outlives-word";
        /// A server that has given its word that it has lost the master caches new partitions at
        /// once (21).
        WordForgotten = 27, "word-forgotten";
        /// A master that is still learning believes that a server is leaving (10).
        LeavingWhileLearning = 37, "leaving-while-learning";
        /// An orphan writes for an owner that is silent, not only for one that is dead (26).
        OrphanSkipsSilent = 39, "orphan-skips-silent";
        /// After a write the value that was sent is cached, whatever the row contains (22).
        KeepSent = 28, "keep-sent";
        /// A write that changed no row is acknowledged (23).
        AckNoRow = 29, "ack-no-row";
        /// A server that was stopped continues with the requests that wait in it (14).
        KeepWaiting = 30, "keep-waiting";
        /// A server that was stopped sends queued writes to the database (14).
        KeepQueued = 31, "keep-queued";
        /// A write that waits for an owner is processed although its client has left (14).
        KeepAbandoned = 32, "keep-abandoned";
        /// A new map lets writes through whose waiting time had already ended (14).
        MapBeforeTime = 33, "map-before-time";
        /// The master waits for the lease of a server that has left and acknowledged (3).
        ReleasedMayOwn = 34, "released-may-own";
        /// A returning home is told of a flush as if it were the write of one key (24).
        FlushForgotten = 35, "flush-forgotten";
        /// A value fetched before a flush is cached after it (24).
        FlushKeepsFills = 36, "flush-keeps-fills";
        /// A write leaves the same row cached in another keyspace (25).
        BoundForgotten = 38, "bound-forgotten";
        /// `reads_per_second` has no effect (27).
        NoReadCeiling = 40, "no-read-ceiling";
        /// A server believes datagrams whatever their address and epoch (12).
        BelieveAnybody = 41, "believe-anybody";
        /// A server that was dead a moment ago caches new partitions at once, although a member is
        /// away (28).
        ClosedPortForgotten = 42, "closed-port-forgotten";
        /// A master that learns takes states older than those it asked for as the answer (10).
        OlderMapBelieved = 43, "older-map-believed";
        /// A master that could not learn which terms were used takes the next one that it knows of (10).
        TermUsedTwice = 44, "term-used-twice";
        /// A home trusts the order of epochs across a loss of the master's file (29).
        EpochsOfOthers = 45, "epochs-of-others";
        /// A log that has forgotten keys for a new incarnation does not say so (10).
        ForgottenUnsaid = 53, "forgotten-unsaid";
        /// Keys of a keyspace without a database that are written elsewhere are not logged (30).
        CacheUnlogged = 46, "cache-unlogged";
        /// A server keeps what it writes without a database while the last owner may still write (31).
        CacheKeptWaiting = 47, "cache-kept-waiting";
        /// A read-modify-write is executed where others may write too (32).
        ModifyWithoutLease = 49, "modify-without-lease";
        /// A copy of a write is recognised only if it is itself marked RETRY, whatever came before it
        /// (33).
        CopyUnmarked = 50, "copy-unmarked";
        /// A server that sends a write on a second time does not mark it RETRY (33).
        SentAgainUnmarked = 51, "sent-again-unmarked";
        /// A read-modify-write that may have been executed is sent to another server (32).
        ModifySentAgain = 52, "modify-sent-again";
        /// A server that sends on a write without an identity gives it none (33).
        SentOnUnnamed = 54, "sent-on-unnamed";
        /// A write ends when it arrives although its home has to be told of it (34).
        AtOnceAway = 55, "at-once-away";
        /// A write ends when it arrives at its home, which does not own its partition (34).
        AtOnceUnowned = 56, "at-once-unowned";
        /// Of the conditions of a transaction only the first is compared (35).
        TransactComparesFirst = 57, "transact-compares-first";
        /// Of the keys that a transaction writes away from home only the first is logged (36).
        TransactLogsFirst = 58, "transact-logs-first";
        /// A transaction is executed before its conditions are compared (35).
        TransactWritesRefused = 59, "transact-writes-refused";
        /// Of the values that a transaction leaves only the first is kept (37).
        TransactKeepsFirst = 60, "transact-keeps-first";
    }
}

/// Whether rules can be switched off in this build. They can't be in a release.
pub const ARE_COMPILED_IN: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches off a rule for this thread, or switches all rules on again.
    pub fn set(mutant: Option<Mutant>) {
        MUTANT.set(mutant);
    }

    /// Whether this rule is switched off.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set};

/// Always false in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}
