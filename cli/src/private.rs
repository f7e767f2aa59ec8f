//! Refuses a cluster file that holds the database's password and that every user may read.

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
