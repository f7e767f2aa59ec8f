//! The load generator: drives a cluster with the real client, or other caches, injects faults, and reports
//! the results. `standin demo` and `standin load` are this library.
//!
//! ```text
//! agents/  load from several machines
//! demo/                a whole cluster, a kill, a return          load/   a running target
//!   └──────────────────────────┬────────────────────────────────────┘
//! watch      a run while it lasts: its table or progress, its faults, Ctrl-C
//! drive/     worker threads, sockets, sending on time
//! targets/   to whom: Standin, memcached, Redis; one workload, recorder and checker for all
//! database/  the database itself, alone or behind a cache that an application fills
//! schedule   when   ─┐
//! workload   what    ├ pure, seeded: the same seed gives the same requests
//! request, popularity, key_list, key_names, value_form, value_sizes, zipf, trace
//! checker    stale?  │
//! recorder/  how long, how many ─► report/  figures, table, plots, page ─► compare/  runs with each other
//! faults/    processes, and what breaks them    net/       namespaces, cuts and losses
//!                                               observer/  the master's events, the servers' counters
//! ```
//! Not here: servers and master. The demo starts them as processes of the `standin` program.

pub mod agents;
pub mod checker;
pub mod compare;
pub mod console;
pub mod database;
pub mod demo;
pub mod drive;
pub mod faults;
mod folder;
pub mod interrupt;
pub mod key_list;
pub mod key_names;
pub mod live;
pub mod load;
pub mod net;
pub mod observer;
pub mod origin;
mod placeholder;
pub mod popularity;
mod ports;
mod postgres;
pub mod recorder;
pub mod report;
pub mod request;
pub mod rng;
pub mod schedule;
pub mod targets;
pub mod threads;
pub mod trace;
pub mod value;
pub mod value_form;
pub mod value_sizes;
pub mod value_template;
mod watch;
pub mod workload;
pub mod zipf;
