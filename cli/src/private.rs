//! Files with secrets: refuses those that others may read or change.

use std::io::{self, Read as _};
use std::path::Path;

use standin_config::ClusterConfig;
use standin_config::permissions::{self, Rule};
use standin_server::check;

/// Returns why a server or master must not start with this file, if it must not.
pub(crate) fn refusal(path: &Path, cluster: &ClusterConfig) -> Option<String> {
    // If the file has disappeared since it was read, nobody else can read it either.
    let metadata = std::fs::metadata(path).ok()?;
    let wrong = permissions::check(&metadata, Rule::Group).err()?;
    let has_password = cluster.origin.as_ref().is_some_and(check::has_password);
    has_password.then(|| format!("it holds the database's password and {wrong}"))
}

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// Reads a password from a file: its first line.
///
/// # Errors
/// The file can't be read, others may read or change it, or there is no password in it.
pub(crate) fn password(path: &Path) -> io::Result<Vec<u8>> {
    let wrong = |wrong: &str| io::Error::other(format!("{}: {wrong}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(&error.to_string()))?;
    let about = file.metadata()?;
    // What is typed at a terminal, or comes from a pipe, has permissions of another kind.
    if about.is_file() {
        permissions::check(&about, Rule::Group).map_err(|open| wrong(&format!("it {open}")))?;
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
