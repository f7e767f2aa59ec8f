//! The folder of a run: temporary, unless it is to be kept.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that only this user can enter: a cluster file may hold a password.
pub(crate) enum RunFolder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl RunFolder {
    /// Makes it; the name of a temporary one begins with `prefix`. With `keep` it stays, and may have a name.
    pub(crate) fn make(prefix: &str, keep: Option<Option<&PathBuf>>) -> io::Result<Self> {
        match keep {
            None => Ok(Self::Temporary(temporary(prefix)?)),
            Some(None) => Ok(Self::Kept(temporary(prefix)?.keep())),
            Some(Some(path)) => {
                make_private(path)?;
                if std::fs::read_dir(path)?.next().is_some() {
                    let text = format!("{} is not empty; name a new folder", path.display());
                    return Err(io::Error::other(text));
                }
                Ok(Self::Kept(path.canonicalize()?))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    pub(crate) fn kept(&self) -> Option<&Path> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(path) => Some(path),
        }
    }
}

/// A new folder among the temporary files, by its absolute path.
fn temporary(prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir_in(std::env::temp_dir().canonicalize()?)
}

/// The folder for a report: the one named, or a new one.
pub(crate) fn for_report(named: Option<&PathBuf>) -> io::Result<PathBuf> {
    match named {
        Some(path) => {
            make_private(path)?;
            path.canonicalize()
        }
        None => Ok(temporary("standin-report-")?.keep()),
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
