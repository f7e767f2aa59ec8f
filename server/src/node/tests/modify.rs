//! Read-modify-writes: where they are executed, on which value, and what they leave (scenario 32).

use ServerState::{Offline, Online, Waiting};

use super::super::modify::{Edit, Gives, Presence, Ttl, When};
use super::*;
use crate::node::answer::marks;
use crate::origin::RowValue;

const INCREMENT: Modify = Modify { gives: Gives::New, ..Modify::new(Edit::Increment(1)) };
const ADD: Modify = Modify {
    when: When { presence: Presence::Absent, ..When::ALWAYS },
    ttl: Ttl::Keyspace,
    ..Modify::new(Edit::Set)
};

/// Returns a server whose keyspace has no database.
fn cache() -> Script {
    Script::with(|config| config.keyspaces[0] = KeyspaceConfig::cache(1, "cache"))
}

fn modify(s: &mut Script, modify: &Modify, key: &[u8], value: &[u8]) -> Option<Got> {
    s.send_with(CommandHead::new(Action::Modify, 1), key, value, Some(modify))
}

/// Carries out an operation, and returns its answer.
fn done(s: &mut Script, operation: &Modify, key: &[u8], value: &[u8]) -> Got {
    modify(s, operation, key, value).unwrap_or_else(|| s.reply())
}

#[test]
fn without_a_database_a_value_is_changed_where_it_is() {
    let mut s = cache();
    let key = s.key_of(OWN);
    assert_eq!(done(&mut s, &INCREMENT, &key, b"").status, Status::NotFound);
    assert_eq!(done(&mut s, &ADD, &key, b"41").status, Status::Ok);
    assert_eq!(done(&mut s, &ADD, &key, b"99").status, Status::NotStored);
    let sum = done(&mut s, &INCREMENT, &key, b"");
    assert_eq!(
        (sum.status, &sum.value[..], sum.flags & flags::CACHED),
        (Status::Ok, &b"42"[..], flags::CACHED)
    );
    let hit = s.get(&key).expect("a hit");
    assert_eq!((&hit.value[..], hit.version), (&b"42"[..], sum.version));
    let delete = Modify { gives: Gives::Old, ..Modify::new(Edit::Delete) };
    assert_eq!(done(&mut s, &delete, &key, b"").value, b"42");
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    assert!(s.calls().is_empty() && s.node.in_flight() == 0);
}

#[test]
fn a_value_does_not_grow_beyond_what_the_cache_can_hold() {
    let mut s = cache();
    let key = s.key_of(OWN);
    let most = s.node.cache.value_bytes_max(&key);
    assert_eq!(done(&mut s, &ADD, &key, &vec![b'x'; most]).status, Status::Ok);
    let append = Modify::new(Edit::Append);
    assert_eq!(done(&mut s, &append, &key, b"y").status, Status::TooLarge);
    assert_eq!(s.get(&key).expect("a hit").value.len(), most);
}

#[test]
fn a_new_lifetime_or_mark_leaves_the_version_alone() {
    let mut s = cache();
    let key = s.key_of(OWN);
    let version = done(&mut s, &ADD, &key, b"v").version;
    let touch = Modify { ttl: Ttl::For(5_000), gives: Gives::Old, ..Modify::new(Edit::Keep) };
    let touched = done(&mut s, &touch, &key, b"");
    assert_eq!((touched.value, touched.ttl_s, touched.version), (b"v".to_vec(), 5, version));
    let herd = Modify { gives: Gives::Old, ..Modify::new(Edit::Herd { recache_ms: 9_000 }) };
    let told = [done(&mut s, &herd, &key, b""), done(&mut s, &herd, &key, b"")];
    assert_eq!(
        told.map(|got| (got.marks, got.version)),
        [(marks::WINS, version), (marks::WON, version)]
    );
    s.advance(Duration::from_secs(6));
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
}

#[test]
fn a_lifetime_that_has_ended_leaves_no_value() {
    let mut s = cache();
    let key = s.key_of(OWN);
    done(&mut s, &ADD, &key, b"v");
    let expire = Modify { ttl: Ttl::For(0), ..Modify::new(Edit::Keep) };
    assert_eq!(done(&mut s, &expire, &key, b"").status, Status::Ok);
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
    done(&mut s, &ADD, &key, b"v");
    let set = Modify { ttl: Ttl::For(0), ..Modify::new(Edit::Set) };
    assert_eq!(done(&mut s, &set, &key, b"w").status, Status::Ok);
    assert_eq!(s.get(&key).expect("at once").status, Status::NotFound);
}

#[test]
fn a_row_is_read_changed_and_written_in_the_turn_of_its_key() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    assert_eq!(modify(&mut s, &INCREMENT, &key, b""), None);
    let read = s.call();
    s.found(&read, b"7");
    let write = s.call();
    assert!(matches!(&write.operation, Operation::Put { value, .. } if value == "8"), "{write:?}");
    assert_eq!(s.put(&key, b"later"), None, "it waits for its turn");
    assert!(s.calls().is_empty());
    s.written(&write);
    let got = s.reply();
    assert_eq!((got.status, &got.value[..]), (Status::Ok, &b"8"[..]));
    let later = s.call();
    s.written(&later);
    assert_eq!(s.reply().status, Status::Ok);
    // The value is cached now.
    assert_eq!(done(&mut s, &INCREMENT, &key, b"").status, Status::NotANumber);
    assert_eq!(s.get(&key).expect("a hit").value, b"later");
}

#[test]
fn a_row_that_does_not_change_is_not_written() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v");
    assert_eq!(done(&mut s, &ADD, &key, b"w").status, Status::NotStored);
    let touch = Modify { ttl: Ttl::For(5_000), ..Modify::new(Edit::Keep) };
    assert_eq!(done(&mut s, &touch, &key, b"").ttl_s, 5);
    assert!(s.calls().is_empty());
}

#[test]
fn a_value_that_is_not_kept_is_read_in_the_turn_of_its_key() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    let append = Modify::new(Edit::Append);
    assert_eq!(modify(&mut s, &append, &key, b"+"), None);
    let first = s.call();
    // It is larger than what the cache takes.
    let large = vec![b'x'; 20_000];
    s.found(&first, &large);
    let second = s.call();
    assert_eq!(s.put(&key, b"later"), None);
    s.found(&second, &large);
    let write = s.call();
    assert!(matches!(&write.operation, Operation::Put { value, .. } if value.len() == 20_001));
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    let later = s.call();
    s.written(&later);
    assert_eq!(s.reply().status, Status::Ok);
}

#[test]
fn a_value_that_was_read_before_its_partition_changed_hands_is_read_again() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    let append = Modify::new(Edit::Append);
    assert_eq!(modify(&mut s, &append, &key, b"+"), None);
    let large = vec![b'x'; 20_000];
    let first = s.call();
    s.found(&first, &large);
    let second = s.call();
    s.lease(Micros(0), false);
    s.lease(Micros::NEVER, false);
    s.found(&second, b"old");
    let third = s.call();
    s.found(&third, b"new");
    let write = s.call();
    assert!(
        matches!(&write.operation, Operation::Put { value, .. } if value == "new+"),
        "{write:?}"
    );
}

#[test]
fn without_a_lease_it_waits_where_a_put_would_go_on() {
    for mut s in [cache(), Script::new()] {
        let key = s.key_of(PEER);
        // The peer is silent, and may still have a lease.
        s.announce([Online, Waiting]);
        assert_eq!(s.node.serving(s.topology.partition(1, &key)), Serving::Waiting);
        assert_eq!(modify(&mut s, &ADD, &key, b"v"), None);
        assert!(s.calls().is_empty() && s.replies().is_empty());
        s.announce([Online, Offline]);
        if let Some(call) = s.calls().pop() {
            s.answer(&call, Outcome::Value(None));
            let write = s.call();
            s.written(&write);
        }
        assert_eq!(s.reply().status, Status::Ok);
        assert_eq!(s.get(&key).expect("a hit").value, b"v");
    }
}

#[test]
fn it_is_forwarded_whole_and_its_answer_too() {
    let mut s = cache();
    let key = s.key_of(PEER);
    assert_eq!(modify(&mut s, &INCREMENT, &key, b""), None);
    let mut forwards = s.outputs.drain(..).filter_map(|output| match output {
        Output::Forward { peer, token, command, .. } => Some((peer, token, command)),
        _ => None,
    });
    let forwarded = forwards.find(|(_, _, command)| command.head.action == Action::Modify);
    let (peer, token, command) = forwarded.expect("it is forwarded");
    drop(forwards);
    assert_eq!(command.modify.as_deref(), Some(&INCREMENT));
    let head = AnswerHead { item_flags: 7, ..AnswerHead::status(Status::Ok) };
    s.node.forward_done(s.now, peer, token, Ok((head, b"42")));
    s.collect();
    assert_eq!(s.reply().value, b"42");
}

#[test]
fn a_repeated_one_is_answered_from_memory() {
    let mut s = cache();
    let key = s.key_of(OWN);
    done(&mut s, &ADD, &key, b"1");
    let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 7 });
    let head = CommandHead { identity, ..CommandHead::new(Action::Modify, 1) };
    let send = |s: &mut Script, is_retry| {
        let head = CommandHead { is_retry, ..head };
        s.send_with(head, &key, b"", Some(&INCREMENT)).unwrap_or_else(|| s.reply())
    };
    assert_eq!(send(&mut s, false).value, b"2");
    assert_eq!(send(&mut s, true).value, b"2", "not once more");
    assert_eq!(s.get(&key).expect("a hit").value, b"2");
}

#[test]
fn flags_of_a_client_are_kept_only_where_there_is_room_for_them() {
    let mut s = cache();
    let key = s.key_of(OWN);
    let put = CommandHead { item_flags: 7, ..CommandHead::new(Action::Put, 1) };
    assert_eq!(s.send(put, &key, b"v").unwrap_or_else(|| s.reply()).status, Status::Ok);
    assert_eq!(s.get(&key).expect("a hit").item_flags, 7);
    let mut s = Script::new();
    assert_eq!(s.send(put, &key, b"v").expect("at once").status, Status::NotSupported);
}

#[test]
fn flags_of_a_row_come_from_its_column_and_go_to_it() {
    let mut s = Script::with(|config| {
        let put = "UPDATE t SET v = :value, f = :flags WHERE k = :key";
        config.keyspaces[0].put = Some(put.to_owned());
    });
    let key = s.key_of(OWN);
    let put = CommandHead { item_flags: 7, ..CommandHead::new(Action::Put, 1) };
    assert_eq!(s.send(put, &key, b"v"), None);
    let write = s.call();
    assert!(matches!(&write.operation, Operation::Put { flags: 7, .. }), "{write:?}");
    s.written(&write);
    assert_eq!(s.reply().item_flags, 0, "a PUT has no value to tell of");
    assert_eq!(s.get(&key).expect("a hit").item_flags, 7);
    // Another program has changed them.
    assert_eq!(s.op(Action::Invalidate, &key, b"").expect("at once").status, Status::Ok);
    assert_eq!(s.get(&key), None);
    let read = s.call();
    let row = RowValue { bytes: Bytes::from_static(b"v"), flags: 9 };
    s.answer(&read, Outcome::Value(Some(row)));
    assert_eq!(s.reply().item_flags, 9);
    assert_eq!(s.get(&key).expect("a hit").item_flags, 9);
    assert_eq!(modify(&mut s, &Modify::new(Edit::Append), &key, b"+"), None);
    let write = s.call();
    assert!(matches!(&write.operation, Operation::Put { value, flags: 9 } if value == "v+"));
}

#[test]
fn a_first_copy_that_arrives_last_changes_nothing_more() {
    let mut s = cache();
    let key = s.key_of(OWN);
    let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 3 });
    let first = CommandHead { identity, ..CommandHead::new(Action::Modify, 1) };
    let second = CommandHead { is_retry: true, ..first };
    let mut ask = |head, operation: &Modify| {
        let got = s.send_with(head, &key, b"5", Some(operation));
        let got = got.unwrap_or_else(|| s.reply());
        (got.status, got.value)
    };
    let early = ask(second, &INCREMENT);
    assert_eq!(early.0, Status::NotFound);
    let number = CommandHead::new(Action::Modify, 1);
    assert_eq!(ask(number, &ADD).0, Status::Ok);
    assert_eq!(ask(first, &INCREMENT), early, "it was decided when there was no value");
    let add = Modify { gives: Gives::New, ..Modify::new(Edit::Add(2)) };
    assert_eq!(ask(second, &add), (Status::Ok, b"7".to_vec()), "another operation");
    assert_eq!(ask(number, &INCREMENT), (Status::Ok, b"8".to_vec()));
    assert_eq!(ask(first, &add), (Status::Ok, b"7".to_vec()));
    assert_eq!(s.get(&key).expect("a hit").value, b"8");
}
