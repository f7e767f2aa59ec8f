//! Helpers that the tests of the binary share: clusters of real processes, parties that play a role
//! and record what they receive, and load that checks every answer.
//!
//! ```text
//! caller.rs       a connection that speaks a text protocol
//! cluster.rs      a cluster file, its processes, their signals, the database behind them
//! wire.rs         one connection that speaks the protocol frame by frame
//! events.rs       the master's event file
//! fake_server.rs  a server that records every frame, and answers only chosen parties
//! fake_master.rs  a master whose announcements the test makes by hand
//! hostile.rs      callers that every text protocol must survive
//! kernel.rs       TCP connections and the memory of processes as the kernel sees them
//! load.rs         clients in threads, which check every answer
//! memcached.rs    requests of memcached's protocol
//! metrics.rs      a scraper of metrics
//! screen.rs       a terminal without a screen
//! tls.rs          certificates for a cluster
//! scripts.rs      scripts in Python that drive other client libraries; checker.py is their load, and
//!                 redis_checks.py has checks that several of them make
//! ```
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part"
)]

pub mod caller;
pub mod cluster;
pub mod events;
pub mod fake_master;
pub mod fake_server;
pub mod hostile;
pub mod kernel;
pub mod load;
pub mod memcached;
pub mod metrics;
pub mod screen;
pub mod scripts;
pub mod tls;
pub mod wire;

use std::time::Duration;

pub use caller::Caller;
pub use cluster::Cluster;
pub use fake_master::FakeMaster;
pub use fake_server::FakeServer;
pub use load::Load;

/// The longest wait for something that takes milliseconds on an idle machine.
pub const WITHIN: Duration = Duration::from_secs(20);

/// The keyspace of all tests.
pub const KEYSPACE: u8 = 1;

/// The secret of a cluster, if a test gives it one.
pub const SECRET: [u8; 32] = [7; 32];

/// A secret whose place [`SECRET`] takes.
pub const OLD_SECRET: [u8; 32] = [9; 32];

/// The groups of a cluster with one group of two servers.
pub const PAIR: &[(&str, &[&str])] = &[("a", &["a1", "a2"])];

/// The groups of a cluster with two groups of two servers.
pub const TWO_PAIRS: &[(&str, &[&str])] = &[("a", &["a1", "a2"]), ("b", &["b1", "b2"])];

/// Returns io_uring if it is available. If it is not, and need not be, epoll is tested twice.
pub fn ring() -> standin_config::IoKind {
    standin_testkit::uring::or(standin_config::IoKind::Uring, standin_config::IoKind::Epoll)
}
