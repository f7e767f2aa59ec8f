//! `cluster.toml`, and the file of a proxy: read, checked as a whole, and handed on as plain values. Programs
//! with files of their own read them with the same [`Section`] and [`Report`], by [`read_file`].
//!
//! Not here: what the values mean at run time; that is in the role that uses them.
//!
//! ```text
//! text ─► toml_edit (with spans) ─► section ─► read/* ─► model      every mistake, with its place,
//!                                      └──────────┴────► mistake    goes to one Report on the way
//! model ─► write ─► text
//! ```
//!
//! [`sql`] turns the `:key` and `:value` of a keyspace's statements into what the
//! database's driver wants; the same code checks them here.

mod client_file;
mod counted;
mod database;
mod defaults;
mod digits;
mod http;
mod mistake;
mod model;
mod names;
mod nodes;
pub mod permissions;
mod proxy;
mod read;
mod reload;
mod section;
mod security;
mod services;
pub mod sql;
mod suggest;
mod tls;
mod toml;
mod topology;
mod units;
mod users;
mod write;

pub use counted::counted;
pub use database::*;
pub use http::{DASHBOARD, HTTP_DESCRIPTORS, HttpConfig, HttpKeys, METRICS};
pub use mistake::{ConfigErrors, Mistake, Place, Report};
pub use model::*;
pub use proxy::{ListenAt, ProxyConfig, ProxyService};
pub use read::{
    Checked, CheckedProxy, Read, SHARD_MEMORY_BYTES_MAX, SHARD_MEMORY_BYTES_MIN, read_file,
    read_text,
};
pub use reload::{Lifetimes, Reload};
pub use section::{At, Found, Section};
pub use security::Security;
pub use services::{Naming, ServiceConfig, ServiceProtocol};
pub use tls::{KernelUse, TlsAuthorities, TlsCalls, TlsConfig, TlsOwn, TlsPort};
pub use users::{check_user_name, read_rights, user_line};
pub use write::{CONFIG_FILE, SECRET_FILE, USERS_FILE, WriteError};
