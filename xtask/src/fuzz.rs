//! `cargo xtask fuzz`: runs each fuzz target for a while. Needs a nightly toolchain and cargo-fuzz;
//! `cargo xtask test` runs the seeds of the targets on stable.

use std::process::{Command, Stdio};

use crate::workspace::Workspace;

/// Runs all of them, or the one named. Returns whether none failed.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>, seconds: u32) -> Result<bool, String> {
    let metadata = workspace.metadata(&["--no-deps"])?;
    let mut targets = workspace.binaries(&metadata, "standin-fuzz");
    if let Some(only) = only {
        if !targets.iter().any(|target| target == only) {
            return Err(format!(
                "there is no target {only:?}; the targets are: {}",
                targets.join(", ")
            ));
        }
        targets = vec![only.to_owned()];
    }
    let ready = nightly(workspace)
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !ready {
        return Err("fuzzing needs a nightly toolchain and cargo-fuzz:\n  \
             rustup toolchain install nightly --profile minimal\n  \
             cargo install cargo-fuzz --locked"
            .to_owned());
    }
    let mut broken = Vec::new();
    for target in targets {
        println!("\n== {target}, {seconds} s");
        // New inputs go into the first folder; the seeds are only read.
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(workspace.root().join(&corpus))
            .map_err(|error| format!("cannot make {corpus}: {error}"))?;
        let status = nightly(workspace)
            // The release profile's optimization at link time takes minutes for each target, and finds nothing.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .args(["fuzz", "run", "--fuzz-dir", "fuzz", &target, &corpus])
            .arg(format!("fuzz/seeds/{target}"))
            .args(["--", &format!("-max_total_time={seconds}"), "-print_final_stats=1"])
            .status();
        if !status.is_ok_and(|status| status.success()) {
            broken.push(target);
        }
    }
    if broken.is_empty() {
        println!("\nno target failed");
    } else {
        println!("\nfailed: {}; the inputs are in fuzz/artifacts/", broken.join(", "));
    }
    Ok(broken.is_empty())
}

/// The nightly cargo. Not by `cargo +nightly`: the cargo that runs this is a toolchain's
/// own, which does not know the plus sign, and it hands itself on in `CARGO`.
fn nightly(workspace: &Workspace) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    command.current_dir(workspace.root());
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}
