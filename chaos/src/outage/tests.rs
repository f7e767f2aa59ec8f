//! The figures of outages against logs made by hand.

use standin_protocol::frame::response_flags::HIT;

use super::*;
use standin_loadgen::checker::Wrong;
use standin_loadgen::recorder::{Displaced, FailureKind, Sample};

const fn ms(ms: u64) -> Micros {
    Micros(ms * 1_000)
}

/// A read of `key`, due and answered at these milliseconds, from the cache.
fn read(worker: u32, key: u32, due: u64, ended: u64) -> Logged {
    let ending = Ending::Answered { flags: HIT, is_absent: false, verdict: Some(Verdict::Fresh) };
    let sample = Sample {
        is_fill: false,
        is_scheduled: true,
        op: OpKind::Read,
        phase: 0,
        due: ms(due),
        sent: ms(due),
        ended: ms(ended),
        sends: 1,
        displaced: Displaced::default(),
        ending,
    };
    Logged { worker, key, served_by: Some(0), sample }
}

fn ending(request: Logged, ending: Ending) -> Logged {
    Logged { sample: Sample { ending, ..request.sample }, ..request }
}

fn failed(request: Logged) -> Logged {
    ending(request, Ending::Failed(FailureKind::DeadlineExceeded))
}

fn missed(request: Logged) -> Logged {
    ending(request, Ending::Answered { flags: 0, is_absent: false, verdict: None })
}

#[test]
fn the_first_good_answer_is_each_clients_own() {
    let answered =
        |verdict| Ending::Answered { flags: 0, is_absent: false, verdict: Some(verdict) };
    let age = Duration::from_secs(9);
    let log = [
        // Due before the fault: its answer proves nothing.
        read(0, 1, 990, 1_010),
        // Another server's key.
        read(0, 2, 1_001, 1_002),
        failed(read(0, 1, 1_005, 1_100)),
        ending(
            read(0, 1, 1_005, 1_110),
            answered(Verdict::Stale { behind: 1, age, is_beyond: true }),
        ),
        ending(read(0, 1, 1_005, 1_120), answered(Verdict::Wrong(Wrong::OtherKey))),
        ending(
            read(0, 1, 1_005, 1_150),
            answered(Verdict::Stale { behind: 1, age, is_beyond: false }),
        ),
        read(0, 1, 1_006, 1_200),
        read(1, 1, 1_000, 1_030),
        failed(read(2, 1, 1_000, 1_500)),
    ];
    let found = first_good(&log, |key| key == 1, ms(1_000));
    assert_eq!(found.by_client, [Duration::from_millis(30), Duration::from_millis(150)]);
    assert_eq!(found.without, 1);
    assert_eq!(found.quantile(0.5), Some(Duration::from_millis(150)));
    assert_eq!(found.quantile(0.99), None, "one client never had an answer");
}

#[test]
fn silence_includes_the_beginning_and_the_end() {
    let log = [
        read(0, 1, 0, 1_100),
        read(1, 1, 0, 1_150),
        failed(read(0, 1, 0, 1_300)),
        read(0, 1, 0, 1_500),
    ];
    let longest = |until| longest_silence(&log, |key| key == 1, ms(1_000), ms(until));
    assert_eq!(longest(1_600), Duration::from_millis(350));
    assert_eq!(longest(3_000), Duration::from_millis(1_500));
    assert_eq!(longest_silence(&log, |key| key == 2, ms(0), ms(70)), Duration::from_millis(70));
}

#[test]
fn normal_is_when_nothing_is_wrong_any_more() {
    let steady = Level { hit_ratio: 1.0, median: Duration::from_millis(1) };
    let quick = |from: u64, to: u64| (from..to).step_by(10).map(|due| read(0, 1, due, due + 1));
    let mut log: Vec<Logged> = quick(0, 3_000).collect();
    let again = |log: &[Logged]| normal_again(log, steady, ms(0), ms(3_000));
    assert_eq!(again(&log), Some(ms(0)), "never anything else");
    log.push(failed(read(0, 1, 700, 900)));
    assert_eq!(again(&log), Some(ms(1_000)));
    log.extend((1_000..1_400).step_by(10).map(|due| missed(read(0, 1, due, due + 1))));
    assert_eq!(again(&log), Some(ms(1_500)));
    let lowest = lowest_hit_ratio(&log, ms(0), ms(3_000)).unwrap();
    assert!((lowest - 50.0 / 90.0).abs() < 1e-9, "{lowest}");
    log.extend((1_500..2_000).step_by(5).map(|due| read(0, 1, due, due + 40)));
    assert_eq!(again(&log), Some(ms(2_000)), "slow answers");
    log.push(failed(read(0, 1, 2_990, 2_995)));
    assert_eq!(again(&log), None, "not over");
}

#[test]
fn levels_and_slow_requests() {
    let mut log: Vec<Logged> = (0..99).map(|due| read(0, 1, due, due + 2)).collect();
    log.push(missed(read(0, 1, 50, 550)));
    let level = level(&log, ms(0), ms(100)).unwrap();
    assert!((level.hit_ratio - 0.99).abs() < 1e-9);
    assert_eq!(level.median, Duration::from_millis(2));
    let (p99, longest) = slow_of(&log, OpKind::Read, ms(0), ms(100));
    assert!(
        p99 < Duration::from_millis(3) && longest >= Duration::from_millis(499),
        "{p99:?} {longest:?}"
    );
    assert_eq!(super::level(&log, ms(500), ms(600)), None);
    let mut write = read(0, 1, 60, 960);
    write.sample.op = OpKind::Write;
    log.push(write);
    let longest = |op| slow_of(&log, op, ms(0), ms(100)).1.as_millis();
    assert!((499..600).contains(&longest(OpKind::Read)), "{}", longest(OpKind::Read));
    assert!((899..1_000).contains(&longest(OpKind::Write)), "{}", longest(OpKind::Write));
}

#[test]
fn a_peak_is_the_busiest_second() {
    let times: Vec<Micros> =
        (0..10).map(|i| ms(i * 200)).chain((0..30).map(|i| ms(5_000 + i * 100))).collect();
    assert!((rate_per_s(&times, ms(0), ms(2_000)) - 5.0).abs() < 1e-9);
    assert!((peak_per_s(&times, ms(0), ms(10_000)) - 10.0).abs() < 1e-9);
    assert!((peak_per_s(&times, ms(0), ms(4_000)) - 5.0).abs() < 1e-9);
    assert!(peak_per_s(&times, ms(8_000), ms(9_000)).abs() < 1e-9);
}
