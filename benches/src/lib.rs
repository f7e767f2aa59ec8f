//! Benchmarks: the cost of a shard compared with its limit and its peers, and the cost of the store.
//! All are commands with a bounded run time; none is a timed test.
//!
//! ```text
//! bin/side_by_side   one core serving, one driving: echo, Standin, memcached, Redis, Valkey
//! bin/redis_benchmark, bin/memcaslap   the load generators of Redis and libmemcached, as they are
//! bin/peers          a server dies, pauses and returns: Standin, Redis Cluster, twemproxy
//! bin/languages      client libraries of other languages through a server's death: Standin, Redis Cluster, memcached
//! bin/clients        the shells of the Rust client: monoio, tokio
//! bin/proxy          a proxy before one server: twemproxy, Standin's
//! bin/generator      the load generator on one core, beside redis-benchmark
//! bin/stall          whether the load generator's figures of a stall are those that follow from its schedule
//! bin/store          the store alone: lookups, inserts, bytes per item, miss ratio of a trace
//!
//! ring.rs            a small io_uring loop, shared by the driver and the echo
//! driver.rs          the engine that drives all targets
//! exchange.rs        the requests and right replies of each protocol
//! echo.rs            the limit: a ring loop that answers without looking at the request
//! fixture.rs         a Standin server with a minimal master
//! targets.rs         the processes under test
//! serve.rs           those that are this program
//! proxies.rs         the proxies under test, and the servers behind them
//! cpu.rs             CPU time of threads, pinning
//! report.rs          medians, table, JSON
//! tools.rs           runs of other projects' load generators
//! store/             measurements of the store alone
//! peers.rs           the results of scenarios/ on several systems, as a table
//! languages/         a server's death and return, as client libraries of other languages see it
//! ```

pub mod cpu;
pub mod driver;
pub mod echo;
pub mod exchange;
pub mod fixture;
pub mod languages;
pub mod peers;
pub mod proxies;
pub mod report;
pub mod ring;
pub mod serve;
pub mod store;
pub mod targets;
pub mod tools;

/// Any error, reported to the user of a benchmark.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
