//! How a server's memory is divided.

use standin_config::ClusterConfig;

/// The least that a server keeps of replies, in bytes, for one whose cache is small.
const OUTPUT_BYTES_LEAST: u64 = 64 << 20;

/// Returns the bytes of replies that a shard keeps for callers that have not taken them: its part
/// of the server's bound, and room for a few of the largest replies.
pub(crate) fn output_bytes(cluster: &ClusterConfig, server: u16) -> usize {
    let own = &cluster.servers[usize::from(server)];
    let whole = cluster.limits.output_bytes.unwrap_or(OUTPUT_BYTES_LEAST.max(own.memory_bytes / 4));
    let part = usize::try_from(whole / u64::from(own.shards)).unwrap_or(usize::MAX);
    part.max(4 * cluster.limits.value_bytes as usize)
}
