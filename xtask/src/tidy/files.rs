//! The files of the checkout, without asking git: a source package has no history.

use std::path::{Path, PathBuf};

/// Names that hold nothing of ours. `.git` is a folder, or a file in a further work tree.
pub(super) const SKIPPED: &[&str] =
    &["target", ".git", "corpus", "artifacts", "coverage", "__pycache__"];
/// Kinds of files that are written by hand.
const TEXT: &[&str] = &["rs", "md", "toml", "sh", "py", "html", "txt", "yml", "yaml", "conf"];

/// A file and its text.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root it was looked for in.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// Its name's ending.
    pub(crate) fn kind(&self) -> &str {
        self.path.extension().and_then(|kind| kind.to_str()).unwrap_or("")
    }
}

/// The Rust files under a folder.
pub(crate) fn sources_under(root: &Path) -> Vec<Source> {
    let mut files = text_under(root);
    files.retain(|file| file.kind() == "rs");
    files
}

/// All files under a folder that are written by hand, in the order of their paths.
pub(crate) fn text_under(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    collect(root, Path::new(""), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Source>) {
    for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let path = folder.join(&name);
        let Ok(kind) = entry.file_type() else { continue };
        if SKIPPED.iter().any(|&skipped| name == *skipped) {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        // A file without an ending is `.ci/run`. Files that are not text are not checked.
        let wanted = ending.is_none_or(|ending| TEXT.contains(&ending));
        if kind.is_file()
            && wanted
            && let Ok(text) = std::fs::read_to_string(root.join(&path))
        {
            files.push(Source { path, text });
        }
    }
}
