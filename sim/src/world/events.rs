//! The queue of events, in order of time. Events of the same time happen in the order in which they
//! were added.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use standin_master::State;
use standin_server::origin::Done;

use crate::clock::{NEVER, Time};
use crate::plan::Host;

/// A thread of a process, which does one thing after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    Shard(usize, usize),
    Control(usize),
    /// The threads that talk to the origin.
    Driver(usize),
    Client(usize),
    Master(usize),
}

impl Actor {
    pub(crate) fn host(self) -> Host {
        match self {
            Self::Shard(server, _) | Self::Control(server) | Self::Driver(server) => {
                Host::Server(server)
            }
            Self::Client(id) => Host::Client(id),
            Self::Master(id) => Host::Master(id),
        }
    }

    pub(crate) fn index(self) -> u64 {
        match self {
            Self::Shard(server, shard) => (self.host().index() + server * 64 + shard * 16) as u64,
            Self::Control(_) => self.host().index() as u64 + 0x1000,
            Self::Driver(_) => self.host().index() as u64 + 0x2000,
            _ => self.host().index() as u64,
        }
    }
}

/// A segment of a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Open,
    Opened,
    Refused,
    Data(Vec<u8>),
    /// No more will come.
    End,
    Reset,
}

/// An event.
#[derive(Debug)]
pub(crate) enum Event {
    /// An entry of the plan begins, or ends.
    Begin(usize),
    End(usize),
    /// An actor's deadline.
    Wake(Actor),
    /// A paused actor may go on.
    Resume(Actor),
    /// Another thread of the process has left a message.
    Mail(Actor),
    Datagram {
        to: Host,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A segment arrives at a host.
    Segment {
        socket: usize,
        end: usize,
        segment: Segment,
    },
    /// A process reads a segment.
    Arrived {
        socket: usize,
        end: usize,
        segment: Segment,
    },
    /// A call that waits in a server is handed to the origin.
    Handed {
        server: usize,
        life: u32,
        slot: usize,
    },
    /// The origin executes a call.
    Call(usize),
    /// A server gets an answer from the origin.
    Answer {
        server: usize,
        life: u32,
        shard: u16,
        done: Done,
    },
    Saved {
        master: usize,
        life: u32,
        state: Box<State>,
    },
    /// A client of another program closes its connection.
    RawLeaves(usize),
    /// The next step of the quiet phase.
    Quiet,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The entries of the plan that have not begun, the next one last. They were added first, and
    /// are kept out of the heap to keep it small.
    planned: Vec<(Time, usize)>,
    heap: BinaryHeap<Reverse<(Time, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    count: u64,
}

impl Queue {
    /// Creates a queue in which the entries of a plan begin at these times.
    pub(crate) fn of_plan(begins: impl Iterator<Item = Time>) -> Self {
        let mut planned: Vec<(Time, usize)> = begins.zip(0..).collect();
        planned.sort_unstable_by_key(|entry| Reverse(*entry));
        Self { count: planned.len() as u64, planned, ..Self::default() }
    }

    pub(crate) fn push(&mut self, at: Time, event: Event) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        self.count += 1;
        self.heap.push(Reverse((at, self.count, slot)));
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, Event)> {
        let next_at = self.heap.peek().map_or(NEVER, |Reverse((at, ..))| *at);
        if let Some((at, index)) = self.planned.pop_if(|(at, _)| *at <= next_at) {
            return Some((at, Event::Begin(index)));
        }
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        Some((at, self.slots[slot].take()?))
    }

    /// Returns the number of events so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// An actor's schedule: whether it is paused, and when it wakes up by itself.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) paused_until: Time,
    pub(crate) inbox: VecDeque<Event>,
    /// The earliest [`Event::Wake`] under way.
    pub(crate) wake_at: Time,
    /// A [`Event::Mail`] is under way.
    pub(crate) has_mail: bool,
    /// The time until which the next event is begun although the actor is paused: the pause is in
    /// the middle of it.
    pub(crate) begins_one_until: Time,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            paused_until: 0,
            inbox: VecDeque::new(),
            wake_at: NEVER,
            has_mail: false,
            begins_one_until: 0,
        }
    }
}
