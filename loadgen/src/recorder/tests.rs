//! The recorder against what was recorded; its log against the histogram library's reader.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use proptest::prelude::*;
use standin_protocol::frame::response_flags::{FILLED, HIT, STAND_IN};

use super::*;

const START: Micros = Micros(1_000_000_000);
const SLOT: Duration = Duration::from_millis(250);

fn sample(due_ms: u64, latency_us: u64, op: OpKind) -> Sample {
    let due = START + Duration::from_millis(due_ms);
    Sample {
        is_fill: false,
        is_scheduled: true,
        op,
        phase: usize::from(due_ms >= 1_000),
        due,
        sent: due + Duration::from_micros(3),
        ended: due + Duration::from_micros(latency_us),
        sends: 1,
        displaced: Displaced::default(),
        ending: Ending::Answered { flags: HIT, is_absent: false, verdict: Some(Verdict::Fresh) },
    }
}

fn recording(samples: &[Sample]) -> Recording {
    let mut recorder = Recorder::new(START, 2, SLOT);
    samples.iter().for_each(|sample| recorder.record(0, sample));
    recorder.finish()
}

#[test]
fn counts_follow_the_flags() {
    let answered = |flags, is_absent| Ending::Answered { flags, is_absent, verdict: None };
    let read = sample(0, 10, OpKind::Read);
    let stale = Some(Verdict::Stale { behind: 1, age: Duration::from_micros(70), is_beyond: true });
    let recording = recording(&[
        Sample { ending: answered(HIT, false), ..read },
        Sample { ending: answered(FILLED, true), sends: 2, ..read },
        Sample { ending: answered(HIT | STAND_IN, false), ..read },
        Sample {
            ending: Ending::Answered { flags: HIT, is_absent: false, verdict: stale },
            ..read
        },
        Sample { ending: Ending::Failed(FailureKind::Overloaded), ..read },
        Sample {
            op: OpKind::Write,
            ending: answered(0, false),
            displaced: Displaced { redraws: 3, became_read: false },
            ..read
        },
        Sample { displaced: Displaced { redraws: 8, became_read: true }, ..read },
    ]);
    let counts = recording.counts();
    assert_eq!((counts.requests, counts.failed, counts.reads, counts.writes), (7, 1, 6, 1));
    assert_eq!((counts.hits, counts.filled, counts.absent, counts.stand_in), (4, 1, 1, 1));
    assert_eq!((counts.checked, counts.stale, counts.resent), (2, 1, 1));
    assert_eq!((counts.redraws, counts.became_reads), (11, 1));
    assert_eq!((counts.stale_beyond, counts.stale_age_us_max), (1, 70));
    assert!((counts.hit_ratio() - 0.8).abs() < 1e-9);
    let failures: Vec<_> = counts.failures_by_kind().collect();
    assert_eq!(failures, [(FailureKind::Overloaded, 1)]);
    let json = serde_json::to_value(&counts).unwrap();
    assert_eq!(json["failures"], serde_json::json!({ "overloaded": 1 }));
}

#[test]
fn an_answer_counts_where_it_came_and_its_latency_where_it_was_due() {
    let recording = recording(&[sample(100, 600_000, OpKind::Read), sample(260, 50, OpKind::Read)]);
    let timeline = recording.timeline();
    let shown: Vec<_> =
        timeline.iter().map(|p| (p.t_ms, p.requests, p.throughput_per_s as u64)).collect();
    assert_eq!(shown, [(0, 1, 0), (250, 1, 4), (500, 0, 4)]);
    assert!((599_000..=601_000).contains(&timeline[0].max_us), "{}", timeline[0].max_us);
}

#[test]
fn a_late_sample_of_a_closed_slot_is_not_lost() {
    let recording = recording(&[sample(60_000, 10, OpKind::Read), sample(0, 10, OpKind::Read)]);
    let requests: u64 = recording.timeline().iter().map(|point| point.requests).sum();
    assert_eq!(requests, 2);
}

#[test]
fn a_stall_of_more_than_a_minute_is_recorded_as_it_was() {
    // A request every 75 ms, all answered when the stall is over.
    let stalled: Vec<Sample> =
        (0..1_000).map(|n| sample(n * 75, (75_000 - n * 75) * 1_000, OpKind::Read)).collect();
    let recording = recording(&stalled);
    let latency = recording.latency();
    let p99_ms = latency.value_at_quantile(0.99) / 1_000;
    assert!((74_100..=74_400).contains(&p99_ms), "{p99_ms}");
    assert!((75_000..=75_100).contains(&(latency.max() / 1_000)), "{}", latency.max());
    // Also in the timeline, where each belongs to the time when it was due.
    let timeline = recording.timeline();
    let due = timeline.iter().filter(|point| point.requests > 0);
    for point in due {
        let (shown_ms, expected_ms) = (point.max_us / 1_000, 75_000 - point.t_ms);
        assert!(shown_ms <= expected_ms + 100 && shown_ms + 300 >= expected_ms, "{point:?}");
    }
}

#[test]
fn the_log_reads_back() {
    let recording = recording(&[
        sample(0, 100, OpKind::Read),
        sample(10, 200, OpKind::Write),
        sample(300, 400_000, OpKind::Read),
    ]);
    let mut log = Vec::new();
    write_hdr_log(&recording, SystemTime::UNIX_EPOCH, "a comment", &mut log).unwrap();
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = hdrhistogram_base64(interval.encoded_histogram());
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            let tag = interval.tag().unwrap().as_str();
            found.push((interval.start_timestamp().as_millis(), tag, histogram.len()));
        }
    }
    assert_eq!(found, [(0, "read", 1), (0, "write", 1), (250, "read", 1)]);
}

/// Decodes standard base64; the log's crate does not offer its own.
fn hdrhistogram_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).unwrap());
        }
    }
    bytes
}

proptest! {
    // A histogram is large: a few dozen cases take a second without optimisation.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn workers_together_record_what_one_would(
        samples in prop::collection::vec((0u64..2_000, 1u64..3_000_000, any::<bool>(), 0usize..3), 1..200)
    ) {
        let all: Vec<(usize, Sample)> = samples
            .into_iter()
            .map(|(due_ms, latency_us, is_read, worker)| {
                let op = if is_read { OpKind::Read } else { OpKind::Write };
                (worker, sample(due_ms, latency_us, op))
            })
            .collect();
        let one = recording(&all.iter().map(|(_, sample)| *sample).collect::<Vec<_>>());
        let mut parts = (0..3).map(|worker| {
            let own = all.iter().filter(|(w, _)| *w == worker).map(|(_, s)| *s);
            recording(&own.collect::<Vec<_>>())
        });
        let mut merged = parts.next().unwrap();
        parts.for_each(|part| merged.merge(part));

        prop_assert_eq!(merged.counts(), one.counts());
        prop_assert_eq!(merged.latency(), one.latency());
        prop_assert_eq!(merged.timeline(), one.timeline());
        // Three digits: the histogram's value is within a thousandth of the true one.
        let longest = all.iter().map(|(_, s)| micros(s.ended.since(s.due))).max().unwrap();
        let shown = merged.latency().max();
        prop_assert!(shown >= longest && shown - longest <= longest / 1_000 + 1);
    }
}

#[test]
fn behind_a_moment_only_what_was_judged_counts_as_judged() {
    let later = sample(10, 10, OpKind::Read);
    let unjudged = Ending::Answered { flags: HIT, is_absent: false, verdict: None };
    let judged = |verdicts: &[Verdict]| {
        let moments = Arc::new(Moments::new([Some(Duration::ZERO)]));
        let mut recorder = Recorder::new(START, 2, SLOT).with_moments(moments);
        recorder.record(0, &Sample { ending: unjudged, ..later });
        recorder.record(0, &sample(20, 10, OpKind::Read));
        let answer = Judged { phase: 0, due: later.due, ended: later.ended };
        verdicts.iter().for_each(|verdict| recorder.judge_later(&answer, *verdict));
        let window = recorder.finish().windows[0].0;
        (window.reads, window.checked, window.last_bad_us.is_some())
    };
    assert_eq!(judged(&[]), (2, 1, false));
    assert_eq!(judged(&[Verdict::Unjudged]), (2, 1, false));
    assert_eq!(judged(&[Verdict::Fresh]), (2, 2, false));
    let stale = Verdict::Stale { behind: 1, age: Duration::ZERO, is_beyond: false };
    assert_eq!(judged(&[stale]), (2, 2, true));
}
