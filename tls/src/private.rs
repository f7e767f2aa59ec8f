//! Files with passwords and keys: read as far as they are small regular files that not everybody may
//! read. No message shows what is in one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use standin_config::permissions::Rule;
use standin_config::permissions::{self, TooOpen};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The reason why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error("{key} {} cannot be read: {error}; give the path of a file that this user can read", path.display())]
    Unreadable {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// It is a folder, a device or the like.
    #[error("{key} {} is no regular file; give the path of one", path.display())]
    NotRegular {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// It is too large to be what it should be.
    #[error("{key} {} has more than {FILE_BYTES_MAX} bytes; give the path of the right file", path.display())]
    TooLarge {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// Others can read or change it.
    #[error("{key} {} {wrong}", path.display())]
    Open {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// Its permissions, and the remedy.
        wrong: TooOpen,
    },
}

impl FileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file. `key` is its key in the cluster file, for messages.
///
/// # Errors
/// [`FileError`].
pub fn read(key: &'static str, path: &Path, rule: Rule) -> Result<Vec<u8>, FileError> {
    let unreadable = |error: io::Error| FileError::Unreadable { key, path: path.to_owned(), error };
    // Before it is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotRegular { key, path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    permissions::check(&metadata, rule).map_err(|wrong| FileError::Open {
        key,
        path: path.to_owned(),
        wrong,
    })?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { key, path: path.to_owned() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused_without_showing_it() {
        let scratch = standin_testkit::Scratch::new("private");
        let path = scratch.file("secret");
        std::fs::write(&path, "top secret").unwrap();
        for (mode, rule, is_right) in [
            (0o600, Rule::Group, true),
            (0o640, Rule::Group, true),
            (0o604, Rule::Group, false),
            (0o660, Rule::Group, false),
            (0o600, Rule::Owner, true),
            (0o640, Rule::Owner, false),
            (0o600, Rule::Key, true),
            (0o644, Rule::Key, false),
            (0o620, Rule::Key, false),
            (0o644, Rule::Everybody, true),
        ] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read("password_file", &path, rule) {
                Ok(bytes) => assert!(is_right && bytes == b"top secret", "{mode:o} {rule:?}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(
                        !is_right && said.contains("run `chmod 6"),
                        "{mode:o} {rule:?}: {said}"
                    );
                    assert!(said.contains("password_file") && !said.contains("top"), "{said}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_small_file_is_refused() {
        let scratch = standin_testkit::Scratch::new("private-kinds");
        let large = scratch.file("large");
        std::fs::write(&large, vec![b'x'; (1 << 20) + 1]).unwrap();
        let said = |path: &Path| read("passfile", path, Rule::Everybody).unwrap_err();
        assert!(matches!(said(&large), FileError::TooLarge { .. }));
        assert!(matches!(said(scratch.path()), FileError::NotRegular { .. }));
        assert!(matches!(said(Path::new("/dev/zero")), FileError::NotRegular { .. }));
        assert!(said(&scratch.file("none")).is_missing());
    }
}
