//! A plan: everything that determines a run, namely the cluster, and a list of the clients' operations
//! and the faults with their times. The same plan gives the same run.
//!
//! A failing run is shrunk by removing entries, so each entry is independent: a fault that lasts is one
//! entry with its length.
//!
//! ```text
//! generate.rs   from a seed          script.rs   by hand: the scenarios
//! words.rs      for people           rare.rs     from a seed, now and then
//! swarm.rs      the focus of a plan from a seed
//! story.rs      the circumstances of most rare failures
//! ```

mod generate;
mod rare;
mod script;
mod story;
mod swarm;
pub(crate) mod words;

use standin_protocol::mutant::Mutant;

use crate::clock::{MS, S, Time};
pub(crate) use generate::generate;
pub(crate) use script::{Script, script};
pub(crate) use words::letter;

/// The largest numbers of servers, clients and masters in a world.
pub(crate) const SERVERS_MAX: usize = 6;
pub(crate) const CLIENTS_MAX: usize = 4;
pub(crate) const MASTERS_MAX: usize = 2;
/// The number of hosts: those of all parties together.
pub(crate) const HOSTS: usize = SERVERS_MAX + CLIENTS_MAX + MASTERS_MAX;

/// A party: a process on a machine of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Server(usize),
    Client(usize),
    /// 0 is the master, 1 another process that believes it is the master (scenario 11).
    Master(usize),
}

impl Host {
    /// Returns a number below [`HOSTS`] that identifies the host.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Server(id) => id,
            Self::Client(id) => SERVERS_MAX + id,
            Self::Master(id) => SERVERS_MAX + CLIENTS_MAX + id,
        }
    }
}

/// The cluster's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Available,
    Strict,
}

/// A rule that may be switched off, to see that something fails without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A rule of the shipped code.
    Code(Mutant),
    /// The clock that runs while a host sleeps (scenario 16).
    BootClock,
}

/// The cluster.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    /// The number of servers of each group.
    pub(crate) groups: Vec<usize>,
    pub(crate) shards: u16,
    pub(crate) clients: usize,
    /// The number of keys. The home of key k is server k modulo the number of servers.
    pub(crate) keys: usize,
    /// The number of origin calls that one server has under way at once.
    pub(crate) origin_concurrency: usize,
    /// The `reads_per_second` of the whole cluster.
    pub(crate) reads_per_second: Option<u32>,
    /// Requests that may wait in a shard.
    pub(crate) in_flight_max: u32,
    /// The size of each value; with large ones the cache is too small for all keys.
    pub(crate) value_bytes: usize,
    /// Whether some puts change no row of the origin.
    pub(crate) some_puts_change_nothing: bool,
    /// Whether there are two keyspaces over the same rows, each used by half of the clients.
    pub(crate) shares_rows: bool,
    /// Whether the keyspace has no database.
    pub(crate) without_database: bool,
    /// Whether key k and key k + servers are in one partition, so that transactions can have both.
    pub(crate) has_pairs: bool,
    /// A partition is a range of Redis' slots.
    pub(crate) hashes_slots: bool,
    /// Whether a shard has room for the row of only one fetch, so that the others wait.
    pub(crate) is_without_room: bool,
    /// Keys that a partition's handback log may hold.
    pub(crate) log_keys_max: usize,
    /// The length of leases, from which other timings follow.
    pub(crate) lease: Time,
    /// Lifetime of cached values.
    pub(crate) ttl_s: u64,
    /// Whether every client reads every key when everything is at rest.
    pub(crate) reads_at_the_end: bool,
    /// The rule that is switched off.
    pub(crate) missing: Option<Rule>,
    /// The time until which faults may happen. Afterwards everything must come to rest.
    pub(crate) quiet_at: Time,
}

impl Setup {
    pub(crate) fn servers(&self) -> usize {
        self.groups.iter().sum()
    }
}

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Get,
    Put,
    Delete,
    /// A CAS with the version that this client has last seen.
    Cas,
    /// A read-modify-write that replaces the value and returns the one before.
    Swap,
    /// A transaction of the key and the other one of its pair. A client that has not seen both reads them;
    /// otherwise it writes these if neither has changed since.
    Transact(Written),
    Touch,
    Invalidate,
    /// A flush of the key's partition.
    Flush,
    /// A change of the row directly in the database. It becomes visible only by an `Invalidate` or `Flush`
    /// after it.
    Behind,
}

/// The keys of a pair that a transaction writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    First,
    Second,
    Both,
}

/// An operation of a client program that knows of one server only: it asks that one, without a
/// deadline, and sends its request once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) key: usize,
    pub(crate) act: Act,
    /// The time after the request at which it closes its connection.
    pub(crate) leaves: Option<Time>,
    /// Whether its writes have an identity. Those of memcached's and Redis' clients have none.
    pub(crate) has_id: bool,
}

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Act {
        client: usize,
        key: usize,
        act: Act,
    },
    /// An operation of another client program.
    Ask(Ask),
    /// Everything from one host to the other is lost.
    Cut {
        from: Host,
        to: Host,
        lasts: Time,
    },
    /// Everything to and from a host is lost.
    Isolate {
        host: Host,
        lasts: Time,
    },
    /// TCP connections between the two are reset.
    Break {
        a: Host,
        b: Host,
    },
    /// TCP from one to the other is delayed; datagrams are not.
    Stall {
        from: Host,
        to: Host,
        lasts: Time,
    },
    /// Datagrams from one to the other are lost; TCP is not affected.
    Mute {
        from: Host,
        to: Host,
        lasts: Time,
    },
    /// The given percentages of all messages are lost (TCP: delayed) and repeated, and all are delayed
    /// by up to a given time.
    Noise {
        loss: u8,
        twice: u8,
        late_max: Time,
        lasts: Time,
    },
    /// SIGSTOP, then SIGCONT; or a machine that sleeps.
    Pause {
        host: Host,
        lasts: Time,
    },
    /// A pause in the middle of the next turn of the server's threads: they have made decisions, and act on
    /// them when they resume.
    PauseInside {
        server: usize,
        lasts: Time,
    },
    /// One thread of a server is stuck.
    StallShard {
        server: usize,
        shard: u16,
        lasts: Time,
    },
    /// kill -9 and a new start. `silent`: the machine fails, so that connections are not closed.
    Crash {
        server: usize,
        down: Time,
        silent: bool,
    },
    /// SIGTERM and a new start.
    Leave {
        server: usize,
        down: Time,
    },
    /// The master's kill -9 and new start, with its state file or without.
    CrashMaster {
        down: Time,
        forgets: bool,
    },
    /// The master can't write its state file.
    DiskFull {
        lasts: Time,
    },
    /// A host's clock runs at another rate from now on.
    ClockRate {
        host: Host,
        rate_ppm: u64,
    },
    /// A host's wall clock is set.
    WallStep {
        host: Host,
        by_us: i64,
    },
    /// Calls to the origin of one server, or of all, take this much longer.
    OriginSlow {
        server: Option<usize>,
        by: Time,
        lasts: Time,
    },
    /// No server reaches the origin.
    OriginDown {
        lasts: Time,
    },
    /// One server does not reach the origin: it is refused, or gets no answer.
    OriginPath {
        server: usize,
        hangs: bool,
        lasts: Time,
    },
    /// A percentage of the writes is reported as unknown, and commits later, or not at all.
    OriginLate {
        percent: u8,
        by_max: Time,
        lasts: Time,
    },
    /// A host uses another process as its master (scenario 11).
    OtherMaster {
        host: Host,
        lasts: Time,
    },
    /// Recorded datagrams are sent again (scenario 12).
    Replay {
        from: Host,
        lasts: Time,
    },
    /// A datagram is forged in the name of another party (scenario 12).
    Forge {
        server: usize,
        forged: Forged,
    },
}

/// A datagram that a party outside the cluster file can forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forged {
    /// To the server, from an unknown address: an announcement of the master with the last possible
    /// epoch, in which all servers are offline.
    Announcement,
    /// To the server, from the master's address: the same announcement.
    LastEpoch,
    /// To the server, from an unknown address: a long lease from the master.
    Grant,
    /// To the server, from an unknown address: word of another server that it has lost the master.
    Gossip,
    /// To the master, from an unknown address: word that the server is leaving.
    Leaving,
}

impl Forged {
    pub(crate) const ALL: [Self; 5] =
        [Self::Announcement, Self::LastEpoch, Self::Grant, Self::Gossip, Self::Leaving];
}

/// An entry of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Time,
    pub(crate) what: What,
}

/// See the file's head.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The seed of latencies, identities and other details.
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) entries: Vec<Entry>,
}

impl Plan {
    /// Keeps only the first entries. Faults that these begin still end in time.
    pub(crate) fn cut_after(&mut self, steps: usize) {
        self.entries.truncate(steps);
        let ends = |entry: &Entry| entry.at + entry.what.lasts().unwrap_or(0);
        let last = self.entries.iter().map(ends).max().unwrap_or(BEGINS);
        self.setup.quiet_at = self.setup.quiet_at.min(last.max(BEGINS) + S);
    }
}

impl What {
    /// Returns the length of a fault that lasts.
    pub(crate) fn lasts(self) -> Option<Time> {
        match self {
            Self::Cut { lasts, .. }
            | Self::Isolate { lasts, .. }
            | Self::Stall { lasts, .. }
            | Self::Mute { lasts, .. }
            | Self::Noise { lasts, .. }
            | Self::Pause { lasts, .. }
            | Self::PauseInside { lasts, .. }
            | Self::StallShard { lasts, .. }
            | Self::DiskFull { lasts }
            | Self::OriginSlow { lasts, .. }
            | Self::OriginDown { lasts }
            | Self::OriginPath { lasts, .. }
            | Self::OriginLate { lasts, .. }
            | Self::OtherMaster { lasts, .. }
            | Self::Replay { lasts, .. } => Some(lasts),
            Self::Crash { down, .. }
            | Self::Leave { down, .. }
            | Self::CrashMaster { down, .. } => Some(down),
            Self::Act { .. }
            | Self::Ask(_)
            | Self::Break { .. }
            | Self::Forge { .. }
            | Self::ClockRate { .. }
            | Self::WallStep { .. } => None,
        }
    }
}

/// The default length of a run's disturbed phase.
pub(crate) const DISTURBED: Time = 9 * S;
/// The time before which no fault happens, so that the cluster can start.
pub(crate) const BEGINS: Time = 400 * MS;
