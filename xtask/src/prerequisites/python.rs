//! Client libraries of other protocols from the Python package index, in an environment of their own
//! under `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::quietly;
use crate::process::{self, Clock};
use crate::report::Failed;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(300);
/// The libraries, with their versions.
const LIBRARIES: &[&str] = &[
    "pymemcache==4.0.0",
    "redis==8.1.0",
    "Django==5.2.19",
    "pylibmc==1.6.3",
    "hdrhistogram==0.10.8",
];

/// The Python that has the libraries.
pub(super) fn interpreter(workspace: &Workspace) -> PathBuf {
    workspace.logs().join("python/bin/python3")
}

/// Installs the libraries if they are missing. Returns their names if it did.
///
/// # Errors
/// With the output of Python.
pub(super) fn ensure(workspace: &Workspace) -> Result<Vec<String>, Failed> {
    let python = interpreter(workspace);
    let check = "import importlib.metadata as metadata, sys; \
                 assert all(metadata.version(name) == version \
                            for name, version in (wanted.split('==') for wanted in sys.argv[1:]))";
    if quietly(Command::new(&python).args(["-c", check]).args(LIBRARIES)) {
        return Ok(Vec::new());
    }
    let logs = workspace.logs();
    let mut create = Command::new("python3");
    run(create.args(["-m", "venv"]).arg(logs.join("python")), &logs)?;
    let mut install = Command::new(&python);
    run(install.args(["-m", "pip", "install", "--quiet"]).args(LIBRARIES), &logs)?;
    Ok(LIBRARIES.iter().map(|&library| library.to_owned()).collect())
}

fn run(command: &mut Command, logs: &Path) -> Result<(), Failed> {
    let line = format!("{command:?}");
    let remedy = "fix that (on Debian, `apt-get install python3-venv`), and run this again";
    match process::run(command, &logs.join("python.log"), LIMIT, Clock::Shown) {
        Ok(finished) if finished.success => Ok(()),
        Ok(finished) => Err(Failed::new(format!("{line}\n{}", finished.output), remedy)),
        Err(error) => Err(Failed::new(format!("{line}: {error}"), remedy)),
    }
}
