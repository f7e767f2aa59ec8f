//! Rendezvous placement: shares follow the weights, and a server that leaves moves
//! nothing but its own.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use proptest::prelude::*;
use standin_protocol::map::ServerInfo;
use standin_protocol::placement::{Candidate, WEIGHT_MAX, rank, score};
use support::five_servers;

fn candidates(servers: &[ServerInfo]) -> Vec<Candidate<'_>> {
    servers.iter().map(|s| Candidate { name: &s.name, group: s.group, weight: s.weight }).collect()
}

/// Returns the number of partitions of which each server is the home.
fn homes(servers: &[Candidate<'_>], partitions: u32) -> Vec<u32> {
    let mut homes = vec![0; servers.len()];
    for partition in 0..partitions {
        homes[usize::from(rank(partition, servers)[0])] += 1;
    }
    homes
}

/// Largest over smallest share per weight, in percent.
fn spread_percent(servers: &[Candidate<'_>], partitions: u32) -> u32 {
    let shares: Vec<u32> = homes(servers, partitions)
        .iter()
        .zip(servers)
        .map(|(homes, server)| homes * 1_000 / u32::from(server.weight))
        .collect();
    let min = shares.iter().min().expect("there are servers");
    let max = shares.iter().max().expect("there are servers");
    max * 100 / min
}

#[test]
fn equal_weights_get_equal_shares() {
    let names: Vec<String> = (0..8).map(|i| format!("server-{i}")).collect();
    let servers: Vec<Candidate<'_>> =
        names.iter().map(|name| Candidate { name, group: 0, weight: 1 }).collect();
    // 65,536 partitions over 8 servers: 8,192 each, with a standard deviation of 85.
    let spread = spread_percent(&servers, 65_536);
    assert!(spread <= 106, "max/min is {spread} %");
    // With the default of 1,024 partitions the deviation is larger: 128 each, plus or minus 11.
    let spread = spread_percent(&servers, 1_024);
    assert!(spread <= 160, "max/min is {spread} %");
}

#[test]
fn mixed_weights_get_proportional_shares() {
    let weights = [1, 2, 3, 4, 8, 16, WEIGHT_MAX];
    let names: Vec<String> = weights.iter().map(|weight| format!("w{weight}")).collect();
    let servers: Vec<Candidate<'_>> = names
        .iter()
        .zip(weights)
        .map(|(name, weight)| Candidate { name, group: 0, weight })
        .collect();
    let spread = spread_percent(&servers, 65_536);
    assert!(spread <= 125, "max/min share per weight is {spread} %");
}

#[test]
fn stand_ins_share_the_load_of_a_lost_server() {
    let names: Vec<String> = (0..5).map(|i| format!("server-{i}")).collect();
    let servers: Vec<Candidate<'_>> =
        names.iter().map(|name| Candidate { name, group: 0, weight: 1 }).collect();
    let mut seconds = [0u32; 5];
    for partition in 0..16_384 {
        let rank = rank(partition, &servers);
        if rank[0] == 2 {
            seconds[usize::from(rank[1])] += 1;
        }
    }
    assert_eq!(seconds[2], 0);
    let (min, max) = [0, 1, 3, 4]
        .map(|i| seconds[i])
        .iter()
        .fold((u32::MAX, 0), |(min, max), s| (min.min(*s), max.max(*s)));
    assert!(max * 100 <= min * 120, "stand-ins get {seconds:?} of server 2's partitions");
}

#[test]
fn a_rank_is_the_home_and_its_group_by_falling_score() {
    let servers = five_servers();
    let candidates = candidates(&servers);
    for partition in 0..4_096 {
        let rank = rank(partition, &candidates);
        let score = |id: u16| {
            let server = &servers[usize::from(id)];
            score(partition, &server.name, server.weight)
        };
        assert!((0..5).all(|id| score(id) <= score(rank[0])), "the home has the highest score");
        assert!(rank.windows(2).all(|pair| score(pair[0]) > score(pair[1])));
        let group = servers[usize::from(rank[0])].group;
        let mut members = rank.clone();
        members.sort_unstable();
        assert_eq!(members, if group == 0 { vec![0, 1, 2] } else { vec![3, 4] });
    }
}

#[test]
fn no_servers_no_rank_and_weights_are_clamped() {
    assert!(rank(7, &[]).is_empty());
    assert_eq!(score(7, "a", 0), score(7, "a", 1));
    assert_eq!(score(7, "a", WEIGHT_MAX), score(7, "a", u16::MAX));
}

proptest! {
    /// Removing a server leaves every partition whose home it was not where it was, and
    /// gives its own, within a group, to whoever stood second.
    #[test]
    fn removing_a_server_moves_only_its_partitions(
        names in prop::collection::btree_set("[a-z]{1,12}", 2..7),
        weights in prop::collection::vec(1u16..6, 7),
        gone in any::<prop::sample::Index>(),
    ) {
        let before: Vec<Candidate<'_>> = names
            .iter()
            .zip(&weights)
            .map(|(name, weight)| Candidate { name, group: 0, weight: *weight })
            .collect();
        let gone = gone.index(before.len());
        let mut after = before.clone();
        after.remove(gone);
        for partition in 0..256 {
            let old: Vec<&str> =
                rank(partition, &before).iter().map(|id| before[usize::from(*id)].name).collect();
            let new: Vec<&str> =
                rank(partition, &after).iter().map(|id| after[usize::from(*id)].name).collect();
            let expected: Vec<&str> =
                old.into_iter().filter(|name| *name != before[gone].name).collect();
            prop_assert_eq!(new, expected);
        }
    }

    /// Placement depends on names, not on the order in the file.
    #[test]
    fn order_does_not_matter(rotate in 0usize..5, partition in 0u32..65_536) {
        let servers = five_servers();
        let mut rotated = servers.clone();
        rotated.rotate_left(rotate);
        let name = |servers: &[ServerInfo], id: u16| servers[usize::from(id)].name.clone();
        let a: Vec<String> = rank(partition, &candidates(&servers)).iter().map(|id| name(&servers, *id)).collect();
        let b: Vec<String> = rank(partition, &candidates(&rotated)).iter().map(|id| name(&rotated, *id)).collect();
        prop_assert_eq!(a, b);
    }
}
