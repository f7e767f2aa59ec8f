//! The list of scenarios, and that each file is one.

use standin_loadgen::load::LoadArgs;
use standin_testkit::Scratch;

use super::*;

#[test]
fn every_scenario_has_a_name_of_its_own_that_finds_it() {
    let all = Scenario::defaults();
    for one in &all {
        assert_eq!(Scenario::of_name(&one.name).as_ref(), Some(one));
        assert_eq!(all.iter().filter(|other| other.name == one.name).count(), 1);
    }
    assert_eq!(all.iter().filter(|one| one.name.starts_with("cut-")).count(), 16);
    assert!(Scenario::of_name("cut-b2-to-master").is_some(), "also of other pairs");
    assert!(Scenario::of_name("isolate-b1").is_some());
    assert!(Scenario::of_name("pause-7.5").unwrap().text(None).contains("for = \"7500ms\"\n"));
    for nonsense in [
        "",
        "cut-a1-to-a1",
        "cut-a1-to-origin",
        "cut-a1",
        "isolate-client",
        "flood",
        "pause-x",
        "pause--1",
    ] {
        assert_eq!(Scenario::of_name(nonsense), None, "{nonsense}");
    }
}

#[test]
fn every_scenario_can_be_read_in_each_mode_and_with_each_length() {
    let scratch = Scratch::new("chaos-scenarios");
    let others = ["cut-a1-to-client", "cut-client-to-b2", "isolate-b1"].map(Scenario::of_name);
    for scenario in Scenario::defaults().into_iter().chain(others.into_iter().flatten()) {
        for mode in [Mode::Available, Mode::Strict] {
            for lasts in [None, Some(Duration::from_secs(600))] {
                let surge_reads = lasts.map(|_| 2_000);
                for (name, text) in Scenario::bases(mode, surge_reads, true) {
                    let has_limit = text.contains("\nsurge_reads = 2000\n");
                    assert_eq!(has_limit, surge_reads.is_some(), "{name}");
                    std::fs::write(scratch.file(name), text).unwrap();
                }
                let file = scratch.file("scenario.toml");
                std::fs::write(&file, scenario.text(lasts)).unwrap();
                let options = scenario.options(lasts, mode);
                let mut args = LoadArgs { scenario: Some(file), ..LoadArgs::default() };
                let mut options = options.chunks_exact(2);
                options.by_ref().for_each(|option| match option[0].as_str() {
                    "--seconds" => args.seconds = Some(option[1].parse().unwrap()),
                    "--expect" => args.expect.push(option[1].parse().unwrap()),
                    other => panic!("{other}"),
                });
                let load = args.resolve();
                let load = load.unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
                assert_eq!(load.expect.len() == 1, mode == Mode::Strict, "{}", scenario.name);
                let has_long = load.script.faults.iter().any(|fault| {
                    fault.lasts.is_some_and(|lasts| lasts >= Duration::from_secs(600))
                });
                assert_eq!(has_long, lasts.is_some() && scenario.lasts.is_some());
            }
        }
    }
}

#[test]
fn a_cut_concerns_what_its_name_says() {
    let lines = |name: &str| {
        let text = Scenario::of_name(name).unwrap().text(None);
        let is_link =
            |line: &&str| ["on = ", "from = ", "way = "].iter().any(|key| line.starts_with(key));
        text.lines().filter(is_link).collect::<Vec<_>>().join(" ")
    };
    for (name, expected) in [
        ("cut-client-and-a1", "on = \"st-a1\" from = [\"client\"] way = \"both\""),
        ("cut-client-to-a1", "on = \"st-a1\" from = [\"client\"] way = \"to\""),
        ("cut-a1-to-client", "on = \"st-a1\" from = [\"client\"] way = \"from\""),
        ("cut-a1-to-master", "on = \"st-master\" from = [\"st-a1\"] way = \"to\""),
    ] {
        assert_eq!(lines(name), expected, "{name}");
    }
    assert!(Scenario::of_name("isolate-b1").unwrap().text(None).contains("on = \"st-b1\"\n"));
}

#[test]
fn without_namespaces_there_are_none() {
    let mut bases = Scenario::bases(Mode::Available, None, false);
    assert!(bases.all(|(_, text)| !text.contains("namespace = ")));
    let needing = Scenario::defaults().iter().filter(|one| one.needs_namespaces()).count();
    assert_eq!(needing, 19);
}
