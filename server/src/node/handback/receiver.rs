//! The receiver of handovers. It decides which part of its cache a home may keep when it owns its
//! partitions again (scenarios 1 and 3).
//!
//! The home keeps a partition if it knows every key that was written elsewhere meanwhile. For this,
//! each other member of its group must have been offline all the time, or must have told it of all
//! its keys. A member has done so if it sent the keys (SETTLE) and every shard of it said that
//! these were all (HANDBACK). The HANDBACK must be for this return, name no overflow for the
//! partition, and come from the incarnation that was there before this server was gone. Otherwise the
//! home drops the partition. If a member says that it has forgotten keys, for this return or an earlier
//! one, the home drops everything: the member took it for a new process, but it may be an old one.
//!
//! A master that has lost its file may go on under lower terms. So two epochs are compared only if
//! both belong to one map. The last map by which this server owned its partitions names each
//! member's incarnation, and since when the member was offline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use standin_protocol::handback::FORGOTTEN;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

/// A shard's statement that it has told of all keys that it wrote.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Told {
    /// The epoch of the return for which the statement is made.
    pub(in crate::node) epoch: u64,
    /// The epoch of the first map since which the shard remembers everything that it has written.
    pub(in crate::node) complete_since: u64,
    /// The incarnation of its server.
    pub(in crate::node) boot_id: u64,
}

/// The state of this server's absence and return.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// The newest map that was applied while this server owned its partitions.
    left: Option<Arc<ClusterMap>>,
    /// The epoch of this server's last return.
    returning: MapEpoch,
    /// The last statement of each shard of each other member, by server and shard.
    told: HashMap<(u16, u16), Told, ahash::RandomState>,
    /// The partitions for which some member could not remember all keys since this server last
    /// owned them.
    overflowed: BTreeSet<u32>,
    /// Whether some member has forgotten keys since this server last owned its partitions.
    has_gap: bool,
    /// By partition, the time until which a forgotten write may still take effect. Nothing is
    /// cached there until then.
    closed: BTreeMap<u32, Micros>,
}

impl Receiver {
    /// Notes that a map is about to be applied.
    pub(super) fn map_arrived(&mut self, map: &ClusterMap, server: u16) {
        let own = map.statuses()[usize::from(server)];
        if own.state == ServerState::Returning {
            self.returning = own.since;
        }
    }

    /// Returns the epoch of this server's last return.
    pub(super) fn returning(&self) -> MapEpoch {
        self.returning
    }

    /// Notes that this server owns its partitions under this map. `is_new` says that it did not own
    /// them before.
    pub(super) fn owns(&mut self, map: Arc<ClusterMap>, is_new: bool) {
        self.left = Some(map);
        if is_new {
            self.overflowed.clear();
            self.has_gap = false;
        }
    }

    /// Notes that a member's shard has told of all keys that it wrote, except those of some
    /// partitions. Writes of those partitions may take effect until the given time.
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
        self.has_gap |= told.complete_since == FORGOTTEN;
        self.told.insert((server, shard), told);
    }

    /// Whether every shard of a member has said that it has told of all keys, for this return, and
    /// was there before this server was gone.
    fn has_handed_back(&self, left: &ClusterMap, member: u16) -> bool {
        let boot_id = left.statuses()[usize::from(member)].boot_id;
        (0..left.topology.servers[usize::from(member)].shards).all(|shard| {
            self.told.get(&(member, shard)).is_some_and(|told| {
                let is_named = told.boot_id == boot_id || mutant::is(Mutant::EpochsOfOthers);
                let is_complete = is_named && told.complete_since <= left.epoch.to_u64();
                told.epoch == self.returning.to_u64() && is_complete
            })
        })
    }

    /// Whether all keys that the others wrote are known, except those of partitions that
    /// overflowed. `is_doubted` says that a member may have written a key after it said that it had
    /// told of all.
    pub(super) fn is_told_all(&self, map: &ClusterMap, server: u16, is_doubted: bool) -> bool {
        // It has owned nothing that it could keep.
        let Some(left) = &self.left else { return false };
        !self.has_gap
            && map.topology.group_peers(server).all(|member| {
                was_out(left, map, member) || !is_doubted && self.has_handed_back(left, member)
            })
    }

    /// Whether a home partition may keep what was cached before it was away.
    pub(super) fn may_keep(&self, is_told_all: bool, partition: u32) -> bool {
        mutant::is(Mutant::NoHandback) || is_told_all && !self.overflowed.contains(&partition)
    }

    /// Whether a write that nobody remembers may still take effect in this partition.
    pub(super) fn is_closed(&self, partition: u32, now: Micros) -> bool {
        self.closed.get(&partition).is_some_and(|until| now < *until)
    }

    /// Returns the number of statements, and the number of partitions that others could not
    /// remember.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.told.len(), self.overflowed.len().max(self.closed.len()))
    }
}

/// Whether a member has been offline all the time from one map to another.
fn was_out(left: &ClusterMap, map: &ClusterMap, member: u16) -> bool {
    let [then, now]: [ServerStatus; 2] = [left, map].map(|map| map.statuses()[usize::from(member)]);
    if mutant::is(Mutant::EpochsOfOthers) {
        return now.state == ServerState::Offline && now.since <= left.epoch;
    }
    let is_out = |status: ServerStatus| status.state == ServerState::Offline;
    is_out(then) && is_out(now) && then.since == now.since
}
