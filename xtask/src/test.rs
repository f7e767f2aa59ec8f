//! `cargo xtask test`: every check, the cheap ones first.
//!
//! Steps that do not depend on each other all run, so that one run shows everything there is
//! to fix. The output of each is kept in `target/xtask/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::counts;
use crate::demo::{self, Demo};
use crate::meanwhile::{self, Meanwhile, Work};
use crate::process::{self, Finished};
use crate::report::{Failed, Outcome, Passed, Report};
use crate::tidy::{self, claims};
use crate::workspace::Workspace;
use crate::{architecture, deny, prerequisites};

/// Limits for steps that hang, not for slow ones: a cold build on a small, busy machine must not come
/// near them.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
const TESTS_LIMIT: Duration = Duration::from_secs(1_800);
/// Simulated in each mode: as many as the simulator needs before it asks that every one of its
/// coverage counters has risen.
const SIMULATED: &str = "1..10001";
/// Compiles in that rules can be left out.
const MUTANTS: &str = "standin-sim/mutants,standin-master/mutants";
/// Length of a demo run.
const DEMO_SECONDS: u32 = 12;

/// Runs all steps. Returns whether all passed.
pub(crate) fn run(workspace: &Workspace, fast: bool) -> Result<bool, String> {
    let mut report = Report::new();
    report.step("prerequisites", &[], || prerequisites::for_tests(workspace));
    without_building(workspace, &mut report);
    // It is compiled for minutes, so it is not installed for this.
    if deny::is_installed(workspace) {
        report.step("cargo deny", &[], || deny::step(workspace));
    } else {
        let why = format!(
            "no cargo-deny (`{}`), so known vulnerabilities are not looked up",
            deny::INSTALL
        );
        report.left_out("cargo deny", &why);
    }
    lints(workspace, &mut report, fast);
    build_of_tests(workspace, &mut report, fast);
    let conformance = std::thread::scope(|scope| {
        let meanwhile = (!fast).then(|| Meanwhile::begin(scope, computing(workspace)));
        let conformance = all_tests(workspace, &mut report, fast);
        if let Some(meanwhile) = &meanwhile {
            released(workspace, &mut report, meanwhile);
        }
        conformance
    });
    if !conformance.is_empty() {
        println!("\nclaims, shown with real processes:");
        for (name, passed) in &conformance {
            println!("  {} {name}", if *passed { "ok    " } else { "FAILED" });
        }
    }
    Ok(report.finish(&workspace.logs()))
}

/// `cargo xtask tidy`: runs the steps that compile nothing. Returns whether all passed.
pub(crate) fn run_tidy(workspace: &Workspace) -> bool {
    let mut report = Report::new();
    without_building(workspace, &mut report);
    report.finish(&workspace.logs())
}

fn without_building(workspace: &Workspace, report: &mut Report) {
    report.step("formatting", &[], || {
        let command = workspace.cargo(&["fmt", "--all", "--check", "--", "-l"]);
        simple(workspace, command, "formatting", "cargo fmt --all")
    });
    report.step("architecture", &[], || architecture::check(workspace));
    report.step("tidiness", &[], || tidy::check(workspace.root()));
}

fn lints(workspace: &Workspace, report: &mut Report, fast: bool) {
    report.step("clippy", &[], || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        simple(workspace, workspace.cargo(&arguments), "clippy", "fix what it reports")
    });
    if !fast {
        report.step("documentation", &[], || {
            let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
            command.env("RUSTDOCFLAGS", "-D warnings");
            simple(workspace, command, "documentation", "fix what it reports")
        });
    }
}

/// What no test may lack; a test without it is skipped elsewhere.
const REQUIRED: [&str; 9] = [
    "POSTGRES",
    "PYTHON",
    "REDIS",
    "URING",
    "CLIENTS",
    "MEMCACHED",
    "MEMCCAPABLE",
    "PROMETHEUS",
    "TMUX",
];

/// What is tested.
fn selection(fast: bool) -> &'static [&'static str] {
    if fast { &["--workspace", "--exclude", "standin"] } else { &["--workspace"] }
}

fn build_of_tests(workspace: &Workspace, report: &mut Report, fast: bool) {
    report.step("build of the tests", &[], || {
        let arguments = [&["test", "--no-run"], selection(fast)].concat();
        simple(workspace, workspace.cargo(&arguments), "build", "fix the compilation errors")
    });
}

/// Runs the tests. Returns the result of each conformance test, by name.
fn all_tests(workspace: &Workspace, report: &mut Report, fast: bool) -> BTreeMap<String, bool> {
    let mut conformance = BTreeMap::new();
    report.step("tests", &["prerequisites", "build of the tests"], || {
        // A failing test binary must not hide the results of the next.
        let arguments = [&["test", "--no-fail-fast"], selection(fast)].concat();
        let mut command = workspace.cargo(&arguments);
        for what in REQUIRED {
            command.env(format!("STANDIN_REQUIRE_{what}"), "1");
        }
        command.envs(prerequisites::variables_of_clients(workspace));
        if prerequisites::has_node() {
            command.env("STANDIN_REQUIRE_NODE", "1");
        }
        if prerequisites::has_browser() {
            command.env("STANDIN_REQUIRE_BROWSER", "1");
        }
        // Only root can create network namespaces and mount file systems.
        if prerequisites::is_root() {
            command.env("STANDIN_REQUIRE_NAMESPACES", "1").env("STANDIN_REQUIRE_MOUNT", "1");
        }
        let (outcome, output) = tests(workspace, command, "tests");
        conformance = claims_in(workspace, &output);
        outcome
    });
    report.step("tests without single rules", &["build of the tests"], || {
        // Of the whole workspace, since others' crates are built once for each selection of ours.
        let mut command = workspace.cargo(&["test", "--no-fail-fast", "--workspace"]);
        command.args(["--features", MUTANTS, "--test", "mutants"]);
        tests(workspace, command, "mutants").0
    });
    report.step("the program refuses mutants", &[], || refuses_mutants(workspace));
    conformance
}

/// The modes of the failover rules.
const MODES: [&str; 2] = ["available", "strict"];

/// The steps that only compute, so that they can run while the tests wait: the release build and the
/// seeds that are simulated with it.
fn computing(workspace: &Workspace) -> Vec<Work<'_>> {
    let build: Work<'_> = Box::new(|| {
        // In one go, so that what both are made of is compiled once.
        let packages = ["--package", "standin", "--package", "standin-sim"];
        let mut command =
            workspace.cargo(&[&["build", "--release", "--bins"], &packages[..]].concat());
        let log = workspace.logs().join("release-build.log");
        let finished = meanwhile::run_step(&mut command, &log, BUILD_LIMIT)?;
        judged(&finished, "fix the compilation errors")
    });
    let seeds = MODES.map(|mode| -> Work<'_> {
        Box::new(move || {
            let mut command = Command::new(workspace.release().join("sim"));
            command.current_dir(workspace.root()).args(["--seeds", SIMULATED, "--mode", mode]);
            let log = workspace.logs().join(format!("simulation-{mode}.log"));
            let finished = meanwhile::run_step(&mut command, &log, BUILD_LIMIT)?;
            judged(&finished, "the command in its line \"repeat\" reproduces it")
        })
    });
    std::iter::once(build).chain(seeds).collect()
}

/// The release build and the steps on it.
fn released(workspace: &Workspace, report: &mut Report, meanwhile: &Meanwhile) {
    report.step("release build", &[], || meanwhile.next());
    report.step("released program is stripped", &["release build"], || {
        stripped(&workspace.release().join("standin"))
    });
    for mode in MODES {
        let name = format!("10,000 simulated seeds, {mode}");
        report.step(&name, &["release build"], || meanwhile.next());
    }
    report.step("demo on SQLite", &["release build"], || {
        demo_step(workspace, &Demo { seconds: DEMO_SECONDS, ..Demo::new("demo-sqlite") })
    });
    report.step("demo on PostgreSQL", &["prerequisites", "release build"], || {
        let postgres = standin_testkit::Postgres::start();
        let origin = Some(postgres.url());
        let demo = Demo { seconds: DEMO_SECONDS, origin, ..Demo::new("demo-postgres") };
        demo_step(workspace, &demo)
    });
    report.step("demo without a database", &["release build"], || {
        let demo = Demo::new("demo-cache");
        demo_step(workspace, &Demo { seconds: DEMO_SECONDS, is_cache: true, ..demo })
    });
}

/// Runs a command whose exit code is its result.
fn simple(workspace: &Workspace, mut command: Command, log: &str, remedy: &str) -> Outcome {
    let log = workspace.logs().join(format!("{log}.log"));
    judged(&process::run_step(&mut command, &log, BUILD_LIMIT)?, remedy)
}

/// The outcome of a command whose exit code is its result.
fn judged(finished: &Finished, remedy: &str) -> Outcome {
    match finished.success {
        true => Ok(Passed::default()),
        false => Err(Failed::new(counts::without_the_good(&finished.output), remedy)),
    }
}

/// The program has neither symbols nor debug information.
fn stripped(program: &Path) -> Outcome {
    let remedy = "`[profile.release]` in Cargo.toml says what to strip";
    let bytes = std::fs::read(program)
        .map_err(|error| Failed::new(format!("{}: {error}", program.display()), remedy))?;
    for section in [&b".symtab\0"[..], b".debug_info\0", b".debug_line\0"] {
        if bytes.windows(section.len()).any(|window| window == section) {
            let name = String::from_utf8_lossy(section);
            let found = format!("{} has a section {name}", program.display());
            return Err(Failed::new(found, remedy));
        }
    }
    Ok(Passed::with_note(format!("{} MiB", bytes.len() >> 20)))
}

/// The program does not compile with the feature `mutants`, whatever turns it on.
fn refuses_mutants(workspace: &Workspace) -> Outcome {
    let remedy = "cli/src/main.rs asserts that the feature `mutants` is off";
    // With a test, since others' crates are then those that clippy has checked.
    let mut command = workspace.cargo(&["check", "--workspace", "--features", MUTANTS]);
    command.args(["--bin", "standin", "--test", "mutants"]);
    let log = workspace.logs().join("refuses-mutants.log");
    let finished = process::run_step(&mut command, &log, BUILD_LIMIT)?;
    if finished.success {
        return Err(Failed::new("the program compiles with the feature `mutants`", remedy));
    }
    match finished.output.contains("the feature `mutants` is on") {
        true => Ok(Passed::default()),
        false => Err(Failed::new(finished.output, remedy)),
    }
}

/// A command that runs tests; its outcome and all its output.
fn tests(workspace: &Workspace, mut command: Command, name: &str) -> (Outcome, String) {
    let log = workspace.logs().join(format!("{name}.log"));
    let finished = match process::run_step(&mut command, &log, TESTS_LIMIT) {
        Ok(finished) => finished,
        Err(failed) => return (Err(failed), String::new()),
    };
    let counts = counts::sum(&finished.output);
    let outcome = if finished.success && counts.passed > 0 {
        Ok(Passed { note: counts.to_string(), counts })
    } else {
        let failed = counts::tests(&finished.output).into_iter().filter(|(_, passed)| !passed);
        let names: Vec<&str> = failed.map(|(name, _)| name).collect();
        let remedy = match names.first() {
            None => "no test says what failed: see the output above".to_owned(),
            Some(first) => format!(
                "failed: {}\none of them alone: cargo test --workspace {first} -- --nocapture",
                names.join(", ")
            ),
        };
        let output = counts::without_the_good(&finished.output);
        Err(Failed { counts, ..Failed::new(output, remedy) })
    };
    (outcome, finished.output)
}

/// The result of each conformance test, by name.
fn claims_in(workspace: &Workspace, output: &str) -> BTreeMap<String, bool> {
    let named = claims::names(&tidy::files::sources_under(workspace.root()));
    let ended = counts::tests(output).into_iter().filter_map(|(path, passed)| {
        let name = path.rsplit("::").next()?;
        named.contains(name).then(|| (name.to_owned(), passed))
    });
    ended.collect()
}

fn demo_step(workspace: &Workspace, demo: &Demo) -> Outcome {
    let run = demo::run(workspace, demo)?;
    match run.figures {
        Ok(figures) if run.success && figures.is_clean() => {
            Ok(Passed::with_note(figures.to_string()))
        }
        Ok(figures) => Err(Failed::new(
            format!("{}\nexit code {:?}: {figures}", run.output, run.code),
            "the demo must exit with 0, no request failed and no read stale",
        )),
        Err(message) => Err(Failed::new(
            format!("{}\nexit code {:?}: {message}", run.output, run.code),
            "the demo must exit with 0 and write its report",
        )),
    }
}
