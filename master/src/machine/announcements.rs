//! Saving decisions and announcing them (claims 19, 21), and sending verdicts.

use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER, STATES_PER_DATAGRAM};
use standin_protocol::map::{MapEpoch, ServerState, ServerStatus};
use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::server::Waiter;
use crate::machine::{Machine, Output};
use crate::state::{SavedServer, State};

/// The time before another attempt to write the state file.
const SAVE_RETRY: Duration = Duration::from_secs(1);

impl Machine {
    /// Saves decisions, and sends the announcements that are due.
    pub(super) fn save_and_announce(&mut self, now: Micros) {
        // After a failure the next attempt waits until its time.
        let may_save = self.save_again_at == Micros::NEVER;
        if may_save && let Some((epoch, statuses)) = self.registry.take_unsaved() {
            let statuses = statuses.to_vec();
            self.save(epoch, statuses);
        }
        if !self.registry.is_announcing() {
            return;
        }
        for id in self.registry.take_due(now, &self.rules) {
            self.announce(now, id);
        }
        let published = self.registry.published_epoch();
        for id in self.ids() {
            let server = &mut self.servers[usize::from(id)];
            if server.verdict_at.is_none_or(|epoch| epoch > published) {
                continue;
            }
            server.verdict_at = None;
            for waiter in std::mem::take(&mut server.waiters) {
                self.send_verdict(id, waiter);
            }
        }
    }

    pub(super) fn save(&mut self, epoch: MapEpoch, statuses: Vec<ServerStatus>) {
        let named = self.topology.servers.iter().zip(statuses).zip(&self.servers);
        let servers = named.map(|((info, status), server)| SavedServer {
            name: info.name.clone(),
            status,
            by_verdict: server.by_verdict
                && matches!(status.state, ServerState::Offline | ServerState::Waiting),
        });
        let state = State {
            cluster: self.topology.name.clone(),
            epoch,
            known: self.restart.known(epoch),
            servers: servers.collect(),
        };
        self.outputs.push_back(Output::Persist(state));
    }

    /// Handles the result of saving a state.
    ///
    /// A state that can't be saved is announced anyway, if its term was saved before. The term
    /// keeps epochs unique, and a successor whose file is out of date learns the rest from the
    /// servers' renewals. A full disk must not prevent failover.
    pub(super) fn on_persisted(&mut self, now: Micros, epoch: MapEpoch, ok: bool) {
        if ok {
            self.saved_term = self.saved_term.max(epoch.term);
        } else {
            self.counters.saves_failed += 1;
            self.event(MasterEvent::NotSaved { epoch });
            self.save_again_at = now + SAVE_RETRY;
            if epoch.term > self.saved_term {
                self.registry.not_saved();
                return;
            }
        }
        let before = self.registry.published_epoch();
        let publication = self.registry.saved(now, epoch);
        if self.registry.published_epoch() > before {
            self.counters.epochs += 1;
        }
        // A server that can't reach the database is alive. It is also told that it owns nothing,
        // and its acknowledgement ends the wait for its lease.
        for id in self.ids() {
            let status = self.registry.published()[usize::from(id)];
            let is_news = status.state == ServerState::Waiting && status.since > before;
            if is_news && self.servers[usize::from(id)].origin.is_out {
                self.registry.tell(id, now);
            }
        }
        if let Some(publication) = publication {
            self.event(MasterEvent::Announced {
                server: publication.subject,
                state: publication.state,
                epoch: publication.epoch,
                told: publication.told,
            });
        }
    }

    /// Creates a datagram for a server, or for a client.
    pub(super) fn datagram(&mut self, kind: DatagramKind, recipient: u16) -> Datagram {
        self.sequence += 1;
        let term = u64::from(self.term());
        let mut datagram = Datagram::new(kind, SENDER_MASTER, self.topology.id, term);
        datagram.recipient = recipient;
        datagram.sequence = self.sequence;
        datagram
    }

    /// Returns a server's own address, and that of the member that relays its datagrams.
    pub(super) fn ways_to(&self, now: Micros, id: u16) -> impl Iterator<Item = SocketAddr> + use<> {
        let direct = self.topology.servers[usize::from(id)].address;
        let relay = self.servers[usize::from(id)].relay_at(now, &self.rules);
        std::iter::once(direct).chain(relay)
    }

    /// Sends an announcement to the server directly, and through the member that relays its
    /// datagrams.
    pub(super) fn announce(&mut self, now: Micros, to: u16) {
        for address in self.ways_to(now, to) {
            let (subject, state) = self.registry.subject();
            let mut datagram = self.datagram(DatagramKind::Announce, to);
            datagram.subject = subject;
            datagram.arg = state as u32;
            datagram.epoch = self.registry.published_epoch();
            datagram.statuses = self.registry.published().to_vec();
            self.counters.announcements += 1;
            for part in datagram.parts() {
                self.sequence += 1;
                self.send(address, Datagram { sequence: self.sequence, ..part });
            }
        }
    }

    pub(super) fn send_verdict(&mut self, subject: u16, waiter: Waiter) {
        let mut datagram = self.datagram(DatagramKind::Verdict, waiter.recipient);
        datagram.subject = subject;
        datagram.arg = self.registry.published()[usize::from(subject)].state as u32;
        datagram.epoch = self.registry.published_epoch();
        datagram.nonce = waiter.nonce;
        // Servers are told the states in any case, and clients can fetch the map.
        if self.servers.len() <= STATES_PER_DATAGRAM {
            datagram.statuses = self.registry.published().to_vec();
        }
        self.send(waiter.to, datagram);
    }

    pub(super) fn send(&mut self, to: SocketAddr, datagram: Datagram) {
        self.outputs.push_back(Output::Send { to, datagram });
    }
}
