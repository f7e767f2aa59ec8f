//! Writes that end when they arrive: which these are, and that they do what waiting requests do.

use ServerState::{Offline, Online};

use super::super::modify::{Edit, Gives, LifetimeTest, Presence, Ttl, When};
use super::*;

fn cache() -> Script {
    Script::with(|config| config.keyspaces[0] = KeyspaceConfig::cache(1, "cache"))
}

fn identity(request_id: u32) -> Option<Identity> {
    Some(Identity { client_id: NonZeroU64::MIN, request_id })
}

/// Returns the operations that are compared, each with an operand.
fn operations() -> Vec<(Action, Option<Modify>, &'static [u8])> {
    let modify = |modify: Modify, value| (Action::Modify, Some(modify), value);
    let edit = |edit, value: &'static [u8]| modify(Modify::new(edit), value);
    let absent = When { presence: Presence::Absent, ..When::ALWAYS };
    let longer = When { lifetime: LifetimeTest::Longer, ..When::ALWAYS };
    let keep = Modify::new(Edit::Keep);
    vec![
        (Action::Put, None, b"5"),
        (Action::Put, None, b"text"),
        (Action::Delete, None, b""),
        modify(Modify { when: absent, ..Modify::new(Edit::Set) }, b"7"),
        modify(Modify { gives: Gives::Old, ttl: Ttl::For(9_000), ..Modify::new(Edit::Set) }, b"8"),
        modify(Modify { gives: Gives::New, ..Modify::new(Edit::Increment(3)) }, b""),
        modify(Modify { gives: Gives::New, ..Modify::new(Edit::Add(-2)) }, b""),
        modify(Modify { gives: Gives::Length, ..Modify::new(Edit::Append) }, b"1"),
        modify(Modify { gives: Gives::Old, ..Modify::new(Edit::Herd { recache_ms: 9_500 }) }, b""),
        modify(Modify { gives: Gives::Old, ..Modify::new(Edit::Delete) }, b""),
        edit(Edit::MarkStale, b""),
        edit(Edit::Clear, b""),
        modify(Modify { ttl: Ttl::For(9_400), gives: Gives::Old, ..keep }, b""),
        modify(Modify { ttl: Ttl::For(0), ..keep }, b""),
        modify(Modify { ttl: Ttl::For(9_600), when: longer, ..keep }, b""),
        modify(keep, b""),
    ]
}

#[test]
fn a_write_that_ends_at_once_does_what_a_waiting_one_does() {
    let (mut at_once, mut waiting) = (cache(), cache());
    let key = at_once.key_of(OWN);
    let operations = operations();
    let mut choice = 1_usize;
    for number in 0..4_000 {
        choice =
            choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (action, modify, value) = &operations[(choice >> 40) % operations.len()];
        let head = CommandHead { item_flags: number % 3, ..CommandHead::new(*action, 1) };
        let got = at_once.send_with(head, &key, value, modify.as_ref());
        let got = got.expect("it ends at once");
        let head = CommandHead { identity: identity(number), ..head };
        assert!(waiting.send_with(head, &key, value, modify.as_ref()).is_none());
        assert_eq!(got, waiting.reply(), "{number}: {action:?} {modify:?}");
        assert_eq!(at_once.get(&key), waiting.get(&key), "{number}: {action:?} {modify:?}");
    }
    assert!(at_once.calls().is_empty() && at_once.node.in_flight() == 0);
}

#[test]
fn a_write_ends_at_once_only_where_no_other_server_has_to_be_told() {
    let mut s = cache();
    let key = s.key_of(PEER);
    assert_eq!(s.put(&key, b"v"), None, "it is forwarded");
    s.announce([Online, Offline]);
    assert_eq!(s.node.serving(s.topology.partition(1, &key)), Serving::Cached);
    assert_eq!(s.put(&key, b"v"), None, "its home has to drop what it has");
    let own = s.key_of(OWN);
    assert_eq!(s.put(&own, b"v").expect("at once").status, Status::Ok);
    s.lease(Micros(0), false);
    assert_eq!(s.put(&own, b"v"), None, "without a lease it waits");
}

#[test]
fn a_keyspace_that_others_drop_has_no_writes_that_end_at_once() {
    let mut s = Script::with(|config| {
        config.keyspaces[0] = KeyspaceConfig::cache(1, "cache");
        config.keyspaces.push(KeyspaceConfig { also_invalidates: vec![1], ..keyspace(2) });
    });
    let key = s.key_of(OWN);
    assert_eq!(s.put(&key, b"v"), None);
    assert_eq!(s.reply().status, Status::Ok);
}
