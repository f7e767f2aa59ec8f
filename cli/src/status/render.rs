//! The report as a table for people, and as JSON.

use serde_json::{Value, json};
use standin_protocol::body::StatsReply;
use standin_protocol::map::MapEpoch;

use super::figures::{Keyspace, Outage, keyspaces, version};
use super::report::{Heard, Report};

/// Returns a line for each server, then a sentence for each finding.
pub(super) fn table(report: &Report<'_>) -> String {
    let topology = report.topology;
    let master = match report.master {
        Heard::Answer(()) => "answers",
        Heard::NotReady => "is learning",
        Heard::Busy => "is busy",
        Heard::Failed(_) => "DOES NOT ANSWER",
    };
    let epoch = report.map.map_or("no map".to_owned(), |map| format!("map epoch {}", map.epoch));
    let mut lines = vec![format!(
        "cluster {}   {}   {epoch}   master {} {master}",
        topology.name,
        report.severity().name(),
        topology.master
    )];
    lines.push(format!(
        "{:<12} {:<22} {:<10} {:>8} {:>6} {:>9} {:>9} {:>12} {:>7} {:>7} {:>10} {:>8} {:>8} {:<9} {}",
        "server", "address", "state", "epoch", "owns", "memory", "items", "data reqs", "hit %", "10 s",
        "orig.reads", "waiting", "refused", "version", "database"
    ));
    for ((id, info), heard) in (0u16..).zip(&topology.servers).zip(report.stats) {
        let stats = heard.answer();
        let epoch = stats.map_or_else(|| "?".to_owned(), epoch_applied);
        let head = format!(
            "{:<12} {:<22} {:<10} {epoch:>8} {:>6}",
            info.name,
            info.address.to_string(),
            report.map.map_or("?", |map| map.state(id).name()),
            report.owned(id)
        );
        let Some(stats) = stats else {
            let why = if heard.is_alive() { "is busy" } else { "does not answer" };
            lines.push(format!("{head}   {why}"));
            continue;
        };
        let of = |name| stats.counter(name);
        let database = match Outage::of(stats) {
            _ if !has_database(stats) => "none".to_owned(),
            Some(outage) => format!("DOWN for {}", outage.lasts()),
            None => "up".to_owned(),
        };
        lines.push(format!(
            "{head} {:>9} {:>9} {:>12} {:>7} {:>7} {:>10} {:>8} {:>8} {:<9} {database}",
            size(of("memory_bytes")),
            of("items"),
            of("data_requests"),
            percent(stats, "hits", "misses"),
            percent(stats, "hits_10s", "misses_10s"),
            of("origin_reads"),
            of("in_flight"),
            of("connections_refused"),
            version(stats).unwrap_or("?"),
        ));
    }
    let keyspaces = keyspaces(report.stats.iter().filter_map(Heard::answer));
    if !keyspaces.is_empty() {
        lines.push(format!(
            "{:<22} {:>12} {:>7} {:>12} {:>10}",
            "keyspace", "reads", "hit %", "writes", "failed"
        ));
    }
    lines.extend(keyspaces.iter().map(|keyspace| {
        let Keyspace { name, reads, hits, writes, failed } = keyspace;
        let hit =
            share(*hits, *reads).map_or("-".to_owned(), |share| format!("{:.1}", share * 100.0));
        format!("{name:<22} {reads:>12} {hit:>7} {writes:>12} {failed:>10}")
    }));
    let reads = report.origin_reads_10s();
    let most = report.reads_per_second();
    lines.push(format!(
        "database reads in the last ten seconds: {}.{} per second{}",
        reads / 10,
        reads % 10,
        most.map_or(String::new(), |most| format!(", limited to {most} (reads_per_second)"))
    ));
    let findings = report.findings();
    lines.extend(findings.iter().map(|f| format!("{}: {}", f.severity.name(), f.text)));
    lines.join("\n")
}

/// Returns everything that the table shows, and all counters.
pub(super) fn as_json(report: &Report<'_>) -> Value {
    let topology = report.topology;
    let servers = (0u16..).zip(&topology.servers).zip(report.stats).map(|((id, info), heard)| {
        let stats = heard.answer();
        let counters = stats.map(|stats| {
            let pairs = stats.counters.iter().map(|c| (c.name.clone(), json!(c.value)));
            Value::Object(pairs.collect())
        });
        let outage = stats.and_then(Outage::of);
        json!({
            "name": info.name,
            "address": info.address.to_string(),
            "state": report.map.map(|map| map.state(id).name()),
            "owned_partitions": report.owned(id),
            "answers": heard.is_alive(),
            "epoch": stats.map(|s| MapEpoch::from_u64(s.map_epoch).to_string()),
            "version": stats.and_then(version),
            "memory_bytes": stats.map(|s| s.counter("memory_bytes")),
            "hit_ratio": stats.and_then(|s| ratio(s, "hits", "misses")),
            "hit_ratio_10s": stats.and_then(|s| ratio(s, "hits_10s", "misses_10s")),
            "database": stats.filter(|stats| has_database(stats)).map(|_| json!({
                "up": outage.is_none(),
                "down_ms": outage.as_ref().map(|o| o.lasts_ms),
                "down_since": outage.as_ref().map(|o| o.since(report.now)),
                "reason": outage.as_ref().map(|o| o.reason.clone()),
            })),
            "uptime_ms": stats.map(|s| s.uptime_ms),
            "counters": counters,
        })
    });
    let findings = report.findings();
    let findings =
        findings.iter().map(|f| json!({ "severity": f.severity.name(), "text": f.text }));
    let keyspaces = keyspaces(report.stats.iter().filter_map(Heard::answer));
    let keyspaces = keyspaces.iter().map(|keyspace| {
        let Keyspace { name, reads, hits, writes, failed } = keyspace;
        json!({
            "name": name, "reads": reads, "hits": hits, "hit_ratio": share(*hits, *reads),
            "writes": writes, "failed": failed,
        })
    });
    json!({
        "cluster": topology.name,
        "severity": report.severity().name(),
        "epoch": report.map.map(|map| map.epoch.to_string()),
        "master": {
            "address": topology.master.to_string(),
            "answers": report.master.is_alive(),
            "is_learning": report.master == Heard::NotReady,
        },
        "origin_reads": {
            "last_10_s": report.origin_reads_10s(),
            "per_second_max": report.reads_per_second(),
        },
        "servers": servers.collect::<Vec<_>>(),
        "keyspaces": keyspaces.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

/// Whether a server has a database, by its counters.
fn has_database(stats: &StatsReply) -> bool {
    stats.counter("has_database") > 0
}

/// The epoch of the map that a server has applied, as text.
fn epoch_applied(stats: &StatsReply) -> String {
    match MapEpoch::from_u64(stats.map_epoch) {
        none if none == MapEpoch::default() => "no map".to_owned(),
        epoch => epoch.to_string(),
    }
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib if mib % 1_024 == 0 => format!("{} GiB", mib >> 10),
        mib => format!("{mib} MiB"),
    }
}

fn percent(stats: &StatsReply, hits: &str, misses: &str) -> String {
    ratio(stats, hits, misses).map_or("-".to_owned(), |ratio| format!("{:.1}", ratio * 100.0))
}

/// The share of hits among all reads, or `None` if there were no reads.
fn ratio(stats: &StatsReply, hits: &str, misses: &str) -> Option<f64> {
    let (hits, misses) = (stats.counter(hits), stats.counter(misses));
    share(hits, hits + misses)
}

/// A part of a whole, or `None` if there is no whole.
#[expect(clippy::cast_precision_loss, reason = "a ratio of counters, for reading")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
