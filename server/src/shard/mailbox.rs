//! Messages to a shard from other threads, and the bound on those that strayed.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use standin_config::{ClusterConfig, Lifetimes};
use standin_protocol::map::{ClusterMap, ServerState};
use standin_protocol::time::Micros;

use super::access::Access;
use super::codec::slice::Slice;
use super::handshake::HandedOver;
use crate::inbox::Inbox;
use crate::node::{Answer, Lease, Left, OwnedCommand, ReplyTo, Walked, Word};
use crate::origin::{Completions, Done};

/// A message to a shard.
#[derive(Debug)]
pub enum Message {
    /// A connection whose HELLO asked for this shard.
    Adopt {
        /// The socket.
        socket: OwnedFd,
        /// The connection's state: what has been read from it and agreed on it.
        connection: HandedOver,
    },
    /// A request for this shard that reached another one.
    Stray {
        /// The destination of its answer.
        to: ReplyTo,
        /// The command.
        command: OwnedCommand,
        /// The time at which it arrived.
        at: Micros,
    },
    /// The connection of requests that strayed here brings no more.
    Left(Left),
    /// A walk of another shard asks for a slice.
    Slice {
        /// That shard.
        shard: u16,
        /// Its name for the walk.
        walk: u64,
        /// The slice.
        slice: Box<Slice>,
    },
    /// What has come of a slice that this shard has asked for.
    Walked {
        /// Its name for the walk.
        walk: u64,
        /// What has come of it.
        walked: Walked,
    },
    /// The answer to a request that strayed.
    StrayReply {
        /// Its destination.
        to: ReplyTo,
        /// The answer.
        answer: Answer,
    },
    /// The origin's answer to a call.
    Origin(Done),
    /// A newer map.
    Map(Arc<ClusterMap>),
    /// The master's answer to a report.
    Verdict {
        /// Server id.
        server: u16,
        /// The master's state of it.
        state: ServerState,
    },
    /// The time until which this server may act as an owner, under the map given last.
    Lease(Lease),
    /// A member of the group is told that this server has lost the master.
    Word(Word),
    /// Contact every shard of a peer (shard 0 only).
    AskProbe {
        /// Names the probe.
        nonce: u64,
        /// Server id.
        server: u16,
    },
    /// Other lifetimes of keyspaces, for what is cached from now on.
    Lifetimes(Arc<[Lifetimes]>),
    /// The cluster file with other limits, for what comes from now on.
    Limits(Arc<ClusterConfig>),
    /// Other secrets, users and passwords: each connection keeps what it still has by them.
    Access(Arc<Access>),
    /// A proxy: a datagram from the master.
    Datagram(Box<[u8]>),
    /// Finish what is in flight, then end.
    Stop {
        /// End by then in any case.
        by: Micros,
    },
}

impl Message {
    /// Returns the number of bytes that it occupies of the bound on strays.
    fn stray_bytes(&self) -> usize {
        match self {
            Self::Stray { command, .. } => command.bytes(),
            Self::Slice { slice, .. } => slice.bytes(),
            Self::Walked { walked: Walked::Answer(answer), .. } => answer.len(),
            Self::StrayReply { answer, .. } => answer.read_bytes().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Bytes of stray requests, and of the answers to such, that may be on their way to a shard.
const STRAY_BYTES_MAX: usize = 64 << 20;

/// One shard's mailbox. The queue is unbounded, but what may be in it is not: the origin's
/// answers by the node's gate, what strays in bytes, the rest is rare.
#[derive(Debug)]
pub struct Mailbox {
    inbox: Inbox<Message>,
    /// Bytes of stray requests, and of answers to such, on their way.
    stray_bytes: AtomicUsize,
}

impl Mailbox {
    /// An empty mailbox.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { inbox: Inbox::new()?, stray_bytes: AtomicUsize::new(0) })
    }

    /// Leaves a message from another shard; gives it back if too many bytes of what strays are on
    /// their way already.
    pub(super) fn post_bounded(&self, message: Message) -> Option<Message> {
        match message.stray_bytes() {
            0 => {}
            bytes if self.takes_room(bytes) => {}
            _ => return Some(message),
        }
        self.post(message);
        None
    }

    /// Takes room for this many bytes of what strays, if there is room.
    fn takes_room(&self, bytes: usize) -> bool {
        let before = self.stray_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before == 0 || before + bytes <= STRAY_BYTES_MAX;
        if !has_room {
            self.stray_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// Leaves a message and wakes the shard if it sleeps.
    pub fn post(&self, message: Message) {
        self.inbox.post(message);
    }

    /// The next message.
    pub fn take(&self) -> Option<Message> {
        let message = self.inbox.take()?;
        match message.stray_bytes() {
            0 => {}
            bytes => _ = self.stray_bytes.fetch_sub(bytes, Ordering::Relaxed),
        }
        Some(message)
    }

    /// Says that the shard is about to sleep, and returns whether it may: not if there is mail.
    pub fn fall_asleep(&self) -> bool {
        self.inbox.fall_asleep()
    }

    /// Says that the shard is awake, so that nobody writes the eventfd.
    pub fn awake(&self) {
        self.inbox.awake();
    }

    /// The descriptor that becomes readable when mail comes to a sleeping shard.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.inbox.wake_fd()
    }
}

/// The mailboxes of all shards, by shard.
#[derive(Debug, Clone)]
pub struct Mailboxes(pub Arc<[Mailbox]>);

impl Mailboxes {
    /// A mailbox for each shard.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn new(shards: u16) -> std::io::Result<Self> {
        Ok(Self((0..shards).map(|_| Mailbox::new()).collect::<Result<_, _>>()?))
    }

    /// Posts to one shard.
    pub fn post(&self, shard: u16, message: Message) {
        if let Some(mailbox) = self.0.get(usize::from(shard)) {
            mailbox.post(message);
        }
    }
}

impl Completions for Mailboxes {
    fn deliver(&self, shard: u16, done: Done) {
        self.post(shard, Message::Origin(done));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::node::{Action, AnswerHead, Command, CommandHead, ConnId, Status};

    const MIB: usize = 1 << 20;

    const TO: ReplyTo = ReplyTo {
        conn: ConnId { shard: 0, conn: 1 },
        tag: 7,
        asked: crate::node::Asked::other(Micros(0)),
    };

    /// A stray that takes this much memory.
    fn stray(bytes: usize) -> Message {
        let value = vec![0; bytes - size_of::<OwnedCommand>()];
        let head = CommandHead::new(Action::Put, 1);
        let command = Command::new(head, &[], &value).into_owned();
        Message::Stray { to: TO, command, at: Micros(0) }
    }

    fn answer(bytes: usize) -> Answer {
        Answer { head: AnswerHead::status(Status::Ok), value: Bytes::from(vec![7; bytes]) }
    }

    #[test]
    fn what_strays_is_bounded_in_bytes_and_has_room_again_when_it_is_taken() {
        let mailbox = Mailbox::new().unwrap();
        let is_posted = |message| mailbox.post_bounded(message).is_none();
        let posted = std::iter::from_fn(|| is_posted(stray(MIB)).then_some(())).count();
        assert_eq!(posted, STRAY_BYTES_MAX / MIB);
        assert!(mailbox.take().is_some());
        assert!(is_posted(stray(MIB)));
        assert!(!is_posted(stray(MIB)));
        while mailbox.take().is_some() {}
        assert!(is_posted(stray(STRAY_BYTES_MAX + 1)), "alone it may be larger");
    }

    #[test]
    fn values_for_what_strays_are_bounded_and_other_answers_are_not() {
        let mailbox = Mailbox::new().unwrap();
        let read = || mailbox.post_bounded(Message::StrayReply { to: TO, answer: answer(MIB) });
        let posted = std::iter::from_fn(|| read().is_none().then_some(())).count();
        assert_eq!(posted, STRAY_BYTES_MAX / MIB);
        let Some(Message::StrayReply { to, mut answer }) = read() else { panic!("it comes back") };
        answer.overload(false);
        assert!(mailbox.post_bounded(Message::StrayReply { to, answer }).is_none());
        let written = Message::StrayReply { to: TO, answer: Answer::status(Status::Ok) };
        assert!(mailbox.post_bounded(written).is_none(), "a write has happened");
        while mailbox.take().is_some() {}
        assert!(read().is_none());
    }
}
