//! The client of a Standin cluster. It routes requests by the map. When a server fails, it goes on
//! with the server's stand-in and tells the master (claims 10 to 14).
//!
//! ```text
//! monoio/, tokio/, blocking.rs   shells: sockets, timers, callers
//!       └─► engine/           everything else, without IO: operations in, bytes out
//!             ├─ router.rs    partition → server, by the map and the failover machines
//!             │    └─ failover.rs   one server: Home, Failover, Trial
//!             ├─ session.rs   one connection: hello, frames, request ids
//!             └─ notices.rs   notices to the master
//! runtime.rs                  the monoio runtime as Standin uses it
//! ```
//!
//! ```no_run
//! use standin_client::{Bootstrap, ClientConfig, blocking::Client};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seeds = vec!["127.0.0.1:7101".parse()?, "127.0.0.1:7102".parse()?];
//! let mut client = Client::new(ClientConfig::default(), Bootstrap::Seeds(seeds))?;
//! let version = client.put(1, b"user:7", b"Ada".to_vec(), 0)?;
//! let value = client.get(1, b"user:7")?.ok_or("deleted meanwhile")?;
//! assert_eq!(value.bytes, b"Ada");
//! client.cas(1, b"user:7", version, b"Ada Lovelace".to_vec(), 0)?;
//! # Ok(())
//! # }
//! ```
//!
//! The same on tokio, from any thread:
//!
//! ```no_run
//! use standin_client::modify::{Edit, Gives, Modify, Vivified, Vivify, Ttl};
//! use standin_client::{Bootstrap, ClientConfig, tokio::Client};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seeds = Bootstrap::Seeds(vec!["127.0.0.1:7101".parse()?]);
//! let client = Client::new(ClientConfig::default(), seeds)?;
//! let other = client.clone();
//! tokio::spawn(async move { other.put(1, b"user:7", b"Ada".to_vec(), 0).await });
//! println!("{:?}", client.get(1, b"user:7").await?);
//! // Counts visits, beginning with 1, for an hour.
//! let vivify = Some(Vivify { value: Vivified::Number(1), ttl: Ttl::For(3_600_000) });
//! let visit = Modify { gives: Gives::New, vivify, ..Modify::new(Edit::Increment(1)) };
//! println!("{:?}", client.modify(2, b"visits", &visit, b"").await?);
//! # Ok(())
//! # }
//! ```
//!
//! Many operations at once, on monoio:
//!
//! ```no_run
//! use standin_client::runtime::{Driver, runtime};
//! use standin_client::{Bootstrap, ClientConfig, monoio::Client};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seeds = Bootstrap::Seeds(vec!["127.0.0.1:7101".parse()?]);
//! runtime(Driver::Auto)?.block_on(async {
//!     let client = Client::new(ClientConfig::default(), seeds)?;
//!     client.observe(|at, event| println!("{at:?} {event:?}"));
//!     for value in client.get_many(1, &["user:7", "user:8"]).await {
//!         println!("{:?}", value?);
//!     }
//!     Ok(())
//! })
//! # }
//! ```

pub mod blocking;
mod calls;
mod config;
pub mod engine;
mod event;
mod facade;
pub mod failover;
mod ids;
pub mod monoio;
mod notices;
mod operation;
mod random;
pub mod router;
pub mod runtime;
pub mod session;
mod socket;
#[cfg(test)]
mod testing;
pub mod tokio;
mod topology;

pub use config::{Bootstrap, ClientConfig};
pub use event::ClientEvent;
pub use facade::{CasOutcome, Flushed, ModifyOutcome};
pub use operation::{
    Action, Answer, ClientError, Encoded, EncodedReply, Modification, Operation, Outcome, Question,
    Target, Value,
};
pub use standin_protocol::modify;
pub use topology::differences;
