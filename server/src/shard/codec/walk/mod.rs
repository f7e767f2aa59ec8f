//! Walks through the names of cached keys, of the whole cluster or of one shard, as the shard carries them
//! out that was asked. It asks one shard after another for slices (slice.rs), and keeps what it has found.
//!
//! ```text
//! some    from a cursor on, a few slices; the answer names the next cursor  SCAN
//! all     to the end of the last shard                                      KEYS
//! first   until this number of keys was found                              GETKEYSINSLOT
//! any     from a random place on, until there is a key                      RANDOMKEY
//! number  to the end of the last shard, without names                       DBSIZE, COUNTKEYSINSLOT
//! ```
//! The shards of the cluster have an order: by server, and by their numbers. A cursor is a position in a
//! shard times the number of shards, plus the number of the shard in that order. So 0 is the beginning, and
//! no later place.

use std::sync::Arc;

use standin_protocol::map::Topology;
use standin_protocol::slots::partition_of_slot;
use standin_protocol::walk::{ANY_SLOT, WalkHead, WalkedHead};

use super::glob;
use super::names::Names;
use super::slice::Slice;

/// The number of slices after which a walk through some keys ends, however few keys they had.
const SOME_SLICES_MAX: u32 = 16;
/// The bytes of names after which it ends.
const SOME_BYTES_MAX: usize = 64 << 10;
/// The bytes of names that a walk through all keys may find.
pub(in crate::shard) const ALL_BYTES_MAX: usize = 1 << 20;
/// Bytes before the names of an answer, and before each name.
const HEAD_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    aim: Aim,
    /// Only keys of this slot count.
    slot: Option<u16>,
    /// It stays at the shard that was asked.
    is_of_one_shard: bool,
    pattern: Option<Box<[u8]>>,
    cursor: u64,
    random: u64,
    way: Option<Way>,
    /// The number of slices that it has had.
    slices: u32,
    /// The number of keys that were looked at in these.
    looked: u32,
    /// Each name with its length before it.
    found: Vec<u8>,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Some { count: u32 },
    All,
    First { count: u32 },
    Any,
    Number,
}

/// The shards through which a walk goes, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    topology: Arc<Topology>,
    shards: Shards,
    /// The number of shards.
    total: u32,
    /// The number of the shard where it is.
    at: u32,
    /// The number of shards that are left, with this one.
    left: u32,
    position: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shards {
    /// All of the cluster.
    All,
    /// One shard of a server.
    One(u16, u16),
    /// Those that may have keys of this partition: one of each server of its group.
    OfPartition(u32),
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Step {
    /// The next slice.
    On,
    /// The walk has ended.
    Ended,
    /// It has found more names than it may.
    TooMany,
    /// The answer is none, or would let the walk never end.
    Wrong,
}

impl Walk {
    /// A walk from this cursor on, 0 at first, until this number of keys was looked at.
    pub(in crate::shard) fn some(cursor: u64, count: u32, pattern: Option<&[u8]>) -> Self {
        Self { cursor, ..Self::new(Aim::Some { count }, pattern) }
    }

    /// A walk through all keys.
    pub(in crate::shard) fn all(pattern: Option<&[u8]>) -> Self {
        Self::new(Aim::All, pattern)
    }

    /// A walk to this number of keys.
    pub(in crate::shard) fn first(count: u32) -> Self {
        Self::new(Aim::First { count }, None)
    }

    /// A walk to any key.
    pub(in crate::shard) fn any() -> Self {
        Self::new(Aim::Any, None)
    }

    /// A walk that counts the keys.
    pub(in crate::shard) fn number() -> Self {
        Self::new(Aim::Number, None)
    }

    fn new(aim: Aim, pattern: Option<&[u8]>) -> Self {
        Self {
            aim,
            slot: None,
            is_of_one_shard: false,
            pattern: pattern.map(Into::into),
            cursor: 0,
            random: 0,
            way: None,
            slices: 0,
            looked: 0,
            found: Vec::new(),
            number: 0,
        }
    }

    /// A walk that stays at the shard that is asked, or not.
    pub(in crate::shard) fn of_one_shard(self, is_of_one_shard: bool) -> Self {
        Self { is_of_one_shard, ..self }
    }

    /// A walk through the keys of one slot.
    pub(in crate::shard) fn of_slot(self, slot: u16) -> Self {
        Self { slot: Some(slot), ..self }
    }

    /// Begins the walk in this cluster, or begins it again. `own` is the shard that is asked, with its
    /// server.
    pub(in crate::shard) fn begin(
        &mut self,
        topology: Arc<Topology>,
        own: (u16, u16),
        random: u64,
    ) {
        let (shards, total) = match self.slot {
            _ if self.is_of_one_shard => (Shards::One(own.0, own.1), 1),
            Some(slot) => {
                let partition = partition_of_slot(slot, topology.partitions);
                (Shards::OfPartition(partition), topology.rank(partition).len() as u32)
            }
            None => {
                let shards = topology.servers.iter().map(|server| u32::from(server.shards));
                (Shards::All, shards.sum())
            }
        };
        // A cluster has at least one shard.
        let (of_total, rest) = (|number: u64| (number % u64::from(total)) as u32, u64::from(total));
        let (at, left, position) = match self.aim {
            Aim::Some { .. } => {
                let at = of_total(self.cursor);
                // A cursor that no answer has named is behind the end.
                (at, total - at, u32::try_from(self.cursor / rest).unwrap_or(u32::MAX))
            }
            Aim::Any => (of_total(random), total, 0),
            Aim::All | Aim::First { .. } | Aim::Number => (0, total, 0),
        };
        (self.slices, self.looked, self.found, self.number) = (0, 0, Vec::new(), 0);
        self.random = random.rotate_left(32);
        self.way = Some(Way { topology, shards, total, at, left, position });
    }

    fn way(&self) -> &Way {
        self.way.as_ref().expect("the walk has begun")
    }

    fn way_mut(&mut self) -> &mut Way {
        self.way.as_mut().expect("the walk has begun")
    }

    /// The server and the shard at which it goes on; `None` if it has been at all.
    pub(in crate::shard) fn stop(&self) -> Option<(u16, u16)> {
        self.way().stop()
    }

    /// Passes over the server where it is, because that is not one that may have keys.
    pub(in crate::shard) fn pass_over(&mut self) {
        let way = self.way_mut();
        let server = way.stop().map(|(server, _)| server);
        while way.left > 0 && way.stop().map(|(server, _)| server) == server {
            way.leave();
        }
    }

    /// What the shard where it is has to be asked for.
    pub(in crate::shard) fn slice(&self) -> Slice {
        let most = |aim: Aim| match aim {
            Aim::Some { count } => (count.saturating_sub(self.looked), u32::MAX),
            Aim::First { count } => (u32::MAX, count.saturating_sub(self.number as u32)),
            Aim::Any => (u32::MAX, 1),
            Aim::All | Aim::Number => (u32::MAX, u32::MAX),
        };
        let (looked_max, found_max) = most(self.aim);
        let head = WalkHead {
            start: if self.aim == Aim::Any { self.random } else { 0 },
            position: self.way().position,
            looked_max,
            found_max,
            slot: self.slot.unwrap_or(ANY_SLOT),
            gives_keys: u8::from(self.aim != Aim::Number),
            reserved: 0,
        };
        Slice { head, pattern: self.pattern.clone().unwrap_or_default() }
    }

    /// Takes the answer of the shard where it is. The names are spelled by these, and matched here: the
    /// other server may have left out only what can't match.
    pub(in crate::shard) fn take(&mut self, answer: &[u8], names: &Names) -> Step {
        let Some((head, keys)) = WalkedHead::split(answer) else { return Step::Wrong };
        if head.position != 0 && head.position <= self.way().position {
            return Step::Wrong;
        }
        let mut name = Vec::new();
        for key in keys {
            let Some((keyspace, key)) = key else { return Step::Wrong };
            name.clear();
            names.spell(keyspace, key, &mut name);
            if self.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, &name)) {
                self.add(&name);
            }
        }
        match head.position {
            0 => self.way_mut().leave(),
            position => self.way_mut().position = position,
        }
        (self.slices, self.looked) =
            (self.slices.saturating_add(1), self.looked.saturating_add(head.looked));
        let has_ended = self.way().left == 0;
        match self.aim {
            // Whoever asks for some keys asks again, but what has few is not worth a call.
            Aim::Some { count } if self.looked >= count => Step::Ended,
            Aim::Some { .. } if self.slices >= SOME_SLICES_MAX => Step::Ended,
            Aim::Some { .. } if self.found.len() >= SOME_BYTES_MAX => Step::Ended,
            Aim::All | Aim::First { .. } if self.found.len() > ALL_BYTES_MAX => Step::TooMany,
            Aim::First { count } if self.number >= u64::from(count) => {
                self.keep(|number| number < count as usize);
                Step::Ended
            }
            Aim::Any if self.number > 0 => {
                let chosen = (self.random.rotate_left(17) % self.number) as usize;
                self.keep(|number| number == chosen);
                Step::Ended
            }
            Aim::Number => {
                self.number = self.number.saturating_add(head.found);
                if has_ended { Step::Ended } else { Step::On }
            }
            _ if has_ended => Step::Ended,
            _ => Step::On,
        }
    }

    fn add(&mut self, name: &[u8]) {
        // A name is shorter than a frame.
        self.found.extend_from_slice(&(name.len() as u32).to_le_bytes());
        self.found.extend_from_slice(name);
        self.number += 1;
    }

    /// Keeps only some of the names, by their numbers.
    fn keep(&mut self, is_kept: impl Fn(usize) -> bool) {
        let found = std::mem::take(&mut self.found);
        self.number = 0;
        for (number, name) in names(&found).enumerate() {
            if is_kept(number) {
                self.add(name);
            }
        }
    }

    /// The answer of a walk that has ended: the next cursor, 0 at the end; the number of names; and the
    /// names.
    pub(in crate::shard) fn into_answer(self) -> Vec<u8> {
        let way = self.way();
        let cursor = match way.left {
            0 => 0,
            _ => u64::from(way.position) * u64::from(way.total) + u64::from(way.at),
        };
        let head = [cursor.to_le_bytes(), self.number.to_le_bytes()].concat();
        [head, self.found].concat()
    }

    /// The bytes of memory that it takes.
    pub(in crate::shard) fn bytes(&self) -> usize {
        let pattern = self.pattern.as_ref().map_or(0, |pattern| pattern.len());
        size_of::<Self>() + pattern + self.found.capacity()
    }
}

impl Way {
    fn stop(&self) -> Option<(u16, u16)> {
        if self.left == 0 {
            return None;
        }
        match self.shards {
            Shards::One(server, shard) => Some((server, shard)),
            Shards::OfPartition(partition) => {
                let server = *self.topology.rank(partition).get(self.at as usize)?;
                Some((server, self.topology.shard(server, partition)))
            }
            Shards::All => {
                let mut at = self.at;
                for (server, info) in (0..).zip(&self.topology.servers) {
                    match at.checked_sub(info.shards.into()) {
                        Some(behind) => at = behind,
                        // Less than the number of shards.
                        None => return Some((server, at as u16)),
                    }
                }
                None
            }
        }
    }

    /// Goes to the next shard.
    fn leave(&mut self) {
        self.at = (self.at + 1) % self.total;
        self.left -= 1;
        self.position = 0;
    }
}

/// What a walk has found.
#[derive(Debug)]
pub(in crate::shard) struct Found<'a> {
    /// The cursor from which the next walk goes on; 0: from the beginning.
    pub(in crate::shard) cursor: u64,
    /// The number of names, or of keys if only that was asked for.
    pub(in crate::shard) number: u64,
    names: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads the answer of a walk. Returns `None` if these bytes are none.
    pub(in crate::shard) fn read(answer: &'a [u8]) -> Option<Self> {
        let (head, names) = answer.split_at_checked(HEAD_BYTES)?;
        let (cursor, number) = head.split_at(HEAD_BYTES / 2);
        let number_of = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        Some(Self { cursor: number_of(cursor)?, number: number_of(number)?, names })
    }

    /// The names.
    pub(in crate::shard) fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        names(self.names)
    }
}

/// Names that have their lengths before them.
fn names(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_at_checked(LENGTH_BYTES)?;
        let length = u32::from_le_bytes(length.try_into().ok()?);
        let (name, rest) = rest.split_at_checked(length as usize)?;
        bytes = rest;
        Some(name)
    })
}

#[cfg(test)]
mod tests;
