//! The reasons why there is no connection.

/// A mistake in a connection string, or in what the string and the access say together, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(pub String);

/// The reason why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers, or the connection has broken.
    #[error("cannot connect to PostgreSQL: {0}")]
    Unreachable(String),
    /// The server refuses this connection.
    #[error("PostgreSQL refused the connection: {0}")]
    Refused(String),
    /// The password or a certificate can't be read.
    #[error("cannot connect to PostgreSQL: {0}")]
    Access(String),
    /// There is no TLS, or none that `sslmode` allows.
    #[error("no TLS connection to PostgreSQL: {0}")]
    Tls(String),
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(_) => Self::Refused(with_cause(&error)),
            None => Self::Unreachable(with_cause(&error)),
        }
    }
}

/// Returns an error's text with its cause: tokio-postgres only says "db error", and the server's
/// message is in the cause.
#[must_use]
pub fn with_cause(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
