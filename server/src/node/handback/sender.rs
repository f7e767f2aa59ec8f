//! Handovers, which give partitions back to a server that returns. First this server sends the keys
//! that were written here (SETTLE). Then it says that these were all (HANDBACK). Then the master
//! learns that this server has released the partitions (`Output::Drained`).
//!
//! ```text
//! Draining ── nothing begun before is left ──► Telling ── all answered ──► Closing ──► Done
//!                                                 └──── one failed: given up ──────────►┘
//! ```
//! A new incarnation of a server has nothing that it could keep, so the log forgets what it would have
//! been told. But the incarnation that a map names as the new one may have been there for long: a
//! master that has lost its file may have named another one in between, which was dead. So a log that
//! has forgotten something says so in the next HANDBACK.
//!
//! If a handover is given up, the returning server can't keep its cache, because it lacks this
//! server's HANDBACK. Nothing else is lost. But while a forgotten write may still take effect, no
//! server may fill a cache, so this server does not release the partitions until then.

use standin_protocol::handback::FORGOTTEN;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::log::{Batch, Log};
use crate::timers::Timers;

/// The progress of a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Draining,
    Telling,
    Closing,
    /// Given up; the partitions are not released before this time.
    GivenUp(Micros),
    Done,
}

impl Phase {
    /// Returns the time before which this server does not release the partitions.
    fn until(self) -> Option<Micros> {
        match self {
            Self::GivenUp(until) => Some(until),
            _ => None,
        }
    }
}

/// One server's return, from this shard's point of view.
#[derive(Debug)]
struct Handover {
    server: u16,
    /// The epoch of the return.
    epoch: MapEpoch,
    /// Whether the server is another incarnation. It has nothing that it could keep, and is only
    /// told of writes that may still take effect.
    is_new: bool,
    phase: Phase,
    /// The number of messages that are not answered yet.
    unanswered: usize,
    /// The overflowed partitions that the HANDBACK names.
    overflowed: Vec<u32>,
    /// Whether the HANDBACK says that the log has forgotten keys.
    says_forgotten: bool,
}

/// The incarnations of a server according to the maps so far; 0 if none was named.
#[derive(Debug, Clone, Copy, Default)]
struct Incarnations {
    last: u64,
    /// The last incarnation that was online.
    online: u64,
    /// Whether the log has forgotten keys for a new incarnation, and no process of the server has
    /// been told that yet.
    has_forgotten: bool,
}

/// The handovers of all servers that return.
#[derive(Debug)]
pub(super) struct Sender {
    handovers: Vec<Handover>,
    /// The times before which the handovers that were given up do not release their partitions.
    given_up: Timers,
    /// The incarnations, by server id.
    incarnations: Vec<Incarnations>,
    /// The epoch of the first map that knows this incarnation. The incarnation remembers what it
    /// has written since.
    known_since: MapEpoch,
}

/// A message of a handover.
#[derive(Debug)]
pub(in crate::node) enum Message {
    /// A SETTLE with keys that were written here.
    Keys { server: u16, epoch: MapEpoch, batch: Batch },
    /// A HANDBACK, which says that these were all. It goes to every shard of the server.
    End(End),
}

/// The end of a handover.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct End {
    pub(in crate::node) server: u16,
    /// The epoch of the return.
    pub(in crate::node) epoch: MapEpoch,
    /// The epoch of the map since which this server remembers everything that it has written; that
    /// of [`FORGOTTEN`] if it has forgotten some of it.
    pub(in crate::node) complete_since: MapEpoch,
    /// The partitions for which it does not remember all keys.
    pub(in crate::node) overflowed: Vec<u32>,
}

/// The effect of the answer to a message of a handover.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum Progress {
    /// The answer is for no handover that goes on, or more answers are expected.
    None,
    /// All keys have been told.
    End(End),
    /// The server has acknowledged all messages.
    Done,
    /// The server could not be told.
    GivenUp,
}

impl Sender {
    pub(super) fn new(servers: usize) -> Self {
        let incarnations = vec![Incarnations::default(); servers];
        Self {
            handovers: Vec::new(),
            given_up: Timers::default(),
            incarnations,
            known_since: MapEpoch::default(),
        }
    }

    /// Notes that a map that knows this incarnation is about to be applied.
    pub(super) fn known_by(&mut self, epoch: MapEpoch) {
        if self.known_since == MapEpoch::default() {
            self.known_since = epoch;
        }
    }

    /// Plans the handovers for those members of the group that return under this map.
    pub(super) fn plan(
        &mut self,
        now: Micros,
        map: &ClusterMap,
        members: impl Iterator<Item = u16>,
        log: &mut Log,
    ) {
        for server in members {
            let status = map.statuses()[usize::from(server)];
            let known = &mut self.incarnations[usize::from(server)];
            // A master that has lost its file and has not heard from a server yet names no
            // incarnation. That does not mean that the server has restarted.
            let is_named = status.boot_id != 0 || mutant::is(Mutant::UnnamedIsAnother);
            let has_restarted = is_named && known.last != 0 && known.last != status.boot_id;
            if is_named {
                known.last = status.boot_id;
            }
            if is_named && status.state == ServerState::Online {
                known.online = status.boot_id;
            }
            let is_new = is_named && known.online != 0 && known.online != status.boot_id;
            if has_restarted && log.restarted(server, now) {
                known.has_forgotten = !mutant::is(Mutant::ForgottenUnsaid);
            }
            let is_planned = |h: &Handover| h.server == server && h.epoch == status.since;
            let returns = status.state == ServerState::Returning;
            if returns && self.handovers.iter().any(is_planned) {
                continue;
            }
            self.forget(server);
            if returns && !mutant::is(Mutant::NoHandback) {
                let phase = Phase::Draining;
                let (unanswered, overflowed) = (0, Vec::new());
                let epoch = status.since;
                let handover = Handover {
                    server,
                    epoch,
                    is_new,
                    phase,
                    unanswered,
                    overflowed,
                    says_forgotten: false,
                };
                self.handovers.push(handover);
            }
        }
    }

    /// Begins the handovers that waited until nothing that began under older ownerships was left.
    pub(super) fn begin(&mut self, now: Micros, topology: &Topology, log: &Log) -> Vec<Message> {
        let mut messages = Vec::new();
        for at in 0..self.handovers.len() {
            let Handover { server, epoch, is_new, phase, .. } = self.handovers[at];
            if phase != Phase::Draining {
                continue;
            }
            let batches = log.batches(server, now, |partition| topology.shard(server, partition));
            let has_forgotten = self.incarnations[usize::from(server)].has_forgotten;
            let is_empty = batches.is_empty() && log.overflowed(server).is_empty();
            if is_new && is_empty && !has_forgotten {
                self.handovers[at].phase = Phase::Done;
                continue;
            }
            self.handovers[at].phase = Phase::Telling;
            self.handovers[at].unanswered = batches.len();
            if batches.is_empty() {
                messages.push(Message::End(self.close(at, topology, log)));
            }
            let keys = batches.into_iter().map(|batch| Message::Keys { server, epoch, batch });
            messages.extend(keys);
        }
        messages
    }

    /// Whether nothing is left to hand over.
    pub(super) fn is_done(&self) -> bool {
        self.handovers.iter().all(|handover| handover.phase == Phase::Done)
    }

    fn close(&mut self, at: usize, topology: &Topology, log: &Log) -> End {
        let handover = &mut self.handovers[at];
        let (server, epoch) = (handover.server, handover.epoch);
        let overflowed = match mutant::is(Mutant::NoOverflow) {
            true => Vec::new(),
            false => log.overflowed(server),
        };
        handover.phase = Phase::Closing;
        handover.unanswered = usize::from(topology.servers[usize::from(server)].shards);
        handover.overflowed.clone_from(&overflowed);
        handover.says_forgotten = self.incarnations[usize::from(server)].has_forgotten;
        // An incarnation that no map knows yet does not know which keys the one before it wrote.
        let complete_since = match self.known_since == MapEpoch::default() {
            _ if handover.says_forgotten => MapEpoch::from_u64(FORGOTTEN),
            true => epoch,
            false => self.known_since,
        };
        End { server, epoch, complete_since, overflowed }
    }

    /// Notes that a SETTLE of a handover has ended.
    pub(super) fn told(
        &mut self,
        now: Micros,
        server: u16,
        epoch: MapEpoch,
        is_ok: bool,
        topology: &Topology,
        log: &Log,
    ) -> Progress {
        match self.find(server, epoch, Phase::Telling) {
            // A newer map has ended this handover, or an earlier answer has.
            None => Progress::None,
            Some(at) if !is_ok => self.give_up(now, at, log),
            Some(at) if self.is_last(at) => Progress::End(self.close(at, topology, log)),
            Some(at) => self.count_answer(at),
        }
    }

    /// Notes that a HANDBACK has ended.
    pub(super) fn closed(
        &mut self,
        now: Micros,
        server: u16,
        epoch: MapEpoch,
        is_ok: bool,
        log: &mut Log,
    ) -> Progress {
        match self.find(server, epoch, Phase::Closing) {
            // A newer map has ended this handover, or an earlier answer has.
            None => Progress::None,
            Some(at) if !is_ok => self.give_up(now, at, log),
            Some(at) if self.is_last(at) => {
                let handover = &mut self.handovers[at];
                handover.phase = Phase::Done;
                let overflowed = std::mem::take(&mut handover.overflowed);
                self.incarnations[usize::from(server)].has_forgotten &= !handover.says_forgotten;
                log.told_overflows(server, &overflowed, now);
                Progress::Done
            }
            Some(at) => self.count_answer(at),
        }
    }

    /// Removes the handovers to a server.
    fn forget(&mut self, server: u16) {
        let Self { handovers, given_up, .. } = self;
        handovers.retain(|handover| {
            let stays = handover.server != server;
            if !stays {
                given_up.change(handover.phase.until(), None);
            }
            stays
        });
    }

    fn find(&self, server: u16, epoch: MapEpoch, phase: Phase) -> Option<usize> {
        let is_it = |h: &Handover| (h.server, h.epoch, h.phase) == (server, epoch, phase);
        self.handovers.iter().position(is_it)
    }

    fn is_last(&self, at: usize) -> bool {
        self.handovers[at].unanswered <= 1
    }

    fn count_answer(&mut self, at: usize) -> Progress {
        self.handovers[at].unanswered -= 1;
        Progress::None
    }

    fn give_up(&mut self, now: Micros, at: usize, log: &Log) -> Progress {
        let handover = &mut self.handovers[at];
        let open_until = log.forgotten_open_until(handover.server);
        handover.phase = match open_until > now {
            true => Phase::GivenUp(open_until),
            false => Phase::Done,
        };
        self.given_up.change(None, handover.phase.until());
        Progress::GivenUp
    }

    /// Ends the handovers that were given up and whose forgotten writes can't take effect any more.
    /// Returns whether there were any.
    pub(super) fn expire_given_up(&mut self, now: Micros) -> bool {
        if !self.given_up.is_due(now) {
            return false;
        }
        for handover in &mut self.handovers {
            if let Phase::GivenUp(until) = handover.phase
                && now >= until
            {
                handover.phase = Phase::Done;
                self.given_up.remove(until);
            }
        }
        true
    }

    /// Returns the time at which [`Self::expire_given_up`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.handovers.iter().filter_map(|handover| handover.phase.until()).min();
        debug_assert_eq!(self.given_up.first(), scan());
        self.given_up.first()
    }

    /// Returns the number of handovers, including those that have ended.
    pub(super) fn len(&self) -> usize {
        self.handovers.len()
    }
}
