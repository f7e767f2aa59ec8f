//! Real processes through their lives: started, stopped, killed, restarted, with and without
//! their master and their database, while clients go on asking.
//!
//! ```text
//! restarts.rs      servers and the master end and start again under load
//! pauses.rs        servers are stopped while they hold writes
//! origins.rs       the database is stopped, locked, and comes back
//! checks.rs        check-config, and what a start refuses
//! cold_starts.rs   all servers start with empty caches at once
//! command_line.rs  what the commands print, and their exit codes
//! drops.rs         invalidate and flush, of processes that come and go
//! bound.rs         two keyspaces over the same rows
//! stored.rs       what is served is what the row holds
//! spelled.rs      keys that the database takes for equal
//! outdated.rs     clients whose cluster file is older than the cluster
//! loops.rs         the same on io_uring and on epoll
//! networks.rs      the same where packets are small and fragments are lost
//! ```

#[path = "../common/mod.rs"]
mod common;

mod bound;
mod checks;
mod cold_starts;
mod command_line;
mod drops;
mod loops;
mod networks;
mod origins;
mod outdated;
mod pauses;
mod restarts;
mod spelled;
mod stored;
