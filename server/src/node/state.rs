//! The names of keys and of waiting requests, and the circumstances of a fetch.

use hashbrown::HashMap;
use slotmap::new_key_type;
use standin_protocol::time::Micros;

use super::cache::FillToken;
use super::partitions::Generation;

new_key_type! {
    pub(super) struct PendingKey;
}

/// The circumstances in which a fetch was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchStart {
    pub(super) token: FillToken,
    pub(super) generation: Generation,
    pub(super) at: Micros,
}

/// Keyspace and key combined into the name under which fetches and writes are found.
pub(super) type Name = Box<[u8]>;
pub(super) type Names<V> = HashMap<Name, V, ahash::RandomState>;
