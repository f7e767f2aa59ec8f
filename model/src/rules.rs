//! The rules, each with a switch. The model with all of them is the design; without any one
//! of them it must fail, or the rule (or the model) is not needed.

/// What a cluster guarantees while a server can't be reached (`mode` in the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every read sees every write acknowledged before it.
    Strict,
    /// Writes go on; a read may be behind by about a lease.
    Available,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A rule that can be switched off.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name of the mutant without it.
            #[must_use]
            pub fn mutant(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

rules! {
    /// A server's lease runs out.
    LeaseEnds = "lease-never-ends";
    /// The holder counts less, and the master more, than a lease's length.
    DriftMargin = "no-drift-margin";
    /// The holder counts from when it asked, not from when it was answered.
    LeaseCountsFromAsking = "lease-from-answer";
    /// A lease may be used only under a map as new as the one it was granted under.
    LeaseNeedsMap = "lease-without-map";
    /// A map by which a server is out ends whatever it was granted before.
    OutEndsLeases = "out-keeps-leases";
    /// An owner that does not answer is *waiting* until its lease is over.
    WaitForLease = "no-waiting";
    /// No server owns a waiting server's partition.
    UnownedWhileWaiting = "owner-moves-at-waiting";
    /// A returning server that does not answer any more waits for its lease like any other.
    ReturnEndsByLease = "return-aborted-at-once";
    /// A master that starts assumes that every lease was granted just now.
    RestartWaitsForLeases = "restart-forgets-leases";
    /// A master without its file believes a map only if all servers are heard, and are those that
    /// it names.
    NoFileNeedsAll = "no-file-believes-one";
    /// A map that names no incarnation of a server says nothing about another one.
    UnnamedIsNoOther = "unnamed-is-another";
    /// A server may be *online* again only when those that may have owned its keys have
    /// acknowledged that it returns.
    ReturnNeedsAcks = "return-without-acks";
    /// Members that are waiting or returning themselves are among them.
    AllMembersAck = "only-online-members-ack";
    /// The returning server itself is one of them.
    ReturnAckedByItself = "return-without-own-ack";
    /// A map is acknowledged when nothing is left that was begun under another owner.
    Drain = "no-drain";
    /// Maps that are not newer are dropped.
    OnlyNewerMaps = "older-maps-applied";
    /// A stand-in drops its cached values when the owner changes.
    StandInEntriesGo = "stand-in-entries-stay";
    /// A home keeps what it had only if all others have handed over their logs.
    HomeNeedsLogs = "home-keeps-all";
    /// Keys written elsewhere are dropped by the home before it is online again.
    LogsNameKeys = "logs-are-empty";
    /// A log is cleared when it was delivered, not by any map.
    LogsClearedByDelivery = "logs-cleared-by-maps";
    /// A log counts only for the return that it was handed over for.
    LogOfThisReturn = "log-of-an-earlier-return";
    /// A log counts only if its incarnation was there since before the home went.
    LogIsComplete = "log-of-a-later-incarnation";
    /// An incarnation counts from the first map that names it, not from any older one that
    /// reaches it late.
    LogSinceNamed = "log-since-any-map";
    /// A member that is offline has written nothing only if it was so before the home went.
    OfflineSinceBefore = "offline-members-trusted";
    /// A server that is no longer the owner makes the owner drop the key before it acknowledges.
    Settle = "no-settle";
    /// Only an owner that holds its lease can confirm that it has dropped a key.
    SettleAtLeasedOwner = "settle-anywhere";
    /// A value fetched before a key was settled is not cached afterwards.
    SettleEndsFills = "settle-keeps-fills";
    /// Only the last owner acknowledges a write that ends after the key was released.
    ReleasedByLastOwner = "released-by-anybody";
    /// A write that ends after its partition was released is acknowledged only under a lease.
    AckUnderLease = "drained-without-lease";
    /// One write of a key at a time, and a fill that began before its end is not kept.
    FillTokens = "no-fill-tokens";
    /// Nothing is kept while another is the owner, reachable or not.
    ProvisionalKeepsNothing = "provisional-caches";
    /// `available`: without an owner, only the server that will be the next one writes.
    NextOwnerWrites = "any-member-writes";
    /// `available`: what that one reads before it is the owner it keeps for a lease at most.
    BriefEntriesEnd = "brief-entries-stay";
    /// `available`: nobody begins a write while a server returns or leaves.
    NoWritesDuringReturn = "writes-during-return";
    /// `available`: what was begun without an owner holds up the next map's acknowledgement.
    UnownedWritesDrain = "unowned-writes-not-drained";
    /// `available`: what was begun without an owner is acknowledged only under a lease.
    UnownedAckUnderLease = "unowned-without-lease";
    /// `available`: an owner without a lease goes on only if all others have lost the master.
    OrphanNeedsOthers = "orphan-alone";
    /// `available`: and neither it nor those others know of a map newer than its own.
    OrphanKnowsNothingNewer = "orphan-under-an-older-map";
    /// `available`: only a server whose port refuses connections needs no waiting for.
    KnownDeadRefuses = "silent-is-dead";
}

/// The mode, and which rule is missing.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which promise is kept.
    pub mode: Mode,
    off: Option<Rule>,
}

impl Rules {
    /// The design.
    #[must_use]
    pub fn all(mode: Mode) -> Self {
        Self { mode, off: None }
    }

    /// A mutant of it.
    #[must_use]
    pub fn without(mode: Mode, rule: Rule) -> Self {
        Self { mode, off: Some(rule) }
    }

    /// Whether a rule holds.
    #[must_use]
    pub fn has(&self, rule: Rule) -> bool {
        self.off != Some(rule)
    }

    /// Whether writes go on without an owner.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.mode == Mode::Available
    }
}
