//! The health of the database: whether it was reachable at the last attempt (one atomic, because
//! every deep ping reads it), and the reason if it was not.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

use super::locks::LockWait;

/// The interval between two lines about one outage.
const PAUSE: Duration = Duration::from_secs(1);
/// The interval between two lines that give the same reason, if others were given in between.
const SAME_REASON_PAUSE: Duration = Duration::from_secs(10);
/// The number of reasons that are remembered. The oldest is forgotten first.
const REASONS_MAX: usize = 16;

/// The state of the database as seen from this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Reachable.
    Up,
    /// Unreachable.
    Down {
        /// Since when.
        since: Micros,
    },
}

/// What a server knows of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether it was reachable at the last attempt.
    pub health: Health,
    /// The reason why it is unreachable, if it is.
    pub outage: Option<String>,
    /// The lock that calls wait for, if there is one and the driver knows of it.
    pub lock_wait: Option<LockWait>,
}

impl From<Health> for State {
    fn from(health: Health) -> Self {
        Self { health, outage: None, lock_wait: None }
    }
}

/// The time since when it is down; 0 while it is up.
#[derive(Debug, Default)]
pub(super) struct HealthCell {
    since: AtomicU64,
    outage: Mutex<Outage>,
}

/// The reason why it is down.
#[derive(Debug, Default)]
struct Outage {
    reason: String,
    /// The reasons that the log has given for this outage, each with the time of its last line. The
    /// last is that of the log's last line.
    logged: VecDeque<(String, Micros)>,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Down,
    StillDown,
}

impl Outage {
    /// Notes the reason, and returns the line to log, if any: the beginning of an outage, and then
    /// each different reason, at a limited rate. Reasons that alternate, because several threads
    /// fail in different ways, are not news each time.
    fn note(&mut self, now: Micros, is_first: bool, reason: String) -> Option<Line> {
        if is_first {
            self.logged.clear();
        }
        let line = if is_first { Some(Line::Down) } else { self.still_down(now, &reason) };
        if line.is_some() {
            self.logged.retain(|(logged, _)| *logged != reason);
            if self.logged.len() == REASONS_MAX {
                self.logged.pop_front();
            }
            self.logged.push_back((reason.clone(), now));
        }
        self.reason = reason;
        line
    }

    fn still_down(&self, now: Micros, reason: &str) -> Option<Line> {
        let (last, at) = self.logged.back()?;
        let before = self.logged.iter().find(|(logged, _)| logged == reason);
        let is_due = before.is_none_or(|(_, at)| now.since(*at) >= SAME_REASON_PAUSE);
        (last != reason && is_due && now.since(*at) >= PAUSE).then_some(Line::StillDown)
    }
}

impl HealthCell {
    pub(super) fn get(&self) -> Health {
        match self.since.load(Ordering::Acquire) {
            0 => Health::Up,
            since => Health::Down { since: Micros(since) },
        }
    }

    /// Returns the most recent reason why it is down.
    pub(super) fn reason(&self) -> Option<String> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        (self.get() != Health::Up).then(|| outage.reason.clone())
    }

    /// Marks it down. Logs the change, and later reasons that differ from the last one.
    pub(super) fn mark_down(&self, reason: &dyn Display) {
        let (now, reason) = (Micros::boottime(), reason.to_string());
        let swap =
            self.since.compare_exchange(0, now.0.max(1), Ordering::AcqRel, Ordering::Acquire);
        let since = swap.err().map_or(now, Micros);
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let line = outage.note(now, swap.is_ok(), reason.clone());
        drop(outage);
        match line {
            Some(Line::Down) => tracing::error!("the origin is down: {reason}"),
            Some(Line::StillDown) => {
                let down = now.since(since);
                tracing::error!("the origin is still down, after {down:.1?}: {reason}");
            }
            None => {}
        }
    }

    /// Marks it up. Logs the change, once. It is called after every success, so it usually only
    /// reads.
    pub(super) fn mark_up(&self) {
        if self.get() != Health::Up {
            let since = self.since.swap(0, Ordering::AcqRel);
            if since != 0 {
                let down = Micros::boottime().since(Micros(since));
                tracing::info!("the origin is up again after {down:.1?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_an_outage_is_brought_up_to_date() {
        let mut outage = Outage::default();
        let at = |ms| Micros(1) + Duration::from_millis(ms);
        assert_eq!(outage.note(at(0), true, "closed".to_owned()), Some(Line::Down));
        assert_eq!(outage.note(at(50), false, "refused".to_owned()), None);
        assert_eq!(outage.reason, "refused");
        assert_eq!(outage.note(at(1_000), false, "refused".to_owned()), Some(Line::StillDown));
        assert_eq!(outage.note(at(5_000), false, "refused".to_owned()), None);
        assert_eq!(outage.note(at(5_010), false, "no role".to_owned()), Some(Line::StillDown));
        assert_eq!(outage.note(at(5_020), true, "no role".to_owned()), Some(Line::Down));
    }

    #[test]
    fn reasons_that_alternate_are_not_logged_each_time() {
        let mut outage = Outage::default();
        let at = |ms| Micros(1) + Duration::from_millis(ms);
        assert_eq!(outage.note(at(0), true, "closed".to_owned()), Some(Line::Down));
        let lines = |outage: &mut Outage, from: u64, to: u64| {
            let reasons = (from..to).map(|n| (n, if n % 2 == 0 { "closed" } else { "no role" }));
            let noted = reasons.map(|(n, reason)| outage.note(at(n * 100), false, reason.into()));
            noted.flatten().count()
        };
        assert_eq!(lines(&mut outage, 0, 100), 1, "the other reason");
        assert_eq!(lines(&mut outage, 100, 200), 2, "each once more");
        assert_eq!(outage.note(at(20_000), true, "no role".to_owned()), Some(Line::Down));
        assert_eq!(outage.note(at(21_000), false, "closed".to_owned()), Some(Line::StillDown));
    }

    #[test]
    fn reasons_without_end_take_no_memory_without_end() {
        let mut outage = Outage::default();
        assert_eq!(outage.note(Micros(1), true, "first".to_owned()), Some(Line::Down));
        for n in 1..1_000 {
            let now = Micros(1) + PAUSE * n;
            assert_eq!(outage.note(now, false, n.to_string()), Some(Line::StillDown));
        }
        assert_eq!(outage.logged.len(), REASONS_MAX);
    }
}
