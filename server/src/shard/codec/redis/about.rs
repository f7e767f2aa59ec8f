//! The replies about the connection, the commands and the settings.

use super::REDIS_VERSION;
use super::bulk::{self, words};
use super::help;
use super::resp::{self, Version};
use super::said::Said;
use super::scripts;
use super::server::{Hello, hello_options};
use super::session::Session;
use super::table::{self, COMMANDS, Command};
use super::tag::{Kind, Tag};
use crate::shard::codec::glob;

/// The settings that clients ask for and that never change, as they hold here.
const SETTINGS: [(&str, &str); 11] = [
    ("appendonly", "no"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "allkeys-lru"),
    ("notify-keyspace-events", ""),
    ("proto-max-bulk-len", "536870912"),
    ("replica-read-only", "no"),
    ("requirepass", ""),
    ("save", ""),
    ("slave-read-only", "no"),
    ("timeout", "0"),
];

/// Appends a reply, and sets what the request sets.
pub(super) fn write(tag: Tag, echo: &[u8], session: &mut Session, out: &mut Vec<u8>) {
    let words = words(echo, tag.number);
    match tag.kind {
        Kind::Echo => resp::bulk(words.last().copied().unwrap_or_default(), out),
        Kind::Hello => hello(&words, session, out),
        Kind::Reset => {
            (session.version, session.name) = (Version::default(), Vec::new());
            resp::line(Said::Reset.text(), out);
        }
        Kind::SetName => {
            session.name = words.last().copied().unwrap_or_default().to_vec();
            resp::line("+OK", out);
        }
        Kind::GetName if session.name.is_empty() => resp::null(session.version, out),
        Kind::GetName => resp::bulk(&session.name, out),
        Kind::Time => {
            resp::array(2, out);
            for part in [tag.number / 1_000, tag.number % 1_000 * 1_000] {
                resp::bulk(part.to_string().as_bytes(), out);
            }
        }
        Kind::WhoAmI => resp::bulk(session.user.as_bytes(), out),
        Kind::ClientId => resp::number(session.number.cast_signed(), out),
        Kind::ClientInfo | Kind::ClientList => client(tag.kind, session, out),
        Kind::Commands => {
            let all = || COMMANDS.iter().filter(|command| !command.name.contains('|'));
            resp::array(all().count() as u64, out);
            all().for_each(|command| describe(command, session.version, out));
        }
        Kind::CommandCount => {
            let all = COMMANDS.iter().filter(|command| !command.name.contains('|'));
            resp::number(all.count() as i64, out);
        }
        Kind::ScriptSha => resp::bulk(scripts::sha(tag.number).as_bytes(), out),
        Kind::ScriptExists => {
            resp::array(words.len() as u64, out);
            words.iter().for_each(|sha| resp::number(scripts::is_known(sha).into(), out));
        }
        Kind::CommandInfo => command_info(&words, session.version, out),
        Kind::CommandDocs => command_docs(&words, session.version, out),
        Kind::GetKeys => keys(&words, out),
        Kind::ConfigGet => config(&words, session, out),
        Kind::Help => help::write(tag.number, out),
        _ => resp::line("+OK", out),
    }
}

/// Whether AUTH or HELLO succeeds at a port without passwords: its only user has none.
pub(super) fn without_passwords(kind: Kind, words: &[&[u8]]) -> Result<(), Said> {
    let user = match (kind, words) {
        (Kind::Auth, [_]) => return Err(Said::NoPassword),
        (Kind::Auth, [user, ..]) => Some(*user),
        _ => hello_options(words).ok().and_then(|hello| words.get(hello.auth?.0).copied()),
    };
    if user == Some(b"default") { Ok(()) } else { Err(Said::WrongPassword) }
}

fn hello(words: &[&[u8]], session: &mut Session, out: &mut Vec<u8>) {
    // The decoder has read them before.
    let Hello { version, name, .. } = hello_options(words).unwrap_or_default();
    match version {
        Some(2) => session.version = Version::Resp2,
        Some(_) => session.version = Version::Resp3,
        None => {}
    }
    if let Some(name) = name {
        session.name = name.to_vec();
    }
    let proto = match session.version {
        Version::Resp2 => 2,
        Version::Resp3 => 3,
    };
    resp::map(7, session.version, out);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        pair(key, value, out);
    }
    resp::bulk(b"proto", out);
    resp::number(proto, out);
    resp::bulk(b"id", out);
    resp::number(session.number.cast_signed(), out);
    for (key, value) in [("mode", session.mode()), ("role", "master")] {
        pair(key, value, out);
    }
    resp::bulk(b"modules", out);
    resp::array(0, out);
}

fn pair(key: &str, value: &str, out: &mut Vec<u8>) {
    resp::bulk(key.as_bytes(), out);
    resp::bulk(value.as_bytes(), out);
}

/// The line about this connection.
fn client(kind: Kind, session: &Session, out: &mut Vec<u8>) {
    let version = match session.version {
        Version::Resp2 => 2,
        Version::Resp3 => 3,
    };
    let command = if kind == Kind::ClientInfo { "info" } else { "list" };
    let name = String::from_utf8_lossy(&session.name);
    let text = format!(
        "id={} name={name} age=0 idle=0 flags=N db=0 sub=0 psub=0 multi=-1 cmd=client|{command} \
         user={} resp={version}\n",
        session.number, session.user
    );
    resp::text(&text, session.version, out);
}

/// An entry of COMMAND.
fn describe(command: &Command, version: Version, out: &mut Vec<u8>) {
    resp::array(10, out);
    resp::bulk(command.name.as_bytes(), out);
    resp::number(command.arity.into(), out);
    resp::set(command.flags.len() as u64, version, out);
    for flag in command.flags {
        resp::line(&format!("+{flag}"), out);
    }
    let (first, last, step) = command.keys;
    for number in [first, last, step] {
        resp::number(number.into(), out);
    }
    resp::set(0, version, out);
    resp::array(0, out);
    resp::array(0, out);
    let prefix = format!("{}|", command.name);
    let subcommands = || COMMANDS.iter().filter(|other| other.name.starts_with(&prefix));
    resp::array(subcommands().count() as u64, out);
    subcommands().for_each(|subcommand| describe(subcommand, version, out));
}

fn named(name: &[u8]) -> Option<&'static Command> {
    table::named(name).map(|index| &COMMANDS[index])
}

fn command_info(names: &[&[u8]], version: Version, out: &mut Vec<u8>) {
    if names.is_empty() {
        let all = || COMMANDS.iter().filter(|command| !command.name.contains('|'));
        resp::array(all().count() as u64, out);
        return all().for_each(|command| describe(command, version, out));
    }
    resp::array(names.len() as u64, out);
    for name in names {
        match named(name) {
            Some(command) => describe(command, version, out),
            None => resp::null(version, out),
        }
    }
}

fn command_docs(names: &[&[u8]], version: Version, out: &mut Vec<u8>) {
    let known: Vec<&Command> = match names {
        [] => COMMANDS.iter().filter(|command| !command.name.contains('|')).collect(),
        names => names.iter().filter_map(|name| named(name)).collect(),
    };
    resp::map(known.len() as u64, version, out);
    for command in known {
        resp::bulk(command.name.as_bytes(), out);
        resp::map(1, version, out);
        pair("group", command.group(), out);
    }
}

/// The keys of a command.
fn keys(words: &[&[u8]], out: &mut Vec<u8>) {
    let command = words.first().and_then(|name| named(name));
    let command = command.and_then(|command| match (command.has_subcommands(), words.get(1)) {
        (true, Some(name)) => {
            table::subcommand(command, name).map(|index| &COMMANDS[index]).or(Some(command))
        }
        _ => Some(command),
    });
    let Some(command) = command else { return resp::line(Said::BadCommand.text(), out) };
    let is_script = command.name.starts_with("eval");
    if command.keys.0 == 0 && !is_script {
        return resp::line(Said::NoKeys.text(), out);
    }
    let count = u32::try_from(words.len()).unwrap_or(u32::MAX);
    if !command.takes(count) {
        return resp::line(Said::BadWords.text(), out);
    }
    let keys: Vec<&[u8]> = if is_script {
        let count = words.get(2).and_then(|word| bulk::number(word));
        let count = count.and_then(|count| usize::try_from(count).ok());
        match count.filter(|count| *count <= words.len() - 3) {
            None => return resp::line(Said::BadWords.text(), out),
            Some(0) => return resp::line(Said::NoKeys.text(), out),
            Some(count) => words[3..3 + count].to_vec(),
        }
    } else {
        let (first, last, step) = command.keys;
        let (first, step) = (first.unsigned_abs() as usize, step.unsigned_abs() as usize);
        let last = if last < 0 { words.len() - 1 } else { last.unsigned_abs() as usize };
        (first..=last).step_by(step).map(|at| words[at]).collect()
    };
    resp::array(keys.len() as u64, out);
    keys.into_iter().for_each(|key| resp::bulk(key, out));
}

/// The settings whose names match one of the patterns.
fn config(patterns: &[&[u8]], session: &Session, out: &mut Vec<u8>) {
    let connections = session.admission.places().clients.to_string();
    let settings = SETTINGS.into_iter().chain([("maxclients", connections.as_str())]);
    let is_asked = |name: &str| {
        patterns.iter().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let asked: Vec<_> = settings.filter(|(name, _)| is_asked(name)).collect();
    resp::map(asked.len() as u64, session.version, out);
    asked.into_iter().for_each(|(name, value)| pair(name, value, out));
}
