//! The lines in the log about requests that took long ([`Slow`]). Shards write them when they have answered, at
//! most [`PER_SECOND`] of each keyspace in the whole process, and count what they leave out. There is no lock:
//! a shard that finds that another one has just written a line only counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use standin_config::ClusterConfig;
use standin_protocol::key;
use standin_protocol::time::Micros;

use crate::node::slow::{Slow, Wait};
use crate::stats::answers;

/// The target of these lines. The log need not limit them.
pub const TARGET: &str = "standin_slow";

/// The largest number of lines of one keyspace in a second.
pub const PER_SECOND: u32 = 5;

/// The time after a line in which further requests of the keyspace are only counted.
const PAUSE: Duration = Duration::from_millis(1_000 / PER_SECOND as u64);
/// The time after a line at which the number of those that were left out is written without another line.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// The lines of a process.
#[derive(Debug)]
pub struct SlowLog {
    /// By id.
    keyspaces: Vec<Option<Keyspace>>,
    /// The names of the servers, by id.
    servers: Vec<String>,
}

#[derive(Debug)]
struct Keyspace {
    name: String,
    limit: Limit,
}

/// Whose turn it is to write. Pure.
#[derive(Debug, Default)]
struct Limit {
    /// The time of the next line.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Limit {
    /// Counts a request. If a line is due, returns how many requests were left out since the last one.
    fn count(&self, now: Micros) -> Option<u64> {
        let taken = self.take(now, Duration::ZERO);
        if taken.is_none() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Takes the number of requests that were left out, if nothing has been written for some time.
    fn take_late(&self, now: Micros) -> Option<u64> {
        match self.left_out.load(Ordering::Relaxed) {
            0 => None,
            _ => self.take(now, TOLD_AFTER - PAUSE).filter(|count| *count > 0),
        }
    }

    fn take(&self, now: Micros, late: Duration) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        if now < Micros(next) + late {
            return None;
        }
        let until = (now + PAUSE).0;
        let taken = self.next.compare_exchange(next, until, Ordering::Relaxed, Ordering::Relaxed);
        taken.ok().map(|_| self.left_out.swap(0, Ordering::Relaxed))
    }
}

impl SlowLog {
    /// The lines of a server of this cluster.
    #[must_use]
    pub fn new(cluster: &ClusterConfig) -> Self {
        let mut keyspaces: Vec<_> = (0..=u8::MAX).map(|_| None).collect();
        for keyspace in &cluster.keyspaces {
            let (name, limit) = (keyspace.name.clone(), Limit::default());
            keyspaces[usize::from(keyspace.id)] = Some(Keyspace { name, limit });
        }
        let servers = cluster.servers.iter().map(|server| server.name.clone()).collect();
        Self { keyspaces, servers }
    }

    /// Writes the line about a request, if one is due.
    pub(crate) fn write(&self, now: Micros, slow: &Slow) {
        let keyspace = self.keyspaces[usize::from(slow.keyspace)].as_ref();
        let keyspace = keyspace.expect("only requests of known keyspaces wait");
        let Some(left_out) = keyspace.limit.count(now) else { return };
        let of = |wait| Some(slow.times.of(wait)).filter(|time| !time.is_zero()).map(ms);
        let waited: Duration = Wait::ALL.into_iter().map(|wait| slow.times.of(wait)).sum();
        let server = slow.peer.map(|peer| &*self.servers[usize::from(peer)]);
        let left_out = (left_out > 0).then_some(left_out);
        // What has no value is left out of the line.
        tracing::info!(
            target: TARGET,
            keyspace = %keyspace.name,
            key = %key::shown(&slow.key, slow.key.len()),
            operation = %answers::operation_name(slow.action),
            status = %answers::lower(slow.status),
            took_ms = ms(slow.took),
            fetch_wait_ms = of(Wait::Fetch),
            turn_wait_ms = of(Wait::Turn),
            connection_wait_ms = of(Wait::Connection),
            database_ms = of(Wait::Database),
            server_ms = of(Wait::Peer),
            server = server.map(tracing::field::display),
            owner_wait_ms = of(Wait::Owner),
            settle_ms = of(Wait::Settle),
            own_ms = ms(slow.took.saturating_sub(waited)),
            of_server = slow.is_peer.then_some(true),
            left_out = left_out,
            "slow request",
        );
    }

    /// Writes how many requests were left out, for each keyspace of which nothing has been written for some
    /// time.
    pub(crate) fn tell_left_out(&self, now: Micros) {
        for keyspace in self.keyspaces.iter().flatten() {
            if let Some(left_out) = keyspace.limit.take_late(now) {
                tracing::info!(
                    target: TARGET,
                    keyspace = %keyspace.name,
                    left_out,
                    "more slow requests",
                );
            }
        }
    }
}

/// Milliseconds, to a tenth.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Micros {
        Micros(3_600_000_000 + ms * 1_000)
    }

    #[test]
    fn a_keyspace_has_a_few_lines_in_a_second_and_what_was_left_out_is_counted() {
        let limit = Limit::default();
        let lines: Vec<u64> = (0..1_000).filter_map(|ms| limit.count(at(ms))).collect();
        assert_eq!(lines, [0, 199, 199, 199, 199]);
        assert_eq!(limit.count(at(5_000)), Some(199));
        assert_eq!(limit.count(at(9_000)), Some(0));
    }

    #[test]
    fn what_was_left_out_last_is_told_without_another_request() {
        let limit = Limit::default();
        assert_eq!(limit.take_late(at(0)), None);
        for ms in 0..100 {
            limit.count(at(ms));
        }
        assert_eq!((limit.take_late(at(999)), limit.take_late(at(1_000))), (None, Some(99)));
        assert_eq!(limit.take_late(at(60_000)), None);
    }

    #[test]
    fn no_request_is_lost_when_many_shards_count_at_once() {
        let limit = Limit::default();
        let told = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for ms in 0..5_000 {
                        let lines = limit.count(at(ms)).map_or(0, |left_out| left_out + 1);
                        told.fetch_add(lines, Ordering::Relaxed);
                    }
                });
            }
        });
        let last = limit.take_late(at(60_000)).unwrap_or(0);
        assert_eq!(told.into_inner() + last, 20_000);
    }

    #[test]
    fn times_are_shown_to_a_tenth_of_a_millisecond() {
        assert_eq!(ms(Duration::from_micros(1_234_567)).to_string(), "1234.6");
        assert_eq!(ms(Duration::from_millis(50)).to_string(), "50");
    }
}
