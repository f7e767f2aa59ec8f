//! The agent's knowledge of the other members of its group: whether they have lost the master, and
//! whether they are dead.
//!
//! A server may go on without a lease (as an *orphan*) as long as no other member of its group can
//! have become the owner in its place, because none of them hears the master. A member's word that
//! it has lost the master is valid for a limited time. Gossip repeats the name of the last gossip
//! that its sender has heard from its receiver, and the word counts from when the receiver sent
//! that one, as a lease counts from its renewal. So a datagram that was delayed, or that waited in
//! the socket of a stopped process, extends nothing.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::control::{Datagram, gossip_flags};
use standin_protocol::lease::held_until;
use standin_protocol::map::{ClusterMap, MapEpoch, Topology};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

use super::AgentConfig;
use crate::node::PeerProbe;

/// The number of gossips sent to a member whose echo may still come.
const GOSSIP: usize = 16;

/// A member's word that it has lost the master.
#[derive(Debug, Clone, Copy)]
struct Lost {
    /// The time at which this server sent the gossip that the word answers.
    asked: Micros,
    /// The member's map.
    epoch: MapEpoch,
}

/// Another member of the group.
#[derive(Debug)]
pub(super) struct Member {
    /// Its id.
    pub(super) server: u16,
    /// The sequence numbers of the gossip sent to it, the newest last, with the times of sending.
    sent: VecDeque<(u64, Micros)>,
    /// Incarnation and sequence number of the newest gossip heard from it.
    heard: Option<(u64, u64)>,
    /// The time at which its living incarnation was last heard.
    heard_at: Option<Micros>,
    /// Whether it said then that it heard the master.
    hears_master: bool,
    lost: Option<Lost>,
    /// If its port refuses connections, the time at which the last probe began.
    refused: Option<Micros>,
    /// The time since which its port is known to have refused, without a gap.
    refuses_since: Option<Micros>,
    /// The incarnation that answered a probe, whatever the map says.
    answers: Option<u64>,
    /// The time before which it is not probed again.
    probe_at: Micros,
}

/// Returns the name of a gossip, which distinguishes equal sequence numbers of different
/// incarnations.
fn name(boot_id: u64, sequence: u64) -> u64 {
    boot_id.wrapping_add(sequence)
}

impl Member {
    fn new(server: u16) -> Self {
        Self {
            server,
            sent: VecDeque::new(),
            heard: None,
            heard_at: None,
            hears_master: false,
            lost: None,
            refused: None,
            refuses_since: None,
            answers: None,
            probe_at: Micros(0),
        }
    }

    /// Notes that a gossip with this number is sent to the member; returns the name that it has to
    /// repeat.
    pub(super) fn gossiped(&mut self, sequence: u64, now: Micros) -> u64 {
        if self.sent.len() == GOSSIP {
            self.sent.pop_front();
        }
        self.sent.push_back((sequence, now));
        self.heard.map_or(0, |(boot_id, sequence)| name(boot_id, sequence))
    }

    /// Whether this incarnation is the living one. An incarnation other than the one that the
    /// master knows may have died long ago, unless it has answered a probe.
    fn is_alive(&self, boot_id: u64, map: Option<&ClusterMap>) -> bool {
        let known = map.map_or(0, |map| map.statuses()[usize::from(self.server)].boot_id);
        known == 0 || known == boot_id || self.answers == Some(boot_id)
    }

    /// Takes in a gossip whose map, if it is newer, has already become `map`. Returns whether the
    /// member hears the master again.
    pub(super) fn gossip(
        &mut self,
        now: Micros,
        gossip: &Datagram,
        own_boot_id: u64,
        map: Option<&ClusterMap>,
    ) -> bool {
        let (boot_id, sequence) = (gossip.boot_id, gossip.sequence);
        if self.heard.is_some_and(|(boot, newest)| boot == boot_id && newest > sequence) {
            return false;
        }
        self.heard = Some((boot_id, sequence));
        self.forget_refusals();
        if !self.is_alive(boot_id, map) {
            return false;
        }
        self.heard_at = Some(now);
        let did_hear = self.hears_master;
        self.hears_master = gossip.arg & gossip_flags::MASTER_LOST == 0;
        let is_echo = |(sent, _): &&(u64, Micros)| name(own_boot_id, *sent) == gossip.nonce;
        self.lost = match self.sent.iter().find(is_echo) {
            _ if self.hears_master => None,
            Some((_, asked)) => Some(Lost { asked: *asked, epoch: gossip.epoch }),
            None => self.lost,
        };
        self.hears_master && !did_hear
    }

    /// Takes in the outcome of a probe that began at `asked`. Returns whether it was refused for
    /// the first time. A first refusal does not count yet: it may be the first thing that gets
    /// through after this server was cut off, and the master may have announced another owner
    /// meanwhile. It counts when the port refuses again `patience` later and the master, asked in
    /// between, is silent.
    pub(super) fn probed(
        &mut self,
        now: Micros,
        asked: Micros,
        outcome: PeerProbe,
        patience: Duration,
    ) -> bool {
        self.answers = match outcome {
            PeerProbe::Answered { boot_id, .. } => Some(boot_id),
            PeerProbe::Silent | PeerProbe::Busy | PeerProbe::Refused => None,
        };
        if outcome != PeerProbe::Refused {
            self.forget_refusals();
            return false;
        }
        let is_first = self.refuses_since.is_none();
        let again_at = *self.refuses_since.get_or_insert(now) + patience;
        match asked >= again_at {
            true => self.refused = Some(asked),
            false => self.probe_at = again_at,
        }
        is_first
    }

    fn forget_refusals(&mut self) {
        (self.refused, self.refuses_since) = (None, None);
    }

    /// Returns the time until which the member has certainly not become an owner under a newer map.
    fn bound(&self, epoch: MapEpoch, lease: Duration) -> Option<Micros> {
        let lost = self.lost.filter(|lost| lost.epoch == epoch).map(|lost| lost.asked);
        lost.max(self.refused).map(|asked| held_until(asked, lease))
    }

    fn is_silent(&self, now: Micros, silence: Duration) -> bool {
        self.heard_at.is_none_or(|heard| now >= heard + silence)
    }
}

/// The other members of this server's group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    /// The silence after which a member is not expected to answer.
    silence: Duration,
    lease: Duration,
    probe_interval: Duration,
    /// The index at which the search for the next detour begins.
    rotation: usize,
}

impl Group {
    pub(super) fn new(topology: &Topology, config: &AgentConfig) -> Self {
        Self {
            members: topology.group_peers(config.server).map(Member::new).collect(),
            silence: config.renew_interval * 5 / 2,
            lease: config.lease,
            probe_interval: config.renew_interval,
            rotation: 0,
        }
    }

    pub(super) fn member(&mut self, server: u16) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.server == server)
    }

    /// Forgets findings that are only valid under the last map.
    pub(super) fn map_changed(&mut self) {
        for member in &mut self.members {
            (member.lost, member.answers) = (None, None);
            member.forget_refusals();
            member.probe_at = Micros(0);
        }
    }

    /// Notes that the master has been lost. A member that was dead before may have been alive in
    /// between.
    pub(super) fn master_lost(&mut self) {
        self.members.iter_mut().for_each(Member::forget_refusals);
    }

    /// Returns the lengths of the records of gossip with each member.
    pub(super) fn queues(&self) -> impl Iterator<Item = Queue> + '_ {
        self.members.iter().map(|member| Queue::new("gossip", member.sent.len(), GOSSIP))
    }

    /// Returns the members that have said that they do not hear the master.
    pub(super) fn without_master(&self) -> Vec<u16> {
        let without = |m: &&Member| m.heard_at.is_some() && !m.hears_master;
        self.members.iter().filter(without).map(|member| member.server).collect()
    }

    /// Returns the time until which, as far as is known, no member of the group hears the master.
    pub(super) fn alone_until(&self, epoch: MapEpoch) -> Micros {
        let bounds = self.members.iter().map(|member| member.bound(epoch, self.lease));
        // Of a member that has no bound nothing is known: it may hear the master.
        bounds.fold(Micros::NEVER, |all, bound| all.min(bound.unwrap_or_default()))
    }

    /// Returns up to `count` members that may reach the master, different ones each time.
    pub(super) fn detours(&mut self, now: Micros, count: usize) -> Vec<u16> {
        let hears = |m: &&Member| m.hears_master && !m.is_silent(now, self.silence);
        let mut servers: Vec<u16> = self.members.iter().filter(hears).map(|m| m.server).collect();
        if servers.is_empty() {
            servers = self.members.iter().map(|m| m.server).collect();
        }
        if servers.is_empty() {
            return servers;
        }
        let (from, count) = (self.rotation % servers.len(), count.min(servers.len()));
        self.rotation = self.rotation.wrapping_add(count);
        servers.rotate_left(from);
        servers.truncate(count);
        servers
    }

    /// Returns the members that have to be probed now because nothing is heard from them.
    pub(super) fn due_probes(&mut self, now: Micros) -> Vec<u16> {
        let (silence, interval) = (self.silence, self.probe_interval);
        let due = |m: &&mut Member| m.is_silent(now, silence) && now >= m.probe_at;
        let due = self.members.iter_mut().filter(due).map(|member| {
            member.probe_at = now + interval;
            member.server
        });
        due.collect()
    }

    /// Returns the time at which [`Self::due_probes`] returns a member.
    pub(super) fn probe_deadline(&self) -> Micros {
        let due = |m: &Member| m.heard_at.map_or(m.probe_at, |h| m.probe_at.max(h + self.silence));
        self.members.iter().map(due).min().unwrap_or(Micros::NEVER)
    }
}
