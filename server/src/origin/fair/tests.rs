//! No keyspace's calls make another keyspace unavailable.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Item {
    keyspace: u8,
    key: Vec<u8>,
    bytes: usize,
    number: usize,
    is_over: Rc<Cell<bool>>,
    wants_alone: bool,
}

impl Waits for Item {
    fn keyspace(&self) -> u8 {
        self.keyspace
    }

    fn key(&self) -> &[u8] {
        &self.key
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_over(&self) -> bool {
        self.is_over.get()
    }

    fn wants_alone(&self) -> bool {
        self.wants_alone
    }
}

fn item(keyspace: u8, number: usize) -> Item {
    let key = number.to_string().into_bytes();
    Item { keyspace, key, bytes: 1, number, is_over: Rc::default(), wants_alone: false }
}

const BOUNDS: Bounds =
    Bounds { calls: 1_000, bytes: 1_000_000, workers: 4, depth: 1, is_ordered: false };

fn fair(bounds: Bounds, keyspaces: u8) -> Fair<Item> {
    Fair::new(bounds, 0..keyspaces)
}

/// Returns the keyspaces of the calls that all workers take now.
fn take_all(fair: &mut Fair<Item>) -> Vec<u8> {
    let mut taken = Vec::new();
    loop {
        let before = taken.len();
        for worker in fair.by_room() {
            taken.extend(fair.take(worker).map(|item| item.keyspace));
        }
        if taken.len() == before {
            return taken;
        }
    }
}

#[test]
fn with_as_many_workers_as_keyspaces_nobody_waits_for_another() {
    for (keyspaces, depth) in [(2, 1), (3, 1), (4, 1), (4, 8)] {
        let mut fair = fair(Bounds { depth, ..BOUNDS }, keyspaces);
        for stuck in 0..keyspaces - 1 {
            for number in 0..50 {
                fair.push(item(stuck, number)).unwrap();
            }
            take_all(&mut fair);
        }
        // None of these calls ever ends, and the last keyspace is not affected.
        fair.push(item(keyspaces - 1, 0)).unwrap();
        assert_eq!(take_all(&mut fair), [keyspaces - 1], "{keyspaces} keyspaces");
    }
}

#[test]
fn with_fewer_workers_one_keyspace_that_is_stuck_has_half_of_them() {
    let mut fair = fair(BOUNDS, 100);
    for number in 0..50 {
        fair.push(item(7, number)).unwrap();
    }
    assert_eq!(take_all(&mut fair), [7, 7]);
    fair.push(item(8, 0)).unwrap();
    fair.push(item(9, 0)).unwrap();
    assert_eq!(take_all(&mut fair), [8, 9]);
}

#[test]
fn one_keyspace_alone_uses_every_worker() {
    let mut fair = fair(Bounds { depth: 3, ..BOUNDS }, 1);
    for number in 0..50 {
        fair.push(item(0, number)).unwrap();
    }
    assert_eq!(take_all(&mut fair).len(), 12);
}

#[test]
fn a_worker_that_is_free_goes_to_who_has_the_fewest() {
    let mut fair = fair(BOUNDS, 2);
    for number in 0..50 {
        fair.push(item(0, number)).unwrap();
        fair.push(item(1, number)).unwrap();
    }
    let mut taken = take_all(&mut fair);
    taken.sort_unstable();
    assert_eq!(taken, [0, 0, 1, 1]);
    // Each call that ends is followed by one of the same keyspace: two workers each, for ever.
    for worker in [0, 1, 2, 3, 0, 1] {
        let keyspace = fair.workers[worker].keyspace;
        fair.done(worker, b"");
        assert_eq!(fair.take(worker).map(|item| item.keyspace), Some(keyspace));
    }
}

#[test]
fn a_worker_is_not_refilled_while_another_keyspace_has_none() {
    let mut fair = fair(Bounds { workers: 1, depth: 4, ..BOUNDS }, 2);
    for number in 0..50 {
        fair.push(item(0, number)).unwrap();
    }
    assert_eq!(take_all(&mut fair), [0; 4]);
    fair.push(item(1, 0)).unwrap();
    for _ in 0..3 {
        fair.done(0, b"");
        assert_eq!(take_all(&mut fair), [0_u8; 0]);
    }
    fair.done(0, b"");
    // Its turn came before the other keyspace had calls. From now on they take turns.
    assert_eq!(take_all(&mut fair), [0]);
    fair.done(0, b"");
    assert_eq!(take_all(&mut fair), [1]);
    fair.done(0, b"");
    assert_eq!(take_all(&mut fair), [0; 4]);
}

#[test]
fn a_full_queue_has_room_for_others() {
    let mut fair = fair(Bounds { calls: 100, ..BOUNDS }, 2);
    let pushed = (0..200).filter(|&number| fair.push(item(0, number)).is_ok()).count();
    assert_eq!(pushed, 75);
    let pushed = (0..200).filter(|&number| fair.push(item(1, number)).is_ok()).count();
    assert_eq!(pushed, 25);
    assert!(fair.push(item(0, 0)).is_err() && fair.push(item(1, 0)).is_err());
    // A call that is taken makes room.
    assert!(fair.take(0).is_some());
    assert!(fair.push(item(0, 0)).is_ok());
}

#[test]
fn bytes_are_bounded_and_one_call_always_fits() {
    let mut fair = fair(Bounds { bytes: 1_000, ..BOUNDS }, 2);
    let big = |keyspace, bytes| Item { bytes, ..item(keyspace, 0) };
    assert!(fair.push(big(0, 600)).is_ok());
    assert!(fair.push(big(0, 200)).is_err());
    assert!(fair.push(big(1, 5_000)).is_ok());
    assert!(fair.push(big(1, 1)).is_err());
    fair.take(0);
    fair.take(1);
    assert!(fair.push(big(0, 400)).is_ok() && fair.push(big(0, 300)).is_ok());
}

#[test]
fn what_has_been_answered_keeps_no_place() {
    let mut fair = fair(Bounds { calls: 10, ..BOUNDS }, 1);
    let items: Vec<Item> = (0..10).map(|number| item(0, number)).collect();
    items.iter().for_each(|item| fair.push(item.clone()).unwrap());
    assert!(fair.push(item(0, 10)).is_err());
    items.iter().take(9).for_each(|item| item.is_over.set(true));
    assert!(fair.push(item(0, 10)).is_ok());
    assert_eq!(fair.take(0).map(|item| item.number), Some(9));
    assert_eq!(fair.take(1).map(|item| item.number), Some(10));
    assert!(fair.is_empty());
}

#[test]
fn a_call_waits_for_the_one_of_its_row_and_others_pass_it() {
    let mut fair = fair(Bounds { is_ordered: true, ..BOUNDS }, 1);
    for (number, key) in [(0, "a"), (1, "a"), (2, "b"), (3, "a")] {
        fair.push(Item { key: key.into(), ..item(0, number) }).unwrap();
    }
    assert_eq!(fair.take(0).map(|item| item.number), Some(0));
    assert_eq!(fair.take(1).map(|item| item.number), Some(2));
    assert!(fair.take(2).is_none());
    fair.done(0, b"a");
    assert_eq!(fair.take(0).map(|item| item.number), Some(1));
    assert!(fair.take(2).is_none());
    fair.reset(0);
    assert_eq!(fair.take(0).map(|item| item.number), Some(3));
}

#[test]
fn what_is_put_back_is_the_next_of_its_keyspace() {
    let mut fair = fair(BOUNDS, 2);
    for number in 0..3 {
        fair.push(item(0, number)).unwrap();
    }
    let first = fair.take(0).unwrap();
    fair.done(0, &first.key);
    fair.put_back(first);
    let order: Vec<usize> = (0..3)
        .map(|_| {
            let item = fair.take(0).unwrap();
            fair.done(0, &item.key);
            item.number
        })
        .collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn a_worker_that_is_away_takes_nothing() {
    let mut fair = fair(Bounds { workers: 1, ..BOUNDS }, 1);
    fair.push(item(0, 0)).unwrap();
    fair.set_away(0, true);
    assert!(fair.by_room().is_empty() && fair.take(0).is_none());
    fair.set_away(0, false);
    assert!(fair.take(0).is_some());
}

proptest! {
    /// Each call that is pushed is taken once, in the order of its keyspace, within the bounds.
    #[test]
    fn every_call_is_taken_once_in_order(
        steps in prop::collection::vec((0u8..3, 0usize..3, any::<bool>()), 1..200),
        depth in 1usize..4,
    ) {
        let bounds = Bounds { calls: 20, bytes: 2_000, workers: 3, depth, is_ordered: false };
        let mut fair = fair(bounds, 3);
        let mut pushed = vec![Vec::new(); 3];
        let mut taken = vec![Vec::new(); 3];
        let mut under_way = vec![Vec::new(); 3];
        for (number, (keyspace, worker, is_push)) in steps.into_iter().enumerate() {
            if is_push {
                if fair.push(item(keyspace, number)).is_ok() {
                    pushed[usize::from(keyspace)].push(number);
                }
            } else if let Some(item) = fair.take(worker) {
                taken[usize::from(item.keyspace)].push(item.number);
                under_way[worker].push(item.key);
                prop_assert!(under_way[worker].len() <= depth);
            } else if let Some(key) = under_way[worker].pop() {
                fair.done(worker, &key);
            }
            let waits: usize = fair.keyspaces.iter().flatten().map(|k| k.waiting.len()).sum();
            prop_assert!(waits <= bounds.calls);
        }
        for (worker, keys) in under_way.into_iter().enumerate() {
            keys.iter().for_each(|key| fair.done(worker, key));
        }
        // All the rest can be taken: no call is forgotten.
        while let Some(item) = (0..3).find_map(|worker| {
            let item = fair.take(worker)?;
            fair.done(worker, &item.key);
            Some(item)
        }) {
            taken[usize::from(item.keyspace)].push(item.number);
        }
        prop_assert_eq!(&taken, &pushed);
        prop_assert!(fair.is_empty());
        prop_assert_eq!((fair.places.shared_used, fair.bytes.shared_used), (0, 0));
    }
}

#[test]
fn a_call_that_wants_to_be_alone_gets_a_free_worker_and_no_company() {
    let mut fair = fair(Bounds { workers: 2, depth: 4, ..BOUNDS }, 1);
    fair.push(item(0, 0)).unwrap();
    assert!(fair.take(0).is_some());
    fair.push(Item { wants_alone: true, ..item(0, 1) }).unwrap();
    (2..9).for_each(|number| fair.push(item(0, number)).unwrap());
    assert!(fair.take(0).is_none(), "it would not be alone there");
    assert_eq!(fair.take(1).map(|item| item.number), Some(1));
    assert!(fair.is_alone(1) && !fair.is_alone(0));
    assert!(fair.take(1).is_none());
    assert_eq!(fair.take(0).map(|item| item.number), Some(2), "others go on");
    fair.done(1, b"1");
    assert_eq!(fair.take(1).map(|item| item.number), Some(3));
    assert!(fair.take(1).is_some());
}

#[test]
fn a_worker_of_one_call_has_it_alone_although_it_may_have_more_meanwhile() {
    let mut fair = fair(Bounds { workers: 1, depth: 4, ..BOUNDS }, 1);
    (0..9).for_each(|number| fair.push(item(0, number)).unwrap());
    fair.set_depth(0, 1);
    assert!(fair.take(0).is_some());
    fair.set_depth(0, 4);
    assert!(fair.take(0).is_none());
    fair.done(0, b"0");
    assert_eq!(std::iter::from_fn(|| fair.take(0)).count(), 4);
    fair.set_depth(0, 2);
    fair.done(0, b"1");
    assert!(fair.take(0).is_none(), "it has more than it may already");
    (2..4).for_each(|number| fair.done(0, number.to_string().as_bytes()));
    assert!(fair.take(0).is_some());
}
