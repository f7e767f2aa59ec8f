//! Helpers that the tests of several crates need: a scratch directory, ports that are
//! free, processes that die with the test, a real PostgreSQL, and waiting for a
//! condition with a deadline (never a fixed sleep).
//!
//! ```text
//! browser.rs    a real browser without a screen
//! caches.rs     a real memcached, and a real Redis
//! prometheus.rs a real Prometheus, and promtool
//! fake_cache.rs a cache that makes one mistake; fake_server.rs: behind a socket
//! wait.rs       wait_until: poll a condition, panic with a useful message
//! skip.rs       tests that need what is missing
//! scratch.rs    a directory of its own for each test, gone afterwards
//! ports.rs      ports free for TCP and UDP, not handed out twice in parallel
//! child.rs      a process, its output, its signals, its end
//! certificates.rs an authority and the certificates that it issues
//! network.rs    a network of its own, which loses fragments
//! patient.rs    reads that an interruption does not end
//! postgres/     a PostgreSQL server of its own
//! uring.rs      whether io_uring is available
//! languages/    client libraries of other languages, driven by scripts, and a judge of what they read
//! ```
//!
//! Nearly everything here panics rather than returning errors, because its callers are tests.

pub mod browser;
pub mod caches;
pub mod certificates;
pub mod child;
pub mod fake_cache;
pub mod fake_server;
pub mod languages;
pub mod network;
pub mod patient;
pub mod ports;
pub mod postgres;
pub mod prometheus;
pub mod scratch;
pub mod skip;
pub mod uring;
pub mod wait;

pub use browser::Browser;
pub use caches::{memcached_or_skip, redis_or_skip};
pub use certificates::{Authority, Issued, expire};
pub use child::{Child, is_running};
pub use patient::read_some;
pub use ports::{free_ports, free_ports_in_a_row};
pub use postgres::Postgres;
pub use prometheus::Prometheus;
pub use scratch::Scratch;
pub use skip::skip;
pub use wait::wait_until;
