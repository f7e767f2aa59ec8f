//! Addresses other than IPv4: clusters on IPv6, and files with names of hosts.

use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use standin_protocol::map::ServerState::Offline;
use standin_testkit::languages::names;
use standin_testkit::skip;

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, Load, TWO_PAIRS, WITHIN};

#[test]
fn a_cluster_on_ipv6_fails_over_under_load() {
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        let test = "addresses::a_cluster_on_ipv6_fails_over_under_load";
        return skip(test, "STANDIN_REQUIRE_IPV6", "this machine has no IPv6");
    }
    let mut cluster = Cluster::with("ipv6", TWO_PAIRS, |config| {
        let master = &mut config.master.address;
        for address in config.servers.iter_mut().map(|server| &mut server.address).chain([master]) {
            address.set_ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
    });
    cluster.start();
    let load = Load::start(&cluster, 4);
    load.through_kill_and_return(&mut cluster, "b1", 200);
    load.finish().assert_clean();
    let status = cluster.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("[::1]:"), "{status}");
}

#[test]
fn a_cluster_whose_file_has_names_starts_and_serves() {
    let mut cluster = Cluster::new("names", &[("a", &["a1", "a2"])]);
    let file = std::fs::read_to_string(&cluster.config_path).unwrap();
    let named = file.replace("127.0.0.1:", "localhost:");
    assert_ne!(file, named);
    std::fs::write(&cluster.config_path, named).unwrap();
    cluster.start();
    let key = cluster.key_of("a1");
    cluster.set_row(&key, b"v");
    let key = String::from_utf8(key).unwrap();
    let read = cluster.run(&["get", "items", &key]);
    assert_eq!(read.stdout, b"v\n", "{read:?}");
    // The peer, the master and the clients have found each other.
    cluster.kill("a1");
    cluster.wait_states(&[("a1", Offline)]);
    let read = cluster.run(&["get", "items", &key]);
    assert_eq!(read.stdout, b"v\n", "{read:?}");
    assert!(cluster.terminate("a2", WITHIN).success());
}

#[test]
fn a_name_that_is_not_one_address_stops_the_start_with_its_line() {
    if !names::is_available() {
        let test = "addresses::a_name_that_is_not_one_address_stops_the_start_with_its_line";
        return skip(test, "STANDIN_REQUIRE_CLIENTS", "nss_wrapper is not installed");
    }
    let cluster = Cluster::new("ambiguous", &[("a", &["a1", "a2"])]);
    let file = std::fs::read_to_string(&cluster.config_path).unwrap();
    let first = cluster.config.servers[0].address.to_string();
    let put = |host: &str| {
        let named =
            file.replace(&first, &format!("{host}:{}", cluster.config.servers[0].address.port()));
        std::fs::write(&cluster.config_path, named).unwrap();
    };
    let said = |addresses: &[[u8; 4]]| {
        let addresses = addresses.iter().map(|&address| IpAddr::from(address));
        let mut command = Command::new(PROGRAM);
        command.args(["check-config", "--config"]).arg(&cluster.config_path);
        command.envs(names::resolve(cluster.directory(), addresses).unwrap());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout),
        )
    };
    put(names::HOST);
    let (code, text) = said(&[[127, 0, 0, 2], [127, 0, 0, 3]]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(
            "group.server.address: the name cache.test has several addresses (127.0.0.2, 127.0.0.3)"
        ),
        "{text}"
    );
    // A machine's own name, as an installer writes it.
    let (_, text) = said(&[[127, 0, 1, 1]]);
    assert!(
        text.contains("is 127.0.1.1 on this machine, which no other machine can reach"),
        "{text}"
    );
    put("gone.cache.test");
    let (code, text) = said(&[[127, 0, 0, 2]]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("can't be looked up"), "{text}");
}
