//! `cargo xtask chaos`, `cargo xtask incidents`, `cargo xtask peers` and `cargo xtask clients`: build the `standin`
//! program and the program that injects faults, and become the latter, so that an interrupt reaches only that.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use crate::prerequisites;
use crate::process::{self, Clock};
use crate::report::Outcome;
use crate::workspace::Workspace;

const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// Injects faults into a cluster. Returns only if something is missing.
pub(crate) fn run(workspace: &Workspace, arguments: Vec<String>) -> Result<bool, String> {
    become_program(workspace, prerequisites::for_chaos, "standin-chaos", "standin-chaos", arguments)
}

/// Plays incidents, and looks where they are named. Returns only if something is missing.
pub(crate) fn run_incidents(workspace: &Workspace, arguments: Vec<String>) -> Result<bool, String> {
    let monitoring = workspace.root().join("docs/monitoring").display().to_string();
    let arguments = [vec!["--monitoring".to_owned(), monitoring], arguments].concat();
    let prerequisites = prerequisites::for_incidents;
    become_program(workspace, prerequisites, "standin-chaos", "incidents", arguments)
}

/// Runs the scenarios of a server's death on Standin and its peers. Returns only if something is missing.
pub(crate) fn run_peers(workspace: &Workspace, arguments: Vec<String>) -> Result<bool, String> {
    // The results have the command lines, with paths from here.
    std::env::set_current_dir(workspace.root())
        .map_err(|error| format!("{}: {error}", workspace.root().display()))?;
    become_program(workspace, prerequisites::for_peers, "standin-benches", "peers", arguments)
}

/// Kills servers under client libraries of other languages. Returns only if something is missing.
pub(crate) fn run_clients(workspace: &Workspace, arguments: Vec<String>) -> Result<bool, String> {
    become_program(workspace, prerequisites::for_clients, "standin-benches", "languages", arguments)
}

fn become_program(
    workspace: &Workspace,
    prerequisites: fn(&Workspace) -> Outcome,
    package: &str,
    program: &str,
    arguments: Vec<String>,
) -> Result<bool, String> {
    // The program leaves out what needs a missing tool, and says so.
    if let Err(failed) = prerequisites(workspace) {
        println!("{}\n{}", failed.output, failed.remedy);
    }
    build(workspace, &["-p", "standin", "-p", package, "--bin", "standin", "--bin", program])?;
    let mut command = Command::new(workspace.release().join(program));
    command.envs(prerequisites::variables_of_clients(workspace));
    command.arg("--program").arg(workspace.release().join("standin")).args(arguments);
    Err(format!("{command:?}: {}", command.exec()))
}

/// A release build of these programs. Each takes a while, so there are no others.
fn build(workspace: &Workspace, programs: &[&str]) -> Result<(), String> {
    let mut command = workspace.cargo(&["build", "--release"]);
    command.args(programs);
    let log = workspace.logs().join("release-build.log");
    let built = process::run(&mut command, &log, BUILD_LIMIT, Clock::Shown)
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if built.success { Ok(()) } else { Err(format!("the release build failed:\n{}", built.output)) }
}
