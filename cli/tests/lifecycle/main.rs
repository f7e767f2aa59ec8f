//! Real processes that are started, stopped, killed and restarted, with and without their master
//! and their database, while clients continue to send requests.
//!
//! ```text
//! addresses.rs     IPv6, and names of hosts
//! rotation.rs      the cluster's secret is replaced while everything runs
//! users.rs         what users may do, and what SIGHUP changes for them
//! restarts.rs      servers and the master end and start again under load
//! pauses.rs        servers are stopped while they hold writes
//! origins.rs       the database is stopped, locked, and comes back
//! checks.rs        check-config, and what a start refuses
//! client_file.rs   a client's file is enough for a client
//! cold_starts.rs   all servers start with empty caches at once
//! command_line.rs  what the commands print, and their exit codes
//! doctor.rs        what standin doctor says of hosts, changes and puts back
//! drops.rs         invalidate and flush, while processes come and go
//! bound.rs         two keyspaces over the same rows
//! stored.rs        the cache serves what the row contains
//! spelled.rs       keys that the database considers equal
//! outdated.rs      clients whose cluster file is older than the cluster
//! tls.rs           everything of Standin's own protocol with TLS
//! mutual_tls.rs    ports that ask their callers for certificates
//! loops.rs         a cluster on io_uring and on epoll
//! networks.rs      networks with small packets, where fragments are lost
//! ```

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod bound;
mod checks;
mod client_file;
mod cold_starts;
mod command_line;
mod counters;
mod doctor;
mod drops;
mod loops;
mod mutual_tls;
mod networks;
mod origins;
mod outdated;
mod pauses;
mod restarts;
mod rotation;
mod spelled;
mod stored;
mod tls;
mod users;
mod without_database;
