//! The licences of all that is in the program: its crates, by what cargo knows of them, with the texts that they come
//! with; and those C libraries and parts of Rust that are no crates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cannot;
use crate::report::Failed;
use crate::workspace::{Workspace, items};

/// Beginnings of the names of files with licences.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// What is in the program without being one of its crates.
const OTHERS: &str = "\
SQLite (in libsqlite3-sys) is in the public domain.
The standard library of Rust, (c) The Rust Project Developers: MIT or Apache-2.0.
musl, (c) 2005-2020 Rich Felker and others: MIT. Its notices: https://git.musl-libc.org/cgit/musl/tree/COPYRIGHT
";

/// The text of the document.
pub(super) fn of_the_program(workspace: &Workspace, target: &str) -> Result<String, Failed> {
    let failed = |message: String| Failed::new(message, "see whether `cargo metadata` works here");
    let metadata =
        workspace.metadata(&["--locked", "--filter-platform", target]).map_err(failed)?;
    let packages = items(&metadata["packages"]);
    let of_id = |id: &str| packages.iter().find(|package| package["id"] == id);
    let own = packages.iter().find(|package| package["name"] == "standin");
    let own = own.and_then(|package| package["id"].as_str());
    let own = own.ok_or_else(|| failed("cargo metadata knows no package standin".to_owned()))?;
    let mut crates = BTreeMap::new();
    for id in linked(items(&metadata["resolve"]["nodes"]), own) {
        let package = of_id(&id).ok_or_else(|| failed(format!("there is no package {id}")))?;
        if !package["source"].is_null() {
            let name = package["name"].as_str().unwrap_or("?");
            crates
                .insert(format!("{name} {}", package["version"].as_str().unwrap_or("?")), package);
        }
    }
    let mut text =
        format!("What the program `standin` contains beside its own code.\n\n{OTHERS}\n");
    // The crates that come with each text.
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, package) in &crates {
        let licence = package["license"].as_str().unwrap_or("see the text below");
        text.push_str(&format!("{name}: {licence}\n"));
        for licence in texts_of(package)? {
            texts.entry(licence).or_default().push(name);
        }
    }
    for (licence, crates) in texts {
        let line = "-".repeat(78);
        text.push_str(&format!("\n{line}\n{}:\n\n{}\n", crates.join(", "), licence.trim_end()));
    }
    Ok(text)
}

/// The packages that are linked into one, by their ids: those that it needs at run time, and what these need.
fn linked(nodes: &[Value], from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(id) = next.pop() {
        if !found.insert(id.clone()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id.as_str());
        for dependency in node.map_or(&[][..], |node| items(&node["deps"])) {
            // Those for builds and tests have a kind.
            let is_linked =
                items(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            if let Some(id) = dependency["pkg"].as_str().filter(|_| is_linked) {
                next.push(id.to_owned());
            }
        }
    }
    found
}

/// The texts of licences that a crate comes with.
fn texts_of(package: &Value) -> Result<Vec<String>, Failed> {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or(""));
    let folder = manifest.parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(folder).map_err(|error| cannot("read", folder, &error))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && NAMES.iter().any(|beginning| name.starts_with(beginning))
    });
    paths.sort();
    let read = |path: PathBuf| std::fs::read(&path).map_err(|error| cannot("read", &path, &error));
    let texts =
        paths.into_iter().map(|path| Ok(String::from_utf8_lossy(&read(path)?).into_owned()));
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_counts() {
        let nodes: Value = serde_json::from_str(
            r#"[
              {"id": "own", "deps": [
                {"pkg": "a", "dep_kinds": [{"kind": null}]},
                {"pkg": "tool", "dep_kinds": [{"kind": "build"}]},
                {"pkg": "both", "dep_kinds": [{"kind": "dev"}, {"kind": null}]}]},
              {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
              {"id": "b", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}]},
              {"id": "both", "deps": []},
              {"id": "tool", "deps": [{"pkg": "c", "dep_kinds": [{"kind": null}]}]}
            ]"#,
        )
        .unwrap();
        let found = linked(items(&nodes), "own");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b", "both", "own"]);
    }
}
