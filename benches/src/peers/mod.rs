//! The effect of a node's death on the users of Standin and of its peers, under one workload.
//!
//! ```text
//! bin/peers ─► subject: redis.rs, memcached.rs, standin.rs   processes; a client per thread
//!          ├─► drive.rs    8 threads, a fixed schedule, every request logged and checked
//!          └─► row.rs      one row of the table; pure
//! aside.rs     cache-aside, as the peers are used
//! database.rs  PostgreSQL behind a proxy that counts the reads, the same for all
//! ```
//! A request of a peer fails if its cache fails. It does not go to the database instead, because that would
//! bring down the database instead of the cache.

pub mod aside;
pub mod database;
pub mod drive;
pub mod memcached;
pub mod redis;
pub mod row;
pub mod standin;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use standin_config::Timings;
use standin_loadgen::faults::Process;

/// Any error, reported to the user of the benchmark.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The timeout of all clients.
pub const CLIENT_TIMEOUT: Duration = Duration::from_millis(100);
/// The number of nodes over which the keys are spread.
pub const NODES: usize = 3;

/// Returns the bound on an operation over all its attempts, for clients that make several:
/// Standin's default, for Standin and for its peers.
#[must_use]
pub fn operation_timeout() -> Duration {
    Timings::default().operation_timeout
}

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The value; `None`: no such row.
    pub value: Option<Vec<u8>>,
    /// Whether it came from the cache.
    pub is_hit: bool,
}

/// One thread's access to the measured system.
pub trait Subject: Send {
    /// Reads.
    ///
    /// # Errors
    /// The request has failed.
    fn get(&mut self, key: &[u8]) -> Result<Read, Failure>;

    /// Writes.
    ///
    /// # Errors
    /// The request has failed; the write may have happened or not.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure>;
}

/// A measured system: its processes, and how to reach them.
pub trait Cluster {
    /// A client for one thread.
    ///
    /// # Errors
    /// It can't be reached.
    fn client(&self) -> Result<Box<dyn Subject>, Failure>;

    /// Its servers.
    fn servers(&mut self) -> &mut dyn Servers;
}

/// The servers of a measured system, one of which is the victim.
pub trait Servers {
    /// Returns those of these keys that the victim has.
    ///
    /// # Errors
    /// It can't be asked.
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure>;

    /// Returns the process that the fault will affect.
    fn victim(&mut self) -> &mut Process;
}

/// The kind of a measured system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Three masters with a replica each.
    RedisCluster {
        /// Milliseconds until a node counts as failed.
        node_timeout_ms: u32,
    },
    /// twemproxy in front of three memcached.
    Twemproxy {
        /// Whether a node that fails is ejected.
        ejects: bool,
    },
    /// Three memcached, the keys spread by the client.
    Memcached,
    /// A master and three servers in one group.
    Standin,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RedisCluster { node_timeout_ms: 15_000 } => f.write_str("Redis Cluster, default"),
            Self::RedisCluster { node_timeout_ms } => {
                write!(f, "Redis Cluster, node timeout {node_timeout_ms} ms")
            }
            Self::Twemproxy { ejects: true } => f.write_str("twemproxy, auto-eject on"),
            Self::Twemproxy { ejects: false } => f.write_str("twemproxy, default (no eject)"),
            Self::Memcached => f.write_str("memcached ×3, client-side hashing"),
            Self::Standin => f.write_str("Standin"),
        }
    }
}

/// The fault of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It stays dead.
    Kill,
    /// SIGSTOP, and SIGCONT after some seconds.
    Pause {
        /// Seconds.
        seconds: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill -9"),
            Self::Pause { seconds } => write!(f, "SIGSTOP {seconds} s"),
        }
    }
}

/// The rows of the table.
#[must_use]
pub fn rows() -> Vec<(Peer, Fault)> {
    let pause = |seconds| Fault::Pause { seconds };
    let redis = |node_timeout_ms| Peer::RedisCluster { node_timeout_ms };
    vec![
        (redis(15_000), Fault::Kill),
        (redis(15_000), pause(15)),
        (redis(500), Fault::Kill),
        (redis(500), pause(5)),
        (Peer::Twemproxy { ejects: true }, Fault::Kill),
        (Peer::Twemproxy { ejects: true }, pause(5)),
        (Peer::Twemproxy { ejects: true }, pause(15)),
        (Peer::Twemproxy { ejects: false }, Fault::Kill),
        (Peer::Memcached, Fault::Kill),
        (Peer::Memcached, pause(5)),
        (Peer::Standin, Fault::Kill),
        (Peer::Standin, pause(5)),
        (Peer::Standin, pause(15)),
    ]
}
