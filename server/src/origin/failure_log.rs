//! The log's lines about failed calls: one line per kind of failure in each interval, with the
//! number of those that were left out.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

/// The interval between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);
/// The number of kinds that are distinguished. All others count as one more.
const KINDS_MAX: usize = 64;

/// The decision which lines are due. Pure.
#[derive(Debug, Default)]
struct LineLimit {
    kinds: HashMap<String, LastLine>,
}

#[derive(Debug)]
struct LastLine {
    logged: Micros,
    left_out: u64,
}

impl LineLimit {
    /// Counts a failure. If a line is due now, returns how many failures were left out since the
    /// last one.
    fn count(&mut self, now: Micros, kind: &str) -> Option<u64> {
        let is_known = self.kinds.contains_key(kind) || self.kinds.len() < KINDS_MAX;
        let kind = if is_known { kind } else { "" };
        match self.kinds.get_mut(kind) {
            Some(entry) if now.since(entry.logged) < PAUSE => {
                entry.left_out += 1;
                None
            }
            Some(entry) => {
                entry.logged = now;
                Some(std::mem::take(&mut entry.left_out))
            }
            None => {
                self.kinds.insert(kind.to_owned(), LastLine { logged: now, left_out: 0 });
                Some(0)
            }
        }
    }
}

/// The log's lines about failed calls.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<LineLimit>);

impl FailureLog {
    /// Logs that a call has failed. `kind` identifies equal failures, such as an SQLSTATE.
    pub(super) fn log(&self, keyspace: &str, kind: &str, text: &dyn Display) {
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = limit.count(Micros::boottime(), kind) else { return };
        drop(limit);
        let more = match left_out {
            0 => String::new(),
            count => format!(" ({count} more like it since the last line)"),
        };
        // Data that the database rejects is the client's mistake.
        match kind.get(..2) {
            Some("22" | "23") => {
                tracing::info!("keyspace {keyspace}: the database says {text}{more}")
            }
            _ => tracing::warn!("keyspace {keyspace}: the database says {text}{more}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_line_at_a_time_and_then_a_count() {
        let mut limit = LineLimit::default();
        let at = |seconds| Micros(1) + Duration::from_secs(seconds);
        assert_eq!(limit.count(at(0), "53100"), Some(0));
        for second in 1..10 {
            assert_eq!(limit.count(at(second), "53100"), None);
        }
        assert_eq!(limit.count(at(5), "40001"), Some(0));
        assert_eq!(limit.count(at(10), "53100"), Some(9));
        assert_eq!(limit.count(at(25), "53100"), Some(0));
    }

    #[test]
    fn kinds_without_end_take_no_memory_without_end() {
        let mut limit = LineLimit::default();
        let logged = (0..10_000).filter(|n| limit.count(Micros(1), &n.to_string()).is_some());
        assert_eq!(logged.count(), KINDS_MAX + 1);
        assert_eq!(limit.kinds.len(), KINDS_MAX + 1);
    }
}
