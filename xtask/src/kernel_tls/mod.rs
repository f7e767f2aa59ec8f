//! `cargo xtask kernel-tls`: the tests of TLS in a virtual machine whose kernel can encrypt, since the kernel of the machine
//! on which the tests run may lack the module. `runs.rs` has what they have printed, and whether all of them have run.

mod runs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::runs::Tested;
use crate::counts::Counts;
use crate::prerequisites;
use crate::process;
use crate::report::{Failed, Outcome, Passed, Report};
use crate::virtual_machine;
use crate::workspace::{Workspace, items};

const BUILD_MAX: Duration = Duration::from_secs(3_600);
const TESTS_MAX: Duration = Duration::from_secs(1_500);
const WITH_TWO_CORES: [&str; 4] = ["-accel", "tcg", "-smp", "2"];

/// Runs the tests in the machine. Returns whether all went well.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, String> {
    let mut report = Report::new();
    report.step("programs", &[], || prerequisites::for_virtual_machines(workspace));
    report.step("kernel", &["programs"], || virtual_machine::fetch(workspace));
    let mut sockets = PathBuf::new();
    report.step("build the tests", &["kernel"], || {
        sockets = build_tests(workspace)?;
        Ok(Passed::default())
    });
    let mut lines = Vec::new();
    report.step("tests in the machine", &["build the tests"], || {
        test(workspace, &sockets, &mut lines)
    });
    let is_good = report.finish(&workspace.logs());
    println!("{}", lines.join("\n"));
    Ok(is_good)
}

/// Builds the tests of the server over real sockets, and returns their program.
fn build_tests(workspace: &Workspace) -> Result<PathBuf, Failed> {
    let arguments = ["test", "-p", "standin-server", "--test", "sockets", "--no-run"];
    let mut command = workspace.cargo(&arguments);
    command.arg("--message-format=json-render-diagnostics");
    let log = workspace.logs().join("kernel-tls-build.log");
    let finished = process::run_step(&mut command, &log, BUILD_MAX)?;
    let program = finished.output.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "sockets"
            && items(&message["target"]["kind"]).iter().any(|kind| kind == "test");
        Some(PathBuf::from(message["executable"].as_str().filter(|_| is_it)?))
    });
    program.ok_or_else(|| Failed::new(finished.output, "mend what does not compile"))
}

/// The commands that run all tests of TLS, none of which may be skipped. A test that fails is repeated alone, because an
/// emulated machine may stand still for longer than servers go on with what they have.
const TESTS: &str = r#"
cd /tmp
export STANDIN_REQUIRE_KERNEL_TLS=1 STANDIN_REQUIRE_URING=1
"$PROGRAM" tls --test-threads 1 --color never 2>&1 | cut -c 1-300 | tee first
sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' first | while read -r name; do
    "$PROGRAM" --exact "$name" --test-threads 1 --color never 2>&1 | cut -c 1-300
done
"#;

const CUT_SHORT: &str =
    "look for what has ended the tests before their last; the machine has 3 GiB of memory";

/// Runs them.
fn test(workspace: &Workspace, program: &Path, lines: &mut Vec<String>) -> Outcome {
    let script = TESTS.replace("$PROGRAM", &program.display().to_string());
    let finished = virtual_machine::run(workspace, "tests", &script, &WITH_TWO_CORES, TESTS_MAX)?;
    let results = match runs::results(&finished.output) {
        Ok(results) => results,
        Err(why) => return Err(Failed::new(format!("{}\n{why}", finished.output), CUT_SHORT)),
    };
    lines.extend(table(&results));
    let count = |is| u32::try_from(results.iter().filter(|test| test.is_good == is).count());
    let counts = Counts { passed: count(true).unwrap_or(0), failed: count(false).unwrap_or(0) };
    let in_kernel = records(&finished.output);
    let both = in_kernel.iter().all(|(_, count)| *count > 0);
    if counts.failed > 0 || counts.passed == 0 || !both {
        let remedy =
            "tests in the machine have failed, or the kernel has had no connection; see above";
        return Err(Failed { counts, ..Failed::new(finished.output, remedy) });
    }
    let note = in_kernel.map(|(name, count)| format!("{name} {count}")).join(", ");
    Ok(Passed { note: format!("{counts}; the kernel's own counts: {note}"), counts })
}

/// The connections that the kernel has had, by its own counts.
fn records(output: &str) -> [(&'static str, u64); 2] {
    ["TlsTxSw", "TlsRxSw"].map(|name| {
        let of = |line: &str| {
            let mut words = line.split_whitespace();
            (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
        };
        (name, output.lines().find_map(of).unwrap_or(0))
    })
}

/// A line for each test.
fn table(results: &[Tested]) -> Vec<String> {
    let of = |test: &Tested| {
        let result = match (test.is_good, test.is_repeated) {
            (true, false) => "ok",
            (true, true) => "ok, repeated",
            (false, _) => "FAILED",
        };
        format!("| {} | {result} |", test.name.replace("::", ", ").replace('_', " "))
    };
    let head = ["| test, in the machine | result |".to_owned(), "|---|---|".to_owned()];
    head.into_iter().chain(results.iter().map(of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "Linux 6.12.1\r\nTlsCurrTxSw \t3\r\nTlsTxSw \t150\r\nTlsRxSw \t149\r\n";

    #[test]
    fn results_become_a_table_and_the_kernels_counts_are_found() {
        let of = |name: &str, is_good, is_repeated| {
            let name = name.to_owned();
            Tested { name, is_good, is_repeated }
        };
        let results = [
            of("tls::a_b::uring", true, false),
            of("tls::c", true, true),
            of("tls::d", false, true),
        ];
        let wanted =
            ["| tls, a b, uring | ok |", "| tls, c | ok, repeated |", "| tls, d | FAILED |"];
        assert_eq!(table(&results)[2..], wanted);
        assert_eq!(records(CONSOLE), [("TlsTxSw", 150), ("TlsRxSw", 149)]);
        assert_eq!(records("nothing"), [("TlsTxSw", 0), ("TlsRxSw", 0)]);
    }
}
