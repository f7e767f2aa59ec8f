//! The rule that no file contains a path of a developer's machine.

use super::at;
use super::files::Source;

/// The forbidden paths, in two halves so that the check does not report this file.
const FOREIGN: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("/tmp/no", "tes"),
    ("../sha", "red"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/Us", "ers/"),
];

/// A test may read what lies beside the repository, says so and goes on without it.
const READS_BESIDE: &[&str] = &["cli/tests/replay.rs", "loadgen/src/trace/tests.rs"];

/// Lines of one file that name such a path.
pub(super) fn mistakes(file: &Source) -> Vec<String> {
    let mut mistakes = Vec::new();
    if READS_BESIDE.iter().any(|path| file.path == std::path::Path::new(path)) {
        return mistakes;
    }
    for (index, line) in file.text.lines().enumerate() {
        for (first, second) in FOREIGN {
            let path = [*first, *second].concat();
            // Not in the middle of a path: `target/work/` is nobody's machine.
            let found = line.match_indices(&path).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|letter| letter.is_alphanumeric() || "-_.}".contains(letter))
            });
            if found {
                mistakes.push(at(
                    &file.path,
                    index + 1,
                    &format!("`{path}` is one machine's path"),
                ));
            }
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_home_and_not_a_folder_of_ours() {
        let text = format!("see {}{}x\nsee target{}{}x\n", "/ho", "me/", "/wo", "rk/");
        let found = mistakes(&Source { path: "a.md".into(), text });
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.md:1:"));
    }
}
