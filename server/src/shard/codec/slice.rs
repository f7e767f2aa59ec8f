//! One slice of a walk through cached keys: the answer of a shard to a WALK (docs/PROTOCOL.md). Its work
//! is bounded, so that other requests wait for no more than that.

use standin_protocol::walk::{ANSWER_BYTES, ANY_SLOT, WalkHead, WalkedHead, append_key};

use super::glob;
use super::names::Names;

/// The work of a slice: an item that is looked at counts as [`WORK_OF_KEY`], and a part as 1.
pub(super) const WORK_MAX: usize = 4_096;
pub(super) const WORK_OF_KEY: usize = 4;

/// What a shard is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub(super) head: WalkHead,
    /// What the names of keys have to match; empty: nothing.
    pub(super) pattern: Box<[u8]>,
}

impl Slice {
    /// Reads the value of a WALK; `None` if it is none.
    pub(in crate::shard) fn from_bytes(value: &[u8]) -> Option<Self> {
        let (head, pattern) = WalkHead::split(value)?;
        Some(Self { head, pattern: pattern.into() })
    }

    /// Returns the value of a WALK that asks for it.
    pub(in crate::shard) fn to_bytes(&self) -> Vec<u8> {
        [&self.head.to_bytes()[..], &self.pattern].concat()
    }

    /// The value of a WALK that asks for it, but for the pattern: that may leave out keys that match by other
    /// names, or not be told what does not matter.
    #[must_use]
    pub fn head(&self) -> WalkHead {
        self.head
    }

    /// The slot of the keys that count, if not all do.
    pub(in crate::shard) fn slot(&self) -> Option<u16> {
        Some(self.head.slot).filter(|slot| *slot != ANY_SLOT)
    }

    /// The bytes of memory that it takes.
    pub(in crate::shard) fn bytes(&self) -> usize {
        size_of::<Self>() + self.pattern.len()
    }

    /// Carries it out at a shard whose cache has this number of parts, and returns the value of the
    /// answer. `visit` gives the keys of a part that count, and returns the number of items that it has
    /// looked at: those that have expired or were flushed are work, but no keys.
    pub(in crate::shard) fn carry_out(
        &self,
        parts: u32,
        names: &Names,
        mut visit: impl FnMut(u32, &mut dyn FnMut(u8, &[u8])) -> usize,
    ) -> Vec<u8> {
        let head = &self.head;
        let (gives_keys, mut name) = (head.gives_keys != 0, Vec::new());
        let mut answer = WalkedHead::default().to_bytes().to_vec();
        let (mut position, mut found, mut looked, mut work) = (head.position, 0_u64, 0_usize, 0);
        let part = |position: u32| {
            let part = (head.start % u64::from(parts) + u64::from(position)) % u64::from(parts);
            part as u32
        };
        while position < parts {
            let items = visit(part(position), &mut |keyspace, key| {
                looked += 1;
                if !self.pattern.is_empty() {
                    name.clear();
                    names.spell(keyspace, key, &mut name);
                    if !glob::matches(&self.pattern, &name) {
                        return;
                    }
                }
                found += 1;
                if gives_keys {
                    append_key(keyspace, key, &mut answer);
                }
            });
            position += 1;
            work += 1 + WORK_OF_KEY * items;
            if work >= WORK_MAX
                || looked >= head.looked_max as usize
                || found >= u64::from(head.found_max)
                || answer.len() >= ANSWER_BYTES
            {
                break;
            }
        }
        let position = if position < parts { position } else { 0 };
        // A slice looks at some thousand keys.
        let looked = u32::try_from(looked).unwrap_or(u32::MAX);
        let walked = WalkedHead { found, position, looked, ..WalkedHead::default() };
        let walked = walked.to_bytes();
        answer[..walked.len()].copy_from_slice(&walked);
        answer
    }
}
