//! Certificates and private keys in files of the form PEM.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::private::{self, FileError, Rule};

/// The reason why a file of certificates or of a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file can't be read, or others can read it too.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no certificate in it.
    #[error("{key} {} has no certificate in PEM form; give the path of a file with `-----BEGIN CERTIFICATE-----`", path.display())]
    NoCertificate {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// A certificate in it is broken.
    #[error("{key} {} has a certificate that can't be used: {error}; make a new one", path.display())]
    BadCertificate {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// The error.
        error: String,
    },
    /// There is no private key in it.
    #[error("{key} {} has no private key in PEM form; give the path of a file with `-----BEGIN PRIVATE KEY-----`", path.display())]
    NoKey {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// The private key is protected by a passphrase.
    #[error("{key} {} is encrypted; decrypt it with `openssl pkey`, and run `chmod 600` on the result", path.display())]
    EncryptedKey {
        /// Its key in the cluster file.
        key: &'static str,
        /// Its path.
        path: PathBuf,
    },
}

/// Reads the certificates of a file, which its owner alone may write, at least one. `key` is its key in the cluster file, for messages.
///
/// # Errors
/// [`PemError`].
pub fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    parse(key, path, &private::read(key, path, Rule::Trusted)?)
}

/// Returns the certificates in these bytes, which were read at a path, at least one.
///
/// # Errors
/// [`PemError`].
pub fn parse(
    key: &'static str,
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| bad(key, path, &error))?;
    if found.is_empty() {
        return Err(PemError::NoCertificate { key, path: path.to_owned() });
    }
    Ok(found)
}

/// Reads the private key of a file, which only its owner may read, or also its group if root owns it.
///
/// # Errors
/// [`PemError`].
pub fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let bytes = private::read(key, path, Rule::Key)?;
    // The two forms of an encrypted key have this word, in their first line or in a header.
    let is_encrypted = memchr::memmem::find(&bytes, b"ENCRYPTED").is_some();
    let path = path.to_owned();
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| match is_encrypted {
        true => PemError::EncryptedKey { key, path },
        false => PemError::NoKey { key, path },
    })
}

/// Makes a store of authorities of certificates that were read from a file.
///
/// # Errors
/// [`PemError::BadCertificate`].
pub fn authorities(
    key: &'static str,
    path: &Path,
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|error| bad(key, path, &error))?;
    }
    Ok(roots)
}

fn bad(key: &'static str, path: &Path, error: &impl ToString) -> PemError {
    PemError::BadCertificate { key, path: path.to_owned(), error: error.to_string() }
}
