//! `cargo xtask chaos`: builds the `standin` program and the one that hurts it, and becomes
//! the latter, so that an interrupt finds only it.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::prerequisites;
use crate::process;
use crate::workspace::Workspace;

const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// Does not come back unless something is missing.
pub(crate) fn run(workspace: &Workspace, arguments: Vec<String>) -> Result<bool, String> {
    // Without nftables there are still the faults that need none; the program says so.
    if let Err(failed) = prerequisites::for_chaos(workspace) {
        println!("{}\n{}", failed.output, failed.remedy);
    }
    build(workspace, &["-p", "standin", "-p", "standin-chaos"])?;
    let program = |name: &str| -> PathBuf { workspace.release().join(name) };
    let mut command = Command::new(program("standin-chaos"));
    command.arg("--program").arg(program("standin")).args(arguments);
    Err(format!("{command:?}: {}", command.exec()))
}

/// A release build of these packages.
pub(crate) fn build(workspace: &Workspace, packages: &[&str]) -> Result<(), String> {
    let mut command = workspace.cargo(&["build", "--release"]);
    command.args(packages);
    let log = workspace.logs().join("release-build.log");
    let built = process::run(&mut command, &log, BUILD_LIMIT)
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if built.success { Ok(()) } else { Err(format!("the release build failed:\n{}", built.output)) }
}
