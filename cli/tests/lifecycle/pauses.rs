//! Servers that are stopped (SIGSTOP) while they hold writes, and resume later. Writes that were
//! acknowledged meanwhile stay.

use std::time::Duration;

use standin_config::Mode;
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::time::Micros;
use standin_testkit::wait_until;

use crate::common::{Cluster, PAIR, TWO_PAIRS, WITHIN};

/// The number of keys of each run.
const KEYS: usize = 40;

/// Stops the master and b1, so that the owner of b1's keys is unknown. Writes of these keys reach
/// b2 and wait there. When the two resume, b2 is stopped. b1 then writes newer values, and b2
/// resumes.
fn a_stopped_server_undoes_nothing(mode: Mode, leaves: bool) {
    let mut cluster = Cluster::with("pauses", TWO_PAIRS, |config| {
        config.mode = mode;
        // The timeout is short, because the stopped server must resume before the writes that it
        // holds end by themselves.
        config.timings.attempt_timeout = Duration::from_millis(150);
        config.timings.probe_timeout = Duration::from_millis(150);
        config.timings.drain_timeout = Duration::from_secs(30);
        config.timings.operation_timeout = Duration::from_secs(60);
    });
    cluster.start();
    let keys: Vec<Vec<u8>> = cluster.keys_of("b1").take(KEYS).collect();
    cluster.freeze("master");
    cluster.freeze("b1");
    let mut waiting: Vec<_> = keys.iter().map(|_| cluster.connect("b2")).collect();
    for (wire, key) in waiting.iter_mut().zip(&keys) {
        wire.send(Opcode::Put, key, b"older");
    }
    let are_parked = || cluster.counter("b2", "parked") >= KEYS as u64;
    wait_until(WITHIN, "the writes to wait for an owner", are_parked);
    if leaves {
        waiting.clear();
    }
    cluster.freeze("b2");
    cluster.thaw("master");
    cluster.thaw("b1");
    let begin = Micros::boottime();
    let mut b1 = None;
    for key in &keys {
        // b1 gets a lease when the master has heard it again.
        wait_until(WITHIN, "b1 to write", || {
            let wire = b1.get_or_insert_with(|| cluster.connect("b1"));
            match wire.try_ask(Opcode::Put, key, b"newer") {
                Ok(reply) => reply.status == Status::Ok,
                Err(_) => {
                    b1 = None;
                    false
                }
            }
        });
    }
    // This is longer than any pause that a server ignores.
    let pause_max = cluster.config.timings.pause_max() * 2;
    wait_until(WITHIN, "b2 to have been stopped for long", || {
        Micros::boottime().since(begin) > pause_max
    });
    cluster.thaw("b2");
    cluster.wait_all(Online);
    // The requests that it held have been dropped or executed by now.
    let is_idle = || cluster.counter("b2", "in_flight") == 0;
    wait_until(WITHIN, "b2 to be done with what it held", is_idle);
    let undone: Vec<_> =
        keys.iter().filter(|key| cluster.row(key).as_deref() != Some(&b"newer"[..])).collect();
    assert!(undone.is_empty(), "{} of {KEYS} acknowledged writes are undone", undone.len());
    let dropped = cluster.counter("b2", "writes_dropped");
    assert_eq!(dropped, KEYS as u64, "writes that waited");
    let mut reader = cluster.client();
    for key in &keys {
        let value = reader.get(crate::common::KEYSPACE, key).expect("an answer");
        assert_eq!(value.map(|value| value.bytes).as_deref(), Some(&b"newer"[..]));
    }
}

#[test]
fn a_server_that_was_stopped_undoes_no_acknowledged_write_strict() {
    a_stopped_server_undoes_nothing(Mode::Strict, false);
}

#[test]
fn a_server_that_was_stopped_undoes_no_acknowledged_write_available() {
    a_stopped_server_undoes_nothing(Mode::Available, false);
}

#[test]
fn a_write_whose_client_has_left_undoes_nothing_strict() {
    a_stopped_server_undoes_nothing(Mode::Strict, true);
}

#[test]
fn a_write_whose_client_has_left_undoes_nothing_available() {
    a_stopped_server_undoes_nothing(Mode::Available, true);
}

/// Writes wait in a1 for the database, which is locked, when a1 is stopped. The lock is released,
/// a2 stands in and writes newer values, and a1 resumes.
#[test]
fn a_write_that_waited_for_the_database_in_a_stopped_server_never_begins() {
    let mut cluster = Cluster::with("pauses-origin", PAIR, |config| {
        config.origin.as_mut().expect("it has a database").timeout = Duration::from_secs(60);
    });
    cluster.start();
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(KEYS).collect();
    let lock = cluster.database();
    lock.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut a1 = cluster.connect("a1");
    for key in &keys {
        a1.send(Opcode::Put, key, b"older");
    }
    let are_submitted = || cluster.counter("a1", "origin_writes") >= KEYS as u64;
    wait_until(WITHIN, "the writes to wait for the database", are_submitted);
    cluster.freeze_anywhere("a1");
    lock.execute_batch("ROLLBACK").expect("no lock any more");
    cluster.wait_states(&[("a1", Offline)]);
    let mut a2 = cluster.connect("a2");
    for key in &keys {
        assert_eq!(a2.put(key, b"newer").status, Status::Ok);
    }
    cluster.thaw("a1");
    cluster.wait_all(Online);
    let is_idle = || cluster.counter("a1", "in_flight") == 0;
    wait_until(WITHIN, "a1 to be done with what it held", is_idle);
    let undone: Vec<_> =
        keys.iter().filter(|key| cluster.row(key).as_deref() != Some(&b"newer"[..])).collect();
    assert!(undone.is_empty(), "{} of {KEYS} acknowledged writes are undone", undone.len());
    assert_eq!(cluster.counter("a1", "origin_failures"), KEYS as u64);
}
