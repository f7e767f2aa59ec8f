//! Whole runs against a fake cache behind a socket: what their files say, and that the documents describe them.

mod interrupts;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use standin_protocol::time::Micros;
use standin_testkit::fake_cache::{Planted, Speaks};
use standin_testkit::fake_server::FakeServer;
use standin_testkit::{Scratch, free_ports};

use super::options::tests::parse;
use super::{Load, Prepared, find, read_counters, run, run_shown};
use crate::console::Console;
use crate::interrupt::Interrupt;
use crate::live::Live;
use crate::observer::OriginPoint;
use crate::recorder::{Recorder, Window};
use crate::report::document::{ClockDifference, Document, Part};
use crate::report::events::Event;
use crate::report::expectations::{Announced, Expectation};
use crate::report::{LatencyUs, Mark};

const MANUAL: &str = "docs/LOAD.md";

fn load(arguments: &[&str]) -> Load {
    parse(arguments).expect("options").resolve().expect("they fit together")
}

/// An interrupt that does not come.
fn never() -> Interrupt {
    Interrupt::of_flag(Arc::default())
}

fn run_load(load: &Load) -> Document {
    run(load, &Arc::new(Live::new(load.workers))).unwrap_or_else(|error| panic!("{error}"))
}

/// A run of a second or so with every file.
fn small_run(scratch: &Scratch) -> Document {
    let server = FakeServer::memcached();
    let mut load = load(&[
        "--target",
        &server.url(),
        "--rate",
        "2000",
        "--keys",
        "500",
        "--seconds",
        "2",
        "--interval",
        "100ms",
        "--fill",
        "--check",
        "--label",
        "a label",
    ]);
    load.json = Some(scratch.file("r.json"));
    load.csv = Some(scratch.file("r.csv"));
    load.hdr = Some(scratch.file("r.hlog"));
    load.hgrm = Some(scratch.file("r"));
    load.html = Some(scratch.file("r.html"));
    // This process is the target's as well.
    load.processes.pids = vec![std::process::id()];
    run_load(&load)
}

/// A run whose requests all fail.
fn failed_run() -> Document {
    let url = format!("memcached://127.0.0.1:{}", free_ports(1)[0]);
    run_load(&load(&["--target", &url, "--phases", "1s@100"]))
}

/// The names in a JSON: `a.b` in objects, `a[]` in arrays, `a.*` where names are data.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        // As those of the whole run.
        Value::Object(_)
            if ["phases[].total", "phases[].operations[]", "phases[].service"].contains(&path) =>
        {
            found.insert(path.to_owned());
        }
        Value::Object(entries) => {
            let is_data =
                ["failures", "histograms", "figures"].iter().any(|end| path.ends_with(end));
            for (name, value) in entries {
                let name = if is_data { "*" } else { name };
                let dot = if path.is_empty() { "" } else { "." };
                paths(value, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| paths(item, &format!("{path}[]"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path.to_owned());
        }
    }
}

/// The first cells of the table behind a heading of the manual.
fn table(heading: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(MANUAL);
    let text = std::fs::read_to_string(path).expect("the manual");
    let (_, behind) = text.split_once(&format!("\n{heading}\n")).expect("its heading");
    let section = behind.split_once("\n## ").map_or(behind, |(section, _)| section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| {
        let (cell, _) = row.split_once(" |").expect("a table");
        cell.trim_end_matches('`').split("`, `").map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_manual_has_each_name_of_the_json_and_no_other() {
    let scratch = Scratch::new("load-json");
    let mut failed = failed_run();
    assert!(!failed.is_good && failed.total.failed > 50, "{:?}", failed.total);
    failed.marks.push(Mark { t_s: 1.0, label: "killed".to_owned() });
    failed.origin.push(OriginPoint { t_ms: 1.0, reads_per_s: 2.0 });
    failed.events.push(Event {
        name: "kill cache1".to_owned(),
        is_end: false,
        asked_s: 1.0,
        done_s: Some(1.0),
        error: None,
        announced_us: None,
        silence_us: None,
        after: Some(Window { failures: failed.total.counts.failures, ..Window::default() }),
    });
    let (server, state) = ("st-a1".to_owned(), "offline".to_owned());
    failed.announcements.push(Announced { t_s: 1.5, server, state });
    failed.expectations.push(Expectation {
        that: "failed=0".to_owned(),
        since: Some("kill cache1".to_owned()),
        is_kept: false,
        misses: vec!["failed=0: 3".to_owned()],
    });
    failed.warnings.push("a warning".to_owned());
    failed.generator.limits.push("a limit".to_owned());
    failed.command.push("standin".to_owned());
    failed.parts.push(Part {
        host: "h".to_owned(),
        started: failed.started.clone(),
        requests: 1,
        failed: 0,
        latency_us: LatencyUs::default(),
        busy: 0.1,
        agent: Some("h:1".to_owned()),
        clock: Some(ClockDifference { round_trip_us: 1, boottime_us: -2, wall_us: 3 }),
    });
    let mut found = BTreeSet::new();
    for document in [&small_run(&scratch), &failed] {
        let json = serde_json::to_value(document).expect("JSON");
        paths(&json, "", &mut found);
    }
    // Absent in one run, an object in another.
    let objects: Vec<String> = found
        .iter()
        .filter(|path| {
            let inside = format!("{path}.");
            found.iter().any(|other| other.starts_with(&inside))
        })
        .cloned()
        .collect();
    found.retain(|path| !objects.contains(path));
    // The example is the manual of these.
    found.retain(|path| !path.starts_with("scenario."));
    found.insert("scenario".to_owned());
    let told = table("## The JSON file");
    let missing: Vec<_> = found.difference(&told).collect();
    assert!(missing.is_empty(), "{MANUAL} lacks {missing:?}");
    let extra: Vec<_> = told.difference(&found).collect();
    assert!(extra.is_empty(), "no run has {extra:?} of {MANUAL}");
}

#[test]
fn the_files_of_a_run_agree_with_each_other() {
    let scratch = Scratch::new("load-files");
    let document = small_run(&scratch);
    assert!(document.is_good, "{:?} {:?}", document.total, document.quotes);
    let total = document.total.requests;
    assert!((3_900..=4_000).contains(&total), "{total}");
    let read = Document::load(&scratch.file("r.json")).unwrap_or_else(|error| panic!("{error}"));
    assert!(read.operations == document.operations, "what is written is read again");
    assert!(read.total.counts == document.total.counts && read.scenario == document.scenario);
    let histograms = |document: &Document| {
        document.timeline.iter().map(|interval| interval.histograms.clone()).collect::<Vec<_>>()
    };
    assert!(histograms(&read) == histograms(&document));
    assert_eq!(document.latency().len(), total);

    let csv = std::fs::read_to_string(scratch.file("r.csv")).expect("the CSV");
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a head");
    let told = table("## The CSV file");
    for column in &head {
        let general = column.strip_prefix("read_").or(column.strip_prefix("write_"));
        let name = match general {
            Some(rest) => format!("OPERATION_{rest}"),
            None if column.starts_with("failed_") => "failed_KIND".to_owned(),
            None => (*column).to_owned(),
        };
        assert!(told.contains(&name), "{MANUAL} lacks the column {column}");
    }
    let rows: Vec<_> = lines.collect();
    assert!(rows.len() >= 20, "an interval is 100 ms: {}", rows.len());
    assert!(rows.iter().all(|row| row.len() == head.len()));
    let sum = |name: &str| -> u64 {
        let column = head.iter().position(|column| *column == name).expect(name);
        rows.iter().map(|row| row[column].parse::<u64>().expect("a number")).sum()
    };
    assert_eq!(sum("requests"), total);
    assert_eq!(sum("answers"), total);
    assert_eq!(sum("hits"), document.total.counts.hits);
    assert_eq!(sum("read_requests") + sum("write_requests"), total);

    let log = std::fs::read(scratch.file("r.hlog")).expect("the log");
    let mut in_log = std::collections::BTreeMap::<String, u64>::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(line) = entry.expect("a line") {
            use base64::Engine as _;
            let bytes =
                base64::prelude::BASE64_STANDARD.decode(line.encoded_histogram()).expect("base64");
            let histogram: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut &bytes[..]).expect("a histogram");
            let tag = line.tag().expect("a tag").as_str().to_owned();
            *in_log.entry(tag).or_default() += histogram.len();
        }
    }
    for operation in document.operations.iter().filter(|operation| operation.requests > 0) {
        assert_eq!(in_log.get(&operation.name), Some(&operation.requests));
        let file = scratch.file(&format!("r.{}.hgrm", operation.name));
        let text = std::fs::read_to_string(file).expect("a file of percentiles");
        assert!(text.contains(&format!("Total count    = {:>12}]", operation.requests)), "{text}");
    }
}

#[test]
fn the_page_has_everything_and_loads_nothing() {
    let scratch = Scratch::new("load-page");
    let document = small_run(&scratch);
    let page = std::fs::read_to_string(scratch.file("r.html")).expect("the page");
    for wanted in [
        "Load: a label",
        "Throughput",
        "Latency from the scheduled time",
        "Stale and wrong reads",
        "Hit ratio",
        "Processors kept busy",
        "Percentiles",
        "reads 95.0",
        &document.environment.machine.kernel,
        &document.started,
        "µs for each request",
    ] {
        assert!(page.contains(wanted), "the page lacks {wanted:?}");
    }
    let addresses = page.replace("http://www.w3.org/2000/svg", "").replace("memcached://", "");
    for forbidden in ["://", "<script", "src=", "@import", "url("] {
        assert!(!addresses.contains(forbidden), "the page has {forbidden:?}");
    }
    let usage = document.target.usage.expect("it was told its processes");
    assert!(usage.cpu_s > 0.05 && usage.cpu_us_per_request > 10.0, "{usage:?}");
    assert!(usage.resident_bytes_max > 1 << 20, "{usage:?}");
    let of_server = &document.target.servers[0];
    assert_eq!((of_server.version.as_deref(), of_server.figures["bytes"]), (Some("fake"), 7));
}

#[test]
fn what_is_no_result_is_told() {
    for (text, what) in [
        ("", "is no result"),
        ("{}", "is no result"),
        ("{\"format\": \"standin-load\", \"version\": 99}", "version 99"),
        ("{\"format\": \"standin-load\", \"version\": 1}", "missing field"),
    ] {
        let error = Document::read(text).expect_err(text);
        assert!(error.contains(what), "{text}: {error}");
    }
    let error = Document::load(Path::new("/no/such.json")).unwrap_err().to_string();
    assert!(error.starts_with("/no/such.json: "), "{error}");
}

/// The address of a Redis that is no cluster. It ends with the test's process.
fn no_cluster() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut request = [0; 512];
                while let Ok(1..) = stream.read(&mut request) {
                    let answer = b"-ERR This instance has cluster support disabled\r\n";
                    let _ = stream.write_all(answer);
                }
            });
        }
    });
    address
}

/// The run is over then, so its results are kept, and say what is missing.
#[test]
fn counters_that_can_t_be_read_at_the_end_are_told() {
    let scratch = Scratch::new("load-counters");
    let server = FakeServer::memcached();
    let arguments = ["--keys", "50", "--increments", "50", "--reads", "50", "--fill", "--check"];
    let url = server.url();
    let counted = ["--counters", "7", "--seconds", "1", "--rate", "200", "--target", &url];
    let mut load = load(&[&arguments[..], &counted].concat());
    load.json = Some(scratch.file("r.json"));
    let document = run_load(&load);
    assert!(document.is_good && document.total.counts.counters_read == 7, "{document:?}");

    let gone = free_ports(1)[0];
    for (url, why) in [
        (format!("memcached://127.0.0.1:{gone}"), "7 of 7 counters were not read at the end"),
        (format!("redis-cluster://{}", no_cluster()), "the slots of the cluster are not known"),
    ] {
        let target = Some(url.parse().expect("a URL"));
        let load = Load { target, fill: false, ..load.clone() };
        let live = Arc::new(Live::new(load.workers));
        let prepared = Prepared::new(&load, &live, &never(), &mut Console::silent());
        let plan = prepared.unwrap_or_else(|error| panic!("{error}")).plan.clone();
        let mut recording = Recorder::new(Micros(0), 1, Duration::from_secs(1)).finish();
        let mut read = |live: &Arc<Live>| {
            let interrupt = Interrupt::of_flag(live.flag());
            read_counters(&load, (&plan, live), &mut recording, &interrupt, &mut Console::silent())
        };
        let problem = read(&live).expect("there is nothing to read");
        assert!(problem.contains(why) && problem.contains("7 of 7"), "{problem}");
        // As an agent whose coordinator has been interrupted.
        live.stop();
        let problem = read(&live).expect("nothing is read");
        assert!(problem.contains("7 of 7") && problem.contains("interrupted"), "{problem}");
        assert_eq!(recording.counts().counters_read, 0);
    }
}

/// Those of the last part of a second too.
#[test]
fn the_lines_of_a_run_have_all_its_requests() {
    let server = FakeServer::memcached();
    let url = server.url();
    let load = load(&["--target", &url, "--rate", "500", "--seconds", "1", "--keys", "50"]);
    let (lines, shown) = std::sync::mpsc::channel();
    let mut console = Console::new(Some(Box::new(move |line: &str| {
        lines.send(line.to_owned()).expect("the test waits");
    })));
    let live = Arc::new(Live::new(load.workers));
    let document = run_shown(&load, &live, &[], &never(), &mut console, None).unwrap();
    assert_eq!(document.total.requests, 500);
    drop(console);
    let lines: Vec<String> = shown.iter().collect();
    let at = lines.iter().position(|line| line.contains("asked/s")).expect("a heading");
    assert!(lines.len() > at + 1 && lines[at + 1].split_whitespace().count() == 10, "{lines:?}");
}

/// It answers nothing, and that fast.
#[test]
fn a_dead_target_keeps_no_objective_that_allows_no_failures() {
    let url = format!("memcached://127.0.0.1:{}", free_ports(1)[0]);
    let search = |objective: &str| {
        let arguments = ["--target", &url, "--rate", "2", "--seconds", "1", "--warm-up", "0"];
        let find = ["--find", objective, "--find-settle", "0"];
        let load = load(&[&arguments[..], &find].concat());
        let find = load.find.clone().expect("a search");
        find::run(&load, &find, &[], &never(), &mut Console::silent())
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let dead = search("max<1h");
    assert_eq!(dead.rate_per_s, None, "{dead:?}");
    for step in &dead.steps {
        assert!(step.failed > 0 && step.answers_per_s < 0.5, "{step:?}");
        assert!(step.misses[0].starts_with("failed: "), "{step:?}");
    }
    // The objective's own condition is the only one on failures.
    let allowed = search("max<1us,failed<=100%");
    assert!(allowed.steps.iter().all(|step| step.failed > 0 && step.misses.len() == 1));
}

/// It is a measurement like others, and does not end the search.
#[test]
fn a_stale_warm_up_of_a_search_misses_the_objective() {
    let server = FakeServer::new(Speaks::Text, Planted::StaleRead(100));
    let url = server.url();
    let keys = ["--target", &url, "--rate", "4000", "--keys", "20", "--fill", "--check"];
    let mix = ["--reads", "80", "--seconds", "1", "--warm-up", "1"];
    let find = ["--find", "max<1h,stale=0", "--find-settle", "0", "--find-resolution", "100"];
    let load = load(&[&keys[..], &mix, &find].concat());
    let find = load.find.clone().expect("a search");
    let report = find::run(&load, &find, &[], &never(), &mut Console::silent());
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    let first = &report.steps[0];
    assert!(first.misses.iter().any(|miss| miss.starts_with("warm-up: stale=0: ")), "{first:?}");
    assert!(first.bad > 0 && report.rate_per_s.is_none_or(|rate| rate < 4_000), "{report:?}");
}

/// Its processes end behind the first measurement, which is kept.
#[test]
fn a_search_that_can_t_go_on_says_what_it_knows() {
    let server = FakeServer::memcached();
    let url = server.url();
    let child = std::process::Command::new("sleep").arg("1000").spawn().expect("a process");
    let arguments = ["--target", &url, "--rate", "100", "--seconds", "1", "--warm-up", "0"];
    let find = ["--find", "max<1h", "--find-settle", "0", "--target-pid", &child.id().to_string()];
    let load = load(&[&arguments[..], &find].concat());
    let child = std::sync::Mutex::new(child);
    let mut console = Console::new(Some(Box::new(move |line: &str| {
        if line.contains("  kept") {
            let mut child = child.lock().expect("no thread panics");
            let _ = child.kill();
            let _ = child.wait();
        }
    })));
    let find = load.find.clone().expect("a search");
    let report = find::run(&load, &find, &[], &never(), &mut console);
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((report.steps.len(), report.rate_per_s), (1, Some(100)), "{report:?}");
    let error = report.error.as_deref().unwrap_or_default();
    assert!(error.starts_with("--target-pid"), "{error}");
    let text = report.to_text();
    assert!(text.contains("not finished") && text.contains("a measurement failed"), "{text}");

    let json = serde_json::to_value(&report).expect("JSON");
    let mut found = BTreeSet::new();
    paths(&json, "", &mut found);
    found.retain(|path| !path.starts_with("scenario.") && !path.starts_with("environment."));
    found.extend(
        ["scenario", "environment", "command[]", "warnings[]", "steps[].misses[]"]
            .map(str::to_owned),
    );
    found.insert("steps[].generator_limits[]".to_owned());
    assert_eq!(found, table("## The JSON file of a search"));
    assert!(json["scenario"]["run"]["interval"].is_null(), "it has no timeline");
}

#[test]
fn a_search_measures_until_the_rate_is_known() {
    let server = FakeServer::memcached();
    let url = server.url();
    let search = |objective: &str, rate: &str| {
        let load = load(&[
            "--target",
            &url,
            "--rate",
            rate,
            "--keys",
            "50",
            "--fill",
            "--seconds",
            "1",
            "--warm-up",
            "0",
            "--find",
            objective,
            "--find-settle",
            "0",
            "--find-resolution",
            "100",
        ]);
        let find = load.find.clone().expect("a search");
        find::run(&load, &find, &[], &never(), &mut Console::silent())
            .unwrap_or_else(|error| panic!("{error}"))
    };
    // What no run keeps is missed down to the lowest rate.
    let none = search("p50<1us", "4");
    let rates: Vec<_> = none.steps.iter().map(|step| step.rate_per_s).collect();
    assert_eq!((none.rate_per_s, rates), (None, vec![4, 2, 1]));
    assert!(none.steps.iter().all(|step| step.misses[0].starts_with("p50<1us: ")), "{none:?}");
    assert!(none.to_text().contains("does not keep p50<1us, not even at 1 requests/s"));

    // Nothing here makes a million a second, and the search does not wait until all of them are sent.
    let found = search("max<1h", "1000000");
    let (Some(kept), Some(missed)) = (found.rate_per_s, found.missed_per_s) else {
        panic!("{found:?}")
    };
    assert!(kept < missed && missed <= 2 * kept, "{found:?}");
    let misses = found.steps.iter().filter(|step| !step.is_kept);
    assert!(misses.clone().count() > 0 && misses.clone().all(|step| step.misses.len() == 1));
    assert!(misses.clone().all(|step| step.misses[0].contains("answers/s came in time")));
    assert!(found.to_text().contains("keeps max<1h at"), "{}", found.to_text());
}
