//! redis-py, the usual client of Python, against a cluster: what frameworks' caches do, in both
//! versions of the protocol, and on through the kill and the return of a server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use standin_protocol::map::ServerState::{Offline, Online};

use crate::common::Cluster;
use crate::{address, start};

/// The variable that names a Python that has the library.
const PYTHON: &str = "STANDIN_PYTHON";
/// The variable that, set to 1, makes a test without the library fail instead of being skipped.
const REQUIRE: &str = "STANDIN_REQUIRE_CLIENTS";

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/client.py");

/// The Python with the library. Returns `None`, after a message, if there is none.
pub(crate) fn python(test: &str) -> Option<String> {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import redis"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    standin_testkit::skip(test, REQUIRE, &format!("{python} with redis-py"));
    None
}

/// Starts the script. It ends at the latest when its input does.
fn run(python: &str, cluster: &Cluster, server: &str, arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(address(cluster, server).to_string()).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("python runs")
}

#[track_caller]
pub(crate) fn finish(mut child: std::process::Child) -> String {
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("python ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    said
}

#[test]
fn redis_py_does_what_caches_do() {
    let Some(python) = python("redis_py_does_what_caches_do") else { return };
    let cluster = start("redis_py");
    for version in ["2", "3"] {
        let said = finish(run(&python, &cluster, "a1", &["commands", version]));
        assert!(said.contains("all replies right"), "{said}");
        let said = finish(run(&python, &cluster, "b2", &["passwords", version]));
        assert!(said.contains("only with a password"), "{said}");
    }
}

#[test]
fn redis_py_goes_on_through_the_kill_and_return_of_a_server_without_a_stale_read() {
    let test = "redis_py_goes_on_through_the_kill_and_return_of_a_server";
    let Some(python) = python(test) else { return };
    let mut cluster = start("redis_py_failover");
    let mut child = run(&python, &cluster, "b1", &["failover", "3"]);
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    // The script answers after a number of further reads.
    let mut tell = |what: &str| {
        writeln!(input, "{what}").expect("the script reads");
        let mut line = String::new();
        output.read_line(&mut line).expect("the script goes on");
        assert!(line.contains(what), "{line}");
        print!("{line}");
    };
    tell("begun");
    for killed in ["a1", "a2"] {
        cluster.kill(killed);
        tell(&format!("killed {killed}"));
        cluster.wait_states(&[(killed, Offline)]);
        cluster.start_server(killed);
        tell(&format!("started {killed}"));
        cluster.wait_states(&[(killed, Online)]);
        tell(&format!("online {killed}"));
    }
    drop(input);
    let mut said = String::new();
    output.read_to_string(&mut said).expect("what the script says");
    finish(child);
    assert!(said.contains("stale 0, failed 0"), "{said}");
    println!("{said}");
}
