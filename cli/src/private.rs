//! Files with secrets: refuses those that others may read or change.

use std::io::{self, Read as _};
use std::path::Path;

use standin_config::ClusterConfig;
use standin_config::permissions::{self, Rule};
use standin_server::check;
use standin_tls::private;

/// Returns why a server or master must not start with this file, if it must not.
pub(crate) fn refusal(path: &Path, cluster: &ClusterConfig) -> Option<String> {
    // If the file has disappeared since it was read, nobody else can read it either.
    let metadata = std::fs::metadata(path).ok()?;
    let wrong = permissions::check(&metadata, Rule::Group).err()?;
    let has_password = cluster.origin.as_ref().is_some_and(check::has_password);
    has_password.then(|| format!("it holds the database's password and {wrong}"))
}

/// The name of the files of passwords in messages.
const KEY: &str = "the password file";
/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// Reads a password: the only line of a file, or of what comes from a terminal or a pipe, whose permissions are of
/// another kind.
///
/// # Errors
/// The file can't be read, others may read or change it, or what is in it is no password.
pub(crate) fn password(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path);
    let line = match about.is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        true => {
            let mut bytes = Vec::new();
            let source = std::fs::File::open(path)?;
            source.take(PASSWORD_BYTES_MAX + 2).read_to_end(&mut bytes)?;
            private::only_line(KEY, path, bytes)
        }
        false => private::password(KEY, path),
    };
    let line = line.map_err(io::Error::other)?;
    match line.len() as u64 {
        ..=PASSWORD_BYTES_MAX => Ok(line),
        _ => Err(io::Error::other(format!(
            "{KEY} {} has more than {PASSWORD_BYTES_MAX} bytes; write the password into it, and nothing else",
            path.display()
        ))),
    }
}
