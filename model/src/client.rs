//! The clients: two writes of one key, sent to any server that accepts them.
//!
//! A client may have an old map, and servers forward and relay. So a request may reach any member
//! of the group at any time, and its sender does not matter. A lost answer means that a client
//! never learns the outcome, which demands less of all servers.
//!
//! Reads need no steps of their own. A read that goes through to the origin sees every commit
//! before it. Reads that are answered from a cache are checked in *every* state: the model assumes
//! that some client reads whatever a server would answer at that instant. This covers any number of
//! clients.

use crate::failover::Failover;
use crate::rules::Rule;
use crate::serving::Serving;
use crate::state::{Authority, HOME, Running, State, Write};
use crate::tally::Event;

impl Failover {
    /// Returns the next write, if a server would begin it now. Writes are alike, so they begin in
    /// order. A server runs one write of a key at a time.
    pub(crate) fn next_write(&self, state: &State, id: usize) -> Option<usize> {
        let is_alone = !state.running().any(|write| write.server == id);
        let may = is_alone || !self.rules.has(Rule::FillTokens);
        self.may_begin(state, id).filter(|_| may)?;
        state.writes.iter().position(|write| *write == Write::Idle)
    }

    /// Sends a write from a server to the origin. From now on the key is in the server's log.
    pub(crate) fn begin(&self, state: &mut State, which: usize, id: usize) {
        let (Some(by_owner), Some(map)) = (self.may_begin(state, id), state.map_at(id)) else {
            return;
        };
        let epoch = if by_owner { self.ownerships.epoch(map) } else { state.servers[id].map };
        let by_orphan = self.is_orphan(state, id);
        if !by_owner {
            self.tally.note(Event::BegunUnowned);
        }
        if by_orphan {
            self.tally.note(Event::BegunByOrphan);
        }
        state.servers[id].is_logged |= id != HOME;
        state.writes[which] = Write::Running(Running {
            server: id,
            epoch,
            authority: if by_owner { Authority::Owner } else { Authority::Unowned },
            by_orphan,
            is_disturbed: false,
            place: 0,
        });
    }

    /// Whether the server of a committed write may acknowledge it now without the owner.
    pub(crate) fn may_acknowledge(&self, state: &State, write: &Running) -> bool {
        let id = write.server;
        let has_lease = self.has_lease(state, id);
        match self.serving(state, id) {
            Serving::Cached | Serving::Orphan => true,
            Serving::Unreconciled | Serving::Through | Serving::Unowned(None) => false,
            Serving::Other(_) => {
                let is_owed = write.by_orphan && self.is_orphan(state, id);
                is_owed || !self.rules.has(Rule::Settle)
            }
            Serving::Unowned(Some(_)) => match write.authority {
                Authority::Owner | Authority::Lapsed => false,
                Authority::Released => has_lease || !self.rules.has(Rule::AckUnderLease),
                Authority::Unowned => {
                    let may = has_lease || self.is_orphan(state, id);
                    may || !self.rules.has(Rule::UnownedAckUnderLease)
                }
            },
        }
    }

    /// Acknowledges a write. The value is kept if nothing has changed since the write began.
    pub(crate) fn acknowledge(&self, state: &mut State, which: usize) {
        let Write::Running(write) = state.writes[which] else { return };
        let serving = self.serving(state, write.server);
        let epoch = state.map_at(write.server).map(|map| self.ownerships.epoch(map));
        let is_same = write.authority == Authority::Owner && epoch == Some(write.epoch);
        if self.rules.has(Rule::FillTokens) {
            let keeps = serving.is_cached() && is_same && !write.is_disturbed;
            self.drop_value(state, write.server);
            if keeps {
                state.servers[write.server].value = write.place;
            }
        }
        if matches!(serving, Serving::Unowned(_)) {
            let event = match write.authority {
                Authority::Unowned => Event::AckedUnowned,
                _ => Event::AckedWhileDraining,
            };
            self.tally.note(event);
        }
        let by_orphan = write.by_orphan || self.is_orphan(state, write.server);
        self.acknowledged(state, which, by_orphan);
    }

    fn acknowledged(&self, state: &mut State, which: usize, by_orphan: bool) {
        let Write::Running(write) = state.writes[which] else { return };
        // A write made while no server heard the master is bounded only by the lifetime of values.
        if !by_orphan {
            state.acknowledged[0] = state.acknowledged[0].max(write.place);
        }
        state.writes[which] = Write::Over;
    }

    /// Returns the owner at which a server could settle the key of a write.
    pub(crate) fn settles_at(&self, state: &State, id: usize) -> Option<usize> {
        let Serving::Other(owner) = self.serving(state, id) else { return None };
        let confirms = match self.rules.has(Rule::SettleAtLeasedOwner) {
            true => self.serving(state, owner).is_cached(),
            false => true,
        };
        (state.servers[id].is_up && state.servers[owner].is_up && confirms).then_some(owner)
    }

    /// Settles the key at the owner, which answers, and acknowledges the write.
    pub(crate) fn settle(&self, state: &mut State, which: usize, owner: usize) {
        let Write::Running(write) = state.writes[which] else { return };
        self.tally.note(Event::AckedAfterSettle);
        self.settle_at(state, owner);
        self.drop_value(state, write.server);
        self.acknowledged(state, which, write.by_orphan);
    }

    /// Returns the owner that a server could tell of an owed key.
    pub(crate) fn owes(&self, state: &State, id: usize) -> Option<usize> {
        let may = self.rules.is_available();
        let is_idle = !state.running().any(|write| write.server == id);
        if !may || !state.servers[id].is_logged || !is_idle {
            return None;
        }
        self.settles_at(state, id).filter(|owner| *owner == HOME)
    }

    /// Tells the owner of an owed key.
    pub(crate) fn pay(&self, state: &mut State, id: usize, owner: usize) {
        self.tally.note(Event::OwedKeySettled);
        self.settle_at(state, owner);
        state.servers[id].is_logged = false;
    }

    /// Gives up a write because the answer takes too long or the client is gone. The outcome is
    /// unknown. The key is not cached, and stays in the log.
    pub(crate) fn abandon(&self, state: &mut State, which: usize) {
        let Write::Running(write) = state.writes[which] else { return };
        self.drop_value(state, write.server);
        state.writes[which] = Write::Over;
    }

    /// Ends the writes of a server whose process has died.
    pub(crate) fn end_writes_of(&self, state: &mut State, id: usize) {
        for write in &mut state.writes {
            if matches!(write, Write::Running(running) if running.server == id) {
                *write = Write::Over;
            }
        }
    }
}
