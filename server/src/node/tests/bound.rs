//! Tests of keyspaces over the same rows: a change of a row drops it in all of them (scenario 25).

use standin_protocol::handback::{Keys, WrittenKey};

use super::*;

/// Creates a script in which keyspace 1 names 2, and 2 names none.
fn bound() -> (Script, Vec<u8>) {
    let s = Script::with(|config| {
        config.keyspaces = vec![keyspace(1), keyspace(2)];
        config.keyspaces[0].also_invalidates = vec![2];
    });
    let key = s.key_of(OWN);
    (s, key)
}

fn send(s: &mut Script, action: Action, keyspace: u8, key: &[u8], value: &[u8]) -> Option<Got> {
    s.send(CommandHead::new(action, keyspace), key, value)
}

fn fill(s: &mut Script, keyspace: u8, key: &[u8]) {
    assert_eq!(send(s, Action::Get, keyspace, key, &[]), None);
    let call = s.call();
    s.found(&call, b"v0");
    s.reply();
    assert!(is_cached(s, keyspace, key));
}

fn is_cached(s: &mut Script, keyspace: u8, key: &[u8]) -> bool {
    let is_cached = send(s, Action::Get, keyspace, key, &[]).is_some();
    if !is_cached {
        let call = s.call();
        s.found(&call, b"v0");
        s.reply();
    }
    is_cached
}

#[test]
fn a_write_drops_the_key_in_the_keyspaces_that_its_keyspace_names() {
    for action in [Action::Put, Action::Delete] {
        let (mut s, key) = bound();
        fill(&mut s, 1, &key);
        fill(&mut s, 2, &key);
        assert_eq!(send(&mut s, action, 1, &key, b"v1"), None);
        let write = s.call();
        assert!(is_cached(&mut s, 2, &key), "until the write is done");
        s.written(&write);
        assert_eq!(s.reply().status, Status::Ok);
        assert!(!is_cached(&mut s, 2, &key), "{action:?}");
        // The configuration does not ask for the other direction.
        is_cached(&mut s, 1, &key);
        assert_eq!(send(&mut s, action, 2, &key, b"v2"), None);
        let write = s.call();
        s.written(&write);
        s.reply();
        assert!(is_cached(&mut s, 1, &key));
    }
}

#[test]
fn invalidating_and_flushing_drop_the_key_there_too() {
    for action in [Action::Invalidate, Action::Flush] {
        let (mut s, key) = bound();
        fill(&mut s, 2, &key);
        assert_eq!(send(&mut s, action, 1, &key, &[]).unwrap().status, Status::Ok);
        assert!(!is_cached(&mut s, 2, &key), "{action:?}");
    }
}

#[test]
fn a_fetch_of_the_other_keyspace_that_a_write_overtakes_is_not_kept() {
    let (mut s, key) = bound();
    assert_eq!(send(&mut s, Action::Get, 2, &key, &[]), None);
    let fetch = s.call();
    assert_eq!(send(&mut s, Action::Put, 1, &key, b"v1"), None);
    let write = s.call();
    s.written(&write);
    s.reply();
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().value, b"v0", "the read arrived before the write");
    assert!(!is_cached(&mut s, 2, &key));
}

#[test]
fn writes_of_a_row_take_turns_over_its_keyspaces() {
    let (mut s, key) = bound();
    assert_eq!(send(&mut s, Action::Put, 1, &key, b"v1"), None);
    let first = s.call();
    assert_eq!(send(&mut s, Action::Put, 2, &key, b"v2"), None);
    assert!(s.calls().is_empty(), "the row has a write under way");
    s.written(&first);
    s.reply();
    let second = s.call();
    assert_eq!(second.keyspace, 2);
    s.written(&second);
    assert_ne!(s.reply().flags & flags::CACHED, 0, "nothing has changed the row since");
}

#[test]
fn a_server_that_is_told_of_a_key_drops_it_in_all_bound_keyspaces() {
    let (mut s, key) = bound();
    fill(&mut s, 2, &key);
    let told =
        Keys { keys: vec![WrittenKey { keyspace: 1, marks: 0, key: key.clone() }], handover: 0 };
    let head = CommandHead { hop: Hop::Forwarded, ..CommandHead::new(Action::Settle, 1) };
    let answer = s.send(head, &key, &told.to_bytes());
    assert_eq!(answer.unwrap().status, Status::Ok);
    assert!(!is_cached(&mut s, 2, &key));
}

#[test]
fn the_same_key_of_bound_keyspaces_has_one_place() {
    let (s, _) = bound();
    let free = Script::new();
    let keys: Vec<Vec<u8>> = (0..100).map(|n| format!("key{n}").into_bytes()).collect();
    let is_one =
        |s: &Script, key: &[u8]| s.topology.partition(1, key) == s.topology.partition(2, key);
    assert!(keys.iter().all(|key| is_one(&s, key)));
    assert!(!keys.iter().all(|key| is_one(&free, key)));
    assert_ne!(s.topology.id, free.topology.id, "such servers refuse each other");
}
