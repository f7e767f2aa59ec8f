//! WATCH of rows of a database, and of several keys of one slot.

use standin_config::ClusterConfig;
use standin_protocol::slots::slot;

use crate::cluster::{nodes, owner};
use crate::common::scripts::{Python, Scripts};
use crate::differential::compare_with;
use crate::speaker::Speaker;
use crate::{cluster, start_speaking};

const SCRIPT: &str = "redis/client.py";

const VALUE_BYTES: u32 = 4_096;

/// A client that is told that a key has changed tries again. Nothing would ever tell it that it can't succeed.
#[test]
fn a_row_that_is_too_large_to_be_cached_can_not_be_watched_and_the_client_is_told_so() {
    let cluster =
        start_speaking("redis_large_rows", |config| config.limits.value_bytes = VALUE_BYTES);
    let large = vec![b'x'; VALUE_BYTES as usize + 1_024];
    cluster.set_row(b"large", &large);
    cluster.set_row(b"small", &large[..VALUE_BYTES as usize]);
    for server in ["a1", "b1"] {
        let mut speaker = Speaker::connect(cluster.service(server));
        let mut change = |watched: &[&str], written: &str| {
            let words: Vec<&[u8]> = std::iter::once("WATCH")
                .chain(watched.iter().copied())
                .map(str::as_bytes)
                .collect();
            assert_eq!(speaker.ask(&words), b"+OK\r\n");
            assert_eq!(speaker.ask(&[b"MULTI"]), b"+OK\r\n");
            assert_eq!(speaker.ask(&[b"SET", written.as_bytes(), b"1"]), b"+QUEUED\r\n");
            String::from_utf8(speaker.ask(&[b"EXEC"])).expect("text")
        };
        for _ in 0..2 {
            for watched in [&["large"][..], &["missing", "large"]] {
                let said = change(watched, "large");
                assert!(said.starts_with("-ERR EXEC was not carried out: the value"), "{said}");
            }
            assert_eq!(cluster.row(b"large").as_deref(), Some(&large[..]));
        }
        // One that is not watched is written, and one that fits is watched.
        assert_eq!(change(&["small"], "small"), "*1\r\n+OK\r\n");
        cluster.set_row(b"small", &large[..VALUE_BYTES as usize]);
        assert_eq!(speaker.ask(&[b"FLUSHALL"]), b"+OK\r\n");
    }
}

/// Transactions of all kinds: what is watched, what changes before MULTI, and the commands.
fn of_one_slot() -> Vec<String> {
    let watched = ["{t}a", "{t}a {t}b", "{t}c {t}b", "{t}missing {t}a", "{t}a {t}a"];
    let changes = ["", "SET {t}a 5", "DEL {t}b", "SET {t}missing 1", "INCR {t}other", "UNWATCH"];
    let transactions = [
        "",
        "SET {t}a 2",
        "SET {t}b 2|GET {t}b|SET {t}b 3|GET {t}b",
        "GET {t}a|SET {t}a 2|INCR {t}a|GET {t}a",
        "INCR {t}other|PING",
        "MSET {t}a 7 {t}b 8 {t}new 9|MGET {t}a {t}b {t}new {t}missing",
        "DEL {t}a {t}b {t}missing|EXISTS {t}a {t}b {t}c {t}c",
        "SET {t}a x|INCR {t}a|APPEND {t}a y|STRLEN {t}a|GETRANGE {t}a 0 -1",
        "INCR {t}b|INCR {t}a|DECRBY {t}a 5|INCRBYFLOAT {t}a 0.5|GET {t}a",
        "SETNX {t}a 1|SETNX {t}new 1|SET {t}a 2 XX GET|SET {t}new 2 NX GET|GETSET {t}new 3|GETDEL {t}new",
        "EXPIRE {t}a 100|TTL {t}a|PERSIST {t}a|TTL {t}a|SETEX {t}b 50 v|TTL {t}b|GETEX {t}b PERSIST|TTL {t}b",
        "EXPIRE {t}a -1|GET {t}a|EXISTS {t}a|SET {t}a 1 EX 100|SET {t}a 2 KEEPTTL|TTL {t}a",
        "SET {t}a 1 BAD|INCRBY {t}a x|SET {t}b 5|GET {t}b",
        "TYPE {t}a|OBJECT ENCODING {t}a|TOUCH {t}a {t}missing|ECHO x|MGET {t}missing {t}a",
        "SETRANGE {t}a 3 xyz|GET {t}a|SUBSTR {t}a 0 1|UNLINK {t}a|GET {t}a",
        "GET {t}a|NOSUCH {t}a|SET {t}a 1",
    ];
    let mut lines = Vec::new();
    for watch in watched {
        for change in changes {
            for transaction in transactions {
                let before =
                    ["DEL {t}b {t}missing {t}new {t}other", "MSET {t}a 1 {t}c x", "SET {t}b text"];
                lines.extend(before.map(str::to_owned));
                lines.extend([format!("WATCH {watch}"), change.to_owned(), "MULTI".to_owned()]);
                lines.extend(transaction.split('|').map(str::to_owned));
                lines.extend(["EXEC", "PING"].map(str::to_owned));
                lines.push("MGET {t}a {t}b {t}c {t}missing {t}new {t}other".to_owned());
                lines.extend(["TTL {t}a", "TTL {t}b"].map(str::to_owned));
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn transactions_of_one_slot_have_the_replies_of_redis() {
    let test = "transactions_of_one_slot_have_the_replies_of_redis";
    compare_with(test, of_one_slot(), || cluster::start("redis_one_slot"));
}

#[test]
fn keys_of_several_slots_can_be_watched_and_not_written_and_the_client_is_told_so() {
    let limit = |config: &mut ClusterConfig| config.limits.value_bytes = VALUE_BYTES;
    let cluster = cluster::start_with("redis_several_slots", limit);
    let mut speaker = Speaker::connect(cluster.service("a2"));
    let mut exec = |watched: &[&str], commands: &[&[&str]]| {
        let ask = |speaker: &mut Speaker, words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            String::from_utf8(speaker.ask(&words)).expect("text")
        };
        assert_eq!(ask(&mut speaker, &[&["WATCH"], watched].concat()), "+OK\r\n");
        assert_eq!(ask(&mut speaker, &["MULTI"]), "+OK\r\n");
        for command in commands {
            assert_eq!(ask(&mut speaker, command), "+QUEUED\r\n");
        }
        ask(&mut speaker, &["EXEC"])
    };
    let one = [&["SET", "{t}a", "1"][..], &["SET", "{t}b", "2"]];
    assert_eq!(exec(&["{t}a", "{t}b"], &one), "*2\r\n+OK\r\n+OK\r\n");
    let refused =
        "-ERR EXEC was not carried out: with WATCH, a transaction that writes needs all its keys";
    for (watched, commands) in [
        (&["{t}a", "{u}b"][..], &one[..1]),
        (&["{t}a"], &[&["SET", "{u}b", "1"]]),
        (&["{t}a", "users:{t}a"], &one[..1]),
        (&["{t}a"], &[&["MSET", "{t}a", "1", "{u}b", "2"]]),
        (&["{t}a", "{t}b"], &[&["SET", "{t}a", "3"], &["FLUSHALL"]]),
    ] {
        let said = exec(watched, commands);
        assert!(said.starts_with(refused), "{watched:?} {commands:?}: {said}");
    }
    assert_eq!(exec(&["{t}a", "{u}b"], &[&["GET", "{t}a"]]), "*1\r\n$1\r\n1\r\n");
    // What it reads and leaves is bounded, and nothing of more is done.
    let large = "x".repeat(3_000);
    for key in ["{t}a", "{t}c"] {
        assert_eq!(exec(&[key], &[&["SET", key, &large]]), "*1\r\n+OK\r\n");
    }
    let said = exec(&["{t}a", "{t}b"], &[&["SET", "{t}b", "0"], &["MGET", "{t}a", "{t}c"]]);
    assert!(said.starts_with("-ERR EXEC was not carried out: with WATCH, the values"), "{said}");
    assert_eq!(exec(&["{t}b"], &[&["GET", "{t}b"]]), "*1\r\n$1\r\n2\r\n");
}

#[test]
fn a_node_refers_a_transaction_of_another_one_there() {
    let cluster = cluster::start("redis_node_transactions");
    let keys: [&[u8]; 2] = [b"{t}a", b"{t}b"];
    let owner = owner(&cluster, keys[0]);
    for node in nodes(&cluster) {
        let mut speaker = Speaker::connect(node);
        let watched = speaker.ask(&[b"WATCH", keys[0], keys[1]]);
        if node != owner {
            let moved = format!("-MOVED {} {owner}\r\n", slot(keys[0]));
            assert_eq!(String::from_utf8_lossy(&watched), moved);
            continue;
        }
        assert_eq!(watched, b"+OK\r\n");
        assert_eq!(speaker.ask(&[b"MULTI"]), b"+OK\r\n");
        assert_eq!(speaker.ask(&[b"MSET", keys[0], b"1", keys[1], b"2"]), b"+QUEUED\r\n");
        assert_eq!(speaker.ask(&[b"EXEC"]), b"*1\r\n+OK\r\n");
        assert_eq!(speaker.ask(&[b"MGET", keys[0], keys[1]]), b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    }
}

#[test]
fn transactions_of_two_watched_keys_lose_nothing_and_see_nothing_half_done() {
    let test = "transactions_of_two_watched_keys";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let cluster = cluster::start("redis_py_transfers");
    // One of them has another owner's keys forwarded, whichever it is.
    let [here, there] = ["a1", "b1"].map(|server| cluster.service(server).to_string());
    for version in ["2", "3"] {
        let arguments = [&*here, "transfers", version, &there];
        python.check(SCRIPT, &arguments, "no transfer is lost");
    }
}

#[test]
fn two_that_have_seen_the_same_never_both_write_when_a_server_is_killed_and_returns() {
    let test = "two_that_have_seen_the_same_never_both_write";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let mut cluster = cluster::start("redis_py_pairs");
    let place = cluster.service("b1").to_string();
    let mut scripts = Scripts(vec![python.start(SCRIPT, &[&place, "pairs", "3"])]);
    scripts.through_kills(&mut cluster, &["a1", "a2"]);
    scripts.finish();
}
