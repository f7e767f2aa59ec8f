//! The start of a master, and what it may announce before it knows the states (scenario 10: a
//! master forgets that a server was offline, and no party is ever told that the server is back).
//!
//! A master that starts takes the next term, saves it, and *learns* before it announces anything:
//! it collects renewals and verifies reports, but grants no lease, changes no owner, answers no
//! report and shows no map. This lasts at most L(1+ρ). Within that time every live server has
//! renewed, and a renewal carries the newest epoch that its sender has heard. If the master does
//! not know that epoch, it fetches that server's map, adopts its states, and goes on under a term
//! above both. Then it announces the full states. If the fetched map is older than the epoch in the
//! renewal, the server has been restarted in between, and the states are fetched from another
//! server.
//!
//! The master can't know its predecessor's grants: until L(1+ρ) after its start every server counts
//! as holding a lease.
//!
//! The servers that it must hear from depend on what it has:
//!
//! * **A state file.** Every state is saved before it is announced, so the file contains everything
//!   that was ever announced, unless it was restored from a backup or could no longer be written.
//!   An out-of-date file must be noticed *before* the first announcement, because afterwards the
//!   servers have the newer epoch of this master, and nothing shows what they knew before. Any live
//!   server would reveal it, unless it has just restarted and has no map yet. So it is enough to
//!   hear from more than half of the servers that are online according to the file. Each of them
//!   must be the incarnation that the file names, and must have a map. If every server has
//!   restarted and has nothing to lose, the master must hear from all of them. That takes less than
//!   a renewal interval. Only then may a verdict move an owner. This costs a fraction of a second
//!   if a server dies just after the master did.
//! * **No file.** All servers seem online, and announcing that could hand partitions back to a
//!   server with stale data. So the master must hear from all servers, or the time must run out.
//!   The servers must also be the incarnations in the newest states that any of them has. A server
//!   that has restarted since may have owned partitions without knowing it any more. A new cluster
//!   does not wait, because all its servers are just starting.
//!
//! Later the same rule covers a second master that has used a higher term. A master that hears of
//! the other's epoch adopts the other's states, except for servers about which it has decided
//! itself. It continues under a term above the other's.
//!
//! Higher terms are not always later ones. A master without its file that can't reach the servers
//! which know its predecessor's term goes on under a lower one. So a server that is online by the
//! adopted states, but was not by this master's, *returns*.
//!
//! If the time runs out before enough servers were heard, or if newer states that some server has
//! could not be fetched, the master's knowledge may be out of date. Then all servers that it
//! considers online *return*: nobody owns anything until the group has drained, and the homes have
//! been told what was written elsewhere, or have dropped their caches. No rule can help if the file
//! is lost *and* every server has restarted: then nothing shows that this is not a new cluster.

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::hash::key_hash;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::server::{Heard, Server, phase_of};
use crate::machine::{Machine, Output};
use crate::rules::Rules;
use crate::state::{SavedServer, State};

/// The highest term that is accepted in a map. The limit keeps terms from running out.
const TERM_MAX: u32 = 1 << 31;
/// The number of terms from which a master draws one if it does not know which were used. Clients
/// accept a map as newer if its term is up to 127 above theirs, and servers up to 1,024 above.
const TERMS_DRAWN: u64 = 100;

/// The progress of a start.
#[derive(Debug)]
pub(super) struct Restart {
    /// The latest time until which the master learns, apart from a fetch under way. It is `None`
    /// once the master has learned.
    learning_until: Option<Micros>,
    /// Whether there was a state file, or a server has given its states.
    has_history: bool,
    /// Whether there was a state file.
    has_file: bool,
    /// The incarnations named by the states that a server has given; empty if none has given any.
    given_boot_ids: Vec<u64>,
    /// The epoch up to which this master knows every epoch of a term below `first_term`.
    inherited: MapEpoch,
    /// The first term that is this master's own.
    first_term: u32,
    /// The newest epoch that a server has and this master does not, with that server.
    wanted: Option<(u16, MapEpoch)>,
    /// Whether that server could not give its map. Then any other server with the same epoch is
    /// asked.
    has_failed: bool,
    /// The fetch under way: the server, and the time after which the fetch counts as lost.
    fetching: Option<(u16, Micros)>,
    /// The time before which there is no further fetch.
    fetch_again_at: Micros,
}

impl Restart {
    pub(super) fn is_learning(&self) -> bool {
        self.learning_until.is_some()
    }

    pub(super) fn has_history(&self) -> bool {
        self.has_history
    }

    /// Returns [`State::known`] for states that are saved at `epoch`.
    pub(super) fn known(&self, epoch: MapEpoch) -> MapEpoch {
        match (self.is_learning(), self.has_file) {
            (false, _) => epoch,
            (true, true) => self.inherited,
            // States from one server are not the states that all servers know. The next master has
            // no complete state file either.
            (true, false) => MapEpoch::default(),
        }
    }

    pub(super) fn next_deadline(&self) -> Micros {
        let until = self.learning_until.unwrap_or(Micros::NEVER);
        match (self.fetching, self.wanted) {
            (Some((_, lost_at)), _) => lost_at.min(until),
            (None, Some(_)) => self.fetch_again_at.min(until),
            (None, None) => until,
        }
    }
}

/// Returns the state with which a master starts: what it may announce, its first epoch, and the
/// servers.
pub(super) fn begin(
    now: Micros,
    rules: &Rules,
    topology: &Arc<Topology>,
    saved: Option<&State>,
) -> (Restart, MapEpoch, Vec<SavedServer>) {
    let inherited = saved.map_or(MapEpoch::default(), |state| state.known);
    let term = saved.map_or(0, |state| state.epoch.term).saturating_add(1);
    let has_history = inherited > MapEpoch::default();
    let is_forgetful = mutant::is(Mutant::ForgetOffline);
    let history = saved.filter(|_| has_history && !is_forgetful);
    let servers = topology.servers.iter().map(|info| {
        let known = history.and_then(|state| state.server(&info.name)).cloned();
        known.unwrap_or_else(|| SavedServer {
            name: info.name.clone(),
            status: ServerStatus::default(),
            by_verdict: false,
        })
    });
    let restart = Restart {
        learning_until: Some(if is_forgetful { now } else { now + rules.learning_time() }),
        has_history,
        has_file: has_history,
        given_boot_ids: Vec::new(),
        inherited,
        first_term: term,
        wanted: None,
        has_failed: false,
        fetching: None,
        fetch_again_at: Micros(0),
    };
    (restart, MapEpoch { term, counter: 1 }, servers.collect())
}

/// Returns a number of terms to skip, which depends only on the time.
fn drawn(now: Micros) -> u32 {
    let number = key_hash(0, &now.0.to_le_bytes()) % TERMS_DRAWN;
    // The number is far below the bound.
    if mutant::is(Mutant::TermUsedTwice) { 0 } else { u32::try_from(number).unwrap_or(0) }
}

impl Machine {
    /// Notes that a server has this epoch. If this master has not announced it and does not know
    /// it, some states are newer than those of this master.
    pub(super) fn learn_of(&mut self, now: Micros, server: u16, epoch: MapEpoch) {
        let restart = &mut self.restart;
        // While the master learns it announces nothing, so no epoch is its own.
        let is_ours = !restart.is_learning()
            && epoch.term >= restart.first_term
            && epoch <= self.registry.published_epoch();
        if is_ours || epoch <= restart.inherited || epoch.term > TERM_MAX {
            return;
        }
        let has_failed = restart.has_failed;
        let is_better = |(from, wanted): (u16, MapEpoch)| {
            epoch > wanted || (has_failed && epoch == wanted && from != server)
        };
        if restart.wanted.is_none_or(is_better) {
            restart.wanted = Some((server, epoch));
            restart.has_failed = false;
        }
        self.fetch_if_due(now);
    }

    fn fetch_if_due(&mut self, now: Micros) {
        let restart = &mut self.restart;
        // No server has a newer map.
        let Some((server, _)) = restart.wanted else { return };
        if restart.fetching.is_some() || now < restart.fetch_again_at {
            return;
        }
        restart.fetching = Some((server, now + self.rules.lease));
        let address = self.topology.servers[usize::from(server)].address;
        self.outputs.push_back(Output::FetchMap { server, address });
    }

    pub(super) fn on_fetched(&mut self, now: Micros, server: u16, map: Option<Box<ClusterMap>>) {
        if self.restart.fetching.is_none_or(|(from, _)| from != server) {
            return;
        }
        let told = self.restart.wanted.filter(|(from, _)| *from == server);
        let is_answer = |map: &ClusterMap| {
            let is_enough = |(_, epoch)| map.epoch >= epoch || mutant::is(Mutant::OlderMapBelieved);
            map.topology.id == self.topology.id && told.is_none_or(is_enough)
        };
        self.end_fetch(now, server, map.as_deref().is_some_and(is_answer));
        // Without a map, `end_fetch` has planned the next fetch if one is needed.
        let Some(map) = map else { return };
        let is_others = self.restart.is_learning()
            || map.epoch.term < self.restart.first_term
            || map.epoch > self.registry.epoch();
        let is_news = map.epoch > self.restart.inherited && is_others;
        if map.topology.id != self.topology.id || !is_news || map.epoch.term > TERM_MAX {
            return;
        }
        let term = self.registry.epoch().term.max(map.epoch.term) + 1;
        self.adopt(now, term, &map);
        self.counters.adoptions += 1;
        self.event(MasterEvent::Adopted { server, epoch: map.epoch });
    }

    /// Notes that a fetch has ended. While the master learns, a failed fetch is retried until the
    /// time is over. Later, fetches are rate-limited, because two masters would otherwise adopt
    /// from each other forever.
    fn end_fetch(&mut self, now: Micros, server: u16, ok: bool) {
        let is_learning = self.restart.is_learning();
        self.restart.fetching = None;
        if self.restart.wanted.is_some_and(|(from, _)| from == server) {
            self.restart.has_failed = !ok;
            if ok || !is_learning {
                self.restart.wanted = None;
            }
        }
        let pause = match (is_learning, ok) {
            (true, true) => Duration::ZERO,
            (true, false) => self.rules.announce_resend,
            (false, _) => self.rules.lease,
        };
        self.restart.fetch_again_at = now + pause;
    }

    fn adopt(&mut self, now: Micros, term: u32, map: &ClusterMap) {
        let mut statuses = self.registry.decided().to_vec();
        for (id, status) in (0u16..).zip(&mut statuses) {
            let theirs = map.statuses()[usize::from(id)];
            // A state that this master has decided since its start is newer. Its epoch must not be
            // older than the one that it replaces.
            if self.servers[usize::from(id)].is_decided_here {
                if status.state != theirs.state {
                    status.since = MapEpoch { term, counter: 1 };
                }
                continue;
            }
            let (heard_boot_id, was_away) = (status.boot_id, status.state != ServerState::Online);
            *status = theirs;
            if theirs.boot_id == 0 {
                status.boot_id = heard_boot_id;
            } else if theirs.boot_id != heard_boot_id {
                self.senders.replace(id, theirs.boot_id);
            }
            // Their epochs may be higher although our states are newer: another server may have written
            // for this one since.
            let is_back = was_away && theirs.state == ServerState::Online;
            if is_back && !mutant::is(Mutant::EpochsOfOthers) {
                let since = MapEpoch { term, counter: 1 };
                (status.state, status.since) = (ServerState::Returning, since);
                self.counters.returns += 1;
                let boot_id = status.boot_id;
                let event = MasterEvent::Returning { server: id, epoch: since, boot_id };
                self.outputs.push_back(Output::Event(event));
            }
            let drain_check_at = now + self.rules.drain_overdue();
            let phase = phase_of(now, status.state, &self.rules);
            let server = &mut self.servers[usize::from(id)];
            server.verify.reset(now, phase, &self.rules);
            server.by_verdict = matches!(status.state, ServerState::Offline | ServerState::Waiting);
            server.left_boot_id = 0;
            server.released_boot_id = 0;
            server.returning_at = now;
            server.drain_check_at = drain_check_at;
        }
        self.restart.inherited = map.epoch;
        self.restart.given_boot_ids = map.statuses().iter().map(|status| status.boot_id).collect();
        self.restart.has_history = true;
        self.restart.first_term = term;
        self.registry.adopt(term, statuses);
    }

    pub(super) fn restart_on_time(&mut self, now: Micros) {
        if let Some((server, lost_at)) = self.restart.fetching
            && lost_at <= now
        {
            self.end_fetch(now, server, false);
        }
        self.fetch_if_due(now);
        // The master has learned enough already.
        let Some(until) = self.restart.learning_until else { return };
        let is_saved = self.registry.published_epoch() > MapEpoch::default();
        let is_behind = self.restart.wanted.is_some();
        if !is_saved || (now < until && (is_behind || !self.has_heard_enough())) {
            return;
        }
        self.restart.learning_until = None;
        self.event(MasterEvent::Learned);
        let is_unsure = !self.has_heard_enough() && !mutant::is(Mutant::ForgetOffline);
        if let Some((_, epoch)) = self.restart.wanted.take() {
            // There were newer states, but no server could give them.
            self.restart.inherited = epoch;
            self.return_all(now, epoch.term);
        } else if is_unsure {
            self.return_all(now, 0);
        }
        // The states get a new epoch, so that the file says that the master has learned.
        self.registry.bump();
        self.registry.start_announcing();
        for server in &mut self.servers {
            server.verify.thaw(now);
        }
    }

    /// Makes all servers that seem online return, because this master's knowledge may be out of
    /// date. One of them may have been marked offline, and another may have written in its place.
    /// The servers exchange the written keys as if they had been away.
    ///
    /// The term is drawn at random, because nobody can say which terms a predecessor has used. If
    /// both masters used the same term, epochs heard from the predecessor would count as heard from
    /// this master.
    fn return_all(&mut self, now: Micros, newest_term: u32) {
        let term = self.registry.epoch().term.max(newest_term) + 1 + drawn(now);
        let mut statuses = self.registry.decided().to_vec();
        let epoch = MapEpoch { term, counter: 1 };
        for (id, status) in (0u16..).zip(&mut statuses) {
            let server = &mut self.servers[usize::from(id)];
            if server.is_decided_here {
                continue;
            }
            // It is not known since when an offline server has been offline either.
            status.since = epoch;
            if status.state != ServerState::Online {
                continue;
            }
            status.state = ServerState::Returning;
            let phase = phase_of(now, ServerState::Returning, &self.rules);
            server.verify.reset(now, phase, &self.rules);
            server.returning_at = now;
            server.drain_check_at = now + self.rules.drain_overdue();
            let boot_id = status.boot_id;
            self.counters.returns += 1;
            self.outputs.push_back(Output::Event(MasterEvent::Returning {
                server: id,
                epoch,
                boot_id,
            }));
        }
        self.restart.first_term = term;
        self.registry.adopt(term, statuses);
    }

    fn has_heard_enough(&self) -> bool {
        // Without a file, even the states of a server may be old, because another server can have
        // been an owner since then. That server would say so, unless it has restarted since.
        if !self.restart.has_file {
            let given = &self.restart.given_boot_ids;
            return match given.is_empty() {
                true => self.servers.iter().all(Server::is_heard),
                false => self.servers.iter().zip(given).all(|(s, id)| s.heard == Heard::One(*id)),
            };
        }
        let online = || self.servers.iter().filter(|server| !server.verify.is_out());
        let (count, informed) = (online().count(), online().filter(|s| s.has_map).count());
        let is_all_new = informed == 0 && online().all(Server::is_heard);
        informed * 2 > count || (count > 0 && is_all_new)
    }
}
