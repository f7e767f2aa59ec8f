//! The capacity of an arena, the items that a full one keeps, and the cost of that.

use super::*;

/// Inserts a value of 200 bytes under a key of 8: about 217 bytes per item.
fn insert(store: &mut Store, n: u64) {
    store.insert(0, &n.to_le_bytes(), new(&[0; 200], 1), 0).unwrap();
}

fn is_there(store: &mut Store, n: u64) -> bool {
    get(store, &n.to_le_bytes(), 0, 0).is_some()
}

/// Keys that no flood uses.
fn hot(n: u64) -> u64 {
    n | 1 << 63
}

/// Inserts new keys that are never read, `arenas` times as many bytes as the arena has.
fn flood(store: &mut Store, arenas: u64, from: u64) {
    for n in 0..arenas * store.stats().arena_bytes / 217 {
        insert(store, from + n);
    }
}

#[test]
fn segments_are_filled_to_their_ends() {
    let mut store = store(1 << 20, 4096);
    let before = store.stats();
    assert_eq!((before.segments, before.segments_free), (64, 64));
    for n in 0..900_u64 {
        store.insert(0, &n.to_le_bytes(), new(&[0; 1_024], n), 0).unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.items, stats.evicted), (900, 0));
    assert!((2..8).contains(&stats.segments_free), "{} free", stats.segments_free);
}

#[test]
fn the_largest_item_and_the_longest_key_fit() {
    let mut store = store(1 << 20, 4096);
    assert_eq!(store.stats().item_bytes_max, 4096);
    store.insert(0, b"key", new(&[1; 4093], 1), 0).unwrap();
    assert_eq!(value(&mut store, b"key").unwrap().len(), 4093);
    let error = store.insert(0, b"key", new(&[1; 4094], 1), 0).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { bytes: 4097, max_bytes: 4096 }));
    assert_eq!(value(&mut store, b"key"), None, "what it had is not the last write any more");

    let mut store = self::store(64 << 20, 1 << 17);
    let key = vec![7; KEY_BYTES_MAX];
    store.insert(0, &key, new(b"v", 1), 0).unwrap();
    assert_eq!(value(&mut store, &key).unwrap(), b"v");
    assert!(store.insert(0, &vec![7; KEY_BYTES_MAX + 1], new(b"v", 1), 0).is_err());
}

#[test]
fn a_value_of_the_same_length_takes_no_further_room() {
    let mut store = store(1 << 20, 4096);
    for round in 0..1_000_u64 {
        store.insert(0, b"key", new(&round.to_le_bytes(), 1 + (round << 13)), 0).unwrap();
    }
    assert_eq!(value(&mut store, b"key").unwrap(), 999_u64.to_le_bytes());
    assert!(store.stats().used_bytes < 64, "{} bytes used", store.stats().used_bytes);
}

/// One key in every keyspace, in an index of two tables: the first candidate of a lookup often
/// belongs to another keyspace.
#[test]
fn keyspaces_do_not_see_each_others_items() {
    let mut store = store(SEGMENTS_MIN * SEGMENT_BYTES_MIN, 512);
    for keyspace in 0..=255 {
        store.insert(keyspace, b"key", new(&[keyspace; 3], 1), 0).unwrap();
    }
    for keyspace in 0..=255 {
        let hint = store.hint(keyspace, b"key");
        assert_eq!(store.get(hint, keyspace, b"key", 0, 0).unwrap().value, [keyspace; 3]);
    }
}

/// Milliseconds since 1970, as the shards count them.
#[test]
fn lifetimes_hold_at_the_time_of_the_wall_clock() {
    let mut store = store(1 << 20, 4096);
    let now_ms = 1_800_000_000_000;
    for (n, ttl_ms) in (0_u64..).zip([1, 60_000, 40 * 24 * 3_600_000]) {
        let item = NewItem { expires_at_ms: now_ms + ttl_ms, ..new(b"v", 1) };
        store.insert(0, &n.to_le_bytes(), item, now_ms).unwrap();
        let read = get(&mut store, &n.to_le_bytes(), 0, now_ms + ttl_ms - 1).unwrap();
        assert_eq!(read.expires_at_ms, now_ms + ttl_ms);
        assert_eq!(get(&mut store, &n.to_le_bytes(), 0, now_ms + ttl_ms), None);
    }
}

/// An expiry makes the header longer, so that the item moves.
#[test]
fn an_item_without_a_value_is_touched_wherever_it_lies() {
    let mut store = store(SEGMENTS_MIN * SEGMENT_BYTES_MIN, 2_048);
    for n in 0..200_u64 {
        let mut key = vec![7; 1_000 + n as usize % 7];
        key[..8].copy_from_slice(&n.to_le_bytes());
        store.insert(0, &key, new(&[], 1), 0).unwrap();
        assert_eq!(store.touch(0, &key, 0, 5_000, 0), Some(1));
        assert_eq!(get(&mut store, &key, 0, 0).unwrap().expires_at_ms, 5_000);
    }
    check(&store);
}

#[test]
fn an_item_that_was_written_again_counts_as_used() {
    let mut store = store(1 << 20, 4096);
    insert(&mut store, hot(1));
    insert(&mut store, hot(2));
    insert(&mut store, hot(2));
    flood(&mut store, 2, 0);
    assert!(!is_there(&mut store, hot(1)));
    assert!(is_there(&mut store, hot(2)));
    assert!(store.stats().kept > 0);
}

#[test]
fn what_came_back_soon_after_it_was_evicted_outlives_a_flood() {
    let mut store = store(1 << 20, 4096);
    for n in 0..100 {
        insert(&mut store, hot(n));
    }
    flood(&mut store, 1, 0);
    let evicted: Vec<u64> = (0..100).filter(|n| !is_there(&mut store, hot(*n))).collect();
    assert!(evicted.len() > 90);
    for n in &evicted {
        insert(&mut store, hot(*n));
    }
    flood(&mut store, 3, 1 << 32);
    let kept = evicted.iter().filter(|n| is_there(&mut store, hot(**n))).count();
    assert!(kept > 90, "{kept} of {}", evicted.len());
}

#[test]
fn what_is_no_longer_used_leaves_in_the_end() {
    let mut store = store(1 << 20, 4096);
    for n in 0..1_000 {
        insert(&mut store, hot(n));
    }
    for _ in 0..3 {
        assert!((0..1_000).all(|n| is_there(&mut store, hot(n))));
    }
    // Each of these is used once, so that they are worth keeping.
    for n in 0..100_000 {
        insert(&mut store, n);
        is_there(&mut store, n);
    }
    assert_eq!((0..1_000).filter(|n| is_there(&mut store, hot(*n))).count(), 0);
}

/// The work for one insert depends on the item's size, not on the arena's: with eight bytes
/// examined per byte written, it examines about nine of the 75 items in a segment.
#[test]
fn no_insert_pays_for_a_whole_segment() {
    let mut store = store(1 << 20, 4096);
    let mut before = 0;
    for n in 0..50_000 {
        insert(&mut store, n);
        let evicted = store.stats().evicted;
        assert!(evicted - before <= 12, "{} at insert {n}", evicted - before);
        before = evicted;
    }
}

#[test]
fn expired_items_are_counted_wherever_they_are_met() {
    let mut store = store(1 << 20, 4096);
    for n in 0..40_000_u64 {
        let item = NewItem { expires_at_ms: n + 100, ..new(&[0; 200], 1) };
        store.insert(0, &n.to_le_bytes(), item, n).unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.evicted, 0, "the expired ones made the room");
    assert_eq!(stats.expired + stats.items, 40_000);
}

#[test]
fn its_sizes_are_told() {
    let mut store = store(1 << 20, 4096);
    let stats = store.stats();
    let per_segment = size_of::<arena::Segment>() + 4 * size_of::<usize>();
    assert_eq!(stats.policy_bytes, stats.segments * per_segment as u64);
    for n in 0..4_400 {
        insert(&mut store, n);
    }
    let stats = store.stats();
    assert!(stats.index_bytes >= stats.items * 5 && stats.index_bytes < stats.items * 16);
    assert!(stats.segments_free < 8, "{} free", stats.segments_free);
}

/// The address space runs out first.
#[test]
fn arenas_that_the_kernel_would_not_map_are_found_out_before() {
    let config = |arena_bytes| StoreConfig {
        arena_bytes,
        huge_pages: false,
        item_bytes_max: 4096,
        hash_seeds: None,
    };
    assert!(can_map(&config(1 << 20), 4).is_ok());
    let error = can_map(&config(ARENA_BYTES_MAX), u16::MAX).unwrap_err();
    assert!(matches!(error, StoreError::Map { bytes: ARENA_BYTES_MAX, .. }), "{error}");
}

/// Values below a floor, as after a flush, that nobody asks for again. Those that were used are in the
/// main queue, which new values do not push out.
#[test]
fn what_was_swept_leaves_its_room_to_what_comes() {
    let mut store = store(4 << 20, 64 << 10);
    for n in 0..2_000 {
        let value = vec![0; [100, 1_000, 4_000, 30_000][n as usize % 4]];
        store.insert(0, &hot(n).to_le_bytes(), new(&value, 1), 0).unwrap();
        for _ in 0..4 {
            is_there(&mut store, hot(n));
        }
    }
    let main = store.arena.segments.iter().filter(|segment| segment.main).count();
    assert!(main * 3 > store.arena.segments.len() * 2, "{main}");
    for part in 0..store.parts() {
        store.sweep(part, 0, |item| item.version < 2);
    }
    check(&store);
    assert_eq!(store.stats().items, 0);
    let (evicted, fit) = (store.stats().evicted, (4_u64 << 20) / 4_020 * 8 / 10);
    for n in 0..fit {
        store.insert(0, &n.to_le_bytes(), new(&[0; 4_000], 3), 0).unwrap();
    }
    check(&store);
    assert_eq!((store.stats().items, store.stats().evicted), (fit, evicted));
}

/// Large values that are followed by one which does not fit leave most of a segment unwritten.
#[test]
fn a_segment_with_little_in_it_is_used_again_however_little_was_written() {
    let mut store = store(4 << 20, 250 << 10);
    let segment_bytes = store.stats().segment_bytes as usize;
    let (small, large) = (segment_bytes / 4, segment_bytes * 9 / 10);
    let key = |n: u64, of: u64| (n << 2 | of).to_le_bytes();
    let rounds = store.stats().segments / 2 - 2;
    for n in 0..rounds {
        store.insert(0, &key(n, 0), new(&vec![1; small], 1), 0).unwrap();
        store.insert(0, &key(n, 2), new(&[1; 50], 1), 0).unwrap();
        store.insert(0, &key(n, 1), new(&vec![1; large], 1), 0).unwrap();
    }
    for n in 0..rounds {
        assert!(store.remove(0, &key(n, 0)));
    }
    for n in rounds..2 * rounds {
        store.insert(0, &key(n, 1), new(&vec![1; large], 1), 0).unwrap();
    }
    check(&store);
    assert_eq!(store.stats().evicted, 0);
    assert!((0..rounds).all(|n| get(&mut store, &key(n, 2), 0, 0).is_some()));
}

/// Of values that are larger than half a segment, each takes one.
#[test]
fn large_values_take_the_room_of_holes_and_not_of_what_is_there() {
    let mut store = store(4 << 20, 60 << 10);
    let large = store.stats().segment_bytes as usize * 6 / 10;
    for n in 0..3_600_u64 {
        store.insert(0, &n.to_le_bytes(), new(&[1; 1_000], 1), 0).unwrap();
    }
    let is_hole = |n: &u64| n % 5 < 3;
    for n in (0..3_600).filter(is_hole) {
        assert!(store.remove(0, &n.to_le_bytes()));
    }
    for n in 0..30 {
        store.insert(0, &hot(n).to_le_bytes(), new(&vec![1; large], 1), 0).unwrap();
    }
    check(&store);
    assert_eq!(store.stats().evicted, 0);
    let there = (0..3_600).filter(|n| !is_hole(n)).all(|n| is_there(&mut store, n));
    assert!(there && (0..30).all(|n| is_there(&mut store, hot(n))));
}

/// Replaced values of other lengths leave holes everywhere. None of what is there is lost while the
/// holes make half of the memory.
#[test]
fn holes_are_closed_before_anything_is_evicted() {
    let mut store = store(4 << 20, 64 << 10);
    let insert = |store: &mut Store, n: u64, bytes: usize| {
        store.insert(0, &n.to_le_bytes(), new(&vec![7; bytes], n + 1), 0).unwrap();
    };
    // A third of the memory, over and over, in lengths that are never the same twice.
    for round in 0..40 {
        for n in 0..1_000_u64 {
            insert(&mut store, n, 1_000 + ((n as usize * 7 + round * 13) % 500));
        }
        let there = (0..1_000).filter(|n| is_there(&mut store, *n)).count();
        assert_eq!(there, 1_000, "in round {round}");
    }
    check(&store);
    assert_eq!(store.stats().evicted, 0);
}
