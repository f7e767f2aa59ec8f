//! Others' crates: licences that a user of Standin can live with, sources that stay,
//! and no dependency that nobody uses.

use std::path::Path;

use serde_json::Value;

use crate::tidy::files::{Source, sources_under};
use crate::workspace::{items, text};

/// Licences that ask no more than to be named.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates whose licence is not among [`LICENCES`].
pub(super) fn licences(others: &[&Value]) -> Vec<String> {
    let found = others.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("");
        let name = package["name"].as_str().unwrap_or("?");
        (!is_accepted(licence)).then(|| format!("{name} has the licence {licence:?}"))
    });
    found.collect()
}

/// An expression is accepted when one choice of each `OR` has only accepted parts.
/// Parentheses occur in it only around a choice.
fn is_accepted(expression: &str) -> bool {
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
        return choices.iter().any(|choice| is_accepted(choice));
    }
    let all = parts(&expression, "AND");
    if all.len() > 1 {
        return all.iter().all(|part| is_accepted(part));
    }
    let expression = all.concat();
    match expression.strip_prefix("( ").and_then(|inner| inner.strip_suffix(" )")) {
        Some(inner) => is_accepted(inner),
        None => LICENCES.contains(&expression.as_str()),
    }
}

/// Crates that do not come from crates.io: a branch somewhere can change or go away.
pub(super) fn sources(others: &[&Value]) -> Vec<String> {
    let found = others.iter().filter(|package| package["source"] != CRATES_IO);
    found.map(|package| format!("{} comes from {}", package["name"], package["source"])).collect()
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
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "Unlicense OR MIT",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 AND ISC",
        ] {
            assert!(is_accepted(fine), "{fine}");
        }
        for wrong in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND AGPL-3.0"] {
            assert!(!is_accepted(wrong), "{wrong}");
        }
    }

    #[test]
    fn finds_a_branch_of_a_repository() {
        let registry = json!({"name": "a", "source": CRATES_IO});
        let branch = json!({"name": "b", "source": "git+https://example.org/b"});
        assert_eq!(sources(&[&registry, &branch]).len(), 1);
    }

    #[test]
    fn a_crate_is_named_only_by_its_whole_name() {
        let file = |text: &str| Source { path: "src/lib.rs".into(), text: text.to_owned() };
        assert!(is_named(&[file("use bytes::Bytes;")], "bytes"));
        assert!(!is_named(&[file("let key_bytes = bytes_of(x);")], "bytes"));
    }
}
