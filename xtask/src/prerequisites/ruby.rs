//! Dalli, the memcached client for Ruby, from RubyGems, in a folder of its own under `target/`: Debian's is too old
//! to have memcached's meta protocol.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{quietly, runs};
use crate::process::{self, Clock};
use crate::report::Failed;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(120);
const VERSION: &str = "4.3.3";

/// The variable by which Ruby finds the folder.
pub(super) const VARIABLE: &str = "GEM_PATH";

/// Returns the folder of gems.
pub(super) fn gems(workspace: &Workspace) -> PathBuf {
    workspace.logs().join("ruby")
}

/// Returns whether Ruby and gem are installed.
pub(super) fn is_there() -> bool {
    runs("ruby", &["--version"]) && runs("gem", &["--version"])
}

/// Installs Dalli if Ruby finds none with the meta protocol. Returns its name if it did.
///
/// # Errors
/// With the output of gem.
pub(super) fn ensure(workspace: &Workspace) -> Result<Vec<String>, Failed> {
    let gems = gems(workspace);
    let check =
        "require 'dalli'; exit Gem::Version.new(Dalli::VERSION) >= Gem::Version.new('3.2.0')";
    if quietly(Command::new("ruby").env(VARIABLE, &gems).args(["-e", check])) {
        return Ok(Vec::new());
    }
    let mut command = Command::new("gem");
    command.args(["install", "--no-document", "dalli", "--version", VERSION, "--install-dir"]);
    command.arg(&gems);
    let line = format!("{command:?}");
    let remedy = "Dalli is not installed: where RubyGems can't be reached, get its sources (petergoldstein/dalli on \
                  GitHub, version 3.2 or newer), name their folder `lib` in RUBYLIB, and run this again; or do \
                  without it (Debian's ruby-dalli is older and has no meta protocol)";
    match process::run(&mut command, &workspace.logs().join("gem.log"), LIMIT, Clock::Shown) {
        Ok(finished) if finished.success => Ok(vec![format!("dalli {VERSION}")]),
        Ok(finished) => Err(Failed::new(format!("{line}\n{}", finished.output), remedy)),
        Err(error) => Err(Failed::new(format!("{line}: {error}"), remedy)),
    }
}
