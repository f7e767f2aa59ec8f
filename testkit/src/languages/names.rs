//! A host name that has the addresses of several servers, without a name server: the library nss_wrapper answers
//! from a file in the place of `/etc/hosts`. Clients of a single server try one address after another.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The host name.
pub const HOST: &str = "cache.test";

const LIBRARY: &str = "libnss_wrapper.so";
/// Folders of libraries; that of the machine's kind is below.
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// Returns whether the library is installed.
#[must_use]
pub fn is_available() -> bool {
    let kind = format!("{}-linux-gnu", std::env::consts::ARCH);
    let of_kind = FOLDERS.iter().map(|folder| Path::new(folder).join(&kind));
    let plain = FOLDERS.iter().map(PathBuf::from);
    plain.chain(of_kind).any(|folder| folder.join(LIBRARY).exists())
}

/// Writes the file, and returns the variables with which a process finds the addresses under [`HOST`].
///
/// # Errors
/// The file can't be written.
pub fn resolve(
    folder: &Path,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> std::io::Result<Vec<(&'static str, OsString)>> {
    let file = folder.join("hosts");
    let lines: String =
        addresses.into_iter().map(|address| format!("{address} {HOST}\n")).collect();
    std::fs::write(&file, lines)?;
    Ok(vec![("LD_PRELOAD", LIBRARY.into()), ("NSS_WRAPPER_HOSTS", file.into())])
}
