//! What a scenario of `standin load` starts ends with it, and what it pauses goes on, however the run ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use standin_testkit::{Child, Postgres, Scratch, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// A cluster in memory, under a light load.
const CLUSTER: &str = "[target]\nconfig = \"{st}\"\n[arrivals]\nrate = 200\n[keys]\ncount = 1000\n\
    [run]\nworkers = 1\n[[processes]]\nname = \"st\"\nkind = \"standin\"\nmemory = \"8MiB\"\n";

fn scenario(scratch: &Scratch, seconds: u32, faults: &str) -> Command {
    let file = scratch.file("scenario.toml");
    let text = CLUSTER.replace("[run]\n", &format!("[run]\nseconds = {seconds}\n"));
    std::fs::write(&file, format!("{text}{faults}")).expect("the test's own file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--folder"]).arg(scratch.file("files")).arg("--scenario").arg(file);
    command.arg("--json").arg(scratch.file("report.json"));
    command
}

fn report(scratch: &Scratch) -> Value {
    let text = std::fs::read_to_string(scratch.file("report.json")).expect("the report");
    serde_json::from_str(&text).expect("JSON")
}

/// `T` is stopped; `None`: it has ended.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The processes whose command line has this path in it.
fn with_path(path: &Path) -> Vec<u32> {
    let path = path.to_str().expect("UTF-8").as_bytes();
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(path.len()).any(|part| part == path)
        })
        .collect()
}

fn bystander(scratch: &Scratch) -> Child {
    let mut command = Command::new("sleep");
    command.arg("600");
    Child::spawn("bystander", command, scratch.path())
}

#[test]
fn faults_happen_at_their_times_and_are_reported() {
    let scratch = Scratch::new("faults-timeline");
    let bystander = bystander(&scratch);
    let faults = format!(
        "[[faults]]\nat = \"1s\"\nfor = \"1500ms\"\nwhat = \"kill\"\non = \"st-a1\"\n\
         [[faults]]\nat = \"2s\"\nfor = \"500ms\"\nwhat = \"pause\"\npid = {}\n\
         [[faults]]\nat = \"3s\"\ndo = [\"touch\", \"{folder}/done\"]\nundo = [\"rm\", \"{folder}/done\"]\n\
         [[faults]]\nat = \"3500ms\"\ndo = [\"sh\", \"-c\", \"echo no such valve; exit 7\"]\n",
        bystander.pid(),
        folder = scratch.path().display(),
    );
    let output = scenario(&scratch, 5, &faults).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "one command failed: {output:?}");
    let report = report(&scratch);
    assert_eq!(report["total"]["failed"], 0, "a stand-in answers: {said}");
    let events = report["events"].as_array().expect("a list");
    let shape: Vec<(&str, bool, f64)> = events
        .iter()
        .map(|event| {
            let name = event["name"].as_str().expect("a name").split(' ').next();
            (name.expect("a word"), event["is_end"] == true, event["asked_s"].as_f64().unwrap())
        })
        .collect();
    let [kill, pause, kill_end, pause_end, touch, sh, rm] = &shape[..] else { panic!("{said}") };
    assert_eq!([*kill, *pause], [("kill", false, 1.0), ("pause", false, 2.0)]);
    assert_eq!([*kill_end, *pause_end], [("kill", true, 2.5), ("pause", true, 2.5)]);
    assert_eq!((touch.0, sh.0, rm.0, rm.1), ("touch", "sh", "touch", true));
    for event in events {
        let name = event["name"].as_str().expect("a name");
        if name.starts_with("sh ") {
            let error = event["error"].as_str().expect("it has failed");
            assert!(error.contains("no such valve") && error.contains("exit status: 7"), "{error}");
        } else {
            let (asked, done) = (event["asked_s"].as_f64(), event["done_s"].as_f64());
            let late = done.expect("done") - asked.expect("a time");
            assert!((0.0..2.0).contains(&late), "{event}");
        }
    }
    assert!(events[0]["after"]["requests"].as_u64().is_some_and(|n| n > 100), "{events:?}");
    assert_eq!(state(bystander.pid()), Some('S'));
    assert!(!scratch.file("done").exists(), "the command was undone");
    assert!(with_path(&scratch.file("files")).is_empty(), "nothing is left");
    assert!(said.contains("FAILED: its command") && said.contains("end of kill st-a1"), "{said}");
}

#[test]
fn an_interrupt_during_a_pause_lets_the_target_go_on() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let scratch = Scratch::new("faults-interrupt");
        let bystander = bystander(&scratch);
        let faults =
            format!("[[faults]]\nat = \"200ms\"\nwhat = \"pause\"\npid = {}\n", bystander.pid());
        let command = scenario(&scratch, 600, &faults);
        let mut load = Child::spawn("load", command, scratch.path());
        wait_until(SOON, "the pause", || state(bystander.pid()) == Some('T'));
        load.signal(signal);
        let status = load.exit_status(SOON);
        assert_eq!(status.code(), Some(0), "{:?}", load.lines());
        assert_eq!(state(bystander.pid()), Some('S'), "signal {signal}");
        let report = report(&scratch);
        let events = report["events"].as_array().expect("a list");
        assert_eq!((events.len(), &events[1]["is_end"]), (2, &Value::Bool(true)), "{events:?}");
        wait_until(SOON, "the cluster to end", || with_path(&scratch.file("files")).is_empty());
    }
}

#[test]
fn what_a_fault_has_killed_is_not_missed_after_an_interrupt() {
    let scratch = Scratch::new("faults-interrupt-killed");
    let faults = format!(
        "[[faults]]\nat = \"100ms\"\nwhat = \"kill\"\non = \"st-a1\"\n\
         [[faults]]\nat = \"300ms\"\ndo = [\"touch\", \"{}/done\"]\n\
         [[faults]]\nat = \"500s\"\nwhat = \"kill\"\non = \"st-a2\"\n",
        scratch.path().display(),
    );
    let command = scenario(&scratch, 600, &faults);
    let mut load = Child::spawn("load", command, scratch.path());
    wait_until(SOON, "the second fault", || scratch.file("done").exists());
    load.signal(libc::SIGINT);
    // The third has not happened, so that nothing can be said of it.
    assert_eq!(load.exit_status(SOON).code(), Some(1), "{:?}", load.lines());
    let warnings = report(&scratch)["warnings"].to_string();
    assert!(!warnings.contains("st-a1") && warnings.contains("interrupted after"), "{warnings}");
    assert!(warnings.contains("kill st-a2 has not happened"), "{warnings}");
}

#[test]
fn a_generator_that_is_killed_leaves_no_child() {
    let scratch = Scratch::new("faults-killed");
    let faults = "[[faults]]\nat = \"100ms\"\nwhat = \"pause\"\non = \"st-a2\"\n\
        [[faults]]\nat = \"100ms\"\ndo = [\"sleep\", \"601.25\"]\n";
    let command = scenario(&scratch, 600, faults);
    let mut load = Child::spawn("load", command, scratch.path());
    let files = scratch.file("files");
    let children = || with_path(&files).into_iter().filter(|pid| *pid != load.pid());
    let is_paused = || children().any(|pid| state(pid) == Some('T'));
    wait_until(SOON, "the pause", is_paused);
    let sleeps = || with_path(Path::new("601.25"));
    wait_until(SOON, "the command", || sleeps().len() == 1);
    load.kill();
    wait_until(SOON, "all to end", || with_path(&files).is_empty() && sleeps().is_empty());
}

#[test]
fn units_are_as_they_were_when_the_run_is_over() {
    let scratch = Scratch::new("faults-units");
    let log = scratch.file("log");
    // As systemctl answers about units of which only one is active.
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = is-active ]; then\n  [ \"$3\" = busy ] && exit 0\n  exit 3\nfi\n\
         echo \"$@\" >> {}\n",
        log.display()
    );
    let programs = scratch.file("bin");
    std::fs::create_dir(&programs).expect("a folder");
    std::fs::write(programs.join("systemctl"), script).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.join("systemctl"), mode).expect("chmod");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a PATH"));
    let fault = |at: &str, what: &str, unit: &str| {
        format!("[[faults]]\nat = \"{at}\"\nwhat = \"{what}\"\nunit = \"{unit}\"\n")
    };
    let faults = [fault("100ms", "terminate", "busy"), fault("600ms", "restart", "idle")].concat();
    let output = scenario(&scratch, 1, &faults).env("PATH", &path).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = std::fs::read_to_string(&log).expect("its arguments");
    let said: Vec<&str> = said.lines().collect();
    let (faults, undone) = said.split_at(2);
    assert_eq!(faults, ["stop busy", "restart idle"]);
    // Units are given back all at once.
    assert!(
        matches!(undone, ["stop idle", "start busy"] | ["start busy", "stop idle"]),
        "{undone:?}"
    );

    let _ = std::fs::remove_dir_all(scratch.file("files"));
    let mut command = scenario(&scratch, 1, &fault("100ms", "kill", "idle"));
    let output = command.env("PATH", &path).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("line 14 of the scenario: the unit idle is not active"), "{said}");
}

#[test]
fn a_preparation_that_hangs_has_a_limit_is_interrupted_and_dies_with_the_generator() {
    // Where the user `postgres` may enter.
    let programs = Scratch::new("faults-initdb");
    let executable = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    executable(programs.path());
    for program in ["initdb", "postgres"] {
        let file = programs.file(program);
        std::fs::write(&file, "#!/bin/sh\nsleep 603.25\n").expect("a script");
        executable(&file);
    }
    let hanging = || with_path(Path::new("603.25"));
    let scratch = Scratch::new("faults-preparation");
    let scenario = |within: &str| {
        let database = format!(
            "[[processes]]\nname = \"db\"\nkind = \"postgres\"\nprogram = \"{}/postgres\"\n\
             ready_within = \"{within}\"\n",
            programs.path().display()
        );
        let _ = std::fs::remove_dir_all(scratch.file("files"));
        scenario(&scratch, 600, &database)
    };
    let output = scenario("300ms").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("db: ") && said.contains("not ended within 300ms"), "{said}");
    wait_until(SOON, "all to end", || hanging().is_empty());

    let mut load = Child::spawn("load", scenario("600s"), scratch.path());
    wait_until(SOON, "initdb", || hanging().len() == 1);
    load.signal(libc::SIGINT);
    assert_eq!(load.exit_status(SOON).code(), Some(2), "{:?}", load.lines());
    wait_until(SOON, "all to end", || hanging().is_empty());

    let mut load = Child::spawn("load", scenario("600s"), scratch.path());
    wait_until(SOON, "initdb", || hanging().len() == 1);
    load.kill();
    wait_until(SOON, "all to end", || hanging().is_empty());
}

#[test]
fn a_run_that_can_not_begin_undoes_and_ends_everything() {
    let scratch = Scratch::new("faults-error");
    let file = |text: &str| std::fs::write(scratch.file("scenario.toml"), text).expect("a file");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
        command.args(["load", "--folder"]).arg(scratch.file("files")).arg("--scenario");
        let output = command.arg(scratch.file("scenario.toml")).stdin(Stdio::null()).output();
        let output = output.expect("it runs");
        let _ = std::fs::remove_dir_all(scratch.file("files"));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let silent = "[[processes]]\nname = \"deaf\"\ncommand = [\"sleep\", \"602.25\"]\nports = 1\n\
        ready_within = \"200ms\"\n";
    file(&format!("{CLUSTER}{silent}"));
    let (code, said) = run();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("deaf was not ready within 200ms"), "{said}");
    wait_until(SOON, "all to end", || {
        with_path(&scratch.file("files")).is_empty() && with_path(Path::new("602.25")).is_empty()
    });
    let ends =
        "[[processes]]\nname = \"brief\"\ncommand = [\"sh\", \"-c\", \"echo ouch\"]\nports = 1\n";
    file(&format!("{CLUSTER}{ends}"));
    let (code, said) = run();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("brief ended while") && said.contains("ouch"), "{said}");
    file(&format!("{CLUSTER}[[faults]]\nat = \"1s\"\nwhat = \"pause\"\npid = 4194304000\n"));
    let (code, said) = run();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("line 13 of the scenario: process 4194304000"), "{said}");
}

#[test]
fn a_database_is_slow_locked_full_and_away_and_comes_back() {
    let test = "a_database_is_slow_locked_full_and_away_and_comes_back";
    if let Err(missing) = Postgres::available() {
        return standin_testkit::skip(test, standin_testkit::postgres::REQUIRE, &missing);
    }
    let scratch = Scratch::new("faults-database");
    let database = "[[processes]]\nname = \"db\"\nkind = \"postgres\"\nready_within = \"60s\"\n\
        [[processes]]\nname = \"line\"\nkind = \"proxy\"\nto = \"db\"\n[[processes]]\n";
    // Shorter than the timeout of the database: what waits for a lock is answered afterwards.
    let fault = |at_s: u32, what: &str, on: &str| {
        format!("[[faults]]\nat = \"{at_s}s\"\nfor = \"400ms\"\nwhat = {what}\non = \"{on}\"\n")
    };
    let faults = [
        fault(1, "\"slow\"\ndelay = \"20ms\"", "line"),
        fault(3, "\"lock\"", "db"),
        fault(5, "\"full\"", "db"),
        fault(8, "\"refuse\"", "line"),
    ];
    let text = CLUSTER.replace("[[processes]]\n", database);
    let text = text.replace("[run]\n", "[mix]\nreads = 50\n[checks]\nfill = true\ncheck = true\nlossless = true\n[run]\nseconds = 12\n");
    let file = scratch.file("scenario.toml");
    let text = format!("{text}database = \"line\"\n{}", faults.concat());
    std::fs::write(&file, text).expect("the test's own file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--folder"]).arg(scratch.file("files")).arg("--scenario").arg(file);
    let output = command.arg("--json").arg(scratch.file("report.json")).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "writes failed while it was full: {output:?}");
    let report = report(&scratch);
    let bad = |name: &str| report["total"][name].as_u64();
    assert_eq!((bad("stale"), bad("wrong")), (Some(0), Some(0)), "{said}");
    let events = report["events"].as_array().expect("a list");
    assert!(events.iter().all(|event| event["error"].is_null()), "{said}");
    let failed = |name: &str| {
        let event = events.iter().find(|event| event["name"] == name && event["is_end"] == false);
        event.and_then(|event| event["after"]["failed"].as_u64())
    };
    assert_eq!((failed("slow line"), failed("lock db")), (Some(0), Some(0)), "they wait: {said}");
    assert!(failed("full db").is_some_and(|failed| failed > 5), "{said}");
    assert!(failed("refuse line").is_some_and(|failed| failed > 0), "{said}");
    let last = &events.last().expect("an event")["after"];
    let is_over = last["last_bad_us"].as_u64().is_none_or(|us| us < 2_000_000);
    assert!(is_over && last["requests"].as_u64() > Some(200), "{said}");
}
