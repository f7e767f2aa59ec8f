//! Tests of reads, lifetimes, touch, invalidate, and refusals.

use super::*;

#[test]
fn a_miss_is_fetched_and_then_hit() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    assert_eq!(s.get(&key), None);
    let call = s.call();
    assert_eq!((&call.key[..], call.keyspace), (&key[..], 1));
    s.found(&call, b"v");
    let filled = s.reply();
    assert_eq!((filled.status, &filled.value[..]), (Status::Ok, &b"v"[..]));
    assert_eq!(filled.flags, flags::FILLED | flags::CACHED);
    let hit = s.get(&key).unwrap();
    assert_eq!(hit.flags, flags::HIT | flags::CACHED);
    assert_eq!((hit.value, hit.version, hit.ttl_s), (b"v".to_vec(), filled.version, 60));
    assert!(s.calls().is_empty());
}

#[test]
fn fetches_wait_where_there_is_no_room_for_their_rows() {
    let mut s = Script::with(|config| config.fetch_bytes = 0);
    let own = s.keys_of(OWN, 6);
    for key in &own {
        assert_eq!(s.get(key), None);
    }
    let calls = s.calls();
    assert_eq!(calls.len(), 4, "a few of each keyspace always proceed");
    assert_eq!(s.get(&own[5]), None, "it joins the one that waits");
    s.found(&calls[0], b"v");
    assert_eq!(s.reply().status, Status::Ok);
    let next = s.call();
    assert_eq!(&next.key[..], &own[4][..], "the one that has waited for longest");
    s.found(&next, b"v");
    s.reply();
    let last = s.call();
    s.found(&last, b"w");
    let replies = s.replies();
    assert_eq!(replies.len(), 2, "one fetch for both");
    assert_eq!(s.node.counters.fetches_delayed, 2);
}

#[test]
fn a_fetch_waits_for_room_no_longer_than_a_client_would() {
    let mut s = Script::with(|config| config.fetch_bytes = 0);
    let own = s.keys_of(OWN, 5);
    for key in &own {
        s.get(key);
    }
    assert_eq!(s.calls().len(), 4);
    s.advance(Duration::from_millis(1_999));
    s.collect();
    assert!(s.replies().is_empty());
    s.advance(Duration::from_millis(1));
    s.collect();
    let reply = s.reply();
    assert_eq!(reply.status, Status::Overloaded);
}

#[test]
fn absence_is_cached_for_its_own_time() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let call = s.call();
    s.answer(&call, Outcome::Value(None));
    assert_eq!(s.reply().status, Status::NotFound);
    assert_eq!(s.get(&key).unwrap().status, Status::NotFound);
    s.advance(Duration::from_millis(1_001));
    assert_eq!(s.get(&key), None, "asked again after negative_ttl");
}

#[test]
fn a_value_lives_as_long_as_asked() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    let mut put = CommandHead::new(Action::Put, 1);
    put.ttl_ms = 3_000;
    assert_eq!(s.send(put, &key, b"v"), None);
    let call = s.call();
    s.written(&call);
    assert_eq!(s.reply().ttl_s, 3);
    s.advance(Duration::from_millis(2_900));
    assert_eq!(s.get(&key).unwrap().ttl_s, 1);
    s.advance(Duration::from_millis(200));
    assert_eq!(s.get(&key), None);
}

#[test]
fn the_keyspaces_lifetimes_are_shortened_at_random_and_those_of_requests_are_exact() {
    let (own, asked) = (lifetimes_of_puts(0), lifetimes_of_puts(40_000));
    assert!(own.iter().all(|ttl| (30..=60).contains(ttl)), "{own:?}");
    assert!(own.iter().collect::<std::collections::BTreeSet<_>>().len() > 3, "{own:?}");
    assert!(asked.iter().all(|ttl| *ttl == 40), "{asked:?}");
}

/// Writes a row 20 times with this lifetime, and returns those of the cached values in seconds.
fn lifetimes_of_puts(ttl_ms: u64) -> Vec<u32> {
    let mut s = Script::with(|config| config.keyspaces[0].ttl_jitter_percent = 50);
    let put = CommandHead { ttl_ms, ..CommandHead::new(Action::Put, 1) };
    let key = s.key_of(OWN);
    let mut lifetime = || {
        assert_eq!(s.send(put, &key, b"v"), None);
        let call = s.call();
        s.written(&call);
        s.reply().ttl_s
    };
    (0..20).map(|_| lifetime()).collect()
}

#[test]
fn scenario_05_a_fill_that_a_write_overtook_is_not_kept() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let fetch = s.call();
    s.put(&key, b"v1");
    let write = s.call();
    s.written(&write);
    assert_eq!(s.reply().status, Status::Ok);
    s.found(&fetch, b"v0");
    assert_eq!(s.reply().value, b"v0", "the read began before the write");
    assert_eq!(s.get(&key).unwrap().value, b"v1", "the value of the write is still there");
    assert_eq!(s.node.counters.fills_refused, 1);
}

#[test]
fn scenario_06_a_read_shares_only_a_fetch_that_starts_after_it() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let first = s.call();
    s.put(&key, b"v1");
    let write = s.call();
    s.written(&write);
    s.replies();
    s.node.cache.remove(1, &key);
    s.get(&key);
    s.get(&key);
    assert!(s.calls().is_empty(), "at most one fetch runs");
    s.found(&first, b"v0");
    assert_eq!(s.reply().value, b"v0", "only the read that began before the write");
    let second = s.call();
    s.found(&second, b"v1");
    let late = s.replies();
    assert_eq!(late.len(), 2, "one fetch for both");
    assert!(late.iter().all(|reply| reply.value == b"v1"));
}

#[test]
fn waiting_reads_are_answered_from_the_value_that_the_first_fetch_cached() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    for _ in 0..10 {
        s.get(&key);
    }
    let fetch = s.call();
    s.found(&fetch, b"v");
    assert_eq!(s.replies().len(), 10);
    assert!(s.calls().is_empty());
    assert_eq!((s.node.counters.origin_reads, s.node.counters.coalesced), (1, 9));
}

#[test]
fn touch_and_invalidate() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    let mut touch = CommandHead::new(Action::Touch, 1);
    touch.ttl_ms = 7_000;
    assert_eq!(s.send(touch, &key, &[]), None, "not cached: fetched first");
    let fetch = s.call();
    s.found(&fetch, b"v");
    let touched = s.reply();
    assert_eq!((touched.status, touched.ttl_s, touched.value.len()), (Status::Ok, 7, 0));
    touch.ttl_ms = 9_000;
    assert_eq!(s.send(touch, &key, &[]).unwrap().ttl_s, 9);
    assert_eq!(s.op(Action::Invalidate, &key, &[]).unwrap().status, Status::Ok);
    assert_eq!(s.get(&key), None);
}

#[test]
fn the_result_of_a_fetch_is_not_kept_after_an_invalidate() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let fetch = s.call();
    s.op(Action::Invalidate, &key, &[]);
    s.found(&fetch, b"old");
    assert_eq!(s.reply().flags & flags::CACHED, 0);
}

#[test]
fn refusals_name_their_reason() {
    let mut s = Script::with(|config| config.in_flight_max = 1);
    let status = |s: &mut Script, action, keyspace| {
        s.send(CommandHead::new(action, keyspace), b"k", b"").map(|got| got.status)
    };
    assert_eq!(status(&mut s, Action::Get, 9), Some(Status::UnknownKeyspace));
    assert_eq!(status(&mut s, Action::Put, 2), Some(Status::NotSupported));
    let key = s.key_of(OWN);
    assert_eq!(s.get(&key), None);
    assert_eq!(s.get(b"another").unwrap().status, Status::Overloaded);
    let fetch = s.call();
    s.answer(&fetch, Outcome::Failed(Failure::Unavailable));
    assert_eq!(s.reply().status, Status::OriginUnavailable);
    s.node.stop();
    assert_eq!(s.get(&key).unwrap().status, Status::ShuttingDown);
    assert_eq!(status(&mut s, Action::Ping, 0), Some(Status::Ok));
}

#[test]
fn a_probe_fails_if_the_control_thread_is_stuck() {
    let mut s = Script::new();
    let mut ping = |runs| {
        s.node.set_control_runs(runs);
        s.send(CommandHead::new(Action::Ping, 0), b"", b"").unwrap().status
    };
    assert_eq!([true, false, true].map(&mut ping), [Status::Ok, Status::Unavailable, Status::Ok]);
}

#[test]
fn a_row_may_be_as_long_as_the_longest_answer_and_no_longer() {
    let max = answer::VALUE_BYTES_MAX;
    for (bytes, status) in [(max, Status::Ok), (max + 1, Status::OriginRejected)] {
        let mut s = Script::new();
        let key = s.key_of(OWN);
        s.get(&key);
        let call = s.call();
        s.answer(&call, Outcome::Value(Some(Bytes::from(vec![0; bytes]).into())));
        assert_eq!(s.reply().status, status);
    }
}

#[test]
fn a_touch_among_the_requests_that_wait_for_a_fetch_gives_the_lifetime() {
    let mut s = Script::new();
    let key = s.key_of(OWN);
    s.get(&key);
    let first = s.call();
    let touch = CommandHead { ttl_ms: 7_000, ..CommandHead::new(Action::Touch, 1) };
    s.get(&key);
    assert_eq!(s.send(touch, &key, &[]), None);
    // The result of the first fetch is not kept.
    s.op(Action::Invalidate, &key, &[]);
    s.found(&first, b"v");
    assert_eq!(s.reply().ttl_s, 0);
    let second = s.call();
    s.found(&second, b"v");
    assert_eq!(s.replies().iter().map(|got| got.ttl_s).collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn a_read_that_waited_begins_until_its_deadline() {
    for (waited_ms, is_late) in [(50, false), (51, true)] {
        let mut s = Script::with(|config| config.fetch_bytes = 0);
        let own = s.keys_of(OWN, 5);
        for key in &own[..4] {
            s.get(key);
        }
        let calls = s.calls();
        let get = CommandHead { deadline_ms: 50, ..CommandHead::new(Action::Get, 1) };
        assert_eq!(s.send(get, &own[4], &[]), None);
        s.advance(Duration::from_millis(waited_ms));
        s.found(&calls[0], b"v");
        let mut statuses: Vec<Status> = s.replies().iter().map(|got| got.status).collect();
        assert_eq!(statuses.remove(0), Status::Ok);
        assert_eq!(statuses, if is_late { vec![Status::DeadlineExceeded] } else { vec![] });
        assert_eq!(s.calls().len(), usize::from(!is_late));
        assert_eq!(s.node.counters.deadlines_passed, u64::from(is_late));
    }
}

#[test]
fn a_read_that_the_owner_refuses_after_its_deadline_does_not_begin() {
    let mut s = Script::new();
    let key = s.key_of(PEER);
    let get = CommandHead { deadline_ms: 50, ..CommandHead::new(Action::Get, 1) };
    s.send(get, &key, &[]);
    let (_, token, _) = s.forward();
    s.advance(Duration::from_millis(51));
    s.forward_fails(token, ForwardFailure::TimedOut);
    assert_eq!(s.reply().status, Status::DeadlineExceeded);
    assert!(s.calls().is_empty());
    assert_eq!(s.node.counters.deadlines_passed, 1);
}

#[test]
fn a_cas_that_waited_for_room_reads_only_if_its_client_is_still_there() {
    for (is_gone, expected) in [(false, vec![]), (true, vec![Status::Unavailable])] {
        let mut s = Script::with(|config| config.fetch_bytes = 0);
        let own = s.keys_of(OWN, 5);
        for key in &own[..4] {
            s.get(key);
        }
        let calls = s.calls();
        let cas = CommandHead { version: 9, ..CommandHead::new(Action::Cas, 1) };
        assert_eq!(s.send(cas, &own[4], b"v"), None);
        if is_gone {
            s.node.callers_left(&[crate::node::Left { conn: CONN, is_gone: true }]);
        }
        s.node.origin_done(s.now, calls[0].token, Outcome::Failed(Failure::Unavailable));
        s.collect();
        let mut statuses: Vec<Status> = s.replies().iter().map(|got| got.status).collect();
        assert_eq!(statuses.remove(0), Status::OriginUnavailable);
        assert_eq!(statuses, expected);
        assert_eq!(s.calls().len(), usize::from(!is_gone));
    }
}

#[test]
fn answers_that_callers_do_not_take_hold_back_fetches() {
    let mut s = Script::with(|config| config.fetch_bytes = 4 << 20);
    s.node.told_unsent(s.now, 4 << 20);
    let own = s.keys_of(OWN, 5);
    for key in &own {
        s.get(key);
    }
    assert_eq!(s.calls().len(), 4);
    s.node.told_unsent(s.now, 0);
    s.collect();
    assert!(s.calls().is_empty(), "the fetches under way have reserved all room");
    let mut s = Script::with(|config| config.fetch_bytes = 5 << 20);
    s.node.told_unsent(s.now, 4 << 20);
    for key in &own {
        s.get(key);
    }
    assert_eq!(s.calls().len(), 4);
    s.node.told_unsent(s.now, 0);
    s.collect();
    assert_eq!(&*s.call().key, &*own[4]);
}

#[test]
fn a_failure_of_the_database_leaves_only_the_outcome_of_writes_unknown() {
    let doubtful = || Failure::Doubtful("text".into());
    for (failure, of_read, of_write) in [
        (Failure::OutcomeUnknown, Status::OriginUnavailable, Status::OutcomeUnknown),
        (doubtful(), Status::OriginUnavailable, Status::OutcomeUnknown),
        (Failure::Timeout, Status::OriginUnavailable, Status::OriginUnavailable),
        (Failure::Unavailable, Status::OriginUnavailable, Status::OriginUnavailable),
        (Failure::Refused("text".into()), Status::OriginUnavailable, Status::OriginUnavailable),
        (Failure::Rejected("text".into()), Status::OriginRejected, Status::OriginRejected),
        (Failure::Overloaded, Status::Overloaded, Status::Overloaded),
    ] {
        let status = |is_write| read::failure_answer(&failure, is_write).head.status;
        assert_eq!([status(false), status(true)], [of_read, of_write], "{failure:?}");
    }
}
