//! SCAN, KEYS, RANDOMKEY and DBSIZE are about the whole cluster at the port of any server, and say so if they
//! can't be: redis-py, and the replies byte for byte while servers are killed, stopped, and return.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use standin_protocol::frame::{Opcode, Status};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::walk::{ANY_SLOT, WalkHead, WalkedHead};
use standin_testkit::wait_until;

use crate::common::scripts::Python;
use crate::common::{Cluster, WITHIN};
use crate::speaker::Speaker;
use crate::{start, start_with};

type Names = BTreeSet<String>;

/// The error while it is not known whether a server that may have keys is dead.
const NOT_ALL: &str = "-CLUSTERDOWN a server that may have keys does not answer\r\n";

fn places(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.config.servers.iter().map(|server| server.services[0].address).collect()
}

/// Starts a cluster without passwords.
fn open(test: &str) -> Cluster {
    start_with(test, |config| {
        config.servers.iter_mut().for_each(|server| server.services[0].passwords = None);
    })
}

fn set(speaker: &mut Speaker, names: &Names) {
    for name in names {
        assert_eq!(speaker.ask(&[b"SET", name.as_bytes(), b"v"]), b"+OK\r\n");
    }
}

/// The strings of an array.
fn strings(reply: &str) -> Vec<String> {
    let mut lines = reply.split("\r\n");
    let count = lines.next().and_then(|line| line.strip_prefix('*')).expect("an array");
    let all: Vec<String> = lines.skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(all.len().to_string(), count, "{reply}");
    all
}

/// All names by KEYS, or the error.
fn keys(speaker: &mut Speaker) -> Result<Names, String> {
    let reply = String::from_utf8(speaker.ask(&[b"KEYS", b"*"])).expect("text");
    if reply.starts_with('-') {
        return Err(reply);
    }
    let all = strings(&reply);
    let names: Names = all.iter().cloned().collect();
    assert_eq!(names.len(), all.len(), "each once");
    Ok(names)
}

/// All names by SCAN.
fn scan(speaker: &mut Speaker) -> Result<Names, String> {
    let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
    loop {
        let reply = speaker.ask(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"50"]);
        let reply = String::from_utf8(reply).expect("text");
        if reply.starts_with('-') {
            return Err(reply);
        }
        let rest = reply.strip_prefix("*2\r\n$").expect("a cursor and an array");
        let mut parts = rest.splitn(3, "\r\n");
        cursor = parts.nth(1).expect("a cursor").to_owned();
        all.extend(strings(parts.next().expect("an array")));
        if cursor == "0" {
            break;
        }
    }
    let names: Names = all.iter().cloned().collect();
    assert_eq!(names.len(), all.len(), "each once");
    Ok(names)
}

fn size(speaker: &mut Speaker) -> Result<usize, String> {
    let reply = String::from_utf8(speaker.ask(&[b"DBSIZE"])).expect("text");
    let number = reply.strip_prefix(':').map(|number| number.trim().parse().expect("a number"));
    number.ok_or(reply)
}

/// Every server that runs names exactly these.
#[track_caller]
fn all_name(cluster: &Cluster, wanted: &Names) {
    for server in cluster.running_servers() {
        let mut speaker = Speaker::connect(cluster.service(server));
        assert_eq!(keys(&mut speaker).as_ref(), Ok(wanted), "KEYS at {server}");
        assert_eq!(scan(&mut speaker).as_ref(), Ok(wanted), "SCAN at {server}");
        assert_eq!(size(&mut speaker), Ok(wanted.len()), "DBSIZE at {server}");
    }
}

/// Those of the names that are not at home at this server.
fn without(cluster: &Cluster, names: &Names, server: &str) -> Names {
    names.iter().filter(|name| cluster.home(name.as_bytes()) != server).cloned().collect()
}

#[test]
fn redis_py_finds_all_keys_of_the_cluster_at_any_server() {
    let test = "redis_py_finds_all_keys_of_the_cluster_at_any_server";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let cluster = open("redis_py_walks");
    let places: Vec<String> = places(&cluster).iter().map(SocketAddr::to_string).collect();
    for version in ["2", "3"] {
        python.check("redis/walks.py", &[&places.join(","), version], "all keys found");
    }
}

#[test]
fn nothing_is_silently_missing_while_a_server_dies_is_stopped_or_returns() {
    let mut cluster = open("redis_walks_failover");
    let names: Names = (0..3_000).map(|number| format!("key-{number}")).collect();
    let mut speaker = Speaker::connect(cluster.service("b1"));
    set(&mut speaker, &names);
    all_name(&cluster, &names);
    // A killed server, and one that is stopped and so accepts connections.
    for server in ["a1", "a2"] {
        let rest = without(&cluster, &names, server);
        assert!(rest.len() < names.len() - 300, "{server} has keys");
        match server {
            "a1" => cluster.kill(server),
            _ => cluster.freeze_anywhere(server),
        }
        let mut answers = 0;
        wait_until(WITHIN, "answers without that server", || {
            for answer in [keys(&mut speaker), scan(&mut speaker)] {
                match answer {
                    Ok(found) => {
                        assert_eq!(found, rest, "without those of {server}");
                        answers += 1;
                    }
                    Err(error) => assert_eq!(error, NOT_ALL),
                }
            }
            match size(&mut speaker) {
                Ok(size) => assert_eq!(size, rest.len()),
                Err(error) => assert_eq!(error, NOT_ALL),
            }
            answers >= 3
        });
        cluster.wait_states(&[(server, Offline)]);
        all_name(&cluster, &rest);
        // Those that are set again are cached by stand-ins, once the server's lease has run out.
        wait_until(WITHIN, "all keys to be kept", || {
            set(&mut speaker, &names);
            size(&mut speaker) == Ok(names.len())
        });
        all_name(&cluster, &names);
        match server {
            "a1" => cluster.start_server(server),
            _ => cluster.thaw(server),
        }
        cluster.wait_states(&[(server, Online)]);
        // The server that has returned has nothing of what stand-ins had cached.
        all_name(&cluster, &rest);
        set(&mut speaker, &names);
        all_name(&cluster, &names);
    }
    // Without the master nobody decides on a server that dies.
    cluster.kill("master");
    cluster.kill("b2");
    assert_eq!(keys(&mut speaker), Err(NOT_ALL.to_owned()));
    assert_eq!(size(&mut speaker), Err(NOT_ALL.to_owned()));
}

/// Servers that walk each other at the same time, from many connections, all come to an end. There are few enough of
/// them for a busy machine: a part of a walk that takes longer than the time for an attempt is an error.
#[test]
fn servers_that_walk_each_other_do_not_wait_for_each_other() {
    let cluster = open("redis_walks_crossing");
    let names: Names = (0..500).map(|number| format!("key-{number}")).collect();
    set(&mut Speaker::connect(cluster.service("a1")), &names);
    let round = b"KEYS *\r\nDBSIZE\r\nSCAN 0 COUNT 1000\r\nRANDOMKEY\r\n";
    std::thread::scope(|scope| {
        for place in places(&cluster).repeat(2) {
            scope.spawn(move || {
                let mut speaker = Speaker::connect(place);
                speaker.send(&round.repeat(20));
                for _ in 0..20 {
                    assert!(speaker.reply().starts_with(b"*500\r\n"));
                    assert_eq!(speaker.reply(), b":500\r\n");
                    assert!(speaker.reply().starts_with(b"*2\r\n"));
                    assert!(speaker.reply().starts_with(b"$"));
                }
            });
        }
    });
}

#[test]
fn any_cursor_count_and_pattern_is_answered() {
    let cluster = open("redis_walks_hostile");
    let names: Names = (0..100).map(|number| format!("key-{number}")).collect();
    let mut speaker = Speaker::connect(cluster.service("a1"));
    // Few keys are found by one call.
    assert_eq!(speaker.ask(&[b"SCAN", b"0"]), b"*2\r\n$1\r\n0\r\n*0\r\n");
    assert_eq!(speaker.ask(&[b"SET", b"key-1", b"v"]), b"+OK\r\n");
    let one = b"*2\r\n$1\r\n0\r\n*1\r\n$5\r\nkey-1\r\n";
    assert_eq!(speaker.ask(&[b"SCAN", b"0", b"MATCH", b"key*"]), one);
    set(&mut speaker, &names);
    let (long, longest) = (vec![b'?'; 1_025], vec![b'?'; 1_024]);
    for cursor in ["1", "7", "8", "65536", "4294967296", "18446744073709551615", "-1"] {
        let reply = speaker.ask(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"9223372036854775807"]);
        assert!(reply.starts_with(b"*2\r\n$"), "{cursor}");
        let reply = speaker.ask(&[b"SCAN", cursor.as_bytes(), b"MATCH", &longest]);
        assert!(reply.starts_with(b"*2\r\n$"), "{cursor}");
    }
    let error = speaker.ask(&[b"SCAN", b"18446744073709551616"]);
    assert_eq!(error, b"-ERR invalid cursor\r\n");
    assert!(speaker.ask(&[b"KEYS", &long]).starts_with(b"-ERR the pattern is longer"));
    for pattern in [&b""[..], b"[", b"[^", b"\\", b"[^a-z]*", b"**********************z"] {
        assert_eq!(speaker.ask(&[b"KEYS", pattern]), b"*0\r\n");
    }
    assert_eq!(size(&mut speaker), Ok(100));
    // In Standin's own protocol too.
    let mut wire = cluster.connect("a1");
    let ask = |wire: &mut crate::common::wire::Wire, value: &[u8]| {
        wire.try_ask(Opcode::Walk, b"", value).expect("an answer")
    };
    let head = WalkHead { slot: ANY_SLOT, gives_keys: 1, ..WalkHead::default() };
    let garbage = [&b""[..], b"x", &[0xff; 24], &[0; 23], &[0; 24 + 1_025]];
    for value in garbage {
        assert_eq!(ask(&mut wire, value).status, Status::Malformed);
    }
    for head in [
        head,
        WalkHead { position: u32::MAX, start: u64::MAX, ..head },
        WalkHead { start: u64::MAX, looked_max: u32::MAX, found_max: u32::MAX, ..head },
        WalkHead { slot: 16_384, ..head },
    ] {
        let reply = ask(&mut wire, &head.to_bytes());
        assert_eq!(reply.status, Status::Ok);
        let (walked, keys) = WalkedHead::split(&reply.value).expect("an answer");
        let keys: Vec<(u8, &[u8])> = keys.map(|key| key.expect("a key")).collect();
        assert_eq!(walked.found, keys.len() as u64);
        assert!(walked.found <= 100);
    }
}

/// The names of a reply are bounded, over all servers together.
#[test]
fn more_names_than_a_reply_may_have_are_an_error_and_can_be_scanned() {
    let cluster = open("redis_walks_bounded");
    let long = "n".repeat(1_000);
    let names: Names = (0..1_500).map(|number| format!("{number}{long}")).collect();
    let mut speaker = Speaker::connect(cluster.service("a2"));
    set(&mut speaker, &names);
    let error = "-ERR TOO_LARGE: more names match than one reply may have: use SCAN\r\n";
    assert_eq!(keys(&mut speaker), Err(error.to_owned()));
    assert_eq!(scan(&mut speaker), Ok(names));
    assert_eq!(size(&mut speaker), Ok(1_500));
    let reply = speaker.ask(&[b"KEYS", b"?n*"]);
    assert!(reply.starts_with(b"*10\r\n"));
}

#[test]
fn a_server_with_passwords_is_walked_too() {
    let cluster = start("redis_walks_passwords");
    let names: Names = (0..200).map(|number| format!("key-{number}")).collect();
    let mut speaker = Speaker::connect(cluster.service("a1"));
    set(&mut speaker, &names);
    assert_eq!(keys(&mut speaker), Ok(names));
}
