//! The form of a scenario, its example, and the messages about mistakes.

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
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
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
            // There is no such file.
            if key == "base" {
                continue;
            }
            let of_phase = "seconds = 9\nrate = 1\nto = 2\nsteps = 3\n";
            let of_burst =
                "seconds = 9\nrate = 1\nburst = 2\nburst_every = \"2s\"\nburst_for = \"1s\"\n";
            let without = |lines: &str| {
                let others = lines.lines().filter(|other| !other.starts_with(&format!("{key} ")));
                others.collect::<Vec<_>>().join("\n")
            };
            let (in_phase, in_burst) = (without(of_phase), without(of_burst));
            let other = match key {
                _ if section == "[[processes]]" => around_process(key),
                _ if section == "[[faults]]" => around_fault(key),
                "since" => "that = \"max<1s\"",
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
            let needs_others = section == "[[faults]]"
                || matches!(key, "servers" | "ejects" | "to" | "database" | "surge_reads");
            let before = if needs_others { CACHES } else { "" };
            parse(&format!("{before}{section}\n{line}\n{other}\n"))
                .unwrap_or_else(|error| panic!("{error}"));
            alone += 1;
        }
    }
    assert!(alone > 25, "{alone}");
}

const CACHES: &str = "[[processes]]\nname = \"cache1\"\nkind = \"memcached\"\n\
    [[processes]]\nname = \"cache2\"\nkind = \"memcached\"\n\
    [[processes]]\nname = \"line\"\nkind = \"proxy\"\nto = \"cache1\"\n\
    [[processes]]\nname = \"wire\"\nkind = \"proxy\"\nto = \"a:1\"\nudp = true\n\
    [[processes]]\nname = \"db\"\nkind = \"postgres\"\n\
    [[processes]]\nname = \"cluster\"\nkind = \"standin\"\n\
    [[processes]]\nname = \"far\"\nkind = \"redis\"\nnamespace = true\n";

fn around_process(key: &str) -> &'static str {
    match key {
        "name" => "kind = \"memcached\"",
        "kind" => "name = \"a\"",
        "command" => "name = \"a\"\nports = 1",
        "ports" => "name = \"a\"\ncommand = [\"x\"]",
        "servers" => "name = \"a\"\nkind = \"nutcracker\"",
        "ejects" => "name = \"a\"\nkind = \"nutcracker\"\nservers = [\"cache2\"]",
        "to" => "name = \"a\"\nkind = \"proxy\"",
        "udp" => "name = \"a\"\nkind = \"proxy\"\nto = \"b:1\"",
        "masters" | "replicas" | "node_timeout" => "name = \"a\"\nkind = \"redis-cluster\"",
        "groups" | "group_size" | "memory" | "mode" | "database" => {
            "name = \"a\"\nkind = \"standin\""
        }
        "surge_reads" => "name = \"a\"\nkind = \"standin\"\ndatabase = \"db\"",
        _ => "name = \"a\"\nkind = \"memcached\"",
    }
}

fn around_fault(key: &str) -> &'static str {
    match key {
        "at" | "after" => "what = \"kill\"\non = \"cache1\"",
        "within" => "after = \"cluster-a1 online\"\nwhat = \"kill\"\non = \"cache1\"",
        "what" => "at = \"1s\"\non = \"cache1\"",
        "on" => "at = \"1s\"\nwhat = \"kill\"",
        "pid" | "pid_file" | "unit" => "at = \"1s\"\nwhat = \"pause\"",
        "do" => "at = \"1s\"",
        "delay" | "jitter" | "bandwidth" => "at = \"1s\"\nwhat = \"slow\"\non = \"line\"",
        "loss" | "duplication" => "at = \"1s\"\nwhat = \"slow\"\non = \"wire\"",
        "way" => "at = \"1s\"\nwhat = \"stall\"\non = \"line\"",
        "from" => "at = \"1s\"\nwhat = \"cut\"\non = \"far\"",
        "udp" => "at = \"1s\"\nwhat = \"lose\"\nloss = 1\non = \"far\"",
        "undo" => "at = \"1s\"\ndo = [\"a\"]",
        _ => "at = \"1s\"\nwhat = \"kill\"\non = \"cache1\"",
    }
}

/// Every section and key that a scenario may have.
pub(crate) fn keys_known() -> Vec<(String, String)> {
    let mut known = Vec::new();
    let headers = SECTIONS.map(|(section, _)| (section, format!("[{section}]")));
    for (section, header) in headers.into_iter().chain([("phases", PHASES.to_owned())]) {
        known.extend(keys_below(section, &header));
    }
    known
}

/// The keys of a section with this header.
fn keys_below(section: &str, header: &str) -> Vec<(String, String)> {
    // The message about an unknown key lists those that are known.
    let said = parse(&format!("{header}\nunlike_any_other_key = 1\n")).unwrap_err().to_string();
    let (_, keys) = said.split_once("write one of: ").unwrap_or_else(|| panic!("{said}"));
    keys.split(", ").map(|key| (section.to_owned(), key.to_owned())).collect()
}

#[test]
fn every_key_is_in_the_example() {
    let example = example();
    let written = keys_of(&example);
    let mut known = keys_known();
    known.extend(keys_below("[processes]", "[[processes]]"));
    known.extend(keys_below("[faults]", "[[faults]]"));
    known.extend(keys_below("[expect]", "[[expect]]"));
    known.push((String::new(), "base".to_owned()));
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
    let (args, options) = (args.unwrap().resolve().unwrap(), options.unwrap().resolve().unwrap());
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

/// The command line can't say these together, but a file can.
#[test]
fn a_search_with_phases_or_a_closed_loop_is_refused() {
    let scratch = standin_testkit::Scratch::new("scenario-find");
    let path = scratch.file("s.toml");
    for arrivals in ["[[arrivals.phases]]\nseconds = 1\nrate = 5", "[arrivals]\nclosed = \"1x1\""] {
        std::fs::write(&path, format!("[find]\nobjective = \"p99<1ms\"\n{arrivals}\n")).unwrap();
        let args = LoadArgs { scenario: Some(path.clone()), ..LoadArgs::default() };
        let error = args.resolve().unwrap_err().to_string();
        assert!(error.contains("--find asks for rates of its own"), "{arrivals}: {error}");
    }
}

#[test]
fn a_scenario_builds_on_another_one() {
    let scratch = standin_testkit::Scratch::new("scenario-base");
    let write = |name: &str, text: &str| {
        std::fs::write(scratch.file(name), text).unwrap();
        load(&scratch.file(name))
    };
    let cache = "[[processes]]\nname = \"c\"\nkind = \"memcached\"\n";
    let kill = |at: &str| {
        format!("[[faults]]\nat = \"{at}\"\nwhat = \"kill\"\non = \"c\"\nfor = \"1s\"\n")
    };
    let expect = |that: &str| format!("[[expect]]\nthat = \"{that}\"\n");
    let base = format!(
        "[arrivals]\nrate = 7\n[run]\nseed = 3\nseconds = 9\n{cache}{}{}",
        kill("1s"),
        expect("failed<9")
    );
    write("base.toml", &base).unwrap();
    let own = format!("base = \"base.toml\"\n[run]\nseed = 4\n{}{}", kill("4s"), expect("max<1s"));
    let args = write("own.toml", &own).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((args.rate, args.seed, args.seconds), (Some(7), Some(4), Some(9)));
    let script = args.script.clone().unwrap();
    assert_eq!((script.processes.len(), script.faults.len()), (1, 2));
    let that: Vec<String> = args.expect.iter().map(|one| one.that.to_string()).collect();
    assert_eq!(that, ["failed<9", "max<1s"]);

    // A fault of the base lasts then, a name is taken, a base has a base, has mistakes, is not there.
    let again = format!("base = \"base.toml\"\n{cache}");
    let twice = format!("base = \"base.toml\"\n{}", kill("1500ms"));
    for (text, place, what) in [
        (twice.as_str(), "twice.toml:2:1: faults", "does not run then"),
        (again.as_str(), "twice.toml:3:8: processes.name", "another process \"c\""),
        ("base = \"own.toml\"\n", "twice.toml:1:8: base", "no base of its own"),
        ("base = \"wrong.toml\"\n", "twice.toml:1:8: base", "wrong.toml:2:8: run.seed"),
        ("base = \"none.toml\"\n", "twice.toml:1:8: base", "none.toml"),
    ] {
        let _ = write("wrong.toml", "[run]\nseed = -1\n");
        let error = write("twice.toml", text).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(what), "{text}: {error}");
    }
    let error = read_here("base = \"base.toml\"", "the scenario").unwrap_err().to_string();
    assert!(error.contains("agents get one file"), "{error}");
}

#[test]
fn what_is_expected_is_of_the_run_or_of_an_event_and_has_figures() {
    let fault =
        "[[faults]]\nname = \"cut\"\nat = \"1s\"\nfor = \"1s\"\ndo = [\"a\"]\nundo = [\"b\"]\n";
    let expect =
        |that: &str, since: &str| format!("{fault}[[expect]]\nthat = \"{that}\"\n{since}\n");
    for since in ["cut", "end of cut", "begin"] {
        let text = expect("failed=0,max<1s", &format!("since = \"{since}\""));
        let args = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(args.expect[0].since.as_deref(), Some(since));
        assert!(args.resolve().is_ok());
    }
    for (that, what) in [("stale=0", "--existing-rows"), ("offline=0", "Standin cluster")] {
        let error = parse(&expect(that, "")).unwrap().resolve().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let args = parse(&expect("failed=0", "")).unwrap();
    let above = LoadArgs { expect: vec!["p99<1s".parse().unwrap()], ..LoadArgs::default() };
    let load = above.resolve_over(Some(args)).unwrap();
    assert_eq!(load.expect.len(), 1, "the command line's replace those of the file");
    assert_eq!(load.expect[0].that.to_string(), "p99<1s");
}

#[test]
fn mistakes_have_their_place_and_say_what_to_write() {
    for (text, place, what) in [
        ("[target]\nurl = \"ftp://a:1\"", "2:7: target.url", "memcached://"),
        ("[target]\nurl = 5", "2:7: target.url", "must be a string"),
        ("[target]\nurl = \"redis://a:1\"\nkeyspace = \"k\"", "3:1: target.keyspace", "remove it"),
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
        ("[[arrivals.phases]]\nfile = \"f\"\nrate = 1", "3:1: arrivals.phases.rate", "remove it"),
        ("[[arrivals.phases]]\nfile = \"f\"\nscale = 0", "3:9: arrivals.phases.scale", "above 0"),
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
        ("[[expect]]\nsince = \"begin\"", "1:1: expect.that", "is missing"),
        ("[[expect]]\nthat = \"failed\"", "2:8: expect.that", "no condition"),
        ("[[expect]]\nthat = \"last_bad<1s\"", "1:1: expect.that", "add `since`"),
        ("[[expect]]\nthat = \"p99<1s\"\nsince = \"begin\"", "3:9: expect.since", "remove `since`"),
        (
            "[[expect]]\nthat = \"failed=0\"\nsince = \"x\"",
            "3:9: expect.since",
            "write one of: begin",
        ),
        ("[checks]\ncheck = 1", "2:9: checks.check", "true or false"),
        ("[run]\nseconds = 0", "2:11: run.seconds", "from 1"),
        ("[load]\nrate = 1", "1:2: load", "write one of: base, target"),
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
