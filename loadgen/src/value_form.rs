//! The form of values: text, JSON, binary or a template of the user's own, and how far they can be compressed. What they say
//! of themselves is in `value.rs`, and what they consist of in `value_template.rs`.
//!
//! The padding of a value has a part that looks random and one that repeats eight bytes, so that a compressor finds
//! about the share asked for. Random text and JSON have 64 different characters, of which a compressor with entropy coding
//! saves a quarter.

use std::borrow::Cow;
use std::sync::Arc;

use clap::ValueEnum;

use crate::rng::{GAMMA, mix};
use crate::value_template::{Piece, VALUE_BYTES_MIN, ValueTemplate};

/// The byte for each value of six bits.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A stamp and padding.
const PLAIN: &[Piece] = &[Piece::Stamp, Piece::Random(None)];
/// Both in an object.
const JSON: &[Piece] = &[
    Piece::Text(Cow::Borrowed(b"{\"stamp\":\"")),
    Piece::Stamp,
    Piece::Text(Cow::Borrowed(b"\",\"data\":\"")),
    Piece::Random(None),
    Piece::Text(Cow::Borrowed(b"\"}")),
];
/// Bytes of the smallest object.
const JSON_BYTES_MIN: u32 = VALUE_BYTES_MIN + 22;

/// The kind of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ValueKind {
    /// Letters, digits, dashes and underscores.
    #[default]
    Text,
    /// An object with two strings.
    Json,
    /// Any bytes behind a stamp of text. A column of text does not take them.
    Binary,
}

/// Kind and compressibility of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueForm {
    /// The kind; of a template, that of its random letters.
    pub kind: ValueKind,
    /// A template of the user's own.
    pub template: Option<Arc<ValueTemplate>>,
    /// The share of the padding that is the same eight bytes again and again, 0 to 100.
    pub compressible_percent: u8,
    /// The number of the first key.
    first_key: u64,
}

/// As values were before there were forms.
impl Default for ValueForm {
    fn default() -> Self {
        Self::new(ValueKind::Text, None)
    }
}

impl ValueForm {
    /// A form; without a share, binary values are random, and others repeat themselves.
    #[must_use]
    pub fn new(kind: ValueKind, compressible_percent: Option<u8>) -> Self {
        let usual = if kind == ValueKind::Binary { 0 } else { 100 };
        let compressible_percent = compressible_percent.unwrap_or(usual).min(100);
        Self { kind, template: None, compressible_percent, first_key: 0 }
    }

    /// The form of a template; without a share, its random letters do not repeat themselves.
    #[must_use]
    pub fn of_template(template: ValueTemplate, compressible_percent: Option<u8>) -> Self {
        let plain = Self::new(ValueKind::Text, compressible_percent.or(Some(0)));
        Self { template: Some(Arc::new(template)), ..plain }
    }

    /// Sets the number of the first key, which is 0 by default.
    #[must_use]
    pub fn numbered_from(self, first_key: u64) -> Self {
        Self { first_key, ..self }
    }

    /// The number of a key, as in its name.
    pub(crate) fn number(&self, key: u32) -> u64 {
        self.first_key.saturating_add(key.into())
    }

    /// The bytes of the smallest value that can have any size above; of a template, with the longest numbers.
    #[must_use]
    pub fn bytes_min(&self) -> u32 {
        match (&self.template, self.kind) {
            (Some(template), _) => template.bytes().1,
            (None, ValueKind::Text | ValueKind::Binary) => VALUE_BYTES_MIN,
            (None, ValueKind::Json) => JSON_BYTES_MIN,
        }
    }

    /// Whether each value, however small, is of this form. Otherwise one that is too small to say what it is may be another.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.template.is_some() || self.kind == ValueKind::Json
    }

    /// What values consist of.
    pub(crate) fn pieces(&self) -> &[Piece] {
        match (&self.template, self.kind) {
            (Some(template), _) => template.pieces(),
            (None, ValueKind::Text | ValueKind::Binary) => PLAIN,
            (None, ValueKind::Json) => JSON,
        }
    }

    /// Appends this many bytes of padding, which follow from the seed.
    pub(crate) fn pad(&self, seed: u64, count: usize, out: &mut Vec<u8>) {
        let repeated = count as u64 * u64::from(self.compressible_percent) / 100;
        let random_end = out.len() + count - usize::try_from(repeated).unwrap_or(count);
        let end = out.len() + count;
        let mut state = seed;
        while out.len() < random_end {
            state = state.wrapping_add(GAMMA);
            let room = random_end - out.len();
            let bytes = self.eight(mix(state));
            out.extend_from_slice(&bytes[..room.min(8)]);
        }
        let pattern = self.eight(seed);
        out.extend(pattern.iter().cycle().take(end - out.len()));
    }

    fn eight(&self, number: u64) -> [u8; 8] {
        match self.kind {
            ValueKind::Text | ValueKind::Json => digits::<8>(number),
            ValueKind::Binary => number.to_le_bytes(),
        }
    }
}

/// The lowest bits of a number, six in each byte, the highest first.
pub(crate) fn digits<const N: usize>(number: u64) -> [u8; N] {
    std::array::from_fn(|at| DIGITS[(number >> (6 * (N - 1 - at))) as usize & 63])
}
