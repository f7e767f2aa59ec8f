//! Requests for several keys, compare-and-swaps and increments.

use std::ops::Range;

use super::*;
use crate::checker::{Off, Sums};
use crate::recorder::Moments;
use crate::request::KeyCounts;

/// The numbers of keys of a run with requests for several keys, compare-and-swaps and increments.
const COUNTS: KeyCounts = KeyCounts { plain: KEYS, cas: 4, counters: 3 };

/// Runs these kinds of request against a cache with this mistake, and reads the counters at the end.
fn judged_by_own_kinds(speaks: Speaks, planted: Planted) -> (Counts, Sums, u64) {
    let (recording, sums, mistakes) = recorded_by_own_kinds(speaks, planted);
    (recording.counts(), sums, mistakes)
}

fn recorded_by_own_kinds(speaks: Speaks, planted: Planted) -> (Recording, Sums, u64) {
    recorded_in_form(speaks, planted, ValueForm::default())
}

pub(super) fn recorded_in_form(
    speaks: Speaks,
    planted: Planted,
    form: ValueForm,
) -> (Recording, Sums, u64) {
    let settings = settings(speaks);
    // Many are under way at a time, so that compare-and-swaps meet.
    let pacing = Pacing::Open { rates: 40_000.into(), arrivals: Arrivals::Poisson };
    let checker = Checker::of_kinds(COUNTS, RUN, Initial::Filled).with_form(form.clone());
    let checker = Arc::new(checker);
    let duration = Some(Duration::from_millis(250));
    let moments = Arc::new(Moments::new([Some(Duration::ZERO)]));
    let checked = Some(Arc::clone(&checker));
    let plan = Plan { checker: checked, form, duration, moments, ..plan(&settings, pacing, 1) };
    let mut world = World::new(settings, FakeCache::new(speaks, planted));
    let sweep = |world: &mut World, keys: Range<u32>, access, is_judged: bool, start| {
        let pacing = Pacing::Closed { clients: 1, depth: 1 };
        let checker = plan.checker.clone().filter(|_| is_judged);
        let plan = Plan { pacing, checker, duration: None, ..plan.clone() };
        let supply = Supply::Sweep { next: keys.start, end: keys.end, step: 1, access };
        let counts = world.run(plan, supply, start).counts();
        assert_eq!((counts.requests, counts.failed), (u64::from(keys.end - keys.start), 0));
    };
    let before = Micros(START.0 - 100_000_000);
    let counters = COUNTS.first_counter()..COUNTS.all();
    sweep(&mut world, 0..COUNTS.first_counter(), SweepAccess::Fill(60), false, before);
    sweep(&mut world, counters.clone(), SweepAccess::SetCounters, false, before);
    let others = Others {
        multi_gets_percent: 20.0,
        multi_get_keys: 7,
        cas_percent: 20.0,
        cas_keys: COUNTS.cas,
        increments_percent: 20.0,
        counters: COUNTS.counters,
        ..Others::NONE
    };
    let mix = Mix {
        keys: KEYS,
        popularity: Popularity::ranked(0.9),
        reads_percent: 30.0,
        reads_first: false,
        others,
        sizes: ValueSizes::between(40, 200),
        cold: Cold::default(),
    };
    let recording = world.run(plan.clone(), Supply::mixed(mix, SEED, 0, 1), START);
    assert_eq!(recording.counts().failed, 0, "{speaks:?}");
    sweep(&mut world, counters, SweepAccess::ReadCounters, true, Micros(START.0 + 5_000_000));
    (recording, checker.sums(), world.cache.mistakes())
}

#[test]
fn requests_for_several_keys_increments_and_swaps_of_a_correct_cache_are_never_accused() {
    for speaks in Speaks::ALL {
        let (counts, sums, mistakes) = judged_by_own_kinds(speaks, Planted::Nothing);
        assert_eq!((counts.stale, counts.wrong, mistakes), (0, 0, 0), "{speaks:?} {counts:?}");
        assert_eq!(sums, Sums { counters: 3, ..Sums::default() }, "{speaks:?}");
        assert!(counts.multi_gets > 1_700 && counts.multi_keys == 7 * counts.multi_gets);
        assert!(counts.increments > 1_700, "{counts:?}");
        assert!(counts.swaps > 250 && counts.swaps_refused > 250, "they meet: {counts:?}");
        // All are judged: keys, reads and conditional writes of swaps, and increments.
        assert!(counts.checked > counts.multi_keys + 2 * counts.swaps + counts.increments);
    }
}

#[test]
fn each_mistake_with_several_keys_increments_and_swaps_is_found() {
    for speaks in Speaks::ALL {
        let (counts, _, mistakes) = judged_by_own_kinds(speaks, Planted::ExchangedKeys(500));
        assert_eq!((counts.stale, counts.wrong, mistakes), (0, 2, 1), "{speaks:?}");
        let (counts, _, mistakes) = judged_by_own_kinds(speaks, Planted::SwapOfOldVersion(500));
        assert!(counts.wrong == 1 && mistakes == 1, "{speaks:?} {counts:?}");
        let (counts, sums, mistakes) = judged_by_own_kinds(speaks, Planted::LostIncrement(500));
        assert_eq!((counts.stale, counts.wrong, mistakes), (1, 0, 1), "{speaks:?}");
        assert_eq!((sums.lost.times, sums.extra), (1, Off::default()), "{speaks:?}");
        assert!((1..=9).contains(&sums.lost.by), "{speaks:?} {sums:?}");
        let (counts, sums, mistakes) = judged_by_own_kinds(speaks, Planted::DoubledIncrement(500));
        assert_eq!((counts.stale, counts.wrong, mistakes), (0, 1, 1), "{speaks:?}");
        assert_eq!((sums.extra.times, sums.lost), (1, Off::default()), "{speaks:?}");
        assert!((1..=9).contains(&sums.extra.by), "{speaks:?} {sums:?}");
    }
}

/// In the timeline and behind the moments of faults as in the whole.
#[test]
fn bad_reads_of_requests_for_several_keys_are_in_the_timeline() {
    let (recording, _, _) = recorded_by_own_kinds(Speaks::Text, Planted::ExchangedKeys(500));
    let (counts, timeline) = (recording.counts(), recording.timeline());
    assert_eq!(counts.wrong, 2);
    let sum = |of: fn(&crate::recorder::TimelinePoint) -> u64| timeline.iter().map(of).sum::<u64>();
    assert_eq!((sum(|point| point.stale), sum(|point| point.wrong)), (0, 2));
    assert_eq!(sum(|point| point.reads), counts.reads_answered);
    assert_eq!(sum(|point| point.hits), counts.hits);
    let [(window, _)] = recording.windows[..] else { panic!("one moment") };
    assert_eq!((window.requests, window.wrong), (counts.requests, 2));
    assert!(window.last_bad_us.is_some());
}

/// They have no time of their own, so they are neither late nor part of the rate.
#[test]
fn what_follows_from_an_answer_is_not_of_the_schedule() {
    let (recording, _, _) = recorded_by_own_kinds(Speaks::Text, Planted::Nothing);
    let (counts, timeline) = (recording.counts(), recording.timeline());
    let follow_ups = counts.swaps + counts.swaps_refused;
    assert!(follow_ups > 500, "{counts:?}");
    assert_eq!(counts.scheduled, counts.requests - follow_ups);
    assert_eq!(recording.lateness.len(), counts.scheduled);
    let ended: u64 = timeline.iter().map(|point| point.scheduled_ended).sum();
    let answered: u64 = timeline.iter().map(|point| point.scheduled_answers).sum();
    assert_eq!((ended, answered), (counts.scheduled, counts.scheduled));
    let answers: u64 = timeline.iter().map(|point| point.answers).sum();
    assert_eq!(answers, counts.requests);
}

#[test]
fn a_part_of_a_request_for_several_keys_that_fails_is_counted() {
    let names = ["127.0.0.1:1", "127.0.0.1:2"].map(str::to_owned);
    let servers = names.map(|name| Server { address: name.parse().unwrap(), name });
    let timeout = Duration::from_millis(100);
    let settings = Settings { timeout, ..Settings::new(Protocol::MemcachedText, servers.to_vec()) };
    let pacing = Pacing::Open { rates: 1_000.into(), arrivals: Arrivals::Constant };
    let plan = plan(&settings, pacing, 1);
    let cache = FakeCache::new(Speaks::Text, Planted::Nothing);
    let mut world = World::new(settings, cache);
    world.fill(&plan);
    world.silent_server = Some(1);
    let others = Others { multi_gets_percent: 100.0, multi_get_keys: 5, ..Others::NONE };
    let mix = Mix {
        keys: KEYS,
        popularity: Popularity::Uniform,
        reads_percent: 0.0,
        reads_first: false,
        others,
        sizes: ValueSizes::fixed(40),
        cold: Cold::default(),
    };
    let plan = Plan { moments: Arc::new(Moments::new([Some(Duration::ZERO)])), ..plan };
    let recording = world.run(plan, Supply::mixed(mix, SEED, 0, 1), START);
    let (counts, window) = (recording.counts(), recording.windows[0].0);
    assert_eq!((window.requests, window.failed), (1_000, counts.failed));
    assert_eq!(window.first_good_us, None, "no key of the silent server is answered");
    assert_eq!((counts.requests, counts.multi_gets), (1_000, 1_000));
    assert_eq!(counts.multi_keys + counts.multi_keys_failed, 5_000, "each key ends");
    assert!(counts.failed > 900 && counts.multi_gets_partial > 850, "{counts:?}");
    assert!(counts.multi_keys > 1_500 && counts.multi_keys_failed > 1_500, "{counts:?}");
    assert_eq!((counts.checked, counts.stale, counts.wrong), (counts.multi_keys, 0, 0));
}
