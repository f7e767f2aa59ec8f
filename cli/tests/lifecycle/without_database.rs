//! A cluster whose only keyspace has no database: real processes, a death, a pause and returns.

use standin_config::{KeyspaceConfig, Mode};
use standin_protocol::map::ServerState::{Offline, Online};

use standin_testkit::wait_until;

use crate::common::{Cluster, PAIR, WITHIN};

const CACHE: u8 = 1;

fn cluster(test: &str) -> Cluster {
    let mut cluster = Cluster::with(test, PAIR, |config| {
        config.mode = Mode::Strict;
        config.origin = None;
        config.keyspaces = vec![KeyspaceConfig::cache(CACHE, "sessions")];
    });
    cluster.start();
    cluster
}

fn get(cluster: &Cluster, key: &[u8]) -> Option<Vec<u8>> {
    cluster.client().get(CACHE, key).expect("answered").map(|value| value.bytes)
}

fn put(cluster: &Cluster, key: &[u8], value: &[u8]) {
    cluster.client().put(CACHE, key, value.to_vec(), 0).expect("written");
}

#[test]
fn the_commands_need_no_database() {
    let cluster = cluster("cache-commands");
    let run = |arguments: &[&str]| {
        let output = cluster.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code(), text)
    };
    assert_eq!(run(&["get", "sessions", "alice"]).0, Some(1), "it is not there");
    assert_eq!(run(&["put", "sessions", "alice", "7"]).0, Some(0));
    assert_eq!(run(&["get", "sessions", "alice"]), (Some(0), "7".to_owned()));
    let (code, table) = run(&["status"]);
    assert_eq!((code, table.matches("0.1.0     none").count()), (Some(0), 2), "{table}");
    let (_, json) = run(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["servers"][0]["database"], serde_json::Value::Null);
    assert_eq!(run(&["check-config", "--name", "a1"]).0, Some(0));
    assert_eq!(run(&["delete", "sessions", "alice"]).0, Some(0));
    assert_eq!(run(&["get", "sessions", "alice"]).0, Some(1));
    assert_eq!(run(&["put", "sessions", "bob", "1"]).0, Some(0));
    assert_eq!(run(&["flush", "sessions"]).0, Some(0));
    assert_eq!(run(&["get", "sessions", "bob"]).0, Some(1));
}

#[test]
fn load_takes_a_value_that_is_gone_for_an_answer() {
    let mut cluster = cluster("cache-load");
    let mut command = cluster.role("load");
    command.args(["--check", "--fill", "--keys", "500", "--rate", "1000", "--seconds", "4"]);
    let running = std::thread::spawn(move || command.output().expect("the program can be run"));
    wait_until(WITHIN, "the load", || cluster.counter("a1", "hits") > 200);
    cluster.kill("a1");
    let output = running.join().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("checked reads stale 0, wrong 0"), "{text}");
}

#[test]
fn a_stand_in_begins_with_nothing_and_a_home_that_was_killed_too() {
    let mut cluster = cluster("cache-killed");
    let key = cluster.key_of("a1");
    put(&cluster, &key, b"v1");
    assert_eq!(get(&cluster, &key), Some(b"v1".to_vec()));
    cluster.kill("a1");
    assert_eq!(get(&cluster, &key), None);
    cluster.wait_states(&[("a1", Offline)]);
    put(&cluster, &key, b"v2");
    assert_eq!(get(&cluster, &key), Some(b"v2".to_vec()), "the stand-in keeps it");
    cluster.start_server("a1");
    cluster.wait_states(&[("a1", Online)]);
    assert_eq!(get(&cluster, &key), None, "a new process has nothing, and the stand-in drops it");
    put(&cluster, &key, b"v3");
    assert_eq!(get(&cluster, &key), Some(b"v3".to_vec()));
}

#[test]
fn a_home_that_was_stopped_drops_what_was_written_meanwhile_and_keeps_the_rest() {
    let mut cluster = cluster("cache-stopped");
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(2).collect();
    for key in &keys {
        put(&cluster, key, b"v1");
    }
    cluster.freeze_anywhere("a1");
    assert_eq!(get(&cluster, &keys[0]), None);
    cluster.wait_states(&[("a1", Offline)]);
    put(&cluster, &keys[0], b"v2");
    cluster.thaw("a1");
    cluster.wait_states(&[("a1", Online)]);
    assert_eq!(get(&cluster, &keys[0]), None, "it was written elsewhere");
    assert_eq!(get(&cluster, &keys[1]), Some(b"v1".to_vec()));
}
