//! Values that say what they are, so that a read can be judged. By default they are ASCII, because the column may
//! be text; `value_form.rs` has other forms, and `value_template.rs` those of users. In each of them a *stamp* is somewhere:
//!
//! ```text
//! │ "Lv" │ run 6 │ key 6 │ sequence 6 │ length - 1: 4 │ checksum 8 │
//! ```
//! Numbers have six bits in each byte, the highest first. The length is that of the value. The checksum is taken from the
//! XXH3-64 of two XXH3-64s: of all of the value that is before it, and of all that is behind it. Padding follows from the
//! rest of the stamp, so that two values never share more than they must.

pub use standin_protocol::frame::VALUE_BYTES_MAX;
use standin_protocol::hash::key_hash;

use crate::key_names::{digits_of, push_number};
use crate::value_form::{ValueForm, digits};
pub use crate::value_template::VALUE_BYTES_MIN;
use crate::value_template::{Number, Piece, stamp_at};

const MAGIC: &[u8; 2] = b"Lv";
const RUN_AT: usize = 2;
const KEY_AT: usize = 8;
const SEQUENCE_AT: usize = 14;
const LENGTH_AT: usize = 20;
const CHECKSUM_AT: usize = 24;
const STAMP_BYTES: usize = VALUE_BYTES_MIN as usize;

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
    /// There is no stamp where values of the form have it.
    #[error("no stamp of the load generator where values of this form have it")]
    NotOurs,
    /// The length or checksum does not fit.
    #[error("a damaged value")]
    Damaged,
}

impl Stamp {
    /// A value of `value_bytes` (at least [`VALUE_BYTES_MIN`], at most [`VALUE_BYTES_MAX`]) with this stamp.
    #[must_use]
    pub fn to_value(self, value_bytes: u32) -> Vec<u8> {
        self.in_form(&ValueForm::default(), value_bytes)
    }

    /// A value of this form with `value_bytes` (at least [`ValueForm::bytes_min`], at most [`VALUE_BYTES_MAX`]). A template may
    /// have a size of its own.
    #[must_use]
    pub fn in_form(self, form: &ValueForm, value_bytes: u32) -> Vec<u8> {
        let pieces = form.pieces();
        let (mut fixed, mut fills) = (0, false);
        for piece in pieces {
            fixed += match piece {
                Piece::Text(text) => text.len(),
                Piece::Stamp => STAMP_BYTES,
                Piece::Number(number, digits) => {
                    digits_of(self.number(form, *number)).max((*digits).into())
                }
                Piece::Random(Some(bytes)) => *bytes as usize,
                Piece::Random(None) => {
                    fills = true;
                    0
                }
            };
        }
        let fill = if fills { (value_bytes as usize).saturating_sub(fixed) } else { 0 };
        let length = fixed + fill;
        let head = self.head(length);
        let seed = key_hash(1, &head);
        let mut bytes = Vec::with_capacity(length);
        let mut stamp = None;
        for (place, piece) in (0..).zip(pieces) {
            match piece {
                Piece::Text(text) => bytes.extend_from_slice(text),
                Piece::Stamp => {
                    stamp = Some(bytes.len());
                    bytes.extend_from_slice(&head);
                    bytes.extend_from_slice(&[0; STAMP_BYTES - CHECKSUM_AT]);
                }
                Piece::Number(number, digits) => {
                    push_number(&mut bytes, self.number(form, *number), (*digits).into());
                }
                Piece::Random(count) => {
                    let count = count.map_or(fill, |count| count as usize);
                    // Two in a template differ.
                    form.pad(seed.wrapping_add(place), count, &mut bytes);
                }
            }
        }
        if let Some(at) = stamp {
            let checksum = checksum(&bytes, at);
            bytes[at + CHECKSUM_AT..at + STAMP_BYTES].copy_from_slice(&checksum);
        }
        bytes
    }

    /// The stamp of a value of this length, without the checksum.
    fn head(self, length: usize) -> [u8; CHECKSUM_AT] {
        let mut head = [0; CHECKSUM_AT];
        head[..RUN_AT].copy_from_slice(MAGIC);
        for (at, number) in [(RUN_AT, self.run), (KEY_AT, self.key), (SEQUENCE_AT, self.sequence)] {
            head[at..at + 6].copy_from_slice(&digits::<6>(number.into()));
        }
        head[LENGTH_AT..].copy_from_slice(&digits::<4>(length.saturating_sub(1) as u64));
        head
    }

    fn number(self, form: &ValueForm, number: Number) -> u64 {
        match number {
            Number::Key => form.number(self.key),
            Number::Writer => self.run.into(),
            Number::Sequence => self.sequence.into(),
        }
    }

    /// Reads the stamp of a value of this form.
    ///
    /// # Errors
    /// [`BadValue`]; always if the form has no stamp.
    pub fn of(value: &[u8], form: &ValueForm) -> Result<Self, BadValue> {
        let at = stamp_at(form.pieces(), value).ok_or(BadValue::NotOurs)?;
        let stamp = value.get(at..at + STAMP_BYTES).ok_or(BadValue::NotOurs)?;
        if !stamp.starts_with(MAGIC) {
            return Err(BadValue::NotOurs);
        }
        let is_whole =
            number(&stamp[LENGTH_AT..CHECKSUM_AT]) == u32::try_from(value.len() - 1).ok();
        if !is_whole || stamp[CHECKSUM_AT..] != checksum(value, at) {
            return Err(BadValue::Damaged);
        }
        let number = |at: usize| number(&stamp[at..at + 6]).ok_or(BadValue::Damaged);
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
fn checksum(value: &[u8], at: usize) -> [u8; STAMP_BYTES - CHECKSUM_AT] {
    // The checksum's own place is left out by hashing both sides of it.
    let head = key_hash(0, &value[..at + CHECKSUM_AT]).to_le_bytes();
    let padding = key_hash(0, &value[at + STAMP_BYTES..]).to_le_bytes();
    digits(key_hash(0, &[head, padding].concat()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value_form::ValueKind;
    use crate::value_template::ValueTemplate;

    #[test]
    fn the_largest_value_reads_back() {
        let stamp = Stamp { run: u32::MAX, key: u32::MAX, sequence: u32::MAX };
        assert_eq!(Stamp::of(&stamp.to_value(16 << 20), &ValueForm::default()), Ok(stamp));
    }

    /// The share of a value's blocks of eight bytes that occurred before.
    fn repeated(form: &ValueForm) -> f64 {
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
                let share = repeated(&ValueForm::new(kind, Some(percent)));
                let asked = f64::from(percent) / 100.0;
                assert!((share - asked).abs() < 0.01, "{kind:?} {percent}: {share}");
            }
        }
        assert!(repeated(&ValueForm::new(ValueKind::Binary, None)) < 0.01);
        assert!(repeated(&ValueForm::default()) > 0.99);
    }

    #[test]
    fn random_bytes_are_of_all_values_and_values_differ() {
        let form = ValueForm::new(ValueKind::Binary, None);
        let value = |key| Stamp { run: 1, key, sequence: 0 }.in_form(&form, 20_000);
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

    /// Any pieces around a stamp, if they are a template together.
    fn templates() -> impl Strategy<Value = ValueForm> {
        let piece = prop_oneof![
            "[a-z0-9\"{}:, é]{1,6}",
            (1usize..40).prop_map(|letters| format!("{{random:{letters}}}")),
            prop::sample::select(vec!["{n}", "{n:9}", "{writer}", "{sequence:2}", "|", "{{n}"])
                .prop_map(str::to_owned),
        ];
        let pieces = || prop::collection::vec(piece.clone(), 0..5).prop_map(|all| all.concat());
        let fill = prop::sample::select(vec!["", "{random}"]);
        let all = (pieces(), pieces(), fill, pieces(), any::<u32>(), 0u8..=100);
        all.prop_filter_map("no template", |(before, between, fill, behind, first, percent)| {
            let text = format!("{before}{{stamp}}{between}{fill}{behind}");
            // A brace before the stamp makes a text of it.
            let template = text.parse::<ValueTemplate>().ok().filter(ValueTemplate::has_stamp)?;
            let form = ValueForm::of_template(template, Some(percent));
            Some(form.numbered_from(first.into()))
        })
    }

    #[test]
    fn json_of_a_template_stays_json_and_has_the_numbers_of_keys() {
        let text = r#"{"id": {n}, "s": "{stamp}", "by": "{writer}.{sequence:3}", "note": "{random:16}{random}"}"#;
        let form =
            ValueForm::of_template(text.parse().unwrap(), None).numbered_from(4_000_000_000_000);
        let stamp = Stamp { run: 91, key: 7, sequence: 3 };
        let value = stamp.in_form(&form, 200);
        let read: serde_json::Value = serde_json::from_slice(&value).unwrap();
        assert_eq!((&read["id"], &read["by"]), (&4_000_000_000_007_u64.into(), &"91.003".into()));
        assert_eq!((Stamp::of(&value, &form), value.len()), (Ok(stamp), 200));
        let note = read["note"].as_str().unwrap();
        assert_ne!(note[..16], note[16..32], "each has letters of its own");
        assert_eq!(Stamp::of(&value, &ValueForm::default()), Err(BadValue::NotOurs));
        let plain = ValueForm::of_template("key {n}".parse().unwrap(), None);
        assert_eq!(stamp.in_form(&plain, 500), b"key 7");
        assert_eq!(Stamp::of(b"key 7", &plain), Err(BadValue::NotOurs));
    }

    proptest! {
        #[test]
        fn a_value_of_a_template_reads_back(
            form in templates(), run: u32, key: u32, sequence: u32, bytes in 0u32..500
        ) {
            let stamp = Stamp { run, key, sequence };
            let value = stamp.in_form(&form, bytes);
            prop_assert_eq!(Stamp::of(&value, &form), Ok(stamp));
            let template = form.template.as_ref().unwrap();
            let (least, most) = template.bytes();
            let most = if template.fills() { most.max(bytes) } else { most };
            prop_assert!((least as usize..=most as usize).contains(&value.len()));
            if template.fills() && bytes >= form.bytes_min() {
                prop_assert_eq!(value.len(), bytes as usize);
            }
        }

        #[test]
        fn any_change_of_a_value_of_a_template_is_noticed(
            form in templates(), place: prop::sample::Index, bit in 0u8..8, other in 0u32..200
        ) {
            let stamp = Stamp { run: 5, key: 77, sequence: 9 };
            let value = stamp.in_form(&form, 90);
            let place = place.index(value.len());
            let mut changed = value.clone();
            changed[place] ^= 1 << bit;
            prop_assert!(Stamp::of(&changed, &form).is_err());
            prop_assert!(Stamp::of(&value[..place], &form).is_err());
            // Torn: the rest is of another write.
            let before = Stamp { sequence: other, ..stamp }.in_form(&form, 90);
            let torn = [&value[..place], &before[place.min(before.len())..]].concat();
            if torn != value && torn != before {
                prop_assert!(Stamp::of(&torn, &form).is_err());
            }
        }

        #[test]
        fn a_value_reads_back(run: u32, key: u32, sequence: u32, bytes in 0u32..5_000) {
            let stamp = Stamp { run, key, sequence };
            let value = stamp.to_value(bytes);
            prop_assert_eq!(value.len(), bytes.max(VALUE_BYTES_MIN) as usize);
            prop_assert_eq!(Stamp::of(&value, &ValueForm::default()), Ok(stamp));
            prop_assert!(value.is_ascii() && !value.contains(&0), "a column of text takes it");
        }

        #[test]
        fn a_value_of_any_form_reads_back(form in forms(), key: u32, sequence: u32, bytes in 0u32..5_000) {
            let stamp = Stamp { run: 7, key, sequence };
            let value = stamp.in_form(&form, bytes);
            prop_assert_eq!(value.len(), bytes.max(form.bytes_min()) as usize);
            prop_assert_eq!(Stamp::of(&value, &form), Ok(stamp));
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
            let mut value = Stamp { run: 1, key: 2, sequence: 3 }.in_form(&form, bytes);
            let place = place.index(value.len());
            value[place] ^= 1 << bit;
            prop_assert!(Stamp::of(&value, &form).is_err());
        }

        #[test]
        fn any_cut_is_noticed(form in forms(), bytes in 32u32..200, cut: prop::sample::Index) {
            let value = Stamp { run: 1, key: 2, sequence: 3 }.in_form(&form, bytes);
            prop_assert!(Stamp::of(&value[..cut.index(value.len())], &form).is_err());
        }

        #[test]
        fn garbage_is_no_value(form in forms(), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Stamp::of(&bytes, &form).is_err());
        }
    }
}
