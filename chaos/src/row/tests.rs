//! Rows made by hand, against their targets.

use standin_config::Mode;

use super::*;

fn clean() -> Row {
    Row {
        first_good_ms: Some(40.0),
        announced_ms: Some(60.0),
        origin_reads_steady_per_s: 100.0,
        origin_reads_peak_per_s: 190.0,
        hit_ratio_steady: 0.95,
        ..Row::default()
    }
}

fn misses(row: &Row, fault: Fault) -> usize {
    row.misses_of(fault.targets(Duration::from_millis(100), Mode::Available)).len()
}

#[test]
fn a_kill_is_held_against_all_its_targets() {
    assert_eq!(misses(&clean(), Fault::Kill), 0);
    let failed = Counts { failed: 1, ..Counts::default() };
    for (row, expected) in [
        (Row { counts: failed, ..clean() }, 1),
        (Row { stale_beyond: 1, ..clean() }, 1),
        (Row { lost_writes: 1, ..clean() }, 1),
        (Row { first_good_ms: Some(251.0), ..clean() }, 1),
        (Row { first_good_ms: None, announced_ms: None, ..clean() }, 2),
        (Row { clients_without: 1, ..clean() }, 1),
        (Row { silence_ms: Some(300.0), ..clean() }, 0),
        (Row { silence_ms: Some(301.0), ..clean() }, 1),
        (Row { hit_ratio_steady: 0.938, ..clean() }, 1),
        (Row { hit_ratio_steady: 0.962, ..clean() }, 1),
        (Row { announced_ms: Some(1_001.0), ..clean() }, 1),
        (Row { origin_reads_peak_per_s: 201.0, ..clean() }, 1),
        (Row { false_offlines: vec!["b1".to_owned()], ..clean() }, 1),
    ] {
        assert_eq!(misses(&row, Fault::Kill), expected, "{row:?}");
    }
}

#[test]
fn what_needs_an_absent_database_may_fail_and_say_so() {
    let failed = |kind: FailureKind| {
        let mut counts = Counts { failed: 1, ..Counts::default() };
        counts.failures[kind as usize] = 1;
        Row { counts, ..clean() }
    };
    assert_eq!(misses(&failed(FailureKind::OriginUnavailable), Fault::OriginDown), 0);
    assert_eq!(misses(&failed(FailureKind::DeadlineExceeded), Fault::OriginDown), 1);
    assert_eq!(misses(&failed(FailureKind::OriginUnavailable), Fault::OriginSlow), 1);
}

#[test]
fn a_paused_server_keeps_its_partitions_and_one_that_was_restarted_has_none_to_keep() {
    let returned = |partitions_dropped| Row {
        returned: Some(Returned { partitions_dropped, ..Returned::default() }),
        ..clean()
    };
    let pause = Fault::Pause(Duration::from_secs(30));
    assert_eq!(misses(&returned(0), pause), 0);
    assert_eq!(misses(&returned(1), pause), 1);
    assert_eq!(misses(&returned(1), Fault::Restart), 0);
}

#[test]
fn an_outage_of_writes_is_told() {
    let row = Row {
        writes: Latency { p99_ms: 3_900.0, max_ms: 4_000.4 },
        first_good_write_ms: Some(2_200.0),
        write_silence_ms: Some(2_150.0),
        ..clean()
    };
    let text = row.latency_text("since the fault");
    assert!(text.contains("writes p99 3900.0 ms, max 4000;"), "{text}");
    assert!(text.contains("affected keys after 2200 ms; at most 2150 ms without"), "{text}");
}

#[test]
fn displaced_writes_are_told_if_there_were_any() {
    assert_eq!(clean().displaced_text(), None);
    let text = Row { redraws: 12, became_reads: 3, ..clean() }.displaced_text().unwrap();
    assert!(text.contains("12 other keys were drawn; 3 were made as reads"), "{text}");
}

#[test]
fn an_announcement_is_of_the_server_and_after_the_strike() {
    let line = |t_us: u64, server: &str, text: &str| MasterLine {
        t_us,
        kind: "announced".to_owned(),
        server: Some(server.to_owned()),
        text: text.to_owned(),
    };
    let events = [
        line(5, "a1", "a1 is offline"),
        line(20, "b1", "b1 is offline"),
        line(30, "a1", "a1 is online"),
        line(40, "a1", "a1 is waiting"),
    ];
    assert_eq!(announced(&events, 0, Micros(10)), Some(Micros(40)));
    assert_eq!(announced(&events, 1, Micros(10)), None);
}
