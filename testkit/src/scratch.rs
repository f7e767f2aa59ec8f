//! A directory of its own for each test.

use std::path::{Path, PathBuf};

/// A temporary directory, removed on drop. Set `STANDIN_KEEP_SCRATCH=1` to keep it.
#[derive(Debug)]
pub struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    /// Makes `standin-<name>-<random>` in the system's temporary directory.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::new_in(&std::env::temp_dir(), name)
    }

    /// Like [`Self::new`], in another directory.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new_in(parent: &Path, name: &str) -> Self {
        let mut directory = tempfile::Builder::new()
            .prefix(&format!("standin-{name}-"))
            .tempdir_in(parent)
            .unwrap_or_else(|error| {
                panic!("no scratch directory in {}: {error}", parent.display())
            });
        directory.disable_cleanup(std::env::var_os("STANDIN_KEEP_SCRATCH").is_some());
        Self { directory }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in it; nothing is created.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_gone_after_the_test() {
        let scratch = Scratch::new("self-test");
        std::fs::write(scratch.file("x"), "y").unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists() || std::env::var_os("STANDIN_KEEP_SCRATCH").is_some());
    }
}
