//! `cargo xtask instructions`: what counting requests, and TLS, cost a GET, in a virtual machine whose clock counts
//! instructions: one is a nanosecond, and a microsecond of CPU time a thousand of them. Nothing else that this machine does
//! changes them, so that differences show that are far smaller than the noise of times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::prerequisites;
use crate::process;
use crate::report::{Failed, Outcome, Passed, Report};
use crate::virtual_machine;
use crate::workspace::Workspace;

const BUILD_MAX: Duration = Duration::from_secs(3_600);
const MEASURE_MAX: Duration = Duration::from_secs(3_000);
/// One instruction is a nanosecond, and what waits for a time does not wait.
const COUNTING: [&str; 6] =
    ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"];
/// The options of both benchmarks.
const SIZE: &str = "--keys 1000 --rounds 5 --seconds 0.2 --server-core 0 --driver-core 0";

/// Builds the benchmark with and without counting, and measures. Returns whether all went well.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, String> {
    let counted = workspace.release().join("side_by_side");
    let apart = workspace.target().join("uncounted");
    let uncounted = apart.join("release/side_by_side");
    let mut report = Report::new();
    report.step("programs", &[], || prerequisites::for_virtual_machines(workspace));
    report.step("kernel", &["programs"], || virtual_machine::fetch(workspace));
    report.step("build", &["kernel"], || build(workspace, &[]));
    report.step("build without counting", &["build"], || {
        let apart = apart.display().to_string();
        build(workspace, &["--features", "uncounted", "--target-dir", &apart])
    });
    let mut lines =
        vec!["CPU time is counted in instructions: a µs is a thousand of them.".to_owned()];
    report.step("counting requests", &["build without counting"], || {
        let beside = format!("--beside {}", uncounted.display());
        let options = format!("{beside} --targets standin-uring,standin-meta,standin-resp");
        measure(workspace, "counting", (&[&counted, &uncounted], &options, "-beside"), &mut lines)
    });
    report.step("TLS", &["build"], || {
        let options = "--tls --kernel-tls --targets standin-meta,standin-resp";
        measure(workspace, "tls", (&[&counted], options, "-kernel-tls"), &mut lines)
    });
    let is_good = report.finish(&workspace.logs());
    println!("{}", lines.join("\n"));
    Ok(is_good)
}

fn build(workspace: &Workspace, options: &[&str]) -> Outcome {
    let bench = ["build", "--release", "-p", "standin-benches", "--bin", "side_by_side"];
    let log = workspace.logs().join("instructions-build.log");
    let mut command = workspace.cargo(&[&bench, options].concat());
    let finished = process::run_step(&mut command, &log, BUILD_MAX)?;
    match finished.success {
        true => Ok(Passed::default()),
        false => Err(Failed::new(finished.output, "mend what does not compile")),
    }
}

/// Measures with the first of the programs and these options; a row whose target ends with `last` must be among the results.
fn measure(
    workspace: &Workspace,
    name: &str,
    (programs, options, last): (&[&PathBuf], &str, &str),
    lines: &mut Vec<String>,
) -> Outcome {
    let finished =
        virtual_machine::run(workspace, name, &script(programs, options), &COUNTING, MEASURE_MAX)?;
    let found = rows(&finished.output);
    if !found.iter().any(|row| row.contains(&format!("{last} |"))) {
        return Err(Failed::new(finished.output, "the benchmark ended without figures; see above"));
    }
    lines.push(String::new());
    lines.extend(found);
    Ok(Passed::default())
}

/// Reads the programs first: while the machine waits for a file, its clock goes on to the next deadline of anything.
fn script(programs: &[&PathBuf], options: &str) -> String {
    let names: Vec<String> = programs.iter().map(|path| Path::display(path).to_string()).collect();
    format!(
        "cd /tmp\ncat {} $(ldd {} | grep -o '/[^ ]*') > /dev/null\n{} {options} {SIZE} 2> errors || tail -n 20 errors\n",
        names.join(" "),
        names[0],
        names[0],
    )
}

/// The lines of the benchmark's table.
fn rows(output: &str) -> Vec<String> {
    output.lines().map(str::trim).filter(|line| line.starts_with('|')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_before_they_run_and_the_table_is_found() {
        let [one, other] = ["/t/release/bench", "/t/uncounted/bench"].map(PathBuf::from);
        let script = script(&[&one, &other], "--beside /t/uncounted/bench");
        let lines: Vec<&str> = script.lines().collect();
        assert!(lines[1].starts_with("cat /t/release/bench /t/uncounted/bench $(ldd "), "{script}");
        assert!(lines[2].starts_with("/t/release/bench --beside /t/uncounted/bench --keys"));
        assert_eq!(rows("Linux\r\n| a |\r\n\r\n| b-beside |\r\n"), ["| a |", "| b-beside |"]);
    }
}
