//! Who holds the lock that statements of ours wait for. Asked on the connection for health checks, only while a call
//! takes long.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use standin_protocol::time::Micros;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

/// The time after which a call may wait for a lock; at most half of the time that it has.
const LONG: Duration = Duration::from_millis(500);

/// The session at the head of the row of those that wait: it holds a lock and waits for none. Texts of statements are
/// not asked for, because they may have personal data. What a role may not see of others' sessions is NULL.
const HOLDER: &str = "\
SELECT (SELECT string_agg(DISTINCT lock.relation::regclass::text, ', ') FROM pg_locks AS lock
        WHERE lock.pid = waiter.pid AND lock.relation IS NOT NULL
          AND (NOT lock.granted OR lock.locktype = 'tuple')),
       count(DISTINCT waiter.pid), holder.pid, holder.usename, holder.application_name, holder.state,
       floor(extract(epoch FROM clock_timestamp() - holder.xact_start))::bigint
FROM pg_stat_activity AS waiter
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiter.pid)) AS blocking (pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
WHERE waiter.datname = current_database() AND waiter.usename = current_user
  AND waiter.application_name = current_setting('application_name')
  AND waiter.wait_event_type = 'Lock' AND holder.wait_event_type IS DISTINCT FROM 'Lock'
GROUP BY 1, 3, 4, 5, 6, 7 ORDER BY 2 DESC LIMIT 1";

/// The calls under way, by the times at which they began.
#[derive(Debug, Default)]
pub(super) struct Calls {
    began: RefCell<BTreeSet<(Micros, u64)>>,
    number: Cell<u64>,
}

/// A call under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'c> {
    calls: &'c Calls,
    key: (Micros, u64),
}

impl Calls {
    /// Notes that a call begins.
    pub(super) fn begin(&self, now: Micros) -> UnderWay<'_> {
        self.number.set(self.number.get().wrapping_add(1));
        let key = (now, self.number.get());
        self.began.borrow_mut().insert(key);
        UnderWay { calls: self, key }
    }

    /// Whether one of them takes long, of those that may take this long at most.
    pub(super) fn has_long_one(&self, now: Micros, timeout: Duration) -> bool {
        let oldest = self.began.borrow().first().copied();
        oldest.is_some_and(|(began, _)| now.since(began) >= LONG.min(timeout / 2))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.calls.began.borrow_mut().remove(&self.key);
    }
}

/// Returns the lock that statements of ours wait for, and who holds it.
///
/// # Errors
/// If the database does not know these tables or functions, or the connection is lost.
pub(super) async fn holder(client: &Client) -> Result<Option<String>, Error> {
    let answer = client.simple_query(HOLDER).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(sentence(|column| row.get(column))),
        _ => None,
    }))
}

/// Describes a row of [`HOLDER`].
fn sentence<'r>(column: impl Fn(usize) -> Option<&'r str>) -> String {
    let of = |at| column(at).filter(|text| !text.is_empty());
    let mut sentence = format!(
        "{}, held by process {} of the database (user {}, application {}",
        of(0).map_or_else(|| "of a transaction".to_owned(), |table| format!("table {table}")),
        of(2).unwrap_or("?"),
        of(3).unwrap_or("?"),
        of(4).unwrap_or("?"),
    );
    if let Some(state) = of(5) {
        sentence.push_str(&format!(", {state}"));
    }
    if let Some(seconds) = of(6) {
        sentence.push_str(&format!(", its transaction is {seconds} s old"));
    }
    sentence.push_str(&format!("); {} sessions of Standin wait", of(1).unwrap_or("?")));
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Micros {
        Micros(3_600_000_000 + ms * 1_000)
    }

    #[test]
    fn the_oldest_call_decides_whether_one_takes_long() {
        let calls = Calls::default();
        let second = Duration::from_secs(1);
        assert!(!calls.has_long_one(at(9_000), second));
        let first = calls.begin(at(0));
        let other = calls.begin(at(400));
        let same = calls.begin(at(400));
        assert!(!calls.has_long_one(at(499), second));
        assert!(calls.has_long_one(at(500), second));
        assert!(calls.has_long_one(at(100), Duration::from_millis(200)), "half of its time");
        drop(first);
        assert!(!calls.has_long_one(at(899), second));
        assert!(calls.has_long_one(at(900), second));
        drop(other);
        assert!(calls.has_long_one(at(900), second), "two that began at once are two");
        drop(same);
        assert!(!calls.has_long_one(at(9_000), second));
    }

    #[test]
    fn a_sentence_has_what_the_role_may_see() {
        let full = ["items", "3", "17", "app", "psql", "idle in transaction", "42"];
        assert_eq!(
            sentence(|at| full.get(at).copied()),
            "table items, held by process 17 of the database (user app, application psql, idle in transaction, its \
             transaction is 42 s old); 3 sessions of Standin wait"
        );
        let hidden = [None, Some("1"), Some("17"), Some("root"), Some(""), None, None];
        assert_eq!(
            sentence(|at| hidden.get(at).copied().flatten()),
            "of a transaction, held by process 17 of the database (user root, application ?); 1 sessions of Standin \
             wait"
        );
    }
}
