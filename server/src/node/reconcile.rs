//! What a home may keep of its cache when it owns its partitions again (scenarios 1 and 3).
//!
//! It keeps a partition if it knows of every key that was written elsewhere meanwhile: each other
//! member of its group was offline all the time, or has told it (SETTLE), and has said that
//! this was all (HANDBACK, one from each shard, for this very return, by an incarnation that
//! was there before this server was gone, and not overflowed). Otherwise it drops the partition.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use standin_protocol::handback::{Handback, KEYS_MAX, Keys, marks};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{Answer, Status};
use super::command::{Command, Hop, ReplyTo};
use super::serving::Serving;
use super::{Aimed, Node, Now};

/// One shard's word that it has told all it wrote.
#[derive(Debug, Clone, Copy)]
struct Word {
    epoch: u64,
    complete_since: u64,
}

/// What this server knows of its own absence.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// The newest map that was applied while this server owned its partitions.
    left: MapEpoch,
    /// When the master last said that it returns.
    returning: MapEpoch,
    /// The last word of each shard of each other member.
    words: HashMap<(u16, u16), Word, ahash::RandomState>,
    /// Partitions of which some member could not remember all, since they were last owned.
    overflowed: BTreeSet<u32>,
    /// Of these, which of the forgotten writes may still land is not known either: nothing is
    /// kept until then.
    closed: BTreeMap<u32, Micros>,
}

impl Home {
    /// A map is about to be applied.
    pub(super) fn on_map(&mut self, map: &ClusterMap, server: u16) {
        let own = map.statuses()[usize::from(server)];
        if own.state == ServerState::Returning {
            self.returning = own.since;
        }
    }

    /// This server owns its partitions under the map of this epoch; `anew`: it did not before.
    pub(super) fn owns(&mut self, epoch: MapEpoch, anew: bool) {
        self.left = epoch;
        if anew {
            self.overflowed.clear();
        }
    }

    /// Whether every shard of a member has said that it has told all, for this return.
    fn has_handed_back(&self, map: &ClusterMap, member: u16) -> bool {
        (0..map.topology.servers[usize::from(member)].shards).all(|shard| {
            self.words.get(&(member, shard)).is_some_and(|word| {
                word.epoch == self.returning.to_u64() && word.complete_since <= self.left.to_u64()
            })
        })
    }

    /// Words of members' shards, and partitions that others could not remember.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.words.len(), self.overflowed.len().max(self.closed.len()))
    }

    /// Whether a write that nobody remembers may still land in this partition.
    pub(super) fn is_closed(&self, partition: u32, now: Micros) -> bool {
        self.closed.get(&partition).is_some_and(|until| now < *until)
    }

    /// Whether a member could not remember all that it wrote in this partition.
    pub(super) fn is_overflowed(&self, partition: u32) -> bool {
        self.overflowed.contains(&partition)
    }
}

/// How the sender of a HANDBACK names itself, in the frame's `cas_version`.
pub(super) fn sender(server: u16, shard: u16) -> u64 {
    u64::from(server) << 16 | u64::from(shard)
}

impl Node {
    /// SETTLE: drops keys that were written elsewhere, and what is on its way into the cache of
    /// them. Whoever owns their partitions by now; but only who owns them under a lease can say
    /// that they are settled, unless it is a return for which they are handed over: the owner
    /// may have changed, and another may have filled its cache with what was there before.
    pub(super) fn settle(&mut self, now: Now, value: &[u8], is_handover: bool) -> Answer {
        let Ok(Keys { keys }) = Keys::from_bytes(value) else {
            return Answer::text(Status::Malformed, "not the keys of a SETTLE");
        };
        if keys.len() > KEYS_MAX {
            return Answer::text(Status::Malformed, "too many keys in one SETTLE");
        }
        let mut is_owner = true;
        for written in keys {
            let (hash, partition) = self.hash(written.keyspace, &written.key);
            match written.marks & marks::OPEN {
                0 => self.tokens.disturb(hash),
                _ => self.tokens.close(hash, now.mono + self.config.ambiguity),
            }
            if written.marks & marks::FLUSH != 0 {
                self.flush(now, written.keyspace, partition);
            }
            self.forget(written.keyspace, &written.key);
            self.counters.keys_settled += 1;
            let serving = self.partitions[partition as usize].serving;
            is_owner &= matches!(serving, Serving::Cached | Serving::Early);
        }
        match is_owner || is_handover {
            true => Answer::status(Status::Ok),
            false => Answer::status(Status::NotOwner),
        }
    }

    /// A SETTLE for this server, or to be passed on to the owner of its key (RELAY).
    pub(super) fn serve_settle(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
    ) -> Option<Answer> {
        let serving = self.partitions[place.partition as usize].serving;
        if command.head.hop != Hop::Relay || serving.is_own() {
            return Some(self.settle(now, command.value, command.head.version != 0));
        }
        // Tried even if the owner could not be reached a moment ago: somebody waits for it.
        let Some(owner) = serving.other() else {
            return Some(Answer::status(Status::Unavailable));
        };
        let Some(key) = self.insert_pending(now, to, command, place) else {
            return Some(self.refuse_full());
        };
        self.forward(now, key, owner);
        None
    }

    /// HANDBACK: a member's shard has told of all keys that it wrote.
    pub(super) fn hear_handback(&mut self, now: Now, command: &Command<'_>) -> Answer {
        let Ok(handback) = Handback::from_bytes(command.value) else {
            return Answer::text(Status::Malformed, "not the value of a HANDBACK");
        };
        let sender = command.head.version;
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
        let (server, shard) = ((sender >> 16) as u16, sender as u16);
        let shards = self.topology.servers.get(usize::from(server)).map_or(0, |s| s.shards);
        if sender >> 32 != 0 || shard >= shards {
            return Answer::text(Status::Malformed, "no such sender of a HANDBACK");
        }
        for partition in handback.overflowed {
            if partition < self.topology.partitions {
                self.home.overflowed.insert(partition);
                let until = now.mono + self.config.ambiguity;
                self.home.closed.insert(partition, until);
            }
        }
        let Handback { epoch, complete_since, .. } = handback;
        self.home.words.insert((server, shard), Word { epoch, complete_since });
        Answer::status(Status::Ok)
    }

    /// Whether all that the others wrote is known, but for partitions that overflowed.
    pub(super) fn is_told_all(&self, map: &ClusterMap) -> bool {
        let is_word_new = self.doubts_since(self.home.returning);
        map.topology.group_peers(self.config.server).all(|member| {
            let status = map.statuses()[usize::from(member)];
            let is_out = status.state == ServerState::Offline && status.since <= self.home.left;
            is_out || !is_word_new && self.home.has_handed_back(map, member)
        })
    }

    /// Whether a home partition may keep what was cached before it was away.
    pub(super) fn may_keep(&self, is_told_all: bool, partition: u32) -> bool {
        mutant::is(Mutant::NoHandback) || is_told_all && !self.home.is_overflowed(partition)
    }
}
