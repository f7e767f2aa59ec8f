//! `stats`: the counters of the server under memcached's names, and then all of them under their own.

use standin_protocol::body::StatsReply;

use super::failure::line;
use super::said::{Said, VERSION};

/// Memcached's names, and the counters that mean what they do.
const NAMES: [(&str, &str); 8] = [
    ("curr_connections", "connections"),
    ("total_connections", "connections_accepted"),
    ("rejected_connections", "connections_refused"),
    ("get_hits", "hits"),
    ("get_misses", "misses"),
    ("curr_items", "items"),
    ("bytes", "items_bytes"),
    ("evictions", "evicted"),
];

/// Appends the counters, which the shell has put together.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) {
    let Ok(stats) = StatsReply::from_bytes(value) else {
        return line("SERVER_ERROR the counters can't be read", out);
    };
    let counter = |name: &str| {
        let counter = stats.counters.iter().find(|counter| counter.name == name);
        counter.map_or(0, |counter| counter.value)
    };
    stat("pid", std::process::id(), out);
    stat("uptime", stats.uptime_ms / 1_000, out);
    stat("version", VERSION, out);
    stat("standin_version", env!("CARGO_PKG_VERSION"), out);
    stat("pointer_size", usize::BITS, out);
    for (name, own) in NAMES {
        stat(name, counter(own), out);
    }
    stat("cmd_get", counter("hits") + counter("misses"), out);
    stat("standin_server", &stats.server, out);
    stat("standin_map_epoch", stats.map_epoch, out);
    for counter in &stats.counters {
        stat(&format!("standin_{}", counter.name), counter.value, out);
    }
    line(Said::End.text(), out);
}

/// Appends the settings that clients look at.
pub(super) fn settings(value_bytes: u32, out: &mut Vec<u8>) {
    stat("item_size_max", value_bytes, out);
    stat("client_flags_size", size_of::<u32>(), out);
    stat("cas_enabled", "yes", out);
    stat("flush_enabled", "yes", out);
    stat("dump_enabled", "no", out);
    line(Said::End.text(), out);
}

fn stat(name: &str, value: impl std::fmt::Display, out: &mut Vec<u8>) {
    line(&format!("STAT {name} {value}"), out);
}
