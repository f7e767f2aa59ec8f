//! INFO: the counters of the server, under Redis' names where they mean the same.

use std::fmt::Write as _;

use standin_protocol::body::StatsReply;

use super::REDIS_VERSION;
use super::resp;
use super::session::Session;

/// Appends the sections that are asked for; all of them if none is.
pub(super) fn write(value: &[u8], sections: &[&[u8]], session: &Session, out: &mut Vec<u8>) {
    let Ok(stats) = StatsReply::from_bytes(value) else {
        return resp::line("-ERR the counters can't be read", out);
    };
    let counter = |name: &str| {
        let counter = stats.counters.iter().find(|counter| counter.name == name);
        counter.map_or(0, |counter| counter.value)
    };
    let is_all = |section: &&[u8]| {
        ["default", "all", "everything"]
            .iter()
            .any(|all| section.eq_ignore_ascii_case(all.as_bytes()))
    };
    let all = sections.is_empty() || sections.iter().any(is_all);
    let mut text = String::new();
    let mut section = |name: &str, lines: &[(&str, String)]| {
        let is_asked = sections.iter().any(|section| section.eq_ignore_ascii_case(name.as_bytes()));
        if !all && !is_asked {
            return;
        }
        let gap = if text.is_empty() { "" } else { "\r\n" };
        let _ = write!(text, "{gap}# {name}\r\n");
        for (key, value) in lines {
            let _ = write!(text, "{key}:{value}\r\n");
        }
    };
    let of = |name: &str| counter(name).to_string();
    let uptime_s = stats.uptime_ms / 1_000;
    section(
        "Server",
        &[
            ("redis_version", REDIS_VERSION.to_owned()),
            ("redis_mode", session.mode().to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("run_id", format!("{:040x}", stats.boot_id)),
            ("uptime_in_seconds", uptime_s.to_string()),
            ("uptime_in_days", (uptime_s / 86_400).to_string()),
            ("standin_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("standin_server", stats.server.clone()),
            ("standin_map_epoch", stats.map_epoch.to_string()),
        ],
    );
    // No command here blocks its client.
    let blocked = ("blocked_clients", "0".to_owned());
    section("Clients", &[("connected_clients", of("connections")), blocked]);
    section("Memory", &[("used_memory", of("items_bytes")), ("maxmemory", "0".to_owned())]);
    section("Persistence", &[("loading", "0".to_owned())]);
    section(
        "Stats",
        &[
            ("total_connections_received", of("connections_accepted")),
            ("total_commands_processed", of("requests")),
            ("rejected_connections", of("connections_refused")),
            ("keyspace_hits", of("hits")),
            ("keyspace_misses", of("misses")),
            ("evicted_keys", of("evicted")),
        ],
    );
    section("Replication", &[("role", "master".to_owned()), ("connected_slaves", "0".to_owned())]);
    section("Cluster", &[("cluster_enabled", u8::from(session.cluster.is_node).to_string())]);
    section("Keyspace", &[("db0", format!("keys={},expires=0,avg_ttl=0", counter("items")))]);
    let own: Vec<(&str, String)> =
        stats.counters.iter().map(|counter| (&*counter.name, counter.value.to_string())).collect();
    section("Standin", &own);
    resp::text(&text, session.version, out);
}
