//! A request as the load generator draws it or reads it from a trace: a key, what is done with it,
//! and the size of the value.

use std::str::FromStr;

use crate::rng::Random;

/// A request to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Index of the key, see [`Keys`](crate::workload::Keys).
    pub key: u32,
    /// The action.
    pub access: Access,
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

/// The sizes of values in bytes: all equal, or uniform between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueSizes {
    /// Smallest.
    pub min_bytes: u32,
    /// Largest.
    pub max_bytes: u32,
}

impl ValueSizes {
    /// All of one size.
    #[must_use]
    pub fn fixed(bytes: u32) -> Self {
        Self { min_bytes: bytes, max_bytes: bytes }
    }

    /// A random size within the bounds.
    pub(crate) fn draw(self, random: &mut Random) -> u32 {
        let span = u64::from(self.max_bytes.saturating_sub(self.min_bytes)) + 1;
        let above = u32::try_from(random.below(span)).unwrap_or(0);
        self.min_bytes.saturating_add(above)
    }
}

impl FromStr for ValueSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (min.trim().parse(), max.trim().parse()) {
            (Ok(min_bytes), Ok(max_bytes)) if min_bytes <= max_bytes => {
                Ok(Self { min_bytes, max_bytes })
            }
            _ => {
                Err("write a number of bytes, such as 100, or a range, such as 64-4096".to_owned())
            }
        }
    }
}
