//! `cargo xtask deny`: cargo-deny with deny.toml. Licences, versions and sources are also checked by
//! architecture/, in a moment and without it; only cargo-deny knows which versions have known vulnerabilities.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process;
use crate::report::{Failed, Outcome, Passed, Report};
use crate::workspace::Workspace;

/// What installs it.
pub(crate) const INSTALL: &str = "cargo install cargo-deny --locked";
const LIMIT: Duration = Duration::from_secs(300);

/// Whether cargo-deny is installed.
pub(crate) fn is_installed(workspace: &Workspace) -> bool {
    let mut command = workspace.cargo(&["deny", "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The command. Returns whether nothing was found.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, String> {
    if !is_installed(workspace) {
        return Err(format!("this needs cargo-deny: `{INSTALL}`, which takes some minutes"));
    }
    let mut report = Report::new();
    report.step("licences, versions, sources", &[], || rules(workspace));
    report.step("known vulnerabilities", &[], || {
        fetch(workspace)?;
        advisories(workspace)
    });
    Ok(report.finish(&workspace.logs()))
}

/// The step of `cargo xtask test`, where cargo-deny is installed. On a machine without the network the
/// advisories of the last fetch count, if there was one.
pub(crate) fn step(workspace: &Workspace) -> Outcome {
    rules(workspace)?;
    if fetch(workspace).is_err() {
        return Ok(match advisories(workspace) {
            Ok(_) => Passed::with_note("advisories as of the last fetch"),
            // There was no fetch yet.
            Err(failed) if failed.output.contains("FETCH_HEAD") => {
                Passed::with_note("without advisories, which can't be fetched here")
            }
            Err(failed) => return Err(failed),
        });
    }
    advisories(workspace)
}

fn rules(workspace: &Workspace) -> Outcome {
    check(workspace, &[], &["licenses", "bans", "sources"])
}

fn fetch(workspace: &Workspace) -> Result<(), Failed> {
    let remedy =
        "the database of advisories is fetched by git; see whether this machine reaches it";
    run_step(workspace, workspace.cargo(&["deny", "fetch", "db"]), "deny-fetch", remedy).map(drop)
}

fn advisories(workspace: &Workspace) -> Outcome {
    check(workspace, &["--offline"], &["advisories"])
}

fn check(workspace: &Workspace, how: &[&str], what: &[&str]) -> Outcome {
    let mut command = workspace.cargo(&["deny", "--workspace", "--log-level", "error"]);
    command.args(how).args(["check", "--hide-inclusion-graph"]).args(what);
    run_step(
        workspace,
        command,
        "deny",
        "update the crate, or except it in deny.toml with the reason",
    )
}

fn run_step(workspace: &Workspace, mut command: Command, log: &str, remedy: &str) -> Outcome {
    let log = workspace.logs().join(format!("{log}.log"));
    let finished = process::run_step(&mut command, &log, LIMIT)?;
    match finished.success {
        true => Ok(Passed::default()),
        false => Err(Failed::new(finished.output, remedy)),
    }
}
