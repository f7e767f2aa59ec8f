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
use crate::kernel::KernelTls;
use crate::{Tls, TlsError, pem};

/// The side of a process that is called.
pub struct Acceptor {
    files: TlsConfig,
    /// The kernel, if it gets the keys of connections after their handshakes.
    kernel: Option<Arc<KernelTls>>,
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
        Self::with_kernel(files, None)
    }

    /// As [`Self::new`], for connections that the kernel takes over after their handshakes.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn with_kernel(
        files: &TlsConfig,
        kernel: Option<Arc<KernelTls>>,
    ) -> Result<Self, TlsError> {
        let current = RwLock::new(read(files, kernel.as_deref())?);
        Ok(Self { files: files.clone(), kernel, current })
    }

    /// Reads the files again, for all connections that are accepted from now on.
    ///
    /// # Errors
    /// [`TlsError`]; then those of before stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.files, self.kernel.as_deref())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The configuration of connections that are accepted now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// The kernel, if it takes connections over after their handshakes.
    #[must_use]
    pub fn kernel(&self) -> Option<&Arc<KernelTls>> {
        self.kernel.as_ref()
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

fn read(files: &TlsConfig, kernel: Option<&KernelTls>) -> Result<Current, TlsError> {
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
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Pair {
            certificate: files.cert_file.clone(),
            key: files.key_file.clone(),
            error,
        })?;
    config.enable_secret_extraction = kernel.is_some();
    Ok(Current { config: Arc::new(config), expiry })
}
