//! Judges reads of rows that are not the run's own, by what the database says of them.
//!
//! Nobody tells when others write a row, so the database is asked: once before the run, again whenever a read shows
//! something else than the row had (a *doubt*), and once at the end. Values are kept as hashes of 64 bits.
//!
//! ```text
//!  known since ──────── read sent ─── value came ─── asked again
//!    the row has K        V, which is not K            the row has D
//! ```
//! - D = V: others have changed the row, and the read has shown it.
//! - D = K, and K was known before the read was sent: the read is *stale*. (The database may have had V in between, for
//!   a moment that nobody has seen; then the row was changed and changed back.)
//! - Anything else: the row has changed meanwhile, and nothing can be said of the read.
//!
//! Whether the database ever had V is not known, so a value that it never had is called stale too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use standin_protocol::hash::value_hash;
use standin_protocol::time::Micros;

use super::{Seen, Verdict};
use crate::threads::locked;

/// What a row has: the hash of its value, or that there is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content(u64);

impl Content {
    /// There is no row.
    pub const ABSENT: Self = Self(0);

    /// Of a value.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self(value_hash(value).max(1))
    }
}

impl From<Option<&[u8]>> for Content {
    fn from(value: Option<&[u8]>) -> Self {
        value.map_or(Self::ABSENT, Self::of)
    }
}

impl From<Seen<'_>> for Content {
    fn from(seen: Seen<'_>) -> Self {
        match seen {
            Seen::Value(value) => Self::of(value),
            Seen::Absent => Self::ABSENT,
        }
    }
}

/// What the database has said of a row.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// The time at which it was asked.
    pub asked: Micros,
    /// The time at which it had answered.
    pub now: Micros,
    /// What the row has.
    pub content: Content,
}

/// A row as it was last seen in the database.
#[derive(Debug, Default)]
struct Row {
    content: AtomicU64,
    /// The time when it was known; microseconds.
    since: AtomicU64,
}

/// See the head of the file.
#[derive(Debug)]
pub struct RowsChecker {
    rows: Box<[Row]>,
    /// The age that the target's mode allows a stale value.
    bound: Duration,
    /// The time at which all rows were known.
    begun: AtomicU64,
    /// Taken to change what is known of a row, or to look at both parts of it.
    change: Mutex<()>,
}

impl RowsChecker {
    /// A checker of this many rows, of which nothing is known yet.
    #[must_use]
    pub fn new(rows: u32, bound: Duration) -> Self {
        Self {
            rows: (0..rows).map(|_| Row::default()).collect(),
            bound,
            begun: AtomicU64::new(0),
            change: Mutex::default(),
        }
    }

    /// The database has this at the beginning; it was known at `now`.
    pub fn begin(&self, row: u32, content: Content, now: Micros) {
        let _change = self.change();
        self.rows[row as usize].set(content, now);
        self.begun.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Whether a read has shown what the row is known to have. Otherwise there is a doubt.
    #[must_use]
    pub fn agrees(&self, row: u32, seen: Content) -> bool {
        self.rows[row as usize].content.load(Ordering::Acquire) == seen.0
    }

    /// Judges a read that was sent at `sent` and has shown `seen`, after the database was asked again. An answer to a
    /// question that is older than what is known changes nothing of that: several load threads ask.
    #[must_use]
    pub fn settle(
        &self,
        row: u32,
        (sent, seen): (Micros, Content),
        Answered { asked, now, content }: Answered,
    ) -> Verdict {
        let _change = self.change();
        let row = &self.rows[row as usize];
        let (known, since) = row.get();
        if content != known && asked >= since {
            row.set(content, now);
        }
        if content == seen {
            Verdict::Changed
        } else if content == known && since <= sent {
            let age = sent.since(since);
            // A bound of zero allows nothing, however short the clock says it was.
            let is_beyond = age > self.bound || self.bound.is_zero();
            Verdict::Stale { behind: 0, age, is_beyond }
        } else {
            Verdict::Unjudged
        }
    }

    /// The database has this at the end. Returns whether others have changed the row since the beginning.
    pub fn end(&self, row: u32, content: Content) -> bool {
        let _change = self.change();
        let (known, since) = self.rows[row as usize].get();
        known != content || since.0 > self.begun.load(Ordering::Relaxed)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        locked(&self.change)
    }
}

impl Row {
    fn get(&self) -> (Content, Micros) {
        let content = Content(self.content.load(Ordering::Acquire));
        (content, Micros(self.since.load(Ordering::Acquire)))
    }

    fn set(&self, content: Content, since: Micros) {
        self.since.store(since.0, Ordering::Release);
        self.content.store(content.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn checker(bound: Duration) -> RowsChecker {
        let checker = RowsChecker::new(2, bound);
        checker.begin(0, Content::of(b"old"), Micros(100 * MS));
        checker.begin(1, Content::ABSENT, Micros(110 * MS));
        checker
    }

    fn settle(checker: &RowsChecker, sent: u64, seen: &[u8], now: u64, has: &[u8]) -> Verdict {
        answered(checker, sent, seen, (sent + 5, now), has)
    }

    fn answered(
        checker: &RowsChecker,
        sent: u64,
        seen: &[u8],
        (asked, now): (u64, u64),
        has: &[u8],
    ) -> Verdict {
        let (asked, now) = (Micros(asked * MS), Micros(now * MS));
        let has = Answered { asked, now, content: Content::of(has) };
        checker.settle(0, (Micros(sent * MS), Content::of(seen)), has)
    }

    #[test]
    fn a_late_answer_does_not_undo_what_is_known_since() {
        let checker = checker(Duration::ZERO);
        // One thread asks at 200, and is answered at 240; another asks later, and is answered before.
        assert_eq!(answered(&checker, 205, b"new", (210, 220), b"new"), Verdict::Changed);
        assert_eq!(answered(&checker, 190, b"older", (200, 240), b"old"), Verdict::Unjudged);
        assert!(checker.agrees(0, Content::of(b"new")), "what was asked for later is newer");
        assert!(!checker.agrees(0, Content::of(b"old")), "a stale read is in doubt");
        // Asked afterwards, it may have changed back.
        assert_eq!(answered(&checker, 250, b"old", (260, 270), b"old"), Verdict::Changed);
        assert!(checker.agrees(0, Content::of(b"old")));
    }

    #[test]
    fn what_the_database_has_is_right() {
        let checker = checker(Duration::ZERO);
        assert!(checker.agrees(0, Content::of(b"old")) && !checker.agrees(0, Content::of(b"new")));
        assert!(!checker.agrees(0, Content::ABSENT), "a row that is there is not absent");
        assert!(checker.agrees(1, Content::from(Seen::Absent)));
        assert_eq!(settle(&checker, 200, b"new", 210, b"new"), Verdict::Changed);
        assert!(checker.agrees(0, Content::of(b"new")), "it is known now");
        assert!(!checker.agrees(0, Content::of(b"old")));
    }

    #[test]
    fn a_value_is_stale_if_the_database_had_another_since_before_the_read_was_sent() {
        let checker = checker(Duration::from_millis(50));
        let stale = |age: u64, is_beyond| {
            let age = Duration::from_millis(age);
            Verdict::Stale { behind: 0, age, is_beyond }
        };
        // It is as before the run, and the cache has something else.
        assert_eq!(settle(&checker, 150, b"older", 160, b"old"), stale(50, false));
        assert_eq!(settle(&checker, 151, b"older", 160, b"old"), stale(51, true));
        // Others have changed it, when exactly is not known.
        assert_eq!(settle(&checker, 200, b"older", 210, b"new"), Verdict::Unjudged);
        assert_eq!(settle(&checker, 205, b"old", 215, b"new"), Verdict::Unjudged, "sent before");
        assert_eq!(settle(&checker, 210, b"old", 220, b"new"), stale(0, false), "known by then");
        assert_eq!(settle(&checker, 300, b"old", 310, b"new"), stale(90, true));
        // Back again.
        assert_eq!(settle(&checker, 310, b"old", 320, b"old"), Verdict::Changed);
        let strict = self::checker(Duration::ZERO);
        let absent = strict.settle(
            0,
            (Micros(100 * MS), Content::ABSENT),
            Answered {
                asked: Micros(110 * MS),
                now: Micros(120 * MS),
                content: Content::of(b"old"),
            },
        );
        assert_eq!(absent, stale(0, true), "a bound of zero allows nothing");
    }

    #[test]
    fn rows_that_others_have_changed_are_told_at_the_end() {
        let checker = checker(Duration::ZERO);
        assert!(!checker.end(0, Content::of(b"old")) && !checker.end(1, Content::ABSENT));
        assert!(checker.end(1, Content::of(b"new")), "no read has shown it");
        assert_eq!(settle(&checker, 200, b"new", 210, b"new"), Verdict::Changed);
        assert_eq!(settle(&checker, 220, b"old", 230, b"old"), Verdict::Changed);
        assert!(checker.end(0, Content::of(b"old")), "and changed back");
    }
}
