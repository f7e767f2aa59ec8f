//! Values that say what they are, so that a read can be judged.
//!
//! ```text
//! │ magic u32 │ run u32 │ key u32 │ sequence u32 │ length u32 │ zero u32 │ checksum u64 │ padding │
//! ```
//! Little-endian. The checksum is the XXH3-64 of two XXH3-64s: of what is before it, and of
//! what is behind it. The padding follows from the rest, so that two values never share more
//! than they must.

use standin_protocol::hash::key_hash;

/// Bytes before the padding: the smallest value.
pub const VALUE_BYTES_MIN: u32 = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"SLv1");
const CHECKSUM_AT: usize = 24;
const PADDING_AT: usize = VALUE_BYTES_MIN as usize;

/// The information that a value carries about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run of the load generator that wrote it.
    pub run: u32,
    /// Index of its key.
    pub key: u32,
    /// Number of the write of this key; 0: it was there before the first.
    pub sequence: u32,
}

/// The bytes are no value of the load generator, or not all of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// Too short, or another magic.
    #[error("not a value of the load generator")]
    NotOurs,
    /// The length or checksum does not fit.
    #[error("a damaged value")]
    Damaged,
}

impl Stamp {
    /// A value of `value_bytes` (at least [`VALUE_BYTES_MIN`]) with this stamp.
    #[must_use]
    pub fn to_value(self, value_bytes: u32) -> Vec<u8> {
        let length = value_bytes.max(VALUE_BYTES_MIN);
        let mut bytes = Vec::with_capacity(length as usize);
        for word in [MAGIC, self.run, self.key, self.sequence, length, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let pattern = key_hash(1, &bytes).to_le_bytes();
        bytes.extend_from_slice(&[0; 8]);
        let padding = pattern.iter().cycle().take(length as usize - PADDING_AT);
        bytes.extend(padding);
        let checksum = checksum(&bytes);
        bytes[CHECKSUM_AT..PADDING_AT].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a value's stamp.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn of(value: &[u8]) -> Result<Self, BadValue> {
        let word = |at: usize| {
            let bytes = value.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let (Some(MAGIC), Some(length)) = (word(0), word(16)) else {
            return Err(BadValue::NotOurs);
        };
        if value.len() < PADDING_AT || value.len() != length as usize {
            return Err(BadValue::Damaged);
        }
        if value[CHECKSUM_AT..PADDING_AT] != checksum(value).to_le_bytes() {
            return Err(BadValue::Damaged);
        }
        match (word(4), word(8), word(12)) {
            (Some(run), Some(key), Some(sequence)) => Ok(Self { run, key, sequence }),
            _ => Err(BadValue::Damaged),
        }
    }
}

fn checksum(value: &[u8]) -> u64 {
    // The checksum's own place is left out by hashing both sides of it.
    let head = key_hash(0, &value[..CHECKSUM_AT]).to_le_bytes();
    let padding = key_hash(0, &value[PADDING_AT..]).to_le_bytes();
    key_hash(0, &[head, padding].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_reads_back(run: u32, key: u32, sequence: u32, bytes in 0u32..5_000) {
            let stamp = Stamp { run, key, sequence };
            let value = stamp.to_value(bytes);
            prop_assert_eq!(value.len(), bytes.max(VALUE_BYTES_MIN) as usize);
            prop_assert_eq!(Stamp::of(&value), Ok(stamp));
        }

        #[test]
        fn any_changed_bit_is_noticed(bytes in 32u32..200, place: prop::sample::Index, bit in 0u8..8) {
            let mut value = Stamp { run: 1, key: 2, sequence: 3 }.to_value(bytes);
            let place = place.index(value.len());
            value[place] ^= 1 << bit;
            prop_assert!(Stamp::of(&value).is_err());
        }

        #[test]
        fn any_cut_is_noticed(bytes in 32u32..200, cut: prop::sample::Index) {
            let value = Stamp { run: 1, key: 2, sequence: 3 }.to_value(bytes);
            prop_assert!(Stamp::of(&value[..cut.index(value.len())]).is_err());
        }

        #[test]
        fn garbage_is_no_value(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Stamp::of(&bytes).is_err());
        }
    }
}
