//! Messages to a shard from other threads: a lock-free queue, and an eventfd that is
//! written only if the shard sleeps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};
use standin_protocol::map::{ClusterMap, ServerState};
use standin_protocol::time::Micros;

use super::core::HandedOver;
use crate::node::{Caller, LateReply, Lease, Left, Word};
use crate::origin::{Completions, Done};

/// What a shard is told.
#[derive(Debug)]
pub enum Message {
    /// A connection whose HELLO asked for this shard.
    Adopt {
        /// The socket.
        socket: OwnedFd,
        /// What has been read and agreed on it.
        connection: HandedOver,
    },
    /// A request for this shard that reached another one.
    Stray {
        /// The shard that holds the connection.
        shard: u16,
        /// The connection's name there.
        conn: u64,
        /// Who sent it.
        caller: Caller,
        /// The whole request frame.
        frame: Vec<u8>,
        /// When it came.
        at: Micros,
    },
    /// The connection of requests that strayed here brings no more.
    Left(Left),
    /// The answer to a request that strayed.
    StrayReply {
        /// The connection.
        conn: u64,
        /// The response.
        reply: LateReply,
    },
    /// The origin's answer to a call.
    Origin(Done),
    /// A newer map.
    Map(Arc<ClusterMap>),
    /// The master's answer to a report.
    Verdict {
        /// Server id.
        server: u16,
        /// What the master holds of it.
        state: ServerState,
    },
    /// How long this server may act as an owner, under the map given last.
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
    /// Finish what is in flight, then end.
    Stop {
        /// End by then in any case.
        by: Micros,
    },
}

/// Bytes of stray requests that may be on their way to a shard.
const STRAY_BYTES_MAX: usize = 64 << 20;

/// One shard's mailbox. The queue is unbounded, but what may be in it is not: origin
/// answers and stray requests are bounded by the in-flight limits, the rest is rare.
#[derive(Debug)]
pub struct Mailbox {
    queue: SegQueue<Message>,
    asleep: AtomicBool,
    /// Bytes of stray requests on their way.
    stray_bytes: AtomicUsize,
    /// `None`: nobody sleeps on it.
    wake: Option<OwnedFd>,
}

impl Mailbox {
    /// An empty mailbox.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn new() -> std::io::Result<Self> {
        let wake = Some(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { wake, ..Self::unwaited() })
    }

    /// An empty mailbox for a shard that never sleeps on it: the simulator's.
    #[must_use]
    pub fn unwaited() -> Self {
        Self {
            queue: SegQueue::new(),
            asleep: AtomicBool::new(false),
            stray_bytes: AtomicUsize::new(0),
            wake: None,
        }
    }

    /// Whether there is no mail.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Leaves a request for this shard that another one has received; false if too many bytes of
    /// such requests are on their way already.
    pub(super) fn post_stray(&self, stray: Message) -> bool {
        let Message::Stray { frame, .. } = &stray else { return false };
        let bytes = frame.len();
        let before = self.stray_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > STRAY_BYTES_MAX {
            self.stray_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.post(stray);
        true
    }

    /// Leaves a message and wakes the shard if it sleeps.
    pub fn post(&self, message: Message) {
        self.queue.push(message);
        if let Some(wake) = &self.wake
            && self.asleep.swap(false, Ordering::SeqCst)
        {
            // The counter can't overflow: it is written once per sleep.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    /// The next message.
    pub fn take(&self) -> Option<Message> {
        let message = self.queue.pop()?;
        if let Message::Stray { frame, .. } = &message {
            self.stray_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        }
        Some(message)
    }

    /// Says that the shard is about to sleep; false if there is mail and it must not.
    pub fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    /// The shard is awake: nobody needs to write the eventfd.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// The descriptor that becomes readable when mail comes to a sleeping shard.
    ///
    /// # Panics
    /// If the mailbox is [`Self::unwaited`].
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_ref().expect("a loop's mailbox can be waited for").as_fd()
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

    /// The same without descriptors, for shards that are looked after by one thread.
    #[must_use]
    pub fn unwaited(shards: u16) -> Self {
        Self((0..shards).map(|_| Mailbox::unwaited()).collect())
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
