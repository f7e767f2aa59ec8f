//! CSV with a header: fields may be quoted, and columns may be in any order.

use std::io::{self, Read};

use super::input::{Input, failed};
use super::lines::ROW_BYTES_MAX;
use super::record::{SECOND_US, digits, shown, whole};
use super::{Mistake, Operation, Position, Record, TraceError, TraceFormat};

/// Bytes that the reader may take beyond the end of a row.
const BUFFER_BYTES: usize = 64 << 10;
/// The digits behind the point of seconds.
const FRACTION_DIGITS: usize = 6;

/// The unit of the column with the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeUnit {
    Seconds,
    Millis,
    Micros,
}

/// The places of the columns.
struct Places {
    time: (usize, TimeUnit),
    key: usize,
    operation: Option<usize>,
    size: Option<usize>,
    ttl: Option<usize>,
}

pub(super) struct Columns {
    reader: csv::Reader<Limited>,
    row: csv::ByteRecord,
    places: Places,
    unused: Vec<String>,
}

impl Columns {
    pub(super) fn new(input: Input) -> Result<Self, TraceError> {
        let limited = Limited {
            input,
            left: ROW_BYTES_MAX + BUFFER_BYTES,
            is_exceeded: false,
            is_in_row: false,
        };
        let mut reader =
            csv::ReaderBuilder::new().buffer_capacity(BUFFER_BYTES).from_reader(limited);
        let header = match reader.byte_headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(wrong(&mut reader, error)),
        };
        let (places, unused) = find(&header)?;
        Ok(Self { reader, row: csv::ByteRecord::new(), places, unused })
    }

    pub(super) fn unused(&self) -> &[String] {
        &self.unused
    }

    pub(super) fn read(&mut self, record: &mut Record) -> Result<bool, TraceError> {
        self.reader.get_mut().left = ROW_BYTES_MAX + BUFFER_BYTES;
        match self.reader.read_byte_record(&mut self.row) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(wrong(&mut self.reader, error)),
        }
        let line = line_before(&self.reader);
        record.position = Position::Line(line);
        self.parse(record).map(|()| true).map_err(|mistake| row_error(line, mistake))
    }

    fn parse(&self, record: &mut Record) -> Result<(), Mistake> {
        let Places { time: (time, unit), key, operation, size, ttl } = self.places;
        let field = |place: usize| self.row.get(place).ok_or(Mistake::TooFewFields);
        let text = field(time)?;
        (record.time_us, record.unit_us) =
            time_of(text, unit).ok_or_else(|| Mistake::Time(shown(text)))?;
        let key = field(key)?;
        if key.is_empty() {
            return Err(Mistake::EmptyKey);
        }
        record.key.clear();
        record.key.extend_from_slice(key);
        let number = |place: Option<usize>, name| match place {
            Some(place) => whole(field(place)?, name),
            None => Ok(0),
        };
        record.value_bytes = number(size, "size")?;
        record.ttl_s = number(ttl, "ttl")?;
        record.operation = match operation {
            None => Operation::Get,
            Some(place) => {
                let name = field(place)?.trim_ascii();
                Operation::of(name).ok_or_else(|| Mistake::Operation(shown(name)))?
            }
        };
        Ok(())
    }
}

/// The columns by their names, and those that are not used.
fn find(header: &csv::ByteRecord) -> Result<(Places, Vec<String>), TraceError> {
    let wrong = |what: &str| TraceError::Header { what: what.to_owned() };
    let (mut time, mut key, mut operation, mut size, mut ttl) = (None, None, None, None, None);
    let mut unused = Vec::new();
    for (place, name) in header.iter().enumerate() {
        let name = name.trim_ascii();
        let is_twice = match name {
            b"time" => time.replace((place, TimeUnit::Seconds)).is_some(),
            b"time_ms" => time.replace((place, TimeUnit::Millis)).is_some(),
            b"time_us" => time.replace((place, TimeUnit::Micros)).is_some(),
            b"key" => key.replace(place).is_some(),
            b"operation" => operation.replace(place).is_some(),
            b"size" => size.replace(place).is_some(),
            b"ttl" => ttl.replace(place).is_some(),
            other => {
                unused.push(shown(other));
                false
            }
        };
        if is_twice {
            return Err(wrong(&format!("has the column {} (or another time) twice", shown(name))));
        }
    }
    let time = time.ok_or_else(|| wrong("has no column time, time_ms or time_us"))?;
    let key = key.ok_or_else(|| wrong("has no column key"))?;
    Ok((Places { time, key, operation, size, ttl }, unused))
}

/// A time in microseconds, and what a unit of its last digit is.
fn time_of(text: &[u8], unit: TimeUnit) -> Option<(u64, u64)> {
    let text = text.trim_ascii();
    match unit {
        TimeUnit::Millis => digits(text)?.checked_mul(1_000).map(|time| (time, 1_000)),
        TimeUnit::Micros => digits(text).map(|time| (time, 1)),
        TimeUnit::Seconds => {
            let point = memchr::memchr(b'.', text).unwrap_or(text.len());
            let fraction = text.get(point + 1..).unwrap_or_default();
            let seconds = digits(&text[..point])?.checked_mul(SECOND_US)?;
            if fraction.is_empty() {
                return (point == text.len()).then_some((seconds, SECOND_US));
            }
            // What is smaller than a microsecond is cut.
            let kept = &fraction[..fraction.len().min(FRACTION_DIGITS)];
            let is_number = fraction.iter().all(u8::is_ascii_digit);
            let unit_us = 10_u64.pow(u32::try_from(FRACTION_DIGITS - kept.len()).ok()?);
            let micros = digits(kept).filter(|_| is_number)? * unit_us;
            Some((seconds.checked_add(micros)?, unit_us))
        }
    }
}

/// The line with the end of the row that was read last. The reader is behind its line feed, which each row has; what it
/// says of the beginning of a row counts empty lines before it as part of it.
fn line_before(reader: &csv::Reader<Limited>) -> u64 {
    reader.position().line().saturating_sub(1)
}

fn row_error(line: u64, mistake: Mistake) -> TraceError {
    TraceError::Row { position: Position::Line(line), mistake, format: TraceFormat::Csv }
}

fn wrong(reader: &mut csv::Reader<Limited>, error: csv::Error) -> TraceError {
    let line = reader.position().line();
    if reader.get_ref().is_exceeded {
        return row_error(line, Mistake::TooLong { max: ROW_BYTES_MAX });
    }
    match error.into_kind() {
        csv::ErrorKind::Io(error) => failed(error),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let mistake = Mistake::Fields { found: len, expected: expected_len };
            row_error(line_before(reader), mistake)
        }
        // The others are about text and types, which are not asked of the reader.
        other => failed(io::Error::other(format!("{other:?}"))),
    }
}

/// Refuses a row that does not end: the reader would keep all of it. And gives each row a line feed and nothing else as its
/// end, because the reader counts lines by them.
struct Limited {
    input: Input,
    /// Bytes that may be read until the row must have ended.
    left: usize,
    is_exceeded: bool,
    /// Whether bytes have come since the last line feed.
    is_in_row: bool,
}

impl Read for Limited {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.left == 0 {
                self.is_exceeded = true;
                return Err(io::Error::other("a row without an end"));
            }
            let room = out.len().min(self.left);
            let read = self.input.read(&mut out[..room])?;
            let Some(last) = read.checked_sub(1) else {
                let is_cut = std::mem::replace(&mut self.is_in_row, false);
                return Ok(match out.first_mut().filter(|_| is_cut) {
                    Some(first) => {
                        *first = b'\n';
                        1
                    }
                    None => 0,
                });
            };
            self.left -= read;
            self.is_in_row = out[last] != b'\n';
            let (mut at, mut kept) = (0, 0);
            while at < read {
                out[kept] = out[at];
                kept += usize::from(out[at] != b'\r');
                at += 1;
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}
