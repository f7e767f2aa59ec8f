//! The trace of a load.

use crate::trace::TraceFile;

/// A trace that is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The file.
    pub file: TraceFile,
    /// At its recorded times, this many times as fast; `None`: as fast as a rate or a closed loop asks for requests.
    pub speed: Option<f64>,
    /// The most distinct keys that are remembered, which only `fill` does.
    pub keys_max: u32,
}
