//! Tests of fetches from the first read to their end, without a node.

use slotmap::SlotMap;

use super::*;
use crate::node::tests::{node_config, topology};

const NOW: Micros = Micros(1_000_000);

struct Script {
    fetches: Fetches,
    keys: SlotMap<PendingKey, ()>,
}

impl Script {
    fn new(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let mut config = node_config(0, 7);
        change(&mut config);
        let hashing = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let fetches = Fetches::new(&config, &topology(), hashing);
        Self { fetches, keys: SlotMap::with_key() }
    }

    fn key(&mut self) -> PendingKey {
        self.keys.insert(())
    }

    fn begin(&mut self, name: &Name, key: PendingKey, ask: Ask) -> Begun {
        self.fetches.begin(NOW, name.clone(), vec![key], ask)
    }
}

fn name(key: u8) -> Name {
    Box::new([1, key])
}

fn ask() -> Ask {
    let deadline = NOW + Duration::from_secs(4);
    Ask { partition: 3, is_home: true, is_owned: true, keeps: true, deadline, may_wait: true }
}

#[test]
fn reads_that_arrive_while_a_fetch_runs_wait_for_its_end() {
    let mut s = Script::new(|_| {});
    let (a, b) = (s.key(), s.key());
    assert_eq!(s.fetches.join(NOW, &name(1), a, ask()), Joined::No);
    let Begun::Runs(reserved) = s.begin(&name(1), a, ask()) else {
        panic!("nothing holds the fetch back")
    };
    assert_eq!(s.fetches.join(NOW, &name(1), b, ask()), Joined::Yes);
    s.fetches.answered(reserved, &Outcome::Value(None));
    assert_eq!(s.fetches.end(&name(1)), Ended { running: vec![a], waiting: vec![b] });
    assert_eq!(s.fetches.sizes().fetches, 0);
}

#[test]
#[should_panic(expected = "a fetch is known until it ends")]
fn a_fetch_ends_once() {
    Script::new(|_| {}).fetches.end(&name(1));
}

#[test]
fn a_fetch_without_room_waits_until_another_has_ended() {
    let mut s = Script::new(|config| (config.fetch_bytes, config.fetches_always) = (0, 1));
    let (a, b, c) = (s.key(), s.key(), s.key());
    let Begun::Runs(reserved) = s.begin(&name(1), a, ask()) else { panic!("one always runs") };
    assert_eq!(s.begin(&name(2), b, ask()), Begun::Delayed);
    assert_eq!(s.fetches.join(NOW, &name(2), c, ask()), Joined::Yes);
    assert_eq!(s.fetches.release_room(NOW), None);
    s.fetches.answered(reserved, &Outcome::Value(None));
    let released = Released { name: name(2), waiting: vec![b, c], may_begin: true };
    assert_eq!(s.fetches.release_room(NOW), Some(released));
    assert!(matches!(s.fetches.start(NOW, name(2), vec![b, c], ask()), Begun::Runs(_)));
    assert_eq!(s.begin(&name(3), a, ask()), Begun::Delayed);
    let late = s.fetches.next_deadline().unwrap();
    let released = Released { name: name(3), waiting: vec![a], may_begin: false };
    assert_eq!(s.fetches.release_room(late), Some(released));
}

#[test]
fn a_fetch_at_the_ceiling_waits_or_is_refused_and_follows_its_partition() {
    let mut s = Script::new(|config| config.reads_per_second = 40);
    s.fetches.owns(Micros(0), 64);
    let (a, b) = (s.key(), s.key());
    assert!(matches!(s.begin(&name(1), a, ask()), Begun::Runs(_)));
    let held = (2..20).find(|n| s.begin(&name(*n), a, ask()) == Begun::HeldBack(Limit::Ceiling));
    let held = name(held.expect("thirty a second do not all begin at once"));
    let crowded = Ask { may_wait: false, ..ask() };
    assert_eq!(s.fetches.join(NOW, &held, b, crowded), Joined::Refused(Limit::Ceiling));
    assert_eq!(s.begin(&name(30), b, crowded), Begun::Refused(Limit::Ceiling, vec![b]));
    let later = s.fetches.next_deadline().unwrap();
    let released = s.fetches.release(later, Limit::Ceiling).unwrap();
    assert_eq!((&released.name, released.may_begin), (&held, true));
    assert!(matches!(s.fetches.run(later, released.name, released.waiting), Begun::Runs(_)));
    let held = (31..60).find(|n| s.begin(&name(*n), b, ask()) == Begun::HeldBack(Limit::Ceiling));
    let held = name(held.unwrap());
    assert_eq!(s.fetches.misplaced(|_| Place::Owned), vec![]);
    assert_eq!(s.fetches.misplaced(|_| Place::Elsewhere), vec![(held.clone(), Limit::Ceiling)]);
    assert_eq!(s.fetches.take_held(&held, Limit::Surge), None);
    assert_eq!(s.fetches.take_held(&held, Limit::Ceiling), Some(vec![b]));
}

#[test]
fn after_a_change_of_owner_only_fetches_that_may_be_kept_are_held_back() {
    let mut s = Script::new(|config| config.surge_reads = 0);
    s.fetches.told_usual(NOW, 20);
    s.fetches.took_over(NOW, 3, true, 1);
    let (a, b) = (s.key(), s.key());
    assert_eq!(s.begin(&name(1), a, ask()), Begun::HeldBack(Limit::Surge));
    let through = Ask { keeps: false, ..ask() };
    assert!(matches!(s.begin(&name(2), b, through), Begun::Runs(_)));
    let crowded = Ask { may_wait: false, ..ask() };
    assert_eq!(s.fetches.join(NOW, &name(1), b, crowded), Joined::Refused(Limit::Surge));
    let later = s.fetches.next_deadline().unwrap();
    let released = Released { name: name(1), waiting: vec![a], may_begin: true };
    assert_eq!(s.fetches.release(later, Limit::Surge), Some(released));
}

#[test]
fn requests_of_a_fetch_that_begins_again_join_another_of_the_key() {
    let mut s = Script::new(|_| {});
    let (a, b) = (s.key(), s.key());
    assert_eq!(s.fetches.join_all(&name(1), vec![a]), Some(vec![a]));
    assert_eq!(s.fetches.join_all(&name(1), vec![]), None);
    assert!(matches!(s.begin(&name(1), a, ask()), Begun::Runs(_)));
    assert_eq!(s.fetches.join_all(&name(1), vec![b]), None);
    assert_eq!(s.fetches.end(&name(1)).waiting, vec![b]);
}
