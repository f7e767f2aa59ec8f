//! The contents of a valid `cluster.toml`, as plain values. Every default is already
//! filled in and every rule of `validate` already holds; the roles only read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use standin_protocol::key::{KeyForm, KeyForms};
use standin_protocol::slots::KeyHash;

use crate::database::OriginConfig;
use crate::http::HttpConfig;
use crate::security::Security;
use crate::services::{Naming, ServiceConfig};
use crate::tls::{TlsCalls, TlsConfig};

/// A whole cluster: one file describes every role, so that all parties agree.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// Name of the cluster; parties with different names refuse each other.
    pub name: String,
    /// Number of partitions, 1..=65_536, with [`KeyHash::Crc16`] 1..=16_384. Fixed for the life of a
    /// cluster.
    pub partitions: u32,
    /// The function that maps keys to partitions. Fixed for the life of a cluster.
    pub hash: KeyHash,
    /// The choice between answering and freshness when servers or the master can't be reached.
    pub mode: Mode,
    /// The master's UDP and TCP address.
    pub master: MasterConfig,
    /// All servers in file order; a server's index here is its id on the wire.
    pub servers: Vec<ServerConfig>,
    /// Names of the failover groups in file order; [`ServerConfig::group`] indexes it.
    pub groups: Vec<String>,
    /// The database; `None` if no keyspace has one.
    pub origin: Option<OriginConfig>,
    /// Keyspaces, sorted by id.
    pub keyspaces: Vec<KeyspaceConfig>,
    /// The way in which a key names its keyspace, in protocols that have no keyspaces.
    pub naming: Naming,
    /// Timings of every role.
    pub timings: Timings,
    /// Bounds on what a peer may ask of a server.
    pub limits: Limits,
    /// The secret with which members and clients authenticate themselves.
    pub security: Security,
    /// The ports with TLS; `None`: there are none.
    pub tls: Option<TlsConfig>,
    /// The TLS of whoever calls servers and the master by Standin's own protocol; `None`: there is none.
    /// In the file of members it follows from `tls`.
    pub tls_calls: Option<TlsCalls>,
    /// The lines that the log has, unless the environment variable RUST_LOG says which.
    pub log_level: LogLevel,
    /// Whether this is a client's file: it has no more than clients need, and neither a server nor the
    /// master starts with it. There is no database, and in keyspaces the statements are empty.
    pub for_clients: bool,
}

/// The mode of a cluster: what takes precedence when servers or the master can't be reached.
/// docs/FAILOVER.md states what each guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Requests are answered; what is read may have been overwritten within about a lease.
    #[default]
    Available,
    /// Reads are never older than the last acknowledged write; writes wait for an owner with
    /// a lease.
    Strict,
}

impl Mode {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 2] =
        [("available", Self::Available), ("strict", Self::Strict)];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Strict => "strict",
        }
    }
}

/// `[master]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterConfig {
    /// UDP (notices, announcements) and TCP (map) address.
    pub address: SocketAddr,
    /// The file in which the master keeps its term and its last announcement.
    pub state_file: PathBuf,
    /// The largest number of servers that may be marked offline at once; beyond it the master
    /// suspects itself and marks no other server offline. `None` means half of all, rounded up.
    pub offline_servers_max: Option<u32>,
    /// The port on which the master publishes its metrics; `None` if it does not.
    pub metrics: Option<HttpConfig>,
    /// The port on which the master serves the dashboard; `None` if it does not.
    pub dashboard: Option<HttpConfig>,
}

/// `[[group.server]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Unique name, as given to `standin server --name`.
    pub name: String,
    /// Index into [`ClusterConfig::groups`].
    pub group: u16,
    /// TCP (data) and UDP (control) address.
    pub address: SocketAddr,
    /// Number of shards: threads, rings and arenas.
    pub shards: u16,
    /// The cores to pin the shards to, one per shard; if empty, they are not pinned.
    pub cores: Vec<usize>,
    /// Share of the partitions relative to the other servers, 1..=64.
    pub weight: u16,
    /// Cache memory over all shards, in bytes.
    pub memory_bytes: u64,
    /// Ask for huge pages for the arena.
    pub huge_pages: bool,
    /// Which event loop a shard runs on.
    pub io: IoKind,
    /// Further ports, on which the server speaks other protocols than its own.
    pub services: Vec<ServiceConfig>,
    /// With [`KeyHash::Crc16`], the port of the node of Redis Cluster that is shard 0; the other shards
    /// have the ports behind it. `None`: the port behind that of Redis' protocol.
    pub redis_node_port: Option<u16>,
    /// The port on which the server publishes its metrics; `None` if it does not.
    pub metrics: Option<HttpConfig>,
}

/// Which event loop a shard runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoKind {
    /// io_uring if the kernel allows it, epoll otherwise.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// The portable loop.
    Epoll,
}

/// The source of a keyspace's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyspaceKind {
    /// Rows of the database: reads fetch them, and writes change them.
    #[default]
    Database,
    /// None: the values exist only in the memory of the servers that own them.
    Cache,
}

impl KeyspaceKind {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 2] =
        [("database", Self::Database), ("cache", Self::Cache)];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
        }
    }
}

/// `[[keyspace]]`: one table (or view, or function) of the user's database, or values that are in no
/// database.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyspaceConfig {
    /// Id on the wire.
    pub id: u8,
    /// Name, as the command line takes it.
    pub name: String,
    /// The source of its values. With [`KeyspaceKind::Cache`] there are no statements.
    pub kind: KeyspaceKind,
    /// `SELECT` with `:key`; the first column of the first row is the value, and the second one its
    /// flags, if `put` has `:flags`.
    pub get: String,
    /// Statement with `:key` and `:value`, and possibly `:flags`; without it the keyspace is
    /// read-only.
    pub put: Option<String>,
    /// Statement with `:key`.
    pub delete: Option<String>,
    /// The source of the cached value of a row that `put` has changed.
    pub after_put: AfterPut,
    /// Ids of other keyspaces over the same rows, sorted: a request that writes, deletes, invalidates
    /// or flushes a key of this one also drops the same key of those.
    pub also_invalidates: Vec<u8>,
    /// SQL type of the key.
    pub key_type: ColumnType,
    /// Which keys the database considers equal although their letters differ in case; only for text
    /// keys.
    pub key_case: KeyCase,
    /// SQL type of the value (`Integer` and `Uuid` are not allowed).
    pub value_type: ColumnType,
    /// The time for which a value may be cached; `None`: until it is evicted, which only
    /// [`KeyspaceKind::Cache`] allows.
    pub ttl: Option<Duration>,
    /// The time for which "no such row" may be cached; zero means not at all.
    pub negative_ttl: Duration,
    /// Each lifetime is shortened by a random part of up to this many percent.
    pub ttl_jitter_percent: u8,
    /// The time from which a request has a line in the log of its server; `None`: none has one.
    pub log_slower_than: Option<Duration>,
}

/// The source of the cached value after a `put`. The database may store a different value from the
/// one sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterPut {
    /// The result of the keyspace's `get` in the same transaction.
    #[default]
    Reread,
    /// The first column that `put` returns.
    Returning,
    /// Nothing: the next read asks the database.
    Drop,
    /// The value that was sent: for columns that store what is written to them, byte for byte.
    Keep,
}

impl AfterPut {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 4] = [
        ("reread", Self::Reread),
        ("returning", Self::Returning),
        ("drop", Self::Drop),
        ("keep", Self::Keep),
    ];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reread => "reread",
            Self::Returning => "returning",
            Self::Drop => "drop",
            Self::Keep => "keep",
        }
    }
}

/// The type of a column, which determines the conversion of bytes from and to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// BLOB or BYTEA.
    Bytes,
    /// 64-bit integer, written in decimal on the wire.
    Integer,
    /// UUID, written as text on the wire. SQLite has no type for it: text there.
    Uuid,
}

/// Which keys that differ in the case of letters are one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyCase {
    /// None: different keys are different rows.
    #[default]
    Exact,
    /// Those that differ in the letters A to Z: SQLite's NOCASE.
    Ascii,
    /// Those that differ in the case of any letter: PostgreSQL's citext.
    Unicode,
}

impl KeyCase {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 3] =
        [("exact", Self::Exact), ("ascii", Self::Ascii), ("unicode", Self::Unicode)];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ascii => "ascii",
            Self::Unicode => "unicode",
        }
    }
}

/// `[timings]`. See docs/ARCHITECTURE.md for who uses which.
#[derive(Debug, Clone, PartialEq)]
pub struct Timings {
    /// Client: how long a connection may be silent while an answer is due, before the send
    /// counts as failed. Half of it silent, the server is pinged: slow is not dead.
    pub attempt_timeout: Duration,
    /// Client: number of failed sends before failover mode (claim 12).
    pub attempts: u32,
    /// Client: time in failover mode before the server is tried again (claim 13).
    pub failover_hold: Duration,
    /// Client: bound on one operation over all its attempts.
    pub operation_timeout: Duration,
    /// All: bound on a TCP connect.
    pub connect_timeout: Duration,
    /// Server: how long a peer may be silent while a forwarded request is due from it,
    /// before it counts as unreachable (claim 15). Pinged at half of it, like a server by a
    /// client.
    pub forward_timeout: Duration,
    /// Server: time between two renewals to the master.
    pub renew_interval: Duration,
    /// Master: bound on one probe of one shard (claim 19).
    pub probe_timeout: Duration,
    /// Master: unsuccessful probes before a server is marked offline.
    pub probe_attempts: u32,
    /// Master: time between two checks of an offline server (claim 20).
    pub recheck_interval: Duration,
    /// Master: silence of a server before the master probes it unasked.
    pub lease: Duration,
    /// Master: time before an unacknowledged announcement is sent again.
    pub announce_resend: Duration,
    /// Server: longest wait for in-flight writes when it gives partitions back,
    /// and for in-flight requests when it shuts down.
    pub drain_timeout: Duration,
}

impl Timings {
    /// The longest time for which a server may have been stopped and still carry out the requests that
    /// it holds. No other server can have written in its place before that: first a client has to give
    /// the server up, and the master has to find it silent.
    #[must_use]
    pub fn pause_max(&self) -> Duration {
        let verdict =
            self.attempt_timeout * self.attempts + self.probe_timeout * self.probe_attempts;
        verdict.min(self.lease / 2).max(Duration::from_millis(100))
    }
}

impl Default for Timings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            attempt_timeout: ms(100),
            attempts: 2,
            failover_hold: ms(2_000),
            operation_timeout: ms(6_000),
            connect_timeout: ms(100),
            forward_timeout: ms(100),
            renew_interval: ms(500),
            probe_timeout: ms(100),
            probe_attempts: 2,
            recheck_interval: ms(250),
            lease: ms(2_000),
            announce_resend: ms(50),
            drain_timeout: ms(1_000),
        }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Client connections of one server.
    pub connections: u32,
    /// Connections of one server that have not said hello yet.
    pub handshakes: u32,
    /// Bytes of a key, at most 65_535.
    pub key_bytes: u16,
    /// Bytes of a value, at most 16 MiB.
    pub value_bytes: u32,
    /// Requests of one connection that wait for the origin or a peer.
    pub in_flight_per_connection: u32,
    /// Requests of one shard that wait for the origin or a peer.
    pub in_flight_per_shard: u32,
    /// Unsent reply bytes of one connection at which the server stops reading from it.
    pub output_bytes_per_connection: u32,
    /// The bound on unsent reply bytes of all connections of one server; `None`: a quarter of its
    /// memory, but at least 64 MiB.
    pub output_bytes: Option<u64>,
    /// Time after which a connection that reads none of its replies is closed.
    pub output_timeout: Duration,
    /// Time within which a connection must send a valid hello, and complete a frame that it began.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshakes: 1_024,
            key_bytes: 1_024,
            value_bytes: 1 << 20,
            in_flight_per_connection: 1_024,
            in_flight_per_shard: 65_536,
            output_bytes_per_connection: 4 << 20,
            output_bytes: None,
            output_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// The least important lines that a log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What somebody should look at.
    Warn,
    /// What changes.
    #[default]
    Info,
    /// Each step of a change.
    Debug,
    /// More than anybody reads.
    Trace,
}

impl LogLevel {
    /// Every level.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl KeyspaceConfig {
    /// Whether its values are in no database.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        self.kind == KeyspaceKind::Cache
    }

    /// Whether values can be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.is_cache() || self.put.is_some()
    }

    /// Whether keys can be deleted, not only dropped from the cache.
    #[must_use]
    pub fn is_deletable(&self) -> bool {
        self.is_cache() || self.delete.is_some()
    }

    /// The form to which keys are converted before they are hashed. An integer has one form, and is
    /// refused in any other.
    #[must_use]
    pub fn key_form(&self) -> KeyForm {
        match (self.key_type, self.key_case) {
            (ColumnType::Uuid, _) => KeyForm::Uuid,
            (ColumnType::Text, KeyCase::Ascii) => KeyForm::Ascii,
            (ColumnType::Text, KeyCase::Unicode) => KeyForm::Unicode,
            _ => KeyForm::Exact,
        }
    }
}

/// The ids of the keyspaces without a database that are bound to no other by `also_invalidates`.
#[must_use]
pub fn lone_caches(keyspaces: &[KeyspaceConfig]) -> Vec<u8> {
    let is_bound = |own: &KeyspaceConfig| {
        !own.also_invalidates.is_empty()
            || keyspaces.iter().any(|other| other.also_invalidates.contains(&own.id))
    };
    let is_lone_cache = |own: &&KeyspaceConfig| own.is_cache() && !is_bound(own);
    keyspaces.iter().filter(is_lone_cache).map(|keyspace| keyspace.id).collect()
}

impl ClusterConfig {
    /// The forms of the keyspaces' keys.
    #[must_use]
    pub fn key_forms(&self) -> KeyForms {
        self.keyspaces.iter().map(|keyspace| (keyspace.id, keyspace.key_form())).collect()
    }

    /// The longest time that a call to the database takes; zero without a database.
    #[must_use]
    pub fn origin_timeout(&self) -> Duration {
        self.origin.as_ref().map_or(Duration::ZERO, |origin| origin.timeout)
    }

    /// The id (index) of the server with that name.
    #[must_use]
    pub fn server_id(&self, name: &str) -> Option<u16> {
        let index = self.servers.iter().position(|server| server.name == name)?;
        u16::try_from(index).ok()
    }

    /// The keyspace with that name, or with that number.
    #[must_use]
    pub fn keyspace(&self, name_or_id: &str) -> Option<&KeyspaceConfig> {
        let id = name_or_id.parse::<u8>().ok();
        self.keyspaces.iter().find(|k| k.name == name_or_id || Some(k.id) == id)
    }
}
