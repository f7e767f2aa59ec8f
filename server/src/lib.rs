//! A Standin server: shards, one per core, that serve requests from their cache or the origin,
//! forward those for partitions of another server, and stand in for it when it is offline.
//!
//! ```text
//!            TCP                                UDP
//!  clients, peers, master                     master
//!        │                                       │
//!   shard/ (one thread each) ◄── mailboxes ──► control/ (one thread)
//!     ring or epoll loop                       leases, reports, maps
//!     connections, links to peers
//!     node/   what a request gets (pure)
//!     store/  arena, index, eviction
//!        │ calls, answers
//!   origin/ (driver threads) ── database
//! ```

mod budget;
mod callers;
pub mod check;
pub mod control;
pub mod counted;
mod descriptors;
mod error;
pub mod histogram;
mod hot;
mod inbox;
pub mod node;
pub mod origin;
mod server;
pub mod shard;
pub mod slow_log;
pub mod stats;
pub mod store;
mod timers;

pub use descriptors::TooFewDescriptors;
pub use error::ServerError;
pub use server::Server;
