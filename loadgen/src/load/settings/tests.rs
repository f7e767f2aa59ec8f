//! What a load is without options, and options that do not fit together.

use super::super::options::tests::parse;
use super::super::{pacing, whole};
use super::*;

fn resolve(arguments: &[&str]) -> Result<Load, LoadError> {
    parse(arguments).expect("options that are right one by one").resolve()
}

#[test]
fn sizes_are_those_asked_for() {
    let sizes = |arguments: &[&str]| resolve(arguments).unwrap().sizes;
    assert_eq!(sizes(&[]), ValueSizes::fixed(100));
    assert_eq!(sizes(&["--value-bytes", "64-99"]), ValueSizes::between(64, 99));
    let trace = ["--trace", "t", "--format", "oracle"];
    assert_eq!(sizes(&trace), ValueSizes::between(0, 16 << 20));
    let judged = [&trace[..], &["--fill", "--check"]].concat();
    assert_eq!(sizes(&judged), ValueSizes::between(32, 16 << 20));
    assert_eq!(sizes(&[&trace[..], &["--value-bytes", "50"]].concat()), ValueSizes::fixed(50));
    // Otherwise sizes would be changed without being counted.
    let json = [&trace[..], &["--value-kind", "json"]].concat();
    assert_eq!(sizes(&json), ValueSizes::between(54, 16 << 20));
    let judged = [&json[..], &["--fill", "--check"]].concat();
    assert_eq!(sizes(&judged), ValueSizes::between(54, 16 << 20));
}

#[test]
fn presets_are_those_of_ycsb_and_can_be_changed() {
    let shape = |arguments: &[&str]| {
        let load = resolve(arguments).unwrap();
        (load.reads_percent, load.reads_first, load.popularity, load.sizes.max_bytes)
    };
    let zipf = Popularity::Zipf { exponent: 0.99, is_scrambled: true };
    assert_eq!(shape(&["--preset", "ycsb-a"]), (50.0, false, zipf, 1_000));
    assert_eq!(shape(&["--preset", "ycsb-b"]), (95.0, false, zipf, 1_000));
    assert_eq!(shape(&["--preset", "ycsb-c"]), (100.0, false, zipf, 1_000));
    let latest = Popularity::Latest { exponent: 0.99 };
    assert_eq!(shape(&["--preset", "ycsb-d"]), (95.0, false, latest, 1_000));
    assert_eq!(shape(&["--preset", "ycsb-f"]), (50.0, true, zipf, 1_000));
    let changed = ["--preset", "ycsb-f", "--reads", "10", "--popularity", "uniform"];
    assert_eq!(shape(&changed), (10.0, true, Popularity::Uniform, 1_000));
    let twitter = Popularity::Zipf { exponent: 1.2959, is_scrambled: true };
    assert_eq!(shape(&["--preset", "twitter-14"]), (65.0, false, twitter, 414));
    let others = |arguments: &[&str]| resolve(arguments).unwrap().others;
    let cluster = others(&["--preset", "twitter-23"]);
    assert_eq!((cluster.increments_percent, cluster.counters), (30.0, 1_000));
    assert_eq!(cluster.deletes_percent, 2.0);
    let cluster = others(&["--preset", "twitter-52", "--cas", "1", "--cas-keys", "7"]);
    assert_eq!((cluster.cas_percent, cluster.cas_keys, cluster.adds_percent), (1.0, 7, 4.0));
    let scan = resolve(&["--preset", "ycsb-e"]).unwrap_err().to_string();
    assert!(scan.contains("another preset"), "{scan}");
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    for (arguments, what) in [
        (&["--check"][..], "--fill"),
        (&["--fill", "--lossless"], "--check"),
        (&["--find-settle", "1"], "add --find"),
        (&["--find", "max<1s", "--hdr", "f"], "--json"),
        (&["--find", "max<1s", "--html", "f"], "--json"),
        (&["--find", "max<1s", "--interval", "1h"], "--interval"),
        (&["--find", "stale=0"], "--check"),
        (&["--key-type", "uuid", "--key-template", "k{n}"], "type text"),
        (&["--hot-keys", "1"], "--popularity hotspot"),
        (&["--first-key", "9223372036854775807"], "at most"),
        (&["--value-bytes", "31"], "too small"),
        (&["--adds", "6"], "101 %"),
        (&["--multi-gets", "6"], "101 %"),
        (&["--cas", "3", "--increments", "3"], "101 %"),
        (&["--multi-get-keys", "3"], "--multi-gets"),
        (&["--cas-keys", "3"], "--cas"),
        (&["--counters", "3"], "--increments"),
        (&["--keys", "4294967295", "--cas", "1"], "lower --keys"),
        (&["--trace", "t", "--format", "oracle", "--cas", "1"], "--cas"),
        (&["--trace", "t", "--format", "oracle", "--ttl", "1"], "--ttl"),
        (&["--value-bytes", "99999999"], "too large"),
        (&["--move-every", "5", "--popularity", "uniform"], "zipf or hotspot"),
        (&["--move-every", "5", "--preset", "ycsb-d"], "zipf or hotspot"),
        (&["--move-share", "5"], "--move-every"),
        (&["--trace", "t", "--format", "oracle", "--keys", "5"], "--keys"),
        (&["--trace", "t", "--format", "oracle", "--popularity", "uniform"], "--popularity"),
        (&["--trace", "t", "--format", "oracle", "--key-type", "uuid"], "--key-type"),
        (&["--trace", "t", "--format", "oracle", "--warm-up", "1"], "--warm-up"),
    ] {
        let error = resolve(arguments).unwrap_err().to_string();
        assert!(error.contains(what), "{arguments:?}: {error}");
    }
}

#[test]
fn histograms_that_take_too_much_memory_are_refused() {
    let phases = |count: usize| vec!["1s@5"; count].join(",");
    let load = |workers: &str, phases: &str| resolve(&["--workers", workers, "--phases", phases]);
    assert!(load("1024", "1s@5").is_ok() && load("8", &phases(100)).is_ok());
    let error = load("1024", &phases(100)).unwrap_err().to_string();
    assert!(error.contains("1024 load threads with 100 phases") && error.contains("--workers"));
    let trace = ["--trace", "t", "--format", "csv", "--workers"];
    assert!(resolve(&[&trace[..], &["256"]].concat()).is_ok());
    let error = resolve(&[&trace[..], &["1024"]].concat()).unwrap_err().to_string();
    assert!(error.contains("and a trace"), "{error}");
    // An agent's number of load threads is known last.
    let mut shared = resolve(&[&trace[..], &["1"]].concat()).unwrap();
    shared.workers = 1_024;
    assert!(shared.check_memory().is_err());
}

#[test]
fn how_many_requests_there_will_be_is_known_of_a_rate_alone() {
    let trace = ["--trace", "t", "--format", "csv"];
    for (options, requests) in [
        (&["--rate", "50"][..], 250),
        (&["--closed", "1x1"], 0),
        (&trace, 0),
        (&[&trace[..], &["--rate", "20"]].concat(), 100),
    ] {
        let load = resolve(&[&["--seconds", "5"], options].concat()).unwrap();
        assert_eq!(whole(&pacing(&load), load.duration), requests, "{options:?}");
    }
}

#[test]
fn only_what_needs_a_folder_gets_one() {
    let cache = ["--target", "memcached://a:1"];
    let needs = |options: &[&str]| resolve(&[&cache[..], options].concat()).unwrap().needs_folder();
    assert!(!needs(&[]) && !needs(&["--database", "postgres://a/b"]));
    assert!(needs(&["--folder", "f"]) && needs(&["--database", "sqlite"]));
}
