//! The state of the model: the world at one instant.
//!
//! Everything is small, because every distinct [`State`] is visited. Epochs are the numbers 1, 2, …
//! of the maps that were ever published, and 0 means "none". Values of the key are their positions
//! in the origin's commit history, and 0 is the initial value.

use std::hash::{Hash, Hasher};

use standin_protocol::map::ServerState;

/// The number of servers for which a state has room.
pub const SERVERS_MAX: usize = 3;
/// The number of maps for which a state has room: those of a scope, and those that healing needs.
pub const MAPS_MAX: usize = 14;
/// The number of steps for which a lease may last, including those that a mutant adds.
pub const LEASE_STEPS_MAX: usize = 3;
/// The epoch that means "no lease". It is newer than every epoch.
pub const NEVER: u8 = 15;
/// The number of writes.
pub const WRITES_MAX: usize = 2;
/// The position that means "nothing kept". It is newer than every position.
pub const NOTHING: u8 = 3;
/// The largest number of steps after which an acknowledged write must be seen even in mode
/// `available`.
pub const STALE_STEPS_MAX: usize = 2;
/// The server that usually processes the key.
pub const HOME: usize = 0;

/// A server's status in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whether the server is online, offline, or in between.
    pub state: ServerState,
    /// The epoch of the last change of `state`.
    pub since: u8,
    /// The incarnation that the master knows; 0 if it knows none.
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

/// The master, and the content of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Master {
    /// Whether the process is down.
    pub is_down: bool,
    /// The age in steps of the last lease granted, by server.
    pub lease_ages: [u8; SERVERS_MAX],
    /// The newest epoch that each server has acknowledged.
    pub acked: [u8; SERVERS_MAX],
}

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Server {
    /// Whether the process runs. A *paused* process runs too, but does nothing for a while.
    pub is_up: bool,
    /// The incarnation of the server.
    pub boot: u8,
    /// The newest map that the server has applied.
    pub map: u8,
    /// The map since which the server's log is complete.
    pub complete_since: u8,
    /// Whether its renewals do not reach the master.
    pub is_silent: bool,
    /// Leases by age in steps: the oldest epoch under which a lease was granted at that age.
    pub leases: [u8; LEASE_STEPS_MAX],
    /// In a mutant, whether a GRANT is under way that counts in full whenever it arrives.
    pub has_late_grant: bool,
    /// The oldest value that it has cached, or that a fetch under way could still cache.
    pub value: u8,
    /// The values from before it owned the key, which it caches for a lease at most. For each age
    /// in steps of a fetch, it is the oldest value that such a fetch may have returned.
    pub brief: [u8; LEASE_STEPS_MAX],
    /// At the home, the newest epoch under which it served from its cache.
    pub left: u8,
    /// At the home, the newest epoch of its own return that it has applied.
    pub returned: u8,
    /// At the home, the return for which a complete log has arrived, by member.
    pub handbacks: [u8; SERVERS_MAX],
    /// At a stand-in, whether the key is in its log.
    pub is_logged: bool,
    /// Whether the master was not heard for half a lease.
    pub is_lost: bool,
    /// The newest epoch that it has heard of, if its map is older.
    pub heard: u8,
    /// In a mutant, whether it believed a member that knows of a newer map.
    pub is_misled: bool,
    /// For each member, the number of steps for which its word that it has lost the master is still
    /// valid.
    pub lost_too: [u8; SERVERS_MAX],
}

/// One of the clients' writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Write {
    /// The write has not begun.
    #[default]
    Idle,
    /// A server has begun it.
    Running(Running),
    /// The write was acknowledged or has failed, or nobody waits for it any more.
    Over,
}

/// The authority under which a server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The server owns the key.
    Owner,
    /// The server owned the key when the write began. It has released the key since, while its
    /// lease was valid.
    Released,
    /// The server may write although the key has no owner (`available`).
    Unowned,
    /// The server has no authority any more, because another server may have owned the key since.
    Lapsed,
}

/// A write under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The server that runs the write.
    pub server: usize,
    /// The ownership epoch under which the write began. Without an owner, it is the epoch of the
    /// map.
    pub epoch: u8,
    /// The authority under which the write began, as far as the server still has it.
    pub authority: Authority,
    /// Whether the server that began the write holds no lease because nobody hears the master.
    pub by_orphan: bool,
    /// Whether something has made the key doubtful since the write began, so that its value may not
    /// be kept.
    pub is_disturbed: bool,
    /// The position of the write in the origin's history; 0 if it is not committed yet.
    pub place: u8,
}

/// The numbers of faults that may still happen. The scope bounds the number of published maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// The number of crashes.
    pub crashes: u8,
    /// The number of restarts of the master.
    pub master_restarts: u8,
    /// The number of losses of the master's state file.
    pub file_losses: u8,
    /// The number of times that a server falls silent (pauses, cuts, losses).
    pub silences: u8,
    /// The number of servers asked to stop.
    pub leaves: u8,
}

/// The state of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Every map ever published, at its epoch − 1. Announcements are never lost for good.
    pub maps: [Map; MAPS_MAX],
    /// The number of published maps.
    pub published: u8,
    /// The master.
    pub master: Master,
    /// The servers, by the key's rank, with the home first.
    pub servers: [Server; SERVERS_MAX],
    /// The number of commits at the origin so far, which is the position of the newest value.
    pub commits: u8,
    /// The writes.
    pub writes: [Write; WRITES_MAX],
    /// For each age in steps, the newest position that was acknowledged at least this long ago.
    pub acknowledged: [u8; STALE_STEPS_MAX + 1],
    /// The faults that may still happen.
    pub budget: Budget,
}

impl State {
    /// Returns the map of an epoch.
    #[must_use]
    pub fn map(&self, epoch: u8) -> Option<&Map> {
        self.maps.get(usize::from(epoch).checked_sub(1)?)
    }

    /// Returns the master's map.
    ///
    /// # Panics
    /// If no map was ever published, which is not the case in any state.
    #[must_use]
    pub fn newest(&self) -> &Map {
        &self.maps[usize::from(self.published) - 1]
    }

    /// Returns the map that a server has applied.
    #[must_use]
    pub fn map_at(&self, server: usize) -> Option<&Map> {
        self.map(self.servers[server].map)
    }

    /// Returns the writes under way.
    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.writes.iter().filter_map(|write| match write {
            Write::Running(running) => Some(running),
            _ => None,
        })
    }

    /// Returns the writes under way, mutably.
    pub fn running_mut(&mut self) -> impl Iterator<Item = &mut Running> {
        self.writes.iter_mut().filter_map(|write| match write {
            Write::Running(running) => Some(running),
            _ => None,
        })
    }
}

/// Collects small numbers into words, so that a state can be hashed quickly.
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
