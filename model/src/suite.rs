//! The explorations that are run: the design in several scopes, and every mutant.
//!
//! One exploration with every fault at once would not end. So the faults are spread over several
//! explorations, each of which is exhaustive: two failovers, a failover and a crash, a failover and
//! a restart of the master, and so on.

use crate::rules::{Mode, Rule};
use crate::scope::Scope;

/// An exploration of the design.
#[derive(Debug, Clone, Copy)]
pub struct Exploration {
    /// The name of the exploration.
    pub name: &'static str,
    /// The size of the explored world.
    pub scope: Scope,
}

/// The scope with a home and a stand-in, two writes, and no faults.
const TWO: Scope = Scope {
    servers: 2,
    lease_steps: 1,
    writes: 2,
    maps_max: 13,
    delays: false,
    silences: 0,
    crashes: 0,
    master_restarts: 0,
    file_losses: 0,
    leaves: 0,
    orphans: false,
};
/// The scope with a second stand-in.
const THREE: Scope = Scope { servers: 3, ..TWO };

/// The scope in which the master restarts once without its file.
const FILE_LOST: Scope = Scope { master_restarts: 1, file_losses: 1, ..TWO };

/// The explorations that end in seconds. They are run for every change.
pub const SMALL: &[Exploration] = &[
    Exploration { name: "two failovers", scope: Scope { silences: 2, writes: 1, ..TWO } },
    Exploration {
        name: "a failover, a crash",
        scope: Scope { silences: 1, crashes: 1, writes: 1, ..TWO },
    },
    Exploration {
        name: "a failover, M restarts",
        scope: Scope { silences: 1, master_restarts: 1, ..TWO },
    },
    Exploration {
        name: "a failover, M loses its file",
        scope: Scope { silences: 1, writes: 1, ..FILE_LOST },
    },
    Exploration {
        name: "a failover, a server stops",
        scope: Scope { silences: 1, leaves: 1, writes: 1, ..TWO },
    },
    Exploration { name: "a failover, three servers", scope: Scope { silences: 1, ..THREE } },
    Exploration {
        name: "a failover, gossip, M restarts",
        scope: Scope { silences: 1, master_restarts: 1, writes: 1, orphans: true, ..TWO },
    },
];

/// The explorations that end in minutes.
pub const FULL: &[Exploration] = &[
    Exploration { name: "two failovers", scope: Scope { silences: 2, ..TWO } },
    Exploration { name: "a failover, a crash", scope: Scope { silences: 1, crashes: 1, ..TWO } },
    Exploration {
        name: "a failover, a crash, M restarts",
        scope: Scope { silences: 1, crashes: 1, master_restarts: 1, writes: 1, ..TWO },
    },
    Exploration {
        name: "two failovers, M restarts",
        scope: Scope { silences: 2, master_restarts: 1, writes: 1, ..TWO },
    },
    Exploration { name: "a failover, M loses its file", scope: Scope { silences: 1, ..FILE_LOST } },
    Exploration {
        name: "two failovers, M loses its file",
        scope: Scope { silences: 2, writes: 1, ..FILE_LOST },
    },
    Exploration {
        name: "a failover, M loses its file and restarts",
        scope: Scope { silences: 1, master_restarts: 2, writes: 1, ..FILE_LOST },
    },
    Exploration {
        name: "two failovers, a server stops",
        scope: Scope { silences: 2, leaves: 1, writes: 1, ..TWO },
    },
    Exploration {
        name: "a failover, late announcements",
        scope: Scope { silences: 1, delays: true, maps_max: 7, ..TWO },
    },
    Exploration {
        name: "two failovers, late announcements",
        scope: Scope { silences: 2, writes: 1, delays: true, maps_max: 9, ..TWO },
    },
    Exploration {
        name: "a failover, a crash, late announcements",
        scope: Scope { silences: 1, crashes: 1, writes: 1, delays: true, maps_max: 9, ..TWO },
    },
    Exploration {
        name: "two failovers, leases of two steps",
        scope: Scope { lease_steps: 2, silences: 2, ..TWO },
    },
    Exploration {
        name: "a failover, a crash, gossip",
        scope: Scope { silences: 1, crashes: 1, writes: 1, orphans: true, ..TWO },
    },
    Exploration {
        name: "two failovers, gossip",
        scope: Scope { silences: 2, writes: 1, orphans: true, ..TWO },
    },
    Exploration { name: "a failover, three servers", scope: Scope { silences: 1, ..THREE } },
    Exploration {
        name: "a failover, M restarts, three servers",
        scope: Scope { silences: 1, master_restarts: 1, ..THREE },
    },
    Exploration {
        name: "a failover, a crash, three servers",
        scope: Scope { silences: 1, crashes: 1, writes: 1, ..THREE },
    },
    Exploration {
        name: "two failovers, three servers",
        scope: Scope { silences: 2, writes: 1, ..THREE },
    },
    Exploration {
        name: "two failovers, three servers, two writes",
        scope: Scope { silences: 2, ..THREE },
    },
];

/// Returns the exploration in which a mutant is looked for, and the property that it violates.
#[must_use]
pub fn scope_for(rule: Rule) -> (Mode, Scope) {
    use Mode::{Available, Strict};
    let one = Scope { silences: 1, ..TWO };
    let two = Scope { silences: 2, writes: 1, ..TWO };
    let orphans = Scope { silences: 1, orphans: true, ..TWO };
    match rule {
        Rule::FillTokens | Rule::ProvisionalKeepsNothing => (Strict, TWO),
        Rule::LeaseEnds
        | Rule::DriftMargin
        | Rule::LeaseCountsFromAsking
        | Rule::LeaseNeedsMap
        | Rule::WaitForLease
        | Rule::UnownedWhileWaiting
        | Rule::ReturnNeedsAcks
        | Rule::Drain
        | Rule::HomeNeedsLogs
        | Rule::LogsNameKeys
        | Rule::ReleasedByLastOwner => (Strict, one),
        Rule::OnlyNewerMaps => (Strict, Scope { delays: true, maps_max: 6, ..one }),
        Rule::ReturnEndsByLease
        | Rule::AllMembersAck
        | Rule::ReturnAckedByItself
        | Rule::LogOfThisReturn
        | Rule::LogsClearedByDelivery
        | Rule::OfflineSinceBefore
        | Rule::StandInEntriesGo
        | Rule::Settle
        | Rule::SettleEndsFills
        | Rule::AckUnderLease => (Strict, two),
        Rule::RestartWaitsForLeases => (Strict, Scope { master_restarts: 1, ..one }),
        Rule::NoFileNeedsAll | Rule::UnnamedIsNoOther | Rule::OutEndsLeases => {
            (Strict, Scope { silences: 2, writes: 1, ..FILE_LOST })
        }
        Rule::LogIsComplete | Rule::LogSinceNamed => {
            (Strict, Scope { crashes: 1, writes: 1, ..one })
        }
        Rule::SettleAtLeasedOwner => (Strict, Scope { silences: 3, writes: 1, ..THREE }),
        Rule::NextOwnerWrites => (Available, Scope { silences: 1, writes: 1, ..THREE }),
        Rule::NoWritesDuringReturn | Rule::KnownDeadRefuses | Rule::BriefEntriesEnd => {
            (Available, one)
        }
        Rule::UnownedAckUnderLease | Rule::UnownedWritesDrain => (Available, two),
        Rule::OrphanNeedsOthers => (Available, orphans),
        Rule::OrphanKnowsNothingNewer => (Available, Scope { crashes: 1, ..orphans }),
    }
}
