//! A proxy: memcached's and Redis' protocols on the host of the applications, and Standin's client with
//! its failover behind them.
//!
//! ```text
//! applications ── loopback, Unix sockets ──► shard (one per thread): loop, connections, codecs
//!                                               │ commands          ▲ answers
//!                                               ▼                   │
//!                                            upstream.rs: the engine of a client ──► servers
//!                                               └─ notices.rs ──► master (UDP)
//! answers.rs     results of the engine as answers
//! start.rs       from the proxy's file to running threads, and back
//! place.rs       the sockets at which it listens
//! scrape.rs      what its metrics are read from
//! view.rs        what the engines know of the cluster, for the metrics
//! ```
//! The shards, their connections and their codecs are those of a server (`standin-server`). Where a
//! server has a node, a proxy has an engine ([`upstream::Upstream`]): everything that comes in one
//! wake-up is given to it, and each connection to a server gets its requests in one send.

mod answers;
mod notices;
pub mod place;
mod scrape;
mod start;
pub mod upstream;
mod view;

pub use scrape::Scrape;
pub use start::{Proxy, StartError};
