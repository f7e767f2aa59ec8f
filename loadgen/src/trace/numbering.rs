//! Indices of a trace's keys, in the order of their first requests: for what is written before, and for what is judged.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use standin_protocol::hash::key_hash;

use super::{Position, TraceError};

/// The memory for each key, at most, while the table grows.
pub(super) const BYTES_PER_KEY: usize = 64;

/// The distinct keys of a trace, as hashes of 64 bits: of ten million keys, two have the same one in three of a million
/// traces, and are then taken as one.
#[derive(Debug, Default)]
pub struct Numbering {
    numbers: HashMap<u64, u32>,
    keys_max: u32,
}

impl Numbering {
    /// Room for this many keys at most.
    #[must_use]
    pub fn with_room(keys_max: u32) -> Self {
        Self { numbers: HashMap::new(), keys_max }
    }

    /// The number of distinct keys.
    ///
    /// # Panics
    /// Never: each key has a number of 32 bits.
    #[must_use]
    pub fn keys(&self) -> u32 {
        u32::try_from(self.numbers.len()).expect("each key has a number of 32 bits")
    }

    /// The index of a key; `None`: it was never added.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        self.numbers.get(&hash(key)).copied()
    }

    /// The index that a new key gets; `None`: it has one already.
    ///
    /// # Errors
    /// [`TraceError::TooManyKeys`].
    pub fn add(&mut self, key: &[u8], position: Position) -> Result<Option<u32>, TraceError> {
        let (next, max) = (self.keys(), self.keys_max);
        match self.numbers.entry(hash(key)) {
            Entry::Occupied(_) => Ok(None),
            Entry::Vacant(_) if next >= max => Err(TraceError::TooManyKeys { position, max }),
            Entry::Vacant(place) => Ok(Some(*place.insert(next))),
        }
    }
}

/// The hash by which keys are told apart, and divided between load threads.
pub(super) fn hash(key: &[u8]) -> u64 {
    key_hash(0, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_in_their_order_up_to_the_limit() {
        let mut numbering = Numbering::with_room(2);
        let at = Position::Line(9);
        assert_eq!(numbering.add(b"a", at).unwrap(), Some(0));
        assert_eq!(numbering.add(b"b", at).unwrap(), Some(1));
        assert_eq!(numbering.add(b"a", at).unwrap(), None);
        assert_eq!((numbering.find(b"b"), numbering.find(b"c")), (Some(1), None));
        let error = numbering.add(b"c", at).unwrap_err();
        assert!(matches!(error, TraceError::TooManyKeys { max: 2, .. }));
        let text = error.to_string();
        assert!(text.contains("line 9") && text.contains("--trace-keys"), "{text}");
        assert_eq!(numbering.keys(), 2);
    }
}
