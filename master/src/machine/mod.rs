//! The whole master as one machine: it takes inputs and returns outputs, and time is an argument.
//! It owns no socket, thread or clock, so the simulator runs the shipped code.
//!
//! Invariant: nothing of a new epoch is sent before its [`Output::Persist`] has been answered by
//! [`Input::Persisted`].

mod announcements;
mod failure;
mod figures;
mod marks;
mod notices;
mod orders;
mod origin;
mod probes;
mod relayed;
mod restart;
mod server;
mod warnings;

use std::collections::VecDeque;
use std::sync::Arc;

use standin_protocol::map::{ClusterMap, Topology};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

use crate::counters::Counters;
use crate::event::MasterEvent;
use crate::phase::{Facts, Phase, Seen, Step};
use crate::registry::Registry;
use crate::reporters::Reporters;
use crate::rules::Rules;
use crate::senders::Senders;
use crate::state::State;
pub use failure::ProbeFailure;
pub use orders::{Input, Output, ProbeOrder};
use restart::Restart;
use server::Server;
use warnings::Warnings;

/// The master.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    topology: Arc<Topology>,
    registry: Registry,
    senders: Senders,
    reporters: Reporters,
    servers: Vec<Server>,
    restart: Restart,
    warnings: Warnings,
    outputs: VecDeque<Output>,
    counters: Counters,
    sequence: u64,
    /// The time of the next attempt to write the state, after an attempt has failed.
    save_again_at: Micros,
    /// The highest term that is certainly in the state file.
    saved_term: u32,
}

impl Machine {
    /// Creates a master with the state that the previous one saved. Its first output is the
    /// [`Output::Persist`] of its own term. If that fails, the master must not run.
    ///
    /// # Panics
    /// If the topology has more than 65,535 servers.
    #[must_use]
    pub fn new(now: Micros, rules: Rules, topology: Arc<Topology>, saved: Option<&State>) -> Self {
        let (restart, epoch, known) = restart::begin(now, &rules, &topology, saved);
        let statuses: Vec<_> = known.iter().map(|k| k.status).collect();
        let servers = known.iter().map(|known| Server::new(now, known, &rules));
        let mut machine = Self {
            servers: servers.collect(),
            senders: Senders::new(statuses.len()),
            reporters: Reporters::default(),
            registry: Registry::new(topology.clone(), epoch, statuses),
            rules,
            topology,
            restart,
            warnings: Warnings::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            sequence: 0,
            save_again_at: Micros::NEVER,
            saved_term: 0,
        };
        let has_history = machine.restart.has_history();
        machine.event(MasterEvent::Started { epoch, has_history });
        machine.save_and_announce(now);
        machine
    }

    /// Handles an input. [`Self::poll`] returns the resulting outputs.
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
        self.save_and_announce(now);
    }

    /// Returns the next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes back outputs that were polled but not executed. They are returned first by the next
    /// calls of [`Self::poll`].
    pub fn put_back(&mut self, outputs: Vec<Output>) {
        for output in outputs.into_iter().rev() {
            self.outputs.push_front(output);
        }
    }

    /// Returns the time at which [`Input::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        let servers = self.servers.iter().map(|server| {
            let verify = server.verify.next_deadline(&self.rules);
            verify.min(server.next_drain_check()).min(server.asked_until())
        });
        let resend = match self.registry.is_announcing() {
            true => self.registry.next_deadline(),
            false => Micros::NEVER,
        };
        let others = [resend, self.restart.next_deadline(), self.save_again_at];
        servers.chain(others).min().unwrap_or(Micros::NEVER)
    }

    /// Returns the map to answer requests with, or `None` while the master has none to announce.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.registry.is_announcing().then(|| self.registry.map())
    }

    /// Returns the states, epochs and acknowledgements.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the phase of a server.
    ///
    /// # Panics
    /// If there is no such server.
    #[must_use]
    pub fn phase(&self, server: u16) -> Phase {
        self.servers[usize::from(server)].verify.phase()
    }

    /// Returns the master's counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns this master's term, which identifies its incarnation.
    #[must_use]
    pub fn term(&self) -> u32 {
        self.registry.epoch().term
    }

    /// Returns the lengths of everything that grows in the master, between its turns.
    pub fn queues(&self) -> impl Iterator<Item = Queue> + '_ {
        let servers = self.servers.iter().flat_map(|server| server.queues(self.servers.len()));
        let outputs = Queue::new("master's outputs", self.outputs.len(), 0);
        let known = self.senders.queues().into_iter().chain(self.reporters.queues());
        known.chain([outputs]).chain(servers)
    }

    fn event(&mut self, event: MasterEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn server(&mut self, id: u16) -> &mut Server {
        &mut self.servers[usize::from(id)]
    }

    fn ids(&self) -> std::ops::Range<u16> {
        // `Topology::new` bounds the number of servers far below this.
        0..u16::try_from(self.servers.len()).unwrap_or(u16::MAX)
    }

    /// Passes an observation to one server's machine, and carries out the step that it returns.
    fn see(&mut self, now: Micros, id: u16, seen: Seen) {
        let facts = Facts { may_mark: self.may_mark(), is_released: self.registry.is_released(id) };
        let step = self.servers[usize::from(id)].verify.handle(now, seen, facts, &self.rules);
        self.apply(now, id, seen, step);
    }

    fn apply(&mut self, now: Micros, id: u16, seen: Seen, step: Step) {
        if step.silent {
            self.event(MasterEvent::Silent { server: id });
        }
        if step.lease_over {
            self.counters.leases_over += 1;
            self.event(MasterEvent::LeaseOver { server: id });
        }
        if step.frozen {
            self.counters.verdicts_withheld += 1;
            if !self.restart.is_learning() {
                let (offline, max) = (self.out_by_verdict(), self.rules.offline_servers_max);
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
            self.ask_peers(now, id, attempt);
            self.server(id).probed_boot_id = self.registry.decided()[usize::from(id)].boot_id;
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

    fn on_time(&mut self, now: Micros) {
        self.restart_on_time(now);
        for id in self.ids() {
            let verify = &self.servers[usize::from(id)].verify;
            if let Some(lost) = verify.probe_under_way()
                && verify.is_probe_lost(now)
            {
                self.on_probed(now, id, lost.probe_id, &[Err(ProbeFailure::NotTried)]);
            }
            if self.servers[usize::from(id)].asked_until() <= now {
                self.end_asking(now, id);
            }
            // Of a thousand servers, hardly one has something due.
            if self.servers[usize::from(id)].verify.next_deadline(&self.rules) <= now {
                self.see(now, id, Seen::Tick);
            }
            self.check_drain(now, id);
        }
        self.warn_of_silence(now);
        if self.save_again_at <= now {
            self.save_again_at = Micros::NEVER;
            // A state that is still to be announced is saved by `save_and_announce`.
            let epoch = self.registry.published_epoch();
            if epoch == self.registry.epoch() {
                self.save(epoch, self.registry.published().to_vec());
            }
        }
    }
}
