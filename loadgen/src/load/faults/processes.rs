//! `[[processes]]`: what a scenario starts.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use standin_config::{At, Mode, Report, Section};

use crate::faults::script::{Backing, CLIENT, ClusterSpec, Kind, ProcessSpec, Script};

const READY_WITHIN: Duration = Duration::from_secs(15);
const READY_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
const PORTS_MAX: u64 = 16;
const MEMORY_BYTES: u64 = 64 << 20;
const MEMORY_MIN: u64 = 1 << 20;
const MEMORY_MAX: u64 = 1 << 40;
const SURGE_READS_MAX: u64 = 1_000_000;
const COMMAND_EXAMPLE: &str = "[\"memcached\", \"-p\", \"{port}\"]";
/// A network has addresses for 254 nodes, of which one is the client.
const NODES_MAX: usize = 253;
const SERVERS_EXAMPLE: &str = "[\"cache1\", \"cache2\"]";
/// Names that mean something else in an argument.
const RESERVED: [&str; 3] = ["folder", "host", "port"];

/// The words of `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KindWord {
    Command,
    Memcached,
    Nutcracker,
    Postgres,
    Proxy,
    Redis,
    RedisCluster,
    Standin,
}

const KINDS: [(&str, KindWord); 8] = [
    ("command", KindWord::Command),
    ("memcached", KindWord::Memcached),
    ("nutcracker", KindWord::Nutcracker),
    ("postgres", KindWord::Postgres),
    ("proxy", KindWord::Proxy),
    ("redis", KindWord::Redis),
    ("redis-cluster", KindWord::RedisCluster),
    ("standin", KindWord::Standin),
];

/// Keys that belong to some kinds alone.
const OWN_KEYS: [(&str, &[KindWord]); 15] = [
    ("ports", &[KindWord::Command]),
    ("servers", &[KindWord::Nutcracker]),
    ("ejects", &[KindWord::Nutcracker]),
    ("to", &[KindWord::Proxy]),
    ("udp", &[KindWord::Proxy]),
    ("masters", &[KindWord::RedisCluster]),
    ("replicas", &[KindWord::RedisCluster]),
    ("node_timeout", &[KindWord::RedisCluster]),
    ("groups", &[KindWord::Standin]),
    ("group_size", &[KindWord::Standin]),
    ("memory", &[KindWord::Standin]),
    ("mode", &[KindWord::Standin]),
    ("database", &[KindWord::Standin]),
    ("surge_reads", &[KindWord::Standin]),
    (
        "namespace",
        &[
            KindWord::Command,
            KindWord::Memcached,
            KindWord::Nutcracker,
            KindWord::Postgres,
            KindWord::Redis,
            KindWord::RedisCluster,
            KindWord::Standin,
        ],
    ),
];

/// Reads one of them. `names` are those of all before.
pub(super) fn process(
    section: &mut Section<'_>,
    base_dir: &Path,
    names: &mut BTreeSet<String>,
    before: &Script,
    report: &mut Report<'_>,
) -> Option<ProcessSpec> {
    let name = section.required_text("name", "cache", report);
    let kind = section.choice("kind", &KINDS, report).optional();
    let command = section.text_list("command", COMMAND_EXAMPLE, report);
    let program = section.text("program", "/usr/bin/memcached", report).optional();
    let further = section.text_list("arguments", "[\"-m\", \"64\"]", report);
    let ready = section.duration("ready_within", READY_RANGE, READY_WITHIN, report);
    let at = section.at();
    let namespace = section.boolean("namespace", report).or(false, at);
    let own = OwnKeys::read(section, report);
    let (kind, command) = (kind?, command?);
    let word = match (kind, command.value.is_empty()) {
        (Some(kind), true) if kind.value != KindWord::Command => kind.value,
        (Some(_), true) => {
            section.missing("command", COMMAND_EXAMPLE, report);
            return None;
        }
        (None, true) => {
            section.missing("kind", "\"memcached\"", report);
            return None;
        }
        (Some(kind), false) if kind.value != KindWord::Command => {
            let why = "is for kind \"command\"; remove it, or `kind`";
            report.mistake(command.at, &section.key("command"), why);
            return None;
        }
        (Some(_) | None, false) => KindWord::Command,
    };
    for (key, kinds) in OWN_KEYS {
        if !kinds.contains(&word) {
            section.misplaced(key, "is for processes of another `kind`; remove it", report);
        }
    }
    let kind = own.kind(word, section, before, report);
    let (name, kind, program, further, ready) = (name?, kind?, program?, further?, ready?);
    let namespace = namespace?.value;
    // A program without a slash is looked for in PATH.
    let place = |text: &str| match text.contains('/') {
        true => base_dir.join(text),
        false => PathBuf::from(text),
    };
    let mut all = command.value.iter().chain(&further.value).map(|text| (*text).to_owned());
    let first = if command.value.is_empty() { None } else { all.next() };
    let spec = ProcessSpec {
        name: name.value.to_owned(),
        kind,
        namespace,
        program: first.as_deref().or(program.map(|text| text.value)).map(place),
        arguments: all.collect(),
        ready_within: ready.value,
    };
    check_name(section, name, &spec, names, report)?;
    if before.nodes().len() + spec.members().len() > NODES_MAX && namespace {
        let wrong = format!("more than {NODES_MAX} processes with namespaces are too many");
        report.mistake(name.at, &section.key("namespace"), wrong);
        return None;
    }
    if let Kind::Command { ports } = spec.kind {
        let mut texts = spec.arguments.iter();
        if let Some(unknown) = texts.find_map(|text| unknown_place(text, ports, before)) {
            let wrong = format!(
                "{{{unknown}}} is no process above, and not {{port}} with `ports`, {{host}} or {{folder}}"
            );
            report.mistake(command.at, &section.key("command"), wrong);
            return None;
        }
    }
    Some(spec)
}

/// The keys of [`OWN_KEYS`] as they are in the file.
struct OwnKeys<'d> {
    ports: Option<At<u16>>,
    servers: Option<At<Vec<&'d str>>>,
    ejects: Option<At<bool>>,
    to: Option<Option<At<&'d str>>>,
    udp: Option<At<bool>>,
    masters: Option<At<u16>>,
    replicas: Option<At<u16>>,
    node_timeout: Option<At<Duration>>,
    groups: Option<At<u16>>,
    group_size: Option<At<u16>>,
    memory: Option<At<u64>>,
    mode: Option<At<Mode>>,
    database: Option<Option<At<&'d str>>>,
    surge_reads: Option<Option<At<u32>>>,
}

impl<'d> OwnKeys<'d> {
    fn read(section: &mut Section<'d>, report: &mut Report<'_>) -> Self {
        let at = section.at();
        let usual = Duration::from_secs(15);
        Self {
            ports: section.whole("ports", 0..=PORTS_MAX, 0, report),
            servers: section.text_list("servers", SERVERS_EXAMPLE, report),
            ejects: section.boolean("ejects", report).or(false, at),
            to: section.text("to", "cache1", report).optional(),
            udp: section.boolean("udp", report).or(false, at),
            // Redis makes no cluster with fewer.
            masters: section.whole("masters", 3..=16, 3, report),
            replicas: section.whole("replicas", 0..=4, 1, report),
            node_timeout: section.duration("node_timeout", READY_RANGE, usual, report),
            groups: section.whole("groups", 1..=26, 1, report),
            group_size: section.whole("group_size", 1..=16, 2, report),
            memory: section.size("memory", MEMORY_MIN..=MEMORY_MAX, MEMORY_BYTES, report),
            mode: section.choice("mode", &Mode::ALL, report).or(Mode::Available, at),
            database: section.text("database", "db", report).optional(),
            surge_reads: section
                .whole_or_absent("surge_reads", 1..=SURGE_READS_MAX, "100", report)
                .optional(),
        }
    }

    fn kind(
        self,
        word: KindWord,
        section: &Section<'_>,
        before: &Script,
        report: &mut Report<'_>,
    ) -> Option<Kind> {
        Some(match word {
            KindWord::Command => Kind::Command { ports: self.ports?.value },
            KindWord::Memcached => Kind::Memcached,
            KindWord::Postgres => Kind::Postgres,
            KindWord::Redis => Kind::Redis,
            KindWord::Nutcracker => {
                let (servers, ejects) = (self.servers?, self.ejects?.value);
                let is_memcached = |name: &&str| {
                    before.process(name).is_some_and(|one| one.kind == Kind::Memcached)
                };
                if servers.value.is_empty() {
                    section.missing("servers", SERVERS_EXAMPLE, report);
                    return None;
                }
                if let Some(unknown) = servers.value.iter().find(|name| !is_memcached(name)) {
                    let wrong =
                        format!("there is no process {unknown:?} of kind \"memcached\" above");
                    report.mistake(servers.at, &section.key("servers"), wrong);
                    return None;
                }
                let servers = servers.value.into_iter().map(str::to_owned).collect();
                Kind::Nutcracker { servers, ejects }
            }
            KindWord::Proxy => {
                let (to, udp) = (self.to?, self.udp?.value);
                let Some(to) = to else {
                    section.missing("to", "\"cache1\"", report);
                    return None;
                };
                let is_process = before.has_process(to.value);
                let is_address = to.value.rsplit_once(':').is_some_and(|(host, port)| {
                    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
                });
                if !is_process && !is_address {
                    let wrong = format!("{:?} is no process above, and not host:port", to.value);
                    report.mistake(to.at, &section.key("to"), wrong);
                    return None;
                }
                Kind::Proxy { to: to.value.to_owned(), is_udp: udp }
            }
            KindWord::RedisCluster => Kind::RedisCluster {
                masters: self.masters?.value,
                replicas: self.replicas?.value,
                node_timeout: self.node_timeout?.value,
            },
            KindWord::Standin => {
                let (database, surge_reads) = (self.database?, self.surge_reads?);
                if let (None, Some(reads)) = (&database, &surge_reads) {
                    let why = "is for a database; remove it, or add `database`";
                    report.mistake(reads.at, &section.key("surge_reads"), why);
                    return None;
                }
                if let Some(name) = database
                    && !has_database(name.value, before)
                {
                    let wrong = format!(
                        "there is no process {:?} of kind \"postgres\" above, nor a proxy before one",
                        name.value
                    );
                    report.mistake(name.at, &section.key("database"), wrong);
                    return None;
                }
                Kind::Standin(ClusterSpec {
                    groups: self.groups?.value,
                    servers: self.group_size?.value,
                    memory_bytes: self.memory?.value,
                    mode: self.mode?.value,
                    database: database.map(|name| Backing::Process(name.value.to_owned())),
                    surge_reads: surge_reads.map(|reads| reads.value),
                    value_bytes_max: None,
                })
            }
        })
    }
}

/// Whether this is a PostgreSQL, or a proxy before one.
fn has_database(name: &str, before: &Script) -> bool {
    match before.process(name).map(|one| &one.kind) {
        Some(Kind::Postgres) => true,
        Some(Kind::Proxy { to, is_udp: false }) => has_database(to, before),
        _ => false,
    }
}

/// Whether there may be a PostgreSQL behind this name: what a program of the scenario's own is, and what is elsewhere, is
/// not known.
pub(super) fn may_be_database(name: &str, script: &Script) -> bool {
    match script.process(name).map(|one| &one.kind) {
        Some(Kind::Postgres | Kind::Command { .. }) => true,
        Some(Kind::Proxy { to, is_udp: false }) => {
            !script.has_process(to) || may_be_database(to, script)
        }
        _ => false,
    }
}

/// Names are parts of files' names, and of placeholders.
fn check_name(
    section: &Section<'_>,
    name: At<&str>,
    spec: &ProcessSpec,
    names: &mut BTreeSet<String>,
    report: &mut Report<'_>,
) -> Option<()> {
    let is_plain = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-';
    let key = section.key("name");
    let bare = spec.name.trim_end_matches(is_digit);
    let is_reserved = spec.name == CLIENT || RESERVED.contains(&bare);
    if !spec.name.chars().all(is_plain) || is_reserved {
        let wrong = format!(
            "{:?}: write lower-case letters, digits and `-`, such as \"cache1\"",
            spec.name
        );
        report.mistake(name.at, &key, wrong);
        return None;
    }
    let mut members = spec.members();
    members.push(spec.name.clone());
    members.dedup();
    for member in members {
        if !names.insert(member.clone()) {
            report.mistake(name.at, &key, format!("there is another process {member:?}"));
            return None;
        }
    }
    Some(())
}

fn is_digit(one: char) -> bool {
    one.is_ascii_digit()
}

/// A placeholder of an argument that nothing fills.
fn unknown_place<'t>(text: &'t str, ports: u16, before: &Script) -> Option<&'t str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        rest = after;
        let Some((word, after)) = after.split_once('}') else { break };
        let is_plain = |one: char| one.is_ascii_alphanumeric() || one == '-' || one == '_';
        // Other braces are the program's own.
        if word.is_empty() || !word.chars().all(is_plain) {
            continue;
        }
        rest = after;
        let is_port = match word.strip_prefix("port") {
            Some("") => ports > 0,
            Some(number) => number.parse().is_ok_and(|number: u16| (1..=ports).contains(&number)),
            None => false,
        };
        if !["folder", "host"].contains(&word) && !is_port && !before.has_process(word) {
            return Some(word);
        }
    }
    None
}
