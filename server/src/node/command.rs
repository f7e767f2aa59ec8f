//! The commands of a shard's logic, without the bytes in which they arrive. Codecs (`shard/codec/`)
//! read commands from the bytes of a connection and write them to links.

use std::num::NonZeroU64;

use bytes::Bytes;
use standin_protocol::time::Micros;

use super::modify::{Modify, Ttl};

/// The action of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read a value, through the cache.
    Get,
    /// Write a value, through to the origin.
    Put,
    /// Delete a row, through to the origin.
    Delete,
    /// Write a value if the version is still current.
    Cas,
    /// Give a cached value a new lifetime.
    Touch,
    /// Read, change and write a value, as [`Command::modify`] says.
    Modify,
    /// Read, change and write several values, if others are as they were seen. The command's value says
    /// which ([`standin_protocol::transact`]); its key is one of theirs.
    Transact,
    /// Drop a cached value, without a statement to the origin.
    Invalidate,
    /// Drop all cached values of the keyspace in the key's partition, without a statement to the
    /// origin.
    Flush,
    /// Report the health of the shard and of its way to the origin.
    Ping,
    /// Give the cluster map.
    Map,
    /// Server to server: drop keys that were written elsewhere.
    Settle,
    /// Server to server: the sender has told of all keys that it wrote.
    Handback,
    /// Give some of the keys that the shard has cached.
    Walk,
}

impl Action {
    /// Whether the command is about a key, and so belongs to the key's partition.
    #[inline]
    #[must_use]
    pub fn has_key(self) -> bool {
        !matches!(self, Self::Ping | Self::Map | Self::Settle | Self::Handback | Self::Walk)
    }

    /// Whether the owner of the partition must carry the command out.
    #[must_use]
    pub fn is_write(self) -> bool {
        use Action::{Cas, Delete, Flush, Invalidate, Modify, Put, Settle, Transact};
        matches!(self, Put | Delete | Cas | Modify | Transact | Invalidate | Flush | Settle)
    }

    /// Whether only the owner under a lease may carry the command out, and only once: it reads what it
    /// writes.
    #[must_use]
    pub fn reads_what_it_writes(self) -> bool {
        matches!(self, Self::Modify | Self::Transact)
    }
}

/// The way by which a command reached this server: directly, forwarded or relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// It has not been forwarded.
    None,
    /// It was forwarded to the owner, and is not forwarded again.
    Forwarded,
    /// It was sent to a server that may be able to reach the owner, and that server is to forward
    /// it.
    Relay,
}

/// A client's name for a request. It stays the same each time the client sends the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The client.
    pub client_id: NonZeroU64,
    /// The client's number for the request.
    pub request_id: u32,
}

/// A command without its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandHead {
    /// The action.
    pub action: Action,
    /// Keyspace id.
    pub keyspace: u8,
    /// The way by which it arrived.
    pub hop: Hop,
    /// The client has sent it before and has received no answer.
    pub is_retry: bool,
    /// The sender is another server of the cluster.
    pub is_peer: bool,
    /// The sender wants the flags, marks and exact lifetime of the value.
    pub wants_item: bool,
    /// The time for which the sender will wait, in milliseconds; 0 if it has no deadline.
    pub deadline_ms: u32,
    /// The client's flags for the value: PUT, CAS, MODIFY.
    pub item_flags: u32,
    /// The lifetime in the cache, in milliseconds; 0 for that of the keyspace, `u64::MAX` for none.
    pub ttl_ms: u64,
    /// For CAS, the version that must be current.
    pub version: u64,
    /// The client's name for the request, if the client gave it one.
    pub identity: Option<Identity>,
}

impl CommandHead {
    /// Creates a client's command without a deadline, lifetime or identity.
    #[must_use]
    pub fn new(action: Action, keyspace: u8) -> Self {
        Self {
            action,
            keyspace,
            hop: Hop::None,
            is_retry: false,
            is_peer: false,
            wants_item: false,
            deadline_ms: 0,
            item_flags: 0,
            ttl_ms: 0,
            version: 0,
            identity: None,
        }
    }

    /// Returns the lifetime that it asks for.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        match self.ttl_ms {
            0 => Ttl::Keyspace,
            u64::MAX => Ttl::Never,
            ms => Ttl::For(ms),
        }
    }
}

/// A command whose key and value lie in a receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// The command without its key and value.
    pub head: CommandHead,
    /// The key; empty for actions that have none.
    pub key: &'a [u8],
    /// The value to write, or the body of a message between servers.
    pub value: &'a [u8],
    /// The operation of a MODIFY, whose operand is the value.
    pub modify: Option<&'a Modify>,
}

impl<'a> Command<'a> {
    /// Creates a command that is not a MODIFY.
    #[must_use]
    pub fn new(head: CommandHead, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { head, key, value, modify: None }
    }

    /// Copies the key and value, and returns the owned command.
    #[must_use]
    pub fn into_owned(self) -> OwnedCommand {
        let value = Bytes::copy_from_slice(self.value);
        let modify = self.modify.copied().map(Box::new);
        OwnedCommand { head: self.head, key: self.key.into(), value, modify }
    }
}

/// A command on its way to another shard or server.
#[derive(Debug, Clone)]
pub struct OwnedCommand {
    /// The command without its key and value.
    pub head: CommandHead,
    /// The key.
    pub key: Box<[u8]>,
    /// The value.
    pub value: Bytes,
    /// The operation of a MODIFY.
    pub modify: Option<Box<Modify>>,
}

impl OwnedCommand {
    /// Creates a command that is not a MODIFY.
    #[must_use]
    pub fn new(head: CommandHead, key: Box<[u8]>, value: Bytes) -> Self {
        Self { head, key, value, modify: None }
    }

    /// Returns the command, borrowed.
    #[must_use]
    pub fn as_command(&self) -> Command<'_> {
        let modify = self.modify.as_deref();
        Command { head: self.head, key: &self.key, value: &self.value, modify }
    }

    /// Returns the number of bytes of memory that the command takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let modify = self.modify.as_deref().map_or(0, size_of_val);
        size_of::<Self>() + self.key.len() + self.value.len() + modify
    }
}

/// The shell's name for a connection. The node only gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// The shard that holds the connection.
    pub shard: u16,
    /// The name of the connection within that shard.
    pub conn: u64,
}

/// What is kept of a request until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The time of the turn in which it was served.
    pub at: Micros,
    /// The action; `None` for what is no command.
    pub action: Option<Action>,
    /// The keyspace, if the action has one.
    pub keyspace: u8,
    /// Another server has sent it.
    pub is_peer: bool,
}

impl Asked {
    /// A command that is served now.
    #[inline]
    #[must_use]
    pub fn command(at: Micros, head: &CommandHead) -> Self {
        let CommandHead { action, keyspace, is_peer, .. } = *head;
        Self { at, action: Some(action), keyspace, is_peer }
    }

    /// Whether it is a write, so that it may have been carried out.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.action.is_some_and(Action::is_write)
    }

    /// A request that is no command.
    #[must_use]
    pub const fn other(at: Micros) -> Self {
        Self { at, action: None, keyspace: 0, is_peer: false }
    }
}

/// The destination of a command's answer. The node only passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The connection.
    pub conn: ConnId,
    /// The name that the connection's codec has given the request.
    pub tag: u64,
    /// What is counted when it is answered.
    pub asked: Asked,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_the_memory_of_its_key_and_its_value() {
        let command = |key, value| {
            Command::new(CommandHead::new(Action::Put, 1), key, value).into_owned().bytes()
        };
        let empty = command(b"", b"");
        assert!(empty > 0);
        assert_eq!(command(b"key", b"value"), empty + 8);
        assert_eq!(command(b"key", b""), empty + 3);
    }
}
