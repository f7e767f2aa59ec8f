//! Transactions: several keys compared and written in one step of their owner (scenarios 35 and 36).

use ServerState::{Offline, Online, Waiting};
use standin_protocol::item::marks::ABSENT;
use standin_protocol::key::KeyForm;
use standin_protocol::transact::{Condition, Step, Transaction, results};

use super::super::modify::{Edit, Gives, Ttl};
use super::*;

const SET: Modify = Modify { ttl: Ttl::Keyspace, ..Modify::new(Edit::Set) };
const GET: Modify = Modify { gives: Gives::Old, ..Modify::new(Edit::Keep) };
const ADD: Modify = Modify { gives: Gives::New, ..Modify::new(Edit::Add(5)) };
const DELETE: Modify = Modify::new(Edit::Delete);

/// Returns a server whose keyspace has no database.
fn cache() -> Script {
    Script::with(|config| config.keyspaces[0] = KeyspaceConfig::cache(1, "cache"))
}

/// Returns keys of one partition of this home.
fn together<const N: usize>(s: &Script, home: u16) -> [Vec<u8>; N] {
    let partition = s.topology.partition(1, &s.key_of(home));
    let keys = (0..).map(|i| format!("key{i}").into_bytes());
    let mut keys = keys.filter(|key| s.topology.partition(1, key) == partition);
    std::array::from_fn(|_| keys.next().unwrap())
}

fn step<'a>(key: &'a [u8], modify: Modify, operand: &'a [u8]) -> Step<'a> {
    Step { key, modify, item_flags: 0, operand }
}

fn send(s: &mut Script, key: &[u8], value: &[u8]) -> Option<Got> {
    s.send(CommandHead::new(Action::Transact, 1), key, value)
}

/// Carries out a transaction, and returns its answer.
fn transact(s: &mut Script, conditions: &[(&[u8], Option<u64>)], steps: &[Step<'_>]) -> Got {
    let conditions = conditions.iter().map(|(key, version)| Condition { key, version: *version });
    let transaction = Transaction { conditions: conditions.collect(), steps: steps.to_vec() };
    let key = transaction.keys().next().unwrap().to_vec();
    send(s, &key, &transaction.to_bytes()).unwrap_or_else(|| s.reply())
}

/// The statuses and values of the results.
fn shown(got: &Got) -> Vec<(Status, String)> {
    assert_eq!(got.status, Status::Ok);
    let results = results(&got.value).unwrap();
    let value = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    results.iter().map(|result| (result.status, value(result.value))).collect()
}

fn put(s: &mut Script, key: &[u8], value: &[u8]) -> u64 {
    s.put(key, value).unwrap_or_else(|| s.reply()).version
}

fn value(s: &mut Script, key: &[u8]) -> Option<Vec<u8>> {
    let got = s.get(key).expect("at once");
    (got.status == Status::Ok).then_some(got.value)
}

#[test]
fn all_keys_are_compared_and_written_in_one_step() {
    let mut s = cache();
    let [a, b, c] = together(&s, OWN);
    let (of_a, of_b) = (put(&mut s, &a, b"1"), put(&mut s, &b, b"2"));
    let steps = [
        step(&a, GET, b""),
        step(&a, ADD, b""),
        step(&b, DELETE, b""),
        step(&b, GET, b""),
        step(&c, SET, b"new"),
        step(&c, ADD, b""),
    ];
    let seen: [(&[u8], _); 3] = [(&a, Some(of_a)), (&b, Some(of_b)), (&c, None)];
    let got = transact(&mut s, &seen, &steps);
    use Status::{NotANumber, NotFound, Ok};
    let wanted = [(Ok, "1"), (Ok, "6"), (Ok, ""), (NotFound, ""), (Ok, ""), (NotANumber, "")];
    assert_eq!(shown(&got), wanted.map(|(status, value)| (status, value.to_owned())));
    let found = [&a, &b, &c].map(|key| value(&mut s, key));
    assert_eq!(found, [Some(b"6".to_vec()), None, Some(b"new".to_vec())]);
    assert!(s.get(&a).unwrap().version > of_a, "it has changed for everyone who watches it");
    // What was seen before is not what is there, whichever key it is of.
    for (at, key) in [&a, &b, &c].into_iter().enumerate() {
        let mut now = [&a, &b, &c].map(|key| (&**key, Some(s.get(key).unwrap().version)));
        now[1].1 = None;
        now[at].1 = seen[at].1;
        assert_eq!(transact(&mut s, &now, &steps).status, Status::VersionMismatch, "{key:?}");
    }
    assert_eq!(value(&mut s, &c), Some(b"new".to_vec()), "nothing was done");
    assert!(s.calls().is_empty() && s.node.in_flight() == 0);
}

#[test]
fn two_that_have_seen_the_same_can_not_both_write() {
    let mut s = cache();
    let [a, b] = together(&s, OWN);
    let seen = [put(&mut s, &a, b"0"), put(&mut s, &b, b"0")];
    let seen: [(&[u8], _); 2] = [(&a, Some(seen[0])), (&b, Some(seen[1]))];
    assert_eq!(transact(&mut s, &seen, &[step(&b, SET, b"1")]).status, Status::Ok);
    assert_eq!(transact(&mut s, &seen, &[step(&a, SET, b"1")]).status, Status::VersionMismatch);
    assert_eq!(value(&mut s, &a), Some(b"0".to_vec()));
}

#[test]
fn what_has_expired_was_flushed_or_evicted_has_changed() {
    let mut s = cache();
    let [a, b] = together(&s, OWN);
    let write = |s: &mut Script, seen| transact(s, &[(&a, seen)], &[step(&b, ADD, b"")]).status;
    let brief = CommandHead { ttl_ms: 5_000, ..CommandHead::new(Action::Put, 1) };
    let version = s.send(brief, &a, b"1").unwrap_or_else(|| s.reply()).version;
    assert_eq!(write(&mut s, Some(version)), Status::Ok);
    s.advance(Duration::from_secs(5));
    assert_eq!(write(&mut s, Some(version)), Status::VersionMismatch);
    assert_eq!(write(&mut s, None), Status::Ok, "there is none");
    let version = put(&mut s, &a, b"1");
    assert_eq!(s.op(Action::Flush, &a, b"").expect("at once").status, Status::Ok);
    assert_eq!(write(&mut s, Some(version)), Status::VersionMismatch);
    let version = put(&mut s, &a, b"1");
    s.node.cache.remove(1, &a);
    assert_eq!(write(&mut s, Some(version)), Status::VersionMismatch);
    assert_eq!(value(&mut s, &b), None, "it was flushed, and nothing was done since");
}

#[test]
fn a_lifetime_is_given_in_the_same_step_and_leaves_the_version_alone() {
    let mut s = cache();
    let [a, b] = together(&s, OWN);
    let version = put(&mut s, &a, b"1");
    let expire = Modify { ttl: Ttl::For(5_000), ..Modify::new(Edit::Keep) };
    let end = Modify { ttl: Ttl::For(0), ..expire };
    let steps = [step(&a, expire, b""), step(&b, SET, b"2"), step(&b, expire, b"")];
    transact(&mut s, &[], &steps);
    let got = s.get(&a).unwrap();
    assert_eq!((got.version, got.ttl_s, s.get(&b).unwrap().ttl_s), (version, 5, 5));
    transact(&mut s, &[(&a, Some(version))], &[step(&a, end, b""), step(&b, DELETE, b"")]);
    assert_eq!([&a, &b].map(|key| value(&mut s, key)), [None, None]);
}

#[test]
fn nothing_is_done_if_it_is_too_large() {
    let mut s = Script::with(|config| {
        config.keyspaces[0] = KeyspaceConfig::cache(1, "cache");
        config.value_bytes_max = 1_000;
    });
    let [a, b] = together(&s, OWN);
    put(&mut s, &a, &[b'x'; 600]);
    let append = Modify::new(Edit::Append);
    let steps = [step(&b, SET, b"1"), step(&a, append, &[b'y'; 300])];
    assert_eq!(
        transact(&mut s, &[], &steps).status,
        Status::TooLarge,
        "600 are read, 900 are left"
    );
    assert_eq!(value(&mut s, &b), None);
    let long = [b'z'; 900];
    assert_eq!(transact(&mut s, &[], &[step(&b, SET, &long)]).status, Status::Ok);
    let long = [step(&b, SET, &long), step(&a, SET, b"1")];
    assert_eq!(transact(&mut s, &[], &long).status, Status::TooLarge, "it is longer than a value");
    assert_eq!(value(&mut s, &a).unwrap().len(), 600);
}

#[test]
fn what_no_server_can_carry_out_is_refused_at_once() {
    let forms = topology().as_ref().clone();
    let forms = forms.with_key_forms([(4, KeyForm::Ascii)].into_iter().collect());
    let mut s = Script::on(&forms, |config| {
        let bound = KeyspaceConfig::cache(3, "bound");
        config.keyspaces[1].also_invalidates = vec![3];
        config.keyspaces.extend([bound, KeyspaceConfig::cache(4, "folded")]);
    });
    let [a, b] = together(&s, OWN);
    let other = s.keys_of(OWN, 2).remove(1);
    let value = |keys: &[&[u8]]| {
        let steps = keys.iter().map(|key| step(key, SET, b"1")).collect();
        Transaction { steps, ..Transaction::default() }.to_bytes()
    };
    let mut sent = |keyspace, key: &[u8], value: &[u8]| {
        let head = CommandHead::new(Action::Transact, keyspace);
        s.send(head, key, value).expect("at once").status
    };
    assert_eq!(sent(1, &a, &value(&[&a, &b])), Status::NotSupported, "it has a database");
    assert_eq!(sent(3, &a, &value(&[&a])), Status::NotSupported, "it is bound to rows");
    assert_eq!(sent(4, &a, &value(&[&a, b"KEY"])), Status::NotSupported, "not in its form");
    assert_eq!(sent(9, &a, &value(&[&a])), Status::UnknownKeyspace);
    assert_eq!(sent(4, &a, b"nonsense"), Status::Malformed);
    let mut s = cache();
    let got = send(&mut s, &a, &value(&[&a, &other])).expect("at once");
    assert_eq!(
        (got.status, &*got.value),
        (Status::NotSupported, &b"the keys are in several partitions"[..])
    );
    assert_eq!(s.node.in_flight(), 0);
}

#[test]
fn only_an_owner_under_a_lease_carries_it_out() {
    let mut s = cache();
    let [a, b] = together(&s, PEER);
    let steps = [step(&a, ADD, b""), step(&b, ADD, b"")];
    let bytes = Transaction { steps: steps.to_vec(), ..Transaction::default() }.to_bytes();
    assert_eq!(send(&mut s, &a, &bytes), None, "it is forwarded");
    let (_, token, head) = s.forward();
    assert_eq!((head.action, head.hop), (Action::Transact, Hop::Forwarded));
    s.forward_fails(token, ForwardFailure::Unreachable);
    assert_eq!(s.reply().status, Status::OutcomeUnknown, "the owner may have carried it out");
    // The last owner may still have a lease.
    s.announce([Online, Waiting]);
    assert_eq!(send(&mut s, &a, &bytes), None);
    assert!(
        s.replies().is_empty() && s.outputs.iter().all(|o| !matches!(o, Output::Forward { .. }))
    );
    s.announce([Online, Offline]);
    assert_eq!(shown(&s.reply()), [(Status::Ok, "5".to_owned()), (Status::Ok, "5".to_owned())]);
    let mut s = cache();
    let [a, b] = together(&s, OWN);
    let steps = vec![step(&a, ADD, b""), step(&b, ADD, b"")];
    let bytes = Transaction { steps, ..Transaction::default() }.to_bytes();
    s.lease(Micros(0), false);
    assert_eq!(send(&mut s, &a, &bytes), None);
    s.advance(Duration::from_secs(2));
    s.collect();
    assert_eq!(s.reply().status, Status::Unavailable);
}

#[test]
fn each_key_that_it_writes_in_the_place_of_their_home_is_logged() {
    let mut s = cache();
    let [a, b, c] = together(&s, PEER);
    s.announce([Online, Offline]);
    let steps =
        [step(&a, GET, b""), step(&b, DELETE, b""), step(&c, SET, b"1"), step(&c, ADD, b"")];
    let logged = s.node.counters.keys_logged;
    assert_eq!(transact(&mut s, &[(&a, None)], &steps).status, Status::Ok);
    assert_eq!(s.node.counters.keys_logged - logged, 3, "each key once");
}

#[test]
fn a_copy_is_answered_from_memory_whether_it_was_carried_out_or_not() {
    let mut s = cache();
    let [a, b] = together(&s, OWN);
    let version = put(&mut s, &a, b"1");
    let (conditions, steps) = (
        vec![Condition { key: &a, version: Some(version) }],
        vec![step(&a, ADD, b""), step(&b, ADD, b"")],
    );
    let bytes = Transaction { conditions, steps }.to_bytes();
    let named = |request_id, is_retry| {
        let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id });
        CommandHead { identity, is_retry, ..CommandHead::new(Action::Transact, 1) }
    };
    let first = s.send(named(1, false), &a, &bytes).unwrap_or_else(|| s.reply());
    assert_eq!(shown(&first), [(Status::Ok, "6".to_owned()), (Status::Ok, "5".to_owned())]);
    let again = s.send(named(1, true), &a, &bytes).unwrap_or_else(|| s.reply());
    assert_eq!((again.status, again.value), (Status::Ok, first.value));
    assert_eq!(value(&mut s, &b), Some(b"5".to_vec()));
    let refused = s.send(named(2, false), &a, &bytes).unwrap_or_else(|| s.reply());
    assert_eq!(refused.status, Status::VersionMismatch);
    let again = s.send(named(2, true), &a, &bytes).unwrap_or_else(|| s.reply());
    assert_eq!(again.status, Status::VersionMismatch);
    // A result that is too long is not remembered.
    put(&mut s, &a, &[b'x'; 300]);
    let steps = vec![step(&a, GET, b""), step(&b, ADD, b"")];
    let bytes = Transaction { steps, ..Transaction::default() }.to_bytes();
    assert_eq!(s.send(named(3, false), &a, &bytes).unwrap_or_else(|| s.reply()).status, Status::Ok);
    let again = s.send(named(3, true), &a, &bytes).unwrap_or_else(|| s.reply());
    assert_eq!(again.status, Status::OutcomeUnknown);
    assert_eq!(value(&mut s, &b), Some(b"10".to_vec()));
}

#[test]
fn a_read_of_nothing_says_so_and_flags_belong_to_the_value() {
    let mut s = cache();
    let [a, b] = together(&s, OWN);
    let swap = Modify { gives: Gives::Old, ..SET };
    let steps =
        [Step { item_flags: 9, ..step(&a, swap, b"v") }, step(&a, GET, b""), step(&b, GET, b"")];
    let got = transact(&mut s, &[], &steps);
    let results = results(&got.value).unwrap();
    assert_eq!((results[0].status, results[0].marks), (Status::Ok, ABSENT));
    assert_eq!((results[1].item_flags, results[1].value), (9, &b"v"[..]));
    assert_eq!(results[2].status, Status::NotFound);
    assert_eq!(s.get(&a).unwrap().item_flags, 9);
}
