//! The settings of a shard's logic, from the cluster file.

use std::time::Duration;

use standin_config::{AfterPut, ClusterConfig, KeyspaceConfig, Mode, OriginKind};
use standin_protocol::lease::{held_until, over_at};
use standin_protocol::time::Micros;

use crate::budget::output_bytes;
use crate::store::StoreConfig;

/// The shard's share of the configuration.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// This server's id.
    pub server: u16,
    /// This shard.
    pub shard: u16,
    /// This server's incarnation.
    pub boot_id: u64,
    /// A number that no other shard of the cluster has.
    pub version_salt: u64,
    /// Keyspaces.
    pub keyspaces: Vec<KeyspaceConfig>,
    /// The mode of the cluster, which says what takes precedence when servers or the master can't
    /// be reached.
    pub mode: Mode,
    /// The time for which this server does not try an unreachable peer again unless the master says
    /// that it is online.
    pub unreachable_hold: Duration,
    /// The lifetime of values that a server reads before it is the owner. It is no longer than a
    /// lease.
    pub brief: Duration,
    /// The longest time that writes wait for a partition to get an owner.
    pub park_max: Duration,
    /// The longest time that forwarded writes wait for a partition to get an owner. It is shorter
    /// because the forwarding server must have its answer before it stops waiting.
    pub park_forwarded_max: Duration,
    /// The largest number of keys of one partition that are remembered for one server that has to
    /// be told of them.
    pub log_keys_max: usize,
    /// The largest number of bytes that all such keys of the shard may take.
    pub log_bytes_max: usize,
    /// The time for which the misses of a partition are limited after this server has become its
    /// owner.
    pub warm: Duration,
    /// The longest time that a fetch should wait. It is shorter than half of the operation timeout,
    /// after which clients send a read again.
    pub patience: Duration,
    /// The number of fetches per second that a change of owner may always add.
    pub surge_reads: u64,
    /// The limit on fetches per second of all shards of all servers together; zero for no limit.
    pub reads_per_second: u64,
    /// The largest number of bytes of a key.
    pub key_bytes_max: usize,
    /// The size of the largest value that peers accept, in bytes.
    pub value_bytes_max: usize,
    /// The number of bytes of rows being fetched and of replies not yet taken by callers, beyond
    /// which fetches wait.
    pub fetch_bytes: usize,
    /// The number of fetches of each keyspace that never wait for that.
    pub fetches_always: u32,
    /// The time now.
    pub started: Micros,
    /// The time until which an orphan may rely on the port that was closed before this server was
    /// started.
    pub port_was_closed: Micros,
    /// The time for which a write of unknown outcome may still take effect at the origin.
    pub ambiguity: Duration,
    /// The largest number of requests that may wait for the origin or a peer.
    pub in_flight_max: usize,
    /// A random number of this shard of this process: the seed of the random part of lifetimes, and
    /// of the id under which it sends on writes that have none.
    pub seed: u64,
    /// Fixed seeds of in-process hashing for the simulator; `None` for random ones.
    pub hash_seeds: Option<[u64; 4]>,
    /// The arena.
    pub store: StoreConfig,
}

/// The memory that all waiting requests may take together. It is exceeded only if a few of the
/// largest requests would not fit into it.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// The number of fetches of each keyspace that never wait for room.
const FETCHES_ALWAYS: u32 = 4;
/// The time after which the keys that are read often are expected to be cached.
const WARM: Duration = Duration::from_secs(30);
const LOG_KEYS_MAX: usize = 65_536;
const LOG_BYTES_MAX: usize = 8 << 20;

impl NodeConfig {
    /// Returns the number of bytes that the requests of a shard may take while they wait. Without a
    /// bound, slow writes of large values would take all memory.
    pub(super) fn pending_bytes_max(&self) -> usize {
        PENDING_BYTES_MAX.max(16 * self.store.item_bytes_max)
    }

    /// Returns a shard's share of a cluster file.
    #[must_use]
    pub fn new(
        cluster: &ClusterConfig,
        server: u16,
        shard: u16,
        boot_id: u64,
        started: Micros,
    ) -> Self {
        let salt: u64 =
            cluster.servers[..usize::from(server)].iter().map(|s| u64::from(s.shards)).sum();
        let (limits, origin) = (&cluster.limits, cluster.origin.as_ref());
        Self {
            server,
            shard,
            boot_id,
            version_salt: salt + u64::from(shard),
            keyspaces: cluster.keyspaces.clone(),
            unreachable_hold: cluster.timings.failover_hold,
            mode: cluster.mode,
            brief: held_until(Micros(0), cluster.timings.lease).since(Micros(0)),
            park_max: cluster.timings.drain_timeout,
            park_forwarded_max: cluster.timings.forward_timeout / 2,
            warm: WARM,
            patience: cluster.timings.operation_timeout * 9 / 20,
            surge_reads: origin.map_or(1, |origin| u64::from(origin.surge_reads)),
            reads_per_second: origin.and_then(|o| o.reads_per_second).map_or(0, u64::from),
            log_keys_max: LOG_KEYS_MAX,
            log_bytes_max: LOG_BYTES_MAX,
            key_bytes_max: usize::from(limits.key_bytes),
            value_bytes_max: limits.value_bytes as usize,
            fetch_bytes: output_bytes(cluster, server) / 2,
            fetches_always: FETCHES_ALWAYS,
            started,
            port_was_closed: over_at(started, cluster.timings.lease),
            ambiguity: ambiguity(cluster),
            in_flight_max: limits.in_flight_per_shard as usize,
            seed: boot_id ^ u64::from(shard),
            hash_seeds: None,
            store: Self::store(cluster, server),
        }
    }

    /// Returns the configuration of the cache of each shard of a server.
    pub(crate) fn store(cluster: &ClusterConfig, server: u16) -> StoreConfig {
        let (own, limits) = (&cluster.servers[usize::from(server)], &cluster.limits);
        let arena = own.memory_bytes / u64::from(own.shards);
        StoreConfig {
            arena_bytes: usize::try_from(arena).unwrap_or(usize::MAX),
            huge_pages: own.huge_pages,
            item_bytes_max: usize::from(limits.key_bytes) + limits.value_bytes as usize,
            hash_seeds: None,
        }
    }
}

/// Returns the time for which a write of unknown outcome may still take effect. The network may
/// delay the write for one timeout, and its execution may then take another. If PostgreSQL reads
/// the row again before the COMMIT, that may take a third.
fn ambiguity(cluster: &ClusterConfig) -> Duration {
    let rereads = |keyspace: &KeyspaceConfig| {
        keyspace.put.is_some() && keyspace.after_put == AfterPut::Reread
    };
    let kind = cluster.origin.as_ref().map(|origin| &origin.kind);
    let is_longer =
        matches!(kind, Some(OriginKind::Postgres { .. })) && cluster.keyspaces.iter().any(rereads);
    cluster.origin_timeout() * if is_longer { 3 } else { 2 }
}
