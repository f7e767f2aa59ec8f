//! The side of a process that calls: which certificates of others it trusts, for which names, and the
//! certificate that it shows where one is asked for. The files are read at the start and on request.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use standin_config::{TlsAuthorities, TlsCalls};

use crate::expiry::Expiry;
use crate::pem::{self, PemError};
use crate::{Tls, TlsError};

/// The side of a process that calls.
pub struct Connector {
    files: TlsCalls,
    /// The name that all certificates are for; `None`: they are for the addresses that are called.
    name: Option<ServerName<'static>>,
    /// Whether a connection goes on with what an earlier one to its server has agreed on.
    resumes: bool,
    current: RwLock<Current>,
}

/// What was read last.
struct Current {
    config: Arc<ClientConfig>,
    expiry: Expiry,
}

impl fmt::Debug for Connector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connector").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(files: &TlsCalls) -> Result<Self, TlsError> {
        Self::of(files, true)
    }

    /// As [`Self::new`], for servers of others: each connection begins with a whole handshake. memcached ends connections
    /// that do not, if it asks for certificates.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn of_others(files: &TlsCalls) -> Result<Self, TlsError> {
        Self::of(files, false)
    }

    fn of(files: &TlsCalls, resumes: bool) -> Result<Self, TlsError> {
        let name = files
            .name
            .clone()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsError::BadName(name)));
        let current = RwLock::new(read(files, resumes)?);
        Ok(Self { files: files.clone(), name: name.transpose()?, resumes, current })
    }

    /// Reads the files again, for all connections that are opened from now on.
    ///
    /// # Errors
    /// [`TlsError`]; then those of before stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.files, self.resumes)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Whether this side has a certificate of its own.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.files.own.is_some()
    }

    /// When the certificates of connections that are opened now expire.
    pub(crate) fn expiry(&self) -> Expiry {
        self.current.read().unwrap_or_else(PoisonError::into_inner).expiry
    }

    /// The state of a connection that has been opened to this address.
    #[must_use]
    pub fn connect(&self, address: SocketAddr) -> Tls {
        let address = || ServerName::from(address.ip().to_canonical());
        self.client(self.name.clone().unwrap_or_else(address))
    }

    /// The state of a connection that has been opened to this address, which was found by a host's name or is
    /// written as one: the certificate may be for that.
    #[must_use]
    pub fn connect_to(&self, host: &str, address: SocketAddr) -> Tls {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match (&self.name, ServerName::try_from(host.to_owned())) {
            (None, Ok(name @ ServerName::DnsName(_))) => self.client(name),
            _ => self.connect(address),
        }
    }

    fn client(&self, name: ServerName<'static>) -> Tls {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Tls::client(Arc::clone(&current.config), name)
    }
}

fn read(files: &TlsCalls, resumes: bool) -> Result<Current, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let (roots, trusted) = roots(&files.authorities)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(roots);
    let finished = |mut config: ClientConfig| {
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    };
    let Some(own) = &files.own else {
        let config = finished(builder.with_no_client_auth());
        return Ok(Current { config, expiry: Expiry::new(&[], &trusted) });
    };
    let chain = pem::certificates("cert_file", &own.cert_file)?;
    let key = pem::private_key("key_file", &own.key_file)?;
    let expiry = Expiry::new(&chain, &trusted);
    let config =
        builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::pair(own, error))?;
    Ok(Current { config: finished(config), expiry })
}

fn roots(
    authorities: &TlsAuthorities,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), PemError> {
    const KEY: &str = "ca_file";
    let (path, trusted) = match authorities {
        TlsAuthorities::File(path) => (path.as_path(), pem::certificates(KEY, path)?),
        TlsAuthorities::Pem(text) => {
            let path = Path::new("(in this file)");
            (path, pem::parse("ca", path, text.as_bytes())?)
        }
    };
    Ok((pem::authorities(KEY, path, &trusted)?, trusted))
}
