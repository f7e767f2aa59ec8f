//! A keyspace without a database: its values are in the memory of their owners only (scenarios 30
//! and 31).

use ServerState::{Offline, Online, Waiting};

use super::*;

/// Returns a server whose keyspace has no database.
fn cache() -> Script {
    Script::with(|config| config.keyspaces[0] = KeyspaceConfig::cache(1, "cache"))
}

/// Carries out a write, and returns its answer.
fn write(s: &mut Script, action: Action, key: &[u8], value: &[u8]) -> Got {
    match s.op(action, key, value) {
        Some(got) => got,
        None => s.reply(),
    }
}

#[test]
fn a_value_is_kept_until_it_is_deleted_and_the_database_is_never_asked() {
    let mut s = cache();
    let key = s.key_of(OWN);
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    let put = write(&mut s, Action::Put, &key, b"v1");
    assert_eq!((put.status, put.flags & flags::CACHED), (Status::Ok, flags::CACHED));
    s.advance(Duration::from_secs(100 * 86_400));
    let got = s.get(&key).expect("a hit");
    assert_eq!((got.value, got.ttl_s), (b"v1".to_vec(), u32::MAX), "it has no lifetime");
    assert_eq!(write(&mut s, Action::Delete, &key, b"").status, Status::Ok);
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    assert_eq!(write(&mut s, Action::Delete, &key, b"").status, Status::NotFound);
    assert!(s.calls().is_empty() && s.node.in_flight() == 0);
}

#[test]
fn a_value_that_the_cache_cannot_hold_is_refused_and_changes_nothing() {
    let mut s = cache();
    let key = s.key_of(OWN);
    assert_eq!(write(&mut s, Action::Put, &key, b"v1").status, Status::Ok);
    let most = s.node.cache.value_bytes_max(&key);
    let refused = write(&mut s, Action::Put, &key, &vec![b'x'; most + 1]);
    assert_eq!(refused.status, Status::TooLarge);
    assert_eq!(s.get(&key).expect("a hit").value, b"v1");
    assert_eq!(write(&mut s, Action::Put, &key, &vec![b'x'; most]).status, Status::Ok);
    assert_eq!(s.get(&key).expect("a hit").value.len(), most);
}

#[test]
fn a_cas_compares_with_what_is_cached() {
    let mut s = cache();
    let key = s.key_of(OWN);
    let cas = |s: &mut Script, version, value: &[u8]| {
        let head = CommandHead { version, ..CommandHead::new(Action::Cas, 1) };
        s.send(head, &key, value).unwrap_or_else(|| s.reply())
    };
    assert_eq!(cas(&mut s, 9, b"v1").status, Status::NotFound);
    let version = write(&mut s, Action::Put, &key, b"v1").version;
    assert_eq!(cas(&mut s, version + 1, b"v2").status, Status::VersionMismatch);
    assert_eq!(cas(&mut s, version, b"v2").status, Status::Ok);
    assert_eq!(s.get(&key).expect("a hit").value, b"v2");
    assert!(s.calls().is_empty());
}

#[test]
fn a_lifetime_that_a_request_asks_for_ends() {
    let mut s = cache();
    let key = s.key_of(OWN);
    let put = CommandHead { ttl_ms: 5_000, ..CommandHead::new(Action::Put, 1) };
    assert_eq!(s.send(put, &key, b"v1").unwrap_or_else(|| s.reply()).ttl_s, 5);
    let touch = CommandHead { ttl_ms: 9_000, ..CommandHead::new(Action::Touch, 1) };
    assert_eq!(s.send(touch, &key, b"").expect("cached").ttl_s, 9);
    s.advance(Duration::from_secs(9));
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    let touched = s.send(touch, &key, b"").unwrap_or_else(|| s.reply());
    assert_eq!(touched.status, Status::NotFound);
    assert!(s.calls().is_empty());
}

#[test]
fn a_stand_in_begins_with_nothing_and_its_writes_are_told_to_the_home() {
    let mut s = cache();
    let key = s.key_of(PEER);
    s.announce([Online, Offline]);
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    // The home may have the value.
    assert_eq!(write(&mut s, Action::Delete, &key, b"").status, Status::NotFound);
    assert!(s.node.counters.keys_logged > 0);
    assert_eq!(write(&mut s, Action::Put, &key, b"v1").status, Status::Ok);
    assert_eq!(s.get(&key).expect("a hit").value, b"v1");
}

#[test]
fn nothing_is_kept_while_the_last_owner_may_still_write() {
    let mut s = cache();
    let key = s.key_of(PEER);
    s.announce([Online, Waiting]);
    let put = write(&mut s, Action::Put, &key, b"v1");
    assert_eq!((put.status, put.flags & flags::CACHED), (Status::Ok, 0));
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    s.announce([Online, Offline]);
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
}

#[test]
fn a_read_whose_owner_can_not_be_reached_finds_nothing() {
    let mut s = cache();
    let key = s.key_of(PEER);
    assert_eq!(s.get(&key), None, "it is forwarded");
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    let got = s.reply();
    assert_eq!((got.status, got.flags), (Status::NotFound, flags::STAND_IN | flags::PROVISIONAL));
    assert!(s.calls().is_empty());
}

#[test]
fn a_write_of_rows_drops_what_is_cached_for_them() {
    let mut s = Script::with(|config| {
        config.keyspaces[0].also_invalidates = vec![3];
        config.keyspaces.push(KeyspaceConfig::cache(3, "rendered"));
    });
    let key = s.key_of(OWN);
    let in_cache = |action| CommandHead::new(action, 3);
    s.send(in_cache(Action::Put), &key, b"page").unwrap_or_else(|| s.reply());
    assert_eq!(s.send(in_cache(Action::Get), &key, b"").expect("a hit").value, b"page");
    s.put(&key, b"row");
    // The two share the order of their writes.
    assert_eq!(s.send(in_cache(Action::Put), &key, b"later"), None);
    let call = s.call();
    s.written(&call);
    assert_eq!(s.replies().len(), 2);
    assert_eq!(s.send(in_cache(Action::Get), &key, b"").expect("a hit").value, b"later");
    s.put(&key, b"row 2");
    let call = s.call();
    s.written(&call);
    s.reply();
    assert_eq!(s.send(in_cache(Action::Get), &key, b"").expect("at once").status, Status::NotFound);
}
