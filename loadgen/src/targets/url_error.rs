//! Mistakes in the URL of a target. No message shows a password.

/// The mistake in a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The scheme.
    #[error(
        "write memcached://host:port, redis://host:port, redis-cluster://host:port or \
         standin://host:port"
    )]
    Scheme,
    /// An address.
    #[error("{0:?} is not host:port")]
    Address(String),
    /// User or password.
    #[error("{0}")]
    Login(&'static str),
    /// The path.
    #[error("/{0}: only redis:// has a database, which is a number")]
    Database(String),
    /// A parameter's name.
    #[error("there is no parameter {name:?}; there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that this scheme has.
        known: String,
    },
    /// A parameter that is there twice.
    #[error("{0} is there twice; leave one away")]
    Twice(String),
    /// A parameter's value.
    #[error("{name}={value}: {expected}")]
    Value {
        /// The name.
        name: &'static str,
        /// The value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A placeholder of a process that nobody has started.
    #[error("{{{0}}} is no process that the scenario starts")]
    NoProcess(String),
    /// A name has no address.
    #[error("{name}: {error}")]
    NoAddress {
        /// `host:port`.
        name: String,
        /// The resolver's error.
        error: String,
    },
}
