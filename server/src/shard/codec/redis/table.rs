//! The commands: their names, numbers of words and keys, and what carries them out. COMMAND shows
//! this table.

use super::bulk::{Word, Words, Wrong};
use super::call::{Call, Made};
use super::tag::{Kind, Tag};
use super::{NAME_BYTES_MAX, cluster, help, keys, lifetimes, scripts, server, strings};

/// The way in which a command is decoded.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// As a request for each of its keys.
    Parts(Kind),
    /// As a whole.
    Whole(fn(&Call<'_>) -> Made),
    /// By its second word, which names the command too.
    Container,
}

/// A command.
#[derive(Clone, Copy)]
pub(super) struct Command {
    /// In lower case, with that of its container: `client|id`.
    pub(super) name: &'static str,
    /// The number of its words with those of the name; negative: at least so many.
    pub(super) arity: i32,
    /// Redis' names of its properties.
    pub(super) flags: &'static [&'static str],
    /// The first and the last word that is a key, and the step between them; 0: none.
    pub(super) keys: (i32, i32, i32),
    /// It is carried out between MULTI and EXEC too.
    pub(super) is_immediate: bool,
    pub(super) run: Run,
}

impl Command {
    /// Whether it may have this number of words. A key of MSET that has no value is found later, as in Redis.
    pub(super) fn takes(&self, words: u32) -> bool {
        let words = i64::from(words);
        match i64::from(self.arity) {
            arity @ ..0 => words >= -arity,
            arity => words == arity,
        }
    }

    /// Whether its second word, if there is one, names the command too.
    pub(super) fn has_subcommands(&self) -> bool {
        matches!(self.run, Run::Container) || self.name == "command"
    }

    /// The group in Redis' documentation.
    pub(super) fn group(&self) -> &'static str {
        match self.flags {
            flags if flags.contains(&"scripting") => "scripting",
            flags if flags.contains(&"connection") => "connection",
            flags if flags.contains(&"transaction") => "transactions",
            _ if self.keys.0 == 0 => "server",
            _ => "string",
        }
    }
}

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const ALTER: &[&str] = &["write", "fast"];
const SERVER: &[&str] = &["loading", "stale"];
const CONNECTION: &[&str] = &["connection", "loading", "stale", "fast"];
const TRANSACTION: &[&str] = &["transaction", "noscript", "loading", "stale", "fast"];
const SCRIPTING: &[&str] = &["scripting", "noscript", "movablekeys"];

const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const NONE: (i32, i32, i32) = (0, 0, 0);

macro_rules! commands {
    ($($name:literal $arity:literal $flags:ident $keys:expr, $run:expr $(, $immediate:literal)?;)+) => {
        /// All commands, sorted by name.
        pub(super) const COMMANDS: &[Command] = &[$(Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            is_immediate: false $(|| $immediate)?,
            run: $run,
        }),+];
    };
}

commands! {
    "acl" -2 SERVER NONE, Run::Container;
    "acl|help" 2 SERVER NONE, Run::Whole(help::help);
    "acl|whoami" 2 CONNECTION NONE, Run::Whole(server::acl_whoami);
    "append" 3 WRITE ONE, Run::Whole(strings::append);
    "asking" 1 CONNECTION NONE, Run::Whole(cluster::switch);
    "auth" -2 CONNECTION NONE, Run::Whole(server::auth);
    "client" -2 CONNECTION NONE, Run::Container;
    "client|getname" 2 CONNECTION NONE, Run::Whole(server::client_getname);
    "client|help" 2 CONNECTION NONE, Run::Whole(help::help);
    "client|id" 2 CONNECTION NONE, Run::Whole(server::client_id);
    "client|info" 2 CONNECTION NONE, Run::Whole(server::client_info);
    "client|list" -2 CONNECTION NONE, Run::Whole(server::client_list);
    "client|no-evict" 3 CONNECTION NONE, Run::Whole(server::client_switch);
    "client|no-touch" 3 CONNECTION NONE, Run::Whole(server::client_switch);
    "client|setinfo" 4 CONNECTION NONE, Run::Whole(server::client_setinfo);
    "client|setname" 3 CONNECTION NONE, Run::Whole(server::client_setname);
    "cluster" -2 SERVER NONE, Run::Container;
    "cluster|countkeysinslot" 3 SERVER NONE, Run::Whole(keys::count_keys_in_slot);
    "cluster|getkeysinslot" 4 SERVER NONE, Run::Whole(keys::get_keys_in_slot);
    "cluster|help" 2 SERVER NONE, Run::Whole(help::cluster_help);
    "cluster|info" 2 SERVER NONE, Run::Whole(cluster::cluster_info);
    "cluster|keyslot" 3 SERVER NONE, Run::Whole(cluster::cluster_keyslot);
    "cluster|myid" 2 SERVER NONE, Run::Whole(cluster::cluster_myid);
    "cluster|nodes" 2 SERVER NONE, Run::Whole(cluster::cluster_nodes);
    "cluster|replicas" 3 SERVER NONE, Run::Whole(cluster::cluster_replicas);
    "cluster|shards" 2 SERVER NONE, Run::Whole(cluster::cluster_shards);
    "cluster|slaves" 3 SERVER NONE, Run::Whole(cluster::cluster_replicas);
    "cluster|slots" 2 SERVER NONE, Run::Whole(cluster::cluster_slots);
    "command" -1 SERVER NONE, Run::Whole(server::commands);
    "command|count" 2 SERVER NONE, Run::Whole(server::command_count);
    "command|docs" -2 SERVER NONE, Run::Whole(server::command_docs);
    "command|getkeys" -4 SERVER NONE, Run::Whole(server::command_getkeys);
    "command|help" 2 SERVER NONE, Run::Whole(help::help);
    "command|info" -2 SERVER NONE, Run::Whole(server::command_info);
    "config" -2 SERVER NONE, Run::Container;
    "config|get" -3 SERVER NONE, Run::Whole(server::config_get);
    "config|help" 2 SERVER NONE, Run::Whole(help::help);
    "config|set" -4 SERVER NONE, Run::Whole(server::config_set);
    "dbsize" 1 SERVER NONE, Run::Whole(keys::dbsize);
    "decr" 2 WRITE ONE, Run::Whole(strings::decr);
    "decrby" 3 WRITE ONE, Run::Whole(strings::decrby);
    "del" -2 ALTER ALL, Run::Parts(Kind::Del);
    "discard" 1 TRANSACTION NONE, Run::Whole(server::discard), true;
    "echo" 2 CONNECTION NONE, Run::Whole(server::echo);
    "eval" -3 SCRIPTING NONE, Run::Whole(scripts::eval);
    "evalsha" -3 SCRIPTING NONE, Run::Whole(scripts::evalsha);
    "exec" 1 TRANSACTION NONE, Run::Whole(server::exec), true;
    "exists" -2 READ ALL, Run::Parts(Kind::Exists);
    "expire" -3 ALTER ONE, Run::Whole(lifetimes::expire);
    "expireat" -3 ALTER ONE, Run::Whole(lifetimes::expireat);
    "expiretime" 2 READ ONE, Run::Whole(lifetimes::expiretime);
    "flushall" -1 ALTER NONE, Run::Whole(server::flush);
    "flushdb" -1 ALTER NONE, Run::Whole(server::flush);
    "get" 2 READ ONE, Run::Whole(strings::get);
    "getdel" 2 ALTER ONE, Run::Whole(strings::getdel);
    "getex" -2 ALTER ONE, Run::Whole(strings::getex);
    "getrange" 4 READ ONE, Run::Whole(strings::getrange);
    "getset" 3 WRITE ONE, Run::Whole(strings::getset);
    "hello" -1 CONNECTION NONE, Run::Whole(server::hello);
    "incr" 2 WRITE ONE, Run::Whole(strings::incr);
    "incrby" 3 WRITE ONE, Run::Whole(strings::incrby);
    "incrbyfloat" 3 WRITE ONE, Run::Whole(strings::incrbyfloat);
    "info" -1 SERVER NONE, Run::Whole(server::info);
    "keys" 2 READ NONE, Run::Whole(keys::keys);
    "mget" -2 READ ALL, Run::Parts(Kind::Mget);
    "mset" -3 WRITE (1, -1, 2), Run::Parts(Kind::Mset);
    "msetnx" -3 WRITE (1, -1, 2), Run::Whole(strings::msetnx);
    "multi" 1 TRANSACTION NONE, Run::Whole(server::multi), true;
    "object" -2 READ NONE, Run::Container;
    "object|encoding" 3 READ (2, 2, 1), Run::Whole(server::object_encoding);
    "object|freq" 3 READ (2, 2, 1), Run::Whole(server::object_freq);
    "object|help" 2 SERVER NONE, Run::Whole(help::help);
    "object|idletime" 3 READ (2, 2, 1), Run::Whole(server::object_idletime);
    "object|refcount" 3 READ (2, 2, 1), Run::Whole(server::object_refcount);
    "persist" 2 ALTER ONE, Run::Whole(lifetimes::persist);
    "pexpire" -3 ALTER ONE, Run::Whole(lifetimes::pexpire);
    "pexpireat" -3 ALTER ONE, Run::Whole(lifetimes::pexpireat);
    "pexpiretime" 2 READ ONE, Run::Whole(lifetimes::pexpiretime);
    "ping" -1 CONNECTION NONE, Run::Whole(server::ping);
    "psetex" 4 WRITE ONE, Run::Whole(strings::psetex);
    "pttl" 2 READ ONE, Run::Whole(lifetimes::pttl);
    "quit" -1 CONNECTION NONE, Run::Whole(server::quit), true;
    "randomkey" 1 READ NONE, Run::Whole(keys::randomkey);
    "readonly" 1 CONNECTION NONE, Run::Whole(cluster::switch);
    "readwrite" 1 CONNECTION NONE, Run::Whole(cluster::switch);
    "reset" 1 CONNECTION NONE, Run::Whole(server::reset), true;
    "scan" -2 READ NONE, Run::Whole(keys::scan);
    "script" -2 SCRIPTING NONE, Run::Container;
    "script|exists" -3 SCRIPTING NONE, Run::Whole(scripts::script_exists);
    "script|flush" -2 SCRIPTING NONE, Run::Whole(scripts::script_flush);
    "script|help" 2 SCRIPTING NONE, Run::Whole(help::help);
    "script|load" 3 SCRIPTING NONE, Run::Whole(scripts::script_load);
    "select" 2 CONNECTION NONE, Run::Whole(server::select);
    "set" -3 WRITE ONE, Run::Whole(strings::set);
    "setex" 4 WRITE ONE, Run::Whole(strings::setex);
    "setnx" 3 WRITE ONE, Run::Whole(strings::setnx);
    "setrange" 4 WRITE ONE, Run::Whole(strings::setrange);
    "strlen" 2 READ ONE, Run::Whole(strings::strlen);
    "substr" 4 READ ONE, Run::Whole(strings::getrange);
    "time" 1 SERVER NONE, Run::Whole(server::time);
    "touch" -2 READ ALL, Run::Parts(Kind::Exists);
    "ttl" 2 READ ONE, Run::Whole(lifetimes::ttl);
    "type" 2 READ ONE, Run::Whole(server::type_of);
    "unlink" -2 ALTER ALL, Run::Parts(Kind::Del);
    "unwatch" 1 TRANSACTION NONE, Run::Whole(server::unwatch);
    "wait" 3 CONNECTION NONE, Run::Whole(server::wait);
    "watch" -2 TRANSACTION ALL, Run::Parts(Kind::Watch), true;
}

/// Whether nothing of a transaction is carried out behind a request, and no key is watched any more.
pub(super) fn ends_transaction(tag: Tag) -> bool {
    let is_exec = || COMMANDS[tag.number as usize].name == "exec";
    matches!(tag.kind, Kind::Discard | Kind::Reset) || tag.kind == Kind::Arity && is_exec()
}

/// The number of a name in the table.
pub(super) fn named(name: &[u8]) -> Option<usize> {
    let mut lower = [0; NAME_BYTES_MAX as usize];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()
}

/// The number of a container's subcommand in the table.
pub(super) fn subcommand(container: &Command, name: &[u8]) -> Option<usize> {
    if name.len() > NAME_BYTES_MAX as usize {
        return None;
    }
    named(&[container.name.as_bytes(), b"|", name].concat())
}

/// What the first words of a command are.
pub(super) enum Found {
    /// One with this number.
    Command(usize),
    Unknown,
    Subcommand,
    /// A line of HTTP.
    Http,
    /// It can't be told yet.
    Unfinished,
}

/// Whether a first word is that of a line of HTTP. A web page can make a browser send lines, in which others follow that
/// are commands.
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Takes the words that name a command.
pub(super) fn find(words: &mut Words<'_>) -> Result<Found, Wrong> {
    let name = match words.next()? {
        None => return Ok(Found::Unfinished),
        Some(Word::Begun { length, .. }) if length <= NAME_BYTES_MAX => {
            return Ok(Found::Unfinished);
        }
        Some(Word::Begun { .. }) => return Ok(Found::Unknown),
        Some(Word::Whole(from, to)) => &words.bytes[from as usize..to as usize],
    };
    // A name with a stroke is that of a subcommand, which has its container as its first word.
    let Some(index) = named(name).filter(|_| !name.contains(&b'|')) else {
        return Ok(if is_http(name) { Found::Http } else { Found::Unknown });
    };
    let command = &COMMANDS[index];
    if !command.has_subcommands() || words.left == 0 {
        return Ok(Found::Command(index));
    }
    match words.next()? {
        None => Ok(Found::Unfinished),
        Some(Word::Begun { length, .. }) if length <= NAME_BYTES_MAX => Ok(Found::Unfinished),
        Some(Word::Begun { .. }) => Ok(Found::Subcommand),
        Some(Word::Whole(from, to)) => {
            let name = &words.bytes[from as usize..to as usize];
            Ok(subcommand(command, name).map_or(Found::Subcommand, Found::Command))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_in_any_case() {
        for (number, command) in COMMANDS.iter().enumerate() {
            assert_eq!(named(command.name.as_bytes()), Some(number), "the table is sorted");
            assert_eq!(named(command.name.to_uppercase().as_bytes()), Some(number));
        }
        assert_eq!((named(b"gets"), named(&[b'g'; 65]), named(b"")), (None, None, None));
        let client = &COMMANDS[named(b"client").unwrap()];
        assert_eq!(COMMANDS[subcommand(client, b"ID").unwrap()].name, "client|id");
        assert_eq!(subcommand(client, b"nothing"), None);
    }

    #[test]
    fn arities_are_checked() {
        let takes = |name: &str, words| COMMANDS[named(name.as_bytes()).unwrap()].takes(words);
        assert!(takes("get", 2) && !takes("get", 1) && !takes("get", 3));
        assert!(takes("set", 3) && takes("set", 9) && !takes("set", 2));
        assert!(takes("mset", 3) && takes("mset", 4) && !takes("mset", 2));
    }

    #[test]
    fn help_lists_each_subcommand() {
        for command in COMMANDS.iter().filter(|command| command.has_subcommands()) {
            let prefix = format!("{}|", command.name);
            let names = COMMANDS.iter().filter_map(|other| other.name.strip_prefix(&*prefix));
            let wanted: Vec<String> =
                names.filter(|name| *name != "help").map(str::to_uppercase).collect();
            let listed: Vec<&str> = help::listed(command.name).collect();
            assert_eq!(listed, wanted, "{}", command.name);
            assert!(subcommand(command, b"HELP").is_some() && !listed.is_empty());
        }
    }
}
