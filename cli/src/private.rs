//! Files with secrets: refuses those that every user of the machine may read.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use standin_config::ClusterConfig;
use standin_server::check;

/// Returns why a server or master must not start with this file, if it must not.
pub(crate) fn refusal(path: &Path, cluster: &ClusterConfig) -> Option<String> {
    // If the file has disappeared since it was read, nobody else can read it either.
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let is_open = mode & 0o007 != 0;
    let has_password = cluster.origin.as_ref().is_some_and(check::has_password);
    (is_open && has_password).then(|| {
        format!(
            "it holds the database's password and is accessible to every user of this machine \
             (mode {:03o}); run `chmod 640` on it, and change the password if others may have \
             read it",
            mode & 0o777
        )
    })
}

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// Reads a password from a file: its first line.
///
/// # Errors
/// The file can't be read, every user of the machine may read it, or there is no password in it.
pub(crate) fn password(path: &Path) -> io::Result<Vec<u8>> {
    let wrong = |wrong: &str| io::Error::other(format!("{}: {wrong}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(&error.to_string()))?;
    if file.metadata()?.permissions().mode() & 0o007 != 0 {
        return Err(wrong("it is accessible to every user of this machine; run `chmod 600` on it"));
    }
    let mut bytes = Vec::new();
    file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.len() as u64 {
        0 => Err(wrong("there is no password in its first line")),
        1..=PASSWORD_BYTES_MAX => Ok(line.to_vec()),
        _ => Err(wrong("its first line is too long for a password")),
    }
}
