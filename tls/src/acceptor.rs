//! The certificate that this process shows its callers, and the authorities whose certificates callers
//! have to have. The files are read at the start and on request; a change is for new connections.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use standin_config::TlsConfig;

use crate::expiry::Expiry;
use crate::{Tls, TlsError, pem};

/// The side of a process that is called.
pub struct Acceptor {
    files: TlsConfig,
    current: RwLock<Current>,
}

/// What was read last.
struct Current {
    config: Arc<ServerConfig>,
    expiry: Expiry,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(files: &TlsConfig) -> Result<Self, TlsError> {
        let current = RwLock::new(read(files)?);
        Ok(Self { files: files.clone(), current })
    }

    /// Reads the files again, for all connections that are accepted from now on.
    ///
    /// # Errors
    /// [`TlsError`]; then those of before stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The configuration of connections that are accepted now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// When the certificates of connections that are accepted now expire.
    pub(crate) fn expiry(&self) -> Expiry {
        self.current.read().unwrap_or_else(PoisonError::into_inner).expiry
    }

    /// The state of a connection that has been accepted.
    #[must_use]
    pub fn accept(&self) -> Tls {
        Tls::server(self.config())
    }
}

fn read(files: &TlsConfig) -> Result<Current, TlsError> {
    let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let chain = pem::certificates("cert_file", &files.cert_file)?;
    let key = pem::private_key("key_file", &files.key_file)?;
    let mut trusted = Vec::new();
    let callers: Arc<dyn ClientCertVerifier> = match &files.client_ca_file {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(path) => {
            trusted = pem::certificates("client_ca_file", path)?;
            let roots = Arc::new(pem::authorities("client_ca_file", path, &trusted)?);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| setup(&error))?
        }
    };
    let expiry = Expiry::new(&chain, &trusted);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Pair {
            certificate: files.cert_file.clone(),
            key: files.key_file.clone(),
            error,
        })?;
    Ok(Current { config: Arc::new(config), expiry })
}
