//! A request as the load generator draws it or reads it from a trace: a key, what is done with it,
//! and the size of the value.

use bytes::Bytes;

pub use crate::value_sizes::ValueSizes;

/// A request to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Index of the key, see [`Keys`](crate::workload::Keys).
    pub key: u32,
    /// The action.
    pub access: Access,
}

/// What a trace says of a request beside that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The key's bytes, in one piece with those of the requests that were read with it.
    pub name: Bytes,
    /// The size of the value; also for reads.
    pub value_bytes: u32,
}

/// The action of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// GET.
    Read,
    /// GET of this many keys at once, the first of which is the request's.
    ReadMany {
        /// Their number, at least 1.
        keys: u16,
    },
    /// PUT of a value of this size and lifetime (0: the keyspace's own).
    Write {
        /// Bytes of the value.
        value_bytes: u32,
        /// Lifetime in the cache.
        ttl_s: u32,
    },
    /// Write such a value if there is none.
    Add {
        /// Bytes of the value.
        value_bytes: u32,
        /// Lifetime in the cache.
        ttl_s: u32,
    },
    /// Give what is there a lifetime (0: the target's own, or none).
    Touch {
        /// Lifetime in the cache.
        ttl_s: u32,
    },
    /// DELETE.
    Delete,
    /// Read the value with its version; then write one of this size if that version is still there.
    Cas {
        /// Bytes of the new value.
        value_bytes: u32,
        /// Its lifetime.
        ttl_s: u32,
    },
    /// Add to a counter; with 0, read it.
    Increment {
        /// The number added.
        by: u32,
    },
    /// Write the first number of a counter.
    SetCounter,
}

/// The numbers of keys of each kind. In the order of these fields, the keys of a kind follow those of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Keys that all requests but those below are for.
    pub plain: u32,
    /// Keys of compare-and-swaps.
    pub cas: u32,
    /// Counters.
    pub counters: u32,
}

impl KeyCounts {
    /// Of all kinds.
    #[must_use]
    pub fn all(self) -> u32 {
        self.plain.saturating_add(self.cas).saturating_add(self.counters)
    }

    /// The first counter.
    #[must_use]
    pub fn first_counter(self) -> u32 {
        self.plain.saturating_add(self.cas)
    }
}
