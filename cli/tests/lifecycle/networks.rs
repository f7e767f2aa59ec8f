//! Networks that transmit only small packets, and lose fragments.

use std::time::Duration;

use standin_protocol::map::ServerState::Offline;
use standin_testkit::network::without_fragments;
use standin_testkit::wait_until;

use crate::common::{Cluster, WITHIN};

/// Returns the names of `count` servers in groups of four.
fn groups(count: usize) -> Vec<(String, Vec<String>)> {
    let name = |group: usize, member: usize| format!("s{group}-{member}");
    let of_four = |group| (0..4).map(|member| name(group, member)).collect();
    (0..count / 4).map(|group| (format!("g{group}"), of_four(group))).collect()
}

fn cluster(test: &str, count: usize) -> Cluster {
    let groups = groups(count);
    let names: Vec<Vec<&str>> =
        groups.iter().map(|(_, names)| names.iter().map(String::as_str).collect()).collect();
    let groups: Vec<(&str, &[&str])> =
        groups.iter().zip(&names).map(|((group, _), names)| (group.as_str(), &names[..])).collect();
    Cluster::with(test, &groups, |config| {
        config.partitions = 32;
        for server in &mut config.servers {
            server.memory_bytes = 4 << 20;
        }
        let timings = &mut config.timings;
        // There are many processes on few cores.
        timings.renew_interval = Duration::from_millis(500);
        timings.lease = Duration::from_secs(6);
        timings.probe_timeout = Duration::from_secs(2);
        timings.drain_timeout = Duration::from_millis(500);
    })
}

#[test]
fn thirty_two_servers_learn_every_map_where_fragments_are_lost() {
    let test = "networks::thirty_two_servers_learn_every_map_where_fragments_are_lost";
    if !without_fragments(test, 600) {
        return;
    }
    let mut cluster = cluster("fragments", 32);
    // Every server has the map in which all are online.
    cluster.start();
    cluster.kill("s3-1");
    cluster.wait_states(&[("s3-1", Offline)]);
    let key = cluster.key_of("s3-1");
    cluster.set_row(&key, b"v");
    assert_eq!(cluster.connect("s3-2").get(&key).value(), b"v");
}

#[test]
fn announcements_that_reach_nobody_are_warned_of_and_status_shows_who_has_no_map() {
    let test =
        "networks::announcements_that_reach_nobody_are_warned_of_and_status_shows_who_has_no_map";
    // Renewals and their answers pass, but the states of 28 servers do not.
    if !without_fragments(test, 400) {
        return;
    }
    let mut cluster = cluster("unreached", 28);
    cluster.start_master();
    cluster.start_server("s0-0");
    let master = cluster.process("master");
    let warning = |line: &String| line.contains("WARN") && line.contains("did not acknowledge");
    wait_until(WITHIN, "a warning", || master.lines().iter().any(warning));
    let lines = master.lines();
    let line = lines.iter().find(|line| warning(line)).expect("it is there");
    assert!(line.contains("other servers") && line.contains("UDP datagrams"), "{line}");
    let output = cluster.run(&["status"]);
    let table = String::from_utf8_lossy(&output.stdout);
    let row = table.lines().find(|line| line.starts_with("s0-0 ")).expect("a line for it");
    assert!(row.contains("no map"), "{table}");
    assert_ne!(output.status.code(), Some(0), "{table}");
}
