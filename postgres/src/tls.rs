//! TLS to the server, by rustls: which server is trusted (`sslmode`, `sslrootcert`), the certificate of
//! this side (`sslcert`, `sslkey`), and what an error means for whoever reads it.
//!
//! Files are read for each connection, so that renewed ones are used without a restart; the authorities
//! of the operating system are read once.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use standin_config::{ClientCertificate, PostgresAccess, RootCertificates, SslMode};
use standin_tls::pem::{PemError, authorities, certificates, private_key};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The name of the protocol, which PostgreSQL expects of callers that begin with TLS at once.
const PROTOCOL: &[u8] = b"postgresql";

/// The reason why TLS can't be set up on this side.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file with certificates or a key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The certificate of this side.
    #[error("sslkey can't be used with sslcert: {0}; give the certificate of this key")]
    OwnCertificate(Error),
    /// Nobody is trusted.
    #[error(
        "the operating system has no certificates of authorities ({0}); install them (on Debian \
         and Ubuntu: apt-get install ca-certificates), or write `sslrootcert = \"FILE\"`"
    )]
    NoSystemRoots(String),
    /// Nobody is named whom to trust.
    #[error(
        "`sslmode` asks for the server to be verified, and nothing says by what; write \
         `sslrootcert = \"FILE\"` or `sslrootcert = \"system\"`"
    )]
    NoRoots,
    /// The versions of TLS.
    #[error("TLS cannot be set up: {0}")]
    Setup(Error),
}

/// Returns the maker of TLS connections under this mode.
///
/// # Errors
/// If a file can't be used.
pub(crate) fn connector(
    access: &PostgresAccess,
    mode: SslMode,
) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = Verifier {
        trust: Trust::of(access.sslrootcert.as_ref(), mode)?,
        algorithms: provider.signature_verification_algorithms,
    };
    let own = access.client_certificate.as_ref().filter(|_| mode != SslMode::Disable);
    client(provider, verifier, own).map(MakeRustlsConnect::new)
}

fn client(
    provider: Arc<CryptoProvider>,
    verifier: Verifier,
    own: Option<&ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut client = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = certificates("sslcert", &own.certificate)?;
            let key = private_key("sslkey", &own.key)?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::OwnCertificate)?
        }
    };
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(client)
}

/// The servers that are trusted.
#[derive(Debug)]
enum Trust {
    Anybody,
    /// Those with a certificate of these authorities.
    Authorities {
        roots: RootCertStore,
        /// The certificates in the file. A server may have one of them itself.
        given: Vec<CertificateDer<'static>>,
        /// Whether the certificate must be for the host that was connected to.
        checks_name: bool,
    },
}

impl Trust {
    fn of(roots: Option<&RootCertificates>, mode: SslMode) -> Result<Self, TlsError> {
        let checks_name = mode == SslMode::VerifyFull;
        let roots = match (roots, mode) {
            (_, SslMode::Disable | SslMode::Prefer) | (None, SslMode::Require) => {
                return Ok(Self::Anybody);
            }
            (None, SslMode::VerifyCa | SslMode::VerifyFull) => return Err(TlsError::NoRoots),
            (Some(roots), _) => roots,
        };
        match roots {
            RootCertificates::System => {
                Ok(Self::Authorities { roots: system_roots()?, given: Vec::new(), checks_name })
            }
            RootCertificates::File(path) => {
                let given = certificates("sslrootcert", path)?;
                let roots = authorities("sslrootcert", path, &given)?;
                Ok(Self::Authorities { roots, given, checks_name })
            }
        }
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that are of no use to TLS.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots(why));
    }
    Ok(ROOTS.get_or_init(|| roots).clone())
}

/// Verifies the server as libpq does under the same `sslmode`.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (roots, given, checks_name) = match &self.trust {
            Trust::Anybody => return Ok(ServerCertVerified::assertion()),
            Trust::Authorities { roots, given, checks_name } => (roots, given, *checks_name),
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match signed {
            // As `openssl req -x509` makes them. Its dates have been checked before this. What counts
            // is whether the server's own certificate is in the file.
            Err(error) if is_authority_itself(&error) && given.contains(end_entity) => {}
            Err(error) if is_authority_itself(&error) => {
                return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
            }
            ended => ended?,
        }
        if checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate was refused because it may sign others.
fn is_authority_itself(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.to_string() == "CaUsedAsEndEntity"
        }
        _ => false,
    }
}

/// Returns what an error means and what to do about it.
pub(crate) fn explain(error: &Error, host: &str) -> String {
    match error {
        Error::InvalidCertificate(wrong) => explain_certificate(wrong, host),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure,
        ) => format!(
            "{host} refuses the certificate of this side ({error}); give one that its authority \
             (ssl_ca_file) has signed, as `sslcert` and `sslkey`"
        ),
        _ => format!("{error}; see the log of PostgreSQL"),
    }
}

fn explain_certificate(wrong: &CertificateError, host: &str) -> String {
    match wrong {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of {host} is of no authority in sslrootcert; write the file of its \
             authority as `sslrootcert`"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate of {host} is for other hosts ({wrong}); write a host of its \
                 subjectAltName in url, make it one for this host, or write `sslmode = \
                 \"verify-ca\"`"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {host}, or of an authority of it, has expired ({wrong}); renew it, \
             and see that the clock of this machine is right"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {host}, or of an authority of it, is not valid yet ({wrong}); see \
             that the clock of this machine is right"
        ),
        CertificateError::Other(other) if other.0.to_string() == "UnsupportedCertVersion" => {
            format!(
                "the certificate of {host} is of version 1, which has no place for hosts; make one \
             with a subjectAltName"
            )
        }
        _ => format!("the certificate of {host} can't be used: {wrong}; make another one"),
    }
}
