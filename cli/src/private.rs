//! A cluster file with the database's password in it is for its owner and his group alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use standin_config::ClusterConfig;
use standin_server::check;

/// Why no server or master starts with this file, if so.
pub(crate) fn refusal(path: &Path, cluster: &ClusterConfig) -> Option<String> {
    // Gone since it was read: nobody else can read it now.
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let is_open = mode & 0o007 != 0;
    (is_open && check::has_password(&cluster.origin)).then(|| {
        format!(
            "it holds the database's password, and every user of this machine may use it (mode \
             {:03o}); run `chmod 640` on it, and change the password if others may have read it",
            mode & 0o777
        )
    })
}
