//! Keys written here that other servers have to drop, and what others have told this server for its
//! own return.
//!
//! ```text
//! log.rs       the keys, by server and partition, and which of them have been told
//! sender.rs    handovers: telling a home that returns (SETTLE …, HANDBACK)
//! owed.rs      telling an owner that is online (SETTLE)
//! receiver.rs  what a home that returns was told, and so may keep
//! ```
//!
//! Told: the keys that are written, the maps, the answers to its messages, the HANDBACKs of others.
//! Returns: the messages to be sent ([`Message`], [`Due`]), and what may be kept.

mod log;
mod owed;
mod receiver;
mod sender;

use std::sync::Arc;

use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_protocol::time::Micros;

use log::Log;
pub(super) use log::{Batch, Told as ToldKey};
use owed::Owed;
use receiver::Receiver;
pub(super) use receiver::Told;
use sender::Sender;
pub(super) use sender::{End, Message, Progress};

use super::NodeConfig;
use crate::timers::Timers;

/// One shard's part in handing keys over, and this server's own return.
#[derive(Debug)]
pub(super) struct Handback {
    server: u16,
    boot_id: u64,
    topology: Arc<Topology>,
    log: Log,
    sender: Sender,
    /// The owed keys, by server id.
    owed: Vec<Owed>,
    /// The times to tell them.
    owed_at: Timers,
    receiver: Receiver,
}

/// A key that is written, for [`Handback::log`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) partition: u32,
    pub(super) name: &'a [u8],
    /// The key stands for all of its keyspace in the partition.
    pub(super) is_flush: bool,
    /// The time until which the write may land.
    pub(super) open_until: Micros,
}

/// A server whose time has come to be told its keys.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) server: u16,
    /// The number of failures in a row.
    pub(super) attempts: usize,
    pub(super) batches: Vec<Batch>,
}

/// The sizes of all that grows here.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) partition_keys: usize,
    pub(super) bytes: usize,
    pub(super) handovers: usize,
    pub(super) words: usize,
    pub(super) overflowed: usize,
}

impl Handback {
    pub(super) fn new(
        config: &NodeConfig,
        topology: Arc<Topology>,
        hashing: ahash::RandomState,
    ) -> Self {
        let servers = topology.servers.len();
        let batch_bytes_max = config.value_bytes_max / 2;
        let log = Log::new(config.log_keys_max, config.log_bytes_max, batch_bytes_max, hashing);
        Self {
            server: config.server,
            boot_id: config.boot_id,
            topology,
            log,
            sender: Sender::new(servers),
            owed: vec![Owed::default(); servers],
            owed_at: Timers::default(),
            receiver: Receiver::default(),
        }
    }

    /// A map is about to be applied.
    pub(super) fn map_arrived(&mut self, map: &ClusterMap) {
        if map.statuses()[usize::from(self.server)].boot_id == self.boot_id {
            self.sender.known_by(map.epoch);
        }
        self.receiver.map_arrived(map, self.server);
    }

    /// A map is in place: plans the handovers for members that return by it, and telling the keys
    /// that are owed to those who own their partitions by it. Keys owed to a stand-in that owns
    /// them no more are void: it has dropped them.
    pub(super) fn map_applied(&mut self, now: Micros, map: &ClusterMap) {
        let topology = &self.topology;
        self.sender.plan(now, map, topology.group_peers(self.server), &mut self.log);
        for (server, owed) in (0u16..).zip(&mut self.owed) {
            self.log.forget(server, |partition| {
                topology.home(partition) != server && map.ownership(partition).owner != server
            });
            let is_online = map.state(server) == ServerState::Online;
            let before = owed.next_deadline();
            owed.plan((is_online && self.log.is_owed(server)).then_some(now));
            self.owed_at.change(before, owed.next_deadline());
        }
    }

    /// Changes what is to be told to an owner, and its deadline with it.
    fn change_owed<T>(&mut self, server: u16, change: impl FnOnce(&mut Owed) -> T) -> T {
        let owed = &mut self.owed[usize::from(server)];
        let before = owed.next_deadline();
        let result = change(owed);
        self.owed_at.change(before, owed.next_deadline());
        result
    }

    /// Logs a key that `server` has to be told of; its stamp. `None`: there is no room; with
    /// `may_overflow` the whole partition is given up then.
    pub(super) fn log(
        &mut self,
        server: u16,
        written: Written<'_>,
        may_overflow: bool,
    ) -> Option<u64> {
        let Written { partition, name, is_flush, open_until } = written;
        let stamp = self.log.insert(server, partition, name, open_until, may_overflow);
        if is_flush {
            self.log.mark_flush(server, partition, name);
        }
        stamp
    }

    /// There is something new to tell this server, which is online.
    pub(super) fn owe(&mut self, now: Micros, server: u16) {
        self.change_owed(server, |owed| owed.add(now));
    }

    /// The owners that have to be told their keys now.
    pub(super) fn due(&mut self, now: Micros) -> Vec<Due> {
        let mut due = Vec::new();
        if !self.owed_at.is_due(now) {
            return due;
        }
        for (server, owed) in (0u16..).zip(&mut self.owed) {
            let before = owed.next_deadline();
            if before.is_none_or(|at| at > now) {
                continue;
            }
            let topology = &self.topology;
            let shard_of = |partition| topology.shard(server, partition);
            let batches = self.log.batches(server, now, shard_of);
            let attempts = owed.begin(batches.len());
            self.owed_at.change(before, owed.next_deadline());
            due.push(Due { server, attempts, batches });
        }
        due
    }

    /// The server has dropped these keys.
    pub(super) fn settled(&mut self, now: Micros, server: u16, keys: &[ToldKey]) {
        for told in keys {
            self.log.settled(server, told, now);
        }
    }

    /// A SETTLE to an owner has ended. [`Self::due`] is to be asked afterwards.
    pub(super) fn owed_told(&mut self, now: Micros, server: u16, is_ok: bool, is_online: bool) {
        let has_keys = is_online && self.log.is_owed(server);
        self.change_owed(server, |owed| {
            if let Some(at) = owed.told(now, is_ok) {
                owed.plan(has_keys.then_some(at));
            }
        });
    }

    /// Nothing that was begun under older ownerships is left: the messages of the handovers that
    /// have waited for that.
    pub(super) fn begin_handovers(&mut self, now: Micros) -> Vec<Message> {
        self.sender.begin(now, &self.topology, &self.log)
    }

    /// Whether nothing is left to hand over.
    pub(super) fn is_handed_over(&self) -> bool {
        self.sender.is_done()
    }

    /// A SETTLE of a handover has ended.
    pub(super) fn handover_told(
        &mut self,
        now: Micros,
        server: u16,
        epoch: MapEpoch,
        is_ok: bool,
    ) -> Progress {
        self.sender.told(now, server, epoch, is_ok, &self.topology, &self.log)
    }

    /// A HANDBACK has ended.
    pub(super) fn handover_closed(
        &mut self,
        now: Micros,
        server: u16,
        epoch: MapEpoch,
        is_ok: bool,
    ) -> Progress {
        self.sender.closed(now, server, epoch, is_ok, &mut self.log)
    }

    /// Drops handovers that were given up; returns whether there was one.
    pub(super) fn let_go(&mut self, now: Micros) -> bool {
        self.sender.let_go(now)
    }

    /// The time at which [`Self::due`] or [`Self::let_go`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.owed.iter().filter_map(Owed::next_deadline).min();
        debug_assert_eq!(self.owed_at.first(), scan());
        self.owed_at.first().into_iter().chain(self.sender.next_deadline()).min()
    }

    /// A member's shard has told of all keys that it wrote, but for those of the `overflowed`
    /// partitions; writes of these may land until then.
    pub(super) fn heard(
        &mut self,
        server: u16,
        shard: u16,
        told: Told,
        overflowed: Vec<u32>,
        until: Micros,
    ) {
        let partitions = self.topology.partitions;
        let overflowed = overflowed.into_iter().filter(|partition| *partition < partitions);
        self.receiver.heard(server, shard, told, overflowed, until);
    }

    /// The epoch of this server's last return.
    pub(super) fn returning(&self) -> MapEpoch {
        self.receiver.returning()
    }

    /// Whether all that the others wrote is known, but for partitions that overflowed.
    /// `is_doubted`: a member may have written since it said that it has told all.
    pub(super) fn is_told_all(&self, map: &ClusterMap, is_doubted: bool) -> bool {
        self.receiver.is_told_all(map, self.server, is_doubted)
    }

    /// Whether a partition whose home is this server may keep its values from before.
    pub(super) fn may_keep(&self, is_told_all: bool, partition: u32) -> bool {
        self.receiver.may_keep(is_told_all, partition)
    }

    /// Notes that this server owns partitions whose home it is, under the map of this epoch;
    /// `anew`: it did not before.
    pub(super) fn owns_home(&mut self, epoch: MapEpoch, anew: bool) {
        self.receiver.owns(epoch, anew);
    }

    /// Whether a write that nobody remembers may still land in this partition: nothing may be kept.
    pub(super) fn is_closed(&self, partition: u32, now: Micros) -> bool {
        self.receiver.is_closed(partition, now)
    }

    /// The sizes of all that grows here.
    pub(super) fn sizes(&self) -> Sizes {
        let (partition_keys, bytes) = self.log.sizes();
        let (words, overflowed) = self.receiver.sizes();
        Sizes { partition_keys, bytes, handovers: self.sender.len(), words, overflowed }
    }
}

#[cfg(test)]
mod tests;
