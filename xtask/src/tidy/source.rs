//! The rules for every Rust file.

use super::at;
use super::files::Source;

/// A reason may stand this many lines above its `unsafe`.
const REASON_LINES: usize = 12;

/// Words that mean that something is not finished. In two halves, so that this file
/// does not find itself.
const UNFINISHED: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimple", "mented!("),
    ("db", "g!("),
    ("#[ig", "nore"),
    ("FIX", "ME"),
    ("TO", "DO"),
    ("XX", "X"),
];

/// The file that skips tests.
const SKIPS: &str = "testkit/src/skip.rs";

/// The mistakes in one file.
pub(super) fn mistakes(file: &Source) -> Vec<String> {
    let mut mistakes = Vec::new();
    let lines: Vec<&str> = file.text.lines().collect();
    if !file.text.starts_with("//!") {
        mistakes.push(at(
            &file.path,
            1,
            "does not begin with `//!`; say there what the file is for",
        ));
    }
    for (index, line) in lines.iter().enumerate() {
        for (first, second) in UNFINISHED {
            let word = [*first, *second].concat();
            if has_word(line, &word) {
                mistakes.push(at(&file.path, index + 1, &format!("`{word}` is left in it")));
            }
        }
        if line.contains(&["\"SKIP", "PED"].concat()) && !file.path.ends_with(SKIPS) {
            let what = "a test that lacks something calls `standin_testkit::skip`, so that it fails \
                        where it must not be skipped";
            mistakes.push(at(&file.path, index + 1, what));
        }
        let code = line.split("//").next().unwrap_or("");
        let marks = ["unsafe {", "unsafe impl ", "unsafe extern "];
        if marks.iter().any(|mark| has_word(code, mark)) && !code.contains('"') {
            let from = index.saturating_sub(REASON_LINES);
            let reason = ["SAFE", "TY:"].concat();
            if !lines[from..=index].iter().any(|line| line.contains(&reason)) {
                let what = format!("`unsafe` without a `// {reason}` that says why it is sound");
                mistakes.push(at(&file.path, index + 1, &what));
            }
        }
    }
    mistakes
}

/// Whether `word` stands there and is not the middle of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open_end = !word.ends_with(is_part);
        !before.is_some_and(is_part) && (open_end || !after.is_some_and(is_part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes_of(text: &str) -> Vec<String> {
        mistakes(&Source { path: "a.rs".into(), text: text.to_owned() })
    }

    #[test]
    fn a_good_file_has_none() {
        let text = "//! Head.\n\n// SAFETY: it is checked above.\nunsafe { f() }\n";
        assert_eq!(mistakes_of(text), Vec::<String>::new());
    }

    #[test]
    fn finds_a_missing_head_and_a_missing_reason() {
        let found = mistakes_of("fn f() {\n    unsafe { g() }\n}\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.rs:1:") && found[1].starts_with("a.rs:2:"));
    }

    #[test]
    fn finds_a_test_that_skips_itself() {
        let text = ["//! Head.\neprintln!(\"SKIP", "PED: no database\");\n"].concat();
        assert_eq!(mistakes_of(&text).len(), 1);
        let source = Source { path: format!("x/{SKIPS}").into(), text };
        assert_eq!(mistakes(&source).len(), 0);
    }

    #[test]
    fn finds_what_is_unfinished() {
        for (first, second) in UNFINISHED {
            let text = format!("//! Head.\n{first}{second}\n");
            assert_eq!(mistakes_of(&text).len(), 1, "{text}");
        }
        assert_eq!(mistakes_of("//! Head: autodoc!(x), XXXX, mytodo!(\n").len(), 0);
    }
}
