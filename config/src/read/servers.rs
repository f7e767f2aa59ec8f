//! `[defaults]`, `[[group]]` and `[[group.server]]`, and what holds between servers.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

use standin_protocol::map::SERVERS_MAX;
use standin_protocol::placement::WEIGHT_MAX;

use super::address::read_address;
use super::cluster::{Cluster, Master, check_name};
use super::http::Http;
use super::services::{self, Service};
use super::tuning::LimitsRead;
use crate::defaults;
use crate::http::METRICS;
use crate::mistake::Report;
use crate::model::{IoKind, ServerConfig};
use crate::section::{At, Found, Section};
use crate::services::ServiceProtocol;
use crate::units::format_size;

pub(super) const SHARDS_MAX: u64 = 256;
pub(super) const CORE_MAX: u64 = 4_095;
const MEMORY_BYTES_MIN: u64 = 1 << 20;
const MEMORY_BYTES_MAX: u64 = 16 << 40;
/// The smallest cache of one shard: a store is divided into segments, which offsets have to reach.
pub const SHARD_MEMORY_BYTES_MIN: u64 = 64 << 10;
/// See [`SHARD_MEMORY_BYTES_MIN`].
pub const SHARD_MEMORY_BYTES_MAX: u64 = 64 << 30;

pub(super) const IO_KINDS: [(&str, IoKind); 3] =
    [("auto", IoKind::Auto), ("uring", IoKind::Uring), ("epoll", IoKind::Epoll)];

/// The keys that `[defaults]` may set and each server may override, as far as they are right.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    shards: Option<At<u16>>,
    weight: Option<At<u16>>,
    memory_bytes: Option<At<u64>>,
    huge_pages: Option<At<bool>>,
    io: Option<At<IoKind>>,
}

/// All groups and their servers in file order.
pub(super) struct Groups {
    pub(super) names: Vec<String>,
    pub(super) servers: Vec<Server>,
}

/// One `[[group.server]]`, as far as it is right.
pub(super) struct Server {
    pub(super) at: usize,
    name: Option<String>,
    group: u16,
    pub(super) address: Option<At<SocketAddr>>,
    sizes: Sizes,
    cores: Option<At<Vec<usize>>>,
    pub(super) services: Vec<Service>,
    pub(super) redis_node_port: Option<Option<At<u16>>>,
    pub(super) metrics: Http,
}

impl Server {
    /// Returns its name for messages.
    pub(super) fn shown(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| "a server without a name".to_owned(), |name| format!("server {name:?}"))
    }

    pub(super) fn complete(&self) -> Option<ServerConfig> {
        Some(ServerConfig {
            name: self.name.clone()?,
            group: self.group,
            address: self.address?.value,
            shards: self.sizes.shards?.value,
            cores: self.cores.as_ref()?.value.clone(),
            weight: self.sizes.weight?.value,
            memory_bytes: self.sizes.memory_bytes?.value,
            huge_pages: self.sizes.huge_pages?.value,
            io: self.sizes.io?.value,
            services: self.services.iter().map(Service::complete).collect::<Option<_>>()?,
            redis_node_port: self.redis_node_port?.map(|port| port.value),
            metrics: self.metrics.complete()?,
        })
    }
}

pub(super) fn read_defaults(mut section: Section<'_>, report: &mut Report<'_>) -> Sizes {
    let at = section.at();
    let built_in = Sizes {
        shards: Some(At { value: defaults::SHARDS, at }),
        weight: Some(At { value: defaults::WEIGHT, at }),
        memory_bytes: Some(At { value: defaults::MEMORY_BYTES, at }),
        huge_pages: Some(At { value: defaults::HUGE_PAGES, at }),
        io: Some(At { value: defaults::IO, at }),
    };
    let sizes = read_sizes(&mut section, built_in, report);
    let of_services = ServiceProtocol::ALL.into_iter().flat_map(|p| [p.key(), p.passwords_key()]);
    let of_one =
        ["name", "address", "cores", "redis_node_port", METRICS.address, METRICS.passwords];
    for key in of_one.into_iter().chain(of_services) {
        section.misplaced(
            key,
            "belongs to one server; write it under that [[group.server]]",
            report,
        );
    }
    section.finish(report);
    sizes
}

/// `fallback` has the values of missing keys.
fn read_sizes(section: &mut Section<'_>, fallback: Sizes, report: &mut Report<'_>) -> Sizes {
    /// A bad value here stays bad; an absent one is whatever the fallback is.
    fn or<T>(found: Found<T>, fallback: Option<At<T>>) -> Option<At<T>> {
        match found {
            Found::Absent => fallback,
            Found::Bad => None,
            Found::Good(found) => Some(found),
        }
    }
    let shards = section.whole_or_absent("shards", 1..=SHARDS_MAX, "2", report);
    let weight = section.whole_or_absent("weight", 1..=u64::from(WEIGHT_MAX), "1", report);
    let memory =
        section.size_or_absent("memory", MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX, "256MiB", report);
    let huge_pages = section.boolean("huge_pages", report);
    let io = section.choice("io", &IO_KINDS, report);
    Sizes {
        shards: or(shards, fallback.shards),
        weight: or(weight, fallback.weight),
        memory_bytes: or(memory, fallback.memory_bytes),
        huge_pages: or(huge_pages, fallback.huge_pages),
        io: or(io, fallback.io),
    }
}

pub(super) fn read_groups(
    sections: Vec<Section<'_>>,
    fallback: Option<&Sizes>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Groups {
    // Bad defaults were reported; no server that relies on them is complete.
    let unknown =
        Sizes { shards: None, weight: None, memory_bytes: None, huge_pages: None, io: None };
    let fallback = fallback.copied().unwrap_or(unknown);
    let mut groups = Groups { names: Vec::new(), servers: Vec::new() };
    if sections.is_empty() {
        report.mistake(
            0,
            "group",
            "there is no group; write `[[group]]` with a name, and two or more `[[group.server]]` under it",
        );
    }
    let mut group_places = HashMap::new();
    let mut server_places = HashMap::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        let name = section.required_text("name", "a", report);
        let name = name.and_then(|name| check_name(name, &section.key("name"), report));
        if let Some(name) = name {
            unique(name, "group", &section.key("name"), &mut group_places, report);
        }
        let name = name.map_or("", |name| name.value);
        groups.names.push(name.to_owned());

        let servers = section.sections("server", report);
        if let Some(count @ 0..=1) = servers.as_ref().map(Vec::len) {
            let (has, another) = if count == 0 {
                ("no server", "two")
            } else {
                ("one server, for which no other can stand in", "another")
            };
            report.mistake(
                section.at(),
                "group",
                format!("group {name:?} has {has}; write {another} `[[group.server]]` under it"),
            );
        }
        // More groups than a u16 counts have more servers than are allowed.
        let group = u16::try_from(index).unwrap_or(u16::MAX);
        for server in servers.unwrap_or_default() {
            let server = read_server(server, group, fallback, base_dir, &mut server_places, report);
            groups.servers.push(server);
        }
        section.finish(report);
    }
    if let Some(server) = groups.servers.get(SERVERS_MAX) {
        let count = groups.servers.len();
        report.mistake(
            server.at,
            "group.server",
            format!("there are {count} servers; write at most {SERVERS_MAX}"),
        );
    }
    groups
}

fn read_server(
    mut section: Section<'_>,
    group: u16,
    fallback: Sizes,
    base_dir: &Path,
    places: &mut HashMap<String, usize>,
    report: &mut Report<'_>,
) -> Server {
    let name = section.required_text("name", "a1", report);
    let name = name.and_then(|name| check_name(name, &section.key("name"), report));
    if let Some(name) = name {
        unique(name, "server", &section.key("name"), places, report);
    }
    let address = section.required_text("address", "127.0.0.1:7101", report);
    let address = address
        .and_then(|text| read_address(text, &section.key("address"), "127.0.0.1:7101", report));
    let sizes = read_sizes(&mut section, fallback, report);
    let cores = section.whole_list("cores", 0..=CORE_MAX, "[0, 1]", report);
    if let (Some(cores), Some(shards)) = (&cores, sizes.shards) {
        check_cores(cores, shards.value, &section.key("cores"), report);
    }
    let services = services::read(&mut section, base_dir, report);
    let redis_node_port = section.whole_or_absent("redis_node_port", 1..=65_535, "7000", report);
    let metrics = Http::read(METRICS, &mut section, base_dir, report);
    let server = Server {
        at: section.at(),
        name: name.map(|name| name.value.to_owned()),
        group,
        address,
        sizes,
        cores,
        services,
        redis_node_port: redis_node_port.optional(),
        metrics,
    };
    section.finish(report);
    server
}

fn check_cores(cores: &At<Vec<usize>>, shards: u16, key: &str, report: &mut Report<'_>) {
    let count = cores.value.len();
    if count != 0 && count != usize::from(shards) {
        report.mistake(
            cores.at,
            key,
            format!(
                "cores and shards differ in number ({count} and {shards}); write one core per shard, or `shards = {count}`"
            ),
        );
    }
    let repeated =
        cores.value.iter().enumerate().find(|(index, core)| cores.value[..*index].contains(core));
    if let Some((_, core)) = repeated {
        report.mistake(
            cores.at,
            key,
            format!("core {core} is listed twice; give each shard a core of its own"),
        );
    }
}

/// Reports a name that was used before, and where; `places` holds the first uses.
pub(super) fn unique(
    name: At<&str>,
    what: &str,
    key: &str,
    places: &mut HashMap<String, usize>,
    report: &mut Report<'_>,
) {
    if let Some(first) = places.get(name.value) {
        let line = report.line(*first);
        report.mistake(
            name.at,
            key,
            format!(
                "{:?} is already the name of the {what} in line {line}; write another name",
                name.value
            ),
        );
    } else {
        places.insert(name.value.to_owned(), name.at);
    }
}

/// Returns its number of shards, if that is valid.
pub(super) fn shards_of(server: &Server) -> Option<u16> {
    Some(server.sizes.shards?.value)
}

/// Checks the servers against the rest of the file.
pub(super) fn check(
    servers: &[Server],
    cluster: Option<&Cluster<'_>>,
    master: Option<&Master>,
    limits: Option<&LimitsRead>,
    report: &mut Report<'_>,
) {
    if let Some(Some(most)) = master.and_then(|master| master.offline_servers_max)
        && usize::try_from(most.value).is_ok_and(|value| value > servers.len())
    {
        let count = servers.len();
        report.mistake(
            most.at,
            "master.offline_servers_max",
            format!(
                "{} is more than the number of servers; write a whole number from 1 to {count}",
                most.value
            ),
        );
    }
    let shards: Option<u64> =
        servers.iter().map(|server| Some(u64::from(shards_of(server)?))).sum();
    if let (Some(partitions), Some(shards)) =
        (cluster.and_then(|cluster| cluster.partitions), shards)
        && u64::from(partitions.value) < shards
    {
        report.warning(
            partitions.at,
            "cluster.partitions",
            format!("fewer partitions than shards ({shards}), so some shards have nothing to do; write {} or more", shards * 16),
        );
    }
    check_memory(servers, limits.and_then(|limits| limits.value_bytes), report);
    check_shared_cores(servers, report);
}

/// The memory of a server is divided among its shards. The arena of a shard is evicted by segments,
/// so it should hold several largest values.
fn check_memory(servers: &[Server], value_bytes: Option<At<u32>>, report: &mut Report<'_>) {
    let wanted = value_bytes.map_or(0, |bytes| 4 * u64::from(bytes.value));
    // A size from `[defaults]` is told once, not for each server that has it.
    let mut told = HashSet::new();
    for server in servers {
        let (Some(memory), Some(shards)) = (server.sizes.memory_bytes, server.sizes.shards) else {
            continue;
        };
        let (of_shard, count) = (memory.value / u64::from(shards.value), u64::from(shards.value));
        if !(SHARD_MEMORY_BYTES_MIN..=SHARD_MEMORY_BYTES_MAX).contains(&of_shard) {
            if told.insert(memory.at) {
                report.mistake(
                    memory.at,
                    "group.server.memory",
                    format!(
                        "{} can't have {} for {count} shards: each takes from {} to {}; write a size \
                         from {} to {}, or another number of `shards`",
                        server.shown(),
                        format_size(memory.value),
                        format_size(SHARD_MEMORY_BYTES_MIN),
                        format_size(SHARD_MEMORY_BYTES_MAX),
                        format_size((count * SHARD_MEMORY_BYTES_MIN).max(MEMORY_BYTES_MIN)),
                        format_size((count * SHARD_MEMORY_BYTES_MAX).min(MEMORY_BYTES_MAX)),
                    ),
                );
            }
        } else if of_shard < wanted && told.insert(memory.at) {
            report.warning(
                memory.at,
                "group.server.memory",
                format!(
                    "{} has room for fewer than 4 values of limits.value_bytes per shard; write {} or more",
                    server.shown(),
                    format_size(wanted * u64::from(shards.value)),
                ),
            );
        }
    }
}

/// Two servers on one machine that are pinned to one core take it from each other.
fn check_shared_cores(servers: &[Server], report: &mut Report<'_>) {
    let mut users = HashMap::new();
    for server in servers {
        let (Some(address), Some(cores)) = (server.address, &server.cores) else { continue };
        for core in &cores.value {
            let user = *users.entry((address.value.ip(), *core)).or_insert(server.at);
            if user != server.at {
                let line = report.line(user);
                report.warning(
                    cores.at,
                    "group.server.cores",
                    format!("core {core} is also used by the server in line {line} at the same address; write another core"),
                );
            }
        }
    }
}
