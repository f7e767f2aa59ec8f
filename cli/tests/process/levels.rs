//! Log lines for which an operator defines alerts have a level. Messages that repeat while nothing
//! changes are not events.

use std::process::Stdio;

use serde_json::Value;
use standin_protocol::body::StatsReply;
use standin_protocol::frame::Opcode;
use standin_protocol::hello::Role;
use standin_protocol::map::ServerState::Online;
use standin_testkit::{Child, wait_until};

use crate::common::wire::Wire;
use crate::common::{Cluster, PAIR, WITHIN};

/// Returns the level of a process's line of JSON that contains `text`.
fn level(cluster: &mut Cluster, name: &str, text: &str) -> String {
    let line = cluster.process(name).wait_for_line(text, WITHIN);
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    line["level"].as_str().expect("a level").to_owned()
}

/// Asserts that all output of a process is JSON, except the line that says that it is ready.
fn assert_all_json(cluster: &mut Cluster, name: &str) {
    for line in cluster.process(name).lines() {
        if line.ends_with("is ready") {
            continue;
        }
        let object: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let has = |field: &str| object[field].is_string();
        assert!(has("timestamp") && has("level"), "{line}");
        assert_eq!(object["name"], name, "{line}");
        assert!(object["fields"]["message"].is_string(), "{line}");
    }
}

#[test]
fn json_lines_have_the_level_that_an_operator_alerts_on() {
    let mut cluster = Cluster::with("levels-json", PAIR, |config| config.limits.connections = 20);
    let start = |cluster: &mut Cluster, name: &str, role: &str| {
        let mut command = cluster.role(role);
        command.args(["--log-format", "json"]);
        cluster.spawn(name, command, Stdio::piped());
    };
    start(&mut cluster, "master", "master");
    start(&mut cluster, "a1", "server");
    start(&mut cluster, "a2", "server");
    cluster.wait_all(Online);

    let id = cluster.id("a1");
    let connect = |_| Wire::connect(&cluster.topology, id, 0, Role::Client).ok();
    let crowd: Vec<Wire> = (0..60).map_while(connect).collect();
    assert_eq!(level(&mut cluster, "a1", "connections refused"), "WARN");
    drop(crowd);

    cluster.kill("a2");
    assert_eq!(level(&mut cluster, "master", "\"event\":\"offline\""), "WARN");
    // If both servers are away, it is more likely that the master itself is cut off.
    assert_eq!(cluster.terminate("a1", WITHIN).code(), Some(0));
    assert_all_json_of_ended(&cluster, "a1");
    start(&mut cluster, "a1", "server");
    wait_until(WITHIN, "it to be online", || cluster.state_at("a1", "a1") == Some(Online));
    cluster.kill("a1");
    assert_eq!(level(&mut cluster, "master", "\"event\":\"cap_reached\""), "ERROR");
    assert_eq!(level(&mut cluster, "master", "\"event\":\"frozen\""), "ERROR");
    assert_all_json(&mut cluster, "master");

    start(&mut cluster, "a1", "server");
    cluster.kill("master");
    assert_eq!(level(&mut cluster, "a1", "nothing heard from the master"), "WARN");
    start(&mut cluster, "master", "master");
    assert_eq!(level(&mut cluster, "a1", "heard from the master again"), "INFO");
    assert_all_json(&mut cluster, "a1");
}

/// Asserts that all output is JSON for a process that has ended, by its file.
fn assert_all_json_of_ended(cluster: &Cluster, name: &str) {
    let file = cluster.directory().join(format!("{name}.log"));
    let text = std::fs::read_to_string(file).expect("its output is kept");
    for line in text.lines().filter(|line| !line.ends_with("is ready")) {
        let _: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn a_dead_server_is_a_warning_a_lost_master_too_and_events_are_changes_of_state() {
    let mut cluster = Cluster::new("levels", PAIR);
    let changes = cluster.directory().join("changes.jsonl");
    let mut master = cluster.role("master");
    master.arg("--events").arg(&changes);
    let master = Child::spawn("master-of-changes", master, cluster.directory());
    master.wait_for_line("is ready", WITHIN);
    for name in ["a1", "a2"] {
        cluster.start_server(name);
    }
    cluster.wait_all(Online);
    cluster.kill("a2");
    let line = master.wait_for_line("event=\"offline\"", WITHIN);
    assert!(line.contains(" WARN "), "{line}");
    let read = || std::fs::read_to_string(&changes).unwrap_or_default();
    wait_until(WITHIN, "the change to be written", || read().contains("\"kind\":\"offline\""));
    let probes = || {
        let address = cluster.topology.master;
        let wire = Wire::connect_to(address, &cluster.topology, 0, Role::Client);
        let mut wire = wire.expect("a connection to the master");
        let reply = wire.ask(Opcode::Stats, b"", b"");
        let stats = StatsReply::from_bytes(&reply.value).expect("counters");
        stats.counter("probes_failed")
    };
    let before = probes();
    wait_until(WITHIN, "all to be told", || probes() > before + 3);
    let (before, written) = (probes(), read());
    wait_until(WITHIN, "the dead server to be looked for again and again", || {
        probes() > before + 5
    });
    assert_eq!(read(), written, "nothing has changed");
    for line in written.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    drop(master);
    let a1 = cluster.process("a1");
    let line = a1.wait_for_line("nothing heard from the master", WITHIN);
    assert!(line.contains(" WARN "), "{line}");
}
