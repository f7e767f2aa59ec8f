//! A walk sees every key that is there from its begin to its end, whatever else happens to the store.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// An event between two steps of a walk.
#[derive(Clone, Debug)]
enum Event {
    /// New keys, so that tables grow.
    Insert { keys: u16 },
    /// A value of another length for a key that stays: its item moves.
    Replace { key: u16, value_bytes: u16 },
    /// Another lifetime for a key that stays.
    Touch { key: u16 },
    /// Some of the keys that do not stay go.
    Remove { keys: u16 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1_u16..300).prop_map(|keys| Event::Insert { keys }),
        (any::<u16>(), 0_u16..300)
            .prop_map(|(key, value_bytes)| Event::Replace { key, value_bytes }),
        any::<u16>().prop_map(|key| Event::Touch { key }),
        (1_u16..300).prop_map(|keys| Event::Remove { keys }),
    ]
}

fn keys_of(store: &Store, part: u32) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    store.visit(part, |item| keys.push(item.key.to_vec()));
    keys
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_sees_all_keys_that_stay_and_no_key_that_never_was(
        stay in 1_u16..1_500,
        events in vec(event(), 0..80),
        steps in vec(0_usize..4, 1..40),
    ) {
        // 32 parts, and room for all.
        let mut store = store(1 << 20, 4096);
        prop_assert_eq!(store.parts(), 32);
        let staying = |key: u16| format!("stays-{key}").into_bytes();
        for key in 0..stay {
            store.insert(0, &staying(key), new(b"v", 1), 0).unwrap();
        }
        let (mut others, mut gone) = (0_u32, 0_u32);
        let other = |number: u32| format!("other-{number}").into_bytes();
        let (mut seen, mut events) = (Vec::new(), events.into_iter());
        let mut steps = steps.into_iter().cycle();
        for part in 0..store.parts() {
            for event in events.by_ref().take(steps.next().unwrap()) {
                match event {
                    Event::Insert { keys } => for _ in 0..keys {
                        store.insert(0, &other(others), new(b"", 1), 0).unwrap();
                        others += 1;
                    }
                    Event::Replace { key, value_bytes } => {
                        let value = vec![7; usize::from(value_bytes)];
                        store.insert(0, &staying(key % stay), new(&value, 2), 0).unwrap();
                    }
                    Event::Touch { key } => {
                        store.touch(0, &staying(key % stay), 0, 1_000, 0);
                    }
                    Event::Remove { keys } => for _ in 0..u32::from(keys).min(others - gone) {
                        prop_assert!(store.remove(0, &other(gone)));
                        gone += 1;
                    }
                }
            }
            seen.extend(keys_of(&store, part));
        }
        prop_assert_eq!(store.stats().evicted, 0);
        check(&store);
        let distinct: BTreeSet<Vec<u8>> = seen.iter().cloned().collect();
        prop_assert_eq!(distinct.len(), seen.len(), "a key is in one part");
        for key in 0..stay {
            prop_assert!(distinct.contains(&staying(key)), "{} was there all the time", key);
        }
        let known = |key: &Vec<u8>| {
            key.starts_with(b"stays-") || (0..others).any(|number| other(number) == *key)
        };
        prop_assert!(distinct.iter().all(known));
    }
}

#[test]
fn a_walk_under_eviction_sees_what_can_be_found() {
    let mut store = store(SEGMENTS_MIN * SEGMENT_BYTES_MIN, 2_048);
    for number in 0..3_000_u32 {
        store.insert(0, &number.to_le_bytes(), new(&[1; 40], 1), 0).unwrap();
        // Some are used, so that eviction moves them.
        assert!(value(&mut store, &(number / 2).to_le_bytes()).is_some() || number > 100);
    }
    let seen: BTreeSet<Vec<u8>> =
        (0..store.parts()).flat_map(|part| keys_of(&store, part)).collect();
    for number in 0..3_000_u32 {
        let key = number.to_le_bytes();
        assert_eq!(seen.contains(&key[..]), value(&mut store, &key).is_some(), "{number}");
    }
    assert!(store.stats().evicted > 1_000);
    assert_eq!(keys_of(&store, store.parts()), Vec::<Vec<u8>>::new());
}

#[test]
fn a_walk_tells_what_the_item_is() {
    let mut store = store(1 << 20, 4_096);
    let item = NewItem { expires_at_ms: 90, negative: true, ..new(b"value", 7) };
    store.insert(3, b"key", item, 0).unwrap();
    let mut seen = 0;
    for part in 0..store.parts() {
        store.visit(part, |item| {
            let (key, version) = (&b"key"[..], 7);
            let wanted = Walked { keyspace: 3, key, version, expires_at_ms: 90, negative: true };
            assert_eq!(item, wanted);
            seen += 1;
        });
    }
    assert_eq!(seen, 1);
}
