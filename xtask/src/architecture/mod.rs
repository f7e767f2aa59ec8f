//! Dependencies, compared with what was decided about them.
//!
//! ```text
//! table.rs     our crates: the table of docs/ARCHITECTURE.md that says what each may depend on
//! layers.rs    folders inside a crate: what their code must not name
//! foreign.rs   third-party crates: licence, source, versions, and whether they are used
//! decisions.rs what deny.toml says about them
//! purposes.rs  why each is there: docs/DEPENDENCIES.md
//! ```

mod decisions;
mod foreign;
mod layers;
mod purposes;
mod table;

use std::path::Path;

use serde_json::Value;

use crate::report::{Failed, Outcome, Passed};
use crate::workspace::{Workspace, items, text};
use decisions::Decisions;
use table::{DOCUMENT, Row};

/// The step: the dependencies between our crates, and the rules for third-party crates.
pub(crate) fn check(workspace: &Workspace) -> Outcome {
    let metadata = read(workspace).map_err(|message| {
        Failed::new(
            message,
            "`cargo metadata` must work; if Cargo.lock is out of date, run `cargo check`",
        )
    })?;
    let allowed = allowed(workspace).map_err(|message| {
        Failed::new(message, "restore the table; its form is described in xtask/src/architecture/")
    })?;
    let packages = items(&metadata["packages"]);
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        packages.iter().partition(|package| package["source"].is_null());
    let mut mistakes = arrows(&ours, &allowed);
    mistakes.extend(layers::mistakes(workspace.root()));
    mistakes.extend(foreign_mistakes(workspace.root(), &ours, &others));
    if mistakes.is_empty() {
        let note = format!("{} crates of ours, {} of others", ours.len(), others.len());
        return Ok(Passed::with_note(note));
    }
    Err(Failed::new(
        mistakes.join("\n"),
        "the table in docs/ARCHITECTURE.md (Folders) decides which of our crates may depend on \
         which, deny.toml what third-party crates may be, and docs/DEPENDENCIES.md why each is \
         there: change the code, or the decision",
    ))
}

/// The mistakes in what others' crates are, and in what is said about them.
fn foreign_mistakes(root: &Path, ours: &[&Value], others: &[&Value]) -> Vec<String> {
    let mut mistakes = foreign::sources(others);
    mistakes.extend(foreign::unused(ours));
    match Decisions::read(root) {
        Ok(decisions) => {
            mistakes.extend(foreign::licences(others, &decisions.licences));
            mistakes.extend(foreign::duplicates(others, &decisions.duplicates));
        }
        Err(mistake) => mistakes.push(mistake),
    }
    match std::fs::read_to_string(root.join(purposes::DOCUMENT)) {
        Ok(document) => mistakes.extend(purposes::mistakes(ours, &document)),
        Err(error) => mistakes.push(format!("cannot read {}: {error}", purposes::DOCUMENT)),
    }
    mistakes
}

/// The table of the document.
fn allowed(workspace: &Workspace) -> Result<Vec<Row>, String> {
    let path = workspace.root().join(DOCUMENT);
    let document = std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    table::rows(&document)
}

/// The metadata of what is built on this kind of machine, with the versions of Cargo.lock.
fn read(workspace: &Workspace) -> Result<Value, String> {
    let host = host(workspace)?;
    workspace.metadata(&["--locked", "--filter-platform", &host])
}

fn host(workspace: &Workspace) -> Result<String, String> {
    let output = workspace
        .cargo(&["--version", "--verbose"])
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "`cargo --version --verbose` names no host".to_owned())
}

/// The dependencies among our crates that the table does not allow.
fn arrows(ours: &[&Value], allowed: &[Row]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for package in ours {
        let Ok(name) = text(&package["name"]) else { continue };
        let Some(row) = allowed.iter().find(|row| row.package == name) else {
            mistakes.push(format!("{name} has no row in the table"));
            continue;
        };
        for dependency in items(&package["dependencies"]) {
            let Ok(used) = text(&dependency["name"]) else { continue };
            // Only crates of the workspace have a path. Those without a row are reported above.
            if dependency["path"].is_null() || used == name {
                continue;
            }
            let is_listed = |list: &[String]| list.iter().any(|listed| listed == used);
            let for_tests = dependency["kind"] == "dev";
            let fine = is_listed(&row.may_use) || (for_tests && is_listed(&row.tests_may_use));
            if !fine {
                let what = if for_tests { "its tests may not use" } else { "may not use" };
                mistakes.push(format!("{name}: {what} {used}"));
            }
        }
    }
    for row in allowed {
        if !ours.iter().any(|package| package["name"] == *row.package) {
            mistakes.push(format!("{} is in the table but not in the workspace", row.package));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> [Row; 2] {
        let row = |package: &str, may_use: &[&str], tests_may_use: &[&str]| Row {
            package: package.to_owned(),
            may_use: may_use.iter().map(|&name| name.to_owned()).collect(),
            tests_may_use: tests_may_use.iter().map(|&name| name.to_owned()).collect(),
        };
        [row("low", &[], &["kit"]), row("high", &["low"], &[])]
    }

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> = dependencies
            .iter()
            .map(|(name, kind)| json!({"name": name, "kind": kind, "path": "/somewhere"}))
            .collect();
        json!({"name": name, "dependencies": dependencies})
    }

    #[test]
    fn arrows_that_point_down_are_fine() {
        let low = package("low", &[("kit", Some("dev"))]);
        let high = package("high", &[("low", None)]);
        assert_eq!(arrows(&[&low, &high], &table()), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let low = package("low", &[("high", None)]);
        let high = package("high", &[("kit", Some("dev"))]);
        let expected = ["low: may not use high", "high: its tests may not use kit"];
        assert_eq!(arrows(&[&low, &high], &table()), expected);
    }

    #[test]
    fn a_test_helper_is_not_for_what_is_shipped() {
        let low = package("low", &[("kit", None)]);
        let high = package("high", &[]);
        assert_eq!(arrows(&[&low, &high], &table()), ["low: may not use kit"]);
    }

    #[test]
    fn table_and_workspace_have_the_same_crates() {
        let low = package("low", &[]);
        let new = package("new", &[]);
        let expected =
            ["new has no row in the table", "high is in the table but not in the workspace"];
        assert_eq!(arrows(&[&low, &new], &table()), expected);
    }
}
