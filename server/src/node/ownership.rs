//! What changes how partitions are served: maps, word of a peer, and time. Also the end
//! of what was begun before such a change (draining).

use std::sync::Arc;

use standin_protocol::frame::response_flags;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::time::Micros;

use super::serving::{Serving, View, decide};
use super::{CallState, Node, Now, Output};

/// What this shard knows of a peer by its own experience.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer {
    /// Sending failed; not tried again before this time unless something contradicts it.
    unreachable_until: Option<Micros>,
    /// Since when nothing has contradicted that, however often it was tried again.
    failing_since: Option<Micros>,
}

impl Peer {
    pub(super) fn retry_at(&self) -> Option<Micros> {
        self.unreachable_until
    }

    pub(super) fn failing_since(&self) -> Option<Micros> {
        self.failing_since
    }
}

/// Writes under way whose partition has changed hands since they began. A new owner may
/// fill its cache only when none is left, or it could keep what they overwrite.
#[derive(Debug, Default)]
pub(super) struct Drain {
    outdated: usize,
    reported: MapEpoch,
}

impl Drain {
    pub(super) fn ended(&mut self) {
        self.outdated = self.outdated.saturating_sub(1);
    }
}

impl Node {
    /// Takes over a newer map; one that is not newer is dropped (scenarios 9–11).
    pub fn apply_map(&mut self, now: Now, map: Arc<ClusterMap>) {
        let held = self.map.as_ref().map(|held| held.epoch);
        if held.is_some_and(|held| held >= map.epoch) || map.topology.id != self.topology.id {
            return;
        }
        for (peer, status) in self.peers.iter_mut().zip(map.statuses()) {
            // The master's word counts more than what this shard saw before it.
            if status.since > held.unwrap_or_default() {
                *peer = Peer::default();
            }
        }
        let old = self.map.replace(Arc::clone(&map));
        self.map_tag = map.epoch.tag();
        self.map_bytes = map.to_bytes().into();
        self.counters.maps_applied += 1;
        self.refresh_serving(now, old.as_deref());
        self.announce_drained();
    }

    /// The master says that a server which this shard could not reach is online
    /// (claim 16): stop standing in for it, try it again.
    pub fn verdict(&mut self, now: Now, server: u16, state: ServerState) {
        if state != ServerState::Offline {
            self.peer_answered(now, server);
        }
    }

    /// Bytes came from a peer: it can be reached after all.
    pub fn peer_answered(&mut self, now: Now, server: u16) {
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        peer.failing_since = None;
        if peer.unreachable_until.take().is_some() {
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    /// Sending to a peer failed: report it, stand in for it (claim 15).
    pub(super) fn mark_unreachable(&mut self, now: Now, server: u16) {
        let until = now.mono + self.config.unreachable_hold;
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        peer.failing_since.get_or_insert(now.mono);
        if peer.unreachable_until.replace(until).is_none() {
            self.counters.reports += 1;
            self.outputs.push_back(Output::Report { server });
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    pub(super) fn expire_unreachable(&mut self, now: Now) {
        let mut changed = false;
        for peer in &mut self.peers {
            if peer.unreachable_until.is_some_and(|until| until <= now.mono) {
                peer.unreachable_until = None;
                changed = true;
            }
        }
        if changed {
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    /// Evaluates the table for every partition. A partition whose owner or treatment has
    /// changed loses its cached values in one step: its floor rises.
    fn refresh_serving(&mut self, now: Now, old: Option<&ClusterMap>) {
        let unreachable: Vec<bool> =
            self.peers.iter().map(|peer| peer.unreachable_until.is_some()).collect();
        let map = self.map.clone();
        let (server, boot_id) = (self.config.server, self.config.boot_id);
        let view = View { server, boot_id, unreachable: &unreachable };
        let floor = self.versions.next(now.wall_us);
        for partition in 0..self.topology.partitions {
            let serving = decide(map.as_deref(), partition, view);
            let epoch = |map: Option<&ClusterMap>| map.map(|m| m.ownership(partition).epoch);
            let state = &mut self.partitions[partition as usize];
            if state.serving == serving && epoch(old) == epoch(map.as_deref()) {
                continue;
            }
            state.serving = serving;
            state.since = now.mono;
            state.version_floor = floor;
            state.generation = state.generation.wrapping_add(1);
            let stand_in = match self.topology.home(partition) == server {
                true => 0,
                false => response_flags::STAND_IN,
            };
            state.flags = match serving {
                Serving::Cached | Serving::Unowned => stand_in,
                Serving::Forward(_) => 0,
                Serving::Provisional(_) => stand_in | response_flags::PROVISIONAL,
            };
            self.counters.partitions_dropped += 1;
        }
        self.mark_outdated_writes();
        self.unpark_all(now);
    }

    fn mark_outdated_writes(&mut self) {
        for call in self.calls.values_mut() {
            let CallState::Write { pending, generation, outdated, .. } = call else { continue };
            let Some(pending) = self.pending.get(*pending) else { continue };
            let current = self.partitions[pending.partition as usize].generation;
            if !*outdated && current != *generation {
                *outdated = true;
                self.drain.outdated += 1;
            }
        }
    }

    /// Says so once nothing is left of what was begun under older maps.
    pub(super) fn announce_drained(&mut self) {
        let Some(epoch) = self.map.as_ref().map(|map| map.epoch) else { return };
        if self.drain.outdated == 0 && self.drain.reported < epoch {
            self.drain.reported = epoch;
            self.outputs.push_back(Output::Drained(epoch));
        }
    }
}
