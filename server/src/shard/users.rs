//! The files of passwords of services: whoever is in one has all rights.

use std::path::{Path, PathBuf};

use blake3::{Hash, hash};
use standin_tls::private::{self, FileError, Rule};

/// The reason why a password file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It can't be read, or others may read or change it.
    #[error("{0}; it has one `user:password` per line")]
    File(#[from] FileError),
    /// It is no list of users.
    #[error("the password file {} {wrong}; write one `user:password` per line into it", path.display())]
    Content {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it, without what is in it.
        wrong: String,
    },
}

/// The users of one service: hashes of their names and passwords, so that a caller's are hashed once, however
/// many users there are.
pub struct Users(Vec<(Hash, Hash)>);

impl std::fmt::Debug for Users {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Users").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

/// The largest password file. A password is compared with all of it.
const BYTES_MAX: usize = 64 << 10;

impl Users {
    /// Reads a file. Empty lines, and lines that begin with `#`, say nothing.
    ///
    /// # Errors
    /// [`UsersError`], which never shows what is in the file.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let bytes = private::read("the password file", path, Rule::Group)?;
        let wrong = |wrong| UsersError::Content { path: path.to_owned(), wrong };
        if bytes.len() > BYTES_MAX {
            return Err(wrong(format!("has more than {BYTES_MAX} bytes")));
        }
        Self::parse(&bytes).map_err(wrong)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut users = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.trim_ascii().is_empty() || line.starts_with(b"#") {
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0);
            let Some(colon) = colon.filter(|at| at + 1 < line.len()) else {
                return Err(format!("has a line {number} that is no `user:password`"));
            };
            users.push((hash(&line[..colon]), hash(&line[colon + 1..])));
        }
        if users.is_empty() { Err("names no user".to_owned()) } else { Ok(Self(users)) }
    }

    /// Whether somebody is one of them. The time that this takes says nothing about passwords.
    #[must_use]
    pub fn admit(&self, user: &[u8], password: &[u8]) -> bool {
        let (user, password) = (hash(user), hash(password));
        // Hashes are compared in constant time.
        self.0
            .iter()
            .fold(false, |found, (name, secret)| found | ((*name == user) & (*secret == password)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_or_change_is_refused() {
        let scratch = standin_testkit::Scratch::new("users");
        let path = scratch.file("passwords");
        std::fs::write(&path, "ann:hidden\n").unwrap();
        for (mode, is_right) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match Users::read(&path) {
                Ok(users) => assert!(is_right && users.admit(b"ann", b"hidden"), "{mode:o}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!is_right && matches!(error, UsersError::File(_)), "{mode:o}: {said}");
                    assert!(said.contains("run `chmod 6") && !said.contains("hidden"), "{said}");
                }
            }
        }
    }

    #[test]
    fn a_user_is_admitted_with_the_password_of_that_user_only() {
        let users = Users::parse(b"# who\n\nann:a:secret\r\nbob:b\n").unwrap();
        assert!(users.admit(b"ann", b"a:secret") && users.admit(b"bob", b"b"));
        for (user, password) in
            [(&b"ann"[..], &b"b"[..]), (b"bob", b""), (b"", b""), (b"bob", b"b\n"), (b"x", b"b")]
        {
            assert!(!users.admit(user, password), "{user:?}");
        }
        assert!(!format!("{users:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_list_of_users_is_refused_without_showing_it() {
        for (text, part) in [
            (&b""[..], "names no user"),
            (b"# nobody\n", "names no user"),
            (b"ann:x\nhidden\n", "line 2"),
            (b":hidden\n", "line 1"),
            (b"hidden:\n", "line 1"),
        ] {
            let wrong = Users::parse(text).unwrap_err();
            assert!(wrong.contains(part) && !wrong.contains("hidden"), "{wrong}");
        }
        let missing = Users::read(Path::new("/none/passwords")).unwrap_err().to_string();
        assert!(
            missing.contains("/none/passwords") && missing.contains("user:password"),
            "{missing}"
        );
    }
}
