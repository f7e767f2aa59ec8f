//! Keys written here that other servers have to drop, and the messages that others have sent to
//! this server for its own return.
//!
//! ```text
//! log.rs       the keys, by server and partition, and which of them have been told
//! sender.rs    handovers: telling a home that returns (SETTLE …, HANDBACK)
//! owed.rs      telling an owner that is online (SETTLE)
//! receiver.rs  what a returning home was told, and what it may therefore keep
//! ```
//!
//! This part is told which keys are written, which maps arrive, how its messages were answered, and
//! which HANDBACKs others sent. It returns the messages to send ([`Message`], [`Due`]), and which
//! partitions may be kept.

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
    /// The progress of telling owed keys, by server id.
    owed: Vec<Owed>,
    /// The times at which servers have to be told their owed keys.
    owed_at: Timers,
    receiver: Receiver,
}

/// A key that is written, for [`Handback::log`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) partition: u32,
    pub(super) name: &'a [u8],
    /// Whether the key stands for its whole keyspace in the partition.
    pub(super) is_flush: bool,
    /// The time until which the write may take effect at the origin.
    pub(super) open_until: Micros,
}

/// A server that has to be told its keys now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) server: u16,
    /// The number of failures in a row.
    pub(super) attempts: usize,
    pub(super) batches: Vec<Batch>,
}

/// The sizes of everything that grows here.
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

    /// Notes that a map is about to be applied.
    pub(super) fn map_arrived(&mut self, map: &ClusterMap) {
        if map.statuses()[usize::from(self.server)].boot_id == self.boot_id {
            self.sender.known_by(map.epoch);
        }
        self.receiver.map_arrived(map, self.server);
    }

    /// Notes that a map has been applied. Plans the handovers for members that return under it, and
    /// the telling of owed keys to the owners under it. Keys owed to a stand-in that no longer owns
    /// their partition are dropped, because the stand-in has dropped its values.
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

    /// Changes the owed keys of a server, and its deadline with them.
    fn change_owed<T>(&mut self, server: u16, change: impl FnOnce(&mut Owed) -> T) -> T {
        let owed = &mut self.owed[usize::from(server)];
        let before = owed.next_deadline();
        let result = change(owed);
        self.owed_at.change(before, owed.next_deadline());
        result
    }

    /// Logs a key that `server` has to be told of, and returns its stamp. Returns `None` if there
    /// is no room. With `may_overflow`, the whole partition is given up in that case.
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

    /// Notes that there is a new key to tell this server, which is online.
    pub(super) fn owe(&mut self, now: Micros, server: u16) {
        self.change_owed(server, |owed| owed.add(now));
    }

    /// Returns the owners that have to be told their keys now.
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

    /// Notes that the server has dropped these keys.
    pub(super) fn settled(&mut self, now: Micros, server: u16, keys: &[ToldKey]) {
        for told in keys {
            self.log.settled(server, told, now);
        }
    }

    /// Notes that a SETTLE to an owner has ended. The caller has to call [`Self::due`] afterwards.
    pub(super) fn owed_told(&mut self, now: Micros, server: u16, is_ok: bool, is_online: bool) {
        let has_keys = is_online && self.log.is_owed(server);
        self.change_owed(server, |owed| {
            if let Some(at) = owed.told(now, is_ok) {
                owed.plan(has_keys.then_some(at));
            }
        });
    }

    /// Returns the messages of the handovers that waited until nothing that began under older
    /// ownerships was left.
    pub(super) fn begin_handovers(&mut self, now: Micros) -> Vec<Message> {
        self.sender.begin(now, &self.topology, &self.log)
    }

    /// Whether nothing is left to hand over.
    pub(super) fn is_handed_over(&self) -> bool {
        self.sender.is_done()
    }

    /// Notes that a SETTLE of a handover has ended.
    pub(super) fn handover_told(
        &mut self,
        now: Micros,
        server: u16,
        epoch: MapEpoch,
        is_ok: bool,
    ) -> Progress {
        self.sender.told(now, server, epoch, is_ok, &self.topology, &self.log)
    }

    /// Notes that a HANDBACK has ended.
    pub(super) fn handover_closed(
        &mut self,
        now: Micros,
        server: u16,
        epoch: MapEpoch,
        is_ok: bool,
    ) -> Progress {
        self.sender.closed(now, server, epoch, is_ok, &mut self.log)
    }

    /// Ends the handovers that were given up and whose forgotten writes can't take effect any more.
    /// Returns whether there was one.
    pub(super) fn expire_given_up(&mut self, now: Micros) -> bool {
        self.sender.expire_given_up(now)
    }

    /// Returns the time at which [`Self::due`] or [`Self::expire_given_up`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.owed.iter().filter_map(Owed::next_deadline).min();
        debug_assert_eq!(self.owed_at.first(), scan());
        self.owed_at.first().into_iter().chain(self.sender.next_deadline()).min()
    }

    /// Notes that a member's shard has told of all keys that it wrote, except those of the
    /// `overflowed` partitions. Writes of those partitions may take effect until the given time.
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

    /// Returns the epoch of this server's last return.
    pub(super) fn returning(&self) -> MapEpoch {
        self.receiver.returning()
    }

    /// Whether all keys that the others wrote are known, except those of partitions that
    /// overflowed. `is_doubted` says that a member may have written a key after it said that it had
    /// told of all.
    pub(super) fn is_told_all(&self, map: &ClusterMap, is_doubted: bool) -> bool {
        self.receiver.is_told_all(map, self.server, is_doubted)
    }

    /// Whether a partition whose home is this server may keep its values from before.
    pub(super) fn may_keep(&self, is_told_all: bool, partition: u32) -> bool {
        self.receiver.may_keep(is_told_all, partition)
    }

    /// Notes that this server owns partitions whose home it is, under this map. `is_new` says that it
    /// did not own them before.
    pub(super) fn owns_home(&mut self, map: Arc<ClusterMap>, is_new: bool) {
        self.receiver.owns(map, is_new);
    }

    /// Whether a write that nobody remembers may still take effect in this partition. No value may
    /// be kept there then.
    pub(super) fn is_closed(&self, partition: u32, now: Micros) -> bool {
        self.receiver.is_closed(partition, now)
    }

    /// Returns the sizes of everything that grows here.
    pub(super) fn sizes(&self) -> Sizes {
        let (partition_keys, bytes) = self.log.sizes();
        let (words, overflowed) = self.receiver.sizes();
        Sizes { partition_keys, bytes, handovers: self.sender.len(), words, overflowed }
    }
}

#[cfg(test)]
mod tests;
