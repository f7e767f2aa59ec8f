//! A scenario of `standin load` as a test: faults that wait for each other, and expectations that decide the exit code.

use std::process::{Command, Output};

use serde_json::Value;
use standin_testkit::Scratch;

/// A cluster under a light load, on which the scenarios build.
const BASE: &str = "[target]\nconfig = \"{st}\"\n[arrivals]\nrate = 200\n[keys]\ncount = 500\n\
    [checks]\nfill = true\ncheck = true\n[run]\nseconds = 25\nworkers = 1\n\
    [[processes]]\nname = \"st\"\nkind = \"standin\"\nmemory = \"8MiB\"\nmode = \"strict\"\n";
/// Its servers are restarted one after the other, each when the other serves again.
const ROLLING: &str = "base = \"base.toml\"\n[[faults]]\nname = \"first\"\nat = \"2s\"\nfor = \"1s\"\nwhat = \"terminate\"\non = \"st-a1\"\n\
    [[faults]]\nname = \"second\"\nafter = \"st-a1 online\"\nwithin = \"10s\"\nat = \"200ms\"\nfor = \"1s\"\n\
    what = \"terminate\"\non = \"st-a2\"\n\
    [[faults]]\nname = \"over\"\nafter = \"st-a2 online\"\nwithin = \"10s\"\n";

fn load(scratch: &Scratch, more: &str) -> (Output, Value) {
    let file = scratch.file("scenario.toml");
    std::fs::write(scratch.file("base.toml"), BASE).expect("the test's own file");
    std::fs::write(&file, format!("{ROLLING}{more}")).expect("the test's own file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--folder"]).arg(scratch.file("files")).arg("--scenario").arg(file);
    let output = command.arg("--json").arg(scratch.file("report.json")).output().expect("it runs");
    let text = std::fs::read_to_string(scratch.file("report.json")).unwrap_or_default();
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no report: {output:?}"));
    (output, report)
}

/// The command of the last fault.
fn touch(scratch: &Scratch) -> String {
    format!("do = [\"sh\", \"-c\", \"touch {}\"]\n", scratch.file("over").display())
}

#[test]
fn servers_restart_one_after_the_other_and_the_scenario_keeps_what_it_expects() {
    let scratch = Scratch::new("expectations-kept");
    let expected = "[[expect]]\nthat = \"failed=0,stale=0,wrong=0\"\n\
         [[expect]]\nthat = \"failed=0,max<10s,silence<10s\"\nsince = \"first\"\n\
         [[expect]]\nthat = \"announced<5s\"\nsince = \"second\"\n\
         [[expect]]\nthat = \"failed=0,hits>10%,offline=0\"\nsince = \"begin\"\n";
    let (output, report) = load(&scratch, &format!("{}{expected}", touch(&scratch)));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let kept: Vec<_> = report["expectations"].as_array().expect("a list").iter().collect();
    assert!(kept.len() == 4 && kept.iter().all(|one| one["is_kept"] == true), "{kept:?}");
    let events = report["events"].as_array().expect("a list");
    let done = |name: &str, is_end: bool| {
        let event = events.iter().find(|one| one["name"] == name && one["is_end"] == is_end);
        event.and_then(|one| one["done_s"].as_f64()).unwrap_or_else(|| panic!("{name}: {said}"))
    };
    let announcements = report["announcements"].as_array().expect("a list");
    let announced = |server: &str, state: &str, from_s: f64| {
        let mut times = announcements
            .iter()
            .filter(|one| one["server"] == server && one["state"] == state)
            .filter_map(|one| one["t_s"].as_f64());
        let found = times.find(|t_s| *t_s >= from_s);
        found.unwrap_or_else(|| panic!("{server} {state}: {announcements:?}"))
    };
    let first_is_back = announced("st-a1", "online", done("first", false));
    assert!(done("second", false) >= first_is_back + 0.2, "{said}");
    assert!(done("over", false) >= announced("st-a2", "online", done("second", false)), "{said}");
    assert!(done("second", false) < 2.0 + 10.0, "it waits no longer than it has to");
    assert!(scratch.file("over").exists());
    assert!(said.contains("expected announced<5s since second: kept"), "{said}");
}

#[test]
fn an_expectation_that_is_missed_and_an_event_that_does_not_come_make_the_exit_code_1() {
    let scratch = Scratch::new("expectations-missed");
    let never = "do = [\"true\"]\n[[faults]]\nname = \"never\"\nafter = \"st-a1 waiting\"\nwithin = \"1s\"\ndo = [\"true\"]\n";
    let expected = "[[expect]]\nthat = \"failed=0\"\n[[expect]]\nthat = \"failed=0,max<1us\"\nsince = \"first\"\n";
    let (output, report) = load(&scratch, &format!("{never}{expected}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let [kept, missed] = &report["expectations"].as_array().expect("a list")[..] else {
        panic!("two: {said}")
    };
    assert_eq!((&kept["is_kept"], &missed["is_kept"]), (&Value::Bool(true), &Value::Bool(false)));
    let miss = missed["misses"][0].as_str().expect("a text");
    assert!(miss.starts_with("max<1us: ") && miss.ends_with(" ms"), "{miss}");
    let events = report["events"].as_array().expect("a list");
    let never = events.iter().find(|one| one["name"] == "never").expect("it is told");
    let error = never["error"].as_str().expect("it did not happen");
    assert!(error.contains("had not announced st-a1 as waiting within 1s"), "{error}");
    assert!(said.contains("expected failed=0,max<1us since first: MISSED"), "{said}");
}
