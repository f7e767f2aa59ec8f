//! The rule that files over this length are split, and its exceptions, each with a reason.

use std::path::Path;

use super::at;
use super::files::Source;

const LINES_MAX: usize = 500;

/// The longer files, each with its reason.
const ALLOWED: &[(&str, &str)] = &[];

/// Returns the files that are too long, and the exceptions that are not needed.
pub(super) fn mistakes(files: &[Source]) -> Vec<String> {
    judge(files, ALLOWED)
}

fn judge(files: &[Source], allowed: &[(&str, &str)]) -> Vec<String> {
    let is_long = |file: &&Source| file.kind() == "rs" && file.text.lines().count() > LINES_MAX;
    let may = |path: &Path| allowed.iter().any(|(allowed, _)| path == Path::new(allowed));
    let long: Vec<&Source> = files.iter().filter(is_long).collect();
    let too_long = long.iter().filter(|file| !may(&file.path)).map(|file| {
        let lines = file.text.lines().count();
        let what = format!(
            "over {LINES_MAX} lines; split it by purpose, or give the reason for its length in \
             xtask/src/tidy/long.rs"
        );
        at(&file.path, lines, &what)
    });
    let not_needed = allowed
        .iter()
        .filter(|(path, _)| !long.iter().any(|file| file.path == Path::new(path)))
        .map(|(path, _)| {
            format!("xtask/src/tidy/long.rs: {path} is within the limit; remove its line")
        });
    too_long.chain(not_needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> Source {
        Source { path: path.into(), text: "x\n".repeat(lines) }
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let files = [file("a.rs", LINES_MAX), file("b.rs", LINES_MAX + 1), file("c.md", 9_000)];
        assert_eq!(judge(&files, &[]).len(), 1);
        assert_eq!(judge(&files, &[("b.rs", "one state machine")]).len(), 0);
    }

    #[test]
    fn a_reason_without_a_long_file_goes() {
        assert_eq!(judge(&[file("a.rs", 3)], &[("a.rs", "was long")]).len(), 1);
    }
}
