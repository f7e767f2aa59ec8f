//! The comparison of the cluster with the client's cluster file. A client uses the file's addresses
//! only to find the cluster. The cluster's own map says which servers are in it.

use std::collections::BTreeMap;

use standin_protocol::map::{ServerInfo, Topology};

/// The number of differences that are described. Further ones are only counted.
const SHOWN: usize = 8;

/// Describes how the cluster differs from the file.
#[must_use]
pub fn differences(file: &Topology, cluster: &Topology) -> String {
    let mut found = Vec::new();
    if file.master != cluster.master {
        found.push(format!("the master is at {}, not at {}", cluster.master, file.master));
    }
    if file.partitions != cluster.partitions {
        let (now, then) = (cluster.partitions, file.partitions);
        found.push(format!("there are {now} partitions, not {then}"));
    }
    if file.key_hash() != cluster.key_hash() {
        let (now, then) = (cluster.key_hash(), file.key_hash());
        found.push(format!("keys are hashed by {now}, not by {then}"));
    } else if file.slot_prefixes != cluster.slot_prefixes {
        found.push(
            "keyspaces differ in `name`, or `default_keyspace` or `key_separator` does".to_owned(),
        );
    }
    if file.key_forms != cluster.key_forms {
        found.push("keyspaces differ in `key` or `key_case`".to_owned());
    }
    let by_name = |topology: &Topology| -> BTreeMap<String, ServerInfo> {
        topology.servers.iter().map(|info| (info.name.clone(), info.clone())).collect()
    };
    let (then, now) = (by_name(file), by_name(cluster));
    for (name, info) in &now {
        match then.get(name) {
            None => found.push(format!("{name} at {} is new", info.address)),
            Some(old) if old.address != info.address => {
                found.push(format!("{name} is at {}, not at {}", info.address, old.address));
            }
            Some(old) if old.shards != info.shards => {
                found.push(format!("{name} has {} shards, not {}", info.shards, old.shards));
            }
            Some(old) if old.weight != info.weight => {
                found.push(format!("{name} has weight {}, not {}", info.weight, old.weight));
            }
            Some(_) => {}
        }
    }
    let gone = then.keys().filter(|name| !now.contains_key(*name));
    found.extend(gone.map(|name| format!("{name} was removed")));
    if found.is_empty() {
        found.push("the servers are in a different order, or in different groups".to_owned());
    }
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(master: u16, partitions: u32, servers: &[(&str, u16, u16)]) -> Topology {
        let info = |(name, port, shards): &(&str, u16, u16)| ServerInfo {
            name: (*name).to_owned(),
            group: 0,
            weight: 1,
            shards: *shards,
            address: ([127, 0, 0, 1], *port).into(),
        };
        let servers = servers.iter().map(info).collect();
        Topology::new("t".to_owned(), ([127, 0, 0, 1], master).into(), servers, partitions).unwrap()
    }

    #[test]
    fn each_difference_is_named() {
        let file = topology(9, 64, &[("a1", 1, 1), ("a2", 2, 1), ("a3", 3, 1)]);
        let cluster = topology(8, 128, &[("a2", 5, 1), ("a3", 3, 2), ("a4", 6, 1)]);
        assert_eq!(
            differences(&file, &cluster),
            "the master is at 127.0.0.1:8, not at 127.0.0.1:9; there are 128 partitions, not 64; \
             a2 is at 127.0.0.1:5, not at 127.0.0.1:2; a3 has 2 shards, not 1; \
             a4 at 127.0.0.1:6 is new; a1 was removed"
        );
    }

    #[test]
    fn another_weight_is_named() {
        let file = topology(9, 64, &[("a1", 1, 1), ("a2", 2, 1)]);
        let mut servers = file.servers.clone();
        servers[1].weight = 3;
        let cluster = Topology::new("t".to_owned(), file.master, servers, 64).unwrap();
        assert_eq!(differences(&file, &cluster), "a2 has weight 3, not 1");
    }

    #[test]
    fn unnamed_differences_are_described_and_long_lists_are_shortened() {
        let file = topology(9, 64, &[("a1", 1, 1), ("a2", 2, 1)]);
        let forms = [(1, standin_protocol::key::KeyForm::Uuid)].into_iter().collect();
        let formed = file.clone().with_key_forms(forms);
        assert_eq!(differences(&file, &formed), "keyspaces differ in `key` or `key_case`");
        let slots = |prefix: &[u8]| {
            let prefixes = standin_protocol::slots::Prefixes::of_list(&[(1, prefix)]).unwrap();
            file.clone().with_slots(prefixes).unwrap()
        };
        assert_eq!(differences(&file, &slots(b"a:")), "keys are hashed by crc16, not by xxh3");
        let other = differences(&slots(b"b:"), &slots(b"a:"));
        assert!(other.starts_with("keyspaces differ in `name`"), "{other}");
        let turned = topology(9, 64, &[("a2", 2, 1), ("a1", 1, 1)]);
        assert!(differences(&file, &turned).contains("a different order"));
        let names: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
        let many: Vec<(&str, u16, u16)> = names.iter().map(|name| (&**name, 7, 1)).collect();
        let text = differences(&file, &topology(9, 64, &many));
        assert!(text.ends_with("; and 14 more"), "{text}");
    }
}
