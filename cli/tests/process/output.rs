//! Commands whose output is not read, or whose files have no room.

use std::io::{Read as _, pipe};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use standin_config::ClusterConfig;
use standin_testkit::Child;

use crate::common::{Cluster, PAIR};
use crate::pipes::{broken, full};

/// The time within which a command ends. A command that stops waiting for its reader takes ten
/// seconds.
const WITHIN: Duration = Duration::from_secs(60);
/// The exit code of a program that SIGPIPE has ended.
const READER_GONE: i32 = 141;

fn cluster(test: &str, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    let mut cluster = Cluster::with(test, PAIR, change);
    cluster.start();
    cluster
}

/// Runs a command with these outputs, and returns its exit status.
fn ended(mut command: Command, stdout: Stdio, stderr: Stdio) -> ExitStatus {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    Child::spawn_as_is("command", command).exit_status(WITHIN)
}

fn load(cluster: &Cluster, more: &[&str]) -> Command {
    let mut command = cluster.role("load");
    command.args(["--seconds", "1", "--rate", "200", "--keys", "100", "--fill"]).args(more);
    command
}

#[test]
fn a_command_whose_reader_is_gone_ends_silently() {
    let cluster = cluster("output-gone", |_| {});
    cluster.set_row(b"k", &vec![b'v'; 1 << 20]);
    for arguments in [&["status"][..], &["status", "--json"], &["get", "items", "k"]] {
        let mut command = cluster.role(arguments[0]);
        command.args(&arguments[1..]).stdout(broken());
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(READER_GONE), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    // A command that writes to standard error does not panic either.
    let mut command = cluster.role("get");
    command.args(["items", "nobody"]);
    assert_eq!(ended(command, Stdio::null(), broken()).code(), Some(1));
}

#[test]
fn status_does_not_wait_for_ever_for_its_reader_and_a_value_does() {
    let cluster = cluster("output-full", |_| {});
    let (stdout, _reader) = full();
    let mut command = cluster.role("status");
    command.stdout(stdout);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("standard output was not read"), "{said}");

    let value = vec![b'v'; 900_000];
    cluster.set_row(b"k", &value);
    let (mut reader, writer) = pipe().expect("a pipe");
    let mut command = cluster.role("get");
    command.args(["items", "k"]).stdout(writer);
    let mut child = command.spawn().expect("it runs");
    drop(command);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).expect("it is read");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(read.strip_suffix(b"\n"), Some(&value[..]));
}

#[test]
fn a_load_goes_on_whether_its_output_is_read_or_not() {
    let cluster = cluster("output-load", |_| {});
    let (nobody_reads, _reader) = full();
    let (nobody_reads_that, _other_reader) = full();
    for (stdout, stderr) in [(broken(), broken()), (nobody_reads, nobody_reads_that)] {
        let json = cluster.directory().join("load.json");
        let command = load(&cluster, &["--json", json.to_str().expect("UTF-8")]);
        assert_eq!(ended(command, stdout, stderr).code(), Some(0));
        let report = std::fs::read_to_string(&json).expect("the report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert!(
            report["total"]["requests"].as_u64().is_some_and(|requests| requests > 0),
            "{report}"
        );
        std::fs::remove_file(json).expect("it is there");
    }
}

#[test]
fn a_load_with_a_full_file_loses_only_that_file() {
    let cluster = cluster("output-files", |_| {});
    let log = cluster.directory().join("load.hlog");
    let command = load(&cluster, &["--json", "/dev/full", "--hdr", log.to_str().expect("UTF-8")])
        .output()
        .expect("it runs");
    assert_eq!(command.status.code(), Some(2), "{command:?}");
    let said = String::from_utf8_lossy(&command.stderr).into_owned();
    assert!(said.contains("/dev/full is not written"), "{said}");
    let shown = String::from_utf8_lossy(&command.stdout).into_owned();
    assert!(shown.contains("p99"), "the table is there: {shown}");
    assert!(std::fs::read_to_string(log).expect("the log").contains("Tag=read"));

    let command = load(&cluster, &["--hdr", "/dev/full"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&command.stderr).into_owned();
    assert!(said.contains("/dev/full lacks"), "the lines are counted: {said}");
}
