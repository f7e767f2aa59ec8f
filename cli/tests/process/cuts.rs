//! Scenarios of `standin load` in a network of namespaces: what is cut fails, and nothing else does; and nothing is left.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use standin_testkit::{Child, Scratch, network, skip, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// The longest time for an answer and for a connect, in seconds.
const TIMEOUT_S: f64 = 0.3;
/// After a cut, connects under way first have to time out; and this machine has other work.
const RECOVERY_S: f64 = 1.5;

/// A Redis behind a link, and a memcached beside the client.
const PROCESSES: &str = "[[processes]]\nname = \"far\"\nkind = \"redis\"\nnamespace = true\n\
    [[processes]]\nname = \"near\"\nkind = \"memcached\"\n";

/// Why the test can't run here.
fn missing(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skip(test, network::REQUIRE, "network namespaces take root");
        return true;
    }
    for program in ["ip", "nft", "redis-server", "memcached"] {
        if Command::new(program).arg("-V").output().is_err() {
            skip(test, network::REQUIRE, &format!("{program} is not installed"));
            return true;
        }
    }
    false
}

fn scenario(scratch: &Scratch, target: &str, seconds: u32, faults: &str) -> Command {
    let file = scratch.file("scenario.toml");
    let text = format!(
        "[target]\nurl = \"{target}?timeout=300ms\"\n[arrivals]\nrate = 300\n[keys]\ncount = 200\n\
         [checks]\nfill = true\n[run]\nseconds = {seconds}\nworkers = 1\ninterval = \"100ms\"\n{PROCESSES}{faults}"
    );
    std::fs::write(&file, text).expect("the test's own file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--folder"]).arg(scratch.file("files")).arg("--scenario").arg(file);
    command.arg("--json").arg(scratch.file("report.json"));
    command
}

fn report(scratch: &Scratch) -> Value {
    let text = std::fs::read_to_string(scratch.file("report.json")).expect("the report");
    serde_json::from_str(&text).expect("JSON")
}

/// The times of the cuts, from when they were asked for to when their end was done.
fn cuts(report: &Value) -> Vec<(f64, f64)> {
    let events = report["events"].as_array().expect("a list");
    let begins = events.iter().filter(|event| event["is_end"] == false);
    let times = begins.map(|begin| {
        let is_end = |event: &&Value| event["is_end"] == true && event["name"] == begin["name"];
        let end = events.iter().find(is_end).expect("an end");
        assert_eq!((&begin["error"], &end["error"]), (&Value::Null, &Value::Null), "{events:?}");
        (begin["asked_s"].as_f64().expect("a time"), end["done_s"].as_f64().expect("done"))
    });
    times.collect()
}

#[test]
fn requests_fail_while_the_link_is_cut_and_at_no_other_time() {
    let test = "cuts::requests_fail_while_the_link_is_cut_and_at_no_other_time";
    if missing(test) {
        return;
    }
    let scratch = Scratch::new("cuts");
    let cut = |at: u32, way: &str| {
        format!(
            "[[faults]]\nname = \"cut {way}\"\nat = \"{at}s\"\nfor = \"2s\"\nwhat = \"cut\"\non = \"far\"\n\
             from = [\"client\"]\nway = \"{way}\"\n"
        )
    };
    let faults = [cut(2, "both"), cut(6, "to"), cut(10, "from")].concat();
    let output = scenario(&scratch, "redis://{far}", 14, &faults).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "requests fail: {output:?}");
    let report = report(&scratch);
    let cuts = cuts(&report);
    assert_eq!(cuts.len(), 3, "{said}");
    let mut failed_in = [0; 3];
    for interval in report["timeline"].as_array().expect("a list") {
        let begin = interval["t_ms"].as_f64().expect("a time") / 1_000.0;
        let end = begin + 0.1;
        let (requests, failed) = (interval["requests"].as_u64(), interval["failed"].as_u64());
        let (requests, failed) = (requests.expect("a number"), failed.expect("a number"));
        let around = |(from, to): &(f64, f64)| end > from - TIMEOUT_S && begin < to + RECOVERY_S;
        // Begun, and not so near to its end that an answer comes in time.
        let within = |(from, to): &(f64, f64)| begin > from + 0.5 && end < to - 2.0 * TIMEOUT_S;
        match cuts.iter().position(around) {
            None => assert_eq!(failed, 0, "at {begin} s: {said}"),
            Some(cut) => failed_in[cut] += failed,
        }
        if cuts.iter().any(within) {
            assert_eq!(failed, requests, "at {begin} s: {said}");
        }
    }
    assert!(failed_in.iter().all(|failed| *failed > 100), "{failed_in:?}: {said}");
}

#[test]
fn processes_beside_the_client_notice_no_cut_and_a_loss_is_endured() {
    let test = "cuts::processes_beside_the_client_notice_no_cut_and_a_loss_is_endured";
    if missing(test) {
        return;
    }
    let scratch = Scratch::new("cuts-near");
    let cut = "[[faults]]\nat = \"1s\"\nfor = \"2s\"\nwhat = \"cut\"\non = \"far\"\n";
    let output = scenario(&scratch, "memcached://{near}", 4, cut).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(cuts(&report(&scratch)).len(), 1);

    let scratch = Scratch::new("cuts-loss");
    let lose = "[[faults]]\nat = \"1s\"\nfor = \"3s\"\nwhat = \"lose\"\non = \"far\"\nloss = 20\n";
    let output = scenario(&scratch, "redis://{far}", 6, lose).output().expect("it runs");
    let report = report(&scratch);
    let latency = |interval: &Value| interval["p99_us"].as_f64().unwrap_or(0.0);
    let timeline = report["timeline"].as_array().expect("a list");
    let of = |from: f64, to: f64| {
        let at = |interval: &&Value| {
            let at = interval["t_ms"].as_f64().expect("a time") / 1_000.0;
            at >= from && at < to
        };
        let all: Vec<f64> = timeline.iter().filter(at).map(latency).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    // A packet that is lost is sent again 200 ms later.
    let (before, during) = (of(0.0, 0.9), of(1.2, 3.9));
    assert!(during > 10.0 * before, "{during} µs after {before} µs: {output:?}");
}

/// The network namespaces of all processes.
fn namespaces() -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of = |pid| {
        let link = std::fs::read_link(Path::new("/proc").join(format!("{pid}/ns/net"))).ok()?;
        Some((pid, link.to_str()?.to_owned()))
    };
    pids.filter_map(of).collect()
}

#[test]
fn no_namespace_is_left_after_an_interrupt_or_a_crash() {
    let test = "cuts::no_namespace_is_left_after_an_interrupt_or_a_crash";
    if missing(test) {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let scratch = Scratch::new("cuts-left");
        let faults = format!(
            "[[faults]]\nat = \"100ms\"\nwhat = \"cut\"\non = \"far\"\n\
             [[faults]]\nat = \"200ms\"\ndo = [\"touch\", \"{}/done\"]\n",
            scratch.path().display()
        );
        let command = scenario(&scratch, "redis://{far}", 600, &faults);
        let mut load = Child::spawn("load", command, scratch.path());
        wait_until(SOON, "the cut", || scratch.file("done").exists());
        let name = scratch.file("files");
        let name = name.to_str().expect("UTF-8");
        let of_redis: Vec<String> = namespaces()
            .into_iter()
            .filter(|(pid, _)| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).starts_with("redis-server")
                    && std::fs::read_link(format!("/proc/{pid}/cwd"))
                        .is_ok_and(|folder| folder.starts_with(name))
            })
            .map(|(_, namespace)| namespace)
            .collect();
        let [of_redis] = &of_redis[..] else { panic!("{of_redis:?}") };
        let here = std::fs::read_link("/proc/self/ns/net").expect("/proc");
        assert_ne!(of_redis.as_str(), here.to_str().expect("UTF-8"), "it has one of its own");
        load.signal(signal);
        load.exit_status(SOON);
        wait_until(SOON, "the namespace to be gone", || {
            !namespaces().iter().any(|(_, namespace)| namespace == of_redis)
        });
    }
}
