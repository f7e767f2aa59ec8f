//! Reading a file into a [`ClusterConfig`]: the order of the sections, and the entry points.
//!
//! Each file here reads its sections key by key and then checks what holds between
//! them. Nothing stops at a mistake. Checks that need a missing value are skipped, so that one mistake
//! is not reported twice.

mod access;
mod address;
mod bonds;
mod cluster;
mod http;
mod keyspace;
mod network;
mod nodes;
mod origin;
mod proxy;
mod secret;
mod servers;
mod services;
mod tls;
mod tuning;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml_edit::Document;

use crate::mistake::{ConfigErrors, Mistake, Report};
use crate::model::{ClusterConfig, KeyspaceConfig, LogLevel};
use crate::names::{self, Names};
use crate::permissions::{self, Rule, TooOpen};
use crate::proxy::ProxyConfig;
use crate::section::Section;
use servers::Server;
pub use servers::{SHARD_MEMORY_BYTES_MAX, SHARD_MEMORY_BYTES_MIN};

/// The largest file that is read. A cluster of a thousand servers takes some 200 KiB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The contents of a file, and the warnings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The values, or all mistakes.
    pub config: Result<ClusterConfig, ConfigErrors>,
    /// Settings that work, but most likely not as intended; present even if there are mistakes.
    pub warnings: Vec<Mistake>,
    /// Why the file must hold no secret, if it must not. It is of the file that was read, whatever is at its path later.
    pub too_open: Option<TooOpen>,
}

impl ClusterConfig {
    /// Reads and checks a file. Relative paths in it are relative to its folder. Names of hosts in it are
    /// looked up, which may take as long as the system's resolver does.
    ///
    /// # Errors
    /// All mistakes of the file at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::check_file(path).config
    }

    /// Reads and checks a text. `source_name` is what messages call it; relative paths
    /// are relative to `base_dir`. Touches no file but the `secret_file`, if one is named, and looks up no
    /// names of hosts: addresses in it must be IP addresses.
    ///
    /// # Errors
    /// All mistakes of the text at once.
    pub fn parse(text: &str, source_name: &str, base_dir: &Path) -> Result<Self, ConfigErrors> {
        Self::check(text, source_name, base_dir).config
    }

    /// Loads a file like [`Self::load`], and returns warnings as well.
    #[must_use]
    pub fn check_file(path: &Path) -> Checked {
        let (config, warnings, too_open) = of_file(path, EXAMPLE, read_root);
        Checked { config, warnings, too_open }
    }

    /// Parses text like [`Self::parse`], and returns warnings as well.
    #[must_use]
    pub fn check(text: &str, source_name: &str, base_dir: &Path) -> Checked {
        let (config, warnings) = of_text(Report::new(source_name, text), base_dir, read_root);
        Checked { config, warnings, too_open: None }
    }
}

/// The contents of a proxy's file, and the warnings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedProxy {
    /// The values, or all mistakes.
    pub config: Result<ProxyConfig, ConfigErrors>,
    /// Settings that work, but most likely not as intended; present even if there are mistakes.
    pub warnings: Vec<Mistake>,
}

impl ProxyConfig {
    /// Reads and checks a proxy's file. Relative paths in it are relative to its folder.
    #[must_use]
    pub fn check_file(path: &Path) -> CheckedProxy {
        let (config, warnings, _) = of_file(path, EXAMPLE, proxy::read);
        CheckedProxy { config, warnings }
    }

    /// Reads and checks the text of a proxy's file, as [`ClusterConfig::check`] does.
    #[must_use]
    pub fn check(text: &str, source_name: &str, base_dir: &Path) -> CheckedProxy {
        let (config, warnings) = of_text(Report::new(source_name, text), base_dir, proxy::read);
        CheckedProxy { config, warnings }
    }

    /// Whether a file is that of a proxy: it has a section `[proxy]`.
    #[must_use]
    pub fn is_in(path: &Path) -> bool {
        let Some(text) = bytes_of(path).ok().and_then(|(_, bytes)| String::from_utf8(bytes).ok())
        else {
            return false;
        };
        Document::parse(text).is_ok_and(|document| document.contains_table(proxy::SECTION))
    }
}

impl KeyspaceConfig {
    /// Reads the keyspaces of a cluster's or a proxy's file, for its file of users, which need not be there.
    ///
    /// # Errors
    /// All mistakes of the file at once.
    pub fn load_all(path: &Path) -> Result<Vec<Self>, ConfigErrors> {
        if ProxyConfig::is_in(path) {
            let read: Read<ProxyConfig> = |root, base_dir, report| {
                report.ignores_users = true;
                proxy::read(root, base_dir, report)
            };
            return of_file(path, EXAMPLE, read).0.map(|config| config.keyspaces);
        }
        let read: Read<ClusterConfig> = |root, base_dir, report| {
            report.ignores_users = true;
            read_root(root, base_dir, report)
        };
        of_file(path, EXAMPLE, read).0.map(|config| config.keyspaces)
    }
}

/// The file that is given as an example when one can't be read.
const EXAMPLE: &str = "cluster.example.toml";

/// Reads a root section into values, as far as they are right. The path is that of the folder of relative
/// paths. `None` only after a mistake was reported.
pub type Read<T> = fn(Section<'_>, &Path, &mut Report<'_>) -> Option<T>;

/// Reads another program's file. `example` names a file to start from, for whoever gives the path of none.
///
/// # Errors
/// All mistakes of the file at once.
pub fn read_file<T>(path: &Path, example: &str, read: Read<T>) -> Result<T, ConfigErrors> {
    of_file(path, example, read).0
}

/// Reads the text of another program's file, as [`ClusterConfig::parse`] does.
///
/// # Errors
/// All mistakes of the text at once.
pub fn read_text<T>(
    text: &str,
    source_name: &str,
    base_dir: &Path,
    read: Read<T>,
) -> Result<T, ConfigErrors> {
    of_text(Report::new(source_name, text), base_dir, read).0
}

/// A file that is not too large, and its bytes: what has no end, such as a device, would fill the memory.
fn bytes_of(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    (&mut file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!("it has more than {} MiB", FILE_BYTES_MAX >> 20))),
        false => Ok((file, bytes)),
    }
}

/// The bytes, and why the file must not be believed, or must hold no secret.
fn judged((file, bytes): (File, Vec<u8>)) -> io::Result<(Vec<u8>, [Option<TooOpen>; 2])> {
    let about = file.metadata()?;
    let judge = |rule| permissions::check(&file, &about, rule).err();
    Ok((bytes, [Rule::Trusted, Rule::Group].map(judge)))
}

fn of_file<T>(
    path: &Path,
    example: &str,
    read: Read<T>,
) -> (Result<T, ConfigErrors>, Vec<Mistake>, Option<TooOpen>) {
    let name = path.display().to_string();
    let unreadable = |text: String| {
        let mistake = Mistake { file: name.clone(), place: None, key: String::new(), text };
        (Err(ConfigErrors { mistakes: vec![mistake] }), Vec::new(), None)
    };
    let (bytes, [wrong, too_open]) = match bytes_of(path).and_then(judged) {
        Ok(read) => read,
        Err(error) => {
            return unreadable(format!(
                "cannot be read ({error}); give the path of a readable file, such as a copy of \
                 {example}"
            ));
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            if let Some(wrong) = wrong {
                return unreadable(wrong.to_string());
            }
            let names = Names::new(names::of_system);
            let report = Report::new(&name, text).with_access(too_open).with_names(names);
            let (config, warnings) = of_text(report, path.parent().unwrap_or(Path::new("")), read);
            (config, warnings, too_open)
        }
        Err(error) => {
            unreadable(format!("byte {} is not UTF-8; save the file as UTF-8", error.valid_up_to()))
        }
    }
}

fn of_text<T>(
    mut report: Report<'_>,
    base_dir: &Path,
    read: Read<T>,
) -> (Result<T, ConfigErrors>, Vec<Mistake>) {
    let text = report.text();
    let config = match Document::parse(text) {
        Ok(document) => read(Section::root(document.as_table()), base_dir, &mut report),
        Err(error) => {
            let at = error.span().map_or(text.len(), |span| span.start);
            let (wrong, instead) = (error.message(), syntax_hint(error.message()));
            report.mistake(at, "TOML", format!("{wrong}; {instead}"));
            None
        }
    };
    let (mistakes, warnings) = report.finish();
    debug_assert!(
        config.is_some() || !mistakes.is_empty(),
        "a value is missing and nothing was reported"
    );
    let config = config.filter(|_| mistakes.is_empty()).ok_or(ConfigErrors { mistakes });
    (config, warnings)
}

/// The remedy that most likely helps with an error of the TOML parser.
fn syntax_hint(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "write each key and each section once"
    } else if message.contains("string") {
        "close the string with the quotes it began with"
    } else {
        "write `key = value`, with text and addresses in quotes"
    }
}

/// `[log]`.
fn read_log(root: &mut Section<'_>, report: &mut Report<'_>) -> Option<LogLevel> {
    let mut section = root.section("log", report)?;
    let levels = LogLevel::ALL.map(|level| (level.name(), level));
    let level = section.choice("level", &levels, report).or(LogLevel::default(), section.at());
    section.finish(report);
    level.map(|level| level.value)
}

fn read_root(
    mut root: Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<ClusterConfig> {
    let cluster = root.section("cluster", report).map(|section| cluster::read(section, report));
    let master = root
        .section("master", report)
        .map(|section| cluster::read_master(section, base_dir, report));
    let server_defaults =
        root.section("defaults", report).map(|section| servers::read_defaults(section, report));
    let groups = root.sections("group", report);
    let groups = groups
        .map(|sections| servers::read_groups(sections, server_defaults.as_ref(), base_dir, report));
    let origin =
        root.section("origin", report).map(|section| origin::read(section, base_dir, report));
    let keyspaces = root.sections("keyspace", report);
    let dialects = origin.as_ref().map_or(origin::ANY_DIALECT, |origin| origin.dialects);
    let for_clients = cluster.as_ref().is_some_and(|cluster| cluster.for_clients == Some(true));
    let keyspaces =
        keyspaces.map(|sections| keyspace::read_all(sections, for_clients, dialects, report));
    let timings =
        root.section("timings", report).map(|section| tuning::read_timings(section, report));
    let limits = root.section("limits", report).map(|section| tuning::read_limits(section, report));
    let security =
        root.section("security", report).map(|section| secret::read(section, base_dir, report));
    let tls = root
        .section("tls", report)
        .map(|section| tls::read(section, for_clients, base_dir, report));
    let log_level = read_log(&mut root, report);
    root.finish(report);
    if let Some(security) = &security {
        security.check_place(for_clients, report);
    }

    let servers = groups.as_ref().map_or(&[][..], |groups| &groups.servers);
    // A client may have a certificate instead.
    let has_tls = for_clients && tls.as_ref().is_some_and(tls::Tls::has_calls);
    let is_absent = security.as_ref().is_some_and(|security| security.is_absent());
    let secret_missing = is_absent && !has_tls;
    let hash = cluster.as_ref().and_then(|cluster| cluster.hash);
    let known = keyspaces.as_ref().and_then(|keyspaces| keyspaces.as_deref());
    let names_users = security.as_ref().is_some_and(|security| security.names_users());
    if let (Some(tls), true) = (&tls, names_users) {
        tls.check_users(report);
    }
    let security =
        security.map(|security| security.complete(secret::Of::Cluster, known, base_dir, report));
    let users = security.as_ref().and_then(|read| network::PortUsers::of(read, names_users));
    network::check(master.as_ref(), servers, hash, (secret_missing, users), report);
    servers::check(servers, cluster.as_ref(), master.as_ref(), limits.as_ref(), report);
    if let (Some(tls), Some(_)) = (&tls, &groups) {
        tls.check(servers, master.as_ref(), report);
    }
    if for_clients {
        origin::check_of_clients(origin.as_ref(), report);
    } else {
        origin::check(origin.as_ref(), known, servers, timings.as_ref(), report);
    }
    let keys = cluster.as_ref().map(|cluster| &cluster.naming);
    let naming = services::naming("cluster", keys, known, report);

    let (tls, tls_calls) = tls?.complete()?;
    let cluster = cluster?;
    let groups = groups?;
    Some(ClusterConfig {
        name: cluster.name?,
        partitions: cluster.partitions?.value,
        hash: cluster.hash?.value,
        mode: cluster.mode?,
        master: master?.complete()?,
        servers: groups.servers.iter().map(Server::complete).collect::<Option<_>>()?,
        groups: groups.names,
        origin: match origin? {
            origin if origin.is_present => Some(origin.config?),
            _ => None,
        },
        keyspaces: keyspaces??,
        naming: naming?,
        timings: timings?.complete?,
        limits: limits?.complete?,
        security: security??,
        tls,
        tls_calls,
        log_level: log_level?,
        for_clients: cluster.for_clients?,
    })
}
