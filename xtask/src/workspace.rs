//! The folders of the workspace, and calls of cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The checkout.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// The workspace that this program was started for.
    pub(crate) fn find() -> Result<Self, String> {
        // Set by `cargo run`; the other is for the program started directly.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().ok_or("xtask is not in a workspace")?.to_owned();
        // The cargo that runs this, not the first one on the PATH.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut workspace = Self { root, target: PathBuf::new(), cargo };
        let metadata = workspace.metadata(&["--no-deps"])?;
        workspace.target = PathBuf::from(text(&metadata["target_directory"])?);
        let logs = workspace.logs();
        std::fs::create_dir_all(&logs)
            .map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
        Ok(workspace)
    }

    /// The folder of the root Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of all that is built.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the folder for the output of steps.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// Returns the folder of release builds.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// A cargo command in the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root).args(arguments);
        // The output goes to files, and is parsed.
        command.env("CARGO_TERM_COLOR", "never").env("TERM", "dumb");
        // A machine that builds once gains nothing from what helps the next build.
        if std::env::var_os("CI").is_some() {
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }

    /// The output of `cargo metadata`.
    pub(crate) fn metadata(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = self
            .cargo(&["metadata", "--format-version", "1"])
            .args(arguments)
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata is not JSON: {error}"))
    }

    /// Names of the binaries of one package; none when it has none or is not there.
    pub(crate) fn binaries(&self, metadata: &Value, package: &str) -> Vec<String> {
        items(&metadata["packages"])
            .iter()
            .filter(|found| found["name"] == package)
            .flat_map(|found| items(&found["targets"]))
            .filter(|target| items(&target["kind"]).iter().any(|kind| kind == "bin"))
            .filter_map(|target| target["name"].as_str().map(str::to_owned))
            .collect()
    }
}

/// The elements of an array; none of anything else.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The text of a string.
pub(crate) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("cargo metadata has {value} where a text was expected"))
}
