//! A request of a trace, and the fields that formats have in common.

use super::{Mistake, Operation, Position};

/// A request as it was recorded. It is read into again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in microseconds.
    pub time_us: u64,
    /// The time that a unit of the last digit of `time_us` has: a second if it was written in seconds.
    pub unit_us: u64,
    /// The key.
    pub key: Vec<u8>,
    /// The size of the value; also for reads.
    pub value_bytes: u32,
    /// The operation.
    pub operation: Operation,
    /// The lifetime that it gives, in seconds; 0: none.
    pub ttl_s: u32,
    /// Where it is.
    pub position: Position,
}

impl Record {
    /// Room for one.
    #[must_use]
    pub fn room() -> Self {
        Self {
            time_us: 0,
            unit_us: SECOND_US,
            key: Vec::new(),
            value_bytes: 0,
            operation: Operation::Get,
            ttl_s: 0,
            position: Position::Record(0),
        }
    }
}

/// A second.
pub(super) const SECOND_US: u64 = 1_000_000;

/// The text of a field for a message, cut.
pub(super) fn shown(field: &[u8]) -> String {
    const SHOWN_BYTES: usize = 60;
    let cut = field.get(..SHOWN_BYTES).unwrap_or(field);
    let more = if cut.len() < field.len() { "…" } else { "" };
    format!("{}{more}", cut.escape_ascii())
}

/// A whole number. What is larger than 32 bits is taken as their largest: sizes are clamped anyway, and a lifetime of a
/// century never ends.
pub(super) fn whole(field: &[u8], name: &'static str) -> Result<u32, Mistake> {
    digits(field)
        .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
        .ok_or_else(|| Mistake::Number { name, text: shown(field) })
}

/// A number of digits and nothing else.
pub(super) fn digits(field: &[u8]) -> Option<u64> {
    let field = field.trim_ascii();
    let is_number = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(field).ok().filter(|_| is_number)?.parse().ok()
}
