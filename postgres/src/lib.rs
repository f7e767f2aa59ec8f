//! Access to PostgreSQL, for all that connect to it: servers, whose origin it may be, and the load generator. What is
//! sent on a connection is theirs.
//!
//! ```text
//! url.rs       the connection string
//! target.rs    its hosts, each with its password and TLS: connected to, one after the other
//! password.rs  the password: a variable, a file, a passfile
//! tls.rs       TLS: whom to trust, and as whom
//! error.rs     why there is no connection
//! column.rs    what a row has, as bytes
//! ```

mod column;
mod error;
mod password;
mod target;
mod tls;
mod url;

pub use column::{ColumnError, has_one_form, text};
pub use error::{ConnectError, UrlError, with_cause};
pub use password::PasswordError;
pub use target::{AccessError, Connected, Target};
pub use tls::TlsError;
pub use url::{DatabaseHost, has_password, hosts, read, split_query, take_access};
