//! `[origin]`: the database, and how servers get access to it.
//!
//! No password is among these values, except in a connection string that has one. A server reads
//! passwords and certificates itself, each time it opens a connection.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `[origin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginConfig {
    /// Which database.
    pub kind: OriginKind,
    /// Concurrent reads of one server: SQLite reader threads, or PostgreSQL's over all
    /// connections for reads.
    pub concurrency: u32,
    /// Reads that may wait, and writes that may; one more is answered `OVERLOADED`.
    pub queue: u32,
    /// Bytes of keys and values of the reads that wait, and of the writes.
    pub queue_bytes: u64,
    /// A call that takes longer has failed (a write's outcome is then unknown).
    pub timeout: Duration,
    /// Reads per second of each shard that a change of owner may always add.
    pub surge_reads: u32,
    /// Reads per second of the whole cluster, at any time; `None`: no limit.
    pub reads_per_second: Option<u32>,
}

/// Which database, and where. Its `Debug` leaves out the URL, which may hold a password.
#[derive(Clone, PartialEq)]
pub enum OriginKind {
    /// An SQLite file, opened in WAL mode; created if it does not exist.
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// Statements run once at start, such as `CREATE TABLE IF NOT EXISTS …`.
        init: Option<String>,
    },
    /// PostgreSQL, or a database that speaks its wire protocol.
    Postgres {
        /// Connection string, handed to the driver as it is.
        url: String,
        /// How a server proves who it is, and how it knows whom it talks to.
        access: PostgresAccess,
        /// Connections per server for reads. There are as many for writes, and one more.
        connections: u32,
        /// Statements run once at start.
        init: Option<String>,
    },
}

/// How a server gets access to PostgreSQL, beside what the connection string says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostgresAccess {
    /// The place of the password.
    pub password: PasswordSource,
    /// `sslmode`; `None`: that of the connection string, or [`SslMode::Prefer`].
    pub sslmode: Option<SslMode>,
    /// The authorities by which the server's certificate is verified.
    pub sslrootcert: Option<RootCertificates>,
    /// The certificate of this side, with its private key: two PEM files.
    pub client_certificate: Option<ClientCertificate>,
}

impl PostgresAccess {
    /// The key of those of TLS that is wrong beside the others, and why: root certificates must be used, and none be
    /// missing.
    #[must_use]
    pub fn misfit(&self) -> Option<(&'static str, &'static str)> {
        let mode = self.sslmode;
        let verifies = matches!(mode, Some(SslMode::VerifyCa | SslMode::VerifyFull));
        match &self.sslrootcert {
            None if verifies => Some((
                "sslmode",
                "needs authorities to verify the server by; write `sslrootcert = \"FILE\"`, or \
                 `sslrootcert = \"system\"` for those of the operating system",
            )),
            // Anybody can get a certificate from one of them, for a host of theirs.
            Some(RootCertificates::System)
                if mode.is_some_and(|mode| mode != SslMode::VerifyFull) =>
            {
                Some((
                    "sslrootcert",
                    "the authorities of the operating system vouch for host names only; write \
                     `sslmode = \"verify-full\"`",
                ))
            }
            Some(_) if !verifies && mode != Some(SslMode::Require) => Some((
                "sslrootcert",
                "is not used, because without another `sslmode` any server will do; write \
                 `sslmode = \"verify-full\"`",
            )),
            _ => None,
        }
    }
}

/// The place of the database's password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PasswordSource {
    /// The connection string, or otherwise a line of PostgreSQL's passfile (`PGPASSFILE`, or
    /// `~/.pgpass`), if that exists.
    #[default]
    Usual,
    /// An environment variable of the server, by its name.
    Environment(String),
    /// A file that has nothing but the password.
    File(PathBuf),
    /// A file in the form of PostgreSQL's passfile.
    Passfile(PathBuf),
}

/// Whether a connection to PostgreSQL is encrypted, and whether the server is verified; by libpq's
/// words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it.
    Prefer,
    /// TLS, with any server; with root certificates in a file, [`Self::VerifyCa`].
    Require,
    /// TLS, with a server whose certificate an authority has signed.
    VerifyCa,
    /// The certificate must also be for the host of the connection string.
    VerifyFull,
}

impl SslMode {
    /// All variants, each with its word in the cluster file.
    pub const ALL: [(&'static str, Self); 5] = [
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    /// The word in the cluster file.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}

/// The authorities that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// Those of the operating system.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// The certificate by which a server proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `sslcert`: the certificate, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// `sslkey`: its private key.
    pub key: PathBuf,
}

impl OriginKind {
    /// The paths of all files that are named.
    pub(crate) fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        let access = match self {
            Self::Sqlite { path, .. } => return vec![path],
            Self::Postgres { access, .. } => access,
        };
        let password = match &mut access.password {
            PasswordSource::Usual | PasswordSource::Environment(_) => None,
            PasswordSource::File(path) | PasswordSource::Passfile(path) => Some(path),
        };
        let roots = match &mut access.sslrootcert {
            None | Some(RootCertificates::System) => None,
            Some(RootCertificates::File(path)) => Some(path),
        };
        let own = access.client_certificate.iter_mut();
        let own = own.flat_map(|own| [&mut own.certificate, &mut own.key]);
        password.into_iter().chain(roots).chain(own).collect()
    }
}

impl fmt::Debug for OriginKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path, init } => {
                out.debug_struct("Sqlite").field("path", path).field("init", init).finish()
            }
            Self::Postgres { url: _, access, connections, init } => out
                .debug_struct("Postgres")
                .field("access", access)
                .field("connections", connections)
                .field("init", init)
                .finish_non_exhaustive(),
        }
    }
}
