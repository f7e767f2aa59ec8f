//! Tests of the settings that a shard takes from the cluster file.

use standin_config::{ClusterConfig, OriginConfig};

use super::*;

fn cluster(origin: OriginConfig) -> ClusterConfig {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let mut cluster = ClusterConfig::new("t", address(1), origin)
        .with_group("a", [("a1", address(2)), ("a2", address(3))]);
    cluster.origin.as_mut().expect("it has a database").timeout = Duration::from_secs(3);
    cluster.servers[0].shards = 3;
    cluster
}

fn of(cluster: &ClusterConfig, server: u16, shard: u16) -> NodeConfig {
    NodeConfig::new(cluster, server, shard, BOOT, Micros(0))
}

#[test]
fn the_bound_of_a_write_of_unknown_outcome_covers_the_timeouts_of_the_database() {
    let seconds = Duration::from_secs;
    let mut sqlite = cluster(OriginConfig::sqlite("origin.sqlite"));
    let mut postgres = cluster(OriginConfig::postgres("postgres://localhost/t"));
    for cluster in [&sqlite, &postgres] {
        assert_eq!(of(cluster, 0, 0).ambiguity, seconds(6));
    }
    let with = |put: Option<&str>, after_put| KeyspaceConfig {
        put: put.map(str::to_owned),
        after_put,
        ..keyspace(1)
    };
    // A row that is read again before the COMMIT may take another timeout.
    for (put, after_put, expected) in [
        (Some("UPDATE"), AfterPut::Reread, 9),
        (Some("UPDATE"), AfterPut::Keep, 6),
        (None, AfterPut::Reread, 6),
    ] {
        postgres.keyspaces = vec![with(put, after_put)];
        assert_eq!(of(&postgres, 0, 0).ambiguity, seconds(expected));
        sqlite.keyspaces = postgres.keyspaces.clone();
        assert_eq!(of(&sqlite, 0, 0).ambiguity, seconds(6));
    }
}

#[test]
fn the_largest_key_and_value_of_the_cluster_file_fit_into_the_cache() {
    let mut cluster = cluster(OriginConfig::sqlite("origin.sqlite"));
    (cluster.limits.key_bytes, cluster.limits.value_bytes) = (1_000, 8 << 20);
    cluster.servers[0].memory_bytes = 3 << 30;
    let config = of(&cluster, 0, 1);
    assert_eq!(config.store.item_bytes_max, 1_000 + (8 << 20));
    assert_eq!(config.store.arena_bytes, 1 << 30, "each of the three shards has its share");
    // Some of the largest values may wait for the database at once.
    assert_eq!(config.pending_bytes_max(), 16 * (1_000 + (8 << 20)));
    cluster.limits.value_bytes = 1_000;
    assert_eq!(of(&cluster, 0, 1).pending_bytes_max(), 64 << 20);
}

/// Each shard has its own salt, so that versions of two shards are never the same.
#[test]
fn each_shard_of_the_cluster_has_a_salt_of_its_own() {
    let cluster = cluster(OriginConfig::sqlite("origin.sqlite"));
    let shards = [(0, 0), (0, 1), (0, 2), (1, 0)];
    let salts: Vec<u64> =
        shards.iter().map(|(server, shard)| of(&cluster, *server, *shard).version_salt).collect();
    assert_eq!(salts, [0, 1, 2, 3]);
}
