//! The owed keys: keys that were written here although another server owns them (scenario 2). An
//! online owner is told of them, directly or through a member of the group, until it acknowledges
//! them or the owner changes.

use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

/// The time before keys are told again after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// The progress of telling one server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Owed {
    /// The number of SETTLEs that are not answered yet.
    unanswered: usize,
    has_failed: bool,
    /// The number of times in a row that this has failed.
    attempts: usize,
    /// The time to tell the server next.
    at: Option<Micros>,
}

impl Owed {
    /// The time to tell the server.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.at.filter(|_| self.unanswered == 0 && !mutant::is(Mutant::NoOwed))
    }

    /// A map has changed what the server has to be told, and perhaps whether it has to be.
    pub(super) fn plan(&mut self, at: Option<Micros>) {
        self.at = at;
    }

    /// There is something new to tell the server.
    pub(super) fn add(&mut self, now: Micros) {
        self.at.get_or_insert(now);
    }

    /// The server is told by this many SETTLEs. Gives back how often that has failed so far.
    pub(super) fn begin(&mut self, settles: usize) -> usize {
        self.at = None;
        (self.unanswered, self.has_failed) = (settles, false);
        self.attempts
    }

    /// One of the SETTLEs has ended. If it was the last one: when the server has to be told what
    /// there is by then.
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
        assert_eq!(owed.next_deadline(), None, "the round before is not answered");
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
