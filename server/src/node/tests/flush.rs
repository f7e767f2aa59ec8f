//! Tests of flushing a keyspace: no server serves a value from before the flush (scenario 24).

use super::net::Net;
use super::*;
use ServerState::{Offline, Online, Returning, Waiting};

fn filled(s: &mut Script, keyspace: u8, key: &[u8], value: &[u8]) {
    let get = CommandHead::new(Action::Get, keyspace);
    assert_eq!(s.send(get, key, &[]), None);
    let call = s.call();
    s.found(&call, value);
    assert_eq!(s.reply().value, value);
}

/// Returns two keys of one partition of which this server is the home, and a third of another
/// partition.
fn keys(s: &Script) -> [Vec<u8>; 3] {
    let first = s.key_of(OWN);
    let partition = s.topology.partition(1, &first);
    let others = || (0..).map(|n| format!("other{n}").into_bytes());
    let is_here = |key: &Vec<u8>| s.topology.partition(1, key) == partition;
    let is_own = |key: &Vec<u8>| s.topology.home(s.topology.partition(1, key)) == OWN;
    let second = others().find(is_here).unwrap();
    let third = others().find(|key| is_own(key) && !is_here(key)).unwrap();
    [first, second, third]
}

#[test]
fn a_flush_drops_its_keyspace_in_its_partition_and_nothing_else() {
    let mut s = Script::new();
    let [first, second, third] = keys(&s);
    for key in [&first, &second, &third] {
        s.fill(key, b"v0");
    }
    // A key of the other keyspace in the same partition.
    let partition = s.topology.partition(1, &first);
    let mut names = (0..).map(|n| format!("two{n}").into_bytes());
    let other = names.find(|key| s.topology.partition(2, key) == partition).unwrap();
    filled(&mut s, 2, &other, b"two");
    assert_eq!(s.op(Action::Flush, &second, &[]).unwrap().status, Status::Ok);
    assert_eq!(s.node.counters.partitions_flushed, 1);
    assert!(s.get(&third).is_some(), "another partition");
    assert!(s.send(CommandHead::new(Action::Get, 2), &other, &[]).is_some());
    for key in [&first, &second] {
        s.fill(key, b"v1");
        assert_eq!(s.get(key).unwrap().value, b"v1", "what was read since is kept");
    }
}

#[test]
fn what_a_flush_has_dropped_leaves_the_memory_without_being_asked_for() {
    let mut s = Script::new();
    let [first, second, third] = keys(&s);
    for key in [&first, &second, &third] {
        s.fill(key, b"v0");
    }
    assert_eq!(s.op(Action::Flush, &second, &[]).unwrap().status, Status::Ok);
    s.node.refresh_counters();
    assert_eq!(s.node.counters.items, 3);
    let mut steps = 0;
    while let Some(at) =
        s.node.next_deadline().filter(|at| *at < s.now.mono + Duration::from_secs(1))
    {
        s.advance(at.since(s.now.mono));
        s.collect();
        steps += 1;
    }
    s.node.refresh_counters();
    assert_eq!(s.node.counters.items, 1, "after {steps} steps");
    assert!(s.get(&third).is_some(), "another partition");
}

#[test]
fn results_of_fetches_and_writes_from_before_a_flush_are_not_kept() {
    let mut s = Script::new();
    let [first, second, _] = keys(&s);
    assert_eq!(s.get(&first), None);
    let fetch = s.call();
    assert_eq!(s.put(&second, b"w"), None);
    let write = s.call();
    assert_eq!(s.op(Action::Flush, &first, &[]).unwrap().status, Status::Ok);
    // A read that arrives after the flush does not get the value that was read before it.
    assert_eq!(s.get(&first), None);
    assert!(s.calls().is_empty(), "it waits for the fetch that runs");
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().value, b"v0", "the read arrived before the flush");
    let again = s.call();
    s.found(&again, b"v1");
    assert_eq!(s.reply().value, b"v1");
    s.written(&write);
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    assert_eq!(s.get(&second), None, "the row may have been changed after the write");
}

#[test]
fn cas_and_touch_do_not_use_flushed_values() {
    let mut s = Script::new();
    let [first, ..] = keys(&s);
    s.fill(&first, b"v0");
    let version = s.get(&first).unwrap().version;
    s.op(Action::Flush, &first, &[]);
    let cas = CommandHead { version, ..CommandHead::new(Action::Cas, 1) };
    assert_eq!(s.send(cas, &first, b"v1"), None);
    let call = s.call();
    s.found(&call, b"v0");
    assert_eq!(s.reply().status, Status::VersionMismatch);
    s.op(Action::Flush, &first, &[]);
    assert_eq!(s.op(Action::Touch, &first, &[]), None, "it is read again");
    assert!(matches!(s.call().operation, Operation::Get));
}

/// Creates three servers. Server 0 is away and has these keys of one partition cached.
fn away() -> (Net, Vec<u8>, Vec<u8>) {
    let mut net = Net::new(3, |_| {});
    let key = net.key(0, 0);
    let partition = net.topology.partition(1, &key);
    let mut names = (0..).map(|n| format!("same{n}").into_bytes());
    let other = names.find(|name| net.topology.partition(1, name) == partition).unwrap();
    for key in [&key, &other] {
        net.origin.insert(key.clone(), b"v0".to_vec());
        net.get(0, key);
        assert!(net.hits(0, key));
    }
    net.lease(0, Micros(0), false);
    net.say(0, Waiting, &[0]);
    net.say(0, Offline, &[0]);
    (net, key, other)
}

fn flush(net: &mut Net, server: u16, key: &[u8]) -> Option<Status> {
    let tag = net.ask(server, CommandHead::new(Action::Flush, 1), key, &[]);
    net.status(tag)
}

fn back(net: &mut Net) {
    net.say(0, Returning, &[]);
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
}

#[test]
fn a_home_that_returns_serves_nothing_of_a_partition_that_was_flushed_meanwhile() {
    let (mut net, key, other) = away();
    let stand_in = net.stand_in(&key);
    net.get(stand_in, &other);
    assert!(net.hits(stand_in, &other));
    assert_eq!(flush(&mut net, stand_in, &key), Some(Status::Ok));
    assert!(!net.hits(stand_in, &other), "the stand-in has dropped it too");
    back(&mut net);
    assert!(net.counters(0).partitions_kept > 0, "other partitions are kept");
    assert!(!net.hits(0, &key) && !net.hits(0, &other), "not the key alone");
}

#[test]
fn a_flush_stays_logged_as_one_when_its_key_is_written_afterwards() {
    let (mut net, key, other) = away();
    let stand_in = net.stand_in(&key);
    assert_eq!(flush(&mut net, stand_in, &key), Some(Status::Ok));
    let write = net.put(stand_in, &key, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    back(&mut net);
    assert!(!net.hits(0, &other));
}

#[test]
fn a_flush_that_reaches_no_owner_is_not_acknowledged() {
    let (mut net, key, other) = away();
    net.say(0, Returning, &[]);
    // The partition has no owner now. The command waits, and the next owner executes it.
    let stand_in = net.stand_in(&key);
    assert_eq!(flush(&mut net, stand_in, &key), None);
    net.advance(Duration::from_millis(1_100));
    net.run();
    let tag = net.ask(stand_in, CommandHead::new(Action::Flush, 1), &key, &[]);
    net.advance(Duration::from_millis(1_100));
    net.run();
    assert_eq!(net.status(tag), Some(Status::Unavailable), "the flush was not executed");
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
    assert!(net.hits(0, &other));
    assert_eq!(flush(&mut net, stand_in, &key), Some(Status::Ok), "forwarded to the owner");
    assert!(!net.hits(0, &other));
}
