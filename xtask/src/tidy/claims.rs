//! Every claim, 1 to 21, has a section in `docs/CLAIMS.md` and at least one conformance test named
//! for it (`c01_…` to `c21_…`) among the tests of the program, where processes are real. A
//! section lists exactly the tests that are named for its claim.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::files::Source;

const CLAIMS: u32 = 21;
const FOLDER: &str = "cli/tests";
const DOCUMENT: &str = "docs/CLAIMS.md";

/// Claims without a test or a section, and differences between sections and tests.
pub(super) fn mistakes(files: &[Source]) -> Vec<String> {
    let tests = names(files);
    let document = files.iter().find(|file| file.path == Path::new(DOCUMENT));
    let sections = document.map(|file| sections_of(&file.text)).unwrap_or_default();
    let mut mistakes = Vec::new();
    for claim in 1..=CLAIMS {
        let prefix = format!("c{claim:02}_");
        let of_claim: BTreeSet<&String> =
            tests.iter().filter(|test| test.starts_with(&prefix)).collect();
        if of_claim.is_empty() {
            mistakes.push(format!(
                "{FOLDER}: claim {claim} has no conformance test; add `fn {prefix}…()` under \
                 #[test]"
            ));
        }
        let Some(listed) = sections.get(&claim) else {
            mistakes
                .push(format!("{DOCUMENT}: claim {claim} has no section; add `### Claim {claim}`"));
            continue;
        };
        for test in of_claim.iter().filter(|test| !listed.contains(**test)) {
            mistakes.push(format!("{DOCUMENT}: claim {claim} does not list its test `{test}`"));
        }
        for name in listed.iter().filter(|name| !of_claim.contains(name)) {
            mistakes.push(format!(
                "{DOCUMENT}: claim {claim} lists `{name}`, which is not one of its tests in \
                 {FOLDER}"
            ));
        }
    }
    mistakes
}

/// The claims that have a section, and the tests that each section lists: `` - `name` ``.
fn sections_of(text: &str) -> BTreeMap<u32, BTreeSet<String>> {
    let mut sections: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut claim = None;
    for line in text.lines() {
        if line.starts_with('#') {
            let number = line.strip_prefix("### Claim ").and_then(|number| number.parse().ok());
            claim = number;
            if let Some(number) = number {
                sections.entry(number).or_default();
            }
        } else if let Some(listed) = claim.and_then(|claim| sections.get_mut(&claim))
            && let Some(name) = line.strip_prefix("- `").and_then(|rest| rest.strip_suffix('`'))
        {
            listed.insert(name.to_owned());
        }
    }
    sections
}

/// The names of the conformance tests, in order.
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

/// Whether a test's name is that of a claim: `c01_…` to `c21_…`.
fn is_claim(name: &str) -> bool {
    let number = name.strip_prefix('c').and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(digits, _)| {
        digits.len() == 2 && digits.parse().is_ok_and(|claim| (1..=CLAIMS).contains(&claim))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests for the first claims, one each, and a document that lists them all.
    fn tree(tests: u32, document: impl FnOnce(String) -> String) -> [Source; 2] {
        let text: String = (1..=tests).map(|n| format!("#[test]\nfn c{n:02}_x() {{}}\n")).collect();
        let sections =
            (1..=CLAIMS).map(|n| format!("### Claim {n}\nText.\n\n- `c{n:02}_x`\n")).collect();
        [
            Source { path: "cli/tests/conformance/main.rs".into(), text },
            Source { path: DOCUMENT.into(), text: document(sections) },
        ]
    }

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
    fn claims_with_sections_that_list_their_tests_are_fine() {
        assert_eq!(mistakes(&tree(21, |document| document)), Vec::<String>::new());
    }

    #[test]
    fn a_claim_without_a_test_is_named() {
        let without = |document: String| document.replace("- `c21_x`\n", "");
        let found = mistakes(&tree(20, without));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("c21_"));
    }

    #[test]
    fn a_claim_without_a_section_is_named() {
        let found =
            mistakes(&tree(21, |document| document.replace("### Claim 7\n", "### Other\n")));
        assert_eq!(found, ["docs/CLAIMS.md: claim 7 has no section; add `### Claim 7`"]);
    }

    #[test]
    fn a_test_that_is_not_listed_and_a_listed_name_that_is_no_test_are_named() {
        let found = mistakes(&tree(21, |document| document.replace("c07_x", "c07_renamed")));
        assert_eq!(
            found,
            [
                "docs/CLAIMS.md: claim 7 does not list its test `c07_x`",
                "docs/CLAIMS.md: claim 7 lists `c07_renamed`, which is not one of its tests in \
                 cli/tests"
            ]
        );
    }
}
