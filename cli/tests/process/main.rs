//! The processes themselves: logs that can't be written, threads that die, signals. One fault
//! stays one fault.
//!
//! ```text
//! diagnostics.rs  nobody reads the log, or the disk is full
//! levels.rs       what a line of the log is worth
//! output.rs       nobody reads what a command says, or a file has no room
//! pipes.rs        pipes that nobody reads
//! threads.rs      each thread is killed in turn
//! signals.rs      stopping is bounded, files are opened anew
//! ```

#[path = "../common/mod.rs"]
mod common;

mod diagnostics;
mod levels;
mod output;
mod pipes;
mod signals;
mod threads;

use standin_protocol::frame::{Opcode, Status};
use standin_testkit::wait_until;

use common::{Cluster, WITHIN};

/// Waits until a server commits a write of a key of its own.
#[track_caller]
fn wait_written(cluster: &Cluster, server: &str, value: &[u8]) {
    wait_put(cluster, server, value);
    assert_eq!(cluster.row(&cluster.key_of(server)).as_deref(), Some(value));
}

/// Asserts this for any database.
#[track_caller]
fn wait_put(cluster: &Cluster, server: &str, value: &[u8]) {
    let key = cluster.key_of(server);
    wait_until(WITHIN, "a write to be committed", || {
        let reply = cluster.connect(server).try_ask(Opcode::Put, &key, value);
        reply.is_ok_and(|reply| reply.status == Status::Ok)
    });
}
