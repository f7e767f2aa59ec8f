//! Recorded requests, replayed: libCacheSim's oracleGeneral, Twitter's lines, and CSV with a header; each also compressed
//! with zstd.
//!
//! ```text
//! input: file, zstd ─► lines ─► oracle, twitter, columns ─► records: one Record after the other
//!                                                             │
//!   timing: when it is due (a second reader runs ahead) ──────┤
//!   numbering: indices of keys, only for --fill and --check ──┤
//!                                                             ▼
//!                       feed: a thread of its own ── batches ─► player of each load thread
//! ```
//! A file is never in memory as a whole: what is read ahead is bounded in bytes, whatever the size of the file.
//! Only [`Numbering`] grows with the number of distinct keys, and has a limit.

mod batch;
mod columns;
mod error;
mod feed;
mod input;
mod lines;
mod numbering;
mod operation;
mod oracle;
mod player;
mod record;
mod records;
mod rules;
#[cfg(test)]
mod tests;
mod timing;
mod twitter;
mod wish;

pub use batch::READ_AHEAD_BYTES_MAX;
pub use error::{Mistake, Position, TraceError};
pub use feed::{Division, Feed, Feeding, Mode, Totals, try_beginning};
pub use input::TraceFile;
pub use numbering::Numbering;
pub use operation::Operation;
pub use player::{Next, Player};
pub use record::Record;
pub use records::Records;
pub use rules::{KeyRule, Rules};

/// The format of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TraceFormat {
    /// libCacheSim's oracleGeneral: binary records of 24 bytes. All requests are reads.
    Oracle,
    /// Lines `timestamp,key,key_size,value_size,client_id,operation,ttl`.
    Twitter,
    /// CSV with a header that names columns: `time`, `time_ms` or `time_us`, `key`, and perhaps `operation`, `size`
    /// and `ttl`.
    Csv,
}
