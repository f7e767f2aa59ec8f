//! Clients whose cluster file is older than the cluster. They use its addresses to find the
//! cluster, and the cluster tells them which servers are in it. They are told once how the two
//! differ.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientEvent};
use standin_config::ClusterConfig;
use standin_testkit::free_ports;

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, KEYSPACE, TWO_PAIRS};

/// Returns addresses at which nobody listens.
fn nowhere(count: usize) -> Vec<SocketAddr> {
    let ports = free_ports(count).into_iter();
    ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
}

/// Returns an old file. The running cluster has four servers. In the file b1 is missing, another
/// server is in its place, the servers are in another order, and all but one have other addresses.
fn old_file(cluster: &Cluster) -> ClusterConfig {
    let mut old = cluster.config.clone();
    for server in old.servers.iter_mut().filter(|server| server.name == "b1") {
        server.name = "b0".to_owned();
    }
    old.servers.swap(0, 1);
    old.servers.swap(2, 3);
    let moved = old.servers.iter_mut().filter(|server| server.name != "a2");
    for (server, address) in moved.zip(nowhere(3)) {
        server.address = address;
    }
    old
}

fn write(cluster: &Cluster, old: &ClusterConfig) -> PathBuf {
    let directory = cluster.directory().join("old");
    std::fs::create_dir_all(&directory).expect("a directory");
    old.write_into(&directory).expect("a valid configuration")
}

fn run(file: &PathBuf, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--config").arg(file);
    command.output().expect("the program can be run")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_warned_once(output: &Output) -> bool {
    let said = stderr(output);
    said.matches("out of date").count() == 1 && said.contains("b1 at 127.0.0.1:")
}

#[test]
fn no_request_fails_and_the_difference_is_reported_once() {
    let mut cluster = Cluster::new("outdated-client", TWO_PAIRS);
    cluster.start();
    let old = old_file(&cluster);
    let topology = Arc::new(old.topology().expect("a valid topology"));
    let mut client =
        Client::new(ClientConfig::from(&old), Bootstrap::Config(topology)).expect("a client");
    for n in 0..200u32 {
        let key = format!("key {n}").into_bytes();
        client.put(KEYSPACE, &key, n.to_le_bytes().to_vec(), 0).expect("written");
        let value = client.get(KEYSPACE, &key).expect("read").expect("a row");
        assert_eq!(value.bytes, n.to_le_bytes());
    }
    let map = client.map_in_force().expect("a map");
    assert_eq!(map.topology.id, cluster.topology.id, "it routes by the cluster's");
    let told = client.take_events().into_iter().filter_map(|(_, event)| match event {
        ClientEvent::TopologyDiffers { how } => Some(how),
        _ => None,
    });
    let told: Vec<String> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["a1 is at ", "b1 at ", "b2 is at "] {
        assert!(told[0].contains(part), "{told:?}");
    }
    assert!(!told[0].contains("a2"), "a2 is where it was: {told:?}");
}

#[test]
fn the_commands_use_the_clusters_topology_and_warn() {
    let mut cluster = Cluster::new("outdated-commands", TWO_PAIRS);
    cluster.start();
    // By this file, one server is somewhere else. Nothing fails, unless that server is asked.
    let mut one_moved = cluster.config.clone();
    one_moved.servers[3].address = nowhere(1)[0];
    for old in [one_moved, old_file(&cluster)] {
        let file = write(&cluster, &old);
        for arguments in [
            &["put", "items", "k", "v"][..],
            &["get", "items", "k"],
            &["invalidate", "items", "k"],
            &["flush", "items"],
            &["delete", "items", "k"],
            &["load", "--seconds", "2", "--rate", "200", "--keys", "100", "--fill", "--check"],
        ] {
            let output = run(&file, arguments);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
            let said = format!("{}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
            assert_eq!(said.matches("out of date").count(), 1, "{arguments:?}: {said}");
        }
    }
    let file = write(&cluster, &old_file(&cluster));
    let status = run(&file, &["status"]);
    assert_eq!(status.status.code(), Some(0), "all is well: {status:?}");
    assert!(is_warned_once(&status), "{status:?}");
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    for server in ["a1", "a2", "b1", "b2"] {
        let line = table.lines().find(|line| line.starts_with(server)).expect("a line each");
        assert!(line.contains("online"), "{line}");
    }
    let current = cluster.run(&["get", "items", "k"]);
    assert!(!stderr(&current).contains("out of date"), "{current:?}");
}

/// All servers have moved, but the master has not.
#[test]
fn the_master_tells_who_is_in_the_cluster_when_no_server_is_where_it_was() {
    let mut cluster = Cluster::new("outdated-all", TWO_PAIRS);
    cluster.start();
    let mut old = cluster.config.clone();
    for (server, address) in old.servers.iter_mut().zip(nowhere(4)) {
        server.address = address;
    }
    let file = write(&cluster, &old);
    let put = run(&file, &["put", "items", "k", "v"]);
    assert_eq!(put.status.code(), Some(0), "{put:?}");
    assert!(stderr(&put).contains("out of date"), "{put:?}");
}

/// The name is the cluster's identity, whatever the addresses say.
#[test]
fn another_cluster_at_the_same_addresses_is_not_mistaken_for_this_one() {
    let mut cluster = Cluster::with("outdated-other", TWO_PAIRS, |config| {
        config.timings.operation_timeout = std::time::Duration::from_millis(1_500);
    });
    cluster.start();
    let mut other = cluster.config.clone();
    other.name = "another".to_owned();
    other.servers.swap(0, 1);
    let file = write(&cluster, &other);
    let get = run(&file, &["get", "items", "k"]);
    assert_eq!(get.status.code(), Some(2), "{get:?}");
    assert!(!stderr(&get).contains("out of date"), "{get:?}");
}
