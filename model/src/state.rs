//! The state of the model: the world at one instant.
//!
//! Everything is small, because every distinct [`State`] is visited. Epochs are the numbers
//! 1, 2, … of the maps that were ever published; 0 is "none". Values of the key are their
//! places in the origin's commit history; 0 is the value that was there at first.

use std::hash::{Hash, Hasher};

use standin_protocol::map::ServerState;

/// Servers that a state has room for.
pub const SERVERS_MAX: usize = 3;
/// Maps that a state has room for: those of a scope, and those that healing takes.
pub const MAPS_MAX: usize = 14;
/// Steps for which a lease may last, those that a mutant adds included.
pub const LEASE_STEPS_MAX: usize = 3;
/// No lease: newer than every epoch.
pub const NEVER: u8 = 15;
/// Writes in all.
pub const WRITES_MAX: usize = 2;
/// Nothing kept: newer than every place.
pub const NOTHING: u8 = 3;
/// Steps after which an acknowledged write must be seen even in mode `available`, at most.
pub const STALE_STEPS_MAX: usize = 2;
/// The server that the key is usually processed by.
pub const HOME: usize = 0;

/// A server's status in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Online, offline, or in between.
    pub state: ServerState,
    /// Epoch of the last change of `state`.
    pub since: u8,
    /// The incarnation that the master knows; 0: none.
    pub boot: u8,
}

/// The states of all servers, as published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// The statuses, by server.
    pub statuses: [Status; SERVERS_MAX],
}

impl Default for Map {
    fn default() -> Self {
        Self { statuses: [Status { state: ServerState::Online, since: 1, boot: 1 }; SERVERS_MAX] }
    }
}

/// The master, and what is on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Master {
    /// It does not run.
    pub is_down: bool,
    /// The age in steps of the last lease granted, by server.
    pub lease_ages: [u8; SERVERS_MAX],
    /// The newest epoch that each server has acknowledged.
    pub acked: [u8; SERVERS_MAX],
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Server {
    /// The process runs. A *paused* one runs too: it only does nothing for a while.
    pub is_up: bool,
    /// Its incarnation.
    pub boot: u8,
    /// The newest map applied.
    pub map: u8,
    /// The map since which its log is complete.
    pub complete_since: u8,
    /// Its renewals do not reach the master.
    pub is_silent: bool,
    /// Leases, by age in steps: the oldest epoch under which one was granted then.
    pub leases: [u8; LEASE_STEPS_MAX],
    /// Mutant: a GRANT is under way that counts in full whenever it arrives.
    pub has_late_grant: bool,
    /// The oldest value that it has cached, or that a fetch under way could still install.
    pub value: u8,
    /// The values that it caches for a lease at most, from before it owned the key: for each age in
    /// steps of a fetch, the oldest value that such a fetch may have brought.
    pub brief: [u8; LEASE_STEPS_MAX],
    /// Home: the newest epoch under which it served from its cache.
    pub left: u8,
    /// Home: the newest epoch of its own return that it has applied.
    pub returned: u8,
    /// Home: by member, the return for which a complete log has come.
    pub handbacks: [u8; SERVERS_MAX],
    /// Stand-in: the key is in its log.
    pub is_logged: bool,
    /// The master was not heard for half a lease.
    pub is_lost: bool,
    /// The newest epoch that it has heard of, if its map is older.
    pub heard: u8,
    /// Mutant: it believed a member that knows of a newer map.
    pub is_misled: bool,
    /// For each member, the steps for which its word that it has lost the master is still valid.
    pub lost_too: [u8; SERVERS_MAX],
}

/// One of the clients' writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Write {
    /// Not begun.
    #[default]
    Idle,
    /// A server has begun it.
    Running(Running),
    /// Acknowledged, failed, or nobody waits for it any more.
    Over,
}

/// The authority under which a server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// As the key's owner.
    Owner,
    /// Begun as its owner, which has released the key since, with its lease valid at that moment.
    Released,
    /// Begun by a server that may write although the key has no owner (`available`).
    Unowned,
    /// None any more: another server may have owned the key since.
    Lapsed,
}

/// A write under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The server.
    pub server: usize,
    /// The ownership epoch under which it was begun; without an owner, the map's.
    pub epoch: u8,
    /// The authority under which it was begun, as far as the server still has it.
    pub authority: Authority,
    /// It was begun by a server that holds no lease because nobody hears the master.
    pub by_orphan: bool,
    /// Something made the key doubtful since it was begun: its value may not be kept.
    pub is_disturbed: bool,
    /// Its place in the origin's history; 0: not committed yet.
    pub place: u8,
}

/// The numbers of faults that may still happen. The scope bounds the number of published maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Crashes.
    pub crashes: u8,
    /// Restarts of the master.
    pub master_restarts: u8,
    /// Losses of its state file.
    pub file_losses: u8,
    /// Servers that fall silent (pauses, cuts, losses).
    pub silences: u8,
    /// Servers asked to stop.
    pub leaves: u8,
}

/// The world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Every map ever published, by epoch − 1: announcements are never lost for good.
    pub maps: [Map; MAPS_MAX],
    /// The number of published maps.
    pub published: u8,
    /// The master.
    pub master: Master,
    /// The servers, by the key's rank: home first.
    pub servers: [Server; SERVERS_MAX],
    /// Commits at the origin so far: the place of the newest value.
    pub commits: u8,
    /// The writes.
    pub writes: [Write; WRITES_MAX],
    /// For each age in steps, the newest position acknowledged at least this long ago.
    pub acknowledged: [u8; STALE_STEPS_MAX + 1],
    /// The faults that may still happen.
    pub budget: Budget,
}

impl State {
    /// The map of an epoch.
    #[must_use]
    pub fn map(&self, epoch: u8) -> Option<&Map> {
        self.maps.get(usize::from(epoch).checked_sub(1)?)
    }

    /// The master's map.
    ///
    /// # Panics
    /// If nothing was ever published, which no state is like.
    #[must_use]
    pub fn newest(&self) -> &Map {
        &self.maps[usize::from(self.published) - 1]
    }

    /// The map that a server has applied.
    #[must_use]
    pub fn map_at(&self, server: usize) -> Option<&Map> {
        self.map(self.servers[server].map)
    }

    /// The writes under way.
    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.writes.iter().filter_map(|write| match write {
            Write::Running(running) => Some(running),
            _ => None,
        })
    }

    /// Mutable access to it.
    pub fn running_mut(&mut self) -> impl Iterator<Item = &mut Running> {
        self.writes.iter_mut().filter_map(|write| match write {
            Write::Running(running) => Some(running),
            _ => None,
        })
    }
}

/// Collects small numbers into words, so that hashing a state is quick.
struct Packer<'a, H> {
    hasher: &'a mut H,
    word: u64,
    bits: u32,
}

impl<H: Hasher> Packer<'_, H> {
    fn put(&mut self, number: u8, bits: u32) {
        debug_assert!(u32::from(number) < 1 << bits, "{number} does not fit into {bits} bits");
        if self.bits + bits > 64 {
            self.flush();
        }
        self.word = self.word << bits | u64::from(number);
        self.bits += bits;
    }

    fn flush(&mut self) {
        self.hasher.write_u64(self.word);
        (self.word, self.bits) = (0, 0);
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut packer = Packer { hasher, word: 0, bits: 0 };
        packer.put(self.published, 4);
        for map in &self.maps[..usize::from(self.published)] {
            for status in &map.statuses {
                packer.put(status.state as u8, 3);
                packer.put(status.since, 4);
                packer.put(status.boot, 3);
            }
        }
        for server in 0..SERVERS_MAX {
            packer.put(self.master.lease_ages[server], 2);
            packer.put(self.master.acked[server], 4);
            self.servers[server].pack(&mut packer);
        }
        packer.put(u8::from(self.master.is_down), 1);
        packer.put(self.commits, 2);
        for write in &self.writes {
            write.pack(&mut packer);
        }
        for place in self.acknowledged {
            packer.put(place, 2);
        }
        let Budget { crashes, master_restarts, file_losses, silences, leaves } = self.budget;
        for left in [crashes, master_restarts, file_losses, silences, leaves] {
            packer.put(left, 3);
        }
        packer.flush();
    }
}

impl Server {
    fn pack<H: Hasher>(&self, packer: &mut Packer<'_, H>) {
        packer.put(u8::from(self.is_up), 1);
        packer.put(self.boot, 3);
        for epoch in [self.map, self.complete_since] {
            packer.put(epoch, 4);
        }
        for epoch in self.leases {
            packer.put(epoch, 4);
        }
        packer.put(u8::from(self.is_silent), 1);
        packer.put(u8::from(self.has_late_grant), 1);
        packer.put(self.value, 2);
        for value in self.brief {
            packer.put(value, 2);
        }
        packer.put(self.left, 4);
        packer.put(self.returned, 4);
        for epoch in self.handbacks {
            packer.put(epoch, 4);
        }
        packer.put(u8::from(self.is_logged), 1);
        packer.put(u8::from(self.is_lost), 1);
        packer.put(u8::from(self.is_misled), 1);
        packer.put(self.heard, 4);
        for steps in self.lost_too {
            packer.put(steps, 2);
        }
    }
}

impl Write {
    fn pack<H: Hasher>(&self, packer: &mut Packer<'_, H>) {
        match self {
            Self::Idle => packer.put(0, 2),
            Self::Over => packer.put(1, 2),
            Self::Running(running) => {
                packer.put(2, 2);
                packer.put(u8::try_from(running.server).unwrap_or(u8::MAX), 2);
                packer.put(running.epoch, 4);
                packer.put(running.place, 2);
                packer.put(running.authority as u8, 2);
                for flag in [running.by_orphan, running.is_disturbed] {
                    packer.put(u8::from(flag), 1);
                }
            }
        }
    }
}
