//! A real memcached and a real Redis, each alone on a port of 127.0.0.1.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::{Child, Scratch, skip, wait_until};

/// The variables that, set to 1, make a test without the program fail instead of being skipped.
pub const REQUIRE_MEMCACHED: &str = "STANDIN_REQUIRE_MEMCACHED";
/// See [`REQUIRE_MEMCACHED`].
pub const REQUIRE_REDIS: &str = "STANDIN_REQUIRE_REDIS";

const UP_WITHIN: Duration = Duration::from_secs(30);

/// Starts a memcached at this port, with `more` arguments. Returns `None`, after a message, if there is none.
///
/// # Panics
/// If it accepts no connections in time.
#[must_use]
pub fn memcached_or_skip(
    test: &str,
    scratch: &Scratch,
    port: u16,
    more: &[&str],
) -> Option<(Child, SocketAddr)> {
    if is_missing(test, "memcached", "-V", REQUIRE_MEMCACHED) {
        return None;
    }
    let mut command = Command::new("memcached");
    // Another user would take back that it dies with the test.
    command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-t", "1", "-u", "root"]);
    command.args(more);
    Some(started("memcached", command, scratch, port))
}

/// Starts a redis-server that accepts connections at this port, with `more` arguments, which override others. Returns `None`,
/// after a message, if there is none.
///
/// # Panics
/// If it accepts no connections in time.
#[must_use]
pub fn redis_or_skip(
    test: &str,
    scratch: &Scratch,
    port: u16,
    more: &[&str],
) -> Option<(Child, SocketAddr)> {
    if is_missing(test, "redis-server", "--version", REQUIRE_REDIS) {
        return None;
    }
    // Several may be nodes of a cluster, each with a file of its own.
    let folder = scratch.file(&format!("redis-{port}"));
    std::fs::create_dir_all(&folder).expect("a folder of the test");
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "no"]).arg("--dir").arg(&folder).args(more);
    Some(started("redis-server", command, scratch, port))
}

fn is_missing(test: &str, program: &str, version: &str, require: &str) -> bool {
    let Err(error) = Command::new(program).arg(version).output() else { return false };
    skip(test, require, &format!("{program}: {error}"));
    true
}

fn started(name: &str, command: Command, scratch: &Scratch, port: u16) -> (Child, SocketAddr) {
    let child = Child::spawn(name, command, scratch.path());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until(UP_WITHIN, &format!("{name} to accept connections"), || {
        TcpStream::connect(address).is_ok()
    });
    (child, address)
}
