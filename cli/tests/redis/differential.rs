//! Commands to a redis-server and to Standin: the replies are the same bytes.

use standin_testkit::{Scratch, free_ports, redis_or_skip};

use crate::common::Cluster;
use crate::speaker::Speaker;
use crate::start;

/// The commands, one in each line. A word in quotes may have escapes.
const COMMANDS: &str = include_str!("commands.txt");

/// The words of a line.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut bytes) = (Vec::new(), line.bytes().peekable());
    while let Some(byte) = bytes.next() {
        let mut word = Vec::new();
        match byte {
            b' ' => continue,
            b'"' => loop {
                match bytes.next().expect("a quote ends") {
                    b'"' => break,
                    b'\\' => word.push(match bytes.next().expect("an escaped byte") {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b'0' => 0,
                        b'f' => 0xff,
                        other => other,
                    }),
                    byte => word.push(byte),
                }
            },
            byte => {
                word.push(byte);
                while let Some(byte) = bytes.next_if(|byte| *byte != b' ') {
                    word.push(byte);
                }
            }
        }
        words.push(word);
    }
    words
}

/// The commands that bring a key into each state which options tell apart.
const STATES: [&str; 3] = ["DEL k", "SET k old", "SET k old EXAT 2000000000"];

/// Commands with each combination of their options, in each state of the key.
fn with_options() -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |command: &str| {
        for state in STATES {
            lines.extend([state, command, "GET k", "EXPIRETIME k"].map(str::to_owned));
        }
    };
    let lifetimes =
        ["", "EX 100", "PX 100000", "EXAT 2100000000", "pxat 2100000000000", "KEEPTTL", "PERSIST"];
    for presence in ["", "NX", "xx", "NX XX"] {
        for get in ["", "GET"] {
            for lifetime in lifetimes {
                add(&format!("SET k new {presence} {lifetime} {get}"));
            }
        }
    }
    for lifetime in lifetimes {
        add(&format!("GETEX k {lifetime}"));
        add(&format!("GETEX k {lifetime} EX 1"));
    }
    for (command, times) in [
        ("EXPIREAT", ["2100000000", "1900000000", "1"]),
        ("PEXPIREAT", ["2100000000000", "1900000000000", "-1"]),
        ("EXPIRE", ["0", "-1", "9223372036854775"]),
        ("PEXPIRE", ["0", "-1", "9223372036854775807"]),
    ] {
        for time in times {
            for options in 0..16_u8 {
                let names = ["NX", "XX", "GT", "lt"].into_iter().enumerate();
                let names = names.filter(|(bit, _)| options >> bit & 1 == 1);
                let options: Vec<&str> = names.map(|(_, name)| name).collect();
                add(&format!("{command} k {time} {}", options.join(" ")));
            }
        }
    }
    for command in [
        "SETNX k new",
        "GETSET k new",
        "GETDEL k",
        "APPEND k x",
        "SETRANGE k 1 x",
        "PERSIST k",
        "MSETNX k new",
        "SETEX k 100 new",
        "INCR k",
        "INCRBYFLOAT k 1",
        "MSET k new",
        "DEL k",
        "OBJECT ENCODING k",
        "TYPE k",
    ] {
        add(command);
    }
    lines
}

/// Numbers of all spellings, and what is done with them.
fn numbers() -> Vec<String> {
    let mut lines = Vec::new();
    for number in [
        "0",
        "7",
        "-7",
        "007",
        "00",
        "-0",
        "+7",
        "\" 7\"",
        "\"7 \"",
        "\"\"",
        "-",
        "x",
        "7x",
        "1e3",
        "1.0",
        "9223372036854775806",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999",
        "3.0e3",
        "0.1",
        "-.5",
        "5.",
        "1e-5",
        "inf",
        "nan",
        "123456789.123456789",
        "1e17",
        "18446744073709551616",
        "\"7\\0\"",
    ] {
        for command in [
            "INCR k",
            "DECR k",
            "INCRBY k 5",
            "DECRBY k 5",
            "INCRBY k 9223372036854775807",
            "DECRBY k -9223372036854775807",
            "INCRBYFLOAT k 0.1",
            "INCRBYFLOAT k -1e3",
            "INCRBYFLOAT k 3",
            "INCRBYFLOAT k 1.0e-17",
            "INCRBYFLOAT k 0.000000000000000005",
            "OBJECT ENCODING k",
            "STRLEN k",
        ] {
            lines.extend([format!("SET k {number}"), command.to_owned(), "GET k".to_owned()]);
        }
        for command in ["INCRBY", "DECRBY", "INCRBYFLOAT"] {
            lines.extend([
                "SET k 10".to_owned(),
                format!("{command} k {number}"),
                "GET k".to_owned(),
            ]);
            lines.extend(["DEL k".to_owned(), format!("{command} k {number}"), "GET k".to_owned()]);
        }
    }
    lines
}

/// Parts of values of several lengths.
fn ranges() -> Vec<String> {
    let mut lines = Vec::new();
    let ends = [
        "0",
        "1",
        "4",
        "5",
        "6",
        "-1",
        "-5",
        "-6",
        "-7",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    for value in ["", "a", "abcde"] {
        lines.push(format!("SET k \"{value}\""));
        for from in ends {
            lines.extend(ends.map(|to| format!("GETRANGE k {from} {to}")));
        }
        for offset in ["0", "1", "5", "7", "-1", "x", "536870911", "9223372036854775807"] {
            for part in ["\"\"", "x", "xyz"] {
                // A value of 512 MiB fits into Redis, and into no server here.
                if !(offset == "536870911" && part == "x") {
                    let write = format!("SETRANGE k {offset} {part}");
                    lines.extend([format!("SET k \"{value}\""), write, "GET k".to_owned()]);
                }
            }
        }
        lines.extend(
            ["DEL k", "SETRANGE k 3 \"\"", "EXISTS k", "APPEND k \"\"", "EXISTS k"]
                .map(str::to_owned),
        );
    }
    lines
}

#[test]
fn replies_are_those_of_redis() {
    let listed = COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    compare("replies_are_those_of_redis", listed.map(str::to_owned).collect());
}

#[test]
fn replies_to_all_combinations_of_options_are_those_of_redis() {
    compare("replies_to_all_combinations_of_options_are_those_of_redis", with_options());
}

#[test]
fn numbers_and_parts_of_values_are_those_of_redis() {
    compare("numbers_and_parts_of_values_are_those_of_redis", [numbers(), ranges()].concat());
}

/// Whether replies are times that differ by a second: the two servers are asked one after the other.
fn is_near(line: &str, wanted: &[u8], got: &[u8]) -> bool {
    let time =
        |reply: &[u8]| std::str::from_utf8(reply).ok()?.trim().strip_prefix(':')?.parse().ok();
    let times: [Option<i64>; 2] = [time(wanted), time(got)];
    match times {
        [Some(wanted), Some(got)] if line.contains("TIME") || line.starts_with("TTL") => {
            wanted > 0 && wanted.abs_diff(got) <= 1
        }
        _ => false,
    }
}

/// Sends commands to a redis-server and to Standin, in both versions of the protocol.
pub(crate) fn compare(test: &str, lines: Vec<String>) {
    compare_with(test, lines, || start(test));
}

/// Sends commands to a redis-server and to a server of this cluster, in both versions of the protocol.
pub(crate) fn compare_with(test: &str, lines: Vec<String>, start: impl FnOnce() -> Cluster) {
    let scratch = Scratch::new(test);
    let redis = redis_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, redis)) = redis else { return };
    let cluster = start();
    for version in ["2", "3"] {
        let mut theirs = Speaker::connect(redis);
        let mut ours = Speaker::connect(cluster.service("a1"));
        for speaker in [&mut theirs, &mut ours] {
            speaker.ask(&[b"HELLO", version.as_bytes()]);
            assert_eq!(speaker.ask(&[b"FLUSHALL"]), b"+OK\r\n");
        }
        let mut different = Vec::new();
        let mut compared = 0;
        for line in &lines {
            let words = words(line);
            let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
            let (wanted, got) = (theirs.ask(&words), ours.ask(&words));
            compared += 1;
            if wanted != got && !is_near(line, &wanted, &got) {
                let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
                different.push(format!(
                    "{line}\n  Redis   {}\n  Standin {}",
                    shown(&wanted),
                    shown(&got)
                ));
            }
        }
        assert!(compared > 250, "{compared}");
        assert!(different.is_empty(), "RESP{version}:\n{}", different.join("\n"));
        println!("{compared} replies in RESP{version} are those of Redis");
    }
}

#[test]
fn what_is_no_command_is_refused_as_by_redis() {
    let scratch = Scratch::new("refusals");
    let test = "what_is_no_command_is_refused_as_by_redis";
    let redis = redis_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, redis)) = redis else { return };
    let cluster = start("refusals");
    for bytes in [
        &b"*abc\r\n"[..],
        b"*1048577000000\r\n",
        b"*1\r\nPING\r\n",
        b"*2\r\n$3\r\nGET\r\n$-5\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
        b"*2\r\n$3\r\nGET\r\n$x\r\n",
        b"*3\r\n$3\r\nDEL\r\n$1\r\na\r\n:1\r\n",
        b"set a \"b\r\n",
        b"PING\r\n",
        b"PING\n",
        b"  echo  \"a b\"  \r\n",
        b"\r\n\r\nPING\r\n",
        b"*0\r\n*-1\r\nPING\r\n",
        b"bogus a b\r\n",
    ] {
        let mut replies = [redis, cluster.service("b1")].map(|address| {
            let mut speaker = Speaker::connect(address);
            speaker.send(bytes);
            speaker.reply().escape_ascii().to_string()
        });
        replies.reverse();
        assert_eq!(replies[0], replies[1], "{}", bytes.escape_ascii());
    }
}
