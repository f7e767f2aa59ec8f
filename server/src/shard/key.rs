//! Names of connections.

slotmap::new_key_type! {
    /// The name of a connection within its shard.
    pub struct ConnKey;
}
