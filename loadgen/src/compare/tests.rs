//! Merging and comparing runs that are made up.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use standin_protocol::time::Micros;
use standin_testkit::Scratch;

use super::*;
use crate::recorder::{Displaced, Ending, OpKind, Recorder, Sample, Window};
use crate::report::document::{
    Environment, FORMAT, Generator, Interval, Lateness, Operation, TargetFacts, Thread, VERSION,
};
use crate::report::events::Event;
use crate::report::figures::curve;
use crate::report::{Figures, Machine};

const START: Micros = Micros(1_000_000_000);
const SLOT: Duration = Duration::from_millis(100);

/// Requests as (milliseconds at which they were due, latency in µs, operation).
pub(crate) fn document(requests: &[(u64, u64, OpKind)]) -> Document {
    let mut recorder = Recorder::new(START, 1, SLOT);
    for (due_ms, latency_us, op) in requests {
        let due = START + Duration::from_millis(*due_ms);
        recorder.record(
            0,
            &Sample {
                op: *op,
                is_fill: false,
                is_scheduled: true,
                phase: 0,
                due,
                sent: due + Duration::from_micros(9),
                ended: due + Duration::from_micros(*latency_us),
                sends: 1,
                displaced: Displaced::default(),
                ending: Ending::Answered { flags: 0, is_absent: false, verdict: None },
            },
        );
    }
    let recording = recorder.finish();
    let machine =
        Machine { cores: 2, processor: "P".to_owned(), memory_mib: 9, kernel: "6.1".to_owned() };
    Document {
        format: FORMAT.to_owned(),
        version: VERSION,
        label: None,
        is_good: true,
        started: "2026-11-30T10:00:00.000Z".to_owned(),
        command: Vec::new(),
        target: TargetFacts {
            name: "T".to_owned(),
            is_standin: false,
            servers: Vec::new(),
            usage: None,
        },
        scenario: json!({
            "arrivals": { "rate": 100, "closed": null }, "mix": { "reads": 95.0 }, "keys": {}, "values": {},
            "run": { "seconds": 10.0, "workers": 1 }, "target": { "url": "u" },
        }),
        environment: Environment {
            machine,
            host: "h".to_owned(),
            cpus_allowed: "0-1".to_owned(),
            governor: None,
            standin: "1".to_owned(),
        },
        total: Figures::new(recording.counts(), &recording.latency(), 10.0, Some(5)),
        operations: Operation::all_of(&recording.whole()),
        service: Operation::new("service", &recording.whole().service),
        phases: Vec::new(),
        generator: Generator {
            workers: 1,
            cpu_s: 1.0,
            busy: 0.1,
            threads: vec![Thread { worker: 0, busy: 0.1, waiting: 0.0 }],
            limits: Vec::new(),
            asked_per_s: Some(100.0),
            is_checked: false,
            lateness: Lateness::of(&recording.lateness),
        },
        warnings: Vec::new(),
        quotes: Vec::new(),
        percentiles: curve(&recording.latency()),
        interval_ms: 100,
        timeline: Interval::all_of(&recording),
        samples: Vec::new(),
        origin: Vec::new(),
        marks: Vec::new(),
        events: Vec::new(),
        announcements: Vec::new(),
        expectations: Vec::new(),
        parts: Vec::new(),
    }
}

fn reads(latencies_us: impl Iterator<Item = u64>) -> Vec<(u64, u64, OpKind)> {
    (0..).zip(latencies_us).map(|(index, us)| (index, us, OpKind::Read)).collect()
}

#[test]
fn a_merged_run_is_the_run_of_all_requests() {
    let mut first = reads((1..500).map(|n| n * 7));
    let second: Vec<_> = (0..300)
        .map(|n| (n * 3, 5_000 + n * n, if n % 3 == 0 { OpKind::Write } else { OpKind::Read }))
        .collect();
    let parts = [document(&first), document(&second)];
    let merged = merge(&parts).unwrap();
    first.extend(second);
    let whole = document(&first);
    assert!(merged.operations == whole.operations, "exactly, to the last count");
    assert_eq!(merged.latency(), whole.latency());
    assert!(merged.timeline == whole.timeline);
    assert_eq!(merged.total.counts, whole.total.counts);
    assert_eq!(merged.total.latency_us, whole.total.latency_us);
    assert_eq!(merged.total.origin_reads, Some(10), "each has counted its own");
    assert!(merged.generator.lateness == whole.generator.lateness);
    assert_eq!(merged.generator.asked_per_s, Some(200.0));
    assert_eq!(merged.scenario["arrivals"]["rate"], 200);
    assert_eq!((merged.generator.workers, merged.parts.len()), (2, 2));
    assert!(merged.service == whole.service);
    let numbers: Vec<u32> = merged.generator.threads.iter().map(|thread| thread.worker).collect();
    assert_eq!(numbers, [0, 1], "threads are numbered through");
    let mut clusters = parts.clone();
    clusters.iter_mut().for_each(|document| document.target.is_standin = true);
    let reads = merge(&clusters).unwrap().total.origin_reads;
    assert_eq!(reads, Some(5), "both have counted the same database");
    let again = merge(&[merged, document(&first)]).unwrap();
    assert_eq!(again.parts.len(), 3, "a merged run brings its parts");
}

#[test]
fn runs_that_can_not_be_merged_are_told() {
    assert!(merge(&[]).is_err());
    let one = document(&reads(1..9));
    let other = Document { interval_ms: 1_000, ..one.clone() };
    let error = merge(&[one.clone(), other]).unwrap_err().to_string();
    assert!(error.contains("--interval"), "{error}");
    let later = Document { started: "2026-11-30T10:00:07.000Z".to_owned(), ..one.clone() };
    let merged = merge(&[one, later]).unwrap();
    assert!(merged.warnings[0].contains("7.0 s apart"), "{:?}", merged.warnings);
}

fn save(scratch: &Scratch, name: &str, document: &Document) -> PathBuf {
    let path = scratch.file(name);
    std::fs::write(&path, serde_json::to_string(document).unwrap()).unwrap();
    path
}

fn group(name: &str, factor: u64, runs: u64) -> Group {
    let run = |number| document(&reads((1..200).map(|n| (n * 10 + number) * factor)));
    Group { name: name.to_owned(), runs: (0..runs).map(run).collect() }
}

#[test]
fn a_run_of_half_the_latency_is_twice_as_fast() {
    let comparison = compare(&[group("before", 2, 5), group("after", 1, 5)]);
    assert!(comparison.is_comparable, "{:?}", comparison.differences);
    let row = comparison.rows.iter().find(|row| row.figure == "p50").unwrap();
    let ratio = row.ratios[0].unwrap();
    assert!((0.49..0.51).contains(&ratio.value), "{row:?}");
    let (low, high) = ratio.interval.unwrap();
    assert!(0.47 < low && low <= ratio.value && ratio.value <= high && high < 0.53, "{row:?}");
    assert!(comparison.notes.is_empty(), "{:?}", comparison.notes);
    let text = shown::text(&comparison);
    assert!(text.contains("B/A") && text.contains("before, 5 runs"), "{text}");
    let few = compare(&[group("before", 2, 1), group("after", 1, 2)]);
    assert!(few.notes[0].contains("single run") && few.notes[1].contains("too narrow"));
}

#[test]
fn a_run_with_a_fault_is_not_comparable_with_one_without() {
    let run = |faults: serde_json::Value| {
        let mut run = document(&[(0, 100, OpKind::Read)]);
        run.scenario["script"] = json!({ "processes": [], "faults": faults });
        run
    };
    let kill = |name: &str, at: u64| {
        json!([{ "name": name, "line": 9, "at": { "secs": at, "nanos": 500_000_000 },
            "lasts": { "secs": 2, "nanos": 0 }, "deed": { "process": { "name": name, "what": "kill" } } }])
    };
    let compared = |a, b| {
        let group = |name: &str, run| Group { name: name.to_owned(), runs: vec![run] };
        compare(&[group("a", run(a)), group("b", run(b))])
    };
    assert!(compared(kill("cache", 5), kill("a1", 5)).is_comparable, "whom it concerns may differ");
    let differences = compared(kill("cache", 5), json!([])).differences;
    assert_eq!(differences, ["faults: at 5.5 s for 2 s in a, none in b"]);
    assert!(!compared(kill("cache", 5), kill("cache", 6)).is_comparable);
}

#[test]
fn faults_of_the_same_name_are_compared() {
    let run = |failed, first_good_us| {
        let mut run = document(&[(0, 100, OpKind::Read)]);
        let after = Some(Window { failed, first_good_us, ..Window::default() });
        let event = |is_end, after| Event {
            name: "kill".to_owned(),
            is_end,
            asked_s: 1.0,
            done_s: Some(1.0),
            error: None,
            announced_us: None,
            silence_us: None,
            after,
        };
        run.events = vec![event(false, after), event(true, Some(Window::default()))];
        run
    };
    let group = |name: &str, run| Group { name: name.to_owned(), runs: vec![run] };
    let comparison = compare(&[group("a", run(0, None)), group("b", run(9, Some(250_000)))]);
    let medians = |figure: &str| {
        let row = comparison.rows.iter().find(|row| row.figure == figure).expect("a row");
        row.medians.iter().map(|median| median.map(|median| median.value)).collect::<Vec<_>>()
    };
    assert_eq!(medians("failed after kill"), [Some(0.0), Some(9.0)]);
    assert_eq!(medians("first good after kill"), [None, Some(250.0)]);
}

#[test]
fn runs_of_other_loads_are_not_comparable() {
    let mut groups = [group("a", 1, 2), group("b", 1, 2)];
    groups[1].runs[0].scenario["mix"]["reads"] = json!(50.0);
    groups[1].runs[0].scenario["target"]["url"] = json!("another");
    groups[1].runs[1].scenario["arrivals"]["rate"] = json!(200);
    let comparison = compare(&groups);
    assert!(!comparison.is_comparable);
    let all = comparison.differences.join("\n");
    assert!(all.contains("mix.reads: 95.0 in a, 50.0 in b"), "{all}");
    assert!(all.contains("arrivals.rate: 100 in a, 200 in b"), "{all}");
    assert!(all.contains("target.url differs within b: another and u"), "{all}");
    assert_eq!(comparison.differences.len(), 3, "{all}");
    let mut groups = [group("a", 1, 1), group("b", 1, 1)];
    groups[1].runs[0].scenario["target"]["url"] = json!("another");
    assert!(compare(&groups).is_comparable, "which target is better is the question");
}

#[test]
fn files_are_grouped_by_label_or_as_told() {
    let scratch = Scratch::new("compare");
    let of = |label: &str, number: u64| Document {
        label: Some(label.to_owned()),
        ..document(&reads((1..50).map(|n| n * number)))
    };
    let files = [
        save(&scratch, "1.json", &of("old", 10)),
        save(&scratch, "2.json", &of("new", 20)),
        save(&scratch, "3.json", &of("old", 11)),
    ];
    let groups = by_label(&files).unwrap();
    assert_eq!((groups[0].name.as_str(), groups[0].runs.len(), groups.len()), ("old", 2, 2));
    let (json, html) = (scratch.file("c.json"), scratch.file("c.html"));
    let told = CompareArgs {
        files: Vec::new(),
        a: vec![files[0].clone(), files[2].clone()],
        b: vec![files[1].clone()],
        json: Some(json.clone()),
        html: Some(html.clone()),
    };
    let (text, code) = compare_files(&told).unwrap();
    assert!(text.contains("A: a, 2 runs") && code == ExitCode::SUCCESS, "{text}");
    let written: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(written["groups"][0]["runs"], 2);
    assert_eq!(written["rows"][1]["figure"], "p50");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("B/A") && !page.contains("<script"));
    let one = CompareArgs { files: vec![files[0].clone()], a: Vec::new(), ..told };
    let error = compare_files(&one).unwrap_err().to_string();
    assert!(error.contains("--label"), "{error}");
}
