//! Files with secrets: refuses those that others may read or change.

use std::io;
use std::path::Path;

use standin_config::ClusterConfig;
use standin_config::permissions::TooOpen;
use standin_server::check;
use standin_tls::private;

/// Returns why a server or master must not start with this file, if it must not: it holds a secret, and was found too open
/// when it was read.
pub(crate) fn refusal(too_open: Option<TooOpen>, cluster: &ClusterConfig) -> Option<String> {
    let wrong = too_open?;
    let has_password = cluster.origin.as_ref().is_some_and(check::has_password);
    has_password.then(|| format!("it holds the database's password and {wrong}"))
}

/// The name of the files of passwords in messages.
const KEY: &str = "the password file";
/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// Reads a password that is given to a command.
///
/// # Errors
/// The file can't be read, others may read or change it, or what is in it is no password.
pub(crate) fn password(path: &Path) -> io::Result<Vec<u8>> {
    let line = private::given_password(KEY, path).map_err(io::Error::other)?;
    match line.len() as u64 {
        ..=PASSWORD_BYTES_MAX => Ok(line),
        _ => Err(io::Error::other(format!(
            "{KEY} {} has more than {PASSWORD_BYTES_MAX} bytes; write the password into it, and nothing else",
            path.display()
        ))),
    }
}
