//! An operator finds out which requests are slow, and why, and which keys are hot.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::time::Micros;
use standin_testkit::wait_until;

use crate::common::{Cluster, PAIR, WITHIN};

const SLOW: Duration = Duration::from_millis(150);

fn json(cluster: &Cluster, command: &str) -> Value {
    let output = cluster.run(&[command, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn slow_requests_are_logged_with_where_their_time_went_and_hot_keys_are_found() {
    let mut cluster = Cluster::with("slow-and-hot", PAIR, |config| {
        config.keyspaces[0].log_slower_than = Some(SLOW);
    });
    cluster.start_master();
    cluster.start_server("a2");
    let mut command = cluster.role("server");
    command.args(["--log-format", "json"]);
    cluster.spawn("a1", command, Stdio::piped());
    cluster.wait_all(standin_protocol::map::ServerState::Online);
    a_slow_write(&mut cluster);
    a_hot_key(&cluster);
}

/// Somebody else holds the database while a write waits for it, which came through the other server.
fn a_slow_write(cluster: &mut Cluster) {
    let key = cluster.key_of("a1");
    let held = cluster.database();
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let mut wire = cluster.connect("a2");
    let name = key.clone();
    let put = thread::spawn(move || wire.ask(Opcode::Put, &name, b"1"));
    cluster.wait_counter("a1", "origin_writes", 1);
    // From here on the write has waited for the database.
    let until = Micros::boottime() + 2 * SLOW;
    wait_until(WITHIN, "the write to be slow", || Micros::boottime() >= until);
    held.execute_batch("COMMIT").expect("it is held");
    assert_eq!(put.join().expect("no panic").status, Status::Ok);

    let text = String::from_utf8(key).expect("text");
    let line = cluster.process("a1").wait_for_line("slow request", WITHIN);
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    let fields = &line["fields"];
    assert_eq!((&line["level"], &line["name"]), (&"INFO".into(), &"a1".into()), "{line}");
    for (name, value) in
        [("keyspace", "items"), ("key", &text), ("operation", "put"), ("status", "ok")]
    {
        assert_eq!(fields[name], value, "{line}");
    }
    assert_eq!(fields["of_server"], true, "{line}");
    let ms = |name: &str| fields[name].as_f64().unwrap_or(0.0);
    // Each is rounded to a tenth by itself.
    let by_database = ms("connection_wait_ms") + ms("database_ms");
    assert!(by_database >= 2.0 * 150.0 && ms("took_ms") + 0.5 >= by_database, "{line}");
    assert!(ms("own_ms") < ms("took_ms") / 2.0, "{line}");

    let line = cluster.process("a2").wait_for_line("slow request", WITHIN);
    for part in [" INFO ", "keyspace=items", &format!("key={text} "), "server=a1", "server_ms="] {
        assert!(line.contains(part), "{part}: {line}");
    }
    cluster.wait_counter("a1", "slow_requests", 1);
}

fn a_hot_key(cluster: &Cluster) {
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(40).collect();
    let hot = std::str::from_utf8(&keys[7]).expect("text");
    let mut wire = cluster.connect("a1");
    let mut shown = Value::Null;
    wait_until(WITHIN, "the hot key to be found", || {
        for key in &keys {
            wire.ask(Opcode::Get, key, b"");
            (0..9).for_each(|_| drop(wire.ask(Opcode::Get, &keys[7], b"")));
        }
        shown = json(cluster, "hot");
        let first = &shown["keys"][0];
        first["key"] == hot && first["share"].as_f64().is_some_and(|share| share > 0.7)
    });
    let first = &shown["keys"][0];
    assert_eq!(first["keyspace"], "items", "{shown}");
    assert_eq!(first["places"][0]["server"], "a1", "{shown}");
    assert_eq!(shown["servers"].as_array().map(Vec::len), Some(2), "{shown}");
    let table = cluster.run(&["hot", "--keys", "1"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("2 of 2 servers answer") && table.trim_end().ends_with(hot), "{table}");

    wait_until(WITHIN, "the reads to be totalled by keyspace", || {
        let items = &json(cluster, "status")["keyspaces"][0];
        let of = |name: &str| items[name].as_u64().unwrap_or(0);
        items["name"] == "items" && of("reads") >= 400 && of("hits") > 300 && of("writes") >= 1
    });
    let table = cluster.run(&["status"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.lines().any(|line| line.starts_with("items ")), "{table}");
}
