//! TLS for connections whose bytes others move, by rustls: which certificates a process has and trusts,
//! and the state of one connection, from bytes to bytes. No sockets, and no protocol of ours.
//!
//! ```text
//! acceptor.rs   the certificate of this side and the authorities of its callers, read again on request
//! tls/          one connection: received bytes ─► plain bytes, plain bytes ─► bytes to send
//! pem.rs        certificates and keys in files
//! private.rs    files that others must not read
//! ```

mod acceptor;
pub mod pem;
pub mod private;
mod tls;

pub use acceptor::{Acceptor, AcceptorError};
pub use tls::{Failure, Tls};
