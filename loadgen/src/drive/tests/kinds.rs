//! Requests for several keys, compare-and-swaps and increments.

use std::ops::Range;

use super::*;
use crate::checker::SumsAtEnd;
use crate::request::KeyCounts;

/// The numbers of keys of a run with requests for several keys, compare-and-swaps and increments.
const COUNTS: KeyCounts = KeyCounts { plain: KEYS, cas: 4, counters: 3 };

/// Runs these kinds of request against a cache with this mistake, and reads the counters at the end.
fn judged_by_own_kinds(speaks: Speaks, planted: Planted) -> (Counts, SumsAtEnd, u64) {
    let settings = settings(speaks);
    // Many are under way at a time, so that compare-and-swaps meet.
    let pacing = Pacing::Open { rates: 40_000.into(), arrivals: Arrivals::Poisson };
    let checker = Arc::new(Checker::of_kinds(COUNTS, RUN, Initial::Filled));
    let duration = Some(Duration::from_millis(250));
    let plan = Plan { checker: Some(Arc::clone(&checker)), duration, ..plan(&settings, pacing, 1) };
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
    let counts = world.run(plan.clone(), Supply::mixed(mix, SEED, 0, 1), START).counts();
    assert_eq!(counts.failed, 0, "{speaks:?}");
    sweep(&mut world, counters, SweepAccess::ReadCounters, true, Micros(START.0 + 5_000_000));
    (counts, checker.sums_at_end().unwrap(), world.cache.mistakes())
}

#[test]
fn requests_for_several_keys_increments_and_swaps_of_a_correct_cache_are_never_accused() {
    for speaks in Speaks::ALL {
        let (counts, sums, mistakes) = judged_by_own_kinds(speaks, Planted::Nothing);
        assert_eq!((counts.stale, counts.wrong, mistakes), (0, 0, 0), "{speaks:?} {counts:?}");
        assert_eq!(sums, SumsAtEnd { counters: 3, ..SumsAtEnd::default() }, "{speaks:?}");
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
        assert!(counts.stale > 0 && counts.wrong == 0 && mistakes == 1, "{speaks:?} {counts:?}");
        assert!((1..=9).contains(&sums.lost) && sums.extra == 0, "{speaks:?} {sums:?}");
        let (counts, sums, mistakes) = judged_by_own_kinds(speaks, Planted::DoubledIncrement(500));
        assert!(counts.wrong > 0 && counts.stale == 0 && mistakes == 1, "{speaks:?} {counts:?}");
        assert!((1..=9).contains(&sums.extra) && sums.lost == 0, "{speaks:?} {sums:?}");
    }
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
    let counts = world.run(plan, Supply::mixed(mix, SEED, 0, 1), START).counts();
    assert_eq!((counts.requests, counts.multi_gets), (1_000, 1_000));
    assert_eq!(counts.multi_keys + counts.multi_keys_failed, 5_000, "each key ends");
    assert!(counts.failed > 900 && counts.multi_gets_partial > 850, "{counts:?}");
    assert!(counts.multi_keys > 1_500 && counts.multi_keys_failed > 1_500, "{counts:?}");
    assert_eq!((counts.checked, counts.stale, counts.wrong), (counts.multi_keys, 0, 0));
}
