//! TLS for connections whose bytes others move, by rustls: which certificates a process has and trusts,
//! and the state of one connection, from bytes to bytes. No sockets, except for what gives a connection to the
//! kernel, and no protocol of ours.
//!
//! ```text
//! connector.rs  whom this side trusts when it calls others
//! acceptor.rs   the certificate of this side and the authorities of its callers, read again on request
//! in_use.rs     the certificates of this process, and when they expire (expiry.rs)
//! tls/          one connection: received bytes ─► plain bytes, plain bytes ─► bytes to send
//! record.rs     the types of its records
//! failure.rs    why a connection can't go on
//! kernel/       a connection whose keys the kernel gets after the handshake
//! pem.rs        certificates and keys in files
//! private.rs    files that others must not read
//! ```

mod acceptor;
mod connector;
mod error;
mod expiry;
mod failure;
mod in_use;
pub mod kernel;
pub mod pem;
pub mod private;
mod record;
mod tls;

pub use acceptor::Acceptor;
pub use connector::Connector;
pub use error::TlsError;
pub use failure::Failure;
pub use in_use::InUse;
pub use tls::{Tls, is_hello};
