//! WATCH: the keys that a connection watches, and the transactions that are carried out only if none of
//! them has changed. docs/REDIS.md, *Transactions*, says which these are and why.
//!
//! ```text
//! WATCH ─► a read of each key, answered before anything behind it is decoded ─► its version
//! EXEC  ─┬─ writes the watched key ─► that command, if the key still has its version (guard.rs) ─┐   plan.rs
//!        ├─ writes nothing ─────────► each key still has its version ──────────────────────────┤
//!        └─ anything else ──────────► one step of the owner, if all keys are in one place (transact.rs)
//!                                                     null ◄── no ──┤
//!                            the replies, and all other commands ◄── yes ────────────────────────┘
//! ```
//! No two values of a key ever have the same version, so a key that has the one it had has not changed. Nor may
//! the client have read anything else of it meanwhile ([`Watched::look`]).

use std::collections::VecDeque;

use super::tag::Tag;
use crate::node::{AnswerHead, Status};

/// The largest number of keys that a connection may watch, and of bytes of their names.
const KEYS_MAX: usize = 1_024;
const NAME_BYTES_MAX: usize = 64 << 10;

/// What a connection has seen of a key when it began to watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A value of this version.
    Version(u64),
    /// No value.
    Absent,
    /// It can't be told: the read failed, or its value has no version.
    Unknown,
}

impl Seen {
    /// What the answer to a read shows.
    fn of(head: &AnswerHead) -> Self {
        match (head.status, head.version) {
            (Status::Ok, version @ 1..) => Self::Version(version),
            (Status::NotFound, _) => Self::Absent,
            _ => Self::Unknown,
        }
    }
}

/// The keys that a connection watches, each with the name that the client has given it.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The names, and what was seen.
    pub(super) keys: Vec<(Box<[u8]>, Seen)>,
    bytes: usize,
    /// The largest length of a value that has no version.
    pub(super) unknown_bytes: usize,
    /// There are more than are kept.
    pub(super) has_more: bool,
}

impl Watched {
    /// Notes the answer to the read of a key. A key that is watched already stays as it was seen first.
    pub(super) fn see(&mut self, name: &[u8], head: &AnswerHead, value: &[u8]) {
        if self.keys.iter().any(|(key, _)| **key == *name) {
            return;
        }
        if self.keys.len() == KEYS_MAX || self.bytes + name.len() > NAME_BYTES_MAX {
            self.has_more = true;
            return;
        }
        self.bytes += name.len();
        let seen = Seen::of(head);
        if seen == Seen::Unknown && head.status == Status::Ok {
            self.unknown_bytes = self.unknown_bytes.max(value.len());
        }
        self.keys.push((name.into(), seen));
    }

    /// Looks at the answer to a later read. If it is not about what was seen first, its reader must not
    /// take it for that: a server that does not own the key may have answered, without its value.
    pub(super) fn look(&mut self, name: &[u8], head: &AnswerHead) {
        let is_told = matches!(head.status, Status::Ok | Status::NotFound);
        let known = self.keys.iter_mut().find(|(key, _)| **key == *name);
        if let Some((_, seen)) = known.filter(|(_, seen)| is_told && *seen != Seen::of(head)) {
            *seen = Seen::Unknown;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.has_more
    }
}

/// A transaction that waits for its guards: requests that are carried out only if a key is as it was seen.
#[derive(Debug)]
pub(super) struct Exec {
    /// The guards that have not been sent.
    pub(super) guards: VecDeque<(Seen, Vec<u8>)>,
    /// What the guard that was sent expects.
    pub(super) seen: Seen,
    /// All commands.
    pub(super) rest: Rest,
    /// The number of the command that is a guard.
    pub(super) written: Option<usize>,
    /// That of the command which gives the written value a lifetime.
    pub(super) expires: Option<usize>,
}

impl Exec {
    /// The bytes of the next guard; `None` if there is none.
    pub(super) fn next_guard(&mut self) -> Option<Vec<u8>> {
        let (seen, bytes) = self.guards.pop_front()?;
        self.seen = seen;
        Some(bytes)
    }
}

/// A transaction that the owner carries out in one step (transact.rs).
#[derive(Debug)]
pub(super) struct Transacted {
    pub(super) rest: Rest,
    /// The requests of the commands with keys, in their order.
    pub(super) parts: Vec<Part>,
}

/// A request of a command with keys.
#[derive(Debug)]
pub(super) struct Part {
    /// The number of the command.
    pub(super) command: usize,
    pub(super) tag: Tag,
    /// The bytes by which its reply is written.
    pub(super) echo: Box<[u8]>,
}

/// The commands of a transaction.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) queue: Vec<u8>,
    /// Where each of them ends.
    pub(super) ends: Vec<usize>,
}

impl Rest {
    /// The commands without those of these numbers, which ascend.
    pub(super) fn others(&self, done: &[usize]) -> Vec<u8> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let commands = begins.zip(&self.ends).map(|(from, to)| &self.queue[from..*to]);
        let kept = commands.enumerate().filter(|(number, _)| done.binary_search(number).is_err());
        kept.flat_map(|(_, command)| command).copied().collect()
    }
}

/// The bytes of a guard before its commands: whether there must be a value, whether two commands follow, and
/// the version.
const HEAD_BYTES: usize = 10;

/// The bytes of a guard: a read or a write of a key, and the EXPIRE that belongs to it.
pub(super) fn guard(seen: Seen, command: &[u8], expire: Option<&[u8]>) -> Vec<u8> {
    let version = match seen {
        Seen::Version(version) => version,
        Seen::Absent | Seen::Unknown => 0,
    };
    let kind = [u8::from(version > 0), u8::from(expire.is_some())];
    [&kind, &version.to_le_bytes()[..], command, expire.unwrap_or_default()].concat()
}

/// What a guard expects, whether it has two commands, and these.
pub(super) fn split_guard(bytes: &[u8]) -> (Seen, bool, &[u8]) {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().expect("a guard has its head");
    let [is_there, has_expire, version @ ..] = *head;
    let seen = match is_there {
        0 => Seen::Absent,
        _ => Seen::Version(u64::from_le_bytes(version)),
    };
    (seen, has_expire > 0, rest)
}
