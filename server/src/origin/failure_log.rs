//! The log's lines about failed calls: one line per keyspace and kind of failure in each interval,
//! and then the number of those that were left out, also when no further call fails.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

/// The interval between two lines of one keyspace and kind.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// The number of keyspaces and kinds that are distinguished. All others count as one more.
const KINDS_MAX: usize = 256;

/// A keyspace and a kind of failure, such as an SQLSTATE.
type Subject = (String, String);

/// The decision which lines are due. Pure.
#[derive(Debug, Default)]
struct LineLimit {
    subjects: HashMap<Subject, LastLine>,
}

#[derive(Debug)]
struct LastLine {
    logged: Micros,
    left_out: u64,
}

impl LineLimit {
    /// Counts a failure. If a line is due now, returns how many failures were left out since the
    /// last one.
    fn count(&mut self, now: Micros, keyspace: &str, kind: &str) -> Option<u64> {
        let subject = (keyspace.to_owned(), kind.to_owned());
        let is_known = self.subjects.contains_key(&subject) || self.subjects.len() < KINDS_MAX;
        let subject = if is_known { subject } else { Subject::default() };
        match self.subjects.get_mut(&subject) {
            Some(entry) if now.since(entry.logged) < PAUSE => {
                entry.left_out += 1;
                None
            }
            Some(entry) => {
                entry.logged = now;
                Some(std::mem::take(&mut entry.left_out))
            }
            None => {
                self.subjects.insert(subject, LastLine { logged: now, left_out: 0 });
                Some(0)
            }
        }
    }

    /// Takes the numbers of failures that were left out, if a line about them is due.
    fn take_due(&mut self, now: Micros) -> Vec<(Subject, u64)> {
        let mut due = Vec::new();
        self.subjects.retain(|subject, entry| {
            if now.since(entry.logged) < PAUSE {
                return true;
            }
            let left_out = std::mem::take(&mut entry.left_out);
            if left_out > 0 {
                due.push((subject.clone(), left_out));
                entry.logged = now;
            }
            // The others are over, and make room.
            left_out > 0
        });
        due
    }

    /// Takes all numbers of failures that were left out.
    fn take_all(&mut self) -> Vec<(Subject, u64)> {
        let all = std::mem::take(&mut self.subjects).into_iter();
        all.map(|(subject, entry)| (subject, entry.left_out)).filter(|(_, n)| *n > 0).collect()
    }
}

/// The log's lines about failed calls.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<LineLimit>);

impl FailureLog {
    /// Logs that a call has failed. `kind` identifies equal failures, such as an SQLSTATE.
    pub(super) fn log(&self, keyspace: &str, kind: &str, text: &dyn Display) {
        let Some(left_out) = self.lock().count(Micros::boottime(), keyspace, kind) else { return };
        let more = match left_out {
            0 => String::new(),
            count => format!(" ({count} more like it since the last line)"),
        };
        say(kind, &format_args!("keyspace {keyspace}: the database says {text}{more}"));
    }

    /// Logs the numbers of failures that were left out at least [`PAUSE`] ago.
    pub(super) fn flush_due(&self, now: Micros) {
        let due = self.lock().take_due(now);
        say_left_out(due);
    }

    /// Logs all numbers of failures that were left out, because this is the end.
    pub(super) fn flush(&self) {
        let all = self.lock().take_all();
        say_left_out(all);
    }

    fn lock(&self) -> MutexGuard<'_, LineLimit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say_left_out(counts: Vec<(Subject, u64)>) {
    for ((keyspace, kind), left_out) in counts {
        match keyspace.is_empty() {
            true => say(&kind, &format_args!("{left_out} more calls failed for other reasons")),
            false => say(
                &kind,
                &format_args!("keyspace {keyspace}: {left_out} more calls failed with {kind}"),
            ),
        }
    }
}

fn say(kind: &str, text: &dyn Display) {
    // Data that the database rejects is the client's mistake.
    match kind.get(..2) {
        Some("22" | "23") => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_line_at_a_time_and_then_a_count() {
        let mut limit = LineLimit::default();
        let at = |seconds| Micros(1) + Duration::from_secs(seconds);
        assert_eq!(limit.count(at(0), "a", "53100"), Some(0));
        for second in 1..10 {
            assert_eq!(limit.count(at(second), "a", "53100"), None);
        }
        assert_eq!(limit.count(at(5), "a", "40001"), Some(0));
        assert_eq!(limit.count(at(5), "b", "53100"), Some(0), "no keyspace hides another's line");
        assert_eq!(limit.count(at(10), "a", "53100"), Some(9));
        assert_eq!(limit.count(at(25), "a", "53100"), Some(0));
    }

    #[test]
    fn the_count_of_a_burst_is_due_without_another_failure() {
        let mut limit = LineLimit::default();
        let at = |seconds| Micros(1) + Duration::from_secs(seconds);
        let of = |keyspace: &str, count| ((keyspace.to_owned(), "23514".to_owned()), count);
        for _ in 0..30 {
            limit.count(at(0), "a", "23514");
        }
        limit.count(at(0), "b", "23514");
        assert_eq!(limit.take_due(at(9)), []);
        assert_eq!(limit.take_due(at(10)), [of("a", 29)]);
        assert_eq!(limit.take_due(at(11)), []);
        assert_eq!(limit.count(at(12), "a", "23514"), None, "its line was the count");
        assert_eq!(limit.take_all(), [of("a", 1)]);
        assert_eq!(limit.take_all(), []);
    }

    #[test]
    fn kinds_without_end_take_no_memory_without_end() {
        let mut limit = LineLimit::default();
        let logged = (0..10_000).filter(|n| limit.count(Micros(1), "a", &n.to_string()).is_some());
        assert_eq!(logged.count(), KINDS_MAX + 1);
        assert_eq!(limit.subjects.len(), KINDS_MAX + 1);
        limit.take_due(Micros(1) + PAUSE);
        assert_eq!(limit.subjects.len(), 1, "that with a count to report");
    }
}
