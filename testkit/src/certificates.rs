//! Certificates for tests: an authority of the test's own, made by the program `openssl`, which every
//! system with PostgreSQL's packages has.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate and its private key, both PEM files.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, which only its owner can read.
    pub key: PathBuf,
}

/// An authority that issues certificates.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    /// Its own certificate, which others trust.
    pub root: Issued,
}

impl Authority {
    /// A new authority, whose files are in this folder. `name` is unique in it.
    ///
    /// # Panics
    /// If `openssl` is missing or fails.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let root = request(folder, name, &[]);
        Self { folder: folder.to_owned(), root }
    }

    /// Issues a certificate. `name` is the subject; `hosts` is what it is for, such as
    /// `DNS:localhost,IP:127.0.0.1`.
    ///
    /// # Panics
    /// If `openssl` fails.
    #[must_use]
    pub fn issue(&self, name: &str, hosts: &str) -> Issued {
        let (certificate, key) = (&self.root.certificate, &self.root.key);
        let alternative = format!("subjectAltName={hosts}");
        let by = ["-CA", path(certificate), "-CAkey", path(key), "-addext", &alternative];
        let usual = ["-addext", "basicConstraints=critical,CA:FALSE"];
        request(&self.folder, name, &[&by[..], &usual[..]].concat())
    }
}

/// Makes a certificate that signs itself, as PostgreSQL's manual does, for a host.
///
/// # Panics
/// If `openssl` is missing or fails.
#[must_use]
pub fn self_signed(folder: &Path, name: &str, hosts: &str) -> Issued {
    request(folder, name, &["-addext", &format!("subjectAltName={hosts}")])
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}

fn request(folder: &Path, name: &str, more: &[&str]) -> Issued {
    let issued = Issued {
        certificate: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-keyout", path(&issued.key), "-out", path(&issued.certificate)])
        .args(more);
    let output = command.output().expect("openssl; on Debian and Ubuntu: apt-get install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::set_permissions(&issued.key, Permissions::from_mode(0o600)).expect("our key");
    issued
}
