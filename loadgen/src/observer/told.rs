//! What the servers of a target say of themselves: version and memory, by `stats`, `INFO` or STATS.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target as Party};
use standin_tls::Tls;

use crate::targets::wire::codec::{Login, Protocol};
use crate::targets::wire::settings::{Server, Settings};
use crate::targets::{Standin, Target};

/// A server that takes longer is left out.
const WITHIN: Duration = Duration::from_secs(1);
/// The longest answer.
const BYTES_MAX: usize = 1 << 20;
/// The figures of memory that memcached tells.
const MEMCACHED: [&str; 5] = ["bytes", "limit_maxbytes", "curr_items", "evictions", "hash_bytes"];
/// The figures of memory that Redis tells.
const REDIS: [&str; 6] = [
    "used_memory",
    "used_memory_rss",
    "used_memory_dataset",
    "used_memory_overhead",
    "maxmemory",
    "evicted_keys",
];
/// The figures of memory that a server of Standin tells.
const STANDIN: [&str; 5] =
    ["memory_bytes", "items_bytes", "arena_bytes", "index_bytes", "output_bytes"];

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its name or address.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Figures of its memory, by the server's own names.
    pub figures: BTreeMap<String, u64>,
}

/// Asks all servers of a target for figures of their memory, and for these. Those that do not answer in time are left out.
#[must_use]
pub fn ask(target: &Target, also: &BTreeSet<String>) -> Vec<Told> {
    match target {
        Target::Standin(standin) => ask_standin(standin, also),
        Target::Wire(_) | Target::Database(_) => {
            // A database alone has no cache that could be asked.
            let Some(settings) = target.cache() else { return Vec::new() };
            let ask = |server| ask_server(server, settings, also).ok();
            settings.servers.iter().filter_map(ask).collect()
        }
    }
}

fn ask_standin(standin: &Standin, also: &BTreeSet<String>) -> Vec<Told> {
    let config = ClientConfig { operation_timeout: WITHIN, ..standin.client.clone() };
    let topology = &standin.topology;
    let Ok(mut client) = Client::new(config, Bootstrap::Config(topology.clone())) else {
        return Vec::new();
    };
    let servers = u16::try_from(topology.servers.len()).unwrap_or(u16::MAX);
    let told = (0..servers).filter_map(|server| {
        let reply = client.stats(Party::Server(server)).ok()?;
        let mut figures: BTreeMap<String, u64> =
            STANDIN.map(|name| (name.to_owned(), reply.counter(name))).into();
        let others = reply.counters.iter().filter(|one| also.contains(&one.name));
        figures.extend(others.map(|one| (one.name.clone(), one.value)));
        Some(Told { figures, name: reply.server, version: None })
    });
    told.collect()
}

fn ask_server(server: &Server, settings: &Settings, also: &BTreeSet<String>) -> io::Result<Told> {
    let mut line = Line::open(server, settings)?;
    let is_redis = !settings.protocol.is_memcached();
    let (question, greetings) = question(is_redis, &settings.login);
    line.send(question)?;
    // Nothing more is asked, so the server's last byte is the answer's.
    let mut answer = Vec::new();
    while !is_whole(&answer, is_redis, greetings) {
        if answer.len() > BYTES_MAX || line.receive(&mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let (version, figures) = if is_redis { of_info(&text, also) } else { of_stats(&text, also) };
    Ok(Told { name: server.name.clone(), version, figures })
}

/// A connection that waits for its server, with TLS if the target has it.
struct Line {
    stream: TcpStream,
    tls: Option<Tls>,
}

impl Line {
    fn open(server: &Server, settings: &Settings) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server.address, WITHIN)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        let tls = settings.sealing.as_ref().map(|sealing| sealing.connect(server));
        let mut line = Self { stream, tls };
        line.send(Vec::new())?;
        while line.tls.as_ref().is_some_and(|tls| !tls.is_open()) {
            if line.receive(&mut Vec::new())? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(line)
    }

    fn send(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.stream.write_all(&bytes) };
        let mut sealed = Vec::new();
        tls.seal(&mut bytes, &mut sealed);
        self.stream.write_all(&sealed)
    }

    /// Receives once. Returns the number of bytes that have come, which is 0 at the end.
    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut buffer = [0; 16_384];
        let read = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        match &mut self.tls {
            Some(tls) => {
                tls.receive(&buffer[..read], into).map_err(io::Error::other)?;
                self.send(Vec::new())?;
            }
            None => into.extend_from_slice(&buffer[..read]),
        }
        Ok(read)
    }
}

/// The login, if there is one, and `stats` or INFO; and the number of replies to the login.
fn question(is_redis: bool, login: &Login) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let (protocol, question) = match is_redis {
        true => (Protocol::Resp2, &b"*1\r\n$4\r\nINFO\r\n"[..]),
        false => (Protocol::MemcachedText, &b"stats\r\n"[..]),
    };
    let login = Login { database: 0, ..login.clone() };
    let greetings = protocol.greet(&login, false, &mut bytes);
    bytes.extend_from_slice(question);
    (bytes, greetings)
}

/// Whether the answer is complete behind this number of lines, or an error.
fn is_whole(answer: &[u8], is_redis: bool, greetings: usize) -> bool {
    let mut rest = answer;
    for _ in 0..greetings {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return false };
        rest = &rest[end + 2..];
    }
    if !is_redis {
        let is_error = rest.starts_with(b"CLIENT_ERROR") && rest.ends_with(b"\r\n");
        return rest.ends_with(b"END\r\n") || rest.ends_with(b"ERROR\r\n") || is_error;
    }
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return false };
    match rest.first() {
        Some(b'-') => true,
        Some(b'$') => {
            let length = std::str::from_utf8(&rest[1..end]).ok().and_then(|text| text.parse().ok());
            length.is_none_or(|length: usize| rest.len() >= end + 2 + length + 2)
        }
        _ => false,
    }
}

/// By how much these figures have risen at each server that has told them at the end. What is lower than before was counted by
/// a new process.
#[must_use]
pub fn risen(before: &[Told], after: &[Told], names: &BTreeSet<String>) -> Risen {
    let mut all = Risen::new();
    for told in after {
        let first = before.iter().find(|one| one.name == told.name);
        for (name, now) in told.figures.iter().filter(|(name, _)| names.contains(*name)) {
            let then = first.and_then(|first| first.figures.get(name)).copied().unwrap_or(0);
            let by = now.checked_sub(then).unwrap_or(*now);
            all.entry(name.clone()).or_default().insert(told.name.clone(), by);
        }
    }
    all
}

/// The rise of a figure at each server, by the figure's name and the server's.
pub type Risen = BTreeMap<String, BTreeMap<String, u64>>;

type Facts = (Option<String>, BTreeMap<String, u64>);

fn of_stats(text: &str, also: &BTreeSet<String>) -> Facts {
    let lines = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    facts(lines, "version", (&MEMCACHED, also))
}

fn of_info(text: &str, also: &BTreeSet<String>) -> Facts {
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let is_valkey = lines.iter().any(|(name, _)| *name == "valkey_version");
    let version = if is_valkey { "valkey_version" } else { "redis_version" };
    facts(lines.into_iter(), version, (&REDIS, also))
}

fn facts<'t>(
    lines: impl Iterator<Item = (&'t str, &'t str)>,
    version: &str,
    (wanted, also): (&[&str], &BTreeSet<String>),
) -> Facts {
    let mut facts = Facts::default();
    for (name, value) in lines {
        let value = value.trim();
        if name == version {
            facts.0 = Some(value.to_owned());
        } else if (wanted.contains(&name) || also.contains(name))
            && let Ok(value) = value.parse()
        {
            facts.1.insert(name.to_owned(), value);
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_stats_and_info() {
        let stats = "STAT pid 5\r\nSTAT version 1.6.38\r\nSTAT bytes 77\r\nSTAT limit_maxbytes 67108864\r\nEND\r\n";
        assert!(
            is_whole(stats.as_bytes(), false, 0) && !is_whole(&stats.as_bytes()[..40], false, 0)
        );
        let (version, figures) = of_stats(stats, &BTreeSet::new());
        assert_eq!(version.as_deref(), Some("1.6.38"));
        assert_eq!(
            figures,
            BTreeMap::from([("bytes".into(), 77), ("limit_maxbytes".into(), 67_108_864)])
        );

        let body = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.1\r\n# Memory\r\nused_memory:1024\r\n\
                    used_memory_human:1K\r\n";
        let reply = format!("+OK\r\n${}\r\n{body}\r\n", body.len());
        assert!(is_whole(reply.as_bytes(), true, 1));
        assert!((0..reply.len()).all(|end| !is_whole(&reply.as_bytes()[..end], true, 1)));
        let (version, figures) = of_info(&reply, &BTreeSet::new());
        assert_eq!((version.as_deref(), figures["used_memory"]), (Some("8.1.1"), 1_024));
        assert_eq!(figures.len(), 1);
        assert!(is_whole(b"-NOAUTH\r\n", true, 0) && is_whole(b"ERROR\r\n", false, 0));
    }

    #[test]
    fn what_a_counter_has_risen_by_is_counted_over_a_restart() {
        let names = BTreeSet::from(["evictions".to_owned(), "cmd_set".to_owned()]);
        let told = |name: &str, evictions: u64| {
            let text = format!(
                "STAT evictions {evictions}\r\nSTAT cmd_set 7\r\nSTAT cmd_get 9\r\nEND\r\n"
            );
            let (version, figures) = of_stats(&text, &names);
            Told { name: name.to_owned(), version, figures }
        };
        let before = [told("a", 10), told("b", 10), told("gone", 1)];
        let risen = risen(&before, &[told("a", 15), told("b", 3), told("new", 4)], &names);
        let evictions: Vec<(&str, u64)> =
            risen["evictions"].iter().map(|(name, by)| (name.as_str(), *by)).collect();
        assert_eq!(evictions, [("a", 5), ("b", 3), ("new", 4)]);
        assert_eq!((risen["cmd_set"]["a"], risen.contains_key("cmd_get")), (0, false));
    }

    #[test]
    fn a_password_is_given_before_the_question() {
        let login =
            Login { user: Some("me".into()), password: Some("pw".into()), ..Login::default() };
        let (sent, greetings) = question(true, &login);
        assert_eq!(
            sent.escape_ascii().to_string(),
            r"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n*1\r\n$4\r\nINFO\r\n"
        );
        assert_eq!(greetings, 1);
        let (sent, greetings) = question(false, &login);
        assert_eq!((&sent[..], greetings), (&b"set login 0 0 5\r\nme pw\r\nstats\r\n"[..], 1));
        assert!(is_whole(b"STORED\r\nSTAT version 1\r\nEND\r\n", false, 1));
        assert!(!is_whole(b"STORED\r\n", false, 1));
        assert!(is_whole(b"CLIENT_ERROR a\r\nCLIENT_ERROR b\r\n", false, 1));
        assert_eq!(question(true, &Login::default()).1, 0);
    }
}
