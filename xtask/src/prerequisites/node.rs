//! Client libraries from npm, in a folder of their own under `target/`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{quietly, runs};
use crate::process::{self, Clock};
use crate::report::Failed;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(300);
/// The libraries, with their versions.
const LIBRARIES: &[(&str, &str)] = &[("ioredis", "6.0.0"), ("redis", "6.3.1")];

/// Returns the folder that has the libraries.
pub(super) fn modules(workspace: &Workspace) -> PathBuf {
    workspace.logs().join("node/node_modules")
}

/// Returns whether Node.js and npm are installed. Debian's npm is some hundred packages, so nothing here
/// installs it.
pub(super) fn is_there() -> bool {
    runs("node", &["--version"]) && runs("npm", &["--version"])
}

/// Installs the libraries if they are missing. Returns their names if it did.
///
/// # Errors
/// With the output of npm.
pub(super) fn ensure(workspace: &Workspace) -> Result<Vec<String>, Failed> {
    let modules = modules(workspace);
    let has = |(name, version): &(&str, &str)| {
        let file = modules.join(name).join("package.json");
        let is_so = format!("process.exit(require({file:?}).version === {version:?} ? 0 : 1)");
        quietly(Command::new("node").args(["-e", &is_so]))
    };
    if LIBRARIES.iter().all(has) {
        return Ok(Vec::new());
    }
    let named: Vec<String> =
        LIBRARIES.iter().map(|(name, version)| format!("{name}@{version}")).collect();
    let logs = workspace.logs();
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"]);
    command.arg(logs.join("node")).args(&named);
    let line = format!("{command:?}");
    let remedy = "fix that, and run this again";
    match process::run(&mut command, &logs.join("npm.log"), LIMIT, Clock::Shown) {
        Ok(finished) if finished.success => Ok(named),
        Ok(finished) => Err(Failed::new(format!("{line}\n{}", finished.output), remedy)),
        Err(error) => Err(Failed::new(format!("{line}: {error}"), remedy)),
    }
}
