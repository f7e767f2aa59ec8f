//! The file of a proxy: `[proxy]`, the names of the keyspaces, and the sections that it shares with
//! `cluster.toml`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use super::address::{read_address, read_addresses};
use super::cluster::{NamingKeys, check_name};
use super::http::Http;
use super::keyspace::read_id;
use super::network::{PortUsers, open_port};
use super::secret;
use super::servers::{CORE_MAX, IO_KINDS, SHARDS_MAX, unique};
use super::{read_log, services, tls, tuning};
use crate::defaults;
use crate::http::METRICS;
use crate::mistake::Report;
use crate::model::{IoKind, KeyspaceConfig, KeyspaceKind};
use crate::proxy::{ListenAt, ProxyConfig, ProxyService};
use crate::section::{At, Section};
use crate::services::ServiceProtocol;
use crate::tls::TlsConfig;

/// The section by which such a file is recognized.
pub(super) const SECTION: &str = "proxy";
const EXAMPLE: &str = "127.0.0.1:7101";
const SOCKET_MODE: &str = "0666";
/// The longest path of a Unix socket, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `[proxy]`, as far as it is right.
struct Proxy<'d> {
    servers: Option<Vec<At<SocketAddr>>>,
    services: Option<Vec<At<ProxyService>>>,
    socket_mode: Option<u32>,
    threads: Option<u16>,
    cores: Option<Vec<usize>>,
    io: Option<IoKind>,
    metrics: Http,
    tls: Option<Option<TlsConfig>>,
    naming: NamingKeys<'d>,
}

pub(super) fn read(
    mut root: Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<ProxyConfig> {
    let proxy = root.section(SECTION, report).map(|section| read_proxy(section, base_dir, report));
    let keyspaces = root.sections("keyspace", report);
    let keyspaces = keyspaces.and_then(|sections| read_keyspaces(sections, report));
    let timings =
        root.section("timings", report).map(|section| tuning::read_timings(section, report));
    let limits = root.section("limits", report).map(|section| tuning::read_limits(section, report));
    let security =
        root.section("security", report).map(|section| secret::read(section, base_dir, report));
    let tls = root.section("tls", report);
    let tls_calls = tls.map(|section| tls::read_calls(section, base_dir, report));
    let log_level = read_log(&mut root, report);
    for key in ["cluster", "master", "defaults", "group", "origin"] {
        let why = "is learnt from the cluster; remove it from the file of a proxy";
        root.misplaced(key, why, report);
    }
    root.finish(report);
    let naming = proxy.as_ref().map(|proxy| &proxy.naming);
    let naming = services::naming(SECTION, naming, keyspaces.as_deref(), report);
    let proxy = proxy?;
    let secret_missing = security.as_ref().is_some_and(|security| security.is_absent());
    let known = keyspaces.as_deref();
    let names_users = security.as_ref().is_some_and(|security| security.names_users());
    let security =
        security.map(|security| security.complete(secret::Of::Proxy, known, base_dir, report));
    let users = security.as_ref().and_then(|read| PortUsers::of(read, names_users));
    check_open(proxy.services.as_deref().unwrap_or_default(), users, report);
    // It may have a certificate instead.
    let has_tls = matches!(tls_calls, Some(Some(Some(_))));
    if secret_missing && !has_tls {
        let remote = proxy.servers.iter().flatten().find(|at| !at.value.ip().is_loopback());
        if let Some(remote) = remote {
            let wrong = format!(
                "{} is not a loopback address, so the cluster has a secret; write `[security]` with \
                 the `client_key` of a file that `standin client-config` has written",
                remote.value
            );
            report.mistake(remote.at, "proxy.servers", wrong);
        }
    }
    Some(ProxyConfig {
        servers: proxy.servers?.into_iter().map(|server| server.value).collect(),
        services: proxy.services?.into_iter().map(|service| service.value).collect(),
        socket_mode: proxy.socket_mode?,
        threads: proxy.threads?,
        cores: proxy.cores?,
        io: proxy.io?,
        metrics: proxy.metrics.complete()?,
        tls: proxy.tls?,
        keyspaces: keyspaces?,
        naming: naming?,
        timings: timings?.complete?,
        limits: limits?.complete?,
        security: security??,
        tls_calls: tls_calls??,
        log_level: log_level?,
    })
}

fn read_proxy<'d>(mut section: Section<'d>, base_dir: &Path, report: &mut Report<'_>) -> Proxy<'d> {
    let servers = read_servers(&mut section, report);
    let services = read_services(&mut section, base_dir, report);
    let mode = section.text("socket_mode", SOCKET_MODE, report);
    let mode_key = section.key("socket_mode");
    let mode = mode.or(SOCKET_MODE, section.at());
    let socket_mode = mode.and_then(|mode| read_mode(mode, &mode_key, report));
    let threads = section.whole("threads", 1..=SHARDS_MAX, defaults::SHARDS, report);
    let cores = section.whole_list("cores", 0..=CORE_MAX, "[2, 3]", report);
    if let (Some(threads), Some(cores)) = (&threads, &cores)
        && !cores.value.is_empty()
        && cores.value.len() != usize::from(threads.value)
    {
        let wrong = format!(
            "there are {} cores for {} threads; write one core for each thread",
            cores.value.len(),
            threads.value
        );
        report.mistake(cores.at, "proxy.cores", wrong);
    }
    let io = section.choice("io", &IO_KINDS, report).or(defaults::IO, section.at());
    let metrics = Http::read(METRICS, &mut section, base_dir, report);
    check_metrics(&metrics, services.as_deref(), report);
    let tls = section.section("tls", report).and_then(|section| {
        tls::read_of_proxy(section, services.as_deref(), &metrics, base_dir, report)
    });
    let naming = NamingKeys::read(&mut section, report);
    section.finish(report);
    Proxy {
        servers,
        services,
        socket_mode,
        threads: threads.map(|threads| threads.value),
        cores: cores.map(|cores| cores.value),
        io: io.map(|io| io.value),
        metrics,
        tls,
        naming,
    }
}

/// An address that others reach asks for passwords or users.
fn check_open(services: &[At<ProxyService>], users: Option<PortUsers>, report: &mut Report<'_>) {
    // A file of users that can't be used was reported.
    let Some(users) = users else { return };
    for At { value: service, at } in services {
        if let ListenAt::Tcp(address) = service.at
            && !address.ip().to_canonical().is_loopback()
            && let Some(wrong) = open_port(
                address,
                service.protocol.passwords_key(),
                service.passwords.is_none(),
                users,
            )
        {
            report.mistake(*at, &format!("{SECTION}.{}", service.protocol.key()), wrong);
        }
    }
}

/// The port of metrics is no other, and has passwords if others reach it.
fn check_metrics(metrics: &Http, services: Option<&[At<ProxyService>]>, report: &mut Report<'_>) {
    // A wrong one was reported.
    let Some(Some(At { value: address, at })) = metrics.address else { return };
    let key = format!("{SECTION}.{}", metrics.keys.address);
    if !address.ip().to_canonical().is_loopback() && metrics.is_open() {
        let wrong = format!(
            "{address} is not a loopback address, and everybody who reaches it could use it; write \
             `{} = \"FILE\"`, a file of lines `user:password`, or a loopback address",
            metrics.keys.passwords
        );
        report.mistake(at, &key, wrong);
    }
    let is_taken = |service: &&At<ProxyService>| service.value.at == ListenAt::Tcp(address);
    if let Some(service) = services.unwrap_or_default().iter().find(is_taken) {
        let taken = service.value.protocol.key();
        let wrong = format!("{address} is already the place of `{taken}`; write another port");
        report.mistake(at, &key, wrong);
    }
}

fn read_servers(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Vec<At<SocketAddr>>> {
    let key = section.key("servers");
    let list = section.text_list("servers", &format!("[\"{EXAMPLE}\"]"), report)?;
    if list.value.is_empty() {
        section.missing("servers", &format!("[\"{EXAMPLE}\"]"), report);
        return None;
    }
    let addresses =
        |text: &&str| read_addresses(At { value: *text, at: list.at }, &key, EXAMPLE, report);
    // All are read before one that is wrong is given up.
    let servers: Vec<_> = list.value.iter().map(addresses).collect();
    let servers: Option<Vec<Vec<_>>> = servers.into_iter().collect();
    servers.map(|servers| servers.concat())
}

fn read_services(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<Vec<At<ProxyService>>> {
    let mut services: Vec<Option<At<ProxyService>>> = Vec::new();
    for protocol in ServiceProtocol::ALL {
        let (key, passwords_key) = (protocol.key(), protocol.passwords_key());
        let example = format!("127.0.0.1:{}", protocol.usual_port());
        let path = section.key(key);
        let place = section.text(key, &example, report);
        let place = place.and_then(|text| read_place(text, &path, &example, base_dir, report));
        let passwords = section.text(passwords_key, "passwords", report).optional();
        let (Some(place), Some(passwords)) = (place.optional(), passwords) else {
            services.push(None);
            continue;
        };
        let passwords_path = section.key(passwords_key);
        match (place, passwords) {
            (Some(place), passwords) => {
                let passwords = passwords.map(|file| base_dir.join(file.value));
                let value = ProxyService { protocol, at: place.value, passwords };
                services.push(Some(At { value, at: place.at }));
            }
            (None, Some(file)) => {
                let wrong =
                    format!("there is no port that it is for; write `{key} = \"{example}\"`");
                report.mistake(file.at, &passwords_path, wrong);
            }
            (None, None) => {}
        }
    }
    if services.is_empty() {
        let wrong = "the proxy listens nowhere; write `memcached = \"127.0.0.1:11211\"`, `redis = \
                     \"127.0.0.1:6379\"`, or the path of a socket, such as `redis = \
                     \"/run/standin/redis.sock\"`";
        report.mistake(section.at(), SECTION, wrong);
    }
    let services: Vec<At<ProxyService>> = services.into_iter().collect::<Option<_>>()?;
    if let [first, second] = &*services
        && first.value.at == second.value.at
    {
        let wrong =
            format!("{} is the place of both protocols; write another for one", first.value.at);
        report.mistake(section.at(), SECTION, wrong);
    }
    Some(services)
}

/// An address, or the path of a Unix socket, which has a `/`.
fn read_place(
    text: At<&str>,
    key: &str,
    example: &str,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<At<ListenAt>> {
    if !text.value.contains('/') {
        let address = read_address(text, key, example, report)?;
        return Some(At { value: ListenAt::Tcp(address.value), at: address.at });
    }
    let path = base_dir.join(text.value);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let wrong = format!(
            "the path of a socket can't have more than {SOCKET_PATH_BYTES_MAX} bytes; write a \
             shorter one"
        );
        report.mistake(text.at, key, wrong);
        return None;
    }
    Some(At { value: ListenAt::Unix(path), at: text.at })
}

fn read_mode(text: At<&str>, key: &str, report: &mut Report<'_>) -> Option<u32> {
    match u32::from_str_radix(text.value, 8) {
        Ok(mode) if mode <= 0o777 => Some(mode),
        _ => {
            let wrong = format!(
                "{:?} is not the mode of a file; write three octal digits, such as `socket_mode = \
                 \"{SOCKET_MODE}\"`",
                text.value
            );
            report.mistake(text.at, key, wrong);
            None
        }
    }
}

/// The ids and names of the keyspaces.
fn read_keyspaces(
    sections: Vec<Section<'_>>,
    report: &mut Report<'_>,
) -> Option<Vec<KeyspaceConfig>> {
    if sections.is_empty() {
        let wanted = "there is no keyspace; write `[[keyspace]]` with the id and the name of each \
                      that clients use, as in cluster.toml";
        report.mistake(0, "keyspace", wanted);
    }
    let (mut ids, mut names) = (HashMap::new(), HashMap::new());
    let read = |mut section: Section<'_>| {
        let id = read_id(&mut section, &mut ids, report);
        let name = section.required_text("name", "items", report);
        let name = name.and_then(|name| check_name(name, &section.key("name"), report));
        if let Some(name) = name {
            unique(name, "keyspace", &section.key("name"), &mut names, report);
        }
        let kind = section.choice("kind", &KeyspaceKind::ALL, report);
        let kind = kind.or(KeyspaceKind::default(), section.at());
        section.finish(report);
        let kind = kind.map_or(KeyspaceKind::default(), |found| found.value);
        Some(KeyspaceConfig { kind, ..KeyspaceConfig::cache(id?, name?.value) })
    };
    let keyspaces: Vec<Option<KeyspaceConfig>> = sections.into_iter().map(read).collect();
    let mut keyspaces: Vec<KeyspaceConfig> = keyspaces.into_iter().collect::<Option<_>>()?;
    keyspaces.sort_by_key(|keyspace| keyspace.id);
    Some(keyspaces)
}
