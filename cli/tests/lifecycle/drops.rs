//! `standin invalidate` and `standin flush`: rows that were changed without Standin's knowledge are
//! read again.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use standin_protocol::map::ServerState::{Offline, Online};

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, PAIR, TWO_PAIRS, WITHIN};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns keys of all servers that were read, so that their homes have cached them.
fn cached(cluster: &Cluster, each: usize) -> Vec<Vec<u8>> {
    let servers = cluster.config.servers.iter();
    let keys = servers.flat_map(|server| cluster.keys_of(&server.name).take(each));
    let keys: Vec<Vec<u8>> = keys.collect();
    let mut client = cluster.client();
    for key in &keys {
        cluster.set_row(key, b"old");
        assert_eq!(client.get(1, key).expect("read").expect("a row").bytes, b"old");
    }
    keys
}

fn read(cluster: &Cluster, key: &[u8]) -> Vec<u8> {
    cluster.client().get(1, key).expect("read").expect("a row").bytes
}

#[test]
fn invalidate_drops_the_keys_that_it_is_given_and_no_others() {
    let mut cluster = Cluster::new("invalidate", TWO_PAIRS);
    cluster.start();
    let keys = cached(&cluster, 3);
    for key in &keys {
        cluster.set_row(key, b"new");
    }
    let texts: Vec<&str> = keys.iter().map(|key| std::str::from_utf8(key).expect("text")).collect();
    let (given, piped, left) = (&texts[..4], &texts[4..8], &texts[8..]);
    let output = cluster.run(&[&["invalidate", "items"], given].concat());
    assert_eq!((code(&output), stderr(&output)), (Some(0), String::new()));

    let mut command = Command::new(PROGRAM);
    command.args(["invalidate", "items", "--config"]).arg(&cluster.config_path);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(piped.join("\n").as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((code(&output), stderr(&output)), (Some(0), String::new()));

    for key in given.iter().chain(piped) {
        assert_eq!(read(&cluster, key.as_bytes()), b"new", "{key}");
    }
    for key in left {
        assert_eq!(read(&cluster, key.as_bytes()), b"old", "{key} was not named");
    }
}

#[test]
fn flush_drops_a_keyspace_in_the_whole_cluster() {
    let mut cluster = Cluster::new("flush", TWO_PAIRS);
    cluster.start();
    let keys = cached(&cluster, 5);
    for key in &keys {
        cluster.set_row(key, b"new");
        assert_eq!(read(&cluster, key), b"old", "not yet");
    }
    let output = cluster.run(&["flush", "items"]);
    assert_eq!((code(&output), stderr(&output)), (Some(0), String::new()));
    for key in &keys {
        assert_eq!(read(&cluster, key), b"new");
    }
    let unknown = cluster.run(&["flush", "things"]);
    assert_eq!(code(&unknown), Some(2), "{unknown:?}");
    assert!(stderr(&unknown).contains("its keyspaces are: items"), "{unknown:?}");
}

/// A stopped server has values from before the flush in its memory. Its stand-in flushes its
/// partitions, and hands the flush over when it returns.
#[test]
fn a_server_that_was_away_during_a_flush_serves_no_old_value() {
    let mut cluster = Cluster::new("flush-away", PAIR);
    cluster.start();
    let keys = cached(&cluster, 8);
    cluster.wait_counter("a1", "items", 8);
    cluster.freeze("a1");
    // A client has to notice that the server is gone. Its request fails over.
    let mut client = cluster.client();
    client.get(1, &cluster.key_of("a1")).expect("answered by a2");
    cluster.wait_states(&[("a1", Offline)]);
    for key in &keys {
        cluster.set_row(key, b"new");
    }
    let output = cluster.run(&["flush", "items"]);
    assert_eq!((code(&output), stderr(&output)), (Some(0), String::new()));
    cluster.thaw("a1");
    cluster.wait_all(Online);
    for key in &keys {
        assert_eq!(read(&cluster, key), b"new", "also from a1");
    }
    standin_testkit::wait_until(WITHIN, "the count of what it was told", || {
        cluster.counter("a1", "partitions_flushed") > 0
    });
}

/// The partitions of a group that is gone are not flushed. The command reports their number and
/// their homes.
#[test]
fn partitions_that_a_flush_could_not_reach_are_named() {
    let mut cluster = Cluster::with("flush-fails", TWO_PAIRS, |config| {
        config.timings.operation_timeout = std::time::Duration::from_millis(1_500);
    });
    cluster.start();
    let keys = cached(&cluster, 2);
    cluster.kill("b1");
    cluster.kill("b2");
    for key in &keys {
        cluster.set_row(key, b"new");
    }
    let output = cluster.run(&["flush", "items"]);
    assert_eq!(code(&output), Some(2), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("of 64 partitions of items were not flushed"), "{said}");
    assert!(said.contains("home is b1") && said.contains("home is b2"), "{said}");
    assert!(!said.contains("home is a"), "{said}");
    for key in keys.iter().filter(|key| cluster.home(key).starts_with('a')) {
        assert_eq!(read(&cluster, key), b"new", "the others were flushed");
    }
}
