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

/// Reissues a certificate of this authority, in its file, so that it has expired long ago.
///
/// # Panics
/// If `openssl` fails.
pub fn expire(authority: &Authority, issued: &Issued) {
    let Authority { folder, root } = authority;
    let file = |name: &str| folder.join(format!("expire.{name}"));
    let (asked, config) = (file("csr"), file("conf"));
    std::fs::write(file("index"), "").expect("our file");
    let text = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {index}\nnew_certs_dir = {folder}\n\
         default_md = sha256\npolicy = any\ncopy_extensions = copy\nrand_serial = yes\n\
         unique_subject = no\n[any]\ncommonName = supplied\n",
        index = path(&file("index")),
        folder = path(folder),
    );
    std::fs::write(&config, text).expect("our file");
    let mut ask = Command::new("openssl");
    ask.args(["x509", "-x509toreq", "-copy_extensions", "copy"]);
    ask.args([
        "-in",
        path(&issued.certificate),
        "-signkey",
        path(&issued.key),
        "-out",
        path(&asked),
    ]);
    run(&mut ask);
    let mut sign = Command::new("openssl");
    sign.args(["ca", "-batch", "-notext", "-config", path(&config), "-in", path(&asked)]);
    sign.args(["-cert", path(&root.certificate), "-keyfile", path(&root.key)]);
    sign.args(["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]);
    sign.args(["-out", path(&issued.certificate)]);
    run(&mut sign);
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
    run(&mut command);
    std::fs::set_permissions(&issued.key, Permissions::from_mode(0o600)).expect("our key");
    issued
}

fn run(command: &mut Command) {
    let output = command.output().expect("openssl; on Debian and Ubuntu: apt-get install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
