//! A waiting request: what was asked, and how far it has come.

use std::time::Duration;

use bytes::Bytes;
use standin_protocol::hash::value_hash;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::repeated::Request;

use crate::node::answer::Status;
use crate::node::command::{Command, CommandHead, Hop, OwnedCommand, ReplyTo};
use crate::node::interface::Now;
use crate::node::modify::Modify;
use crate::node::slow::{Slow, Waits};

/// A request that waits for the origin or a peer.
#[derive(Debug)]
pub(in crate::node) struct Pending {
    pub(in crate::node) to: ReplyTo,
    pub(in crate::node) head: CommandHead,
    pub(in crate::node) hash: u64,
    pub(in crate::node) partition: u32,
    pub(in crate::node) key: Box<[u8]>,
    pub(in crate::node) value: Bytes,
    modify: Option<Box<Modify>>,
    /// The hash of the value of a write that has an identity, and of the operation of a MODIFY.
    content_hash: u64,
    pub(in crate::node) deadline: Micros,
    pub(super) progress: Progress,
    /// What it waits for.
    pub(in crate::node) waits: Waits,
}

/// The part of a request that changes while it waits.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether this server processes the request although another server owns its partition,
    /// because forwarding has failed.
    pub(super) is_here: bool,
    /// Whether it was sent on to another server, so that a copy of it may still be under way.
    pub(super) was_sent_on: bool,
    /// Whether it was sent on to another server, and that has not ended.
    pub(super) is_elsewhere: bool,
    /// The time since which it has waited for an owner that accepts it.
    pub(super) waits_since: Option<Micros>,
    /// The number of times that its owner has not accepted it.
    pub(super) refusals: u32,
    /// Whether its caller is still there.
    pub(super) caller: Presence,
    /// The number of places in its partition's ranking that have been passed. The members at these
    /// places were asked to relay it without success, or could not be asked.
    pub(super) places_passed: usize,
    /// Whether it is a write that has begun here, so that its result has to be remembered.
    pub(super) is_begun: bool,
    /// Whether it is a MODIFY that has waited for a fetch of its value.
    pub(super) has_read: bool,
}

/// The state of the connection on which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::node) enum Presence {
    /// Nothing indicates that it has ended.
    #[default]
    There,
    /// Its other side sends no more. The client may be gone, or may only have sent all its
    /// requests.
    Ended,
    /// It is closed.
    Gone,
}

impl Pending {
    pub(in crate::node) fn new(
        to: ReplyTo,
        command: &Command<'_>,
        (hash, partition): (u64, u32),
        deadline: Micros,
    ) -> Self {
        let Command { head, key, value, modify } = *command;
        let is_compared = head.action.is_write() && head.identity.is_some();
        let content_hash = match (is_compared, modify) {
            (false, _) => 0,
            (true, None) => value_hash(value),
            (true, Some(modify)) => modify.hash_with(value_hash(value)),
        };
        let (key, value) = (key.into(), Bytes::copy_from_slice(value));
        let modify = modify.copied().map(Box::new);
        let (progress, waits) = (Progress::default(), Waits::default());
        Self {
            to,
            head,
            hash,
            partition,
            key,
            value,
            modify,
            content_hash,
            deadline,
            progress,
            waits,
        }
    }

    /// Returns the write that this is a copy of, if it is a write whose client has given it an
    /// identity.
    pub(super) fn request(&self) -> Option<Request> {
        let CommandHead { action, keyspace, item_flags, version, ttl_ms, .. } = self.head;
        Some(Request {
            identity: self.head.identity.filter(|_| self.is_write())?,
            action,
            keyspace,
            hash: self.hash,
            content_hash: self.content_hash,
            item_flags,
            version,
            ttl_ms,
            is_marked: self.is_marked(),
        })
    }

    /// Whether there is another copy that was sent earlier, by the client or by this server.
    fn is_marked(&self) -> bool {
        self.head.is_retry || self.progress.was_sent_on
    }

    /// Returns what there is to say of the request, which took this long and is answered now. Its key
    /// goes with it.
    pub(in crate::node) fn slow(&mut self, now: Micros, took: Duration, status: Status) -> Slow {
        let CommandHead { action, keyspace, is_peer, .. } = self.head;
        let (times, peer) = self.waits.end(now);
        let key = std::mem::take(&mut self.key);
        Slow { keyspace, key, action, status, is_peer, took, times, peer }
    }

    /// Returns the operation of a MODIFY.
    pub(in crate::node) fn modify(&self) -> &Modify {
        self.modify.as_deref().expect("a MODIFY has an operation")
    }

    /// Whether it is a MODIFY that has waited for a fetch of its value.
    pub(in crate::node) fn has_read(&self) -> bool {
        self.progress.has_read
    }

    /// Whether the partition's owner must execute it.
    pub(in crate::node) fn is_write(&self) -> bool {
        self.head.action.is_write()
    }

    /// Whether another server has sent it to this one. It is not forwarded again, and not processed
    /// here in the owner's place.
    pub(in crate::node) fn is_forwarded(&self) -> bool {
        self.head.hop != Hop::None
    }

    /// Returns the command that forwards it.
    pub(in crate::node) fn command(&self, now: Now, hop: Hop) -> OwnedCommand {
        let is_retry = match mutant::is(Mutant::SentAgainUnmarked) {
            true => self.head.is_retry,
            false => self.is_marked(),
        };
        let mut head = CommandHead { hop, is_retry, is_peer: true, ..self.head };
        if head.deadline_ms != 0 {
            // The time that the request has already spent here is subtracted.
            let left_ms = self.deadline.since(now.mono).as_millis().max(1);
            head.deadline_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
        }
        head.identity = head.identity.filter(|_| self.is_write());
        let (key, value, modify) = (self.key.clone(), self.value.clone(), self.modify.clone());
        OwnedCommand { head, key, value, modify }
    }

    /// Whether this server processes it in the owner's place.
    pub(in crate::node) fn is_here(&self) -> bool {
        self.progress.is_here
    }

    /// Returns the time since which it has waited for an owner that accepts it.
    pub(in crate::node) fn waits_since(&self) -> Option<Micros> {
        self.progress.waits_since
    }

    /// Returns the number of places in its partition's ranking that have been passed.
    pub(in crate::node) fn places_passed(&self) -> usize {
        self.progress.places_passed
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::node::command::ConnId;
    use crate::node::command::{Action, Identity};
    use crate::node::tests::pending;

    const TO: ReplyTo = ReplyTo {
        conn: ConnId { shard: 0, conn: 1 },
        tag: 5,
        asked: crate::node::Asked::other(Micros(0)),
    };

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
            let (ttl_ms, version, is_retry) = (7, 8, true);
            let head =
                CommandHead { identity, ttl_ms, version, is_retry, ..CommandHead::new(action, 1) };
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
