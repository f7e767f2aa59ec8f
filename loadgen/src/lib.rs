//! The load generator: drives a cluster with the real client, hurts it, and says what came
//! of it. `standin demo` and `standin load` are this library.
//!
//! ```text
//! demo/                a whole cluster, a kill, a return          load/   a running cluster
//!   └──────────────────────────┬────────────────────────────────────┘
//! drive/     worker threads, the client, sending on time
//! schedule   when   ─┐
//! workload   what    ├ pure, seeded: the same seed gives the same requests
//! zipf, trace        │
//! checker    stale?  │
//! recorder/  how long, how many ─► report/  figures, table, plots, page
//!   └ outage   what a fault was to those who asked
//! faults     processes to kill      proxy/   a database that is slow, or gone
//!                                   observer/  the master's events, the servers' counters
//! ```
//! Not here: servers and master. The demo starts them as processes of the `standin` program.

pub mod checker;
pub mod console;
pub mod demo;
pub mod drive;
pub mod faults;
pub mod interrupt;
pub mod live;
pub mod load;
pub mod observer;
pub mod origin;
pub mod outage;
pub mod ports;
pub mod proxy;
pub mod recorder;
pub mod report;
pub mod rng;
pub mod schedule;
mod threads;
pub mod trace;
pub mod value;
pub mod workload;
pub mod zipf;
