//! Values that say what they are, so that a read can be judged. By default they are ASCII, because the column may
//! be text; `value_form.rs` has other forms.
//!
//! ```text
//! │ "Lv" │ run 6 │ key 6 │ sequence 6 │ length - 1: 4 │ checksum 8 │ padding │
//! ```
//! Numbers have six bits in each byte, the highest first. The checksum is taken from the XXH3-64 of
//! two XXH3-64s: of what is before it, and of what is behind it. The padding follows from the rest,
//! so that two values never share more than they must. In JSON, all of this is in two strings of an object, and the
//! checksum covers the object.

pub use standin_protocol::frame::VALUE_BYTES_MAX;
use standin_protocol::hash::key_hash;

pub use crate::value_form::VALUE_BYTES_MIN;
use crate::value_form::{JSON_BEGIN, ValueForm, digits};

const MAGIC: &[u8; 2] = b"Lv";
const RUN_AT: usize = 2;
const KEY_AT: usize = 8;
const SEQUENCE_AT: usize = 14;
const LENGTH_AT: usize = 20;
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
    /// A value of `value_bytes` (at least [`VALUE_BYTES_MIN`], at most [`VALUE_BYTES_MAX`]) with this stamp.
    #[must_use]
    pub fn to_value(self, value_bytes: u32) -> Vec<u8> {
        self.in_form(ValueForm::default(), value_bytes)
    }

    /// A value of this form with `value_bytes` (at least [`ValueForm::bytes_min`], at most [`VALUE_BYTES_MAX`]).
    #[must_use]
    pub fn in_form(self, form: ValueForm, value_bytes: u32) -> Vec<u8> {
        let length = value_bytes.max(form.bytes_min());
        let (begin, middle, end) = form.frame();
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend_from_slice(begin);
        bytes.extend_from_slice(MAGIC);
        for number in [self.run, self.key, self.sequence] {
            bytes.extend_from_slice(&digits::<6>(number.into()));
        }
        bytes.extend_from_slice(&digits::<4>((length - 1).into()));
        let seed = key_hash(1, &bytes[begin.len()..]);
        let checksum_at = bytes.len();
        bytes.extend_from_slice(&[0; PADDING_AT - CHECKSUM_AT]);
        bytes.extend_from_slice(middle);
        form.pad(seed, length as usize - bytes.len() - end.len(), &mut bytes);
        bytes.extend_from_slice(end);
        let checksum = checksum(&bytes, begin.len());
        bytes[checksum_at..][..checksum.len()].copy_from_slice(&checksum);
        bytes
    }

    /// Reads a value's stamp.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn of(value: &[u8]) -> Result<Self, BadValue> {
        let at = if value.starts_with(JSON_BEGIN) { JSON_BEGIN.len() } else { 0 };
        let head = &value[at..];
        if head.len() < PADDING_AT || !head.starts_with(MAGIC) {
            return Err(BadValue::NotOurs);
        }
        let is_whole = number(&head[LENGTH_AT..CHECKSUM_AT]) == u32::try_from(value.len() - 1).ok();
        if !is_whole || head[CHECKSUM_AT..PADDING_AT] != checksum(value, at) {
            return Err(BadValue::Damaged);
        }
        let number = |at: usize| number(&head[at..at + 6]).ok_or(BadValue::Damaged);
        Ok(Self { run: number(RUN_AT)?, key: number(KEY_AT)?, sequence: number(SEQUENCE_AT)? })
    }
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

/// The checksum of a value whose stamp begins at `at`.
fn checksum(value: &[u8], at: usize) -> [u8; PADDING_AT - CHECKSUM_AT] {
    // The checksum's own place is left out by hashing both sides of it.
    let head = key_hash(0, &value[..at + CHECKSUM_AT]).to_le_bytes();
    let padding = key_hash(0, &value[at + PADDING_AT..]).to_le_bytes();
    digits(key_hash(0, &[head, padding].concat()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value_form::ValueKind;

    #[test]
    fn the_largest_value_reads_back() {
        let stamp = Stamp { run: u32::MAX, key: u32::MAX, sequence: u32::MAX };
        assert_eq!(Stamp::of(&stamp.to_value(16 << 20)), Ok(stamp));
    }

    /// The share of a value's blocks of eight bytes that occurred before.
    fn repeated(form: ValueForm) -> f64 {
        let value = Stamp { run: 1, key: 2, sequence: 3 }.in_form(form, 80_000);
        let begin = form.bytes_min() as usize;
        let blocks: Vec<&[u8]> = value[begin..].chunks_exact(8).collect();
        let different: std::collections::BTreeSet<_> = blocks.iter().collect();
        1.0 - different.len() as f64 / blocks.len() as f64
    }

    #[test]
    fn a_value_has_the_compressible_share_that_was_asked_for() {
        for kind in [ValueKind::Text, ValueKind::Json, ValueKind::Binary] {
            for percent in [0, 25, 50, 100] {
                let share = repeated(ValueForm::new(kind, Some(percent)));
                let asked = f64::from(percent) / 100.0;
                assert!((share - asked).abs() < 0.01, "{kind:?} {percent}: {share}");
            }
        }
        assert!(repeated(ValueForm::new(ValueKind::Binary, None)) < 0.01);
        assert!(repeated(ValueForm::default()) > 0.99);
    }

    #[test]
    fn random_bytes_are_of_all_values_and_values_differ() {
        let form = ValueForm::new(ValueKind::Binary, None);
        let value = |key| Stamp { run: 1, key, sequence: 0 }.in_form(form, 20_000);
        let (one, other) = (value(1), value(2));
        let mut counts = [0; 256];
        one[32..].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| (30..140).contains(count)), "{counts:?}");
        assert_ne!(one[32..], other[32..]);
    }

    fn forms() -> impl Strategy<Value = ValueForm> {
        let kind = prop::sample::select(vec![ValueKind::Text, ValueKind::Json, ValueKind::Binary]);
        (kind, 0u8..=100).prop_map(|(kind, percent)| ValueForm::new(kind, Some(percent)))
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
        fn a_value_of_any_form_reads_back(form in forms(), key: u32, sequence: u32, bytes in 0u32..5_000) {
            let stamp = Stamp { run: 7, key, sequence };
            let value = stamp.in_form(form, bytes);
            prop_assert_eq!(value.len(), bytes.max(form.bytes_min()) as usize);
            prop_assert_eq!(Stamp::of(&value), Ok(stamp));
            if form.kind != ValueKind::Binary {
                prop_assert!(value.is_ascii() && !value.contains(&0), "a column of text takes it");
            }
            if form.kind == ValueKind::Json {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&value).is_ok());
            }
        }

        #[test]
        fn any_changed_bit_is_noticed(
            form in forms(), bytes in 32u32..200, place: prop::sample::Index, bit in 0u8..8
        ) {
            let mut value = Stamp { run: 1, key: 2, sequence: 3 }.in_form(form, bytes);
            let place = place.index(value.len());
            value[place] ^= 1 << bit;
            prop_assert!(Stamp::of(&value).is_err());
        }

        #[test]
        fn any_cut_is_noticed(form in forms(), bytes in 32u32..200, cut: prop::sample::Index) {
            let value = Stamp { run: 1, key: 2, sequence: 3 }.in_form(form, bytes);
            prop_assert!(Stamp::of(&value[..cut.index(value.len())]).is_err());
        }

        #[test]
        fn garbage_is_no_value(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Stamp::of(&bytes).is_err());
        }
    }
}
