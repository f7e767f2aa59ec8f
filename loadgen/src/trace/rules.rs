//! What a run demands of the requests of a trace.

use super::record::shown;
use super::{Record, TraceError};

/// The keys that a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRule {
    /// The longest key.
    pub bytes_max: usize,
    /// Whether a key may have no spaces and control characters: memcached has no quoting, so such a key would be two.
    pub is_word: bool,
    /// What sets the limits, for messages, with what to do.
    pub why: &'static str,
}

/// See the head of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// That of keys.
    pub keys: KeyRule,
    /// Whether a lifetime would make a loss of what was none.
    pub is_lossless: bool,
}

impl Rules {
    /// Whether a request may be sent.
    ///
    /// # Errors
    /// [`TraceError::Key`] and [`TraceError::Lifetime`].
    pub fn check(&self, record: &Record) -> Result<(), TraceError> {
        let KeyRule { bytes_max, is_word, why } = self.keys;
        let Record { key, position, ttl_s, .. } = record;
        let is_bad = |byte: &u8| *byte <= b' ' || *byte == 127;
        if key.len() > bytes_max || is_word && key.iter().any(is_bad) {
            let (key, why) = (shown(key), why.to_owned());
            return Err(TraceError::Key { position: *position, key, why });
        }
        if self.is_lossless && *ttl_s > 0 {
            return Err(TraceError::Lifetime { position: *position });
        }
        Ok(())
    }
}
