//! The rule that there is one module style: a module that has a folder has its own file in it, as
//! `mod.rs`.

use std::path::Path;

use super::at;
use super::files::Source;

/// Returns the files of modules that lie beside their folders.
pub(super) fn mistakes(files: &[Source]) -> Vec<String> {
    let rust: Vec<&Path> =
        files.iter().filter(|file| file.kind() == "rs").map(|file| &*file.path).collect();
    let is_beside = |path: &&&Path| {
        let folder = path.with_extension("");
        rust.iter().any(|other| other.starts_with(&folder))
    };
    let beside = rust.iter().filter(is_beside);
    beside
        .map(|path| {
            let folder = path.with_extension("");
            at(path, 1, &format!("beside its folder; move it to {}/mod.rs", folder.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_beside_its_folder_is_found() {
        let source = |path: &str| Source { path: path.into(), text: String::new() };
        let style = ["a/src/lib.rs", "a/src/b/mod.rs", "a/src/b/c.rs", "a/src/b2.rs"].map(source);
        assert!(mistakes(&style).is_empty());
        let other = ["a/src/b.rs", "a/src/b/c.rs"].map(source);
        assert_eq!(
            mistakes(&other),
            ["a/src/b.rs:1: beside its folder; move it to a/src/b/mod.rs"]
        );
    }
}
