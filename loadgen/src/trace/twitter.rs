//! Twitter's lines: `timestamp,key,key_size,value_size,client_id,operation,ttl`. Nothing is quoted, and a key may contain
//! commas, so the fields behind it are counted from the end.

use super::input::Input;
use super::lines::Lines;
use super::record::{SECOND_US, digits, shown, whole};
use super::{Mistake, Operation, Position, Record, TraceError, TraceFormat};

/// The fields behind the key.
const FIELDS_BEHIND: usize = 5;

pub(super) struct Twitter {
    lines: Lines,
}

impl Twitter {
    pub(super) fn new(input: Input) -> Self {
        Self { lines: Lines::new(input) }
    }

    pub(super) fn read(&mut self, record: &mut Record) -> Result<bool, TraceError> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let parsed = parse(line, record);
        let position = Position::Line(self.lines.number());
        record.position = position;
        let wrong = |mistake| TraceError::Row { position, mistake, format: TraceFormat::Twitter };
        parsed.map(|()| true).map_err(wrong)
    }
}

fn parse(line: &[u8], record: &mut Record) -> Result<(), Mistake> {
    let (time, rest) = split_first(line).ok_or(Mistake::TooFewFields)?;
    let mut from_end = rest.rsplitn(FIELDS_BEHIND + 1, |byte| *byte == b',');
    let mut field = || from_end.next().ok_or(Mistake::TooFewFields);
    let (ttl, operation, _client) = (field()?, field()?, field()?);
    let (value_bytes, _key_bytes, key) = (field()?, field()?, field()?);
    let seconds = digits(time).and_then(|seconds| seconds.checked_mul(SECOND_US));
    record.time_us = seconds.ok_or_else(|| Mistake::Time(shown(time)))?;
    record.unit_us = SECOND_US;
    record.ttl_s = whole(ttl, "ttl")?;
    record.operation =
        Operation::of(operation).ok_or_else(|| Mistake::Operation(shown(operation)))?;
    record.value_bytes = whole(value_bytes, "value_size")?;
    if key.is_empty() {
        return Err(Mistake::EmptyKey);
    }
    record.key.clear();
    record.key.extend_from_slice(key);
    Ok(())
}

fn split_first(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = memchr::memchr(b',', line)?;
    Some((&line[..comma], &line[comma + 1..]))
}
