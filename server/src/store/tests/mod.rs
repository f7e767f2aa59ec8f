//! The store's guarantees, one by one. `model` tests all of them together, in random order; `room`
//! those about space, `walk` those about walks.

mod model;
mod room;
mod walk;

use super::*;

const NEVER: u64 = u64::MAX;

fn store(arena_bytes: usize, item_bytes_max: usize) -> Store {
    let hash_seeds = Some([1, 2, 3, 4]);
    Store::new(&StoreConfig { arena_bytes, huge_pages: false, item_bytes_max, hash_seeds }).unwrap()
}

fn new(value: &[u8], version: u64) -> NewItem<'_> {
    NewItem { value, version, expires_at_ms: NEVER, negative: false, flags: 0, marks: 0 }
}

fn get<'a>(store: &'a mut Store, key: &[u8], floor: u64, now_ms: u64) -> Option<Item<'a>> {
    let hint = store.hint(0, key);
    store.get(hint, 0, key, floor, now_ms)
}

fn value(store: &mut Store, key: &[u8]) -> Option<Vec<u8>> {
    get(store, key, 0, 0).map(|item| item.value.to_vec())
}

/// Checks everything on which the parts must agree.
fn check(store: &Store) {
    let mut live_bytes = 0;
    let mut live_by_segment = vec![0_usize; store.arena.segments.len()];
    let mut items = 0;
    for offset in store.index.offsets() {
        let item = store.arena.view(offset).expect("the index names only items");
        let hash = hash_of(&store.hasher, &item);
        assert_eq!(store.find(hash, item.header.keyspace, item.key), Some(offset), "found by key");
        let segment = store.arena.segment_of(offset);
        assert!(item.header.expires_at_ms <= store.arena.segments[segment].expires_last_ms);
        live_by_segment[segment] += store.arena.footprint_bytes(&item);
        live_bytes += store.arena.footprint_bytes(&item);
        items += 1;
    }
    for (segment, &live) in store.arena.segments.iter().zip(&live_by_segment) {
        assert_eq!(segment.live_bytes as usize, live);
        assert!(segment.live_bytes <= segment.written_bytes);
    }
    let stats = store.stats();
    assert_eq!((stats.items, stats.live_bytes), (items, live_bytes as u64));
    assert!(stats.used_bytes <= stats.arena_bytes);
    let free =
        StoreStats { used_bytes: 0, segments: 0, segments_free: 0, segment_bytes: 0, ..stats };
    assert_eq!(store.counts(), free);
}

#[test]
fn an_insert_is_read_back_whole_and_replaced_by_the_next() {
    let mut store = store(1 << 20, 4096);
    let item = NewItem { expires_at_ms: 90, negative: true, flags: 7, marks: 1, ..new(b"one", 7) };
    store.insert(3, b"key", item, 0).unwrap();
    let hint = store.hint(3, b"key");
    let read = store.get(hint, 3, b"key", 0, 0).unwrap();
    let expected =
        Item { value: b"one", version: 7, expires_at_ms: 90, negative: true, flags: 7, marks: 1 };
    assert_eq!(read, expected);
    assert_eq!(value(&mut store, b"key"), None, "another keyspace");

    // Values of equal length are overwritten in place, others are not. Neither may leave the old
    // value.
    for (version, bytes) in [(8, &b"two"[..]), (9, b"three"), (10, b""), (11, &[7; 4000])] {
        store.insert(3, b"key", new(bytes, version), 0).unwrap();
        let hint = store.hint(3, b"key");
        let read = store.get(hint, 3, b"key", 0, 0).unwrap();
        assert_eq!((read.value, read.version, read.expires_at_ms), (bytes, version, NEVER));
        check(&store);
    }
    assert_eq!(store.stats().items, 1);
    assert!(store.remove(3, b"key"));
    assert!(!store.remove(3, b"key"));
    assert_eq!(store.stats().live_bytes, 0);
}

#[test]
fn a_stale_hint_never_reads_what_was_replaced_removed_or_moved() {
    let mut store = store(1 << 20, 4096);
    store.insert(0, b"a", new(b"old", 1), 0).unwrap();
    let before = store.hint(0, b"a");
    store.insert(0, b"a", new(b"newer and longer", 2), 0).unwrap();
    assert_eq!(store.get(before, 0, b"a", 0, 0).unwrap().value, b"newer and longer");
    let before = store.hint(0, b"a");
    store.remove(0, b"a");
    assert_eq!(store.get(before, 0, b"a", 0, 0), None);
    let absent = store.hint(0, b"a");
    store.insert(0, b"a", new(b"back", 3), 0).unwrap();
    assert_eq!(store.get(absent, 0, b"a", 0, 0).unwrap().value, b"back");
}

#[test]
fn a_stale_hint_does_not_believe_an_item_forged_inside_a_value() {
    let mut store = store(SEGMENTS_MIN * SEGMENT_BYTES_MIN, 2048);
    // The bytes of an item with key "k" and value "forged", at every place where one may begin.
    let header = Header {
        keyspace: 0,
        negative: false,
        frequency: 0,
        key_bytes: 1,
        value_bytes: 6,
        version: 1,
        expires_at_ms: NEVER,
        flags: 0,
        marks: 0,
    };
    let mut forged = [0; 64];
    let length = header.encode(&item::Bases::default(), &mut forged);
    forged[length..length + 7].copy_from_slice(b"kforged");
    let mut hints = Vec::new();
    for round in 0..400_u32 {
        store.insert(0, b"k", new(&vec![b'-'; round as usize % 50], 9), 0).unwrap();
        hints.push(store.hint(0, b"k"));
        let value: Vec<u8> = forged[..length + 7].repeat(1000 / (length + 7));
        for n in 0..4 {
            store.insert(0, &(round * 4 + n).to_le_bytes(), new(&value, 1), 0).unwrap();
        }
        store.remove(0, b"k");
        for &hint in &hints {
            assert_eq!(store.get(hint, 0, b"k", 0, 0), None);
        }
    }
    assert!(store.stats().evicted > 1000);
}

#[test]
fn items_below_the_floor_are_gone() {
    let mut store = store(1 << 20, 4096);
    for n in 0..100_u64 {
        store.insert(0, &n.to_le_bytes(), new(b"v", n), 0).unwrap();
    }
    for n in 0..100_u64 {
        assert_eq!(get(&mut store, &n.to_le_bytes(), 50, 0).is_some(), n >= 50);
        let touched = store.touch(0, &n.to_le_bytes(), 60, NEVER, 0);
        assert_eq!(touched, (n >= 60).then_some(n));
    }
    assert_eq!((store.stats().items, store.stats().expired), (40, 60));
}

#[test]
fn items_expire_at_their_time_and_not_before() {
    let mut store = store(1 << 20, 4096);
    let item = NewItem { expires_at_ms: 1_000, ..new(b"v", 1) };
    store.insert(0, b"k", item, 10).unwrap();
    assert!(get(&mut store, b"k", 0, 999).is_some());
    assert_eq!(store.touch(0, b"k", 0, 2_000, 999), Some(1));
    assert_eq!(get(&mut store, b"k", 0, 1_999).unwrap().expires_at_ms, 2_000);
    assert!(get(&mut store, b"k", 0, 2_000).is_none());
    assert_eq!(store.touch(0, b"k", 0, 3_000, 2_000), None);

    // An item that has already expired is stored as nothing, in place of the previous one.
    store.insert(0, b"k", new(b"old", 1), 10).unwrap();
    store.insert(0, b"k", item, 1_000).unwrap();
    assert!(get(&mut store, b"k", 0, 0).is_none());
    store.insert(0, b"k", new(b"old", 1), 10).unwrap();
    assert_eq!(store.touch(0, b"k", 0, 10, 10), Some(1));
    assert!(get(&mut store, b"k", 0, 10).is_none());
}

#[test]
fn touch_moves_an_item_whose_header_grows_or_shrinks() {
    let mut store = store(1 << 20, 4096);
    store.insert(0, b"k", new(b"value", 1), 0).unwrap();
    for expires_at_ms in [5_000, NEVER, 7_000, 8_000] {
        assert_eq!(store.touch(0, b"k", 0, expires_at_ms, 1), Some(1));
        let item = get(&mut store, b"k", 0, 1).unwrap();
        assert_eq!((item.value, item.expires_at_ms), (&b"value"[..], expires_at_ms));
        check(&store);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_takes_the_old_value_with_it() {
    let mut small = store(1 << 20, 1000);
    small.insert(0, b"k", new(&[1; 999], 1), 0).unwrap();
    let refused = small.insert(0, b"k", new(&[2; 1000], 2), 0);
    assert!(matches!(refused, Err(StoreError::TooLarge { bytes: 1001, max_bytes: 1000 })));
    assert_eq!(value(&mut small, b"k"), None);

    // Items larger than a sixteenth of the arena never fit.
    let mut tiny = store(1 << 20, 10 << 20);
    let max_bytes = tiny.stats().item_bytes_max as usize;
    assert!(max_bytes > 60_000);
    tiny.insert(0, b"k", new(&vec![3; max_bytes - 1], 1), 0).unwrap();
    assert_eq!(value(&mut tiny, b"k").unwrap().len(), max_bytes - 1);
    assert!(tiny.insert(0, b"k", new(&vec![3; max_bytes], 1), 0).is_err());
    let long_key = vec![0; KEY_BYTES_MAX + 1];
    assert!(store(64 << 20, 1 << 20).insert(0, &long_key, new(b"", 1), 0).is_err());
}

#[test]
fn an_impossible_arena_is_refused() {
    for arena_bytes in [0, SEGMENTS_MIN * SEGMENT_BYTES_MIN - 1, ARENA_BYTES_MAX + 1] {
        let config =
            StoreConfig { arena_bytes, huge_pages: true, item_bytes_max: 1, hash_seeds: None };
        assert!(matches!(Store::new(&config), Err(StoreError::ArenaSize { .. })));
    }
}

#[test]
fn the_largest_items_go_round_in_the_smallest_arena() {
    let mut store = store(SEGMENTS_MIN * SEGMENT_BYTES_MIN, usize::MAX);
    let bytes = store.stats().item_bytes_max as usize - 4;
    for n in 0..1_000_u32 {
        let key = (n % 40).to_le_bytes();
        store.insert(0, &key, new(&vec![n as u8; bytes - (n % 3) as usize], 1), 0).unwrap();
        assert_eq!(value(&mut store, &key).unwrap()[0], n as u8);
    }
    check(&store);
    assert!(store.stats().items >= 10);
}

#[test]
fn larger_units_pad_items_and_lose_none() {
    let mut store = store(16 << 20, 4096);
    store.arena.coarsen(4);
    for n in 0..20_000_u64 {
        store.insert(0, &n.to_le_bytes(), new(&vec![n as u8; n as usize % 300], n), 0).unwrap();
    }
    check(&store);
    for n in 0..20_000_u64 {
        let item = get(&mut store, &n.to_le_bytes(), 0, 0).unwrap();
        assert_eq!((item.value.len(), item.version), (n as usize % 300, n));
    }
    for n in 0..200_000_u64 {
        store.insert(0, &n.to_le_bytes(), new(&vec![9; n as usize % 200], n), 0).unwrap();
    }
    check(&store);
}

#[test]
fn growth_to_many_items_loses_none_and_stays_within_its_overhead() {
    let mut store = store(64 << 20, 4096);
    // 9 + 8 + 100 bytes each: all of them fit.
    let items = 500_000_u64;
    let base = 1_700_000_000_000_000 << 13;
    for n in 0..items {
        store.insert(0, &n.to_le_bytes(), new(&[n as u8; 100], base + (n << 13)), 0).unwrap();
    }
    for n in 0..items {
        let item = get(&mut store, &n.to_le_bytes(), 0, 0).unwrap();
        assert_eq!((item.value[99], item.version), (n as u8, base + (n << 13)));
    }
    let stats = store.stats();
    assert_eq!((stats.items, stats.evicted), (items, 0));
    let overhead =
        (stats.live_bytes + stats.index_bytes + stats.policy_bytes) as f64 / items as f64 - 108.0;
    assert!(overhead < 20.0, "{overhead} bytes an item");
}

#[test]
fn used_items_outlive_a_flood_of_unused_ones() {
    let mut store = store(1 << 20, 4096);
    let hot: Vec<[u8; 8]> = (0..500_u64).map(|n| (n | 1 << 63).to_le_bytes()).collect();
    for key in &hot {
        store.insert(0, key, new(&[1; 200], 1), 0).unwrap();
    }
    for n in 0..100_000_u64 {
        store.insert(0, &n.to_le_bytes(), new(&[0; 200], 1), 0).unwrap();
        get(&mut store, &hot[n as usize % hot.len()], 0, 0);
    }
    let kept = hot.iter().filter(|key| get(&mut store, *key, 0, 0).is_some()).count();
    assert_eq!(kept, hot.len());
    check(&store);
}

#[test]
fn a_store_of_only_used_items_still_takes_new_ones() {
    let mut store = store(256 << 10, 4096);
    for round in 0..20_000_u64 {
        let key = round.to_le_bytes();
        store.insert(0, &key, new(&[0; 100], 1), 0).unwrap();
        for back in 0..50_u64.min(round + 1) {
            for _ in 0..3 {
                get(&mut store, &(round - back).to_le_bytes(), 0, 0);
            }
        }
        assert!(value(&mut store, &key).is_some());
    }
    check(&store);
}

#[test]
fn expired_segments_make_room_before_live_items_do() {
    let mut store = store(1 << 20, 4096);
    let keep = |n: u64| (n | 1 << 63).to_le_bytes();
    // A quarter that stays live, unused; then waves that fill the rest and expire.
    for n in 0..1_000 {
        store.insert(0, &keep(n), new(&[1; 200], 1), 0).unwrap();
    }
    for wave in 0..20_u64 {
        for n in 0..2_000 {
            let item = NewItem { expires_at_ms: wave * 100 + 100, ..new(&[0; 200], 1) };
            store.insert(0, &(wave << 32 | n).to_le_bytes(), item, wave * 100).unwrap();
        }
    }
    assert_eq!(store.stats().evicted, 0);
    assert!((0..1_000).all(|n| get(&mut store, &keep(n), 0, 2_000).is_some()));
}

#[test]
fn replaced_items_make_room_before_live_ones_do() {
    let mut store = store(1 << 20, 4096);
    for n in 0..1_000_u64 {
        store.insert(0, &(n | 1 << 63).to_le_bytes(), new(&[1; 200], 1), 0).unwrap();
    }
    for n in 0..40_000_u64 {
        // The length changes each time, so that none is overwritten in place.
        let value = vec![0; 1_000 + n as usize % 2];
        store.insert(0, &(n % 10).to_le_bytes(), new(&value, 1), 0).unwrap();
    }
    assert_eq!((store.stats().evicted, store.stats().items), (0, 1_010));
}

#[test]
fn seeds_decide_what_a_run_does() {
    let run = |hash_seeds| {
        let config = StoreConfig {
            arena_bytes: 1 << 20,
            huge_pages: false,
            item_bytes_max: 4096,
            hash_seeds,
        };
        let mut store = Store::new(&config).unwrap();
        for n in 0..50_000_u64 {
            let key = (n * n % 7_919).to_le_bytes();
            if value(&mut store, &key).is_none() {
                store.insert(0, &key, new(&[0; 200], n), 0).unwrap();
            }
        }
        store.stats()
    };
    assert_eq!(run(Some([1, 2, 3, 4])), run(Some([1, 2, 3, 4])));
    let hint = |seeds| store_with(seeds).hint(0, b"key").hash;
    assert_ne!(hint(None), hint(Some([1, 2, 3, 4])));
}

fn store_with(hash_seeds: Option<[u64; 4]>) -> Store {
    let config =
        StoreConfig { arena_bytes: 1 << 20, huge_pages: true, item_bytes_max: 64, hash_seeds };
    Store::new(&config).unwrap()
}

#[test]
fn marks_change_without_a_new_value_or_version() {
    let mut store = store(1 << 20, 4096);
    store.insert(3, b"key", NewItem { flags: 9, ..new(b"v", 7) }, 0).unwrap();
    for marks in [1, 3, 0] {
        assert_eq!(store.mark(3, b"key", 0, marks, 0), Some(7));
        let hint = store.hint(3, b"key");
        let item = store.get(hint, 3, b"key", 0, 0).unwrap();
        assert_eq!((item.value, item.flags, item.marks), (&b"v"[..], 9, marks));
        check(&store);
    }
    assert_eq!(store.mark(3, b"other", 0, 1, 0), None);
    assert_eq!(store.mark(3, b"key", 8, 1, 0), None, "it is below the floor");
}

#[test]
fn a_segment_may_stay_open_for_months() {
    const DAY: u64 = 86_400_000;
    let mut store = store(1 << 20, 4096);
    store.insert(3, b"old", new(b"v", 1), 0).unwrap();
    let expires_at_ms = 100 * DAY + 1_000;
    store.insert(3, b"key", NewItem { expires_at_ms, ..new(b"v", 7) }, 100 * DAY).unwrap();
    let hint = store.hint(3, b"key");
    let item = store.get(hint, 3, b"key", 0, 100 * DAY).unwrap();
    assert_eq!(item.expires_at_ms, expires_at_ms);
    assert!(store.get(hint, 3, b"key", 0, expires_at_ms).is_none());
}
