//! Every claim, c01 to c21, has a conformance test named for it, in the tests of the
//! binary, where the processes are real.

use std::collections::BTreeSet;

use super::files::Source;

const CLAIMS: u32 = 21;
const FOLDER: &str = "cli/tests";

/// Claims without a test.
pub(super) fn missing(files: &[Source]) -> Vec<String> {
    let tests = names(files);
    (1..=CLAIMS)
        .map(|claim| format!("c{claim:02}_"))
        .filter(|prefix| !tests.iter().any(|test| test.starts_with(prefix)))
        .map(|prefix| {
            format!(
                "{FOLDER}: no conformance test for claim {prefix}: `fn {prefix}…()` under #[test]"
            )
        })
        .collect()
}

/// Names of the conformance tests, in order.
pub(crate) fn names(files: &[Source]) -> BTreeSet<String> {
    let in_folder =
        files.iter().filter(|file| file.kind() == "rs" && file.path.starts_with(FOLDER));
    in_folder.flat_map(|file| tests_of(&file.text)).collect()
}

/// Functions under `#[test]` whose name begins with a claim.
fn tests_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut under_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            under_test = true;
        } else if let Some(name) = line.trim_start_matches("pub ").strip_prefix("fn ") {
            let name = name.split('(').next().unwrap_or("");
            if under_test && is_claim(name) {
                found.push(name.to_owned());
            }
            under_test = false;
        }
    }
    found
}

/// Whether a test's name is that of a claim: c01_… to c21_….
fn is_claim(name: &str) -> bool {
    let number = name.strip_prefix('c').and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(digits, _)| {
        digits.len() == 2 && digits.parse().is_ok_and(|claim| (1..=CLAIMS).contains(&claim))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_with_the_name_of_a_claim_count() {
        let text = "
            #[test]
            fn c01_partitions_are_spread() {}
            #[test]
            #[should_panic(expected = \"x\")]
            fn c21_comes_back() {}
            fn c02_helper() {}
            #[test]
            fn c22_is_no_claim() {}
            #[test]
            fn counts() {}
        ";
        assert_eq!(tests_of(text), ["c01_partitions_are_spread", "c21_comes_back"]);
    }

    #[test]
    fn a_claim_without_a_test_is_named() {
        let text: String = (1..=20).map(|n| format!("#[test]\nfn c{n:02}_x() {{}}\n")).collect();
        let file = Source { path: "cli/tests/conformance/main.rs".into(), text };
        let found = missing(&[file]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("c21_"));
    }
}
