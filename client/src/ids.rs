//! Hash maps by request or operation id. The ids are the client's own running numbers, so a cheap hash
//! without a random seed is safe, and the simulator sees the same order in every run.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type Map<K, T> = HashMap<K, T, BuildHasherDefault<IdHasher>>;
pub(crate) type IdMap<T> = Map<u32, T>;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct IdHasher {
    hash: u64,
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(u64::from(id));
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing: neighbours land far apart, and the top bits are mixed too.
        self.hash = (self.hash ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
