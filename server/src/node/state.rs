//! Waiting requests, and the names of keys.

use bytes::Bytes;
use hashbrown::HashMap;
use slotmap::new_key_type;
use standin_protocol::time::Micros;

use super::cache::FillToken;
use super::command::{CommandHead, Hop, OwnedCommand, ReplyTo};
use super::interface::Now;
use super::partitions::Generation;

new_key_type! {
    pub(super) struct PendingKey;
}

/// A request that waits for the origin or a peer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) to: ReplyTo,
    pub(super) head: CommandHead,
    pub(super) hash: u64,
    pub(super) partition: u32,
    pub(super) key: Box<[u8]>,
    pub(super) value: Bytes,
    pub(super) deadline: Micros,
    /// Whether this server processes the request although another server owns its partition,
    /// because forwarding has failed.
    pub(super) here: bool,
    /// The time since which it has waited for an owner that accepts it.
    pub(super) waits_since: Option<Micros>,
    /// Whether its caller is still there.
    pub(super) caller: Presence,
    /// The number of places in its partition's ranking that have been passed. The members at these
    /// places were asked to relay it without success, or could not be asked.
    pub(super) places_passed: usize,
    /// Whether it is a write that has begun here, so that its result has to be remembered.
    pub(super) is_begun: bool,
}

/// The state of the connection on which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// Nothing indicates that it has ended.
    There,
    /// Its other side sends no more. The client may be gone, or may only have sent all its
    /// requests.
    Ended,
    /// It is closed.
    Gone,
}

impl Pending {
    /// Whether the partition's owner must execute it.
    pub(super) fn is_write(&self) -> bool {
        self.head.action.is_write()
    }

    /// Whether another server has sent it to this one. It is not forwarded again, and not processed
    /// here in the owner's place.
    pub(super) fn is_forwarded(&self) -> bool {
        self.head.hop != Hop::None
    }

    /// Returns the command that forwards it.
    pub(super) fn command(&self, now: Now, hop: Hop) -> OwnedCommand {
        let mut head = CommandHead { hop, is_peer: true, ..self.head };
        if head.deadline_ms != 0 {
            // The time that the request has already spent here is subtracted.
            let left_ms = self.deadline.since(now.mono).as_millis().max(1);
            head.deadline_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
        }
        head.identity = head.identity.filter(|_| self.is_write());
        OwnedCommand { head, key: self.key.clone(), value: self.value.clone() }
    }
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::node::command::ConnId;
    use crate::node::command::{Action, Identity};
    use crate::node::tests::pending;

    const TO: ReplyTo = ReplyTo { conn: ConnId { shard: 0, conn: 1 }, tag: 5 };

    fn now(mono: u64) -> Now {
        Now { mono: Micros(mono), wall_us: 0 }
    }

    #[test]
    fn a_forwarded_command_has_the_remaining_time() {
        let head = CommandHead { deadline_ms: 50, ..CommandHead::new(Action::Get, 1) };
        let request = Pending { deadline: Micros(60_000), ..pending(head, TO) };
        let left = |mono: u64| request.command(now(mono), Hop::Forwarded).head.deadline_ms;
        assert_eq!([10_000, 12_000, 59_999, 70_000].map(left), [50, 48, 1, 1]);
        let endless = pending(CommandHead::new(Action::Get, 1), TO);
        assert_eq!(endless.command(now(10_000), Hop::Forwarded).head.deadline_ms, 0);
    }

    #[test]
    fn a_forwarded_command_says_so_and_only_a_write_names_its_client() {
        let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 3 });
        for (action, sent) in [(Action::Put, identity), (Action::Get, None)] {
            let (ttl_s, version, is_retry) = (7, 8, true);
            let head =
                CommandHead { identity, ttl_s, version, is_retry, ..CommandHead::new(action, 1) };
            for hop in [Hop::Forwarded, Hop::Relay] {
                let command = pending(head, TO).command(now(0), hop);
                assert_eq!(
                    command.head,
                    CommandHead { hop, is_peer: true, identity: sent, ..head }
                );
                assert_eq!((&*command.key, &command.value[..]), (&b"k"[..], &b"value"[..]));
            }
        }
    }
}
