//! The bounds of a proxy for connections. A stall lasts longer than the patience of clients, who close their connections
//! and open new ones; and what they sent is kept for the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::threads::locked;

/// Bytes that are read at once.
pub(super) const CHUNK_BYTES: usize = 16 << 10;
/// The memory that a chunk takes beside its bytes: its place in a queue, and what the allocator needs.
const CHUNK_OVERHEAD_BYTES: usize = 96;

/// What a proxy may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at a time.
    pub(super) connections: usize,
    /// Bytes that wait in each direction, of all connections together. Each may have one chunk beyond it, so that none
    /// waits for others.
    pub(super) bytes: usize,
    /// Bytes of one direction of one connection that wait.
    pub(super) bytes_of_one: usize,
}

impl Limits {
    pub(super) const USUAL: Self =
        Self { connections: 1_024, bytes: 64 << 20, bytes_of_one: 16 << 20 };
}

/// The bytes of one direction that wait.
#[derive(Debug)]
pub(super) struct Room {
    limits: Limits,
    waiting: Mutex<usize>,
    freed: Notify,
}

impl Room {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, waiting: Mutex::new(0), freed: Notify::new() })
    }

    pub(super) fn waiting(&self) -> usize {
        *locked(&self.waiting)
    }
}

/// The part of a [`Room`] that a connection has. It is freed with it.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    waiting: Mutex<usize>,
}

impl Place {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self { room, waiting: Mutex::new(0) }
    }

    /// Waits until one more chunk may be read.
    pub(super) async fn free(&self) {
        loop {
            // Before the check, so that what is freed behind it is noticed.
            let mut freed = std::pin::pin!(self.room.freed.notified());
            freed.as_mut().enable();
            let own = *locked(&self.waiting);
            let limits = self.room.limits;
            if own == 0 || own < limits.bytes_of_one && self.room.waiting() < limits.bytes {
                return;
            }
            freed.await;
        }
    }

    /// Counts a chunk.
    pub(super) fn add(&self, bytes: usize) {
        let bytes = bytes + CHUNK_OVERHEAD_BYTES;
        *locked(&self.waiting) += bytes;
        *locked(&self.room.waiting) += bytes;
    }

    /// A chunk has gone.
    pub(super) fn remove(&self, bytes: usize) {
        self.give_back(bytes + CHUNK_OVERHEAD_BYTES);
    }

    fn give_back(&self, bytes: usize) {
        *locked(&self.waiting) -= bytes;
        *locked(&self.room.waiting) -= bytes;
        self.room.freed.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let own = *locked(&self.waiting);
        self.give_back(own);
    }
}

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Crowd {
    connections_max: usize,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// Those whose client has closed, while something of theirs still waits.
    abandoned: BTreeMap<u64, Arc<Notify>>,
}

impl Crowd {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let (connections_max, state) = (limits.connections, Mutex::default());
        Arc::new(Self { connections_max, state, left: Notify::new() })
    }

    /// Waits until there may be one more. The connection that has been without its client for longest makes room.
    pub(super) async fn admit(&self) {
        loop {
            let oldest = {
                let mut state = locked(&self.state);
                if state.count < self.connections_max {
                    return;
                }
                state.abandoned.pop_first()
            };
            if let Some((_, ends)) = oldest {
                ends.notify_one();
            }
            self.left.notified().await;
        }
    }

    /// A new connection, by its number.
    pub(super) fn enter(self: &Arc<Self>, number: u64) -> Member {
        locked(&self.state).count += 1;
        Member { crowd: Arc::clone(self), number, ends: Arc::default() }
    }
}

/// A connection among all; dropped with it.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    ends: Arc<Notify>,
}

impl Member {
    /// Its client has closed.
    pub(super) fn abandon(&self) {
        locked(&self.crowd.state).abandoned.insert(self.number, Arc::clone(&self.ends));
    }

    /// Waits until it has to make room.
    pub(super) async fn displaced(&self) {
        self.ends.notified().await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = locked(&self.crowd.state);
        state.count -= 1;
        state.abandoned.remove(&self.number);
        drop(state);
        // One is enough: one task accepts. It is kept if that does not wait yet.
        self.crowd.left.notify_one();
    }
}
