//! The checker against its definition.

use proptest::prelude::*;

use super::*;

const RUN: u32 = 77;
/// The times of acknowledgements and reads in tests where they do not matter.
const T1: Micros = Micros(1_000);
const T2: Micros = Micros(3_000);
/// Of the search through the history: some of its ages are within it.
const BOUND: Duration = Duration::from_micros(10);
/// Of that search too.
const GRACE: Duration = Duration::from_micros(6);

/// Stale, with the age that follows from those times; without a bound all is beyond it.
fn stale(behind: u32) -> Verdict {
    Verdict::Stale { behind, age: Duration::from_millis(2), is_beyond: true }
}

fn lost(behind: u32) -> Verdict {
    Verdict::Stale { behind, age: Duration::MAX, is_beyond: true }
}

fn filled() -> Checker {
    Checker::new(4, RUN, Initial::Filled)
}

fn put(checker: &Checker, key: u32, is_acknowledged: bool) -> Vec<u8> {
    let write = checker.begin_write(key, WriteKind::Put, T1).unwrap();
    let value = checker.value(&write, 50);
    checker.end_write(write, T1, is_acknowledged);
    value
}

fn read(checker: &Checker, key: u32, value: &[u8]) -> Verdict {
    checker.after_read(key, checker.before_read(key, T2), Seen::Value(value))
}

#[test]
fn an_old_value_is_stale_once_a_newer_one_is_acknowledged() {
    let checker = filled();
    let old = Checker::first_value(RUN, 2, 50);
    assert_eq!(read(&checker, 2, &old), Verdict::Fresh);
    let before = checker.before_read(2, T2);
    let new = put(&checker, 2, true);
    assert_eq!(read(&checker, 2, &new), Verdict::Fresh);
    assert_eq!(read(&checker, 2, &old), stale(1));
    let sent_before = checker.after_read(2, before, Seen::Value(&old));
    assert_eq!(sent_before, Verdict::Fresh, "it was sent before the acknowledgement");
}

#[test]
fn a_write_under_way_may_be_seen_and_need_not() {
    let checker = filled();
    let write = checker.begin_write(0, WriteKind::Put, T1).unwrap();
    let value = checker.value(&write, 50);
    assert_eq!(checker.begin_write(0, WriteKind::Put, T1), None, "one at a time");
    assert_eq!(read(&checker, 0, &value), Verdict::Fresh);
    assert_eq!(read(&checker, 0, &Checker::first_value(RUN, 0, 50)), Verdict::Fresh);
    checker.end_write(write, T1, true);
    assert!(checker.begin_write(0, WriteKind::Put, T1).is_some());
}

#[test]
fn a_failed_write_may_take_effect_late() {
    let checker = filled();
    let lost = put(&checker, 1, false);
    assert_eq!(read(&checker, 1, &lost), Verdict::Fresh);
    assert_eq!(read(&checker, 1, &Checker::first_value(RUN, 1, 50)), Verdict::Fresh);
    put(&checker, 1, true);
    assert_eq!(read(&checker, 1, &lost), Verdict::Late);
    let first = Checker::first_value(RUN, 1, 50);
    assert_eq!(read(&checker, 1, &first), stale(2));
}

#[test]
fn a_value_may_be_gone_but_not_old_where_values_may_be_lost() {
    let absent = |checker: &Checker| {
        let floor = checker.before_read(1, T1);
        checker.after_read(1, floor, Seen::Absent)
    };
    let [lossy, rows] = [filled().with_losses(true), filled()];
    for checker in [&lossy, &rows] {
        put(checker, 1, true);
    }
    assert_eq!(absent(&lossy), Verdict::Fresh);
    assert!(matches!(absent(&rows), Verdict::Stale { is_beyond: true, .. }));
    assert_eq!(read(&lossy, 1, &Checker::first_value(RUN, 1, 50)), stale(1));
}

#[test]
fn a_failed_write_may_not_take_effect_for_ever() {
    const S: u64 = 1_000_000;
    let at = |s: u64| Micros(s * S);
    let (bound, grace) = (Duration::from_secs(2), Duration::from_secs(4));
    let checker = filled().with_bound(bound).with_grace(grace);
    let write = |kind, begun, ended, is_acknowledged| {
        let write = checker.begin_write(1, kind, at(begun)).unwrap();
        let value = checker.value(&write, 50);
        checker.end_write(write, at(ended), is_acknowledged);
        value
    };
    let seen = |asked, seen| checker.after_read(1, checker.before_read(1, at(asked)), seen);
    let unknown = write(WriteKind::Put, 0, 1, false);
    write(WriteKind::Put, 4, 6, true);
    // That one was acknowledged after the grace, but had begun before its end.
    assert_eq!(seen(7, Seen::Value(&unknown)), Verdict::Late);
    let asked_before = checker.before_read(1, at(8));
    write(WriteKind::Put, 8, 9, true);
    assert_eq!(checker.after_read(1, asked_before, Seen::Value(&unknown)), Verdict::Late);
    let stale = |behind, s: u64, is_beyond| Verdict::Stale {
        behind,
        age: Duration::from_secs(s),
        is_beyond,
    };
    // Its age counts from the write that had the last word, not from the first one.
    assert_eq!(seen(10, Seen::Value(&unknown)), stale(2, 1, false));
    assert_eq!(seen(12, Seen::Value(&unknown)), stale(2, 3, true));

    write(WriteKind::Delete, 13, 14, false);
    write(WriteKind::Put, 15, 16, true);
    assert_eq!(seen(17, Seen::Absent), Verdict::Late);
    write(WriteKind::Put, 19, 20, true);
    assert_eq!(seen(23, Seen::Absent), stale(6, 3, true));
}

#[test]
fn the_ages_that_a_mode_allows() {
    let address = ([127, 0, 0, 1], 1).into();
    let mut cluster =
        ClusterConfig::new("x", address, standin_config::OriginConfig::postgres("postgres://x/y"));
    cluster.timings.lease = Duration::from_secs(2);
    cluster.origin.as_mut().expect("it has a database").timeout = Duration::from_secs(60);
    cluster.mode = Mode::Available;
    assert_eq!(age_allowed(&cluster), Duration::from_millis(2_520));
    cluster.mode = Mode::Strict;
    assert_eq!(age_allowed(&cluster), Duration::ZERO);
    assert_eq!(grace(&cluster), Duration::from_secs(120));
}

#[test]
fn what_nobody_wrote_is_wrong() {
    let checker = filled();
    let wrong = |bytes: &[u8]| match read(&checker, 1, bytes) {
        Verdict::Wrong(wrong) => wrong,
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong(b"hello"), Wrong::NotOurs);
    assert_eq!(wrong(&Checker::first_value(RUN, 2, 50)), Wrong::OtherKey);
    assert_eq!(wrong(&Checker::first_value(RUN + 1, 1, 50)), Wrong::OtherRun);
    let invented = Stamp { run: RUN, key: 1, sequence: 1 }.to_value(50);
    assert_eq!(wrong(&invented), Wrong::NeverWritten);
    let mut damaged = Checker::first_value(RUN, 1, 50);
    damaged[40] ^= 1;
    assert_eq!(wrong(&damaged), Wrong::Damaged);
    let empty = Checker::new(2, RUN, Initial::Empty);
    let never = read(&empty, 1, &Checker::first_value(RUN, 1, 50));
    assert_eq!(never, Verdict::Wrong(Wrong::NeverWritten));
}

#[test]
fn the_age_counts_from_the_next_acknowledged_write_to_the_question() {
    let checker = filled().with_bound(Duration::from_millis(5));
    let first = Checker::first_value(RUN, 3, 50);
    let ends = |at: u64| {
        let write = checker.begin_write(3, WriteKind::Put, Micros(at)).unwrap();
        checker.end_write(write, Micros(at), true);
    };
    let read_at = |asked: u64| {
        let floor = checker.before_read(3, Micros(asked));
        checker.after_read(3, floor, Seen::Value(&first))
    };
    ends(10_000);
    ends(14_000);
    let aged =
        |ms, is_beyond| Verdict::Stale { behind: 2, age: Duration::from_millis(ms), is_beyond };
    assert_eq!(read_at(15_000), aged(5, false), "within the bound");
    assert_eq!(read_at(16_000), aged(6, true));
    assert_eq!(read_at(9_000), aged(0, false), "clocks that were read in another order");
}

#[test]
fn absence_needs_a_delete() {
    let absent =
        |checker: &Checker| checker.after_read(0, checker.before_read(0, T2), Seen::Absent);
    assert_eq!(absent(&filled()), lost(1));
    let checker = Checker::new(1, RUN, Initial::Empty);
    assert_eq!(absent(&checker), Verdict::Fresh);
    put(&checker, 0, true);
    assert_eq!(absent(&checker), stale(1));
    let delete = checker.begin_write(0, WriteKind::Delete, T1).unwrap();
    assert_eq!(absent(&checker), Verdict::Fresh, "under way");
    checker.end_write(delete, T1, false);
    let value = put(&checker, 0, true);
    assert_eq!(absent(&checker), Verdict::Late);
    assert_eq!(read(&checker, 0, &value), Verdict::Fresh);
}

#[derive(Debug, Clone)]
enum Step {
    Begin(u32, bool),
    End(u32, bool),
    Send(u32),
    /// The answer to one of the reads under way shows one of the writes, or nothing.
    Answer(prop::sample::Index, Option<prop::sample::Index>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u32..2;
    let step = prop_oneof![
        (key.clone(), any::<bool>()).prop_map(|(key, is_put)| Step::Begin(key, is_put)),
        (key.clone(), any::<bool>()).prop_map(|(key, ok)| Step::End(key, ok)),
        key.prop_map(Step::Send),
        any::<(prop::sample::Index, Option<prop::sample::Index>)>()
            .prop_map(|(read, seen)| Step::Answer(read, seen)),
    ];
    prop::collection::vec(step, 0..60)
}

/// A write as the brute-force model remembers it.
struct Past {
    key: u32,
    sequence: u32,
    is_put: bool,
    begun_at: usize,
    /// The time at which it was acknowledged; `None`: not (yet).
    acknowledged_at: Option<usize>,
    /// The time at which it ended without an acknowledgement.
    failed_at: Option<usize>,
}

/// Straight from the definition: looks through the whole history.
fn expected(
    history: &[Past],
    initial: Initial,
    key: u32,
    sent_at: usize,
    seen: Option<&Past>,
) -> Verdict {
    let of_key = || history.iter().filter(|past| past.key == key);
    let floor = of_key()
        .filter(|past| past.acknowledged_at.is_some_and(|at| at < sent_at))
        .map(|past| past.sequence)
        .max()
        .unwrap_or(0);
    let too_old = |sequence, behind| {
        let replaced = of_key().filter(|past| past.sequence > sequence);
        let at = replaced.filter_map(|past| past.acknowledged_at).min().unwrap_or(sent_at);
        let age = Duration::from_micros(sent_at.saturating_sub(at) as u64);
        Verdict::Stale { behind, age, is_beyond: age > BOUND }
    };
    // The time of the acknowledgement of the first write that this one can't replace, because it
    // began too late for that.
    let last_word = |failed_at: usize| {
        let began_later =
            of_key().filter(|past| past.begun_at > failed_at + GRACE.as_micros() as usize);
        let at = began_later.filter_map(|past| past.acknowledged_at).min();
        at.filter(|at| *at < sent_at)
    };
    let aged = |at: usize, behind| {
        let age = Duration::from_micros((sent_at - at) as u64);
        Verdict::Stale { behind, age, is_beyond: age > BOUND }
    };
    let is_delete = |past: &&Past| !past.is_put;
    let unknown_delete = of_key().filter(is_delete).filter_map(|past| past.failed_at).max();
    let deleted = of_key().filter(is_delete).map(|past| past.sequence).max();
    match (seen, unknown_delete) {
        (Some(past), _) if past.sequence >= floor => Verdict::Fresh,
        (Some(past), _) => match past.failed_at.map(last_word) {
            None => too_old(past.sequence, floor - past.sequence),
            Some(None) => Verdict::Late,
            Some(Some(at)) => aged(at, floor - past.sequence),
        },
        (None, _) if floor == 0 && initial == Initial::Empty => Verdict::Fresh,
        (None, _) if deleted.is_some_and(|deleted| deleted >= floor) => Verdict::Fresh,
        (None, Some(failed_at)) => match last_word(failed_at) {
            None => Verdict::Late,
            Some(at) => {
                let later = of_key().filter(|past| past.sequence > deleted.unwrap_or(0));
                aged(
                    later.filter_map(|past| past.acknowledged_at).min().unwrap_or(at).max(at),
                    floor.max(1),
                )
            }
        },
        (None, None) if deleted.is_none() && initial == Initial::Filled => lost(floor.max(1)),
        (None, None) => too_old(deleted.unwrap_or(0), floor.max(1)),
    }
}

proptest! {
    #[test]
    fn agrees_with_a_search_through_the_history(steps in steps(), is_filled: bool) {
        let initial = if is_filled { Initial::Filled } else { Initial::Empty };
        let checker = Checker::new(2, RUN, initial).with_bound(BOUND).with_grace(GRACE);
        let mut history: Vec<Past> = Vec::new();
        if is_filled {
            let first = |key| Past {
                key, sequence: 0, is_put: true, begun_at: 0, acknowledged_at: Some(0), failed_at: None,
            };
            history.extend([first(0), first(1)]);
        }
        let mut open: [Option<Write>; 2] = [None, None];
        let mut reads: Vec<(u32, usize, Floor)> = Vec::new();
        for (now, step) in (1..).zip(steps) {
            match step {
                Step::Begin(key, is_put) => {
                    let kind = if is_put { WriteKind::Put } else { WriteKind::Delete };
                    let write = checker.begin_write(key, kind, Micros(now as u64));
                    prop_assert_eq!(write.is_none(), open[key as usize].is_some());
                    if let Some(write) = write {
                        let (sequence, acknowledged_at) = (write.sequence, None);
                        history.push(Past {
                            key, sequence, is_put, begun_at: now, acknowledged_at, failed_at: None,
                        });
                        open[key as usize] = Some(write);
                    }
                }
                Step::End(key, is_acknowledged) => {
                    let Some(write) = open[key as usize].take() else { continue };
                    let past = history.iter_mut().find(|p| p.key == key && p.sequence == write.sequence);
                    let past = past.unwrap();
                    past.acknowledged_at = is_acknowledged.then_some(now);
                    past.failed_at = (!is_acknowledged).then_some(now);
                    checker.end_write(write, Micros(now as u64), is_acknowledged);
                }
                Step::Send(key) => reads.push((key, now, checker.before_read(key, Micros(now as u64)))),
                Step::Answer(read, seen) => {
                    if reads.is_empty() { continue }
                    let (key, sent_at, floor) = reads.swap_remove(read.index(reads.len()));
                    let puts: Vec<&Past> = history.iter().filter(|p| p.key == key && p.is_put).collect();
                    let seen = seen.filter(|_| !puts.is_empty()).map(|seen| puts[seen.index(puts.len())]);
                    let value = seen.map(|p| Stamp { run: RUN, key, sequence: p.sequence }.to_value(40));
                    let shown = value.as_deref().map_or(Seen::Absent, Seen::Value);
                    prop_assert_eq!(
                        checker.after_read(key, floor, shown),
                        expected(&history, initial, key, sent_at, seen)
                    );
                }
            }
        }
    }
}

#[test]
fn a_write_that_was_not_made_is_wrong_where_it_is_seen() {
    let checker = Checker::new(1, 9, Initial::Filled);
    let write = checker.begin_write(0, WriteKind::Put, Micros(1)).unwrap();
    let value = checker.value(&write, 40);
    checker.withdraw_write(write);
    let floor = checker.before_read(0, Micros(2));
    let seen = checker.after_read(0, floor, Seen::Value(&value));
    assert_eq!(seen, Verdict::Wrong(Wrong::NeverWritten));
    let first = Checker::first_value(9, 0, 40);
    assert_eq!(checker.after_read(0, floor, Seen::Value(&first)), Verdict::Fresh);
    let again = checker.begin_write(0, WriteKind::Put, Micros(3)).unwrap();
    assert_eq!(again.sequence, 1, "the key is free, and so is the number");
    checker.end_write(again, Micros(4), true);
}

/// An addition without an acknowledgement finds the key gone once more, when others have replaced it long ago.
#[test]
fn a_refill_that_takes_effect_late_is_not_stale_nor_is_what_replaces_it() {
    let checker = Checker::new(1, RUN, Initial::Filled).with_losses(true);
    let refill = |begun| checker.begin_refill(0, Micros(begun)).unwrap();
    let seen = |value: &[u8], asked| {
        checker.after_read(0, checker.before_read(0, Micros(asked)), Seen::Value(value))
    };
    let late = refill(1);
    let late_value = checker.swapped_value(&late, 40);
    checker.leave_swap(late, Micros(2));
    let acknowledged = refill(3);
    assert_eq!(checker.end_swap(acknowledged, Micros(4)), Verdict::Fresh);
    assert_eq!(seen(&late_value, 5), Verdict::Late);
    let number = Stamp::of(&late_value, &ValueForm::default()).unwrap().sequence;
    let swap = checker.begin_swap(0, number, Micros(6)).unwrap();
    let swapped = checker.swapped_value(&swap, 40);
    assert_eq!(checker.end_swap(swap, Micros(7)), Verdict::Fresh);
    assert_eq!(seen(&swapped, 8), Verdict::Late);
    assert_eq!(seen(&Checker::first_value(RUN, 0, 40), 9), {
        let age = Duration::from_micros(5);
        Verdict::Stale { behind: 2 << 12, age, is_beyond: true }
    });
}

#[test]
fn a_key_without_numbers_is_not_written_any_more() {
    let checker = Checker::new(1, RUN, Initial::Filled);
    assert!(checker.begin_swap(0, u32::MAX, T1).is_none());
    let refills = (0..u32::MAX).map_while(|_| checker.begin_refill(0, T1)).count();
    assert!((1_000_000..1 << 20).contains(&refills), "{refills}: no number is given twice");
    assert!(checker.begin_refill(0, T1).is_none());
}
