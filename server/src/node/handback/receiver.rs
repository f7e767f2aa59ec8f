//! The receiver of handovers, which decides which part of its cache a home may keep when it owns
//! its partitions again (scenarios 1 and 3).
//!
//! It keeps a partition if it knows of every key that was written elsewhere meanwhile. For this,
//! each other member of its group must have been offline all the time, or must have told it of its
//! keys (SETTLE) and that these were all (HANDBACK, one from each shard, for this return, from an
//! incarnation that was there before this server was gone, and without overflow). Otherwise it
//! drops the partition.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

/// A shard's word that it has told all that it wrote.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Told {
    /// The epoch of the return for which it is given.
    pub(in crate::node) epoch: u64,
    /// The shard remembers all that it has written since this map.
    pub(in crate::node) complete_since: u64,
}

/// The state of this server's absence and return.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// The newest map that was applied while this server owned its partitions.
    left: MapEpoch,
    /// The epoch of this server's last return.
    returning: MapEpoch,
    /// The last word of each shard of each other member, by server and shard.
    told: HashMap<(u16, u16), Told, ahash::RandomState>,
    /// Partitions of which some member could not remember all, since they were last owned.
    overflowed: BTreeSet<u32>,
    /// By partition, the time until which a forgotten write may still take effect. Nothing is
    /// cached there until then.
    closed: BTreeMap<u32, Micros>,
}

impl Receiver {
    /// A map is about to be applied.
    pub(super) fn map_arrived(&mut self, map: &ClusterMap, server: u16) {
        let own = map.statuses()[usize::from(server)];
        if own.state == ServerState::Returning {
            self.returning = own.since;
        }
    }

    /// The epoch of this server's last return.
    pub(super) fn returning(&self) -> MapEpoch {
        self.returning
    }

    /// Notes that this server owns its partitions under the map of this epoch; `anew`: it did not
    /// before.
    pub(super) fn owns(&mut self, epoch: MapEpoch, anew: bool) {
        self.left = epoch;
        if anew {
            self.overflowed.clear();
        }
    }

    /// A member's shard has told of all keys that it wrote, but for those of some partitions, in
    /// which such writes may land until then.
    pub(super) fn heard(
        &mut self,
        server: u16,
        shard: u16,
        told: Told,
        overflowed: impl Iterator<Item = u32>,
        until: Micros,
    ) {
        for partition in overflowed {
            self.overflowed.insert(partition);
            self.closed.insert(partition, until);
        }
        self.told.insert((server, shard), told);
    }

    /// Whether every shard of a member has said that it has told all, for this return.
    fn has_handed_back(&self, map: &ClusterMap, member: u16) -> bool {
        (0..map.topology.servers[usize::from(member)].shards).all(|shard| {
            self.told.get(&(member, shard)).is_some_and(|told| {
                told.epoch == self.returning.to_u64() && told.complete_since <= self.left.to_u64()
            })
        })
    }

    /// Whether all that the others wrote is known, but for partitions that overflowed.
    /// `is_doubted`: a member may have written since it said that it has told all.
    pub(super) fn is_told_all(&self, map: &ClusterMap, server: u16, is_doubted: bool) -> bool {
        map.topology.group_peers(server).all(|member| {
            let status = map.statuses()[usize::from(member)];
            let is_out = status.state == ServerState::Offline && status.since <= self.left;
            is_out || !is_doubted && self.has_handed_back(map, member)
        })
    }

    /// Whether a home partition may keep what was cached before it was away.
    pub(super) fn may_keep(&self, is_told_all: bool, partition: u32) -> bool {
        mutant::is(Mutant::NoHandback) || is_told_all && !self.overflowed.contains(&partition)
    }

    /// Whether a write that nobody remembers may still land in this partition.
    pub(super) fn is_closed(&self, partition: u32, now: Micros) -> bool {
        self.closed.get(&partition).is_some_and(|until| now < *until)
    }

    /// The numbers of words, and of partitions that others could not remember.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.told.len(), self.overflowed.len().max(self.closed.len()))
    }
}
