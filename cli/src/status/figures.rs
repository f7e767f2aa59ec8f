//! Reads the figures of one server. Pure.

use std::time::{Duration, SystemTime};

use standin_protocol::body::StatsReply;

/// An outage of the database, as one server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outage {
    /// The length of the outage so far.
    pub(crate) lasts_ms: u64,
    /// The error of the database or of the connection to it; empty if unknown.
    pub(crate) reason: String,
}

impl Outage {
    /// Reads the outage, if there is one, from a server's counters.
    pub(crate) fn of(stats: &StatsReply) -> Option<Self> {
        let (reason, lasts_ms) = labelled(stats, "origin_down_ms", "reason")?;
        Some(Self { lasts_ms, reason: reason.trim().to_owned() })
    }

    /// The time at which it began, such as `2026-05-04T03:02:01Z`.
    pub(crate) fn since(&self, now: SystemTime) -> String {
        let since = now.checked_sub(Duration::from_millis(self.lasts_ms));
        humantime::format_rfc3339_seconds(since.unwrap_or(now)).to_string()
    }

    /// Returns how long it has lasted, such as `2m 3s`.
    pub(crate) fn lasts(&self) -> String {
        humantime::format_duration(Duration::from_secs(self.lasts_ms / 1_000)).to_string()
    }
}

/// Calls to the database that wait for a lock, as one server sees them: how long, in milliseconds, and who holds it.
pub(crate) fn lock_wait(stats: &StatsReply) -> Option<(u64, String)> {
    let (holder, lasts_ms) = labelled(stats, "origin_lock_wait_ms", "holder")?;
    Some((lasts_ms, holder.trim().to_owned()))
}

/// Who has the most connections, if few are left: the address, its connections, and those that clients may have.
pub(super) fn most_connected(stats: &StatsReply) -> Option<(&str, u64, u64)> {
    let (address, connections) = labelled(stats, "caller_connections", "address")?;
    Some((address, connections, stats.counter("connections_max")))
}

/// The requests and connections of the last ten seconds that have failed for a reason that the
/// server counts: their number, and a sentence about it. Observers that were refused have heard so
/// themselves, and nothing suffers from it.
pub(super) fn failures(stats: &StatsReply) -> impl Iterator<Item = (String, &'static str)> {
    let texts = [
        (
            "clients_refused_10s",
            "refused {} connections of clients in the last ten seconds because all are in use; \
             raise `connections` in [limits] (and `ulimit -n`), or look for clients that leave \
             connections open",
        ),
        (
            "handshakes_refused_10s",
            "refused {} connections in the last ten seconds because too many had not said hello; \
             raise `handshakes` in [limits] (and `ulimit -n`), or look for callers that connect \
             and say nothing",
        ),
        (
            "peers_refused_10s",
            "refused {} connections of other servers in the last ten seconds because all for \
             servers are in use",
        ),
        (
            "masters_refused_10s",
            "refused {} connections of the master in the last ten seconds because all for masters \
             are in use",
        ),
        (
            "rate_refused_10s",
            "refused {} reads in the last ten seconds because of `reads_per_second`; raise it if \
             the database can take more",
        ),
        (
            "surge_refused_10s",
            "refused {} reads in the last ten seconds because too many had to be held back after a \
             change of owner; raise `surge_reads` if the database can take more",
        ),
        (
            "overloaded_10s",
            "refused {} requests in the last ten seconds for lack of room; too many requests, or \
             replies that clients have not read, are under way at once (see [limits])",
        ),
        (
            "origin_failures_10s",
            "made {} calls to the database in the last ten seconds that failed or were refused; \
             its log has the reasons",
        ),
    ];
    let count = |name| stats.counter(name);
    let failed = texts.into_iter().filter(move |(name, _)| count(name) > 0);
    failed.map(move |(name, text)| (count(name).to_string(), text))
}

/// The value of a figure, or `None` if the server does not publish it.
pub(super) fn figure(stats: &StatsReply, name: &str) -> Option<u64> {
    stats.counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
}

/// The version that a server runs.
pub(crate) fn version(stats: &StatsReply) -> Option<&str> {
    labelled(stats, "build_info", "version").map(|(version, _)| version)
}

/// What the clients of a keyspace have asked for and got, of all servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keyspace {
    pub(super) name: String,
    pub(super) reads: u64,
    pub(super) hits: u64,
    pub(super) writes: u64,
    pub(super) failed: u64,
}

/// The totals of each keyspace, in the order in which the servers name them.
pub(super) fn keyspaces<'a>(all: impl Iterator<Item = &'a StatsReply>) -> Vec<Keyspace> {
    let mut found: Vec<Keyspace> = Vec::new();
    for counter in all.flat_map(|stats| &stats.counters) {
        let Some(rest) = counter.name.strip_prefix("keyspace_") else { continue };
        let Some((what, rest)) = rest.split_once("{keyspace=\"") else { continue };
        let Some(name) = rest.strip_suffix("\"}") else { continue };
        let at = found.iter().position(|keyspace| keyspace.name == name).unwrap_or_else(|| {
            found.push(Keyspace { name: name.to_owned(), ..Keyspace::default() });
            found.len() - 1
        });
        let of = &mut found[at];
        let total = match what {
            "reads" => &mut of.reads,
            "hits" => &mut of.hits,
            "writes" => &mut of.writes,
            "failed" => &mut of.failed,
            // Another version counts more.
            _ => continue,
        };
        *total = total.saturating_add(counter.value);
    }
    found
}

/// The text and value of the gauge `name{label="text"}`.
fn labelled<'a>(stats: &'a StatsReply, name: &str, label: &str) -> Option<(&'a str, u64)> {
    stats.counters.iter().find_map(|counter| {
        let rest = counter.name.strip_prefix(name)?.strip_prefix('{')?;
        let text = rest.strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix("\"}")?;
        Some((text, counter.value))
    })
}

#[cfg(test)]
mod tests {
    use standin_protocol::body::Counter;

    use super::*;

    #[test]
    fn labels_are_read_and_what_is_no_label_is_not() {
        let counter = |(name, value): (&str, u64)| Counter { name: name.to_owned(), value };
        let counters = [("build_info{version=\"0.1.0\"}", 1), ("build_info", 1)].map(counter);
        let stats = &StatsReply { counters: counters.to_vec(), ..StatsReply::default() };
        assert_eq!(version(stats), Some("0.1.0"));
        assert_eq!(Outage::of(stats), None);
    }

    #[test]
    fn keyspaces_are_totalled_over_the_servers() {
        let stats = |counters: &[(&str, u64)]| {
            let counter = |&(name, value): &(&str, u64)| Counter { name: name.to_owned(), value };
            StatsReply { counters: counters.iter().map(counter).collect(), ..StatsReply::default() }
        };
        let one = stats(&[
            ("keyspace_reads{keyspace=\"items\"}", 10),
            ("keyspace_hits{keyspace=\"items\"}", 7),
            ("keyspace_writes{keyspace=\"others\"}", u64::MAX),
            ("keyspace_later{keyspace=\"items\"}", 1),
            ("keyspace_reads", 1),
        ]);
        let other = stats(&[
            ("keyspace_reads{keyspace=\"items\"}", 5),
            ("keyspace_failed{keyspace=\"items\"}", 2),
            ("keyspace_writes{keyspace=\"others\"}", 1),
        ]);
        let items = Keyspace { name: "items".to_owned(), reads: 15, hits: 7, writes: 0, failed: 2 };
        let writes = u64::MAX;
        let others = Keyspace { name: "others".to_owned(), writes, ..Keyspace::default() };
        assert_eq!(keyspaces([one, other].iter()), [items, others]);
    }
}
