//! Every command with any number of words, alone and in a transaction; commands that Standin lacks; lines with quotes;
//! and bytes that are no command: Redis and Standin send the same bytes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use standin_testkit::{Scratch, free_ports, redis_or_skip};

use crate::differential::{compare, words};
use crate::speaker::Speaker;
use crate::start;

/// The commands whose replies are compared.
const COMMANDS: &[&str] = &[
    "APPEND",
    "ASKING",
    "CLIENT",
    "CLIENT GETNAME",
    "CLIENT NO-EVICT",
    "CLIENT SETNAME",
    "CLUSTER",
    "CLUSTER COUNTKEYSINSLOT",
    "CLUSTER GETKEYSINSLOT",
    "CLUSTER INFO",
    "CLUSTER KEYSLOT",
    "CLUSTER MYID",
    "CLUSTER NODES",
    "CLUSTER SHARDS",
    "CLUSTER SLOTS",
    "COMMAND GETKEYS",
    "CONFIG",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "ECHO",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "FLUSHALL",
    "FLUSHDB",
    "GET",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "KEYS",
    "MGET",
    "MSET",
    "MULTI",
    "OBJECT",
    "OBJECT ENCODING",
    "OBJECT FREQ",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PING",
    "PSETEX",
    "PTTL",
    "RANDOMKEY",
    "READONLY",
    "READWRITE",
    "SCRIPT",
    "SCRIPT EXISTS",
    "SET",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "STRLEN",
    "SUBSTR",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNWATCH",
    "WATCH",
];

/// The largest number of words behind the name.
const MOST: usize = 5;

/// Each command with these words behind it, cut to any number.
fn with_any_number_of_words() -> Vec<String> {
    let mut lines = Vec::new();
    let (k, number) = ("k", "10000");
    for words in
        [[k; MOST], [number, k, number, k, number], [k, number, k, number, k], [number; MOST]]
    {
        for command in COMMANDS {
            for count in 0..=MOST {
                lines.push("SET k old".to_owned());
                lines.push(format!("{command} {}", words[..count].join(" ")));
                // It may have begun a transaction, or watched a key.
                lines.extend(["DISCARD", "UNWATCH", "GET k", "TTL 10000"].map(str::to_owned));
                lines.push("DEL k 10000".to_owned());
            }
        }
    }
    lines
}

/// Commands in a transaction, each with too few words, and with some.
fn in_transactions() -> Vec<String> {
    let mut lines = Vec::new();
    // These end the transaction, or may name any key.
    let others = COMMANDS.iter().filter(|name| !["EXEC", "DISCARD", "RANDOMKEY"].contains(name));
    for command in others {
        for words in ["", "k", "k 10000", "k 10000 k", "10000 k x y z"] {
            lines.extend(["SET k old", "MULTI", "INCR n"].map(str::to_owned));
            lines.push(format!("{command} {words}"));
            lines.extend(["GET k", "EXEC", "DISCARD", "UNWATCH"].map(str::to_owned));
            lines.push("DEL k n 10000".to_owned());
        }
    }
    lines
}

#[test]
fn any_number_of_words_has_the_reply_of_redis() {
    compare("any_number_of_words_has_the_reply_of_redis", with_any_number_of_words());
}

#[test]
fn transactions_with_any_command_have_the_replies_of_redis() {
    compare("transactions_with_any_command_have_the_replies_of_redis", in_transactions());
}

/// The words of an array of words.
fn array(reply: &[u8]) -> Vec<String> {
    let lines: Vec<_> = reply.split(|byte| *byte == b'\n').map(String::from_utf8_lossy).collect();
    lines.iter().skip(2).step_by(2).map(|word| word.trim_end().to_owned()).collect()
}

/// Subcommands of Redis that Standin lacks.
const SUBCOMMANDS: &[&str] = &[
    "CLIENT CACHING",
    "CLIENT GETREDIR",
    "CLIENT KILL",
    "CLIENT PAUSE",
    "CLIENT REPLY",
    "CLIENT TRACKING",
    "CLIENT TRACKINGINFO",
    "CLIENT UNBLOCK",
    "CLIENT UNPAUSE",
    "COMMAND GETKEYSANDFLAGS",
    "COMMAND LIST",
    "CONFIG RESETSTAT",
    "CONFIG REWRITE",
    "SCRIPT DEBUG",
    "SCRIPT KILL",
];

/// A name of the same length that Redis does not know.
fn unknown(name: &str) -> String {
    format!("{}~", &name[..name.len() - 1])
}

#[test]
fn commands_that_there_are_not_have_redis_reply_to_unknown_ones() {
    let test = "commands_that_there_are_not";
    let scratch = Scratch::new(test);
    let redis = redis_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, theirs)) = redis else { return };
    let cluster = start(test);
    let mut speakers = [theirs, cluster.service("a2")].map(Speaker::connect);
    let [theirs, ours] = &mut speakers;
    let names = |reply: Vec<u8>| -> BTreeSet<String> {
        array(&reply).into_iter().map(|name| name.to_lowercase()).collect()
    };
    let all = names(theirs.ask(&[b"COMMAND", b"LIST"]));
    let is_missing = |name: &String, ours: &mut Speaker| {
        ours.ask(&[b"COMMAND", b"INFO", name.as_bytes()]) == b"*1\r\n$-1\r\n"
    };
    let missing: Vec<String> = all.into_iter().filter(|name| is_missing(name, ours)).collect();
    assert!(missing.len() > 100 && missing.contains(&"lpush".to_owned()), "{missing:?}");
    let subcommands = SUBCOMMANDS.iter().map(|name| (*name).to_owned());
    let mut different = Vec::new();
    for name in missing.into_iter().chain(subcommands) {
        for rest in ["", "k", "k v", "\"\" \"a\\r\\nb\"", "k f v g w h x i y"] {
            let asked = words(&format!("{name} {rest}"));
            let instead = words(&format!("{} {rest}", unknown(&name)));
            let (asked, instead): (Vec<&[u8]>, Vec<&[u8]>) = (
                asked.iter().map(|word| &**word).collect(),
                instead.iter().map(|word| &**word).collect(),
            );
            let last = |name: &str| name.rsplit(' ').next().unwrap_or_default().to_owned();
            let wanted = String::from_utf8_lossy(&theirs.ask(&instead))
                .replace(&last(&unknown(&name)), &last(&name));
            let got = String::from_utf8_lossy(&ours.ask(&asked)).into_owned();
            if got != wanted {
                different.push(format!("{name} {rest}\n  Redis   {wanted}  Standin {got}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// The beginnings of all parts of a reply: what it is made of, without what it says.
fn shape(reply: &[u8]) -> String {
    let (mut shape, mut rest) = (String::new(), reply);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, behind) = rest.split_at(end + 1);
        let (kind, text) = (char::from(line[0]), String::from_utf8_lossy(&line[1..]));
        let number = text.trim_end().parse::<i64>().unwrap_or(0);
        shape.push(kind);
        rest = match kind {
            '$' | '=' if number >= 0 => {
                // The format of a text.
                shape.push_str(if kind == '=' { "txt" } else { "" });
                &behind[usize::try_from(number).expect("a length") + 2..]
            }
            '*' | '%' | '~' => {
                shape.push_str(text.trim_end());
                behind
            }
            _ => behind,
        };
    }
    shape
}

#[test]
fn replies_that_say_something_else_are_made_of_the_same_types() {
    let test = "replies_that_say_something_else";
    let scratch = Scratch::new(test);
    let redis = redis_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, theirs)) = redis else { return };
    let cluster = start(test);
    for version in ["2", "3"] {
        let mut speakers = [theirs, cluster.service("b1")].map(Speaker::connect);
        for command in [
            "HELLO VERSION",
            "HELLO",
            "HELLO VERSION SETNAME me",
            "HELLO VERSION AUTH default any",
            "HELLO VERSION AUTH nobody any",
            "CLIENT GETNAME",
            "CLIENT ID",
            "CLIENT INFO",
            "CLIENT LIST",
            "CLIENT LIST TYPE normal",
            "INFO",
            "INFO server",
            "INFO nothing",
            "INFO server clients",
            "CONFIG GET maxmemory",
            "CONFIG GET maxmemory save",
            "CONFIG GET nothing",
            "COMMAND COUNT",
            "COMMAND INFO nothing",
            "COMMAND DOCS nothing",
            "DBSIZE",
            "TIME",
            "KEYS *",
            "RANDOMKEY",
            "SET k v",
            "RANDOMKEY",
            "KEYS k",
            "OBJECT REFCOUNT k",
        ] {
            let line = command.replace("VERSION", version);
            let asked = words(&line);
            let asked: Vec<&[u8]> = asked.iter().map(|word| &**word).collect();
            let [wanted, got] = speakers.each_mut().map(|speaker| speaker.ask(&asked));
            assert_eq!(shape(&got), shape(&wanted), "{line}: {}", got.escape_ascii());
        }
    }
}

/// HELLO says the same of itself, but for the number of the connection.
#[test]
fn hello_has_the_fields_of_redis() {
    let test = "hello_has_the_fields_of_redis";
    let scratch = Scratch::new(test);
    let redis = redis_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, theirs)) = redis else { return };
    let cluster = start(test);
    for line in ["HELLO", "HELLO 2", "HELLO 3", "HELLO 3 SETNAME me", "HELLO 2 AUTH default x"] {
        let fields = |address: SocketAddr| {
            let mut speaker = Speaker::connect(address);
            let words = words(line);
            let reply = speaker.ask(&words.iter().map(|word| &**word).collect::<Vec<_>>());
            let text = String::from_utf8(reply).expect("text");
            let (before, behind) = text.split_once("id\r\n:").expect("the number");
            let (_, behind) = behind.split_once("\r\n").expect("more");
            format!("{before}id\r\n{behind}")
        };
        assert_eq!(fields(cluster.service("a1")), fields(theirs), "{line}");
    }
}

/// A field that is missing is shown as a large negative number.
#[test]
fn info_has_the_fields_that_redis_cli_shows() {
    let cluster = start("info_of_redis_cli");
    let reply = Speaker::connect(cluster.service("a1")).ask(&[b"INFO"]);
    let text = String::from_utf8(reply).expect("text");
    for field in [
        "db0:keys",
        "used_memory",
        "connected_clients",
        "blocked_clients",
        "total_commands_processed",
        "total_connections_received",
        "loading",
        // The tests of redis-py ask for this.
        "arch_bits",
    ] {
        let is_field = |line: &str| {
            line.starts_with(&format!("{field}{}", if field.contains(':') { "=" } else { ":" }))
        };
        assert!(text.lines().any(is_field), "{field} in {text}");
    }
}

/// Bytes as they are sent, most of which are no command of RESP.
const RAW: &[&[u8]] = &[
    b"PING\r\n",
    b"ping\n",
    b"\tPING\t\r\n",
    b"PING \"a b\"\r\n",
    b"PING 'a b'\r\n",
    b"PING 'a\\'b'\r\n",
    b"PING 'a\\nb'\r\n",
    b"PING \"a\\\"b\"\r\n",
    b"PING \"\\x41\\x0a\\xzz\\n\\t\\a\\b\\q\"\r\n",
    b"PING a\"b\"\r\n",
    b"PING a\"b c\"\r\n",
    b"PING \"a\"b\r\n",
    b"PING \"a\r\n",
    b"PING 'a\r\n",
    b"PING \"a'\r\n",
    b"PING \"\"\r\n",
    b"PING ''\r\n",
    b"'PING' \"x\"\r\n",
    b"\"\" x\r\n",
    b"SET \"a key\" 'a value'\r\nGET \"a key\"\r\nDEL \"a key\"\r\n",
    b"SET \"\\x6b\" \"\\x00\\xff\"\r\nGET k\r\n",
    b"MGET \"k\" missing 'k'\r\n",
    b"MULTI\r\nSET \"k\" \"1 2\"\r\nGET k\r\nEXEC\r\n",
    b"client setname \"me\"\r\nclient getname\r\n",
    b"get\r\nget a b\r\n",
    b"nosuch \"a b\" 'c'\r\n",
    b"\r\n\r\nPING\r\n",
    b"\n",
    b" \r\n",
    b"\"\r\n",
    b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nPING\r\n$1\r\nx\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*1\r\n$0\r\n\r\n",
    b"*2\r\n$0\r\n\r\n$1\r\nx\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*0\r\n*-1\r\n*-5\r\nPING\r\n",
    b"*\r\n",
    b"*x\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*1 \r\n$4\r\nPING\r\n",
    b"*9223372036854775808\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$9223372036854775808\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n:4\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n+PING\r\n",
    b"*2\r\n$3\r\nGET\r\n:1\r\n",
    b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n+b\r\n",
    b"+PING\r\n",
    b":1\r\n",
    b"$4\r\nPING\r\n",
    b"%1\r\n",
    b"\x01\x02\xff\xfe\r\n",
    b"POST / HTTP/1.1\r\nSET k 1\r\n",
    b"host: x\r\nSET k 1\r\n",
    b"QUIT\r\nPING\r\n",
    b"QUIT now\r\n",
    b"MULTI\r\nQUIT\r\n",
    b"*1\r\n$4\r\nquit\r\n*1\r\n$4\r\nPING\r\n",
];

#[test]
fn bytes_that_are_sent_have_the_replies_of_redis() {
    const END: &[u8] = b"*2\r\n$4\r\nECHO\r\n$7\r\nthe-end\r\n";
    const ENDED: &[u8] = b"$7\r\nthe-end\r\n";
    let test = "bytes_that_are_sent";
    let scratch = Scratch::new(test);
    let redis = redis_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, theirs)) = redis else { return };
    let cluster = start(test);
    let long = |head: &str| [head.as_bytes(), &b"1".repeat(100_000)].concat();
    let long = [long("*"), long("PING "), [&long("PING ")[..], b"\r\n"].concat()];
    let mut different = Vec::new();
    for bytes in RAW.iter().copied().chain(long.iter().map(|bytes| &**bytes)) {
        let [wanted, got] = [theirs, cluster.service("a1")].map(|address| {
            let mut speaker = Speaker::connect(address);
            // The other side may end the connection before it has read everything.
            speaker.try_send(&[bytes, END].concat());
            speaker.until(ENDED)
        });
        if got != wanted {
            different.push(format!(
                "{}\n  Redis   {}\n  Standin {}",
                bytes[..bytes.len().min(100)].escape_ascii(),
                wanted.escape_ascii(),
                got.escape_ascii()
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
