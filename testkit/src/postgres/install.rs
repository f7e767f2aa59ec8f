//! Finds PostgreSQL's programs, and the user to run them as: PostgreSQL refuses to run as root.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian and its derivatives install one directory per major version here, and put
/// only the client programs on the PATH.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A directory with `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    directory: PathBuf,
}

impl Installation {
    /// The first of the PATH, otherwise the newest of Debian's.
    pub(super) fn find() -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
        on_path
            .into_iter()
            .chain(debian_directories())
            .find(|directory| {
                ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
            })
            .map(|directory| Self { directory })
            .ok_or_else(|| {
                "PostgreSQL is not installed: no initdb and postgres on the PATH or under \
                 /usr/lib/postgresql; on Debian and Ubuntu: apt-get install postgresql"
                    .to_owned()
            })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Newest major version first.
fn debian_directories() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.0));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

/// The user that PostgreSQL runs as when the tests run as root.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunAs {
    uid: u32,
    gid: u32,
}

impl RunAs {
    /// `None` if this process is not root: PostgreSQL then runs as its user.
    pub(super) fn unprivileged() -> Option<Self> {
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return None;
        }
        let user = ["postgres", "nobody"].into_iter().find_map(Self::of);
        Some(user.expect("run as root, PostgreSQL needs a user `postgres` or `nobody`"))
    }

    fn of(name: &str) -> Option<Self> {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next()? != name {
                return None;
            }
            let uid = fields.nth(1)?.parse().ok()?;
            Some(Self { uid, gid: fields.next()?.parse().ok()? })
        })
    }

    /// Makes it the owner of a directory.
    pub(super) fn give(self, directory: &Path) {
        let path =
            CString::new(directory.as_os_str().as_encoded_bytes()).expect("a path without NUL");
        // SAFETY: the path is a NUL-terminated string that outlives the call.
        let result = unsafe { libc::chown(path.as_ptr(), self.uid, self.gid) };
        assert!(result == 0, "chown {}: {}", directory.display(), std::io::Error::last_os_error());
    }

    pub(super) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// The temporary directory, or `/tmp` when another user could not reach into it.
pub(super) fn traversable_directory() -> PathBuf {
    let directory = std::env::temp_dir();
    let open_to_all = directory.ancestors().all(|ancestor| {
        std::fs::metadata(ancestor).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    });
    if open_to_all { directory } else { PathBuf::from("/tmp") }
}
