//! `standin doctor`: what it says of a host, with which exit code, and what it changes and puts back.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use standin_testkit::Scratch;

use crate::common::cluster::PROGRAM;

const CLUSTER: &str = "[cluster]\nname = \"c\"\n\
    [master]\naddress = \"127.0.0.1:7100\"\n\
    [[group]]\nname = \"g\"\n\
    [[group.server]]\nname = \"a1\"\naddress = \"127.0.0.1:7101\"\nmemory = \"64MiB\"\n\
    [[group.server]]\nname = \"a2\"\naddress = \"192.0.2.1:7101\"\n\
    [origin]\nkind = \"sqlite\"\npath = \"origin.sqlite\"\n\
    [security]\nsecret_file = \"cluster.secret\"\n\
    [[keyspace]]\nid = 1\nname = \"items\"\nget = \"SELECT v FROM t WHERE k = :key\"\n";

/// A cluster file, and a host of a few files beside it.
struct Host {
    scratch: Scratch,
}

impl Host {
    fn new() -> Self {
        let host = Self { scratch: Scratch::new("doctor-command") };
        host.put("cluster.toml", CLUSTER);
        host.put("cluster.secret", &"5e".repeat(32));
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(host.path("cluster.secret"), private).expect("its mode");
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.12.1\n"),
            ("proc/meminfo", "MemTotal: 8388608 kB\nHugePages_Total: 0\n"),
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/self/limits", "Max open files 1024 1048576 files\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
        ] {
            host.put(&format!("host/{path}"), text);
        }
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.scratch.file(path)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("not the root")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn somaxconn(&self) -> String {
        let path = self.path("host/proc/sys/net/core/somaxconn");
        std::fs::read_to_string(path).expect("a file").trim().to_owned()
    }

    fn doctor(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.scratch.path()).arg("doctor").args(arguments);
        command.output().expect("the program starts")
    }

    /// Looks at the files.
    fn at_files(&self, arguments: &[&str]) -> Output {
        let files = ["--root", "host", "--name", "a1", "--state", "state/doctor.json"];
        self.doctor(&[&files, arguments].concat())
    }
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, parts: &[&str]) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    text
}

#[test]
fn problems_come_first_with_reason_and_remedy_and_the_rest_is_counted() {
    let host = Host::new();
    let parts =
        ["for  a1 of cluster \"c\"", "WARNING  net.core.somaxconn: 128", "sysctl -w", "--apply"];
    let text = assert_ends(&host.at_files(&[]), 1, &parts);
    assert!(text.find("WARNING") < text.find("not asked"), "{text}");
    assert!(!text.contains("\ngood"), "{text}");
    assert_ends(&host.at_files(&["--all"]), 1, &["\ngood     kernel version"]);
    host.put("host/proc/meminfo", "MemTotal: 1024 kB\n");
    assert_ends(&host.at_files(&[]), 3, &["SERIOUS  memory: 1 MiB"]);
}

#[test]
fn json_has_every_finding() {
    let host = Host::new();
    let output = host.at_files(&["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["schema"], &json["exit_code"]), (&1.into(), &1.into()));
    let findings = json["findings"].as_array().expect("a list");
    let total: u64 =
        json["counts"].as_object().expect("an object").values().flat_map(Value::as_u64).sum();
    assert_eq!(total, findings.len() as u64);
    let of_it =
        findings.iter().find(|f| f["setting"] == "net.core.somaxconn").expect("it is there");
    assert_eq!(of_it["verdict"], "warning");
    assert_eq!((&of_it["found"], &of_it["area"]), (&"128".into(), &"network".into()));
    assert_eq!(of_it["changes"][0]["path"], "/proc/sys/net/core/somaxconn");
    for field in ["about", "wanted", "why", "how", "risk"] {
        assert!(of_it[field].is_string(), "{field}: {of_it}");
    }
}

#[test]
fn settings_are_changed_only_when_asked_and_put_back() {
    let host = Host::new();
    host.at_files(&[]);
    assert_eq!(host.somaxconn(), "128");
    assert_ends(&host.at_files(&["--revert"]), 2, &["no record state/doctor.json"]);
    assert_ends(&host.at_files(&["--apply"]), 0, &["128 → 4096", "--revert"]);
    assert_eq!(host.somaxconn(), "4096");
    assert_ends(&host.at_files(&["--apply"]), 0, &["nothing to change"]);
    host.put("host/proc/sys/net/core/somaxconn", "9999\n");
    assert_ends(&host.at_files(&["--revert"]), 1, &["LEFT ALONE", "9999", "128"]);
    host.put("host/proc/sys/net/core/somaxconn", "4096\n");
    assert_ends(&host.at_files(&["--revert"]), 0, &["4096 → 128", "as it was before"]);
    assert_eq!(host.somaxconn(), "128");
}

#[test]
fn a_wrong_call_is_told_from_a_host_with_problems() {
    let host = Host::new();
    host.put("wrong.toml", "[cluster]\nname = 7\n");
    host.put("proxy.toml", "[proxy]\n");
    for (arguments, message) in [
        (&["--config", "none.toml"][..], "none.toml"),
        (&["--config", "wrong.toml"], "wrong.toml:2"),
        (&["--config", "proxy.toml"], "the file of a proxy"),
        (&["--name", "b1"], "no server \"b1\""),
        (&["--name", "a1", "--nic", "no/card"], "no network card"),
        (&["--pid", "4194305"], "no process"),
        (&["--root", "host"], "--name"),
        (&["--root", "none"], "no folder proc"),
        (&["--apply", "--revert"], "cannot be used with"),
        (&["--aply"], "unexpected argument"),
    ] {
        assert_ends(&host.doctor(arguments), 2, &[message]);
    }
}

/// This host: the server with an address of it is found, and so is its way to the database.
#[test]
fn this_host_is_looked_at_for_the_servers_that_it_has() {
    let host = Host::new();
    let output = host.doctor(&["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["judged_for"], "a1 of cluster \"c\" (cluster.toml)");
    let findings = json["findings"].as_array().expect("a list");
    let way = findings.iter().find(|f| f["area"] == "database").expect("a way to the database");
    assert_eq!(way["verdict"], "good", "{way}");
    std::fs::remove_file(host.path("cluster.toml")).unwrap();
    let output = host.doctor(&["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(json["judged_for"].as_str().unwrap().contains("default settings"), "{json}");
}
