//! Whole replays against a memcached that keeps what it is asked: the operations, keys, sizes, lifetimes and times of the
//! file are those that arrive.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use standin_protocol::time::Micros;
use standin_testkit::Scratch;
use standin_testkit::fake_server::FakeServer;

use super::super::options::tests::parse;
use super::super::run;
use super::*;
use crate::report::document::Document;

/// A line that has arrived, with the value behind it, and when.
type Arrived = (Micros, String, Vec<u8>);

/// A memcached that answers as an empty one, and keeps what it is asked. Its threads end when its clients have gone.
fn listener() -> (String, Receiver<Arrived>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("memcached://{}", listener.local_addr().expect("it is bound"));
    let (sender, arrived) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || answer(&stream, &sender));
        }
    });
    (url, arrived)
}

fn answer(mut stream: &TcpStream, sender: &Sender<Arrived>) {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while let Ok(1..) = input.read_line(&mut line) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut value = Vec::new();
        let reply: &[u8] = match words[0] {
            "get" | "gets" => b"END\r\n",
            "set" | "add" | "cas" => {
                value = vec![0; words[4].parse::<usize>().expect("a size") + 2];
                input.read_exact(&mut value).expect("the value");
                value.truncate(value.len() - 2);
                b"STORED\r\n"
            }
            "stats" | "version" => b"END\r\n",
            _ => b"NOT_FOUND\r\n",
        };
        let is_load = !matches!(words[0], "stats" | "version");
        if is_load && sender.send((Micros::boottime(), words.join(" "), value)).is_err() {
            return;
        }
        if stream.write_all(reply).is_err() {
            return;
        }
        line.clear();
    }
}

fn load(url: &str, trace: &str, format: &str, options: &[&str]) -> Load {
    let all = [&["--target", url, "--trace", trace, "--format", format], options].concat();
    parse(&all).expect("options").resolve().expect("they fit together")
}

fn run_load(load: &Load) -> Document {
    run(load, &Arc::new(Live::new(load.workers))).unwrap_or_else(|error| panic!("{error}"))
}

fn written(scratch: &Scratch, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = scratch.file(name);
    std::fs::write(&path, bytes).expect("room for a file");
    path.to_str().expect("a path of ASCII").to_owned()
}

#[test]
fn a_closed_loop_has_a_client_for_each_thread() {
    let scratch = Scratch::new("replay-clients");
    let trace = written(&scratch, "t", "1,k,1,40,1,get,0\n".repeat(100));
    let server = FakeServer::memcached();
    let few = load(&server.url(), &trace, "twitter", &["--closed", "1x64", "--workers", "2"]);
    let refused = run(&few, &Arc::new(Live::new(few.workers))).unwrap_err().to_string();
    assert!(refused.contains("1 clients for the 2 load threads"), "{refused}");
    let enough = load(&server.url(), &trace, "twitter", &["--closed", "2x64", "--workers", "2"]);
    assert_eq!(run_load(&enough).total.requests, 100);
}

#[test]
fn operations_sizes_and_lifetimes_arrive_as_recorded() {
    let scratch = Scratch::new("replay-operations");
    let text = "1,a,1,5000,1,set,60\n1,b,1,7,1,add,9\n1,c,1,0,1,get,0\n1,d,1,0,1,delete,0\n1,e,1,0,1,incr,0\n\
                1,f,1,40,1,replace,0\n1,g,1,0,1,set,0\n1,h,1,50,1,cas,3\n";
    let compressed = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
    let trace = written(&scratch, "t.zst", compressed);
    let (url, arrived) = listener();
    let document = run_load(&load(&url, &trace, "twitter", &["--closed", "1x1", "--workers", "1"]));
    assert_eq!((document.total.requests, document.total.failed), (9, 0), "{:?}", document.quotes);
    let arrived: Vec<Arrived> = arrived.try_iter().collect();
    let lines: Vec<&str> = arrived.iter().map(|(_, line, _)| line.as_str()).collect();
    let expected = [
        "set a 0 60 5000",
        "add b 0 9 7",
        "get c",
        "delete d",
        "incr e 1",
        "set f 0 0 40",
        "set g 0 0 0",
        "gets h",
        "add h 0 3 50",
    ];
    assert_eq!(lines, expected);
    assert_eq!(arrived[1].2, b"1111111", "a small value is a number");
}

#[test]
fn a_template_has_its_own_sizes_and_needs_a_stamp_for_a_compare_and_swap() {
    let scratch = Scratch::new("replay-template");
    let trace = written(&scratch, "t", "1,a,1,5000,1,set,60\n1,h,1,50,1,cas,3\n");
    let (url, arrived) = listener();
    let more = ["--closed", "1x1", "--workers", "1", "--value-template"];
    let load = |template| load(&url, &trace, "twitter", &[&more[..], &[template]].concat());
    let plain = load("five{n:1}");
    let error = run(&plain, &Arc::new(Live::new(plain.workers))).unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("add {stamp} to --value-template"),
        "{error}"
    );
    assert!(arrived.try_iter().next().is_none(), "it was looked at before anything was sent");
    let stamped = load("five|{stamp}");
    let document = run_load(&stamped);
    assert_eq!((document.total.requests, document.total.failed), (3, 0), "{:?}", document.quotes);
    let first = arrived.try_iter().next().map(|(_, line, _)| line);
    assert_eq!(first.as_deref(), Some("set a 0 60 37"));
    let said = |load: &Load| {
        let rule = KeyRule { bytes_max: 250, is_word: true, why: "" };
        let own = load.has_own_sizes();
        let demands = Demands { keys: rule, value_bytes: (37, 37), has_own_sizes: own };
        clamped(&Totals { requests: 2, reduced: 1, ..Totals::default() }, demands).unwrap()
    };
    assert!(said(&stamped).contains("were not used: --value-template has no {random}"));
    assert!(said(&load("{stamp}{random}")).contains("were clamped to 37-37"));
}

#[test]
fn requests_arrive_at_their_recorded_times() {
    let scratch = Scratch::new("replay-times");
    // 100, 0, 100 and 300 requests in a second each; ten times as fast.
    let rows = [(0, 100), (2, 100), (3, 300)];
    let text: String = rows
        .iter()
        .flat_map(|(second, count)| {
            (0..*count).map(move |number| format!("{second}.0,key{number},get\n").replace(".0", ""))
        })
        .collect();
    let trace = written(&scratch, "t.csv", format!("time,key,operation\n{text}"));
    let (url, arrived) = listener();
    let load = load(&url, &trace, "csv", &["--speed", "10", "--workers", "2"]);
    assert!(load.is_recorded());
    let document = run_load(&load);
    assert_eq!((document.total.requests, document.total.failed), (500, 0));
    assert!((0.39..3.0).contains(&document.total.seconds), "{}", document.total.seconds);
    let times: Vec<Micros> = arrived.try_iter().map(|(at, ..)| at).collect();
    // The machine may be busy, so requests may be late, but none is early.
    let first = times[0];
    let after = |number: usize| times[number].since(first);
    assert!(after(99) >= Duration::from_millis(90), "{:?}", after(99));
    assert!(after(100) >= Duration::from_millis(190), "{:?}", after(100));
    assert!(after(499) >= Duration::from_millis(385), "{:?}", after(499));
    assert!(document.generator.asked_per_s.is_some(), "an open loop has a lateness");
}

#[test]
fn the_keys_of_a_trace_are_filled_and_judged() {
    let scratch = Scratch::new("replay-check");
    let operations = ["get", "set", "get", "delete", "get", "add", "incr", "cas"];
    let text: String = (0..40_000)
        .map(|n: usize| {
            let operation = operations[n % 7 % operations.len()];
            format!("{},key{},5,{},1,{operation},0\n", n / 10_000, n * 7 % 1_009, n % 3_000)
        })
        .collect();
    let trace = written(&scratch, "t", text);
    for pacing in [&["--speed", "20"][..], &["--closed", "4x16"], &["--rate", "50000"]] {
        let server = FakeServer::memcached();
        let options = [pacing, &["--fill", "--check", "--lossless"]].concat();
        let document = run_load(&load(&server.url(), &trace, "twitter", &options));
        assert!(document.is_good, "{pacing:?}: {:?} {:?}", document.warnings, document.quotes);
        assert_eq!(document.total.requests, 40_000, "{pacing:?}");
        assert!(document.total.counts.checked > 10_000, "{pacing:?}");
    }
}

#[test]
fn a_mistake_far_behind_the_beginning_ends_the_run_with_its_report() {
    let scratch = Scratch::new("replay-mistake");
    let text = "1,k,1,40,1,get,0\n".repeat(100_000) + "1,k,1,40,1,sing,0\n";
    let trace = written(&scratch, "t", text);
    let server = FakeServer::memcached();
    let closed = ["--closed", "2x16"];
    let document = run_load(&load(&server.url(), &trace, "twitter", &closed));
    assert!(!document.is_good);
    assert_eq!(document.total.requests, 100_000, "what was read before is sent");
    let warnings = document.warnings.join("\n");
    assert!(warnings.contains("line 100001") && warnings.contains("sing"), "{warnings}");
    // With fill, it is found before.
    let filled = load(&server.url(), &trace, "twitter", &["--closed", "2x16", "--fill"]);
    let error = run(&filled, &Arc::new(Live::new(filled.workers))).unwrap_err().to_string();
    assert!(error.contains("line 100001") && error.contains(&trace), "{error}");
    // So are times that go backward, where they are kept.
    let backward = "2,k,1,40,1,get,0\n".repeat(100_000) + "1,k,1,40,1,get,0\n";
    let trace = written(&scratch, "backward", backward);
    let kept = load(&server.url(), &trace, "twitter", &["--fill"]);
    let error = run(&kept, &Arc::new(Live::new(kept.workers))).unwrap_err().to_string();
    assert!(error.contains("line 100001 has an earlier time"), "{error}");
    // The format is looked at before anything is asked for.
    let wrong = load("memcached://127.0.0.1:1", &trace, "csv", &[]);
    let error = run(&wrong, &Arc::new(Live::new(wrong.workers))).unwrap_err().to_string();
    assert!(error.contains("header"), "{error}");
}

#[test]
fn a_fill_that_is_stopped_does_not_wait_for_the_end_of_the_file() {
    let scratch = Scratch::new("replay-stop");
    let path = scratch.file("zeros");
    // Requests for some keys, so that writes are sent, and then for one.
    let record =
        |key: u64| [&[0; 4][..], &key.to_le_bytes(), &40_u32.to_le_bytes(), &[0; 8]].concat();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&(1..=50_000).flat_map(record).collect::<Vec<u8>>()).unwrap();
    file.set_len(64 << 30).unwrap();
    let trace = path.to_str().unwrap();
    let (url, arrived) = listener();
    let filled = load(&url, trace, "oracle", &["--closed", "2x16", "--fill"]);
    let live = Arc::new(Live::new(filled.workers));
    let (ended, end) = channel();
    let run_live = Arc::clone(&live);
    std::thread::spawn(move || ended.send(run(&filled, &run_live).map(|_| ())));
    arrived.recv_timeout(Duration::from_secs(20)).expect("a key is written");
    live.stop();
    let error = end.recv_timeout(Duration::from_secs(20)).expect("its end").unwrap_err();
    assert!(error.to_string().contains("interrupted during --fill"), "{error}");
}

#[test]
fn a_thread_has_not_computed_more_than_all_of_a_short_time() {
    let scratch = Scratch::new("replay-short");
    let trace = written(&scratch, "t", "1,k,1,40,1,get,0\n");
    let server = FakeServer::memcached();
    let document = run_load(&load(&server.url(), &trace, "twitter", &["--workers", "2"]));
    let threads = &document.generator.threads;
    let is_share = |share: f64| (0.0..=1.0).contains(&share);
    assert!(threads.iter().all(|one| is_share(one.busy) && is_share(one.waiting)), "{threads:?}");
}

#[test]
fn misses_are_filled_with_the_recorded_size() {
    let scratch = Scratch::new("replay-misses");
    let trace = written(&scratch, "t", "1,k,1,77,1,get,0\n");
    let (url, arrived) = listener();
    run_load(&load(&url, &trace, "twitter", &["--fill-misses", "--workers", "1"]));
    let lines: Vec<String> = arrived.try_iter().map(|(_, line, _)| line).collect();
    assert_eq!(lines, ["get k", "set k 0 0 77"]);
}

#[test]
fn options_that_contradict_the_times_of_a_trace_are_refused() {
    let trace = ["--trace", "t", "--format", "twitter", "--speed", "2"];
    for (options, what) in [
        (&["--rate", "5"][..], "--speed keeps the times"),
        (&["--closed", "1x1"], "--speed keeps the times"),
        (&["--trace-keys", "5"], "--trace-keys is for --fill"),
    ] {
        let args = parse(&[&trace[..], options].concat()).expect("options");
        let error = args.resolve().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let error = parse(&["--speed", "2"]).expect("options").resolve().unwrap_err().to_string();
    assert!(error.contains("add --trace"), "{error}");
    assert!(parse(&["--speed", "0"]).is_none() && parse(&["--speed", "nan"]).is_none());
    // A rate of the command line is for the trace of a file, and the other way round.
    let below = || parse(&trace).expect("options");
    let over = parse(&["--rate", "5"]).expect("options").over(below()).resolve().unwrap();
    assert!(!over.is_recorded());
    let below = parse(&["--rate", "5", "--trace", "t", "--format", "csv"]).expect("options");
    let over = parse(&["--speed", "3"]).expect("options").over(below).resolve().unwrap();
    assert_eq!(over.trace.and_then(|trace| trace.speed), Some(3.0));
}
