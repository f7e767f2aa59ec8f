//! A scenario: the options of `standin load` in a TOML file. `scenario.example.toml` is its manual.
//!
//! Here is the form of the file. What options mean together is checked where they meet those of the command line.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use clap::ValueEnum;
use standin_config::{ConfigErrors, Report, Section};

use super::options::{EXPONENT_MAX, LoadArgs};
use super::phases;
use crate::request::ValueSizes;
use crate::value::{VALUE_BYTES_MAX, VALUE_BYTES_MIN};

/// The file to start from.
const EXAMPLE: &str = "scenario.example.toml";
const RATE_MAX: u64 = 10_000_000;
const WORKERS_MAX: u64 = 1_024;
/// TOML's whole numbers are signed.
const WHOLE_MAX: u64 = i64::MAX as u64;

/// Reads a scenario. Relative paths in it are relative to its folder.
pub(super) fn load(path: &Path) -> Result<LoadArgs, ConfigErrors> {
    standin_config::read_file(path, EXAMPLE, read)
}

/// The reader of a section, which sets the options that are in it.
type ReadSection = fn(&mut Section<'_>, &Path, &mut Report<'_>, &mut LoadArgs);

const SECTIONS: [(&str, ReadSection); 8] = [
    ("target", target),
    ("arrivals", arrivals),
    ("keys", keys),
    ("mix", mix),
    ("values", values),
    ("trace", trace),
    ("checks", checks),
    ("run", run),
];

fn read(mut root: Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Option<LoadArgs> {
    let mut args = LoadArgs::default();
    for (name, read) in SECTIONS {
        // One that is no section was reported.
        let Some(mut section) = root.section(name, report) else { continue };
        read(&mut section, base_dir, report, &mut args);
        section.finish(report);
    }
    root.finish(report);
    Some(args)
}

fn target(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
    args: &mut LoadArgs,
) {
    // The text may have a password.
    args.target =
        parsed_as(section, "url", "memcached://127.0.0.1:11211", report, |_, error| error);
    if args.target.is_some() {
        let why = "is for the cluster of a file; remove it, or `url`";
        section.misplaced("config", why, report);
        section.misplaced("keyspace", why, report);
        return;
    }
    let path = section.text("config", "cluster.toml", report).good();
    args.config = path.map(|path| base_dir.join(path));
    args.keyspace = section.text("keyspace", "items", report).good().map(str::to_owned);
}

fn arrivals(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
    args: &mut LoadArgs,
) {
    args.closed = parsed(section, "closed", "8x16", report);
    if args.closed.is_some() {
        let why = "is for a schedule; remove it, or `closed`";
        section.misplaced("rate", why, report);
        section.misplaced("distribution", why, report);
        section.misplaced("phases", why, report);
        return;
    }
    args.phases = phases::read(section, base_dir, report);
    if args.phases.is_some() {
        section.misplaced("rate", "is that of the phases; remove it, or the phases", report);
        args.arrivals = word(section, "distribution", report);
        return;
    }
    args.rate = section.whole_or_absent("rate", 1..=RATE_MAX, "1000", report).good();
    args.arrivals = word(section, "distribution", report);
}

fn keys(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    let count_max = u64::from(u32::MAX);
    args.keys = section.whole_or_absent("count", 1..=count_max, "100000", report).good();
    args.key_type = word(section, "type", report);
    args.key_template = parsed(section, "template", "key-{n:8}", report);
    args.first_key = section.whole_or_absent("first", 0..=WHOLE_MAX, "0", report).good();
    args.popularity = word(section, "popularity", report);
    args.zipf = section.decimal("zipf", 0.0..=EXPONENT_MAX, "0.99", report).good();
    args.hot_keys = section.decimal("hot_keys", 0.0..=100.0, "20", report).good();
    args.hot_requests = section.decimal("hot_requests", 0.0..=100.0, "80", report).good();
}

fn mix(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    args.preset = word(section, "preset", report);
    args.reads = section.decimal("reads", 0.0..=100.0, "95", report).good();
    args.reads_first = section.boolean("reads_first", report).good();
    args.adds = section.decimal("adds", 0.0..=100.0, "1", report).good();
    args.touches = section.decimal("touches", 0.0..=100.0, "1", report).good();
    args.deletes = section.decimal("deletes", 0.0..=100.0, "1", report).good();
    args.ttl = section.whole_or_absent("ttl", 0..=u64::from(u32::MAX), "60", report).good();
}

fn values(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    let range = u64::from(VALUE_BYTES_MIN)..=u64::from(VALUE_BYTES_MAX);
    let fixed = section.size_or_absent("size", range.clone(), "100B", report).good();
    if let Some(bytes) = fixed {
        let why = "is for values of several sizes; remove it, or `size`";
        section.misplaced("size_min", why, report);
        section.misplaced("size_max", why, report);
        args.value_bytes = Some(ValueSizes::fixed(bytes));
        return;
    }
    let min = section.size_or_absent("size_min", range.clone(), "64B", report).optional();
    let max = section.size_or_absent("size_max", range, "4KiB", report).optional();
    // A wrong one was reported.
    let (Some(min), Some(max)) = (min, max) else { return };
    match (min, max) {
        (Some(min), Some(max)) if min.value <= max.value => {
            args.value_bytes = Some(ValueSizes { min_bytes: min.value, max_bytes: max.value });
        }
        (Some(_), Some(max)) => {
            let key = section.key("size_max");
            report.mistake(max.at, &key, "is below `size_min`; write a larger one");
        }
        (Some(_), None) => section.missing("size_max", "\"4KiB\"", report),
        (None, Some(_)) => section.missing("size_min", "\"64B\"", report),
        (None, None) => {}
    }
}

fn trace(section: &mut Section<'_>, base_dir: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    let path = section.text("file", "requests.oracleGeneral", report).good();
    args.trace = path.map(|path| base_dir.join(path));
    args.format = word(section, "format", report);
    match (&args.trace, args.format) {
        (Some(_), None) => section.missing("format", "\"oracle\"", report),
        (None, Some(_)) => section.missing("file", "\"requests.oracleGeneral\"", report),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn checks(section: &mut Section<'_>, _: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    args.fill = section.boolean("fill", report).good();
    args.fill_misses = section.boolean("fill_misses", report).good();
    args.check = section.boolean("check", report).good();
    args.lossless = section.boolean("lossless", report).good();
}

fn run(section: &mut Section<'_>, base_dir: &Path, report: &mut Report<'_>, args: &mut LoadArgs) {
    let seconds_max = u64::from(u32::MAX);
    args.seconds = section.whole_or_absent("seconds", 1..=seconds_max, "10", report).good();
    args.warm_up = section.whole_or_absent("warm_up", 0..=seconds_max, "5", report).good();
    args.workers = section.whole_or_absent("workers", 1..=WORKERS_MAX, "2", report).good();
    args.seed = section.whole_or_absent("seed", 0..=WHOLE_MAX, "1", report).good();
    let path = section.text("json", "result.json", report).good();
    args.json = path.map(|path| base_dir.join(path));
    let path = section.text("hdr", "result.hlog", report).good();
    args.hdr = path.map(|path| base_dir.join(path));
    let path = section.text("hgrm", "result", report).good();
    args.hgrm = path.map(|path| base_dir.join(path));
    let path = section.text("csv", "result.csv", report).good();
    args.csv = path.map(|path| base_dir.join(path));
    args.interval = parsed(section, "interval", "1s", report);
    args.label = section.text("label", "new kernel", report).good().map(str::to_owned);
}

/// A text that is read as on the command line. The mistake shows it.
fn parsed<T: FromStr<Err: Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    parsed_as(section, key, example, report, |text, error| format!("{text:?}: {error}"))
}

/// A text that is read as on the command line, with the mistake that `mistake` makes of it and the error.
fn parsed_as<T: FromStr<Err: Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    report: &mut Report<'_>,
    mistake: impl Fn(&str, String) -> String,
) -> Option<T> {
    // An absent one leaves the default, and an empty one was reported.
    let text = section.text(key, example, report).optional()??;
    match text.value.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            report.mistake(text.at, &section.key(key), mistake(text.value, error.to_string()));
            None
        }
    }
}

/// A word that is one of the command line's.
fn word<T: ValueEnum + Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<T> {
    let variants = T::value_variants().iter();
    let words: Vec<_> = variants.filter_map(|one| Some((one.to_possible_value()?, *one))).collect();
    let choices: Vec<(&str, T)> = words.iter().map(|(word, one)| (word.get_name(), *one)).collect();
    section.choice(key, &choices, report).good()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::LoadError;
    use super::*;

    const PHASES: &str = "[[arrivals.phases]]";

    fn example() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(EXAMPLE);
        std::fs::read_to_string(path).expect("the example is beside the workspace's manifest")
    }

    fn parse(text: &str) -> Result<LoadArgs, ConfigErrors> {
        standin_config::read_text(text, "s.toml", Path::new("/runs"), read)
    }

    /// `#key = value` becomes `key = value`; prose has a space after its `#`.
    fn keys_of(text: &str) -> Vec<(&str, &str)> {
        let mut section = "";
        let mut all = Vec::new();
        for line in text.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            let list = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]"));
            if let Some((outer, name)) = list.and_then(|list| list.split_once('.')) {
                all.push((outer, name));
                section = name;
            } else if let Some(name) =
                line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
            {
                section = name;
            } else if let Some((key, _)) =
                line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
            {
                all.push((section, key));
            }
        }
        all
    }

    #[test]
    fn the_example_is_a_load() {
        let args = parse(&example()).unwrap_or_else(|errors| panic!("{errors}"));
        let load = args.resolve().unwrap();
        assert!(load.fill && load.check && load.target.is_some());
    }

    /// A value that is written in a comment is the default, or one that is allowed.
    #[test]
    fn each_line_of_the_example_is_right() {
        let example = example();
        let mut section = "";
        let mut alone = 0;
        for line in example.lines() {
            let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
            if line.starts_with('[') {
                section = line;
            } else if line.contains(" = ") && !line.starts_with('#') {
                // Some are a pair.
                let key = line.split_once(" = ").unwrap().0;
                let of_phase = "seconds = 9\nrate = 1\nto = 2\nsteps = 3\n";
                let of_burst =
                    "seconds = 9\nrate = 1\nburst = 2\nburst_every = \"2s\"\nburst_for = \"1s\"\n";
                let without = |lines: &str| {
                    let others =
                        lines.lines().filter(|other| !other.starts_with(&format!("{key} ")));
                    others.collect::<Vec<_>>().join("\n")
                };
                let (in_phase, in_burst) = (without(of_phase), without(of_burst));
                let other = match key {
                    _ if section == PHASES && key.starts_with("burst") => in_burst.as_str(),
                    "file" if section == PHASES => "",
                    "scale" if section == PHASES => "file = \"f\"",
                    _ if section == PHASES => in_phase.as_str(),
                    "size_min" => "size_max = \"16MiB\"",
                    "size_max" => "size_min = \"32B\"",
                    "file" => "format = \"oracle\"",
                    "format" => "file = \"f\"",
                    _ => "",
                };
                parse(&format!("{section}\n{line}\n{other}\n"))
                    .unwrap_or_else(|error| panic!("{error}"));
                alone += 1;
            }
        }
        assert!(alone > 25, "{alone}");
    }

    /// Every section and key that a scenario may have.
    pub(crate) fn keys_known() -> Vec<(String, String)> {
        let mut known = Vec::new();
        let headers = SECTIONS.map(|(section, _)| (section, format!("[{section}]")));
        for (section, header) in headers.into_iter().chain([("phases", PHASES.to_owned())]) {
            // The message about an unknown key lists those that are known.
            let said =
                parse(&format!("{header}\nunlike_any_other_key = 1\n")).unwrap_err().to_string();
            let (_, keys) = said.split_once("write one of: ").unwrap_or_else(|| panic!("{said}"));
            known.extend(keys.split(", ").map(|key| (section.to_owned(), key.to_owned())));
        }
        known
    }

    #[test]
    fn every_key_is_in_the_example() {
        let example = example();
        let written = keys_of(&example);
        let known = keys_known();
        for (section, key) in &known {
            let key = (section.as_str(), key.as_str());
            assert!(written.contains(&key), "{EXAMPLE} lacks {key:?}");
        }
        assert_eq!(written.len(), known.len(), "the example has each key once: {written:?}");
    }

    #[test]
    fn a_scenario_says_what_the_command_line_says() {
        let args = parse(
            "[target]\nurl = \"redis://127.0.0.1:6379?pipeline=4\"\n[arrivals]\nclosed = \"2x8\"\n\
             [keys]\ncount = 10\ntype = \"uuid\"\nfirst = 3\npopularity = \"hotspot\"\nhot_keys = 1.5\n\
             [mix]\npreset = \"ycsb-b\"\nreads = 90\n[values]\nsize_min = \"64B\"\nsize_max = 4096\n\
             [checks]\nfill = true\n[run]\nseconds = 3\nwarm_up = 1\nseed = 9\njson = \"out.json\"\n",
        );
        let options = super::super::options::tests::parse(&[
            "--target",
            "redis://127.0.0.1:6379?pipeline=4",
            "--closed",
            "2x8",
            "--keys",
            "10",
            "--key-type",
            "uuid",
            "--first-key",
            "3",
            "--popularity",
            "hotspot",
            "--hot-keys",
            "1.5",
            "--preset",
            "ycsb-b",
            "--reads",
            "90",
            "--value-bytes",
            "64-4096",
            "--fill",
            "--seconds",
            "3",
            "--warm-up",
            "1",
            "--seed",
            "9",
            "--json",
            "/runs/out.json",
        ]);
        let (args, options) =
            (args.unwrap().resolve().unwrap(), options.unwrap().resolve().unwrap());
        assert_eq!(args, options);
    }

    #[test]
    fn phases_say_what_the_command_line_says() {
        let args = parse(
            "[[arrivals.phases]]\nname = \"rise\"\nseconds = 10\nrate = 0\nto = 5000\n\
             [[arrivals.phases]]\nseconds = 9.5\nrate = 10\nto = 30\nsteps = 3\n\
             [[arrivals.phases]]\nseconds = 60\nrate = 1\nburst = 9\nburst_every = \"5s\"\nburst_for = \"500ms\"\n\
             [[arrivals.phases]]\nfile = \"day.csv\"\nscale = 0.1\nseconds = 30\n\
             [[arrivals.phases]]\nseconds = 1\nrate = 7\n",
        );
        let text = "rise=10s@0..5000,9.5@10..30/3,60s@1+9/5s/500ms,30s@/runs/day.csv@0.1,1s@7";
        assert_eq!(args.unwrap().phases, Some(text.parse().unwrap()));
    }

    #[test]
    fn mistakes_have_their_place_and_say_what_to_write() {
        for (text, place, what) in [
            ("[target]\nurl = \"ftp://a:1\"", "2:7: target.url", "memcached://"),
            ("[target]\nurl = 5", "2:7: target.url", "must be a string"),
            (
                "[target]\nurl = \"redis://a:1\"\nkeyspace = \"k\"",
                "3:1: target.keyspace",
                "remove it",
            ),
            ("[arrivals]\nrate = 0", "2:8: arrivals.rate", "from 1 to 10000000"),
            ("[arrivals]\nclosed = \"8\"", "2:10: arrivals.closed", "8x16"),
            ("[arrivals]\nrate = 1\nclosed = \"8x8\"", "2:1: arrivals.rate", "remove it"),
            (
                "[arrivals]\nclosed = \"8x8\"\n[[arrivals.phases]]\nseconds = 1",
                "3:12: arrivals.phases",
                "remove it",
            ),
            (
                "[arrivals]\nrate = 5\n[[arrivals.phases]]\nseconds = 1\nrate = 5",
                "2:1: arrivals.rate",
                "remove it",
            ),
            ("[[arrivals.phases]]\nseconds = 0", "2:11: arrivals.phases.seconds", "from 0.001"),
            ("[[arrivals.phases]]\nseconds = 1", "1:1: arrivals.phases.rate", "is missing"),
            ("[[arrivals.phases]]\nrate = 1", "1:1: arrivals.phases.seconds", "is missing"),
            ("[[arrivals.phases]]\nname = \"a,b\"", "2:8: arrivals.phases.name", "letters"),
            (
                "[[arrivals.phases]]\nfile = \"f\"\nrate = 1",
                "3:1: arrivals.phases.rate",
                "remove it",
            ),
            (
                "[[arrivals.phases]]\nfile = \"f\"\nscale = 0",
                "3:9: arrivals.phases.scale",
                "above 0",
            ),
            (
                "[[arrivals.phases]]\nseconds = 1\nrate = 5\nsteps = 3",
                "3:8: arrivals.phases.rate",
                "`to` and `steps`",
            ),
            ("[arrivals]\ndistribution = \"poison\"", "2:16: arrivals.distribution", "\"poisson\""),
            ("[keys]\npopularity = \"hot\"", "2:14: keys.popularity", "\"hotspot\""),
            ("[keys]\nzipf = nan", "2:8: keys.zipf", "from 0 to 10"),
            ("[keys]\ntemplate = \"k\"", "2:12: keys.template", "{n}"),
            ("[keys]\ncout = 1", "2:1: keys.cout", "write `count`"),
            ("[mix]\nreads = \"95\"", "2:9: mix.reads", "must be a number"),
            ("[values]\nsize = 5", "2:8: values.size", "from \"32B\" to \"16MiB\""),
            ("[values]\nsize_min = 50", "1:1: values.size_max", "is missing"),
            ("[values]\nsize_min = 50\nsize_max = 40", "3:12: values.size_max", "larger"),
            ("[trace]\nfile = \"f\"", "1:1: trace.format", "is missing"),
            ("[checks]\ncheck = 1", "2:9: checks.check", "true or false"),
            ("[run]\nseconds = 0", "2:11: run.seconds", "from 1"),
            ("[load]\nrate = 1", "1:2: load", "write one of: target"),
            ("run = 1", "1:7: run", "[run]"),
            ("[run", "1:", "TOML: "),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("s.toml:{place}")), "{text:?}: {error}");
            assert!(error.contains(what), "{text:?}: {error}");
        }
        let both = parse("[run]\nseconds = 0\n[keys]\ncount = 0\n").unwrap_err();
        assert_eq!(both.mistakes.len(), 2, "all mistakes at once");
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for url in
            ["redis://app:s3cret@a:1?pipelin=4", "redis://app:s3cret@a:x", "redi://app:s3cret@a:1"]
        {
            let error = parse(&format!("[target]\nurl = \"{url}\"")).unwrap_err().to_string();
            assert!(error.contains("2:7: target.url") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named() {
        let error = load(Path::new("/no/such/scenario.toml")).map_err(LoadError::from).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/no/such/scenario.toml") && error.contains(EXAMPLE), "{error}");
    }

    proptest! {
        /// A piece is put into the example, or taken out of it.
        #[test]
        fn any_text_is_a_load_or_has_mistakes(at in 0usize..6_000, cut in 0usize..40, piece in "[ -~\n]{0,12}") {
            let example = example();
            let from = example.floor_char_boundary(at.min(example.len()));
            let to = example.floor_char_boundary((from + cut).min(example.len()));
            let text = format!("{}{piece}{}", &example[..from], &example[to..]);
            match parse(&text) {
                // Options that do not fit together are told, too.
                Ok(args) => drop(args.resolve()),
                Err(errors) => prop_assert!(errors.mistakes.iter().all(|one| !one.text.is_empty())),
            }
        }
    }
}
