//! The servers that may serve a partition, in order: weighted rendezvous hashing.
//!
//! Only integers, so that every machine and language computes the same. A server of weight `w`
//! draws `w` hashes; its score is the highest. The server with the highest score of *all* servers
//! is the partition's home. The other members of the home's group follow by score. They stand in,
//! in that order, so that the survivors share a dead server's load.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The largest weight of a server, which is also the number of draws reserved per partition.
pub const WEIGHT_MAX: u16 = 64;

/// Returns the score of a server for a partition: the highest of `XXH3_64bits_withSeed(name, seed =
/// partition · 64 + draw)` for `draw` in `0..weight`.
#[must_use]
pub fn score(partition: u32, name: &str, weight: u16) -> u64 {
    let first_seed = u64::from(partition) * u64::from(WEIGHT_MAX);
    (0..u64::from(weight.clamp(1, WEIGHT_MAX)))
        .map(|draw| xxh3_64_with_seed(name.as_bytes(), first_seed + draw))
        .max()
        .unwrap_or(0)
}

/// The properties of a server that placement depends on.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The unique name. Placement depends on names, not on the order in the file.
    pub name: &'a str,
    /// Failover group.
    pub group: u16,
    /// Share of the partitions, 1..=[`WEIGHT_MAX`].
    pub weight: u16,
}

/// Returns the indices of the servers that may serve `partition`: the home, then the other members
/// of its group, by falling score (ties: the lower index first). Empty only if `servers` is empty.
#[must_use]
pub fn rank(partition: u32, servers: &[Candidate<'_>]) -> Vec<u16> {
    let mut scored: Vec<(u64, u16)> = servers
        .iter()
        .enumerate()
        .filter_map(|(index, server)| {
            let index = u16::try_from(index).ok()?;
            Some((score(partition, server.name, server.weight), index))
        })
        .collect();
    scored.sort_unstable_by_key(|&(score, index)| (std::cmp::Reverse(score), index));
    let Some(&(_, home)) = scored.first() else { return Vec::new() };
    let group = servers[usize::from(home)].group;
    scored.retain(|&(_, index)| servers[usize::from(index)].group == group);
    scored.into_iter().map(|(_, index)| index).collect()
}
