//! Command lines that are read, refused, and put over a scenario.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    load: LoadArgs,
}

/// What a command line says; `None`: it is refused.
pub(crate) fn parse(arguments: &[&str]) -> Option<LoadArgs> {
    let all = ["load"].iter().chain(arguments);
    Cli::try_parse_from(all).ok().map(|cli| cli.load)
}

#[test]
fn the_command_line_is_read() {
    let args = parse(&["--closed", "8×16", "--fill", "--check", "--lossless=false"]).unwrap();
    assert_eq!(args.closed, Some(Closed { clients: 8, depth: 16 }));
    assert_eq!((args.fill, args.check, args.lossless), (Some(true), Some(true), Some(false)));
    let args = parse(&["--trace", "t", "--format", "oracle"]).unwrap();
    assert_eq!(args.format, Some(TraceFormat::Oracle));
    let args = parse(&["--target", "memcached://a:1,b:2?eject=2"]).unwrap();
    assert!(args.target.is_some());
    let args = parse(&["--popularity", "zipf-by-number", "--preset", "ycsb-d"]).unwrap();
    assert_eq!(args.popularity, Some(PopularityKind::ZipfByNumber));
    assert_eq!(args.preset, Some(Preset::YcsbD));
    let none = format!("{:?}", parse(&[]).unwrap());
    assert_eq!(none, format!("{:?}", LoadArgs::default()), "the command line has no defaults");
}

#[test]
fn a_password_in_a_wrong_url_is_not_shown() {
    for url in [
        "redis://app:s3cret@a:x",
        "redi://app:s3cret@a:1",
        "redis://app:s3cret@a:1?pipelin=4",
        "redis://app:s3/cret@a:1",
        "redis://app:s3?cret@a:1",
        "memcached://app:s3cret@a:1",
    ] {
        let error = Cli::try_parse_from(["load", "--target", url]).unwrap_err().to_string();
        assert!(!error.contains("s3") && !error.contains("cret@"), "{error}");
        assert!(error.contains("--target"), "{error}");
    }
}

#[test]
fn nonsense_is_refused() {
    for arguments in [
        &["--trace", "t"][..],
        &["--closed", "8"],
        &["--closed", "0x1"],
        &["--interval", "99ms"],
        &["--interval", "1"],
        &["--closed", "1x1", "--rate", "5"],
        &["--phases", "10s@5", "--rate", "5"],
        &["--phases", "10s@5", "--seconds", "5"],
        &["--phases", "10s"],
        &["--find", "p99"],
        &["--find", "p99<1ms", "--closed", "1x1"],
        &["--find", "p99<1ms", "--phases", "1s@5"],
        &["--find", "p99<1ms", "--find-resolution", "0"],
        &["--find", "p99<1ms", "--find-settle", "-1"],
        &["--zipf", "-1"],
        &["--reads", "101"],
        &["--keys", "0"],
        &["--key-template", "k"],
        &["--target", "ftp://a:1"],
        &["--target", "redis://a:1", "--config", "c.toml"],
        &["--preset", "ycsb-a", "--trace", "t", "--format", "oracle"],
    ] {
        assert!(parse(arguments).is_none(), "{arguments:?}");
    }
}

#[test]
fn the_command_line_overrides_a_scenario_and_what_it_excludes() {
    let over = |above: &[&str], below: &[&str]| parse(above).unwrap().over(parse(below).unwrap());
    let args = over(&["--rate", "5"], &["--rate", "7", "--keys", "9"]);
    assert_eq!((args.rate, args.keys), (Some(5), Some(9)));
    let args = over(&["--closed", "1x2"], &["--rate", "7", "--arrivals", "poisson"]);
    assert_eq!((args.rate, args.arrivals), (None, None));
    assert!(over(&["--arrivals", "poisson"], &["--closed", "1x2"]).closed.is_none());
    let args = over(&["--phases", "1s@5"], &["--rate", "7", "--seconds", "9"]);
    assert_eq!((args.rate, args.seconds, args.phases.is_some()), (None, None, true));
    assert!(over(&["--phases", "1s@5"], &["--closed", "1x2"]).closed.is_none());
    assert!(over(&["--closed", "1x2"], &["--phases", "1s@5"]).phases.is_none());
    assert!(over(&["--rate", "7"], &["--phases", "1s@5"]).phases.is_none());
    assert!(over(&["--seconds", "7"], &["--phases", "1s@5"]).phases.is_none());
    assert!(over(&["--find", "max<1s"], &["--phases", "1s@5"]).phases.is_none());
    assert!(over(&["--find", "max<1s"], &["--closed", "1x2"]).closed.is_none());
    let files = [
        "--hdr",
        "a",
        "--hgrm",
        "b",
        "--csv",
        "c",
        "--html",
        "d",
        "--json",
        "e",
        "--interval",
        "1h",
    ];
    let args = over(&["--find", "max<1s"], &files);
    assert!(args.json.is_some(), "a search writes it");
    assert!(args.resolve().is_ok(), "a search has none of the other files");
    let find = ["--find", "max<1s", "--find-settle", "3"];
    assert!(over(&["--closed", "1x2"], &find).find_settle.is_none());
    let args = over(&["--target", "redis://a:1"], &["--config", "c", "--keyspace", "k"]);
    assert!(args.config.is_none() && args.keyspace.is_none());
    assert!(over(&["--config", "c"], &["--target", "redis://a:1"]).target.is_none());
    let args = over(&["--preset", "ycsb-c"], &["--reads", "5", "--zipf", "2"]);
    assert_eq!((args.reads, args.zipf), (None, None), "a preset is a whole");
    let args = over(&["--reads", "5"], &["--preset", "ycsb-c"]);
    assert_eq!((args.reads, args.preset), (Some(5.0), Some(Preset::YcsbC)));
    let args = over(&["--trace", "t", "--format", "oracle"], &["--preset", "ycsb-c"]);
    assert!(args.preset.is_none());
    assert_eq!(over(&["--check=false"], &["--check"]).check, Some(false));
    let args = over(&["--check=false"], &["--fill", "--check", "--lossless"]);
    assert_eq!((args.fill, args.lossless), (Some(true), None));
    let args = over(&["--fill=false"], &["--fill", "--check", "--lossless"]);
    assert_eq!((args.fill, args.check, args.lossless), (Some(false), None, None));
    let args = over(&["--key-type", "uuid"], &["--key-template", "k{n}"]);
    assert_eq!((args.key_type, args.key_template.is_some()), (Some(KeyType::Uuid), false));
    assert!(over(&["--key-template", "k{n}"], &["--key-type", "uuid"]).key_type.is_none());
    let hot = ["--popularity", "hotspot", "--hot-keys", "5"];
    assert!(over(&["--popularity", "uniform"], &hot).hot_keys.is_none());
    let args = over(&["--preset", "ycsb-c"], &["--trace", "t", "--format", "oracle"]);
    assert!(args.trace.is_none() && args.format.is_none());
}
