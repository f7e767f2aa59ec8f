//! Tests of how a server handles messages from others (SETTLE, HANDBACK).

use standin_protocol::handback::{Handback, KEYS_MAX, Keys, WrittenKey, marks};

use super::*;

fn tell(s: &mut Script, keys: Vec<WrittenKey>) -> Status {
    let head = CommandHead { is_peer: true, ..CommandHead::new(Action::Settle, 0) };
    let value = Keys { keys, handover: 0 }.to_bytes();
    s.send(head, &[], &value).unwrap().status
}

fn written(key: &[u8], marks: u8) -> WrittenKey {
    WrittenKey { keyspace: 1, marks, key: key.to_vec() }
}

/// Whether a value that is read now stays in the cache.
fn stays(s: &mut Script, key: &[u8]) -> bool {
    assert_eq!(s.get(key), None);
    let call = s.call();
    s.found(&call, b"v");
    s.reply().flags & flags::CACHED != 0
}

/// Returns two keys of one partition of which this server is the home.
fn neighbours(s: &Script) -> (Vec<u8>, Vec<u8>) {
    let first = s.key_of(OWN);
    let partition = |key: &[u8]| s.topology.partition(1, key);
    let keys = (0..).map(|i| format!("near{i}").into_bytes());
    let other = { keys }.find(|key| partition(key) == partition(&first)).unwrap();
    (first, other)
}

#[test]
fn the_keys_of_a_message_are_bounded_in_number() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    assert_eq!(tell(&mut s, vec![written(&key, 0); KEYS_MAX]), Status::Ok);
    assert_eq!(tell(&mut s, vec![written(&key, 0); KEYS_MAX + 1]), Status::Malformed);
}

#[test]
fn only_the_owner_of_all_keys_can_say_that_they_are_settled() {
    let mut s = Script::new();
    let (own, other) = (s.key_of(OWN), s.key_of(PEER));
    assert_eq!(tell(&mut s, vec![written(&own, 0)]), Status::Ok);
    for keys in [[&own, &other], [&other, &own]] {
        let keys = keys.map(|key| written(key, 0)).to_vec();
        assert_eq!(tell(&mut s, keys), Status::NotOwner);
    }
    s.lease(Micros(0), false);
    assert_eq!(tell(&mut s, vec![written(&own, 0)]), Status::NotOwner, "without a lease");
}

#[test]
fn a_key_is_dropped_alone_unless_its_keyspace_was_flushed() {
    for (marks, is_kept) in [(0, true), (marks::OPEN, true), (marks::FLUSH, false)] {
        let mut s = Script::new();
        let (key, other) = neighbours(&s);
        s.fill(&key, b"v");
        s.fill(&other, b"w");
        assert_eq!(tell(&mut s, vec![written(&key, marks)]), Status::Ok);
        assert_eq!(s.get(&other).is_some(), is_kept, "{marks}");
    }
}

#[test]
fn a_value_read_after_a_settle_stays_unless_the_write_may_still_take_effect() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    tell(&mut s, vec![written(&key, 0)]);
    assert!(stays(&mut s, &key));
    tell(&mut s, vec![written(&key, marks::OPEN)]);
    assert!(!stays(&mut s, &key));
    s.advance(Duration::from_millis(2_999));
    assert!(!stays(&mut s, &key));
    s.advance(Duration::from_millis(1));
    assert!(stays(&mut s, &key));
}

#[test]
fn nothing_stays_in_a_partition_with_forgotten_writes_that_may_still_take_effect() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    let overflowed = vec![s.topology.partition(1, &key)];
    let mut hear = |server: u16, shard: u16| {
        let overflowed = overflowed.clone();
        let value = Handback { epoch: 0, complete_since: 0, boot_id: 1, server, shard, overflowed };
        let head = CommandHead { is_peer: true, ..CommandHead::new(Action::Handback, 0) };
        s.send(head, &[], &value.to_bytes()).unwrap().status
    };
    for (server, shard) in [(PEER, 1), (2, 0), (u16::MAX, 0)] {
        assert_eq!(hear(server, shard), Status::Malformed, "shard {shard} of server {server}");
    }
    assert_eq!(hear(PEER, 0), Status::Ok);
    assert!(!stays(&mut s, &key));
    s.advance(Duration::from_secs(3));
    assert!(stays(&mut s, &key));
}
