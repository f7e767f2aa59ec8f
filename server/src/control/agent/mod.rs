//! The server's side of the control protocol: renewals and leases, reports, announcements,
//! gossip within the group, leaving. Pure: the thread in `mod.rs` moves the datagrams.
//!
//! Everything that the master has to know is repeated until it is answered. Everything that the
//! master sends is full state, and is dropped unless it is newer than the agent's. A server that
//! does not hear the master also sends through members of its group.
//!
//! ```text
//! hearing.rs   datagrams that come      leases.rs    what the master grants
//! group.rs     the group's other members: who hears the master, who is dead
//! senders.rs   what was seen before     counters.rs  for STATS
//! trust.rs     what is not believed
//! ```

mod counters;
mod group;
mod hearing;
mod interface;
mod leases;
mod senders;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use standin_config::Mode;
use standin_protocol::control::{
    Datagram, DatagramKind, ProbeOutcome, Probed, SENDER_MASTER, STATES_PER_DATAGRAM, gossip_flags,
    renew_flags,
};
use standin_protocol::lease::over_at;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_protocol::queue::Queue;
use standin_protocol::states::Assembly;
use standin_protocol::time::Micros;

pub use self::counters::AgentCounters;
use self::group::Group;
pub use self::interface::{AgentConfig, Input, Output, Since};
use self::leases::Leases;
use self::senders::Senders;
use self::trust::Trust;
use crate::node::{Lease, PeerProbe, Word};

#[derive(Debug)]
struct Question {
    nonce: u64,
    resend_at: Micros,
    tries: u32,
}

/// A probe of a member of the group that is under way.
#[derive(Debug)]
struct Probe {
    nonce: u64,
    server: u16,
    asked: Micros,
    /// The nonce of the master's request, if the master has asked for this probe.
    for_master: Option<u64>,
}

/// The number of times that a report is sent before the agent gives up. A shard that still can't
/// reach the server reports it again.
const REPORT_TRIES: u32 = 10;
/// The lease of a server that has just started, or has given its lease back.
const NO_LEASE: Lease = Lease { until: Micros(0), orphan: false };
/// The number of members through which a datagram for the master is relayed.
const DETOURS: usize = 2;
/// The largest number of probes under way. Beyond it the oldest is forgotten, and will be asked for
/// again.
const PROBES: usize = 64;

/// The least that a gossip says about its sender's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    /// Its epoch.
    Epoch,
    /// All of it.
    States,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    topology: Arc<Topology>,
    map: Option<Arc<ClusterMap>>,
    /// States of a newer map, of which parts are here.
    parts: Assembly,
    drained: Vec<MapEpoch>,
    acknowledged: MapEpoch,
    reports: BTreeMap<u16, Question>,
    leaving: Option<Question>,
    has_left: bool,
    leases: Leases,
    /// The lease had not expired at the last check.
    is_leased: bool,
    group: Group,
    senders: Senders,
    probes: VecDeque<Probe>,
    /// The time at which the master was last heard, directly or through a member.
    heard_at: Micros,
    is_master_lost: bool,
    since: Since,
    /// The newest epoch that the master has named.
    heard_epoch: MapEpoch,
    trust: Trust,
    is_origin_down: bool,
    /// The lease that the shards were last given.
    told: Lease,
    /// It had not expired at the last check.
    may_own: bool,
    /// It has expired although this server is online by its map and does not leave.
    is_lease_lost: bool,
    renew_at: Micros,
    gossip_at: Micros,
    sequence: u64,
    nonce: u64,
    outputs: VecDeque<Output>,
    /// The agent's counters.
    pub counters: AgentCounters,
}

impl Agent {
    /// Creates an agent that renews at once.
    #[must_use]
    pub fn new(config: AgentConfig, topology: Arc<Topology>, now: Micros) -> Self {
        let group = Group::new(&topology, &config);
        Self {
            drained: vec![MapEpoch::default(); usize::from(config.shards)],
            nonce: config.nonce,
            topology,
            map: None,
            parts: Assembly::default(),
            acknowledged: MapEpoch::default(),
            reports: BTreeMap::new(),
            leaving: None,
            has_left: false,
            leases: Leases::default(),
            is_leased: false,
            senders: Senders::default(),
            probes: VecDeque::new(),
            heard_at: now,
            is_master_lost: false,
            since: Since { granted: now, map: now },
            heard_epoch: MapEpoch::default(),
            trust: Trust::default(),
            is_origin_down: false,
            told: NO_LEASE,
            may_own: false,
            is_lease_lost: false,
            renew_at: now,
            gossip_at: if group.members.is_empty() { Micros::NEVER } else { now },
            group,
            config,
            sequence: 0,
            outputs: VecDeque::new(),
            counters: AgentCounters::default(),
        }
    }

    /// Returns the times of the last grant and of the map.
    #[must_use]
    pub fn since(&self) -> Since {
        self.since
    }

    /// Whether nothing has been heard from the master for half a lease.
    #[must_use]
    pub fn is_master_lost(&self) -> bool {
        self.is_master_lost
    }

    /// Whether this server can't act as the owner of its partitions any more, because its lease has
    /// expired and it is no orphan.
    #[must_use]
    pub fn is_lease_lost(&self) -> bool {
        self.is_lease_lost
    }

    /// Whether this server goes on as the owner of its partitions without the master.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.told.orphan
    }

    /// Handles an event.
    pub fn handle(&mut self, now: Micros, input: Input) {
        match input {
            Input::Datagram { from, datagram } => self.heard(now, from, datagram),
            Input::Report(server) => {
                if !self.reports.contains_key(&server) {
                    let question = self.question(now);
                    self.reports.insert(server, question);
                }
            }
            Input::Drained { shard, epoch } => {
                if let Some(drained) = self.drained.get_mut(usize::from(shard)) {
                    *drained = epoch.max(*drained);
                }
                self.acknowledge(now);
                self.leave_if_taken_out();
            }
            Input::Probed { nonce, server, outcome } => self.probed(now, nonce, server, outcome),
            Input::OriginDown(is_down) => self.is_origin_down = is_down,
            Input::Leave => {
                if self.leaving.is_none() {
                    self.leaving = Some(self.question(now));
                }
            }
            Input::Tick => {}
        }
        self.tick(now);
    }

    /// Returns what the thread has to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns the time at which [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        let questions = self.reports.values().chain(&self.leaving);
        let due = questions.map(|question| question.resend_at).fold(self.renew_at, Micros::min);
        let master = match self.is_master_lost {
            false => self.heard_at + self.config.lease / 2,
            true if self.may_be_orphan() => self.group.probe_deadline(),
            true => Micros::NEVER,
        };
        let lease = if self.is_leased { self.leases.until() } else { Micros::NEVER };
        let orphan = if self.told.orphan { self.told.until } else { Micros::NEVER };
        due.min(self.gossip_at).min(master).min(lease).min(orphan)
    }

    /// Returns the agent's map.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.map.as_ref()
    }

    /// Returns the lease that the shards were last given: how long this server may act as an owner.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.told
    }

    /// Returns the lengths of everything that grows in the agent.
    pub fn queues(&self) -> impl Iterator<Item = Queue> + '_ {
        let servers = self.topology.servers.len();
        let own = [
            Queue::new("reports", self.reports.len(), servers),
            Queue::new("agent's probes", self.probes.len(), PROBES),
            Queue::new("agent's outputs", self.outputs.len(), 0),
            self.senders.queue(self.group.members.len() + 1),
        ];
        own.into_iter().chain(self.leases.queues()).chain(self.group.queues())
    }

    fn epoch(&self) -> MapEpoch {
        self.map.as_ref().map_or(MapEpoch::default(), |map| map.epoch)
    }

    fn may_be_orphan(&self) -> bool {
        self.config.mode == Mode::Available
    }

    fn next_nonce(&mut self) -> u64 {
        self.nonce = self.nonce.wrapping_add(1);
        self.nonce
    }

    fn question(&mut self, now: Micros) -> Question {
        Question { nonce: self.next_nonce(), resend_at: now, tries: 0 }
    }

    fn acknowledge(&mut self, now: Micros) {
        // Before the first map there is nothing to acknowledge.
        let Some(map) = &self.map else { return };
        let epoch = map.epoch;
        if self.acknowledged < epoch && self.drained.iter().all(|drained| *drained >= epoch) {
            self.acknowledged = epoch;
            self.tell_master(now, DatagramKind::Ack, 0, 0, 0);
        }
    }

    /// The server has left once the map says so, and everything that began before has ended.
    fn leave_if_taken_out(&mut self) {
        // Before the first map this server is in no map.
        let Some(map) = &self.map else { return };
        let is_out = map.state(self.config.server) == ServerState::Offline;
        if self.leaving.is_some() && is_out && self.acknowledged == map.epoch && !self.has_left {
            self.has_left = true;
            self.outputs.push_back(Output::Left);
        }
    }

    fn tick(&mut self, now: Micros) {
        let is_lost = now >= self.heard_at + self.config.lease / 2;
        if is_lost != self.is_master_lost {
            self.is_master_lost = is_lost;
            if is_lost {
                self.counters.masters_lost += 1;
                self.group.master_lost();
            }
            // The other members wait for this word before they go on without the master, and must
            // stop as soon as it is no longer true.
            if !self.group.members.is_empty() {
                self.gossip_at = now;
            }
        }
        if now >= self.renew_at && self.leaving.is_none() {
            self.renew_at = now + self.config.renew_interval;
            let nonce = self.next_nonce();
            self.leases.renewed(nonce, now);
            let down = if self.is_origin_down { renew_flags::ORIGIN_DOWN } else { 0 };
            let mode = if self.config.mode == Mode::Strict { renew_flags::STRICT } else { 0 };
            let flags = down | mode;
            self.tell_master(now, DatagramKind::Renew, 0, nonce, flags);
        }
        if now >= self.gossip_at {
            self.gossip_at = now + self.config.renew_interval;
            let members: Vec<u16> = self.group.members.iter().map(|m| m.server).collect();
            members.into_iter().for_each(|member| self.gossip_to(now, member, Tell::Epoch));
        }
        self.repeat_questions(now);
        if is_lost && self.may_be_orphan() {
            for server in self.group.due_probes(now) {
                // Otherwise probes of a stuck shard would pile up.
                let is_own = |p: &Probe| p.server == server && p.for_master.is_none();
                if !self.probes.iter().any(is_own) {
                    self.ask_probe(now, server, None);
                }
            }
        }
        self.tell_lease(now);
    }

    fn repeat_questions(&mut self, now: Micros) {
        let mut due = Vec::new();
        self.reports.retain(|server, question| {
            if now >= question.resend_at {
                question.tries += 1;
                question.resend_at = now + self.config.resend;
                due.push((DatagramKind::ReportFailed, *server, question.nonce, question.tries));
            }
            question.tries <= REPORT_TRIES
        });
        if let Some(question) = &mut self.leaving
            && now >= question.resend_at
        {
            self.renew_at = Micros::NEVER;
            question.tries += 1;
            question.resend_at = now + self.config.resend;
            due.push((DatagramKind::Leaving, self.config.server, question.nonce, question.tries));
        }
        for (kind, subject, nonce, tries) in due {
            self.tell_master(now, kind, subject, nonce, tries);
        }
    }

    /// Tells the shards how long this server may act as an owner, if that has changed.
    fn tell_lease(&mut self, now: Micros) {
        let until = self.leases.until();
        let is_leased = now < until;
        self.counters.leases_expired += u64::from(self.is_leased && !is_leased);
        self.is_leased = is_leased;
        // A server that is alone in its group has no other server to give way to, so it becomes an
        // orphan without having lost the master.
        let is_single = self.group.members.is_empty();
        let alone = match &self.map {
            Some(map)
                if self.may_be_orphan()
                    && !self.is_behind()
                    && (self.is_master_lost || is_single && !is_leased) =>
            {
                self.group.alone_until(map.epoch)
            }
            _ => Micros(0),
        };
        // This is decided before the lease expires, so that service does not stop in between.
        let lease = match alone > until && alone > now {
            true => Lease { until: alone, orphan: true },
            false => Lease { until, orphan: false },
        };
        if lease != self.told {
            self.counters.orphan_spells += u64::from(lease.orphan && !self.told.orphan);
            self.counters.is_orphan = lease.orphan.into();
            self.told = lease;
            self.outputs.push_back(Output::Lease(lease));
        }
        let may_own = now < lease.until;
        let is_online = |map: &ClusterMap| map.state(self.config.server) == ServerState::Online;
        let is_to_own = self.leaving.is_none() && self.map.as_deref().is_some_and(is_online);
        self.is_lease_lost = !may_own && is_to_own && (self.may_own || self.is_lease_lost);
        self.may_own = may_own;
        self.counters.is_leased = (may_own && !lease.orphan).into();
    }

    fn ask_probe(&mut self, now: Micros, server: u16, for_master: Option<u64>) {
        if self.probes.len() == PROBES {
            self.probes.pop_front();
        }
        let nonce = self.next_nonce();
        self.probes.push_back(Probe { nonce, server, asked: now, for_master });
        self.counters.peer_probes += 1;
        self.outputs.push_back(Output::AskProbe { nonce, server });
    }

    fn probed(&mut self, now: Micros, nonce: u64, server: u16, outcome: PeerProbe) {
        // A probe that was given up may still end.
        let Some(at) = self.probes.iter().position(|probe| probe.nonce == nonce) else { return };
        let Some(Probe { asked, for_master, .. }) = self.probes.remove(at) else {
            unreachable!("the probe was just found at this position");
        };
        if let Some(member) = self.group.member(server)
            && member.probed(now, asked, outcome, self.config.resend)
            && self.is_master_lost
            && self.leaving.is_none()
        {
            // The network works again, so perhaps the master can be reached as well.
            self.renew_at = now;
        }
        // The outcome of this server's own probe is for nobody else.
        let Some(nonce) = for_master else { return };
        let (outcome, probed) = match outcome {
            PeerProbe::Silent => (ProbeOutcome::Silent, None),
            PeerProbe::Busy => (ProbeOutcome::Busy, None),
            PeerProbe::Refused => (ProbeOutcome::Refused, None),
            PeerProbe::Answered { boot_id, map_epoch } => {
                (ProbeOutcome::Answered, Some(Probed { boot_id, map_epoch }))
            }
        };
        let datagram = self.datagram(DatagramKind::ProbeResult, server, nonce, outcome as u32);
        self.send_to_master(now, &Datagram { probed, ..datagram });
    }

    /// Whether there is a newer map than this server's: the master has named it, or granted a lease
    /// under it. Until it arrives, neither this server nor another on its word goes on without the
    /// master.
    fn is_behind(&self) -> bool {
        self.heard_epoch > self.epoch()
    }

    fn gossip_to(&mut self, now: Micros, server: u16, tell: Tell) {
        let is_lost = self.is_master_lost && !self.is_behind();
        let flags = if is_lost { gossip_flags::MASTER_LOST } else { 0 };
        // States that fit into the same datagram cost nothing.
        let has_room = self.topology.servers.len() <= STATES_PER_DATAGRAM;
        let told = self.map.as_ref().filter(|_| has_room || tell == Tell::States);
        let statuses = told.map_or(Vec::new(), |map| map.statuses().to_vec());
        let parts = statuses.len().div_ceil(STATES_PER_DATAGRAM).max(1) as u64;
        // The receiver echoes the last part, since it is the newest.
        let last = self.sequence + parts;
        // A server of another group is not a member.
        let Some(member) = self.group.member(server) else { return };
        let nonce = member.gossiped(last, now);
        if is_lost && self.may_be_orphan() {
            let until = over_at(now, self.config.lease);
            self.outputs.push_back(Output::Word(Word { epoch: self.epoch(), until }));
        }
        let datagram = self.datagram(DatagramKind::Gossip, 0, nonce, flags);
        let whole = Datagram { recipient: server, statuses, ..datagram };
        self.counters.gossip_sent += 1;
        for part in whole.parts() {
            self.send(server, part);
        }
    }

    fn datagram(&self, kind: DatagramKind, subject: u16, nonce: u64, arg: u32) -> Datagram {
        let AgentConfig { server, boot_id, .. } = self.config;
        let datagram = Datagram::new(kind, server, self.topology.id, boot_id);
        Datagram { subject, epoch: self.epoch(), nonce, arg, ..datagram }
    }

    fn tell_master(&mut self, now: Micros, kind: DatagramKind, subject: u16, nonce: u64, arg: u32) {
        let datagram = self.datagram(kind, subject, nonce, arg);
        self.send_to_master(now, &datagram);
    }

    /// Sends directly, and also through the group if the master has not been heard for a while.
    fn send_to_master(&mut self, now: Micros, datagram: &Datagram) {
        self.send(SENDER_MASTER, datagram.clone());
        if now >= self.heard_at + self.config.renew_interval * 3 / 2 {
            for member in self.group.detours(now, DETOURS) {
                self.counters.datagrams_detoured += 1;
                self.send(member, datagram.clone());
            }
        }
    }

    /// Each copy has its own sequence number. Otherwise the second would count as replayed.
    fn send(&mut self, to: u16, datagram: Datagram) {
        self.sequence += 1;
        let datagram = Datagram { sequence: self.sequence, ..datagram };
        self.outputs.push_back(Output::Send { to, datagram });
    }
}
