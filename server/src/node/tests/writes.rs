//! Tests of writes, deletes and compare-and-swap.

use super::*;
use crate::node::answer::VALUE_BYTES_MAX;

#[test]
fn scenario_07_a_write_of_unknown_outcome_keeps_its_key_out_of_the_cache() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    let write = s.call();
    s.answer(&write, Outcome::Failed(Failure::OutcomeUnknown));
    assert_eq!(s.reply().status, Status::OutcomeUnknown);
    s.get(&key);
    let fetch = s.call();
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
    s.advance(Duration::from_secs(3));
    s.fill(&key, b"v1");
    assert_eq!(s.get(&key).unwrap().value, b"v1");
}

#[test]
fn scenario_15_writes_of_a_key_are_executed_one_after_the_other() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    s.put(&key, b"v2");
    s.op(Action::Delete, &key, &[]);
    s.put(&key, b"v3");
    let mut values = Vec::new();
    for _ in 0..4 {
        let call = s.call();
        if let Operation::Put { value, .. } = &call.operation {
            values.push(value.to_vec());
        }
        s.written(&call);
        assert_eq!(s.reply().status, Status::Ok);
    }
    assert_eq!(values, [b"v1", b"v2", b"v3"]);
    assert_eq!(s.get(&key).unwrap().value, b"v3");
    assert!(s.node.writes.len() == 0, "the last write removes the queue");
}

#[test]
fn until_a_write_is_done_the_cache_answers_with_the_previous_value() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v0");
    s.put(&key, b"v1");
    let write = s.call();
    assert_eq!(s.get(&key).unwrap().value, b"v0", "nobody has been told of v1");
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(s.get(&key).unwrap().value, b"v1");
}

#[test]
fn the_cache_after_a_failed_write() {
    let refused = Failure::Rejected("check".to_owned());
    let text = "what the database says".to_owned();
    for (failure, status, is_kept) in [
        (refused, Status::OriginRejected, true),
        (Failure::Unavailable, Status::OriginUnavailable, true),
        (Failure::Refused(text.clone()), Status::OriginUnavailable, true),
        (Failure::OutcomeUnknown, Status::OutcomeUnknown, false),
        (Failure::Doubtful(text), Status::OutcomeUnknown, false),
    ] {
        let mut s = Script::new();
        let key = s.key_of(OWN);
        s.fill(&key, b"v0");
        s.put(&key, b"v1");
        let write = s.call();
        let said = failure.text().map(str::to_owned);
        s.answer(&write, Outcome::Failed(failure));
        let reply = s.reply();
        assert_eq!(reply.status, status);
        if let Some(said) = said {
            assert_eq!(reply.value, said.as_bytes(), "the text reaches the caller");
        }
        assert_eq!(s.get(&key).is_some(), is_kept, "{status}");
    }
}

#[test]
fn a_deleted_value_is_gone_when_the_delete_is_done() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v0");
    s.op(Action::Delete, &key, &[]);
    let delete = s.call();
    s.written(&delete);
    assert_eq!(s.reply().status, Status::Ok);
    assert_eq!(s.get(&key), None);
}

#[test]
fn a_write_that_changed_no_row_is_not_stored_and_leaves_nothing_in_the_cache() {
    for action in [Action::Put, Action::Cas, Action::Delete] {
        let mut s = Script::new();
        let key = s.key_of(OWN);
        s.fill(&key, b"v0");
        let version = s.get(&key).unwrap().version;
        s.send(CommandHead { version, ..CommandHead::new(action, 1) }, &key, b"v1");
        let write = s.call();
        s.answer(&write, Outcome::changed(0));
        let reply = s.reply();
        let status = if action == Action::Delete { Status::NotFound } else { Status::NotStored };
        assert_eq!((reply.status, reply.flags, reply.version), (status, 0, 0));
        // Neither `v0`, nor `v1`, nor the absence of the row may be cached: only the origin knows
        // the row.
        assert_eq!(s.get(&key), None, "{action:?}");
        let fetch = s.call();
        s.found(&fetch, b"v2");
        assert_eq!(s.reply().value, b"v2");
    }
}

#[test]
fn after_a_write_the_cache_holds_the_row_or_nothing() {
    let row = |text: &'static [u8]| Stored::Row(Some(Bytes::from_static(text).into()));
    let huge = Stored::Row(Some(Bytes::from(vec![0; VALUE_BYTES_MAX + 1]).into()));
    let cases = [
        (Stored::Sent, Some(&b"v1"[..])),
        (row(b"V1"), Some(b"V1")),
        (row(b""), Some(b"")),
        (Stored::Row(None), None),
        (Stored::Unknown, None),
        (huge, None),
    ];
    for action in [Action::Put, Action::Cas] {
        for (stored, cached) in &cases {
            let mut s = Script::new();
            let key = s.key_of(OWN);
            s.fill(&key, b"v0");
            let version = s.get(&key).unwrap().version;
            s.send(CommandHead { version, ..CommandHead::new(action, 1) }, &key, b"v1");
            let write = s.call();
            s.answer(&write, Outcome::Written { rows: 1, stored: stored.clone() });
            let written = s.reply();
            assert_eq!(written.status, Status::Ok);
            let is_cached = written.flags & flags::CACHED != 0;
            assert_eq!(is_cached, cached.is_some(), "{action:?}");
            assert_eq!((written.version != 0, written.ttl_s != 0), (is_cached, is_cached));
            let read = s.get(&key);
            assert_eq!(read.as_ref().map(|got| &*got.value), *cached, "{action:?}");
            // A CAS uses the version with which the write was answered.
            assert!(read.is_none_or(|got| got.version == written.version));
        }
    }
}

#[test]
fn cas_writes_only_over_the_version_it_names() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.fill(&key, b"v0");
    let version = s.get(&key).unwrap().version;
    let cas = |version| CommandHead { version, ..CommandHead::new(Action::Cas, 1) };
    assert_eq!(s.send(cas(version + 1), &key, b"no"), None);
    let mismatch = s.reply();
    assert_eq!((mismatch.status, mismatch.version), (Status::VersionMismatch, version));
    s.send(cas(version), &key, b"v1");
    // A second CAS of the same version waits for the first and then fails.
    s.send(cas(version), &key, b"v2");
    let write = s.call();
    s.written(&write);
    let replies = s.replies();
    assert_eq!(replies[0].status, Status::Ok);
    assert_eq!(
        (replies[1].status, replies[1].version),
        (Status::VersionMismatch, replies[0].version)
    );
    assert_eq!(s.get(&key).unwrap().value, b"v1");
}

#[test]
fn cas_of_an_uncached_key_learns_the_version() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    let cas = CommandHead { version: 9, ..CommandHead::new(Action::Cas, 1) };
    s.send(cas, &key, b"v1");
    let fetch = s.call();
    s.found(&fetch, b"v0");
    let reply = s.reply();
    assert_eq!((reply.status, reply.value.len()), (Status::VersionMismatch, 0));
    assert_eq!(s.get(&key).unwrap().version, reply.version);
}

#[test]
fn a_write_whose_deadline_passed_in_the_queue_does_not_begin() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    let first = s.call();
    let second = CommandHead { deadline_ms: 50, ..CommandHead::new(Action::Put, 1) };
    s.send(second, &key, b"v2");
    s.advance(Duration::from_millis(60));
    s.written(&first);
    let statuses: Vec<Status> = s.replies().iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [Status::Ok, Status::DeadlineExceeded]);
    assert!(s.calls().is_empty());
}

#[test]
fn a_cas_whose_deadline_is_now_is_still_executed() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    assert_eq!(s.put(&key, b"1"), None);
    let first = s.call();
    let cas = CommandHead { version: 7, deadline_ms: 50, ..CommandHead::new(Action::Cas, 1) };
    assert_eq!(s.send(cas, &key, b"2"), None, "it waits for its turn");
    s.advance(Duration::from_millis(50));
    // The value is not kept, so the CAS has to read the version first.
    s.answer(&first, Outcome::Failed(Failure::Rejected("no".to_owned())));
    assert_eq!(s.reply().status, Status::OriginRejected);
    let read = s.call();
    assert!(matches!(read.operation, Operation::Get));
    s.found(&read, b"0");
    assert_eq!(s.reply().status, Status::VersionMismatch);
}

#[test]
fn the_value_of_a_write_is_not_kept_if_the_key_was_dropped_meanwhile() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    let write = s.call();
    s.op(Action::Invalidate, &key, &[]);
    s.written(&write);
    let got = s.reply();
    assert_eq!((got.status, got.flags & flags::CACHED, got.version), (Status::Ok, 0, 0));
    assert_eq!(s.node.counters.fills_refused, 1);
    assert_eq!(s.get(&key), None);
}
