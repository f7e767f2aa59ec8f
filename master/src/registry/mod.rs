//! The states of all servers as the master announces them, the epoch to which they belong, and the
//! epoch that each server has acknowledged.
//!
//! ```text
//! change() ─► decided ──take_unsaved()──► being saved ──saved()──► published ─► announced
//! ```
//! Only saved states are announced, so a restarted master never takes back an epoch. Decisions made
//! while a save is running are saved next. Some epochs are therefore never published, and two
//! different states never have the same epoch.

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::rules::Rules;

/// The states of all servers, and the progress of announcing them.
#[derive(Debug)]
pub struct Registry {
    topology: Arc<Topology>,
    epoch: MapEpoch,
    decided: Vec<ServerStatus>,
    /// The server whose change was decided last. The announcement names it.
    last_changed: u16,
    saving: Option<Snapshot>,
    published: Snapshot,
    /// The published states in the form that is sent over TCP.
    map: Arc<ClusterMap>,
    tellings: Vec<Telling>,
    /// The epoch from which on published states are announced.
    announce_from: Option<MapEpoch>,
}

#[derive(Debug, Clone)]
struct Snapshot {
    epoch: MapEpoch,
    statuses: Vec<ServerStatus>,
    last_changed: u16,
}

/// The announcement to one server.
#[derive(Debug, Clone, Copy)]
struct Telling {
    acked: MapEpoch,
    next_send: Micros,
    sends: u32,
    /// The time since which it has acknowledged nothing although there is something to acknowledge.
    silent_since: Micros,
}

/// A publication, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// The epoch that was published.
    pub epoch: MapEpoch,
    /// The server that the publication names.
    pub subject: u16,
    /// That server's state.
    pub state: ServerState,
    /// The number of servers that are told.
    pub told: usize,
}

impl Registry {
    /// Creates a registry with the states with which a master starts. Nothing is announced until
    /// the first [`Self::saved`].
    #[must_use]
    pub fn new(topology: Arc<Topology>, epoch: MapEpoch, mut statuses: Vec<ServerStatus>) -> Self {
        statuses.resize(topology.servers.len(), ServerStatus::default());
        let nothing = Snapshot {
            epoch: MapEpoch::default(),
            statuses: vec![ServerStatus::default(); statuses.len()],
            last_changed: 0,
        };
        let map = ClusterMap::new(topology.clone(), nothing.epoch, nothing.statuses.clone());
        let telling = Telling {
            acked: MapEpoch::default(),
            next_send: Micros::NEVER,
            sends: 0,
            silent_since: Micros::NEVER,
        };
        Self {
            tellings: vec![telling; statuses.len()],
            topology,
            epoch,
            decided: statuses,
            last_changed: 0,
            saving: None,
            published: nothing,
            map: Arc::new(map),
            announce_from: None,
        }
    }

    /// Returns the newest epoch decided. It may not have been announced yet.
    #[must_use]
    pub fn epoch(&self) -> MapEpoch {
        self.epoch
    }

    /// Returns the newest epoch published; zero before the first.
    #[must_use]
    pub fn published_epoch(&self) -> MapEpoch {
        self.published.epoch
    }

    /// Returns the states of the newest epoch published.
    #[must_use]
    pub fn published(&self) -> &[ServerStatus] {
        &self.published.statuses
    }

    /// Returns the map of the newest epoch published.
    #[must_use]
    pub fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// Returns the states that have been decided.
    #[must_use]
    pub fn decided(&self) -> &[ServerStatus] {
        &self.decided
    }

    /// Decides a server's state under a new epoch, and returns the epoch.
    pub fn change(&mut self, server: u16, state: ServerState) -> MapEpoch {
        self.bump();
        let status = &mut self.decided[usize::from(server)];
        status.state = state;
        status.since = self.epoch;
        self.last_changed = server;
        self.epoch
    }

    /// Sets a server's incarnation. That alone changes no owner, so `since` stays.
    pub fn set_boot_id(&mut self, server: u16, boot_id: u64) {
        if self.decided[usize::from(server)].boot_id == boot_id {
            return;
        }
        self.bump();
        self.decided[usize::from(server)].boot_id = boot_id;
        self.last_changed = server;
        // This incarnation has not seen any of the acknowledged epochs.
        let telling = &mut self.tellings[usize::from(server)];
        (telling.acked, telling.silent_since) = (MapEpoch::default(), Micros::NEVER);
    }

    /// Adopts states that were published by an earlier term, under a new term.
    pub fn adopt(&mut self, term: u32, statuses: Vec<ServerStatus>) {
        assert!(term > self.epoch.term, "an adopted state needs a higher term");
        assert_eq!(statuses.len(), self.decided.len(), "there must be a state for each server");
        self.epoch = MapEpoch { term, counter: 1 };
        self.decided = statuses;
    }

    /// Announces what is decided now, and everything that follows, once it is saved. Earlier
    /// decisions that were saved are never announced.
    pub fn start_announcing(&mut self) {
        self.announce_from = Some(self.epoch);
    }

    /// Whether published states are announced.
    #[must_use]
    pub fn is_announcing(&self) -> bool {
        self.announce_from.is_some_and(|from| self.published.epoch >= from)
    }

    /// Returns the states to be saved now, if there are any and no save is under way.
    pub fn take_unsaved(&mut self) -> Option<(MapEpoch, &[ServerStatus])> {
        if self.saving.is_some() || self.epoch == self.published.epoch {
            return None;
        }
        let snapshot = Snapshot {
            epoch: self.epoch,
            statuses: self.decided.clone(),
            last_changed: self.last_changed,
        };
        let saving = self.saving.insert(snapshot);
        Some((saving.epoch, &saving.statuses))
    }

    /// Notes that the states taken by [`Self::take_unsaved`] were not saved. They will be returned
    /// again.
    pub fn not_saved(&mut self) {
        self.saving = None;
    }

    /// Notes that the states taken by [`Self::take_unsaved`] are saved, and publishes them.
    pub fn saved(&mut self, now: Micros, epoch: MapEpoch) -> Option<Publication> {
        let snapshot = self.saving.take_if(|saving| saving.epoch == epoch)?;
        assert!(snapshot.epoch > self.published.epoch, "epochs must rise");
        let before = std::mem::replace(&mut self.published, snapshot);
        let map = ClusterMap::new(self.topology.clone(), epoch, self.published.statuses.clone());
        self.map = Arc::new(map);
        if !self.is_announcing() {
            return None;
        }
        self.tell_all(now);
        // Servers *other than* the one that is offline or waiting are told (claim 19). That server
        // learns it from the answer to its next renewal.
        for (telling, status) in self.tellings.iter_mut().zip(&self.published.statuses) {
            if status.state.answers() {
                continue;
            }
            telling.silent_since = Micros::NEVER;
            if status.since > before.epoch {
                telling.next_send = Micros::NEVER;
            }
        }
        let subject = self.published.last_changed;
        Some(Publication {
            epoch,
            subject,
            state: self.published.statuses[usize::from(subject)].state,
            told: self.tellings.iter().filter(|t| t.next_send != Micros::NEVER).count(),
        })
    }

    /// Announces the published states to a server that would not be told otherwise.
    pub fn tell(&mut self, server: u16, now: Micros) {
        self.tellings[usize::from(server)].next_send = now;
    }

    /// Returns the servers that have to be sent the announcement now, and sets when each has to be
    /// sent it again.
    pub fn take_due(&mut self, now: Micros, rules: &Rules) -> Vec<u16> {
        let mut due = Vec::new();
        for (id, telling) in (0u16..).zip(&mut self.tellings) {
            if telling.next_send > now {
                continue;
            }
            // A server that answers acknowledges within a resend, or drains for a while. An offline
            // server may be silent for days.
            let is_out = !self.published.statuses[usize::from(id)].state.answers();
            let doublings =
                if is_out { telling.sends.min(6) } else { telling.sends.saturating_sub(3).min(3) };
            telling.next_send = now + rules.announce_resend * (1 << doublings);
            if mutant::is(Mutant::NoResend) {
                telling.next_send = Micros::NEVER;
            }
            telling.sends = telling.sends.saturating_add(1);
            due.push(id);
        }
        due
    }

    /// Returns the subject and state that the announcement names.
    #[must_use]
    pub fn subject(&self) -> (u16, ServerState) {
        let subject = self.published.last_changed;
        (subject, self.published.statuses[usize::from(subject)].state)
    }

    /// Notes that a server has applied `epoch` and drained. Returns whether this was not known
    /// before.
    pub fn acked(&mut self, now: Micros, server: u16, epoch: MapEpoch) -> bool {
        if epoch > self.published.epoch {
            return false;
        }
        let published = self.published.epoch;
        let telling = &mut self.tellings[usize::from(server)];
        let is_news = epoch > telling.acked;
        telling.acked = telling.acked.max(epoch);
        if telling.acked == published {
            (telling.next_send, telling.silent_since) = (Micros::NEVER, Micros::NEVER);
        } else if is_news {
            telling.silent_since = now;
        }
        is_news
    }

    /// Returns the servers that should answer and have acknowledged nothing for `patience` or
    /// longer, and for how long.
    pub fn unacknowledged(
        &self,
        now: Micros,
        patience: Duration,
    ) -> impl Iterator<Item = (u16, Duration)> + '_ {
        let all = (0u16..).zip(self.tellings.iter().zip(&self.published.statuses));
        let late = all.filter(|(_, (_, status))| status.state.answers());
        let late = late.filter(move |(_, (telling, _))| telling.silent_since + patience <= now);
        late.map(move |(id, (telling, _))| (id, now.since(telling.silent_since)))
    }

    /// Returns the servers that still have to acknowledge that a server returns or leaves. These
    /// are the server itself, and those of its group that may have acted as owners of the
    /// partitions being handed over. Returns `None` while the state has not been published.
    pub fn undrained(&self, server: u16) -> Option<Vec<u16>> {
        let status = self.published.statuses[usize::from(server)];
        let is_leaving = status.state == ServerState::Leaving;
        let is_between = is_leaving || status.state == ServerState::Returning;
        if !is_between || status != self.decided[usize::from(server)] {
            return None;
        }
        // A server that the master has marked offline need not answer any more, but it could act as
        // an owner until that has been announced. A server that is waiting, returning or leaving
        // could do so until its lease is over, and is offline then. The stand-ins of a leaving
        // server only have to know of it.
        let may_own = |peer: &u16| match self.published.statuses[usize::from(*peer)].state {
            ServerState::Online => true,
            ServerState::Offline => false,
            ServerState::Waiting | ServerState::Returning | ServerState::Leaving => !is_leaving,
        };
        let has_not = |peer: &u16| self.tellings[usize::from(*peer)].acked < status.since;
        let peers = self.topology.group_peers(server).filter(may_own);
        Some(peers.chain(std::iter::once(server)).filter(has_not).collect())
    }

    /// Whether a server has itself acknowledged that it owns nothing, as currently decided.
    #[must_use]
    pub fn is_released(&self, server: u16) -> bool {
        let at = usize::from(server);
        let status = self.published.statuses[at];
        let owns_nothing = !matches!(status.state, ServerState::Online | ServerState::Offline);
        owns_nothing && status == self.decided[at] && self.tellings[at].acked >= status.since
    }

    /// Returns the time at which [`Self::take_due`] will return something.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        self.tellings.iter().map(|t| t.next_send).min().unwrap_or(Micros::NEVER)
    }

    /// Advances to the next epoch. If the counter is used up, that is the first epoch of the next
    /// term.
    pub fn bump(&mut self) {
        self.epoch = match self.epoch.counter.checked_add(1) {
            Some(counter) => MapEpoch { term: self.epoch.term, counter },
            None => MapEpoch { term: self.epoch.term.saturating_add(1), counter: 0 },
        };
    }

    fn tell_all(&mut self, now: Micros) {
        for telling in &mut self.tellings {
            let is_behind = telling.acked < self.published.epoch;
            telling.silent_since = match is_behind {
                true => telling.silent_since.min(now),
                false => Micros::NEVER,
            };
            telling.next_send = if is_behind { now } else { Micros::NEVER };
            telling.sends = 0;
        }
    }
}

#[cfg(test)]
mod tests;
