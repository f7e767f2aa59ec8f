//! Tests of the time in which the last owner's lease runs out: what the next owner keeps, and for
//! how long.

use ServerState::{Offline, Online, Returning, Waiting};

use super::*;

/// The lifetime of such values, as in [`node_config`].
const BRIEF: Duration = Duration::from_millis(1_800);
const MS: Duration = Duration::from_millis(1);

/// Returns a server that owns a partition next while its owner is silent, and a key of that
/// partition.
fn waiting() -> (Script, Vec<u8>) {
    let mut s = Script::new();
    s.announce([Online, Waiting]);
    let key = s.key_of(PEER);
    (s, key)
}

#[test]
fn values_that_are_read_are_kept_for_a_lease_at_most() {
    let (mut s, key) = waiting();
    assert_eq!(s.get(&key), None);
    let call = s.call();
    s.advance(MS * 800);
    s.found(&call, b"v0");
    let got = s.reply();
    assert_eq!(got.flags & flags::CACHED, flags::CACHED);
    s.advance(MS * 999);
    let got = s.get(&key).expect("a hit");
    assert_eq!((got.value, got.flags & flags::HIT), (b"v0".to_vec(), flags::HIT));
    s.advance(MS);
    assert_eq!(s.get(&key), None, "the time counts from the call to the database");
    assert_eq!(s.node.counters.kept_briefly, 1);
}

#[test]
fn a_value_that_took_a_lease_to_read_is_not_kept() {
    let (mut s, key) = waiting();
    s.get(&key);
    let call = s.call();
    s.advance(BRIEF);
    s.found(&call, b"v0");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    assert_eq!(s.get(&key), None);
}

#[test]
fn a_write_of_this_server_drops_the_kept_value() {
    let (mut s, key) = waiting();
    s.fill(&key, b"v0");
    s.put(&key, b"v1");
    let write = s.call();
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(
        s.get(&key),
        None,
        "the write caches nothing, because the last owner may write as well"
    );
}

#[test]
fn after_the_takeover_a_kept_value_serves_reads_only() {
    let (mut s, key) = waiting();
    s.fill(&key, b"v0");
    s.announce([Online, Offline]);
    assert_eq!(s.get(&key).expect("still a hit").value, b"v0");
    assert_eq!(s.op(Action::Touch, &key, &[]), None, "its lifetime is not prolonged");
    let call = s.call();
    s.found(&call, b"v1");
    assert_ne!(s.reply().version, 0);
    s.advance(BRIEF);
    assert_eq!(s.get(&key).expect("kept as its owner").value, b"v1");
}

#[test]
fn a_cas_can_not_be_decided() {
    let (mut s, key) = waiting();
    assert_eq!(s.get(&key), None);
    let call = s.call();
    s.found(&call, b"v0");
    assert_eq!(s.reply().version, 0, "there is no version for a CAS");
    assert_eq!(s.get(&key).expect("a hit").version, 0);
    let cas = CommandHead::new(Action::Cas, 1);
    assert_eq!(s.send(cas, &key, b"v2"), None);
    let read = s.call();
    assert!(matches!(read.operation, Operation::Get));
    s.found(&read, b"v1");
    let got = s.reply();
    assert_eq!((got.status, got.version), (Status::VersionMismatch, 0), "try again later");
    s.announce([Online, Offline]);
    assert_eq!(s.get(&key).expect("a hit").version, 0);
    assert_eq!(s.send(cas, &key, b"v2"), None);
    let read = s.call();
    assert!(matches!(read.operation, Operation::Get), "the owner learns the version");
    s.found(&read, b"v1");
    let mut cas = cas;
    cas.version = s.reply().version;
    assert_ne!(cas.version, 0);
    assert_eq!(s.send(cas, &key, b"v2"), None);
    let write = s.call();
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
}

#[test]
fn a_fetch_that_ends_after_the_takeover_is_repeated() {
    let (mut s, key) = waiting();
    s.get(&key);
    let call = s.call();
    s.announce([Online, Offline]);
    s.found(&call, b"v0");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    s.fill(&key, b"v1");
    assert_eq!(s.get(&key).expect("kept as its owner").value, b"v1");
}

#[test]
fn a_kept_value_is_dropped_with_the_lease() {
    let (mut s, key) = waiting();
    s.fill(&key, b"v0");
    s.lease(s.now.mono, false);
    s.lease(Micros::NEVER, false);
    s.fill(&key, b"v1");
    s.lease(s.now.mono, false);
    s.announce([Online, Offline]);
    s.lease(Micros::NEVER, false);
    s.fill(&key, b"v2");
}

#[test]
fn a_kept_value_is_dropped_when_the_last_owner_is_back() {
    for states in [[Online, Returning], [Online, Online]] {
        let (mut s, key) = waiting();
        s.fill(&key, b"v0");
        s.announce(states);
        s.announce([Online, Waiting]);
        s.fill(&key, b"v1");
        s.announce(states);
        s.announce([Online, Offline]);
        s.fill(&key, b"v2");
        assert_eq!(s.get(&key).expect("kept as its owner").value, b"v2");
    }
}

#[test]
fn nothing_is_kept_in_strict_nor_without_a_lease() {
    let strict = || Script::with(|config| config.mode = Mode::Strict);
    for (mut s, has_lease) in [(strict(), true), (Script::new(), false)] {
        s.announce([Online, Waiting]);
        if !has_lease {
            s.lease(s.now.mono, false);
        }
        let key = s.key_of(PEER);
        s.fill(&key, b"v0");
        assert_eq!(s.get(&key), None);
    }
}
