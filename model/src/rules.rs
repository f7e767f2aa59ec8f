//! The rules, each with a switch. The model with all rules is the design. If it does not fail
//! without one of them, that rule is not needed, or the model does not cover it.

/// The guarantee of a cluster while a server can't be reached (`mode` in the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every read sees every write that was acknowledged before it.
    Strict,
    /// Writes go on. A read may be out of date by about a lease.
    Available,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A rule that can be switched off.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name of the mutant that lacks the rule.
            #[must_use]
            pub fn mutant(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

rules! {
    /// A server's lease expires.
    LeaseEnds = "lease-never-ends";
    /// The holder counts a lease as shorter than its length, and the master counts it as longer.
    DriftMargin = "no-drift-margin";
    /// The holder counts a lease from its request, not from the answer.
    LeaseCountsFromAsking = "lease-from-answer";
    /// A server may use a lease only under a map that is at least as new as the one under which the
    /// lease was granted.
    LeaseNeedsMap = "lease-without-map";
    /// A map in which a server is out of service ends all its leases.
    OutEndsLeases = "out-keeps-leases";
    /// An owner that does not answer is *waiting* until its lease is over.
    WaitForLease = "no-waiting";
    /// No server owns a waiting server's partition.
    UnownedWhileWaiting = "owner-moves-at-waiting";
    /// A returning server that does not answer any more waits for its lease like any other.
    ReturnEndsByLease = "return-aborted-at-once";
    /// A master that starts assumes that every lease was granted just now.
    RestartWaitsForLeases = "restart-forgets-leases";
    /// A master without its file adopts a map only if all servers are heard and are the
    /// incarnations that the map names.
    NoFileNeedsAll = "no-file-believes-one";
    /// A map that names no incarnation of a server does not mean that the server has restarted.
    UnnamedIsNoOther = "unnamed-is-another";
    /// A server may be *online* again only when the servers that may have owned its keys have
    /// acknowledged that it returns.
    ReturnNeedsAcks = "return-without-acks";
    /// Those servers include members that are waiting or returning themselves.
    AllMembersAck = "only-online-members-ack";
    /// Those servers include the returning server itself.
    ReturnAckedByItself = "return-without-own-ack";
    /// A map is acknowledged when nothing is left that began under another owner.
    Drain = "no-drain";
    /// Maps that are not newer are dropped.
    OnlyNewerMaps = "older-maps-applied";
    /// A stand-in drops its cached values when the owner changes.
    StandInEntriesGo = "stand-in-entries-stay";
    /// A home keeps its cached values only if all others have handed over their logs.
    HomeNeedsLogs = "home-keeps-all";
    /// Keys written elsewhere are dropped by the home before it is online again.
    LogsNameKeys = "logs-are-empty";
    /// A log is cleared when it has been delivered, and not by a map.
    LogsClearedByDelivery = "logs-cleared-by-maps";
    /// A log counts only for the return for which it was handed over.
    LogOfThisReturn = "log-of-an-earlier-return";
    /// A log counts only if its incarnation existed before the home was away.
    LogIsComplete = "log-of-a-later-incarnation";
    /// An incarnation counts from the first map that names it, and not from an older map that
    /// arrives late.
    LogSinceNamed = "log-since-any-map";
    /// An offline member has certainly written nothing only if it was offline before the home was
    /// away.
    OfflineSinceBefore = "offline-members-trusted";
    /// A server that is no longer the owner makes the owner drop the key before it acknowledges.
    Settle = "no-settle";
    /// Only an owner that holds its lease can acknowledge that it has dropped a key.
    SettleAtLeasedOwner = "settle-anywhere";
    /// A value fetched before a key was settled is not cached afterwards.
    SettleEndsFills = "settle-keeps-fills";
    /// Only the last owner acknowledges a write that ends after the key was released.
    ReleasedByLastOwner = "released-by-anybody";
    /// A write that ends after its partition was released is acknowledged only under a lease.
    AckUnderLease = "drained-without-lease";
    /// Only one write of a key runs at a time, and a fill that began before its end is not kept.
    FillTokens = "no-fill-tokens";
    /// Nothing is kept while another server is the owner, whether or not it is reachable.
    ProvisionalKeepsNothing = "provisional-caches";
    /// `available`: without an owner, only the server that will be the next owner writes.
    NextOwnerWrites = "any-member-writes";
    /// `available`: the next owner keeps values that it reads before it is the owner for a lease at
    /// most.
    BriefEntriesEnd = "brief-entries-stay";
    /// `available`: nobody begins a write while a server returns or leaves.
    NoWritesDuringReturn = "writes-during-return";
    /// `available`: a map is not acknowledged while a write is under way that began without an
    /// owner.
    UnownedWritesDrain = "unowned-writes-not-drained";
    /// `available`: a write that began without an owner is acknowledged only under a lease.
    UnownedAckUnderLease = "unowned-without-lease";
    /// `available`: an owner without a lease goes on only if all other members have lost the
    /// master.
    OrphanNeedsOthers = "orphan-alone";
    /// `available`: such an owner goes on only if neither it nor those members know of a map newer
    /// than its own.
    OrphanKnowsNothingNewer = "orphan-under-an-older-map";
    /// `available`: only the lease of a server whose port refuses connections need not be waited
    /// for.
    KnownDeadRefuses = "silent-is-dead";
}

/// The mode, and the rule that is missing.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The mode of the cluster.
    pub mode: Mode,
    off: Option<Rule>,
}

impl Rules {
    /// Returns the rules of the design.
    #[must_use]
    pub fn all(mode: Mode) -> Self {
        Self { mode, off: None }
    }

    /// Returns the rules of a mutant.
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
