//! Tests of the limit on misses after a change of owner.

use super::*;

const SECOND_US: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_secs(30);
/// A group of two servers in which one stands in for the other.
const PAIR: Sharing = Sharing { whole_percent: 200, peers: 1, reserved: 100 };

fn name() -> Name {
    b"\x01k".as_slice().into()
}

fn asked(partition: u32, deadline: Micros) -> Ask {
    Ask { partition, is_home: partition == 0, deadline, may_wait: true }
}

/// Asks for a fetch on behalf of a client that waits for four seconds.
fn ask(surge: &mut Surge, now: Micros, partition: u32) -> Entry {
    surge.enter(now, &name(), asked(partition, now + Duration::from_secs(4)))
}

fn waits(entry: Entry) -> bool {
    matches!(entry, Entry::Wait(_))
}

fn surge() -> Surge {
    Surge::new(4, PAIR, WARM, PATIENCE, Micros(0))
}

/// Returns a shard that has fetched 1,000 times per second for a while, after a warm-up.
fn measured() -> (Surge, Micros) {
    let mut surge = surge();
    let mut now = Micros(0);
    for second in 0..24 {
        let rate = if second < 4 { 9_000 } else { 1_000 };
        for _ in 0..rate {
            assert_eq!(ask(&mut surge, now, 0), Entry::Begin);
            now.0 += SECOND_US / rate;
        }
    }
    (surge, now)
}

/// Returns the number of fetches begun in a second, of partition 0 and of partition 1. Partition 0
/// has its usual 1,000 fetches, and partition 1 asks for `asked`.
fn begun_in_a_second(surge: &mut Surge, start: Micros, asked: u64) -> (u64, u64) {
    let (mut usual, mut extra) = (0, 0);
    for step in 0..asked {
        let now = Micros(start.0 + step * SECOND_US / asked);
        if step % (asked / 1_000) == 0 {
            assert_eq!(ask(surge, now, 0), Entry::Begin, "fetches of other partitions do not wait");
            usual += 1;
        }
        extra += u64::from(ask(surge, now, 1) == Entry::Begin);
        while let Some((_, may_begin)) = surge.release(now) {
            extra += u64::from(may_begin);
        }
    }
    (usual, extra)
}

#[test]
fn all_servers_together_ask_for_less_than_twice_the_usual() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    // One server is left. It may fetch 1.75 times as much as the two did.
    let (usual, extra) = begun_in_a_second(&mut surge, start, 5_000);
    assert_eq!(usual, 1_000);
    assert!((3_400..=3_550).contains(&(usual + extra)), "{usual} and {extra} in a second");

    let (mut home, start) = measured();
    home.took_over(start, 1, true, 1);
    let (usual, extra) = begun_in_a_second(&mut home, start, 5_000);
    // The other server has its usual 1,000.
    assert!((2_400..=2_550).contains(&(usual + extra)), "{usual} and {extra} in a second");
}

#[test]
fn the_reserved_rate_is_added_to_the_usual_rate() {
    let (mut surge, start) = measured();
    surge.sharing.reserved = 4_000;
    surge.took_over(start, 1, false, 1);
    let (usual, extra) = begun_in_a_second(&mut surge, start, 10_000);
    assert_eq!(usual, 1_000);
    assert!((3_900..=4_300).contains(&extra), "{extra} of new partitions in a second");
}

#[test]
fn the_shares_are_those_of_the_documentation() {
    let quad = Sharing { whole_percent: 400, ..PAIR };
    assert_eq!(quad.percent(false, 1), 500, "with the 200 of the two others, 700 of 400");
    assert_eq!(quad.percent(true, 1), 400, "with the 300 of the three others, also 700 of 400");
    let three = Sharing { whole_percent: 300, peers: 2, ..PAIR };
    assert_eq!(2 * three.percent(false, 1), 524, "two stand-ins divide the rest of 525");
}

#[test]
fn long_waits_raise_the_rate_up_to_twice() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    let mut begun = Vec::new();
    for second in 0..4 {
        let at = Micros(start.0 + second * SECOND_US);
        let (usual, extra) = begun_in_a_second(&mut surge, at, 20_000);
        begun.push(usual + extra);
    }
    assert!(begun[0] < 7_000, "{begun:?}");
    assert!((6_700..=7_100).contains(&begun[3]), "{begun:?}");
}

#[test]
fn a_raised_rate_falls_when_fewer_fetches_wait() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    for _ in 0..12_000 {
        assert!(waits(ask(&mut surge, start, 1)));
    }
    // When these have passed, 300 are always waiting.
    let mut begun = [0; 8];
    for ms in 0..8_000 {
        let now = start + Duration::from_millis(ms);
        while surge.held_back() < 300 {
            assert!(waits(ask(&mut surge, now, 1)));
        }
        while let Some((_, may_begin)) = surge.release(now) {
            begun[(ms / 1_000) as usize] += u64::from(may_begin);
        }
    }
    assert!(begun[0] > 5_500, "12,000 fetches need 6,000 per second: {begun:?}");
    assert!((3_400..=3_600).contains(&begun[7]), "300 need no more than usual: {begun:?}");
}

#[test]
fn waiting_fetches_are_bounded_in_number_and_time() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    // The number of fetches that pass at twice the rate within the patience.
    let held_max = 2 * 3_500 * 2;
    let entries: Vec<Entry> = (0..held_max + 2).map(|_| ask(&mut surge, start, 1)).collect();
    assert!(waits(entries[0]));
    assert!(waits(entries[held_max - 1]));
    assert_eq!(entries[held_max + 1], Entry::Refused);
    assert!(surge.next_deadline().unwrap() <= start + Duration::from_millis(2));
    let late = start + Duration::from_millis(2_100);
    assert_eq!(surge.release(late), Some((name(), false)));
}

#[test]
fn the_fetch_whose_client_gives_up_first_begins_first() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    let enter = |surge: &mut Surge, partition: u32, text: &[u8], wait_ms: u64| {
        let deadline = start + Duration::from_millis(wait_ms);
        assert!(waits(surge.enter(start, &text.into(), asked(partition, deadline))));
    };
    surge.took_over(start, 2, false, 1);
    enter(&mut surge, 1, b"c", 4_000);
    enter(&mut surge, 1, b"a", 1_000);
    enter(&mut surge, 2, b"b", 2_000);
    assert_eq!(surge.take(|partition| partition == 2), [Name::from(b"b".as_slice())]);
    assert!(surge.take(|partition| partition == 3).is_empty());
    // The key of `c` is now requested by a client that gives up earlier.
    let until = surge.expedite(
        start,
        1,
        &b"c".as_slice().into(),
        start + Duration::from_millis(500),
        start + PATIENCE,
    );
    assert_eq!(until, start + Duration::from_millis(400));
    let soon = start + Duration::from_millis(20);
    assert_eq!(surge.release(soon), Some((b"c".as_slice().into(), true)));
    assert_eq!(surge.release(soon), Some((b"a".as_slice().into(), true)));
    assert_eq!(surge.release(soon), Some((b"c".as_slice().into(), true)));
    assert_eq!(surge.release(soon), None);
}

#[test]
fn fetches_that_never_wait_leave_the_reserved_rate_alone() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    let mut extra = 0;
    for step in 0..10_000 {
        let now = Micros(start.0 + step * SECOND_US / 10_000);
        assert_eq!(ask(&mut surge, now, 0), Entry::Begin);
        extra += u64::from(ask(&mut surge, now, 1) == Entry::Begin);
        while let Some((_, may_begin)) = surge.release(now) {
            extra += u64::from(may_begin);
        }
    }
    assert!((90..=110).contains(&extra), "{extra} in addition to ten times the usual rate");
}

#[test]
fn servers_that_change_at_once_divide_the_remaining_share() {
    let ten = Sharing { whole_percent: 1000, ..PAIR };
    // The 8 other servers need 800. Together with these two, the limit is 1,750 of the usual 1,000.
    assert_eq!(2 * ten.percent(true, 2), 950);
    assert_eq!(ten.percent(true, 10), 175, "all of them");
}

#[test]
fn fetches_for_other_homes_are_not_part_of_the_usual_rate() {
    let (mut surge, start) = measured();
    for nth in 0..50_000 {
        let now = Micros(start.0 + nth * 1_000);
        assert_eq!(ask(&mut surge, now, 1), Entry::Begin);
        assert_eq!(ask(&mut surge, now, 0), Entry::Begin);
    }
    assert!((990..=1_010).contains(&surge.usual()), "{}", surge.usual());
}

#[test]
fn the_limit_ends_when_the_partition_is_warm() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    assert!(waits(ask(&mut surge, start, 1)));
    let warm = start + WARM;
    for _ in 0..10_000 {
        assert_eq!(ask(&mut surge, warm, 1), Entry::Begin);
    }
}

#[test]
fn a_shard_measures_from_its_start_on() {
    let mut surge = surge();
    surge.took_over(Micros(0), 0, true, 1);
    let mut now = Micros(0);
    for _ in 0..12_000 {
        assert_eq!(ask(&mut surge, now, 0), Entry::Begin);
        now.0 += SECOND_US / 1_000;
    }
    surge.took_over(now, 1, false, 1);
    assert_eq!(ask(&mut surge, now, 0), Entry::Begin, "the partitions that it had are warm");
    assert!(waits(ask(&mut surge, now, 1)));
}

#[test]
fn a_shard_without_a_measure_has_no_limit_until_a_member_reports_one() {
    let mut surge = surge();
    assert!(surge.needs_measure());
    surge.took_over(Micros(SECOND_US), 1, true, 1);
    for _ in 0..10_000 {
        assert_eq!(ask(&mut surge, Micros(SECOND_US), 1), Entry::Begin);
    }
    surge.told(Micros(SECOND_US), 1_000);
    assert!(!surge.needs_measure());
    assert!(waits(ask(&mut surge, Micros(SECOND_US), 1)));
}

#[test]
fn a_measure_that_is_reported_later_does_not_restart_the_change() {
    let mut surge = surge();
    surge.took_over(Micros(0), 0, true, 1);
    let mut now = Micros(0);
    for _ in 0..12_000 {
        ask(&mut surge, now, 0);
        now.0 += SECOND_US / 1_000;
    }
    surge.took_over(now, 1, false, 1);
    surge.told(now, 100_000);
    now.0 += SECOND_US / 100;
    let begun = (0..500).filter(|_| ask(&mut surge, now, 1) == Entry::Begin).count();
    assert!(begun < 50, "{begun} in 10 ms, by a measure of 1,000 a second");
}

#[test]
fn the_largest_share_of_a_change_counts() {
    let (mut surge, start) = measured();
    let usual = surge.usual();
    let rate = |surge: &Surge| surge.rate + surge.sharing.reserved;
    surge.took_over(start, 1, true, 1);
    assert_eq!(rate(&surge), usual * 5 / 2);
    surge.took_over(start, 2, false, 1);
    assert_eq!(rate(&surge), usual * 7 / 2, "a stand-in may fetch more");
    surge.took_over(start, 3, true, 1);
    assert_eq!(rate(&surge), usual * 7 / 2);
    surge.took_over(start + WARM, 1, true, 1);
    assert_eq!(rate(&surge), usual * 5 / 2, "the previous change is over");
}

#[test]
fn a_change_that_goes_on_keeps_its_tokens() {
    let later = |start: Micros| start + Duration::from_millis(100);
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    surge.took_over(later(start), 2, false, 1);
    assert_eq!(ask(&mut surge, later(start), 1), Entry::Begin, "one more partition");
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    surge.told(later(start), 9);
    assert_eq!(ask(&mut surge, later(start), 1), Entry::Begin, "a measure of another server");
}

#[test]
fn the_need_of_its_own_partitions_raises_the_rate_of_a_stand_in_only() {
    // The partitions are taken over one after another, each `later` than the one before.
    let raised = |taken: &[(Duration, bool)]| {
        let (mut surge, mut now) = measured();
        for (later, is_home) in taken {
            now = now + *later;
            surge.took_over(now, 1, *is_home, 1);
        }
        assert!(waits(ask(&mut surge, now, 1)));
        surge.raised.at(now, PATIENCE) > 0
    };
    let (home, stand_in) = ((Duration::ZERO, true), (Duration::ZERO, false));
    assert!(!raised(&[home, home]));
    assert!(raised(&[stand_in, home]));
    assert!(raised(&[home, stand_in]));
    assert!(!raised(&[stand_in, (WARM, true)]), "another change");
}

#[test]
fn the_rate_is_raised_only_while_fetches_wait() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    for _ in 0..3 {
        assert!(waits(ask(&mut surge, start, 1)));
    }
    assert_eq!(surge.held_back(), 3);
    assert!(surge.raised != Raised::default());
    assert_eq!(surge.take(|_| true).len(), 3);
    assert_eq!((surge.held_back(), surge.raised), (0, Raised::default()));
    assert!(waits(ask(&mut surge, start, 1)));
    assert!(surge.raised != Raised::default());
    assert!(surge.release(start + Duration::from_millis(20)).is_some());
    assert_eq!((surge.held_back(), surge.raised), (0, Raised::default()));
}

#[test]
fn a_client_that_gives_up_no_earlier_does_not_move_the_fetch_forward() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    let deadline = start + Duration::from_secs(1);
    let Entry::Wait(until) = surge.enter(start, &name(), asked(1, deadline)) else {
        panic!("there are no tokens yet");
    };
    assert_eq!(surge.expedite(start, 1, &name(), deadline, until), until);
    assert_eq!(surge.held_back(), 1);
}

#[test]
fn each_partition_is_warm_after_its_own_time() {
    let (mut surge, start) = measured();
    surge.took_over(start, 1, false, 1);
    surge.took_over(start + Duration::from_secs(1), 2, false, 1);
    let warm = start + WARM;
    while !waits(ask(&mut surge, warm, 2)) {}
    assert_eq!(ask(&mut surge, warm, 1), Entry::Begin);
}
