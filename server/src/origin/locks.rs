//! The lock in the database that calls wait for, and who holds it, as far as the driver can find out. A statement
//! that waits for a lock is not an outage, but it is what an operator has to know first.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

/// The time for which a lock is remembered that is not found again: calls that wait for it end, and others come.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3);
/// The interval between two lines about waits for locks, if their holders change.
const PAUSE: Duration = Duration::from_secs(10);

/// Who holds a lock that calls wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// The number of its session in the database.
    pub(super) session: String,
    /// The table, and what is known of the session.
    pub(super) text: String,
}

/// Calls that wait for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockWait {
    /// Since when.
    pub since: Micros,
    /// The table, and the session that holds the lock.
    pub holder: String,
}

/// The wait, if there is one.
#[derive(Debug, Default)]
pub(super) struct LockCell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wait: Option<LockWait>,
    /// The session that holds the lock.
    session: String,
    /// When it was last found.
    found: Micros,
    /// The time of the last line in the log, and the session that it names.
    logged: Option<(Micros, String)>,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Waits,
    Over(Duration),
}

impl State {
    /// Notes what a look at the locks has found. Returns the line to log, if any.
    fn note(&mut self, now: Micros, holder: Option<Holder>) -> Option<Line> {
        let Some(holder) = holder else {
            if now.since(self.found) < FORGOTTEN_AFTER {
                return None;
            }
            self.logged = None;
            return self.wait.take().map(|wait| Line::Over(self.found.since(wait.since)));
        };
        self.found = now;
        let is_due = match &self.logged {
            None => true,
            Some((at, logged)) => *logged != holder.session && now.since(*at) >= PAUSE,
        };
        if is_due {
            self.logged = Some((now, holder.session.clone()));
        }
        // One session after the other, each for a moment, is no lock that stays.
        let same = self.wait.as_ref().filter(|_| self.session == holder.session);
        let since = same.map_or(now, |wait| wait.since);
        self.session = holder.session;
        self.wait = Some(LockWait { since, holder: holder.text });
        is_due.then_some(Line::Waits)
    }
}

impl LockCell {
    pub(super) fn get(&self) -> Option<LockWait> {
        self.lock().wait.clone()
    }

    /// Notes what a look at the locks has found, and logs it if it is news.
    pub(super) fn note(&self, holder: Option<Holder>) {
        let mut state = self.lock();
        let line = state.note(Micros::boottime(), holder);
        let holder = state.wait.as_ref().map(|wait| wait.holder.clone()).unwrap_or_default();
        drop(state);
        match line {
            Some(Line::Waits) => tracing::warn!("calls to the database wait for a lock: {holder}"),
            Some(Line::Over(lasted)) => {
                tracing::info!(
                    "calls to the database no longer wait for a lock, after {lasted:.1?}"
                );
            }
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(session: u64) -> Holder {
        let session = session.to_string();
        Holder { text: format!("table items, held by process {session}"), session }
    }

    #[test]
    fn a_wait_is_one_from_its_first_look_to_its_last_although_calls_come_and_go() {
        let mut state = State::default();
        let at = |ms| Micros(3_600_000_000) + Duration::from_millis(ms);
        let held = || Some(by(17));
        assert_eq!(state.note(at(0), None), None, "nothing waits");
        assert_eq!(state.note(at(500), held()), Some(Line::Waits));
        assert_eq!(state.note(at(1_000), None), None, "the calls that waited have ended");
        assert_eq!(state.note(at(1_500), held()), None, "the next wait for the same");
        assert_eq!(state.wait.as_ref().map(|wait| wait.since), Some(at(500)));
        assert_eq!(state.note(at(4_400), None), None);
        assert_eq!(state.note(at(4_500), None), Some(Line::Over(Duration::from_secs(1))));
        assert_eq!((state.wait.clone(), state.note(at(5_000), None)), (None, None));
        assert_eq!(state.note(at(6_000), held()), Some(Line::Waits), "another one");
        assert_eq!(
            state.note(at(6_500), Some(by(18))),
            None,
            "it is said at most every ten seconds"
        );
        assert_eq!(
            state.wait.map(|wait| wait.since),
            Some(at(6_500)),
            "but the time is of this holder"
        );
    }

    #[test]
    fn holders_that_alternate_are_not_logged_each_time() {
        let mut state = State::default();
        let lines = (0..200_u64).filter(|n| {
            let now = Micros(3_600_000_000) + Duration::from_millis(n * 500);
            state.note(now, Some(by(n % 3))).is_some()
        });
        assert_eq!(lines.count(), 10, "one in ten seconds");
    }
}
