//! Owed keys: keys that were written here although another server owns them (scenario 2). An online
//! owner is told of them, directly or through a member of the group, until it acknowledges them or
//! the owner changes.

use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

/// The time after a failure before keys are told again.
const RETRY: Duration = Duration::from_millis(100);

/// The progress of telling one server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Owed {
    /// The number of SETTLEs that are not answered yet.
    unanswered: usize,
    has_failed: bool,
    /// The number of failed rounds in a row.
    attempts: usize,
    /// The time at which the server has to be told next.
    at: Option<Micros>,
}

impl Owed {
    /// Returns the time at which the server has to be told.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.at.filter(|_| self.unanswered == 0 && !mutant::is(Mutant::NoOwed))
    }

    /// Sets the time at which the server has to be told, after a map has changed which keys it is
    /// owed.
    pub(super) fn plan(&mut self, at: Option<Micros>) {
        self.at = at;
    }

    /// Notes that there is a new key to tell the server.
    pub(super) fn add(&mut self, now: Micros) {
        self.at.get_or_insert(now);
    }

    /// Begins a round of this many SETTLEs. Returns the number of rounds that have failed in a row.
    pub(super) fn begin(&mut self, settles: usize) -> usize {
        self.at = None;
        (self.unanswered, self.has_failed) = (settles, false);
        self.attempts
    }

    /// Notes that one of the SETTLEs has ended. If it was the last one of the round, returns the
    /// time at which the server has to be told of the keys that remain.
    pub(super) fn told(&mut self, now: Micros, is_ok: bool) -> Option<Micros> {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.has_failed |= !is_ok;
        if self.unanswered > 0 {
            return None;
        }
        self.attempts = if self.has_failed { self.attempts + 1 } else { 0 };
        Some(if self.has_failed { now + RETRY } else { now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_again_later_and_no_two_rounds_overlap() {
        let mut owed = Owed::default();
        owed.add(Micros(10));
        owed.add(Micros(20));
        assert_eq!(owed.next_deadline(), Some(Micros(10)));
        assert_eq!(owed.begin(2), 0);
        owed.add(Micros(30));
        assert_eq!(owed.next_deadline(), None, "the previous round is not answered");
        assert_eq!(owed.told(Micros(40), false), None);
        let again = owed.told(Micros(50), true);
        assert_eq!(again, Some(Micros(50) + RETRY), "one of two has failed");
        owed.plan(again);
        assert_eq!((owed.next_deadline(), owed.begin(1)), (again, 1));
        assert_eq!(owed.told(Micros(60), true), Some(Micros(60)));
        owed.plan(None);
        assert_eq!((owed.next_deadline(), owed.begin(1)), (None, 0));
    }
}
