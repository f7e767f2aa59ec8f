//! Values that say what they are, so that a read can be judged. They are ASCII, because the column may
//! be text.
//!
//! ```text
//! │ "Lv" │ run 6 │ key 6 │ sequence 6 │ length - 1: 4 │ checksum 8 │ padding │
//! ```
//! Numbers have six bits in each byte, the highest first. The checksum is taken from the XXH3-64 of
//! two XXH3-64s: of what is before it, and of what is behind it. The padding follows from the rest,
//! so that two values never share more than they must.

pub use standin_protocol::frame::VALUE_BYTES_MAX;
use standin_protocol::hash::key_hash;

/// Bytes before the padding: the smallest value.
pub const VALUE_BYTES_MIN: u32 = 32;
const MAGIC: &[u8; 2] = b"Lv";
const RUN_AT: usize = 2;
const KEY_AT: usize = 8;
const SEQUENCE_AT: usize = 14;
const LENGTH_AT: usize = 20;
const CHECKSUM_AT: usize = 24;
const PADDING_AT: usize = VALUE_BYTES_MIN as usize;

/// The byte for each value of six bits.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
    /// A value of `value_bytes` (at least [`VALUE_BYTES_MIN`], at most [`VALUE_BYTES_MAX`]) with this stamp.
    #[must_use]
    pub fn to_value(self, value_bytes: u32) -> Vec<u8> {
        let length = value_bytes.max(VALUE_BYTES_MIN);
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend_from_slice(MAGIC);
        for number in [self.run, self.key, self.sequence] {
            bytes.extend_from_slice(&digits::<6>(number.into()));
        }
        bytes.extend_from_slice(&digits::<4>((length - 1).into()));
        let pattern = digits::<8>(key_hash(1, &bytes));
        bytes.extend_from_slice(&[0; PADDING_AT - CHECKSUM_AT]);
        let padding = pattern.iter().cycle().take(length as usize - PADDING_AT);
        bytes.extend(padding);
        let checksum = checksum(&bytes);
        bytes[CHECKSUM_AT..PADDING_AT].copy_from_slice(&checksum);
        bytes
    }

    /// Reads a value's stamp.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn of(value: &[u8]) -> Result<Self, BadValue> {
        if value.len() < PADDING_AT || !value.starts_with(MAGIC) {
            return Err(BadValue::NotOurs);
        }
        let is_whole =
            number(&value[LENGTH_AT..CHECKSUM_AT]) == u32::try_from(value.len() - 1).ok();
        if !is_whole || value[CHECKSUM_AT..PADDING_AT] != checksum(value) {
            return Err(BadValue::Damaged);
        }
        let number = |at: usize| number(&value[at..at + 6]).ok_or(BadValue::Damaged);
        Ok(Self { run: number(RUN_AT)?, key: number(KEY_AT)?, sequence: number(SEQUENCE_AT)? })
    }
}

/// The lowest bits of a number, six in each byte, the highest first.
fn digits<const N: usize>(number: u64) -> [u8; N] {
    std::array::from_fn(|at| DIGITS[(number >> (6 * (N - 1 - at))) as usize & 63])
}

/// Reads [`digits`]; `None`: they are none, or of too large a number.
fn number(digits: &[u8]) -> Option<u32> {
    let mut number = 0;
    for digit in digits {
        let bits = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        number = number << 6 | u64::from(bits);
    }
    u32::try_from(number).ok()
}

fn checksum(value: &[u8]) -> [u8; PADDING_AT - CHECKSUM_AT] {
    // The checksum's own place is left out by hashing both sides of it.
    let head = key_hash(0, &value[..CHECKSUM_AT]).to_le_bytes();
    let padding = key_hash(0, &value[PADDING_AT..]).to_le_bytes();
    digits(key_hash(0, &[head, padding].concat()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_value_reads_back() {
        let stamp = Stamp { run: u32::MAX, key: u32::MAX, sequence: u32::MAX };
        assert_eq!(Stamp::of(&stamp.to_value(16 << 20)), Ok(stamp));
    }

    proptest! {
        #[test]
        fn a_value_reads_back(run: u32, key: u32, sequence: u32, bytes in 0u32..5_000) {
            let stamp = Stamp { run, key, sequence };
            let value = stamp.to_value(bytes);
            prop_assert_eq!(value.len(), bytes.max(VALUE_BYTES_MIN) as usize);
            prop_assert_eq!(Stamp::of(&value), Ok(stamp));
            prop_assert!(value.is_ascii() && !value.contains(&0), "a column of text takes it");
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
