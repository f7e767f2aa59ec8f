//! Files with passwords and keys: read as far as they are small regular files that not everybody may
//! read. No message shows what is in one.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Those who may have access to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody: it holds no secret.
    Everybody,
    /// Its owner and its group.
    Group,
    /// Its owner, as for PostgreSQL's passfile.
    Owner,
    /// Its owner, and its group may read it if root owns it, as for the private keys of PostgreSQL's
    /// clients.
    Key,
}

impl Rule {
    /// Returns the bits of the mode that must not be set, and a mode that is right.
    fn forbidden(self, owner: u32) -> (u32, &'static str) {
        match self {
            Self::Everybody => (0, "644"),
            Self::Group => (0o007, "600"),
            Self::Key if owner == 0 => (0o037, "600"),
            Self::Owner | Self::Key => (0o077, "600"),
        }
    }
}

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
    #[error(
        "{key} {} is accessible to other users of this machine (mode {mode:03o}); run `chmod \
         {right}` on it, and change what is in it if others may have read it", path.display()
    )]
    Open {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// A mode that is right.
        right: &'static str,
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
    let mode = metadata.permissions().mode() & 0o777;
    let (forbidden, right) = rule.forbidden(metadata.uid());
    if mode & forbidden != 0 {
        return Err(FileError::Open { key, path: path.to_owned(), mode, right });
    }
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
                    assert!(!is_right && said.contains("chmod 600"), "{mode:o} {rule:?}: {said}");
                    assert!(said.contains("password_file") && !said.contains("top"), "{said}");
                }
            }
        }
        let key = |owner| Rule::Key.forbidden(owner).0;
        assert_eq!((key(0), key(1_000)), (0o037, 0o077), "root's may be its group's");
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
