//! The whole master as one machine: inputs in, outputs out, time as an argument. It owns no
//! socket, thread or clock, so the simulator runs exactly what ships.
//!
//! Invariant: nothing of a new epoch is sent before [`Output::Persist`] of it has come back
//! as [`Input::Persisted`].

mod notices;
mod orders;
mod probes;
mod restart;
mod say;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_protocol::time::Micros;

use crate::counters::Counters;
use crate::event::{MasterEvent, OfflineReason};
use crate::phase::{Mark, Phase, Seen, Step};
use crate::registry::Registry;
use crate::rules::Rules;
use crate::senders::Senders;
use crate::state::State;
use crate::verify::Verify;
pub use orders::{Input, Output, ProbeFailure, ProbeOrder};
use restart::Restart;

/// Reporters of one server that wait for a verdict; the next ones hear it from the map.
const WAITERS_MAX: usize = 64;

/// The master.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    topology: Arc<Topology>,
    registry: Registry,
    senders: Senders,
    servers: Vec<Server>,
    restart: Restart,
    outputs: VecDeque<Output>,
    counters: Counters,
    sequence: u64,
    /// When the state is written again, after that has failed.
    save_again_at: Micros,
    /// The highest term that is safely in the state file.
    saved_term: u32,
}

/// What the master knows of one server beyond what it says.
#[derive(Debug)]
struct Server {
    verify: Verify,
    /// Reporters that wait for a verdict.
    waiters: Vec<Waiter>,
    /// The waiters are answered as soon as this epoch is published.
    verdict_at: Option<MapEpoch>,
    /// The incarnation that said that it stops; it never returns. 0: none.
    left_boot_id: u64,
    /// Offline by verdict, so that it counts towards the cap.
    by_verdict: bool,
    /// Heard since the master started.
    is_heard: bool,
    /// This master, and not one before it, has decided its state.
    is_decided_here: bool,
    /// Returning: when it began, and when to look again for who has not drained.
    returning_at: Micros,
    drain_check_at: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    to: SocketAddr,
    nonce: u64,
}

impl Machine {
    /// A master that starts, with what the last one saved. The first thing it wants done is
    /// the [`Output::Persist`] of its own term; if that can't be done it must not run.
    ///
    /// # Panics
    /// If the topology's servers are more than 65,535.
    #[must_use]
    pub fn new(now: Micros, rules: Rules, topology: Arc<Topology>, saved: Option<&State>) -> Self {
        let (restart, epoch, known) = restart::begin(now, &rules, &topology, saved);
        let statuses: Vec<_> = known.iter().map(|k| k.status).collect();
        let servers = known.iter().map(|known| {
            Server::new(now, known.status.state, known.by_verdict, known.status.boot_id)
        });
        let mut machine = Self {
            servers: servers.collect(),
            senders: Senders::new(statuses.len()),
            registry: Registry::new(topology.clone(), epoch, statuses),
            rules,
            topology,
            restart,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            sequence: 0,
            save_again_at: Micros::NEVER,
            saved_term: 0,
        };
        let has_history = machine.restart.has_history();
        machine.event(MasterEvent::Started { epoch, has_history });
        machine.settle(now);
        machine
    }

    /// Takes an input; what follows from it is waiting in [`Self::poll`].
    pub fn handle(&mut self, now: Micros, input: Input) {
        match input {
            Input::Datagram { from, datagram } => self.on_datagram(now, from, &datagram),
            Input::Probed { server, probe_id, shards } => {
                self.on_probed(now, server, probe_id, &shards);
            }
            Input::Persisted { epoch, ok } => self.on_persisted(now, epoch, ok),
            Input::Fetched { server, map } => self.on_fetched(now, server, map),
            Input::Tick => {}
        }
        self.on_time(now);
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Gives back outputs that were polled and not done; they come first again.
    pub fn put_back(&mut self, outputs: Vec<Output>) {
        for output in outputs.into_iter().rev() {
            self.outputs.push_front(output);
        }
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        let servers = self.servers.iter().map(|server| {
            let drain_check_at = match server.verify.phase() {
                Phase::Returning { attempt: 0, .. } => server.drain_check_at,
                _ => Micros::NEVER,
            };
            server.verify.next_deadline(&self.rules).min(drain_check_at)
        });
        let resend = match self.registry.is_announcing() {
            true => self.registry.next_deadline(),
            false => Micros::NEVER,
        };
        let others = [resend, self.restart.next_deadline(), self.save_again_at];
        servers.chain(others).min().unwrap_or(Micros::NEVER)
    }

    /// The map as said to whoever asks; `None` while the master has nothing to say.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.registry.is_announcing().then(|| self.registry.map())
    }

    /// States, epochs and acknowledgements.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where a server stands.
    ///
    /// # Panics
    /// If there is no such server.
    #[must_use]
    pub fn phase(&self, server: u16) -> Phase {
        self.servers[usize::from(server)].verify.phase()
    }

    /// What has been done.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// This master's term: its incarnation.
    #[must_use]
    pub fn term(&self) -> u32 {
        self.registry.epoch().term
    }

    fn event(&mut self, event: MasterEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn server(&mut self, id: u16) -> &mut Server {
        &mut self.servers[usize::from(id)]
    }

    fn ids(&self) -> std::ops::Range<u16> {
        // Topology::new bounds the number of servers far below this.
        0..u16::try_from(self.servers.len()).unwrap_or(u16::MAX)
    }

    /// Whether one more server may be marked offline by verdict. Without history the
    /// master changes no owner; beyond the cap it suspects itself.
    fn may_mark(&self) -> bool {
        !self.restart.is_learning() && self.offline_by_verdict() < self.rules.offline_servers_max
    }

    fn offline_by_verdict(&self) -> usize {
        self.servers.iter().filter(|s| s.verify.is_offline() && s.by_verdict).count()
    }

    /// Feeds one server's machine and does what it says.
    fn see(&mut self, now: Micros, id: u16, seen: Seen) {
        let may_mark = self.may_mark();
        let step = self.servers[usize::from(id)].verify.handle(now, seen, may_mark, &self.rules);
        self.apply(now, id, seen, step);
    }

    fn apply(&mut self, now: Micros, id: u16, seen: Seen, step: Step) {
        if step.silent {
            self.event(MasterEvent::Silent { server: id });
        }
        if step.frozen {
            self.counters.verdicts_withheld += 1;
            if !self.restart.is_learning() {
                let (offline, max) = (self.offline_by_verdict(), self.rules.offline_servers_max);
                self.event(MasterEvent::CapReached { offline, max });
            }
            self.event(MasterEvent::Frozen { server: id });
        }
        if let Some(mark) = step.mark {
            self.mark(now, id, mark, seen);
        }
        if let Some(hold_down) = step.hold_down {
            self.event(MasterEvent::HeldDown { server: id, hold_down });
        }
        if let Some(attempt) = step.probe {
            self.event(MasterEvent::Probing { server: id, attempt: attempt.attempt });
            self.counters.probes += 1;
            let info = &self.topology.servers[usize::from(id)];
            self.outputs.push_back(Output::Probe(ProbeOrder {
                server: id,
                probe_id: attempt.probe_id,
                address: info.address,
                shards: info.shards,
                timeout: self.rules.probe_timeout,
            }));
        }
        if step.verdict {
            self.server(id).verdict_at = Some(self.registry.epoch());
        }
    }

    fn mark(&mut self, now: Micros, id: u16, mark: Mark, seen: Seen) {
        self.server(id).is_decided_here = true;
        match mark {
            Mark::Offline => {
                let was = self.registry.decided()[usize::from(id)].state;
                let reason = match seen {
                    _ if was == ServerState::Leaving => OfflineReason::Leaving,
                    Seen::Answered { .. } => OfflineReason::Flapping,
                    _ => OfflineReason::Verdict,
                };
                let by_verdict = reason != OfflineReason::Leaving;
                self.server(id).by_verdict = by_verdict;
                match by_verdict {
                    true => self.counters.verdicts_offline += 1,
                    false => self.counters.leavings += 1,
                }
                let epoch = self.registry.change(id, ServerState::Offline);
                self.event(MasterEvent::MarkedOffline { server: id, epoch, reason });
            }
            Mark::Leaving => {
                let epoch = self.registry.change(id, ServerState::Leaving);
                self.event(MasterEvent::Leaving { server: id, epoch });
            }
            Mark::Returning => {
                let drain_check_at = now + self.rules.drain_overdue();
                let server = self.server(id);
                server.by_verdict = false;
                server.left_boot_id = 0;
                server.returning_at = now;
                server.drain_check_at = drain_check_at;
                self.counters.returns += 1;
                let epoch = self.registry.change(id, ServerState::Returning);
                let boot_id = self.registry.decided()[usize::from(id)].boot_id;
                self.event(MasterEvent::Returning { server: id, epoch, boot_id });
            }
            Mark::Online => {
                let epoch = self.registry.change(id, ServerState::Online);
                self.event(MasterEvent::Online { server: id, epoch });
            }
        }
    }

    fn on_time(&mut self, now: Micros) {
        self.restart_on_time(now);
        for id in self.ids() {
            let verify = &self.servers[usize::from(id)].verify;
            if let Some(lost) = verify.probe_under_way()
                && verify.is_probe_lost(now)
            {
                self.on_probed(now, id, lost.probe_id, &[Err(ProbeFailure::NotTried)]);
            }
            self.see(now, id, Seen::Tick);
            self.check_drain(now, id);
        }
        if self.save_again_at <= now {
            self.save_again_at = Micros::NEVER;
            // A state that is still to be said is saved by settle().
            let epoch = self.registry.published_epoch();
            if epoch == self.registry.epoch() {
                self.save(epoch, self.registry.published().to_vec());
            }
        }
    }

    /// Online once all stand-ins have drained; those that do not say so are verified.
    fn check_drain(&mut self, now: Micros, id: u16) {
        let server = &self.servers[usize::from(id)];
        match server.verify.phase() {
            Phase::Returning { attempt: 0, .. } => {}
            Phase::Leaving { .. } => {
                if self.registry.undrained(id).is_some_and(|peers| peers.is_empty()) {
                    self.see(now, id, Seen::Drained);
                }
                return;
            }
            _ => return,
        }
        let is_overdue = server.drain_check_at <= now;
        match self.registry.undrained(id) {
            Some(peers) if peers.is_empty() => self.see(now, id, Seen::Drained),
            Some(peers) if is_overdue => {
                for peer in peers {
                    self.event(MasterEvent::DrainOverdue { server: id, peer });
                    self.see(now, peer, Seen::Reported);
                }
            }
            _ => {}
        }
        if is_overdue {
            let again = now + self.rules.drain_overdue();
            self.server(id).drain_check_at = again;
        }
    }
}

impl Server {
    fn new(now: Micros, state: ServerState, by_verdict: bool, boot_id: u64) -> Self {
        let has_left = state == ServerState::Offline && !by_verdict;
        Self {
            verify: Verify::new(now, phase_of(now, state)),
            waiters: Vec::new(),
            verdict_at: None,
            left_boot_id: if has_left { boot_id } else { 0 },
            by_verdict,
            is_heard: false,
            is_decided_here: false,
            returning_at: now,
            drain_check_at: now,
        }
    }

    /// Remembers who is to hear the verdict.
    fn wait(&mut self, waiter: Waiter) {
        if let Some(same) = self.waiters.iter_mut().find(|w| w.to == waiter.to) {
            *same = waiter;
        } else if self.waiters.len() < WAITERS_MAX {
            self.waiters.push(waiter);
        }
    }
}

/// The phase of a server that the world holds for `state`.
fn phase_of(now: Micros, state: ServerState) -> Phase {
    match state {
        ServerState::Online => Phase::Online { verify_at: None },
        ServerState::Offline => Phase::Offline { next_probe: now },
        ServerState::Returning => Phase::Returning { attempt: 0, verify_at: None },
        ServerState::Waiting => Phase::Offline { next_probe: now },
        // It may have finished while there was no master: its time is up at once.
        ServerState::Leaving => Phase::Leaving { until: now },
    }
}
