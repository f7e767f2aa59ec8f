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
    /// There is no password in it.
    #[error("{key} {} is empty; write the password into it", path.display())]
    Empty {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// There is more than a password in it.
    #[error("{key} {} has several lines; write the password into it, and nothing else", path.display())]
    SeveralLines {
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
    permissions::check(&file, &metadata, rule).map_err(|wrong| FileError::Open {
        key,
        path: path.to_owned(),
        wrong,
    })?;
    bounded(key, path, file)
}

fn bounded(key: &'static str, path: &Path, file: File) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| FileError::Unreadable { key, path: path.to_owned(), error })?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(FileError::TooLarge { key, path: path.to_owned() }),
        false => Ok(bytes),
    }
}

/// Reads a password: the only line of a file that nobody but its owner may write, and nobody but its owner and its
/// group may read.
///
/// # Errors
/// [`FileError`].
pub fn password(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    only_line(key, path, read(key, path, Rule::Group)?)
}

/// Reads a password that is given to a command: as [`password`] does, or the only line of what comes from a terminal or a
/// pipe, such as `/dev/stdin`, whose permissions are of another kind. That can be read once, and is waited for.
///
/// # Errors
/// [`FileError`].
pub fn given_password(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    match std::fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        true => {
            let unreadable = |error| FileError::Unreadable { key, path: path.to_owned(), error };
            only_line(key, path, bounded(key, path, File::open(path).map_err(unreadable)?)?)
        }
        false => password(key, path),
    }
}

/// Returns the only line of these bytes, which were read at a path.
fn only_line(key: &'static str, path: &Path, mut bytes: Vec<u8>) -> Result<Vec<u8>, FileError> {
    let end = if bytes.ends_with(b"\r\n") { 2 } else { usize::from(bytes.ends_with(b"\n")) };
    bytes.truncate(bytes.len() - end);
    match &bytes[..] {
        b"" => Err(FileError::Empty { key, path: path.to_owned() }),
        line if line.contains(&b'\n') => {
            Err(FileError::SeveralLines { key, path: path.to_owned() })
        }
        _ => Ok(bytes),
    }
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
            (0o644, Rule::Trusted, true),
            (0o666, Rule::Trusted, false),
        ] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read("password_file", &path, rule) {
                Ok(bytes) => assert!(is_right && bytes == b"top secret", "{mode:o} {rule:?}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!is_right && said.contains("run `chmod "), "{mode:o} {rule:?}: {said}");
                    assert!(said.contains("password_file") && !said.contains("top"), "{said}");
                }
            }
        }
    }

    #[test]
    fn a_password_is_the_only_line_of_its_file() {
        let scratch = standin_testkit::Scratch::new("private-password");
        let path = scratch.file("password");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
            password("password_file", &path).map_err(|error| error.to_string())
        };
        for text in ["se cret \n", "se cret ", "se cret \r\n"] {
            assert_eq!(read(text.as_bytes()).as_deref(), Ok(&b"se cret "[..]), "{text:?}");
        }
        assert_eq!(read(b"\xFF\n").as_deref(), Ok(&b"\xFF"[..]), "of any bytes");
        for (text, wanted) in [("", "is empty"), ("\n", "is empty"), ("a\nb", "several lines")] {
            let said = read(text.as_bytes()).unwrap_err();
            assert!(said.starts_with("password_file ") && said.contains(wanted), "{said}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(password("password_file", &path), Err(FileError::Open { .. })));
    }

    #[test]
    fn a_password_that_is_given_may_come_from_a_pipe() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;

        let given = |bytes: &[u8]| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            drop(writer);
            let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
            let refused = password("password_file", &path);
            assert!(matches!(refused, Err(FileError::NotRegular { .. })), "it is not given");
            given_password("password_file", &path).map_err(|error| error.to_string())
        };
        assert_eq!(given(b"se cret\n").as_deref(), Ok(&b"se cret"[..]));
        assert!(given(b"").unwrap_err().contains("is empty"));
        assert!(given(b"a\nb\n").unwrap_err().contains("several lines"));
        let endless = given_password("password_file", Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(endless, FileError::TooLarge { .. }), "{endless}");
        let scratch = standin_testkit::Scratch::new("private-given");
        let folder = given_password("password_file", scratch.path()).unwrap_err();
        assert!(matches!(folder, FileError::NotRegular { .. }), "{folder}");
        let path = scratch.file("password");
        std::fs::write(&path, "secret").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let open = given_password("password_file", &path).unwrap_err();
        assert!(matches!(open, FileError::Open { .. }), "{open}");
    }

    #[test]
    fn what_is_no_small_file_is_refused() {
        let scratch = standin_testkit::Scratch::new("private-kinds");
        let large = scratch.file("large");
        std::fs::write(&large, vec![b'x'; (1 << 20) + 1]).unwrap();
        let said = |path: &Path| read("passfile", path, Rule::Trusted).unwrap_err();
        assert!(matches!(said(&large), FileError::TooLarge { .. }));
        assert!(matches!(said(scratch.path()), FileError::NotRegular { .. }));
        assert!(matches!(said(Path::new("/dev/zero")), FileError::NotRegular { .. }));
        assert!(said(&scratch.file("none")).is_missing());
    }
}
