//! A client's file, as `standin client-config` writes it: a program that has nothing else is a full client.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientEvent};
use standin_config::ClusterConfig;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Scratch, wait_until};

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, KEYSPACE, PAIR, SECRET, WITHIN};

/// Runs a command on a host that has no file but this one.
fn run(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg(arguments[0]).arg("--config").arg(file).args(&arguments[1..]);
    command.current_dir(file.parent().expect("a folder")).output().expect("the program runs")
}

#[test]
fn a_program_with_a_clients_file_alone_works_through_a_kill_and_a_return() {
    let mut cluster =
        Cluster::with("client-file", PAIR, |config| config.security.secret = Some(SECRET));
    cluster.start();
    let host = Scratch::new("client-file-host");
    let file = host.file("client.toml");
    let path = file.to_str().expect("text");
    let written = cluster.run(&["client-config", "--output", path]);
    assert!(written.status.success(), "{written:?}");
    let again = cluster.run(&["client-config", "--output", path]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"), "{again:?}");
    assert!(cluster.run(&["client-config", "--output", path, "--force"]).status.success());
    let text = std::fs::read_to_string(&file).expect("the file");
    let secret: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    for hidden in ["origin", "sqlite", "SELECT", &secret] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }

    let config = ClusterConfig::load(&file).expect("a client's file");
    let topology = Arc::new(config.topology().expect("a topology"));
    let bootstrap = Bootstrap::Config(topology);
    let mut client = Client::new(ClientConfig::from(&config), bootstrap).expect("a client");
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(20).collect();
    let round = |client: &mut Client, value: &str| {
        for key in &keys {
            client.put(KEYSPACE, key, value.as_bytes().to_vec(), 0).expect("written");
            let read = client.get(KEYSPACE, key).expect("read").expect("a row");
            assert_eq!(&read.bytes[..], value.as_bytes());
        }
    };
    round(&mut client, "before");
    cluster.kill("a1");
    round(&mut client, "meanwhile");
    // Its report was believed, and the master's answer as well.
    let is_verdict = |(_, event): &(_, ClientEvent)| matches!(event, ClientEvent::Verdict { .. });
    wait_until(WITHIN, "a verdict", || {
        client.get(KEYSPACE, &keys[0]).expect("read");
        client.take_events().iter().any(is_verdict)
    });
    cluster.wait_states(&[("a1", Offline), ("a2", Online)]);
    cluster.start_server("a1");
    cluster.wait_all(Online);
    round(&mut client, "after");

    let key = std::str::from_utf8(&keys[0]).expect("text");
    let get = run(&file, &["get", "items", key]);
    assert_eq!(String::from_utf8_lossy(&get.stdout).trim_end(), "after", "{get:?}");
    for command in [&["check-config"][..], &["status"], &["put", "items", key, "x"]] {
        let output = run(&file, command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    let load = ["load", "--seconds", "1", "--rate", "200", "--keys", "50", "--fill"];
    let load = run(&file, &load);
    assert!(load.status.success(), "{load:?}");
    for role in [&["server", "--name", "a1"][..], &["master"]] {
        let refused = run(&file, role);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("a client's file"), "{said}");
    }
}
