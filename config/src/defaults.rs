//! The defaults of the cluster file, and configurations made in code instead of read from a file (by the
//! demo, the tests and the load generator) with the same defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::database::{OriginConfig, OriginKind, PostgresAccess};
use crate::model::{
    AfterPut, ClusterConfig, ColumnType, IoKind, KeyCase, KeyspaceConfig, KeyspaceKind, Limits,
    LogLevel, MasterConfig, Mode, ServerConfig, Timings,
};
use crate::security::Security;
use crate::services::Naming;
use standin_protocol::slots::KeyHash;

pub(crate) const CLUSTER_NAME: &str = "standin";
pub(crate) const PARTITIONS: u32 = 1_024;
pub(crate) const HASH: KeyHash = KeyHash::Xxh3;
pub(crate) const MASTER_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7_100);
pub(crate) const MASTER_STATE_FILE: &str = "master.state";

pub(crate) const SHARDS: u16 = 1;
pub(crate) const WEIGHT: u16 = 1;
pub(crate) const MEMORY_BYTES: u64 = 256 << 20;
pub(crate) const HUGE_PAGES: bool = true;
pub(crate) const IO: IoKind = IoKind::Auto;

pub(crate) const ORIGIN_CONCURRENCY: u32 = 16;
pub(crate) const ORIGIN_QUEUE: u32 = 4_096;
pub(crate) const ORIGIN_QUEUE_BYTES: u64 = 64 << 20;
pub(crate) const ORIGIN_SURGE_READS: u32 = 100;
pub(crate) const ORIGIN_TIMEOUT: Duration = Duration::from_secs(1);
pub(crate) const POSTGRES_CONNECTIONS: u32 = 4;

pub(crate) const KEY_TYPE: ColumnType = ColumnType::Text;
pub(crate) const VALUE_TYPE: ColumnType = ColumnType::Bytes;
pub(crate) const TTL: Duration = Duration::from_secs(3_600);
pub(crate) const NEGATIVE_TTL: Duration = Duration::from_secs(1);
pub(crate) const TTL_JITTER_PERCENT: u8 = 10;
/// Long for any database, and short of `operation_timeout`, at which a client gives up.
pub(crate) const LOG_SLOWER_THAN: Duration = Duration::from_secs(1);

impl ClusterConfig {
    /// A cluster with defaults and without servers or keyspaces: add at least one group
    /// by [`Self::with_group`], and keyspaces sorted by id.
    #[must_use]
    pub fn new(
        name: &str,
        master_address: SocketAddr,
        origin: impl Into<Option<OriginConfig>>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            partitions: PARTITIONS,
            hash: HASH,
            mode: Mode::default(),
            master: MasterConfig {
                address: master_address,
                state_file: PathBuf::from(MASTER_STATE_FILE),
                offline_servers_max: None,
                metrics: None,
                dashboard: None,
            },
            servers: Vec::new(),
            groups: Vec::new(),
            origin: origin.into(),
            keyspaces: Vec::new(),
            naming: Naming::default(),
            timings: Timings::default(),
            limits: Limits::default(),
            security: Security::default(),
            tls: None,
            tls_calls: None,
            log_level: LogLevel::default(),
            for_clients: false,
        }
    }

    /// Adds a group of servers, given as (name, address), with default sizes; at least two, so that they
    /// can stand in for each other.
    ///
    /// # Panics
    /// On more than 65,536 groups.
    #[must_use]
    pub fn with_group<'n>(
        mut self,
        name: &str,
        servers: impl IntoIterator<Item = (&'n str, SocketAddr)>,
    ) -> Self {
        let group = u16::try_from(self.groups.len()).expect("a cluster has at most 65,536 groups");
        self.groups.push(name.to_owned());
        self.servers.extend(
            servers.into_iter().map(|(name, address)| ServerConfig::new(name, group, address)),
        );
        self
    }
}

impl ServerConfig {
    /// A server with one shard and default sizes.
    #[must_use]
    pub fn new(name: &str, group: u16, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            group,
            address,
            shards: SHARDS,
            cores: Vec::new(),
            weight: WEIGHT,
            memory_bytes: MEMORY_BYTES,
            huge_pages: HUGE_PAGES,
            io: IO,
            services: Vec::new(),
            redis_node_port: None,
            metrics: None,
        }
    }
}

impl OriginConfig {
    /// An SQLite file with default bounds.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::of(OriginKind::Sqlite { path: path.into(), init: None })
    }

    /// A PostgreSQL database with default bounds.
    #[must_use]
    pub fn postgres(url: &str) -> Self {
        let connections = POSTGRES_CONNECTIONS;
        let (url, access) = (url.to_owned(), PostgresAccess::default());
        Self::of(OriginKind::Postgres { url, access, connections, init: None })
    }

    fn of(kind: OriginKind) -> Self {
        Self {
            kind,
            concurrency: ORIGIN_CONCURRENCY,
            queue: ORIGIN_QUEUE,
            queue_bytes: ORIGIN_QUEUE_BYTES,
            timeout: ORIGIN_TIMEOUT,
            surge_reads: ORIGIN_SURGE_READS,
            reads_per_second: None,
        }
    }
}

impl KeyspaceConfig {
    /// A read-only keyspace of text keys and byte values, with default lifetimes.
    #[must_use]
    pub fn new(id: u8, name: &str, get: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            kind: KeyspaceKind::Database,
            get: get.to_owned(),
            put: None,
            delete: None,
            after_put: AfterPut::default(),
            also_invalidates: Vec::new(),
            key_type: KEY_TYPE,
            key_case: KeyCase::default(),
            value_type: VALUE_TYPE,
            ttl: Some(TTL),
            negative_ttl: NEGATIVE_TTL,
            ttl_jitter_percent: TTL_JITTER_PERCENT,
            log_slower_than: Some(LOG_SLOWER_THAN),
        }
    }

    /// A keyspace without a database, whose values stay until they are evicted.
    #[must_use]
    pub fn cache(id: u8, name: &str) -> Self {
        Self {
            kind: KeyspaceKind::Cache,
            ttl: None,
            negative_ttl: Duration::ZERO,
            ttl_jitter_percent: 0,
            ..Self::new(id, name, "")
        }
    }
}
