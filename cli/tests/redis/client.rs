//! redis-py, the usual client of Python, against a cluster: what frameworks' caches do, in both
//! versions of the protocol, and on through the kill and the return of a server.

use crate::common::scripts::{Python, Scripts};
use crate::speaker::Speaker;
use crate::{start, start_with_rows};

const SCRIPT: &str = "redis/client.py";

#[test]
fn redis_py_does_what_caches_do() {
    let Some(python) = Python::with("redis_py_does_what_caches_do", &["redis"]) else { return };
    let cluster = start("redis_py");
    let [open, guarded] = ["a1", "b2"].map(|server| cluster.service(server).to_string());
    for version in ["2", "3"] {
        python.check(SCRIPT, &[&open, "commands", version], "all replies right");
        python.check(SCRIPT, &[&guarded, "passwords", version], "only with a password");
    }
}

#[test]
fn redis_py_goes_on_through_the_kill_and_return_of_a_server_without_a_stale_read() {
    let test = "redis_py_goes_on_through_the_kill_and_return_of_a_server";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let mut cluster = start("redis_py_failover");
    let place = cluster.service("b1").to_string();
    let mut scripts = Scripts(vec![python.start(SCRIPT, &[&place, "failover", "3"])]);
    scripts.through_kills(&mut cluster, &["a1", "a2"]);
    scripts.finish();
}

#[test]
fn a_watched_key_that_has_changed_stops_a_transaction() {
    let test = "a_watched_key_that_has_changed_stops_a_transaction";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let cluster = start("redis_py_watches");
    for (server, version) in [("a1", "2"), ("b1", "3")] {
        let place = cluster.service(server).to_string();
        python.check(SCRIPT, &[&place, "watches", version], "all replies right");
    }
}

#[test]
fn counters_by_watch_lose_no_increment() {
    let Some(python) = Python::with("counters_by_watch_lose_no_increment", &["redis"]) else {
        return;
    };
    let cluster = start("redis_py_counters");
    let [here, there] = ["a1", "b1"].map(|server| cluster.service(server).to_string());
    // Each counts the increments of its own, so one follows the other.
    for place in [here, there] {
        let mut scripts = Scripts(vec![python.start(SCRIPT, &[&place, "counters", "3"])]);
        scripts.go_on("begun");
        scripts.finish();
    }
}

#[test]
fn counters_by_watch_lose_no_increment_when_a_server_is_killed_and_returns() {
    let test = "counters_by_watch_lose_no_increment_when_a_server_is_killed_and_returns";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    // What a cache has is lost with its server; what a database has is not.
    let mut cluster = start_with_rows("redis_py_counters_failover");
    let place = cluster.service("b1").to_string();
    let mut scripts = Scripts(vec![python.start(SCRIPT, &[&place, "counters", "3"])]);
    scripts.through_kills(&mut cluster, &["a1", "a2"]);
    scripts.finish();
}

#[test]
fn requests_are_counted_by_their_protocol() {
    let cluster = start("counted");
    let mut speaker = Speaker::connect(cluster.service("a1"));
    speaker.ask(&[b"PING"]);
    speaker.ask(&[b"SET", b"k", b"1"]);
    speaker.ask(&[b"MGET", b"k", b"l", b"m"]);
    speaker.send(b"GET k\r\nECHO x\r\n");
    speaker.reply();
    speaker.reply();
    cluster.wait_counter("a1", "requests_redis", 7);
    assert_eq!(cluster.counter("a1", "requests_memcached"), 0);
    let native = cluster.counter("a1", "requests_native");
    assert!(native > 0, "the counters themselves are asked for");
    // Other servers have forwarded requests, which are no clients' there.
    assert_eq!(cluster.counter("b1", "requests_redis"), 0);
}
