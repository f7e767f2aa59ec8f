//! A client library that others have written: pymemcache, driven by `client.py` beside this file.

use std::process::Command;
use std::time::Duration;

use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Child, wait_until};

use super::common::{Cluster, TWO_PAIRS, WITHIN};
use super::{address, cluster};

/// The variable that names a Python that has the library.
const PYTHON: &str = "STANDIN_PYTHON";
/// The variable that, set to 1, makes a test without the library fail instead of being skipped.
const REQUIRE: &str = "STANDIN_REQUIRE_CLIENTS";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memcached/client.py");

/// The Python with the library. Returns `None`, after a message, if there is none.
fn python(test: &str) -> Option<String> {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import pymemcache"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    standin_testkit::skip(test, REQUIRE, &format!("{python} with pymemcache"));
    None
}

fn addresses(cluster: &Cluster) -> String {
    let servers = ["a1", "a2", "b1", "b2"];
    servers.map(|server| address(cluster, server).to_string()).join(",")
}

#[test]
fn pymemcache_does_what_a_frameworks_cache_does() {
    let Some(python) = python("pymemcache_does") else { return };
    let mut cluster = cluster("pymemcache", TWO_PAIRS, |_| {});
    cluster.start();
    let output = Command::new(python)
        .args([SCRIPT, "operations", &addresses(&cluster)])
        .output()
        .expect("python runs");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && said.contains("all operations are right"),
        "{said}\n{errors}"
    );
}

/// A server is killed and returns while clients read and write. No request fails for good, and no
/// read returns a value older than the last that was stored.
#[test]
fn pymemcache_goes_on_through_the_death_and_the_return_of_a_server() {
    let Some(python) = python("pymemcache_goes_on") else { return };
    let mut cluster = cluster("pymemcache_kill", TWO_PAIRS, |_| {});
    cluster.start();
    let stop = cluster.directory().join("stop");
    let mut command = Command::new(python);
    command.args([SCRIPT, "load", &addresses(&cluster)]).arg(&stop);
    let client = Child::spawn("pymemcache", command, cluster.directory());
    let rounds = |least: usize| {
        wait_until(WITHIN * 3, "the clients to go on", || {
            client.lines().iter().filter(|line| line.starts_with("round")).count() >= least
        });
    };
    rounds(4);
    for server in ["a1", "b2"] {
        cluster.kill(server);
        cluster.wait_states(&[(server, Offline)]);
        let seen = client.lines().len();
        rounds(seen + 4);
        cluster.start_server(server);
        cluster.wait_states(&[(server, Online)]);
        let seen = client.lines().len();
        rounds(seen + 4);
    }
    std::fs::write(&stop, "").expect("a file");
    let mut client = client;
    let status = client.exit_status(WITHIN + Duration::from_secs(20));
    let lines = client.lines();
    let last = lines.last().cloned().unwrap_or_default();
    assert!(status.success(), "{last}\n{lines:#?}");
    println!("{last}");
    assert!(last.contains("failed 0, stale 0"), "{last}");
}
