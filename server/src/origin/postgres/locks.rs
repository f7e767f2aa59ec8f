//! Who holds the lock that statements of ours wait for. Asked on the connection for health checks, only while a call
//! takes long.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use standin_protocol::time::Micros;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::origin::locks::Holder;

/// The time after which a call may wait for a lock; at most half of the time that it has.
const LONG: Duration = Duration::from_millis(500);

/// The session at the head of the row of those that wait, from one of ours on: it waits for none. Those between wait
/// for it, and others behind them, as behind an ALTER TABLE that waits. One waiter of ours is enough: each look at
/// the locks stops the database's own for a moment. An INSERT that waits for another of the same key waits for a
/// transaction, not for a row: then the table is one that it writes. Texts of statements are not asked for, because they may have
/// personal data. What a role may not see of others' sessions is NULL.
const HOLDER: &str = "\
WITH RECURSIVE waiter AS (
    SELECT pid, count(*) OVER () AS number FROM pg_stat_activity
    WHERE datname = current_database() AND usename = session_user
      AND application_name = current_setting('application_name') AND wait_event_type = 'Lock'
    ORDER BY query_start LIMIT 1),
chain (pid, blockers) AS (
    SELECT pid, pg_blocking_pids(pid) FROM waiter
    UNION
    SELECT next.pid, pg_blocking_pids(next.pid)
    FROM chain CROSS JOIN LATERAL unnest(chain.blockers) AS next (pid))
SELECT (SELECT coalesce(
            string_agg(DISTINCT lock.relation::regclass::text, ', ')
                FILTER (WHERE NOT lock.granted OR lock.locktype = 'tuple'),
            string_agg(DISTINCT lock.relation::regclass::text, ', ')
                FILTER (WHERE lock.mode = 'RowExclusiveLock' AND class.relkind IN ('r', 'p')))
        FROM pg_locks AS lock JOIN waiter USING (pid) LEFT JOIN pg_class AS class ON class.oid = lock.relation
        WHERE lock.relation IS NOT NULL),
    (SELECT number FROM waiter), head.pid, holder.usename, holder.application_name, holder.state,
    floor(extract(epoch FROM clock_timestamp() - holder.xact_start))::bigint
FROM chain AS head LEFT JOIN pg_stat_activity AS holder ON holder.pid = head.pid
WHERE cardinality(head.blockers) = 0 AND head.pid <> (SELECT pid FROM waiter)
LIMIT 1";

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
pub(super) async fn holder(client: &Client) -> Result<Option<Holder>, Error> {
    let answer = client.simple_query(HOLDER).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(described(|column| row.get(column))),
        _ => None,
    }))
}

/// Describes a row of [`HOLDER`].
fn described<'r>(column: impl Fn(usize) -> Option<&'r str>) -> Holder {
    let of = |at| column(at).filter(|text| !text.is_empty());
    let lock = of(0).map_or_else(|| "a transaction".to_owned(), |table| format!("table {table}"));
    let session = of(2).unwrap_or("?").to_owned();
    let waiting = of(1).unwrap_or("?");
    // A prepared transaction has no process.
    if session == "0" {
        let text = format!(
            "{lock}, held by a prepared transaction (pg_prepared_xacts); {waiting} sessions of Standin wait"
        );
        return Holder { session, text };
    }
    let mut text = format!(
        "{lock}, held by process {session} of the database (user {}, application {}",
        of(3).unwrap_or("?"),
        of(4).unwrap_or("?"),
    );
    if let Some(state) = of(5) {
        text.push_str(&format!(", {state}"));
    }
    if let Some(seconds) = of(6) {
        text.push_str(&format!(", its transaction is {seconds} s old"));
    }
    text.push_str(&format!("); {waiting} sessions of Standin wait"));
    Holder { session, text }
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
    fn a_text_has_what_the_role_may_see() {
        let full = ["items", "3", "17", "app", "psql", "idle in transaction", "42"];
        assert_eq!(
            described(|at| full.get(at).copied()).text,
            "table items, held by process 17 of the database (user app, application psql, idle in transaction, its \
             transaction is 42 s old); 3 sessions of Standin wait"
        );
        let hidden = [None, Some("1"), Some("17"), Some("root"), Some(""), None, None];
        assert_eq!(
            described(|at| hidden.get(at).copied().flatten()).text,
            "a transaction, held by process 17 of the database (user root, application ?); 1 sessions of Standin \
             wait"
        );
        let prepared = [Some("items"), Some("2"), Some("0"), None, None, None, None];
        assert_eq!(
            described(|at| prepared.get(at).copied().flatten()).text,
            "table items, held by a prepared transaction (pg_prepared_xacts); 2 sessions of Standin wait"
        );
    }
}
