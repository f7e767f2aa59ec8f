//! What becomes of a value by each operation.

use super::*;
use crate::node::answer::marks::{ABSENT, STALE, WINS, WON};

const MOST: usize = 64;

fn found(value: &'static [u8]) -> Found {
    Found { value: Bytes::from_static(value), flags: 5, marks: 0, version: 9, ttl_ms: 1_000 }
}

fn run(modify: &Modify, found: Option<&Found>, operand: &'static [u8]) -> Applied {
    apply(modify, found, Operand { value: &Bytes::from_static(operand), flags: 7 }, MOST)
}

/// The value and flags that are stored, or the status.
fn stored(
    edit: Edit,
    value: Option<&'static [u8]>,
    operand: &'static [u8],
) -> Result<(Bytes, u32), Status> {
    let applied = run(&Modify::new(edit), value.map(found).as_ref(), operand);
    match applied.effect {
        Effect::Store { value, flags, .. } => Ok((value, flags)),
        _ => Err(applied.status),
    }
}

fn value(
    edit: Edit,
    value: Option<&'static [u8]>,
    operand: &'static [u8],
) -> Result<Bytes, Status> {
    stored(edit, value, operand).map(|(value, _)| value)
}

fn ok(text: &'static [u8]) -> Result<Bytes, Status> {
    Ok(Bytes::from_static(text))
}

#[test]
fn a_value_is_replaced_with_its_flags_and_extended_without() {
    assert_eq!(stored(Edit::Set, Some(b"old"), b"new"), Ok((Bytes::from_static(b"new"), 7)));
    assert_eq!(stored(Edit::Append, Some(b"old"), b"+"), Ok((Bytes::from_static(b"old+"), 5)));
    assert_eq!(value(Edit::Prepend, Some(b"old"), b"+"), ok(b"+old"));
    assert_eq!(stored(Edit::Append, None, b"+"), Ok((Bytes::from_static(b"+"), 7)));
    assert_eq!(stored(Edit::Clear, Some(b"old"), b""), Ok((Bytes::new(), 0)));
    assert_eq!(value(Edit::Clear, None, b""), Err(Status::NotFound));
}

#[test]
fn an_overwritten_value_grows_and_a_gap_is_filled_with_zeros() {
    assert_eq!(value(Edit::Overwrite(1), Some(b"Hello"), b"ipp"), ok(b"Hippo"));
    assert_eq!(value(Edit::Overwrite(4), Some(b"Hello"), b"a!"), ok(b"Hella!"));
    assert_eq!(value(Edit::Overwrite(2), None, b"x"), ok(b"\0\0x"));
    assert_eq!(value(Edit::Overwrite(9), Some(b"v"), b""), ok(b"v"), "nothing is written");
    assert_eq!(value(Edit::Overwrite(u32::MAX), None, b"x"), Err(Status::TooLarge));
}

#[test]
fn a_result_over_the_limit_is_refused() {
    const FULL: &[u8] = &[b'x'; MOST];
    assert_eq!(value(Edit::Append, Some(FULL), b"x"), Err(Status::TooLarge));
    assert_eq!(value(Edit::Overwrite(0), Some(FULL), b"y").map(|value| value.len()), Ok(MOST));
    assert_eq!(value(Edit::Overwrite(MOST as u32), Some(b""), b"y"), Err(Status::TooLarge));
}

#[test]
fn numbers_without_a_sign_wrap_around_and_stop_at_zero() {
    let max = u64::MAX.to_string();
    let max: &'static [u8] = Box::leak(max.into_bytes().into_boxed_slice());
    assert_eq!(value(Edit::Increment(1), Some(b"41"), b""), ok(b"42"));
    assert_eq!(value(Edit::Increment(2), Some(max), b""), ok(b"1"));
    assert_eq!(value(Edit::Decrement(2), Some(b"1"), b""), ok(b"0"));
    assert_eq!(value(Edit::Increment(1), Some(b"9 "), b""), ok(b"10"), "memcached pads numbers");
    assert_eq!(value(Edit::Increment(1), None, b""), Err(Status::NotFound));
    for text in
        [&b"-1"[..], b"", b"x", b"1x", b"+1", b" 1", b"1.0", b"99999999999999999999", b"\xff"]
    {
        assert_eq!(value(Edit::Increment(1), Some(text), b""), Err(Status::NotANumber), "{text:?}");
    }
}

#[test]
fn numbers_with_a_sign_do_not_overflow() {
    assert_eq!(value(Edit::Add(-5), Some(b"3"), b""), ok(b"-2"));
    assert_eq!(value(Edit::Add(7), None, b""), ok(b"7"));
    assert_eq!(value(Edit::Add(1), Some(b"9223372036854775807"), b""), Err(Status::OutOfRange));
    assert_eq!(value(Edit::Add(1), Some(b"9223372036854775808"), b""), Err(Status::NotANumber));
    for text in [&b"007"[..], b" 7", b"7 ", b"+7", b"-0", b"-07", b"", b"-", b"7x", b"x", b"\xff"] {
        assert_eq!(value(Edit::Add(1), Some(text), b""), Err(Status::NotANumber), "{text:?}");
    }
    assert_eq!(value(Edit::AddFloat, Some(b"10.25"), b"0.5"), ok(b"10.75"));
    assert_eq!(value(Edit::AddFloat, Some(b"5.0e3"), b"2.0e2"), ok(b"5200"));
    assert_eq!(value(Edit::AddFloat, None, b"1.5"), ok(b"1.5"));
    for large in [&b"1e4932"[..], b"inf"] {
        assert_eq!(value(Edit::AddFloat, Some(b"1e4932"), large), Err(Status::OutOfRange));
    }
    for (text, by) in [(&b"nan"[..], &b"1"[..]), (b"x", b"1"), (b"1", b"x"), (b"1", b"")] {
        assert_eq!(value(Edit::AddFloat, Some(text), by), Err(Status::NotANumber));
    }
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing() {
    let set = |when| Modify { when, gives: Gives::Old, ..Modify::new(Edit::Set) };
    let status = |when: When, found: Option<&Found>| {
        let applied = run(&set(when), found, b"operand");
        assert_eq!(applied.effect == Effect::Nothing, applied.status != Status::Ok);
        applied.status
    };
    let there = found(b"v");
    let absent = When { presence: Presence::Absent, ..When::default() };
    assert_eq!(
        (status(absent, None), status(absent, Some(&there))),
        (Status::Ok, Status::NotStored)
    );
    let present = When { presence: Presence::Present, ..When::default() };
    assert_eq!(
        (status(present, None), status(present, Some(&there))),
        (Status::NotFound, Status::Ok)
    );
    let version = |version| When { version: Some(version), ..When::default() };
    assert_eq!(status(version(9), Some(&there)), Status::Ok);
    assert_eq!(status(version(8), Some(&there)), Status::VersionMismatch);
    assert_eq!(status(version(9), None), Status::NotFound);
    let equals = When { equals_operand: true, ..When::default() };
    assert_eq!(status(equals, Some(&there)), Status::NotStored);
    assert_eq!(status(equals, Some(&found(b"operand"))), Status::Ok);
    let held = run(&set(absent), Some(&there), b"operand");
    assert_eq!((&held.value[..], held.flags), (&b"v"[..], 5), "the one who holds a lock is told");
}

#[test]
fn conditions_on_the_lifetime_compare_the_new_one_with_the_old() {
    use LifetimeTest::{Endless, Limited, LimitedShorter, Longer, Shorter};
    let endless = Found { ttl_ms: u64::MAX, ..found(b"v") };
    let limited = found(b"v");
    for (lifetime, ttl, of_endless, of_limited) in [
        (Endless, Ttl::For(5), true, false),
        (Limited, Ttl::For(5), false, true),
        (Longer, Ttl::For(1_001), false, true),
        (Longer, Ttl::For(1_000), false, false),
        (Shorter, Ttl::For(999), true, true),
        (Shorter, Ttl::For(1_000), true, false),
        (LimitedShorter, Ttl::For(999), false, true),
        (LimitedShorter, Ttl::For(1_000), false, false),
        (Longer, Ttl::Longer(1), false, true),
    ] {
        let when = When { lifetime, ..When::default() };
        let modify = Modify { when, ttl, ..Modify::new(Edit::Keep) };
        let is_met = |found| run(&modify, Some(found), b"").status == Status::Ok;
        assert_eq!((is_met(&endless), is_met(&limited)), (of_endless, of_limited), "{lifetime:?}");
        assert_eq!(run(&modify, None, b"").status, Status::NotFound);
    }
}

#[test]
fn a_lifetime_is_kept_changed_or_that_of_the_keyspace() {
    let ttl = |ttl, found: Option<&Found>| match run(
        &Modify { ttl, ..Modify::new(Edit::Set) },
        found,
        b"x",
    )
    .effect
    {
        Effect::Store { ttl, .. } => ttl,
        other => panic!("{other:?}"),
    };
    let there = found(b"v");
    assert_eq!(ttl(Ttl::Keep, Some(&there)), Ttl::For(1_000));
    let endless = Found { ttl_ms: u64::MAX, ..found(b"v") };
    assert_eq!(ttl(Ttl::Keep, Some(&endless)), Ttl::Never);
    assert_eq!(ttl(Ttl::Keep, None), Ttl::Keep, "there is none to keep");
    assert_eq!(ttl(Ttl::For(3), Some(&there)), Ttl::For(3));
    assert_eq!(ttl(Ttl::Longer(3), Some(&there)), Ttl::For(1_003));
    assert_eq!(ttl(Ttl::Longer(3), None), Ttl::Longer(3));
    let touch = Modify { ttl: Ttl::For(3), gives: Gives::Old, ..Modify::new(Edit::Keep) };
    let touched = run(&touch, Some(&there), b"");
    assert_eq!(touched.effect, Effect::Header { ttl: Ttl::For(3), marks: 0 });
    assert_eq!((&touched.value[..], touched.flags), (&b"v"[..], 5));
}

#[test]
fn the_answer_brings_the_value_that_is_wanted() {
    let gives = |gives, found: Option<&Found>| {
        let applied = run(&Modify { gives, ..Modify::new(Edit::Append) }, found, b"+");
        (applied.value, applied.flags, applied.marks)
    };
    let there = found(b"old");
    assert_eq!(gives(Gives::Nothing, Some(&there)), (Bytes::new(), 0, 0));
    assert_eq!(gives(Gives::Old, Some(&there)), (Bytes::from_static(b"old"), 5, 0));
    assert_eq!(gives(Gives::Old, None), (Bytes::new(), 0, ABSENT));
    assert_eq!(gives(Gives::New, Some(&there)), (Bytes::from_static(b"old+"), 5, 0));
    assert_eq!(gives(Gives::Length, Some(&there)), (Bytes::from_static(b"4"), 0, 0));
    let delete = Modify { gives: Gives::Old, ..Modify::new(Edit::Delete) };
    let deleted = run(&delete, Some(&there), b"");
    assert_eq!((deleted.effect, deleted.value), (Effect::Delete, Bytes::from_static(b"old")));
    assert_eq!(run(&delete, None, b"").status, Status::NotFound);
}

#[test]
fn a_value_that_is_not_there_can_be_made() {
    let ttl = Ttl::For(30);
    let vivified = |edit, value| {
        let vivify = Some(Vivify { value, ttl });
        run(&Modify { vivify, gives: Gives::New, ..Modify::new(edit) }, None, b"operand")
    };
    let number = vivified(Edit::Increment(2), Vivified::Number(13));
    let stored = |value: &'static [u8], flags, marks| Effect::Store {
        value: Bytes::from_static(value),
        flags,
        marks,
        ttl,
    };
    assert_eq!((number.effect, &number.value[..]), (stored(b"13", 0, 0), &b"13"[..]));
    let empty = vivified(Edit::Herd { recache_ms: 0 }, Vivified::Empty);
    assert_eq!((empty.effect, empty.status, empty.marks), (stored(b"", 0, WON), Status::Ok, WINS));
    let operand = vivified(Edit::Append, Vivified::Operand);
    assert_eq!(operand.effect, stored(b"operand", 7, 0));
}

#[test]
fn of_a_herd_one_computes_the_value_again() {
    let herd = Modify { gives: Gives::Old, ..Modify::new(Edit::Herd { recache_ms: 30 }) };
    let ask = |marks, ttl_ms| {
        let applied = run(&herd, Some(&Found { marks, ttl_ms, ..found(b"v") }), b"");
        let kept = match applied.effect {
            Effect::Nothing => marks,
            Effect::Header { ttl: Ttl::Keep, marks } => marks,
            other => panic!("{other:?}"),
        };
        (kept, applied.marks)
    };
    assert_eq!(ask(0, 30), (0, 0), "fresh");
    assert_eq!(ask(0, 29), (WON, WINS), "about to expire: the first wins");
    assert_eq!(ask(WON, 29), (WON, WON), "and the others know");
    assert_eq!(ask(STALE, 99), (STALE | WON, STALE | WINS));
    assert_eq!(ask(STALE | WON, 99), (STALE | WON, STALE | WON));
    let always = Modify::new(Edit::Herd { recache_ms: RECACHE_ALWAYS });
    let applied = run(&always, Some(&Found { ttl_ms: u64::MAX, ..found(b"v") }), b"");
    assert_eq!(applied.marks, WINS, "also a value that never expires");
    let stale = run(&Modify::new(Edit::MarkStale), Some(&Found { marks: WON, ..found(b"v") }), b"");
    let ttl = Ttl::For(1_000);
    let value = Bytes::from_static(b"v");
    assert_eq!(stale.effect, Effect::Store { value, flags: 5, marks: STALE, ttl });
}

#[test]
fn an_older_version_may_leave_the_value_stale() {
    let set = |version| {
        let when = When { version: Some(version), older_marks_stale: true, ..When::default() };
        let set = Modify { when, ttl: Ttl::For(9), ..Modify::new(Edit::Set) };
        let applied = run(&set, Some(&Found { marks: WON, ..found(b"v") }), b"x");
        match applied.effect {
            Effect::Store { marks, ttl, .. } => Ok((marks, ttl)),
            _ => Err(applied.status),
        }
    };
    let (replaced, stale) = (Ok((0, Ttl::For(9))), Ok((STALE | WON, Ttl::For(1_000))));
    assert_eq!((set(8), set(9), set(10)), (stale, replaced, Err(Status::VersionMismatch)));
}

#[test]
fn operations_that_do_something_else_have_another_hash() {
    let one = Modify::new(Edit::Increment(1));
    let others = [
        Modify::new(Edit::Increment(2)),
        Modify::new(Edit::Decrement(1)),
        Modify::new(Edit::Add(1)),
        Modify::new(Edit::AddFloat),
        Modify::new(Edit::Overwrite(1)),
        Modify::new(Edit::Herd { recache_ms: 1 }),
        Modify::new(Edit::Herd { recache_ms: 2 }),
        Modify::new(Edit::Append),
        Modify::new(Edit::Prepend),
        Modify { gives: Gives::New, ..one },
        Modify { ttl: Ttl::Never, ..one },
        Modify { when: When { version: Some(1), ..When::ALWAYS }, ..one },
    ];
    let mut hashes: Vec<u64> = others.iter().map(|other| other.hash_with(7)).collect();
    hashes.extend([one.hash_with(7), one.hash_with(8)]);
    let count = hashes.len();
    assert_eq!(one.hash_with(7), Modify::new(Edit::Increment(1)).hash_with(7));
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}
