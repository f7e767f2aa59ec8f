//! Commands to a redis-server and to Standin: the replies are the same bytes.

use std::net::SocketAddr;
use std::process::Command;

use standin_testkit::{Child, Scratch, free_ports, wait_until};

use crate::common::WITHIN;
use crate::speaker::Speaker;
use crate::start;

/// The variable that, set to 1, makes a test without redis-server fail instead of being skipped.
pub(crate) const REQUIRE: &str = "STANDIN_REQUIRE_REDIS";

/// The commands, one in each line. A word in quotes may have escapes.
const COMMANDS: &str = include_str!("commands.txt");

/// Starts a redis-server. Returns `None`, after a message, if there is none.
fn redis(test: &str, scratch: &Scratch) -> Option<(Child, SocketAddr)> {
    if let Err(error) = Command::new("redis-server").arg("--version").output() {
        standin_testkit::skip(test, REQUIRE, &format!("redis-server: {error}"));
        return None;
    }
    let port = free_ports(1)[0];
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.current_dir(scratch.path());
    let child = Child::spawn("redis-server", command, scratch.path());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until(WITHIN, "redis-server to accept connections", || {
        std::net::TcpStream::connect(address).is_ok()
    });
    Some((child, address))
}

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

#[test]
fn replies_are_those_of_redis() {
    let scratch = Scratch::new("differential");
    let Some((_child, redis)) = redis("replies_are_those_of_redis", &scratch) else { return };
    let cluster = start("differential");
    for version in ["2", "3"] {
        let mut theirs = Speaker::connect(redis);
        let mut ours = Speaker::connect(cluster.service("a1"));
        for speaker in [&mut theirs, &mut ours] {
            speaker.ask(&[b"HELLO", version.as_bytes()]);
            assert_eq!(speaker.ask(&[b"FLUSHALL"]), b"+OK\r\n");
        }
        let mut different = Vec::new();
        let mut compared = 0;
        for line in COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words = words(line);
            let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
            let (wanted, got) = (theirs.ask(&words), ours.ask(&words));
            compared += 1;
            if wanted != got {
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
    let Some((_child, redis)) = redis(test, &scratch) else { return };
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
