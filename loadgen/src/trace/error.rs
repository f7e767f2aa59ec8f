//! Why a trace can't be replayed, where, and what to do.

use std::fmt;

use super::TraceFormat;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// A line, from one.
    Line(u64),
    /// A binary record, from one.
    Record(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Record(number) => write!(f, "record {number}"),
        }
    }
}

/// The mistake in a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Fewer fields than the format has.
    #[error("too few fields")]
    TooFewFields,
    /// Another number of fields than the header has.
    #[error("{found} fields, but the header has {expected}; quote fields with commas")]
    Fields {
        /// Those of the row.
        found: u64,
        /// Those of the header.
        expected: u64,
    },
    /// A row without an end.
    #[error("it is longer than {max} bytes; is a quote open, or is it another format?")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// The time.
    #[error("the time {0:?} is not a number of seconds, or too large")]
    Time(String),
    /// A whole number.
    #[error("{name} {text:?} is not a whole number")]
    Number {
        /// The field.
        name: &'static str,
        /// Its text.
        text: String,
    },
    /// The operation.
    #[error(
        "the operation {0:?} is unknown; known are get, gets, set, add, replace, cas, append, prepend, delete, incr, decr \
         and touch"
    )]
    Operation(String),
    /// The key has no byte.
    #[error("the key is empty")]
    EmptyKey,
}

/// Why a trace can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// A pipe or a device.
    #[error("it is no file that can be read more than once; write what it gives into a file")]
    NoFile,
    /// It is compressed, and that is wrong.
    #[error("the zstd data is damaged or cut ({0}); check it with zstd --test, or fetch it again")]
    Compressed(String),
    /// The window of the compression is larger than what may be in memory.
    #[error(
        "it is compressed with a window of {} MiB, and at most {} MiB are held in memory; decompress it, or compress it \
         with a smaller --long", window_bytes >> 20, max_bytes >> 20
    )]
    Window {
        /// The window of the file.
        window_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The last record is not whole.
    #[error(
        "record {record} has {bytes} of 24 bytes: the file is cut, or is no oracleGeneral; fetch it again, or check --format"
    )]
    Cut {
        /// Its number, from one.
        record: u64,
        /// The bytes that are there.
        bytes: usize,
    },
    /// A row is not of the format.
    #[error("{position}: {mistake}; {}", expected(*format))]
    Row {
        /// Where.
        position: Position,
        /// What.
        mistake: Mistake,
        /// The format asked for.
        format: TraceFormat,
    },
    /// The header of a CSV file.
    #[error("the header {what}; {}", expected(TraceFormat::Csv))]
    Header {
        /// The mistake.
        what: String,
    },
    /// Times that go backward can't be kept.
    #[error(
        "{position} has an earlier time than the row before; sort the file by time, or replay it with --rate or --closed, \
         which use no times"
    )]
    Backward {
        /// Where.
        position: Position,
    },
    /// A key that the target does not take.
    #[error("{position} has the key {key:?}, {why}")]
    Key {
        /// Where.
        position: Position,
        /// The key, escaped and cut.
        key: String,
        /// The rule.
        why: String,
    },
    /// A lifetime where losses are judged.
    #[error(
        "{position} gives its value a lifetime, and such a value is not lost when it is gone: leave --lossless away"
    )]
    Lifetime {
        /// Where.
        position: Position,
    },
    /// A compare-and-swap of values that don't say which they are.
    #[error(
        "{position} is a compare-and-swap, which needs values that say which they are: add {{stamp}} to --value-template, or \
         remove such rows"
    )]
    Unstamped {
        /// Where.
        position: Position,
    },
    /// More distinct keys than may be remembered.
    #[error(
        "{position} has the {}th distinct key: raise --trace-keys ({} bytes of memory for each key), replay a part of the \
         file, or leave --fill away", max + 1, super::numbering::BYTES_PER_KEY
    )]
    TooManyKeys {
        /// Where.
        position: Position,
        /// The limit.
        max: u32,
    },
    /// Nothing in it.
    #[error("it has no requests")]
    Empty,
    /// It became shorter while it was read.
    #[error(
        "the file was cut while it was read: it had {before} bytes, and ends after {after}; replay a file that nobody writes"
    )]
    Shrunk {
        /// Its bytes when it was opened.
        before: u64,
        /// Those that could be read.
        after: u64,
    },
    /// It is another file than it was when it was read first.
    #[error("{position}: the file was changed while it was read; replay a file that nobody writes")]
    Changed {
        /// Where.
        position: Position,
    },
}

/// What a row of a format has.
fn expected(format: TraceFormat) -> &'static str {
    match format {
        TraceFormat::Oracle => "oracleGeneral has records of 24 bytes",
        TraceFormat::Twitter => {
            "expected timestamp,key,key_size,value_size,client_id,operation,ttl; correct the row or remove it"
        }
        TraceFormat::Csv => {
            "expected a header with time, time_ms or time_us, key, and perhaps operation, size and ttl; correct the row or \
             remove it"
        }
    }
}
