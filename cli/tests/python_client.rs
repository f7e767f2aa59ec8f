//! The client in Python that was written from docs/PROTOCOL.md alone, against a live cluster. It
//! shows that the document is complete.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait_until;

use common::{Cluster, KEYSPACE, TWO_PAIRS, WITHIN};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// The variable that, set to 1, makes a test without Python fail instead of being skipped.
const REQUIRE: &str = "STANDIN_REQUIRE_PYTHON";

/// Runs docs/client.py. Returns `None`, after a message, if there is no Python.
fn client(test: &str, arguments: &[&str]) -> Option<Output> {
    let script = Path::new(DOCS).join("client.py");
    match Command::new("python3").arg(&script).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            standin_testkit::skip(test, REQUIRE, &format!("python3: {error}"));
            None
        }
    }
}

#[track_caller]
fn assert_says(output: &Output, wanted: &[&str]) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}\n{errors}");
    }
}

fn seeds(cluster: &Cluster, servers: &[&str]) -> String {
    let addresses: Vec<String> =
        servers.iter().map(|server| cluster.address(server).to_string()).collect();
    addresses.join(",")
}

#[test]
fn the_vectors_agree() {
    let vectors = Path::new(DOCS).join("vectors.json");
    let vectors = vectors.to_str().expect("a path of text");
    let Some(output) = client("the_vectors_agree", &["vectors", vectors]) else { return };
    assert_says(&output, &["vectors agree"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("not checked"), "{said}");
}

#[test]
fn it_does_every_operation_and_routes_by_the_map_before_and_after_a_failover() {
    let test = "it_does_every_operation";
    let mut cluster = Cluster::with("python", TWO_PAIRS, |config| {
        for server in &mut config.servers {
            server.shards = 2;
        }
    });
    cluster.start();
    let keyspace = KEYSPACE.to_string();
    let selftest = |cluster: &Cluster, first: &str| {
        let seeds = seeds(cluster, &[first, "a2", "b1"]);
        client(test, &["--seeds", &seeds, "--keyspace", &keyspace, "selftest"])
    };
    let done = ["hello: server ", "owners are as computed here", "all answers right"];
    let Some(output) = selftest(&cluster, "a1") else { return };
    assert_says(&output, &done);
    for server in ["a1", "a2", "b1", "b2"] {
        cluster.wait_counter(server, "forwarded", 0);
        wait_until(WITHIN, "a share for each server", || {
            cluster.counter(server, "origin_writes") > 0
        });
    }

    cluster.kill("a1");
    cluster.connect("a2").get(&cluster.key_of("a1"));
    cluster.wait_states(&[("a1", Offline), ("a2", Online), ("b1", Online), ("b2", Online)]);
    // This is the request by which a2 noticed the failure.
    cluster.wait_counter("a2", "forwarded", 1);
    // While a member is away, a server that has just started keeps entries only briefly, and
    // without a version (docs/FAILOVER.md).
    wait_until(WITHIN, "entries of a2 with versions", || {
        cluster.connect("a2").get(&cluster.key_of("a1")).header.cas_version != 0
    });
    // The dead server is the first seed, so the client asks the next one.
    let output = selftest(&cluster, "a1").expect("a Python a moment ago");
    assert_says(&output, &done);
    assert_says(&output, &["a1 127.0.0.1", "offline, owns 0"]);
    wait_until(WITHIN, "requests for a1 at its stand-in", || {
        cluster.counter("a2", "stand_in_requests") > 0
    });
    for (server, forwarded) in [("a2", 1), ("b1", 0), ("b2", 0)] {
        assert_eq!(cluster.counter(server, "forwarded"), forwarded, "straight to it: {server}");
    }

    let address = seeds(&cluster, &["b2"]);
    let run = |command: &[&str]| {
        let arguments = [&["--seeds", &address, "--keyspace", &keyspace], command].concat();
        client(test, &arguments).expect("a Python a moment ago")
    };
    let key = String::from_utf8(cluster.key_of("a1")).expect("text");
    assert_says(&run(&["put", &key, "from Python"]), &[]);
    assert_eq!(cluster.row(key.as_bytes()).as_deref(), Some(&b"from Python"[..]));
    assert_says(&run(&["get", &key]), &["from Python"]);
    assert_says(&run(&["delete", &key]), &["deleted"]);
    assert_eq!(cluster.row(key.as_bytes()), None);
    assert_eq!(run(&["get", &key]).status.code(), Some(1), "no such row");
}
