//! The reasons why a process can't have TLS.

use std::path::PathBuf;

use rustls::Error;
use standin_config::TlsOwn;

use crate::pem::PemError;

/// The reason why TLS can't be set up with what `[tls]` says.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be used.
    #[error("[tls] {0}")]
    Pem(#[from] PemError),
    /// The key is for another certificate.
    #[error(
        "[tls] key_file {} can't be used with cert_file {}: {error}; give the key of this certificate", key.display(), certificate.display()
    )]
    Pair {
        /// `cert_file`.
        certificate: PathBuf,
        /// `key_file`.
        key: PathBuf,
        /// The error.
        error: Error,
    },
    /// The name is none that a certificate can be for.
    #[error(
        "[tls] name {0:?} is no name of a host; write one that is in the subjectAltName of all certificates"
    )]
    BadName(String),
    /// TLS can't be set up.
    #[error("[tls] TLS can't be set up: {0}")]
    Setup(String),
}

impl TlsError {
    pub(crate) fn pair(own: &TlsOwn, error: Error) -> Self {
        Self::Pair { certificate: own.cert_file.clone(), key: own.key_file.clone(), error }
    }
}
