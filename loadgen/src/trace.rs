//! Recorded traces: libCacheSim's oracleGeneral and Twitter's CSV lines.
//!
//! Distinct keys are numbered in the order of their first request, so that the rest of the
//! load generator works with small numbers.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use crate::request::{Access, ValueSizes};
use crate::value::VALUE_BYTES_MIN;

/// Bytes of an oracleGeneral record: `u32` time in seconds, `u64` object id, `u32` size in
/// bytes, `i64` next access; packed, little-endian.
const ORACLE_RECORD_BYTES: usize = 24;

/// Which format a trace file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TraceFormat {
    /// libCacheSim's oracleGeneral, 24-byte binary records. All requests are reads.
    Oracle,
    /// Lines `timestamp,key,key_size,value_size,client_id,operation,ttl`.
    Twitter,
}

/// The numbers of a trace's values that are replayed with another size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clamped {
    /// Requests whose value was smaller than the lower bound.
    pub enlarged: u64,
    /// Requests whose value was larger than the upper bound.
    pub reduced: u64,
}

/// A trace in memory.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Distinct keys; an entry's key is an index.
    pub keys: Arc<[Box<[u8]>]>,
    /// Requests, in order.
    pub entries: Vec<Entry>,
    /// Sizes that were changed.
    pub clamped: Clamped,
    first_bytes: Vec<u32>,
}

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Index of the key.
    pub key: u32,
    /// Time in the trace.
    pub time_s: u32,
    /// Size of the value, clamped to the bounds; also for reads.
    pub value_bytes: u32,
    /// The operation.
    pub access: Access,
}

/// Why a trace can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file can't be read.
    #[error("the trace can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// The length is no multiple of the record's.
    #[error(
        "{bytes} bytes is not a whole number of 24-byte records; is it an uncompressed \
         oracleGeneral file?"
    )]
    Length {
        /// Bytes of the file.
        bytes: usize,
    },
    /// A line is not of the format.
    #[error(
        "line {line}: {what}; expected timestamp,key,key_size,value_size,client_id,operation,ttl"
    )]
    Line {
        /// Line, from one.
        line: usize,
        /// The mistake.
        what: &'static str,
    },
    /// More distinct keys than can be numbered.
    #[error("the trace has more than 4 billion distinct keys; replay a part of it")]
    TooManyKeys,
    /// Nothing in it.
    #[error("the trace is empty")]
    Empty,
}

impl Trace {
    /// Reads libCacheSim's oracleGeneral. Keys are the object ids in decimal.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn oracle(bytes: &[u8], sizes: ValueSizes) -> Result<Self, TraceError> {
        let (records, rest) = bytes.as_chunks::<ORACLE_RECORD_BYTES>();
        if !rest.is_empty() {
            return Err(TraceError::Length { bytes: bytes.len() });
        }
        let mut builder = Builder::new(sizes);
        for record in records {
            let [t0, t1, t2, t3, id @ .., s0, s1, s2, s3, _, _, _, _, _, _, _, _] = *record;
            let time_s = u32::from_le_bytes([t0, t1, t2, t3]);
            let size_bytes = u32::from_le_bytes([s0, s1, s2, s3]);
            let key = u64::from_le_bytes(id).to_string();
            builder.push(time_s, key.as_bytes(), size_bytes, |_| Access::Read)?;
        }
        builder.finish()
    }

    /// Reads Twitter's lines. A key may contain commas.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn twitter(lines: impl BufRead, sizes: ValueSizes) -> Result<Self, TraceError> {
        let mut builder = Builder::new(sizes);
        for (number, line) in (1..).zip(lines.split(b'\n')) {
            let line = line?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                continue;
            }
            let wrong = |what| TraceError::Line { line: number, what };
            let (time, rest) = split_first(line).ok_or(wrong("too few fields"))?;
            let mut from_right = rest.rsplitn(6, |byte| *byte == b',');
            let mut field = || from_right.next().ok_or(wrong("too few fields"));
            let ttl_s = number_of(field()?).ok_or(wrong("the ttl is not a number"))?;
            let operation = field()?;
            let _client = field()?;
            let size_bytes = number_of(field()?).ok_or(wrong("value_size is not a number"))?;
            let _key_bytes = field()?;
            let key = field()?;
            let time_s = number_of(time).ok_or(wrong("the timestamp is not a number"))?;
            let access = match operation {
                b"get" | b"gets" => |_| Access::Read,
                b"set" | b"add" | b"replace" | b"cas" | b"append" | b"prepend" | b"incr"
                | b"decr" => {
                    |entry: (u32, u32)| Access::Write { value_bytes: entry.0, ttl_s: entry.1 }
                }
                b"delete" => |_| Access::Delete,
                _ => return Err(wrong("the operation is unknown")),
            };
            builder.push(time_s, key, size_bytes, |value_bytes| access((value_bytes, ttl_s)))?;
        }
        builder.finish()
    }

    /// Size that the value of a key had at its first request.
    #[must_use]
    pub fn first_bytes(&self, key: u32) -> u32 {
        self.first_bytes.get(key as usize).copied().unwrap_or(VALUE_BYTES_MIN)
    }
}

struct Builder {
    sizes: ValueSizes,
    clamped: Clamped,
    numbers: HashMap<Box<[u8]>, u32>,
    keys: Vec<Box<[u8]>>,
    first_bytes: Vec<u32>,
    entries: Vec<Entry>,
}

impl Builder {
    fn new(sizes: ValueSizes) -> Self {
        let (numbers, keys) = (HashMap::new(), Vec::new());
        Self {
            sizes,
            clamped: Clamped::default(),
            numbers,
            keys,
            first_bytes: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn push(
        &mut self,
        time_s: u32,
        key: &[u8],
        size_bytes: u32,
        access: impl Fn(u32) -> Access,
    ) -> Result<(), TraceError> {
        let value_bytes = size_bytes.clamp(self.sizes.min_bytes, self.sizes.max_bytes);
        self.clamped.enlarged += u64::from(value_bytes > size_bytes);
        self.clamped.reduced += u64::from(value_bytes < size_bytes);
        let key = match self.numbers.get(key) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.keys.len()).map_err(|_| TraceError::TooManyKeys)?;
                self.numbers.insert(key.into(), number);
                self.keys.push(key.into());
                self.first_bytes.push(value_bytes);
                number
            }
        };
        self.entries.push(Entry { key, time_s, value_bytes, access: access(value_bytes) });
        Ok(())
    }

    fn finish(self) -> Result<Trace, TraceError> {
        if self.entries.is_empty() {
            return Err(TraceError::Empty);
        }
        let keys = self.keys.into();
        let Self { entries, clamped, first_bytes, .. } = self;
        Ok(Trace { keys, entries, clamped, first_bytes })
    }
}

fn split_first(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = line.iter().position(|byte| *byte == b',')?;
    Some((&line[..comma], &line[comma + 1..]))
}

fn number_of(field: &[u8]) -> Option<u32> {
    let number: u64 = std::str::from_utf8(field).ok()?.trim().parse().ok()?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: ValueSizes = ValueSizes::between(VALUE_BYTES_MIN, 4_096);

    fn record(time_s: u32, id: u64, size_bytes: u32) -> Vec<u8> {
        let mut bytes = time_s.to_le_bytes().to_vec();
        bytes.extend(id.to_le_bytes());
        bytes.extend(size_bytes.to_le_bytes());
        bytes.extend((-1i64).to_le_bytes());
        bytes
    }

    #[test]
    fn reads_oracle_general() {
        let bytes = [record(1, 900, 512), record(2, u64::MAX, 1 << 20), record(2, 900, 1)].concat();
        let trace = Trace::oracle(&bytes, SIZES).unwrap();
        assert_eq!(&*trace.keys[0], b"900");
        assert_eq!(&*trace.keys[1], b"18446744073709551615");
        let sizes: Vec<_> =
            trace.entries.iter().map(|e| (e.key, e.time_s, e.value_bytes)).collect();
        assert_eq!(sizes, [(0, 1, 512), (1, 2, 4_096), (0, 2, VALUE_BYTES_MIN)]);
        assert!(trace.entries.iter().all(|entry| entry.access == Access::Read));
        assert_eq!((trace.first_bytes(0), trace.first_bytes(1)), (512, 4_096));
        assert_eq!(trace.clamped, Clamped { enlarged: 1, reduced: 1 });
    }

    #[test]
    fn refuses_half_a_record_and_nothing() {
        let bytes = record(1, 2, 3);
        let error = Trace::oracle(&bytes[..23], SIZES).unwrap_err();
        assert!(matches!(error, TraceError::Length { bytes: 23 }), "{error}");
        assert!(matches!(Trace::oracle(&[], SIZES), Err(TraceError::Empty)));
    }

    #[test]
    fn reads_twitter_lines() {
        let text = "0,q:q:1:8WTfjZU14ee,17,213,4,get,0\n\
                    0,yDqF,4,100,1,set,86400\r\n\
                    \n\
                    3,a,b,3,0,1,delete,0\n\
                    3,yDqF,4,99999,1,add,5\n";
        let trace = Trace::twitter(text.as_bytes(), SIZES).unwrap();
        assert_eq!(&*trace.keys[0], b"q:q:1:8WTfjZU14ee");
        assert_eq!(&*trace.keys[2], b"a,b", "a key may contain commas");
        let deeds: Vec<_> = trace.entries.iter().map(|e| (e.key, e.access)).collect();
        assert_eq!(
            deeds,
            [
                (0, Access::Read),
                (1, Access::Write { value_bytes: 100, ttl_s: 86_400 }),
                (2, Access::Delete),
                (1, Access::Write { value_bytes: 4_096, ttl_s: 5 }),
            ]
        );
        assert_eq!(trace.entries[0].value_bytes, 213);
    }

    #[test]
    fn says_which_line_is_wrong() {
        for (text, what) in [
            ("1,k,1,1,1,get,0\n1,k,1,1,get,0", "too few fields"),
            ("1,k,1,1,1,get,0\nx,k,1,1,1,get,0", "timestamp"),
            ("1,k,1,1,1,get,0\n1,k,1,y,1,get,0", "value_size"),
            ("1,k,1,1,1,get,0\n1,k,1,1,1,sing,0", "operation"),
        ] {
            let error = Trace::twitter(text.as_bytes(), SIZES).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("line 2") && message.contains(what), "{message}");
        }
    }
}
