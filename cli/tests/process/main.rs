//! The processes themselves: logs that can't be written, threads that die, signals. One fault must
//! not cause others.
//!
//! ```text
//! access.rs       load on targets with TLS and logins
//! agents.rs       load from several machines
//! aside.rs        load on a database, alone and behind a cache that an application fills
//! cuts.rs         scenarios whose processes have namespaces, and are cut off
//! dashboard.rs    the dashboard in a browser, through a kill and a return
//! database.rs     what the log says about the database
//! diagnostics.rs  nobody reads the log, or the disk is full
//! expectations.rs  a scenario whose faults wait for events, and what it expects
//! faults.rs       the processes and faults of a scenario, however its run ends
//! generate.rs     completions and manual pages
//! levels.rs       the levels of log lines
//! metrics.rs      the metrics of all processes, and what Prometheus makes of them
//! mishaps.rs      callers that fail at ports are counted and told, all of a burst
//! output.rs       nobody reads the output of a command, or a file has no room
//! pipes.rs        pipes that nobody reads
//! threads.rs      each thread is killed in turn
//! secrets.rs      no output shows a secret
//! report.rs       the page of a load in a browser, and its logs as another library reads them
//! reload.rs       SIGHUP: what is taken over, what is refused
//! rows.rs         load on rows that somebody else owns
//! service.rs      what a service manager hears, and the units
//! signals.rs      stopping takes a limited time, files are reopened
//! slow_and_hot.rs the log of slow requests, `standin hot`, and totals by keyspace
//! status.rs       the reports of `standin status` about servers in trouble
//! top.rs          `standin top` in a terminal, through a kill and a return
//! ```

#[path = "../common/mod.rs"]
mod common;

mod access;
mod agents;
mod aside;
mod cuts;
mod dashboard;
mod database;
mod diagnostics;
mod expectations;
mod faults;
mod generate;
mod levels;
mod metrics;
mod mishaps;
mod output;
mod pipes;
mod reload;
mod report;
mod rows;
mod secrets;
mod service;
mod signals;
mod slow_and_hot;
mod status;
mod threads;
mod top;

use standin_protocol::frame::{Opcode, Status};
use standin_testkit::wait_until;

use common::{Cluster, WITHIN};

/// Waits until a server commits a write of a key of its own.
#[track_caller]
fn wait_written(cluster: &Cluster, server: &str, value: &[u8]) {
    wait_put(cluster, server, value);
    assert_eq!(cluster.row(&cluster.key_of(server)).as_deref(), Some(value));
}

/// Waits until a server commits such a write, with any database.
#[track_caller]
fn wait_put(cluster: &Cluster, server: &str, value: &[u8]) {
    let key = cluster.key_of(server);
    wait_until(WITHIN, "a write to be committed", || {
        let reply = cluster.connect(server).try_ask(Opcode::Put, &key, value);
        reply.is_ok_and(|reply| reply.status == Status::Ok)
    });
}
