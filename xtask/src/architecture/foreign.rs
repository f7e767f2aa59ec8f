//! Others' crates: licences that a user of Standin can live with, sources that stay, one version of each, and
//! no dependency that nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::decisions::FILE;
use crate::tidy::files::{Source, sources_under};
use crate::workspace::{items, text};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates whose licence is not among the accepted ones.
pub(super) fn licences(others: &[&Value], accepted: &[String]) -> Vec<String> {
    let found = others.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("");
        let name = package["name"].as_str().unwrap_or("?");
        (!is_accepted(licence, accepted)).then(|| format!("{name} has the licence {licence:?}"))
    });
    found.collect()
}

/// An expression is accepted when one choice of each `OR` has only accepted parts.
/// Parentheses occur in it only around a choice.
fn is_accepted(expression: &str, accepted: &[String]) -> bool {
    let parts = |text: &str, word: &str| -> Vec<String> {
        let mut depth = 0;
        let mut parts = vec![String::new()];
        for token in text.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            depth += i32::from(token == "(") - i32::from(token == ")");
            match parts.last_mut() {
                _ if depth == 0 && token == word => parts.push(String::new()),
                Some(last) if last.is_empty() => last.push_str(token),
                Some(last) => last.extend([" ", token]),
                None => {}
            }
        }
        parts
    };
    // The old way of writing OR.
    let expression = expression.replace('/', " OR ");
    let choices = parts(&expression, "OR");
    if choices.len() > 1 {
        return choices.iter().any(|choice| is_accepted(choice, accepted));
    }
    let all = parts(&expression, "AND");
    if all.len() > 1 {
        return all.iter().all(|part| is_accepted(part, accepted));
    }
    let expression = all.concat();
    match expression.strip_prefix("( ").and_then(|inner| inner.strip_suffix(" )")) {
        Some(inner) => is_accepted(inner, accepted),
        None => accepted.contains(&expression),
    }
}

/// Crates that do not come from crates.io: a branch somewhere can change or go away.
pub(super) fn sources(others: &[&Value]) -> Vec<String> {
    let found = others.iter().filter(|package| package["source"] != CRATES_IO);
    found.map(|package| format!("{} comes from {}", package["name"], package["source"])).collect()
}

/// Crates of which there is more than one version without an exception, and exceptions that nothing needs.
pub(super) fn duplicates(others: &[&Value], excepted: &[String]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in others {
        let field = |name: &str| package[name].as_str().unwrap_or("?");
        versions.entry(field("name")).or_default().insert(field("version"));
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_excepted = |name: &str, version: &str| excepted.contains(&format!("{name}@{version}"));
    let mut mistakes = Vec::new();
    for (name, versions) in &versions {
        let left: Vec<&str> =
            versions.iter().copied().filter(|version| !is_excepted(name, version)).collect();
        if left.len() > 1 {
            mistakes.push(format!(
                "{name} is there in the versions {}; `cargo tree --workspace -i {name}@VERSION` says \
                 who wants which",
                left.join(" and ")
            ));
        }
    }
    for exception in excepted {
        let there = exception.split_once('@').is_some_and(|(name, version)| {
            versions.get(name).is_some_and(|versions| versions.contains(version))
        });
        if !there {
            mistakes.push(format!(
                "{FILE} excepts {exception}, which is no longer there beside another version"
            ));
        }
    }
    mistakes
}

/// Dependencies that no source file of their crate names.
pub(super) fn unused(ours: &[&Value]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for package in ours {
        let (Ok(name), Ok(manifest)) = (text(&package["name"]), text(&package["manifest_path"]))
        else {
            continue;
        };
        let Some(folder) = Path::new(manifest).parent() else { continue };
        let files = sources_under(folder);
        for dependency in items(&package["dependencies"]) {
            let Some(used) = dependency["rename"].as_str().or(dependency["name"].as_str()) else {
                continue;
            };
            if !is_named(&files, &used.replace('-', "_")) {
                mistakes.push(format!("{name} depends on {used} but does not use it"));
            }
        }
    }
    mistakes
}

fn is_named(files: &[Source], krate: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    files.iter().any(|file| {
        file.text.match_indices(krate).any(|(at, _)| {
            let before = file.text[..at].chars().next_back();
            let after = file.text[at + krate.len()..].chars().next();
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_licence_expressions() {
        let accepted = [
            "MIT",
            "Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "ISC",
            "Unlicense",
            "Unicode-3.0",
        ];
        let accepted = accepted.map(str::to_owned);
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "Unlicense OR MIT",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 AND ISC",
        ] {
            assert!(is_accepted(fine, &accepted), "{fine}");
        }
        for wrong in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND AGPL-3.0"] {
            assert!(!is_accepted(wrong, &accepted), "{wrong}");
        }
    }

    #[test]
    fn finds_a_branch_of_a_repository() {
        let registry = json!({"name": "a", "source": CRATES_IO});
        let branch = json!({"name": "b", "source": "git+https://example.org/b"});
        assert_eq!(sources(&[&registry, &branch]).len(), 1);
    }

    #[test]
    fn a_second_version_needs_an_exception_and_an_exception_a_second_version() {
        let all = [("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")];
        let all = all.map(|(name, version)| json!({"name": name, "version": version}));
        let all: Vec<&Value> = all.iter().collect();
        let found = |excepted: &[&str]| {
            let excepted: Vec<String> = excepted.iter().map(|&one| one.to_owned()).collect();
            duplicates(&all, &excepted)
        };
        assert_eq!(found(&["a@1.0.0"]), Vec::<String>::new());
        assert!(found(&[])[0].starts_with("a is there in the versions 1.0.0 and 2.0.0"));
        assert!(found(&["a@1.0.0", "b@1.0.0"])[0].contains("excepts b@1.0.0"));
        assert!(found(&["a@1.0.0", "a@3.0.0"])[0].contains("excepts a@3.0.0"));
    }

    #[test]
    fn a_crate_is_named_only_by_its_whole_name() {
        let file = |text: &str| Source { path: "src/lib.rs".into(), text: text.to_owned() };
        assert!(is_named(&[file("use bytes::Bytes;")], "bytes"));
        assert!(!is_named(&[file("let key_bytes = bytes_of(x);")], "bytes"));
    }
}
