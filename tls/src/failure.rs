//! The reasons why a connection with TLS can't go on, as the log and callers are told.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

/// The reason why a connection can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The other side does not speak TLS.
    #[error("it does not speak TLS; switch on TLS in it, or use a port without TLS")]
    Plain,
    /// The other side speaks TLS to a port that has none.
    #[error(
        "it speaks TLS, and this port has none; switch off TLS in it, or name this kind of port in [tls]"
    )]
    Unexpected,
    /// The other side takes TLS and nothing else, and this side has none.
    #[error("it takes TLS only, and this side has none")]
    Wanted,
    /// The other side has no certificate, and has to have one.
    #[error(
        "it has no certificate, and the authorities that are trusted here have to have signed one"
    )]
    NoCertificate,
    /// The other side has refused this side's certificate, or whatever else this side has offered.
    #[error("{}", refusal(*.0))]
    Refused(AlertDescription),
    /// The certificate of the other side can't be trusted.
    #[error("its certificate is not trusted: {0}")]
    Certificate(String),
    /// The other side changes its key, and the kernel, which encrypts the connection, can't follow.
    #[error(
        "it changes its key, which the kernel can't; connect again, or write `kernel_tls = \"off\"` in [tls]"
    )]
    NewKeys,
    /// The kernel has not taken the keys.
    #[error("the kernel has not taken its keys: {0}")]
    Kernel(NotTaken),
    /// Anything else that is not as TLS demands.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// The reason why a connection that others have encrypted by rustls failed.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of(error.clone()),
            None => Self::Broken(error.to_string()),
        }
    }

    pub(crate) fn of(error: Error) -> Self {
        match error {
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Self::Broken("it sends what is no TLS".to_owned())
            }
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::PeerIncompatible(
                PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            ) => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::Refused(alert),
            Error::InvalidCertificate(error) => Self::Certificate(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

fn refusal(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateExpired => {
            "the certificate of this side has expired, by its clock; renew the certificate"
        }
        AlertDescription::UnknownCA => {
            "it does not trust the authority of this side's certificate; compare the authorities"
        }
        AlertDescription::CertificateRequired => "this side has to have a certificate; give it one",
        _ => "see what it trusts",
    };
    format!("it refuses what this side offers ({alert:?}): {why}")
}

/// The time for which the kernel is not to be given connections when it has lacked memory for one.
pub const PAUSE: Duration = Duration::from_secs(10);

/// The reason why the kernel has not taken a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The connection is about to end.
    #[error("{0}")]
    Ending(String),
    /// The kernel lacks something now, such as memory.
    #[error(
        "{0}; for {pause} s, new connections are encrypted without the kernel",
        pause = PAUSE.as_secs()
    )]
    ForNow(String),
    /// The kernel has refused what it took when it was tried.
    #[error("{0}; new connections are encrypted without the kernel from now on")]
    ForGood(String),
}

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        match error.raw_os_error() {
            Some(libc::ENOTCONN) => Self::Ending(text),
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT) => {
                Self::ForNow(text)
            }
            _ => Self::ForGood(text),
        }
    }
}
