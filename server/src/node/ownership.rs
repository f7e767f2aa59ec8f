//! What changes how partitions are served: maps, the lease, word of a peer, and time. Also the
//! end of what was begun before such a change (draining).

use std::sync::Arc;

use standin_config::Mode;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::flags;
use super::serving::{Reach, Serving, View, decide};
use super::{CallState, Node, Now, Output};

/// What this shard knows of a peer by its own experience.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer {
    /// Sending failed; not tried again before this time unless something contradicts it.
    unreachable_until: Option<Micros>,
    /// The master has contradicted it: only this server can't reach it.
    is_split: bool,
    /// Since when nothing has contradicted that, however often it was tried again.
    failing_since: Option<Micros>,
    /// The last attempt was refused: its process is dead.
    refuses: bool,
    /// A ping is on its way there.
    pub(super) is_pinged: bool,
    /// Its incarnation by the map.
    pub(super) boot_id: u64,
    /// The same, when it was online last.
    pub(super) online_boot_id: u64,
}

impl Peer {
    pub(super) fn retry_at(&self) -> Option<Micros> {
        self.unreachable_until
    }

    pub(super) fn failing_since(&self) -> Option<Micros> {
        self.failing_since
    }

    /// Whether it is known to be dead, and not only out of this shard's reach.
    pub(super) fn is_dead(&self) -> bool {
        self.refuses
    }

    pub(super) fn reach(&self) -> Reach {
        match (self.unreachable_until.is_some(), self.is_split) {
            (false, _) => Reach::Direct,
            (true, true) => Reach::Split,
            (true, false) => Reach::None,
        }
    }

    /// Something says that it can be reached.
    fn clear(&mut self) {
        self.unreachable_until = None;
        self.is_split = false;
        self.failing_since = None;
        self.refuses = false;
    }
}

/// Writes under way whose partition has changed hands since they began. A new owner may
/// fill its cache only when none is left, or it could keep what they overwrite.
#[derive(Debug, Default)]
pub(super) struct Drain {
    outdated: usize,
    pub(super) reported: MapEpoch,
}

impl Drain {
    pub(super) fn ended(&mut self) {
        self.outdated = self.outdated.saturating_sub(1);
    }
}

impl Node {
    /// Takes over a newer map; one that is not newer is dropped (scenarios 9–11).
    pub fn apply_map(&mut self, now: Now, map: Arc<ClusterMap>) {
        self.begin(now);
        let held = self.map.as_ref().map(|held| held.epoch);
        let is_newer = held.is_none_or(|held| held < map.epoch);
        if !(is_newer || mutant::is(Mutant::NoEpochCheck)) || map.topology.id != self.topology.id {
            return;
        }
        for (peer, status) in self.peers.iter_mut().zip(map.statuses()) {
            // The master's word counts more than what this shard saw before it.
            if status.since > held.unwrap_or_default() {
                peer.clear();
            }
        }
        let own = map.statuses()[usize::from(self.config.server)];
        if own.boot_id == self.config.boot_id && self.known_since == MapEpoch::default() {
            self.known_since = map.epoch;
        }
        self.home.on_map(&map, self.config.server);
        self.word_applied(map.epoch);
        let old = self.map.replace(Arc::clone(&map));
        self.map_tag = map.epoch.tag();
        self.map_bytes = map.to_bytes().into();
        self.counters.maps_applied += 1;
        self.refresh_serving(now, old.as_deref());
        self.plan_handovers(now, &map);
        self.plan_owed(now, &map);
        self.announce_drained(now);
        if own.state == ServerState::Returning {
            self.ask_measure();
        }
    }

    /// The master says that a server which this shard could not reach is online (claim 16): it
    /// goes on as the owner. It is reached through others until it answers here as well.
    pub fn verdict(&mut self, now: Now, server: u16, state: ServerState) {
        self.begin(now);
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        if state != ServerState::Online || peer.reach() == Reach::Direct {
            return;
        }
        self.ping_peer(server);
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        if peer.reach() == Reach::None {
            peer.is_split = true;
            peer.failing_since = None;
            peer.unreachable_until = Some(now.mono + self.config.unreachable_hold);
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    /// Bytes came from a peer: it can be reached after all.
    pub fn peer_answered(&mut self, now: Now, server: u16) {
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        let was_reached = peer.reach() == Reach::Direct;
        peer.clear();
        if !was_reached {
            self.begin(now);
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    pub(super) fn ping_done(&mut self, now: Now, server: u16, is_answered: bool) {
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        peer.is_pinged = false;
        if is_answered {
            self.peer_answered(now, server);
        } else {
            self.unpark_all(now);
        }
    }

    /// Sending to a peer failed: report it, stand in for it (claim 15). `refuses`: its port
    /// refused the connection.
    pub(super) fn mark_unreachable(&mut self, now: Now, server: u16, refuses: bool) {
        let until = now.mono + self.config.unreachable_hold;
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        peer.failing_since.get_or_insert(now.mono);
        let is_news = peer.refuses != refuses;
        peer.refuses = refuses;
        if peer.reach() == Reach::Direct {
            peer.unreachable_until = Some(until);
            self.counters.reports += 1;
            self.outputs.push_back(Output::Report { server });
            self.refresh_serving(now, self.map.clone().as_deref());
        } else if is_news {
            self.acknowledge_again(now);
        }
    }

    pub(super) fn expire_unreachable(&mut self, now: Now) {
        let mut changed = false;
        for peer in &mut self.peers {
            if peer.unreachable_until.is_some_and(|until| until <= now.mono) {
                peer.unreachable_until = None;
                peer.is_split = false;
                peer.refuses = false;
                changed = true;
            }
        }
        if changed {
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    /// Evaluates the table for every partition. Values of a partition that has become this
    /// server's are dropped in one step, its floor rises, unless nobody else can have changed
    /// them meanwhile: its ownership is the same as before, or its home knows of all that others
    /// wrote. What a stand-in has of a partition goes when it is another's; what it has kept before
    /// it is the owner ends by itself.
    pub(super) fn refresh_serving(&mut self, now: Now, old: Option<&ClusterMap>) {
        let reach: Vec<Reach> = self.peers.iter().map(Peer::reach).collect();
        let map = self.map.clone();
        let (server, boot_id) = (self.config.server, self.config.boot_id);
        let may_own = self.held.may_own();
        let is_available = self.config.mode == Mode::Available;
        let view = View { server, boot_id, is_available, may_own, reach: &reach };
        let floor = self.versions.next(now.wall_us);
        let is_told_all = map.as_ref().is_some_and(|map| self.is_told_all(map));
        let (mut owns_home, mut owns_anew) = (false, false);
        let (changed_home, changed_away) = (not_online(old), not_online(map.as_deref()));
        for partition in 0..self.topology.partitions {
            let is_home = self.topology.home(partition) == server;
            let epoch_by = |map: &ClusterMap| map.ownership(partition).epoch;
            let epoch = map.as_deref().map(epoch_by);
            let at = partition as usize;
            let may_keep = is_home && self.may_keep(is_told_all, partition);
            let serving = match decide(map.as_deref(), partition, view) {
                Serving::Cached if !may_keep && self.is_early(now, at, epoch) => Serving::Early,
                serving => serving,
            };
            owns_home |= is_home && serving == Serving::Cached;
            let was = self.partitions[at].serving;
            if was == serving && old.map(epoch_by) == epoch {
                continue;
            }
            owns_anew |= is_home && serving == Serving::Cached;
            let is_same = self.owned[at].is_some() && self.owned[at] == epoch;
            let was_owned = self.owned[at].is_some();
            let is_next = was.is_brief() && serving == Serving::Cached;
            let is_dropped = if serving == Serving::Cached {
                let is_kept = is_same || is_next || may_keep;
                self.owned[at] = epoch;
                self.counters.partitions_kept += u64::from(is_kept && was_owned && !is_same);
                !is_kept && (is_home || !mutant::is(Mutant::KeepStandInEntries))
            } else if serving.is_brief() {
                self.owned[at] = None;
                !(was == Serving::Waiting && serving == Serving::Early)
            } else if is_home
                || serving == Serving::Through
                || mutant::is(Mutant::KeepStandInEntries)
            {
                false
            } else {
                self.owned[at].take().is_some()
            };
            let state = &mut self.partitions[at];
            state.serving = serving;
            state.since = now.mono;
            state.generation = state.generation.wrapping_add(1);
            if serving.keeps() && (is_dropped || is_next) {
                let changed = if is_home { changed_home } else { changed_away };
                self.surge.took_over(now.mono, partition, is_home, changed);
            }
            state.owned_floor = match serving {
                Serving::Waiting | Serving::Early => u64::MAX,
                _ if is_dropped || is_next => floor,
                _ => state.owned_floor,
            };
            if is_dropped {
                state.version_floor = floor;
                self.counters.partitions_dropped += u64::from(was_owned);
            }
            let stand_in = if is_home { 0 } else { flags::STAND_IN };
            state.flags = match serving {
                Serving::Forward(_) | Serving::Relay(_) => 0,
                Serving::Provisional(_) => stand_in | flags::PROVISIONAL,
                _ => stand_in,
            };
        }
        if let Some(map) = map.as_ref().filter(|_| owns_home) {
            self.home.owns(map.epoch, owns_anew);
        }
        self.ceiling.owns(now.mono, self.partitions_owned());
        self.mark_outdated_writes();
        self.hand_on_held(now);
        self.acknowledge_again(now);
        self.unpark_all(now);
    }

    /// Partitions of this shard that it owns under a lease.
    fn partitions_owned(&self) -> u64 {
        let shards = usize::from(self.topology.servers[usize::from(self.config.server)].shards);
        let own = self.partitions.iter().skip(usize::from(self.config.shard)).step_by(shards);
        own.filter(|state| state.serving == Serving::Cached).count() as u64
    }

    fn mark_outdated_writes(&mut self) {
        for call in self.calls.values_mut() {
            let CallState::Write { pending, generation, outdated, begun, .. } = call else {
                continue;
            };
            let Some(pending) = self.pending.get(*pending) else { continue };
            let current = self.partitions[pending.partition as usize].generation;
            // What was begun without owning the partition belongs to no ownership: it may be the
            // same one before and after this map, and yet this server can be passed over next.
            if !*outdated && (current != generation.of_partition || !begun.as_owner) {
                *outdated = true;
                self.drain.outdated += 1;
            }
        }
    }

    /// Says so once nothing is left of what was begun under older maps, and a server that
    /// returns knows what was written here.
    pub(super) fn announce_drained(&mut self, now: Now) {
        let Some(epoch) = self.map.as_ref().map(|map| map.epoch) else { return };
        let is_drained = self.drain.outdated == 0 && self.hand_over(now);
        if self.drain.reported < epoch && (is_drained || mutant::is(Mutant::NoDrain)) {
            self.drain.reported = epoch;
            self.outputs.push_back(Output::Drained(epoch));
        }
    }
}

/// How many servers own nothing by this map.
fn not_online(map: Option<&ClusterMap>) -> u64 {
    let is_away = |status: &&ServerStatus| status.state != ServerState::Online;
    map.map_or(1, |map| map.statuses().iter().filter(is_away).count() as u64)
}
