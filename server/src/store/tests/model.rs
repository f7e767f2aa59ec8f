//! The store compared with a map: it returns the last write, whatever was evicted, moved,
//! overwritten, dropped by a floor, expired, or probed long before.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One step of the model test. Keys are small numbers, written with lengths that differ.
#[derive(Clone, Debug)]
enum Step {
    Insert { key: u8, value_bytes: usize, ttl_ms: Option<u64>, negative: bool },
    Get { key: u8 },
    Hint { key: u8 },
    GetHinted,
    Remove { key: u8 },
    Touch { key: u8, ttl_ms: Option<u64> },
    Advance { ms: u64 },
    RaiseFloor { to_recent: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let ttl_ms = || prop_oneof![Just(None), (0_u64..400).prop_map(Some)];
    let value_bytes = prop_oneof![4 => 0_usize..200, 2 => 0_usize..3_000, 1 => Just(1_023_usize)];
    prop_oneof![
        8 => (any::<u8>(), value_bytes, ttl_ms(), any::<bool>()).prop_map(
            |(key, value_bytes, ttl_ms, negative)| Step::Insert { key, value_bytes, ttl_ms, negative }
        ),
        6 => any::<u8>().prop_map(|key| Step::Get { key }),
        2 => any::<u8>().prop_map(|key| Step::Hint { key }),
        1 => Just(Step::GetHinted),
        2 => any::<u8>().prop_map(|key| Step::Remove { key }),
        2 => (any::<u8>(), ttl_ms()).prop_map(|(key, ttl_ms)| Step::Touch { key, ttl_ms }),
        1 => (0_u64..100).prop_map(|ms| Step::Advance { ms }),
        1 => (0_u64..400).prop_map(|to_recent| Step::RaiseFloor { to_recent }),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Written {
    value: Vec<u8>,
    version: u64,
    expires_at_ms: u64,
    negative: bool,
}

/// Checks that the value read is the last one written, if that is still valid.
fn agree(
    read: Option<Item<'_>>,
    model: &mut HashMap<Vec<u8>, Written>,
    key: &[u8],
    (floor, now_ms): (u64, u64),
    may_forget: bool,
) {
    let read = read.map(|item| Written {
        value: item.value.to_vec(),
        version: item.version,
        expires_at_ms: item.expires_at_ms,
        negative: item.negative,
    });
    let valid = model.get(key).filter(|w| w.version >= floor && w.expires_at_ms > now_ms);
    match (&read, valid) {
        (None, Some(_)) if may_forget => drop(model.remove(key)),
        (read, valid) => assert_eq!(read.as_ref(), valid),
    }
}

/// Runs steps on the store and the model. `may_forget`: the arena is too small for all items.
fn run(steps: Vec<Step>, arena_bytes: usize, keys: u8, may_forget: bool) {
    let mut store = store(arena_bytes, 4_000);
    let mut model: HashMap<Vec<u8>, Written> = HashMap::new();
    let mut hints: Vec<(IndexHint, Vec<u8>)> = Vec::new();
    let (mut now_ms, mut floor, mut version) = (1_000_u64, 0_u64, 1_000_u64);
    let key_of = |key: u8| {
        let key = key % keys;
        vec![key; 1 + usize::from(key) % 7 * 50]
    };
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Insert { key, value_bytes, ttl_ms, negative } => {
                // Some versions differ by a multiple of the salt's range, some do not.
                version += if negative { 1 << 13 } else { 3 };
                let written = Written {
                    value: vec![number as u8; value_bytes],
                    version,
                    expires_at_ms: ttl_ms.map_or(NEVER, |ttl_ms| now_ms + ttl_ms),
                    negative,
                };
                let Written { ref value, expires_at_ms, .. } = written;
                let item = NewItem { value, version, expires_at_ms, negative, flags: 0, marks: 0 };
                store.insert(0, &key_of(key), item, now_ms).unwrap();
                model.insert(key_of(key), written);
            }
            Step::Get { key } => {
                let key = key_of(key);
                let read = get(&mut store, &key, floor, now_ms);
                agree(read, &mut model, &key, (floor, now_ms), may_forget);
            }
            Step::Hint { key } => hints.push((store.hint(0, &key_of(key)), key_of(key))),
            Step::GetHinted => {
                for (hint, key) in hints.drain(..) {
                    let read = store.get(hint, 0, &key, floor, now_ms);
                    agree(read, &mut model, &key, (floor, now_ms), may_forget);
                }
            }
            Step::Remove { key } => {
                let removed = store.remove(0, &key_of(key));
                let known = model.remove(&key_of(key));
                assert!(known.is_some() || !removed, "removed what was not there");
            }
            Step::Touch { key, ttl_ms } => {
                let key = key_of(key);
                let expires_at_ms = ttl_ms.map_or(NEVER, |ttl_ms| now_ms + ttl_ms);
                let touched = store.touch(0, &key, floor, expires_at_ms, now_ms);
                let valid =
                    model.get_mut(&key).filter(|w| w.version >= floor && w.expires_at_ms > now_ms);
                match (touched, valid) {
                    (Some(version), Some(written)) => {
                        assert_eq!(version, written.version);
                        written.expires_at_ms = expires_at_ms;
                    }
                    (None, Some(_)) if may_forget => drop(model.remove(&key)),
                    (touched, valid) => assert_eq!(touched, valid.map(|w| w.version)),
                }
            }
            Step::Advance { ms } => now_ms += ms,
            Step::RaiseFloor { to_recent } => floor = floor.max(version.saturating_sub(to_recent)),
        }
        if number % 64 == 0 {
            check(&store);
        }
    }
    check(&store);
    for key in (0..keys).map(key_of) {
        let read = get(&mut store, &key, floor, now_ms);
        agree(read, &mut model, &key, (floor, now_ms), may_forget);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn with_room_for_all_the_store_is_a_map(steps in vec(step(), 1..1_000)) {
        run(steps, 16 << 20, 60, false);
    }

    #[test]
    fn under_eviction_a_hit_is_the_last_write(steps in vec(step(), 500..3_000)) {
        run(steps, SEGMENTS_MIN * SEGMENT_BYTES_MIN, 255, true);
    }
}
