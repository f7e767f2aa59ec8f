//! The keys that are cached, for those who ask what is there. A key is given if a GET would find its
//! value in the cache now.
//!
//! A walk through the cluster asks every server that is online by the map. The partitions of the others
//! are cached by servers that are asked anyway, if at all. If one of them does not answer, the walk
//! waits for the master's decision, for a while only: it never passes over keys that may be cached. None
//! of this decides who may answer what.

use std::collections::VecDeque;

use bytes::Bytes;
use standin_protocol::map::{MapEpoch, ServerState};
use standin_protocol::time::Micros;

use super::answer::{PeerAnswer, Status};
use super::command::{Action, CommandHead, OwnedCommand};
use super::partitions::serving::Reach;
use super::{ForwardFailure, Forwarded, Node, Now, Output, Walked};

/// A shard of another server that is asked for a slice of a walk.
#[derive(Debug)]
pub(super) struct WalkAsked {
    /// The shell's name for the walk.
    walk: u64,
    server: u16,
    shard: u16,
    /// The value of the WALK.
    value: Bytes,
    /// The time at which it is given up; `None` until it has to wait.
    by: Option<Micros>,
}

/// The walks that wait because it is not known whether a server is online, in the order of the times at
/// which they are given up. The shell bounds their number.
#[derive(Debug, Default)]
pub(super) struct WalksAsked {
    waiting: VecDeque<WalkAsked>,
}

impl WalksAsked {
    /// Returns the time at which the first of them is given up.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.waiting.front().and_then(|asked| asked.by)
    }

    /// Returns the number of walks that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn wait(&mut self, asked: WalkAsked) {
        let at = self.waiting.partition_point(|other| other.by <= asked.by);
        self.waiting.insert(at, asked);
    }
}

impl Node {
    /// Returns the number of parts of the cache, which never changes.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.cache.parts()
    }

    /// Gives the cached keys of a part, each with its keyspace; only those of the slot, if there is one.
    /// Returns the number of items that were looked at.
    pub fn visit(
        &self,
        now: Now,
        part: u32,
        slot: Option<u16>,
        mut give: impl FnMut(u8, &[u8]),
    ) -> usize {
        let (now_ms, mut looked_at) = (now.mono.as_millis(), 0);
        let prefixes = self.topology.slot_prefixes.as_ref();
        self.cache.visit(part, |item| {
            looked_at += 1;
            if item.negative || item.expires_at_ms <= now_ms {
                return;
            }
            let (_, partition) = self.hash(item.keyspace, item.key);
            let is_served = self.partitions.serving(partition).keeps();
            if !is_served || item.version < self.partitions.read_floor(item.keyspace, partition) {
                return;
            }
            let of = || prefixes.map(|prefixes| prefixes.slot(item.keyspace, item.key));
            if slot.is_none() || slot == of() {
                give(item.keyspace, item.key);
            }
        });
        looked_at
    }

    /// Asks a shard of another server for a slice of a walk. [`Output::Walked`] brings what comes of it.
    pub fn ask_walk(&mut self, now: Now, walk: u64, (server, shard): (u16, u16), value: Bytes) {
        self.begin(now);
        self.go_on_with(now, WalkAsked { walk, server, shard, value, by: None });
    }

    /// Sends the WALK if the server is online, as far as is known, and otherwise lets it wait.
    fn go_on_with(&mut self, now: Now, asked: WalkAsked) {
        let (walk, server) = (asked.walk, asked.server);
        let state = self.partitions.map().map(|map| map.state(server));
        match state {
            Some(ServerState::Online) if self.peers.reach(server) == Reach::Direct => {
                let head = CommandHead::new(Action::Walk, 0);
                let command = OwnedCommand::new(head, Box::default(), asked.value.clone());
                self.send(server, asked.shard, Forwarded::Walk(asked), command);
            }
            None | Some(ServerState::Online) => self.let_wait(now, asked),
            // It owns nothing.
            Some(_) => self.outputs.push_back(Output::Walked { walk, walked: Walked::NotOnline }),
        }
    }

    /// Lets a walk wait until more is known of the server.
    fn let_wait(&mut self, now: Now, mut asked: WalkAsked) {
        let by = *asked.by.get_or_insert(now.mono + self.config.park_max);
        match now.mono < by {
            true => self.walks_asked.wait(asked),
            false => self.end_walk(&asked, Walked::Refused(Status::Unavailable)),
        }
    }

    fn end_walk(&mut self, asked: &WalkAsked, walked: Walked) {
        self.outputs.push_back(Output::Walked { walk: asked.walk, walked });
    }

    /// Handles the answer of another server to a WALK.
    pub(super) fn walk_done(&mut self, now: Now, asked: WalkAsked, answer: PeerAnswer<'_>) {
        let (head, value) = match answer {
            Ok(answer) => answer,
            Err(failure @ (ForwardFailure::Unreachable | ForwardFailure::Refused)) => {
                let refuses = failure == ForwardFailure::Refused;
                self.mark_unreachable(now, asked.server, refuses);
                return self.go_on_with(now, asked);
            }
            Err(ForwardFailure::NoRoom) => {
                return self.end_walk(&asked, Walked::Refused(Status::Overloaded));
            }
            Err(ForwardFailure::TimedOut | ForwardFailure::Stopped) => {
                return self.end_walk(&asked, Walked::Refused(Status::Unavailable));
            }
        };
        match head.status {
            // A server that is offline by this server's map may be online by that one.
            Status::Ok if MapEpoch::tag_is_newer(head.map_tag, self.map_tag()) => {
                self.let_wait(now, asked);
            }
            Status::Ok => self.end_walk(&asked, Walked::Answer(Bytes::copy_from_slice(value))),
            Status::Overloaded => self.end_walk(&asked, Walked::Refused(Status::Overloaded)),
            // The map that says so is under way.
            Status::ShuttingDown => self.let_wait(now, asked),
            _ => self.end_walk(&asked, Walked::Refused(Status::Unavailable)),
        }
    }

    /// Goes on with the walks that wait, because more is known of the servers now.
    pub(super) fn retry_walks(&mut self, now: Now) {
        for asked in std::mem::take(&mut self.walks_asked.waiting) {
            self.go_on_with(now, asked);
        }
    }

    /// Gives up the walks that have waited for as long as they may.
    pub(super) fn give_up_walks(&mut self, now: Now) {
        while let Some(asked) =
            self.walks_asked.waiting.pop_front_if(|asked| asked.by <= Some(now.mono))
        {
            self.end_walk(&asked, Walked::Refused(Status::Unavailable));
        }
    }
}
