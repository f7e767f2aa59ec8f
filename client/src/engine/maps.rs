//! Fetching the map from the seeds, from servers that have a newer one, and from the master's
//! verdicts.

use std::net::SocketAddr;

use standin_protocol::control::{Datagram, DatagramKind};
use standin_protocol::frame::Status;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::time::Micros;

use super::connection::Place;
use super::errors::Passed;
use super::operations::{Current, Open, Work};
use super::{ConnId, Engine, Output, Timer};
use crate::event::ClientEvent;
use crate::operation::ClientError;
use crate::session::Reply;

/// The addresses at which a server may answer. They are asked one after the other.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    pub(super) addresses: Vec<SocketAddr>,
    next: usize,
    is_pausing: bool,
    /// Why one of this round will not let this client in, however often it asks.
    refusal: Option<ClientError>,
}

impl Seeds {
    /// Starts again from the first seed, with these addresses added. Indices of the list stay
    /// valid.
    pub(super) fn begin_again(&mut self, addresses: &[SocketAddr]) {
        for address in addresses {
            if !self.addresses.contains(address) {
                self.addresses.push(*address);
            }
        }
        (self.next, self.is_pausing) = (0, false);
    }
}

impl Engine {
    /// Asks a seed for the map, if one is wanted and no seed is being asked.
    pub(super) fn ask_a_seed(&mut self, now: Micros) {
        if self.seeds.is_pausing {
            return;
        }
        let is_wanted = match self.router {
            Some(_) => self.doubt.is_open(),
            None => !self.unrouted.is_empty(),
        };
        if !is_wanted || self.map_fetch.is_some() {
            return;
        }
        if self.seeds.next >= self.seeds.addresses.len() {
            if self.router.is_some() {
                return self.end_doubt(now);
            }
            // Whoever is refused should not wait for the servers that do not answer.
            if let Some(refusal) = self.seeds.refusal.take() {
                self.seeds.next = 0;
                for id in std::mem::take(&mut self.unrouted) {
                    self.finish(now, id, Err(refusal.clone()));
                }
                return;
            }
            self.seeds.is_pausing = true;
            self.seeds.next = 0;
            self.set_timer(now + self.config.attempt_timeout / 2, Timer::Seed);
            return;
        }
        let id = self.insert(now, Work::MapFetch);
        self.map_fetch = Some(id);
        self.place(now, id, Place::Seed(self.seeds.next), false);
    }

    /// Asks the seeds again after the pause that follows a round without success.
    pub(super) fn ask_seeds_again(&mut self, now: Micros) {
        self.seeds.is_pausing = false;
        self.ask_a_seed(now);
    }

    /// Asks the next seed, because the previous one did not help.
    pub(super) fn next_seed(&mut self, now: Micros) {
        self.seeds.next += 1;
        self.ask_a_seed(now);
    }

    /// This place will not let this client in: others are asked for the map.
    pub(super) fn map_refused(&mut self, now: Micros, place: Place, refusal: &ClientError) {
        self.seeds.refusal = Some(refusal.clone());
        self.fetch_map_elsewhere(now, place);
    }

    /// Asks a seed for the map, because this place has not given it.
    pub(super) fn fetch_map_elsewhere(&mut self, now: Micros, place: Place) {
        match place {
            Place::Seed(_) => self.next_seed(now),
            Place::Server { .. } | Place::Master => self.ask_a_seed(now),
        }
    }

    /// Handles the tag of a reply, which may say that its sender has a newer map. Fetches that map,
    /// but only one at a time and not too often.
    pub(super) fn see_tag(&mut self, now: Micros, conn: ConnId, tag: u32) {
        // Without a map, no tag is newer, and the first map has already been requested.
        let Some(router) = &self.router else { return };
        let is_newer = tag != 0 && MapEpoch::tag_is_newer(tag, router.map().epoch.tag());
        if is_newer {
            self.fetch_map(now, conn);
        }
    }

    /// Requests the map on a connection that is known to be alive.
    pub(super) fn fetch_map(&mut self, now: Micros, conn: ConnId) {
        if self.map_fetch.is_some() || now < self.map_fetch_not_before {
            return;
        }
        // The connection was lost while its input was processed.
        let Some(place) = self.connections.get(&conn).map(|connection| connection.place) else {
            return;
        };
        self.map_fetch_not_before = now + self.config.map_fetch_interval;
        let id = self.insert(now, Work::MapFetch);
        self.map_fetch = Some(id);
        self.request(id).current = Some(Current { conn, place, trial: false });
        self.transmit(now, conn, id);
    }

    /// Handles the answer to the engine's own MAP.
    pub(super) fn map_fetched(&mut self, now: Micros, conn: ConnId, id: u32, reply: &Reply) {
        self.retire(now, id);
        let place = self.connections.get(&conn).map(|connection| connection.place);
        let is_seed = matches!(place, Some(Place::Seed(_)));
        let map = match reply.status {
            Status::Ok => ClusterMap::from_bytes(&reply.value).map_err(|error| error.to_string()),
            status => Err(format!("the request for the map was answered with {status}")),
        };
        match map {
            Ok(map) if self.router.is_some() => {
                self.apply(now, map);
                if is_seed {
                    self.lose(now, conn, None, true);
                    self.end_doubt(now);
                } else {
                    self.ask_a_seed(now);
                }
            }
            Ok(map) => {
                let epoch = map.epoch;
                self.seeds.refusal = None;
                self.adopt(map);
                self.event(ClientEvent::MapApplied { epoch });
                // From now on connections belong to servers, not to seeds.
                self.lose(now, conn, None, true);
                for id in std::mem::take(&mut self.unrouted) {
                    self.dispatch(now, id);
                }
            }
            Err(reason) => {
                self.event(ClientEvent::MapRefused { reason });
                match is_seed {
                    true => self.next_seed(now),
                    false => self.ask_a_seed(now),
                }
            }
        }
    }

    /// Applies a map at once if it is newer. Requests under way to a server that it marks offline
    /// are moved too, except for writes that have been sent.
    pub(super) fn apply(&mut self, now: Micros, map: ClusterMap) {
        let router =
            self.router.as_mut().expect("the first map must be adopted before maps are applied");
        if map.topology.id != router.map().topology.id {
            return self.apply_other(now, map);
        }
        let epoch = map.epoch;
        // The map is not newer.
        let Some(left) = router.apply(map) else { return };
        let map = router.map().clone();
        for server in left {
            self.event(ClientEvent::LeftFailover { server, by_map: true });
        }
        self.event(ClientEvent::MapApplied { epoch });
        // A server that leaves finishes the requests that were sent to it. If a write were sent to
        // another server meanwhile, it would be executed twice, and the late copy could overwrite a
        // newer write (scenario 14). So a write moves only when its connection has failed.
        let moved_from = |open: &Open| {
            let Current { conn, place: Place::Server { server, .. }, trial } = open.current? else {
                return None;
            };
            let is_sent = open.sent_on.contains(&conn);
            let is_moved =
                map.state(server) == ServerState::Offline && !(open.is_write() && is_sent);
            is_moved.then_some((server, trial))
        };
        let mut moved: Vec<(u32, (u16, bool))> = self
            .open
            .iter()
            .filter(|(_, open)| matches!(open.work, Work::Operation { .. }))
            .filter_map(|(id, open)| Some((*id, moved_from(open)?)))
            .collect();
        moved.sort_unstable_by_key(|(id, _)| *id);
        for (id, (server, trial)) in moved {
            if trial {
                self.trial_failed(now, server);
            }
            let open = self.request(id);
            open.is_outcome_open |= open.is_write() && !open.sent_on.is_empty();
            self.pass_over(now, id, server, Passed::Silent);
        }
    }

    /// Handles a datagram. Only a verdict on an open notice matters to a client. The verdict
    /// carries all states if they fit, which saves a fetch.
    pub(super) fn datagram(&mut self, now: Micros, bytes: &[u8]) {
        // Before the first map no notice is open.
        let Some(router) = &self.router else { return };
        let topology = router.map().topology.clone();
        let key = self.config.key.as_ref();
        // Anybody can send a datagram.
        let Ok(verdict) = Datagram::parse(bytes, key, Some(topology.id)) else { return };
        if verdict.kind != DatagramKind::Verdict
            || !self.notices.close(verdict.subject, verdict.nonce)
        {
            return;
        }
        let Datagram { subject: server, epoch, statuses, arg, .. } = verdict;
        let state = u8::try_from(arg).ok().and_then(ServerState::from_wire);
        if let Some(state) = state {
            self.event(ClientEvent::Verdict { server, state, epoch });
        }
        if statuses.len() == topology.servers.len() {
            self.apply(now, ClusterMap::new(topology, epoch, statuses));
        }
    }

    /// Sends the notices that are due. None is sent while the topology is in doubt.
    pub(super) fn send_notices(&mut self, now: Micros) {
        // Before the first map no notice is open either.
        let Some(router) = self.router.as_ref().filter(|_| !self.doubt.is_open()) else { return };
        let map = router.map();
        let to = map.topology.master;
        while let Some(datagram) = self.notices.due(now, map.topology.id, map.epoch) {
            // Where a certificate is enough, this client has no key, and a user has none: the master would not
            // believe it.
            let has_none = self.config.key.is_none() && self.has_own_certificate();
            if has_none || self.config.user.is_some() {
                continue;
            }
            let bytes = datagram.to_bytes(self.config.key.as_ref());
            self.outputs.push_back(Output::Datagram { to, bytes });
        }
    }
}
