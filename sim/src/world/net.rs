//! The network: which hosts reach each other, the latencies, and TCP connections as processes see
//! them, with bytes in order, delays, cuts, and ends.
//!
//! A cut connection goes silent. Bytes that were sent wait, as they do in a kernel's buffers, and
//! arrive when the path is open again, if a process still listens then.

use std::collections::VecDeque;
use std::net::SocketAddr;

use standin_protocol::control::DATAGRAM_BYTES_SENT_MAX;

use super::events::{Event, Queue, Segment};
use crate::clock::{MS, Time};
use crate::plan::{HOSTS, Host};
use crate::random::mix;

/// The time after which TCP retransmits.
const RETRANSMISSION: Time = 200 * MS;

/// The owner of one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// No owner.
    None,
    /// A shard.
    Core { shard: usize, key: u64 },
    /// In transit from one shard to another.
    Handed,
    /// A client's engine.
    Engine(u64),
    /// A client of another program.
    Raw(usize),
    /// The master's probe, and the shard that it asks.
    Probe { task: u64, leg: usize },
}

#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: Host,
    /// The process's incarnation: a later one does not know the connection.
    pub(crate) life: u32,
    pub(crate) name: Name,
    pub(crate) is_open: bool,
    /// Whether its machine lost power, so that the other side was not told.
    pub(crate) is_ghost: bool,
    /// Bytes that arrived while it was handed over.
    pub(crate) early: Vec<Segment>,
    /// Bytes that can't arrive here because of a cut.
    stalled: VecDeque<Segment>,
    /// The time before which nothing that is sent later may arrive.
    last_at: Time,
}

/// A TCP connection; end 0 is the party that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) ends: [End; 2],
    /// Whether the party that opened it knows that it is open.
    pub(crate) is_made: bool,
}

#[derive(Debug, Clone, Copy)]
struct Noise {
    loss: u8,
    twice: u8,
    late_max: Time,
}

/// The network; see the head of this file.
#[derive(Debug)]
pub(crate) struct Net {
    seed: u64,
    cuts: [[u8; HOSTS]; HOSTS],
    stalls: [[u8; HOSTS]; HOSTS],
    mutes: [[u8; HOSTS]; HOSTS],
    noises: Vec<Noise>,
    pub(crate) sockets: Vec<Socket>,
    /// Recorded datagrams, by sender.
    recorded: Vec<VecDeque<(Host, SocketAddr, Vec<u8>)>>,
    records: bool,
    replays: [u8; HOSTS],
    pub(crate) lost: u64,
}

impl Net {
    pub(crate) fn new(seed: u64, records: bool) -> Self {
        Self {
            seed,
            cuts: [[0; HOSTS]; HOSTS],
            stalls: [[0; HOSTS]; HOSTS],
            mutes: [[0; HOSTS]; HOSTS],
            noises: Vec::new(),
            sockets: Vec::new(),
            recorded: vec![VecDeque::new(); HOSTS],
            records,
            replays: [0; HOSTS],
            lost: 0,
        }
    }

    /// Returns a latency, which is small and mostly the same. It is a hash, so that it depends only
    /// on the message.
    fn latency(&self, now: Time, from: Host, to: Host, salt: usize) -> (Time, u64) {
        let pair = (from.index() * HOSTS + to.index()) as u64;
        let hash = mix(self.seed ^ now, pair << 32 | salt as u64);
        let mut latency = 30 + hash % 120;
        if (hash >> 20).is_multiple_of(64) {
            latency += (hash >> 26) % (3 * MS);
        }
        for noise in &self.noises {
            latency += (hash >> 30) % (noise.late_max + 1);
        }
        (latency, mix(hash, 7))
    }

    pub(crate) fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cuts[from.index()][to.index()] > 0
    }

    pub(crate) fn cut(&mut self, from: Host, to: Host, begins: bool) {
        count(&mut self.cuts[from.index()][to.index()], begins);
    }

    pub(crate) fn stall(&mut self, from: Host, to: Host, begins: bool) {
        count(&mut self.stalls[from.index()][to.index()], begins);
    }

    pub(crate) fn mute(&mut self, from: Host, to: Host, begins: bool) {
        count(&mut self.mutes[from.index()][to.index()], begins);
    }

    pub(crate) fn replay(&mut self, from: Host, begins: bool) {
        count(&mut self.replays[from.index()], begins);
    }

    pub(crate) fn add_noise(&mut self, loss: u8, twice: u8, late_max: Time) {
        self.noises.push(Noise { loss, twice, late_max });
    }

    pub(crate) fn remove_noise(&mut self, loss: u8, twice: u8, late_max: Time) {
        let same = |n: &Noise| (n.loss, n.twice, n.late_max) == (loss, twice, late_max);
        if let Some(at) = self.noises.iter().position(same) {
            self.noises.remove(at);
        }
    }

    /// Sends a datagram from a host.
    pub(crate) fn datagram(
        &mut self,
        queue: &mut Queue,
        now: Time,
        (sender, from): (Host, SocketAddr),
        to: Host,
        bytes: Vec<u8>,
    ) {
        // Larger ones could be fragmented.
        assert!(bytes.len() <= DATAGRAM_BYTES_SENT_MAX, "a datagram of {} bytes", bytes.len());
        let (latency, hash) = self.latency(now, sender, to, bytes.len());
        if self.is_cut(sender, to) || self.mutes[sender.index()][to.index()] > 0 {
            self.lost += 1;
            return;
        }
        if self.records {
            let replays = self.replays[sender.index()] > 0;
            let recorded = &mut self.recorded[sender.index()];
            if replays && !recorded.is_empty() {
                let which = usize::try_from(hash >> 8).unwrap_or(0) % recorded.len();
                let (to, from, bytes) = recorded[which].clone();
                let at = now + (hash >> 16) % (20 * MS);
                queue.push(at, Event::Datagram { to, from, bytes });
            }
            if recorded.len() == 64 {
                recorded.pop_front();
            }
            recorded.push_back((to, from, bytes.clone()));
        }
        let loss = self.noises.iter().map(|noise| u64::from(noise.loss)).max().unwrap_or(0);
        let twice = self.noises.iter().map(|noise| u64::from(noise.twice)).max().unwrap_or(0);
        if hash % 100 < loss {
            self.lost += 1;
            return;
        }
        if (hash >> 10) % 100 < twice {
            let at = now + latency + (hash >> 20) % (50 * MS);
            queue.push(at, Event::Datagram { to, from, bytes: bytes.clone() });
        }
        queue.push(now + latency, Event::Datagram { to, from, bytes });
    }

    /// Opens a connection to a host.
    pub(crate) fn open(
        &mut self,
        queue: &mut Queue,
        now: Time,
        from: (Host, u32, Name),
        to: Host,
    ) -> usize {
        let end = |host, life, name, is_open| End {
            host,
            life,
            name,
            is_open,
            is_ghost: false,
            early: Vec::new(),
            stalled: VecDeque::new(),
            last_at: 0,
        };
        let (host, life, name) = from;
        self.sockets.push(Socket {
            is_made: false,
            ends: [end(host, life, name, true), end(to, 0, Name::None, false)],
        });
        let socket = self.sockets.len() - 1;
        self.send(queue, now, socket, 0, Segment::Open);
        socket
    }

    /// Sends from one end to the other.
    pub(crate) fn send(
        &mut self,
        queue: &mut Queue,
        now: Time,
        socket: usize,
        from_end: usize,
        segment: Segment,
    ) {
        let ends = &self.sockets[socket].ends;
        let (from, to) = (ends[from_end].host, ends[1 - from_end].host);
        let bytes = match &segment {
            Segment::Data(bytes) => bytes.len(),
            _ => 0,
        };
        let (mut latency, hash) = self.latency(now, from, to, bytes);
        // A kernel hides most losses by retransmitting at once.
        if self.noises.iter().any(|noise| hash % 400 < u64::from(noise.loss)) {
            latency += RETRANSMISSION / 10 + (hash >> 9) % RETRANSMISSION;
        }
        let end = &mut self.sockets[socket].ends[1 - from_end];
        end.last_at = end.last_at.max(now + latency);
        queue.push(end.last_at, Event::Segment { socket, end: 1 - from_end, segment });
    }

    /// Delivers a segment to the end's host; `None` if it can't be delivered now.
    pub(crate) fn arrive(
        &mut self,
        socket: usize,
        end: usize,
        segment: Segment,
    ) -> Option<Segment> {
        let ends = &self.sockets[socket].ends;
        let (from, to) = (ends[1 - end].host, ends[end].host);
        let is_stalled = self.is_cut(from, to) || self.stalls[from.index()][to.index()] > 0;
        let to = &mut self.sockets[socket].ends[end];
        if is_stalled || !to.stalled.is_empty() {
            to.stalled.push_back(segment);
            return None;
        }
        Some(segment)
    }

    /// Sends the waiting segments again, because paths may be open again.
    pub(crate) fn release(&mut self, queue: &mut Queue, now: Time) {
        for socket in 0..self.sockets.len() {
            for end in 0..2 {
                let ends = &self.sockets[socket].ends;
                let (from, to) = (ends[1 - end].host, ends[end].host);
                let is_stalled = self.is_cut(from, to) || self.stalls[from.index()][to.index()] > 0;
                if is_stalled || ends[end].stalled.is_empty() {
                    continue;
                }
                // TCP notices with the next retransmission.
                let (latency, hash) = self.latency(now, from, to, socket);
                let at = now + latency + hash % (20 * MS);
                // When a connecting party gives up, its kernel discards what could not be sent.
                let is_given_up = end == 1 && !ends[0].is_open;
                let to = &mut self.sockets[socket].ends[end];
                to.last_at = to.last_at.max(at);
                for segment in std::mem::take(&mut to.stalled) {
                    let segment = match segment {
                        Segment::Data(_) if is_given_up => continue,
                        Segment::End if is_given_up => Segment::Reset,
                        other => other,
                    };
                    queue.push(to.last_at, Event::Segment { socket, end, segment });
                }
            }
        }
    }

    /// Resets the connections between two hosts. Both sides learn it.
    pub(crate) fn reset_between(&mut self, queue: &mut Queue, now: Time, a: Host, b: Host) {
        for socket in 0..self.sockets.len() {
            let ends = &mut self.sockets[socket].ends;
            let hosts = (ends[0].host, ends[1].host);
            if (hosts == (a, b) || hosts == (b, a)) && ends[0].is_open && ends[1].is_open {
                ends.iter_mut().for_each(|end| end.stalled.clear());
                for end in 0..2 {
                    queue.push(now + 1, Event::Segment { socket, end, segment: Segment::Reset });
                }
            }
        }
    }

    /// Ends a process's connections. Its kernel tells the other sides, unless the machine failed.
    pub(crate) fn host_died(&mut self, queue: &mut Queue, now: Time, host: Host, silent: bool) {
        for socket in 0..self.sockets.len() {
            for end in 0..2 {
                let it = &mut self.sockets[socket].ends[end];
                if it.host != host || !it.is_open {
                    continue;
                }
                it.is_open = false;
                it.is_ghost = silent;
                if !silent {
                    self.send(queue, now, socket, end, Segment::Reset);
                }
            }
        }
    }

    /// Notes that a machine is back. It does not know its earlier connections.
    pub(crate) fn host_is_back(&mut self, queue: &mut Queue, now: Time, host: Host) {
        for socket in 0..self.sockets.len() {
            for end in 0..2 {
                let it = &mut self.sockets[socket].ends[end];
                if it.host == host && std::mem::take(&mut it.is_ghost) {
                    self.send(queue, now, socket, end, Segment::Reset);
                }
            }
        }
    }
}

fn count(counter: &mut u8, begins: bool) {
    match begins {
        true => *counter += 1,
        false => *counter = counter.saturating_sub(1),
    }
}
