//! The form of values: text, JSON or binary, and how far they can be compressed. What they say of themselves is in
//! `value.rs`.
//!
//! The padding of a value has a part that looks random and one that repeats eight bytes, so that a compressor finds
//! about the share asked for. Random text and JSON have 64 different characters, of which a compressor with entropy coding
//! saves a quarter.

use crate::rng::{GAMMA, mix};
use clap::ValueEnum;

/// Bytes of a value before the padding: the smallest value.
pub const VALUE_BYTES_MIN: u32 = 32;

/// The byte for each value of six bits.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is before the stamp of a value in JSON, between stamp and padding, and behind the padding.
pub(crate) const JSON_BEGIN: &[u8] = b"{\"stamp\":\"";
pub(crate) const JSON_MIDDLE: &[u8] = b"\",\"data\":\"";
pub(crate) const JSON_END: &[u8] = b"\"}";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueForm {
    /// The kind.
    pub kind: ValueKind,
    /// The share of the padding that is the same eight bytes again and again, 0 to 100.
    pub compressible_percent: u8,
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
        Self { kind, compressible_percent: compressible_percent.unwrap_or(usual).min(100) }
    }

    /// The bytes of the smallest value.
    #[must_use]
    pub fn bytes_min(self) -> u32 {
        let (begin, middle, end) = self.frame();
        let frame = begin.len() + middle.len() + end.len();
        VALUE_BYTES_MIN + u32::try_from(frame).unwrap_or(0)
    }

    /// What is before the stamp, between stamp and padding, and behind the padding.
    pub(crate) fn frame(self) -> (&'static [u8], &'static [u8], &'static [u8]) {
        match self.kind {
            ValueKind::Text | ValueKind::Binary => (b"", b"", b""),
            ValueKind::Json => (JSON_BEGIN, JSON_MIDDLE, JSON_END),
        }
    }

    /// Appends this many bytes of padding, which follow from the seed.
    pub(crate) fn pad(self, seed: u64, count: usize, out: &mut Vec<u8>) {
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

    fn eight(self, number: u64) -> [u8; 8] {
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
