//! What a run demands of the requests of a trace.

use super::record::shown;
use super::{Operation, Record, TraceError};

/// The keys that a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRule {
    /// The longest key.
    pub bytes_max: usize,
    /// Whether a key has at least one byte, and neither spaces nor control characters: memcached has no quoting, so such
    /// a key would be two, or none.
    pub is_word: bool,
    /// What sets the limits, for messages, with what to do.
    pub why: &'static str,
}

impl KeyRule {
    /// Whether it takes this key.
    #[must_use]
    pub fn takes(&self, key: &[u8]) -> bool {
        let is_bad = |byte: &u8| *byte <= b' ' || *byte == 127;
        let is_word = !key.is_empty() && !key.iter().any(is_bad);
        key.len() <= self.bytes_max && (is_word || !self.is_word)
    }
}

/// See the head of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// That of keys.
    pub keys: KeyRule,
    /// Whether a lifetime would make a loss of what was none.
    pub is_lossless: bool,
    /// Whether values say which they are, as those must that a compare-and-swap replaces.
    pub has_stamps: bool,
    /// Whether times are kept, and so must not go backward.
    pub has_times: bool,
}

/// Looks at one request after the other.
#[derive(Debug)]
pub struct Inspection {
    rules: Rules,
    /// The time of the request before.
    time_us: u64,
}

impl Rules {
    /// Begins with a trace's first request.
    #[must_use]
    pub fn begin(self) -> Inspection {
        Inspection { rules: self, time_us: 0 }
    }
}

impl Inspection {
    /// Whether the next request may be sent.
    ///
    /// # Errors
    /// [`TraceError::Key`], [`TraceError::Lifetime`], [`TraceError::Unstamped`] and [`TraceError::Backward`].
    pub fn check(&mut self, record: &Record) -> Result<(), TraceError> {
        let Rules { keys, is_lossless, has_stamps, has_times } = self.rules;
        let Record { key, position, ttl_s, .. } = record;
        if !keys.takes(key) {
            let (key, why) = (shown(key), keys.why.to_owned());
            return Err(TraceError::Key { position: *position, key, why });
        }
        if is_lossless && *ttl_s > 0 {
            return Err(TraceError::Lifetime { position: *position });
        }
        if !has_stamps && record.operation == Operation::Cas {
            return Err(TraceError::Unstamped { position: *position });
        }
        if has_times && record.time_us < self.time_us {
            return Err(TraceError::Backward { position: *position });
        }
        self.time_us = record.time_us;
        Ok(())
    }
}
