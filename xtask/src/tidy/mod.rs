//! Rules for files that no compiler checks.
//!
//! ```text
//! files.rs    which files there are
//! source.rs   Rust files: head, length, reasons for unsafe, nothing left unfinished
//! long.rs     files that may be long, and why
//! circles.rs  no circles of imports
//! modules.rs  one module style
//! claims.rs   every claim has its section in docs/CLAIMS.md and its conformance tests
//! links.rs    documents: relative links and their anchors lead somewhere
//! paths.rs    no path of a developer's machine
//! scripts.rs  shell scripts parse
//! ```

mod circles;
pub(crate) mod claims;
pub(crate) mod files;
mod links;
mod long;
mod modules;
mod paths;
mod scripts;
mod source;

use std::path::Path;

use crate::report::{Failed, Outcome, Passed};

/// The step.
pub(crate) fn check(root: &Path) -> Outcome {
    let files = files::text_under(root);
    let mut mistakes = Vec::new();
    for file in files.iter().filter(|file| file.kind() == "rs") {
        mistakes.extend(source::mistakes(file));
    }
    mistakes.extend(long::mistakes(&files));
    mistakes.extend(circles::mistakes(&files));
    mistakes.extend(modules::mistakes(&files));
    mistakes.extend(claims::mistakes(&files));
    mistakes.extend(links::mistakes(&files, root));
    mistakes.extend(files.iter().flat_map(paths::mistakes));
    mistakes.extend(scripts::mistakes(&files, root));
    if mistakes.is_empty() {
        return Ok(Passed::with_note(format!("{} files", files.len())));
    }
    Err(Failed::new(
        mistakes.join("\n"),
        "each line names the file and the rule; the rules and their exceptions are in \
         xtask/src/tidy/",
    ))
}

/// Formats a mistake.
fn at(path: &Path, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", path.display())
}
