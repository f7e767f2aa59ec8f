//! A cluster of model servers around the real machine, in virtual time.
//!
//! The world checks at every step that epochs never go back and no epoch has two states. It checks
//! that nothing is announced that was not saved first, and that the machine never asks for a time
//! that has passed. It also checks that no two servers hold a lease at the same time under maps in
//! which they own the same partition.

#![expect(dead_code, unreachable_pub, reason = "each test file uses its part")]

mod links;
pub mod model;
mod owners;
mod setup;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_config::Mode;
use standin_master::{Input, Machine, MasterEvent, Output, ProbeOrder, Rules, SavedServer, State};
use standin_protocol::control::{Datagram, DatagramKind, SENDER_CLIENT, renew_flags};
use standin_protocol::lease::held_until;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::time::Micros;

use model::Lease;
pub use model::{Health, Model};
pub use setup::{rules, topology};

pub const CLIENT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 99)), 9_999);

pub struct World {
    pub now: Micros,
    pub machine: Machine,
    pub topology: Arc<Topology>,
    pub servers: Vec<Model>,
    pub events: Vec<(Micros, MasterEvent)>,
    pub verdicts: Vec<Datagram>,
    pub announced_to: Vec<(u16, Datagram)>,
    /// The servers whose maps the master has fetched.
    pub fetches: Vec<u16>,
    pub saved: Option<State>,
    pub disk_ok: bool,
    /// The percentage of datagrams that are lost.
    pub loss_percent: u64,
    pub rules: Rules,
    /// Whether owners are checked. They can't be while a test gives the master invented states,
    /// because these have invented owners.
    pub checks_owners: bool,
    queue: BTreeMap<(Micros, u64), Action>,
    queued: u64,
    random: u64,
    client_sequence: u64,
    persisted: BTreeMap<MapEpoch, Vec<ServerStatus>>,
    said: BTreeMap<MapEpoch, Vec<ServerStatus>>,
    newest_said: MapEpoch,
    owners_checked: Vec<(MapEpoch, usize, u64)>,
}

enum Action {
    Master(Input),
    ToServer(u16, Datagram),
    Renew(u16, u64),
    Probe(ProbeOrder),
}

impl World {
    /// Creates a cluster that has converged: all servers have renewed and acknowledged.
    pub fn converged(groups: &[u16]) -> Self {
        Self::converged_in(Mode::Available, groups)
    }

    pub fn converged_in(mode: Mode, groups: &[u16]) -> Self {
        let mut world = Self::cold_in(mode, groups);
        world.run_ms(1_000);
        assert!(world.is_converged(), "a healthy cluster converges at once: {:?}", world.events);
        world.forget();
        world
    }

    /// Creates a cluster in which everything starts now.
    pub fn cold(groups: &[u16]) -> Self {
        Self::cold_in(Mode::Available, groups)
    }

    fn cold_in(mode: Mode, groups: &[u16]) -> Self {
        let rules = Rules { mode, ..rules() };
        let topology = topology(groups);
        let now = Micros(1_000_000_000);
        let servers = (0..topology.servers.len()).map(|_| Model::new(mode));
        let mut world = Self {
            now,
            machine: Machine::new(now, rules.clone(), topology.clone(), None),
            servers: servers.collect(),
            topology,
            events: Vec::new(),
            verdicts: Vec::new(),
            announced_to: Vec::new(),
            fetches: Vec::new(),
            saved: None,
            disk_ok: true,
            loss_percent: 0,
            rules,
            checks_owners: true,
            queue: BTreeMap::new(),
            queued: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            client_sequence: 0,
            persisted: BTreeMap::new(),
            said: BTreeMap::new(),
            newest_said: MapEpoch::default(),
            owners_checked: Vec::new(),
        };
        for id in world.ids() {
            world.start(id);
        }
        world.drain();
        world
    }

    pub fn ids(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.servers.len()).expect("few servers")
    }

    pub fn seed(&mut self, seed: u64) {
        self.random = seed | 1;
    }

    /// Starts the server's process, as a new incarnation with an empty memory.
    pub fn start(&mut self, id: u16) {
        let boot_id = self.random() | 1;
        let model = self.model(id);
        model.boot_id = boot_id;
        (model.epoch, model.drained) = (MapEpoch::default(), MapEpoch::default());
        model.statuses.clear();
        model.sequence = 0;
        model.renewals.clear();
        model.leases.clear();
        model.held.clear();
        model.health = Health::Up;
        self.push(Duration::from_millis(1), Action::Renew(id, boot_id));
    }

    /// Sets a server's health. A dead server can return only as another incarnation.
    pub fn set(&mut self, id: u16, health: Health) {
        if self.model(id).health == Health::Dead && health != Health::Dead {
            self.start(id);
        }
        self.model(id).health = health;
        for datagram in std::mem::take(&mut self.model(id).held) {
            self.push(LATENCY, Action::ToServer(id, datagram));
        }
    }

    /// Restarts the master's process with this state file. A master that can't save its term does
    /// not start, so one save always succeeds.
    pub fn restart_master(&mut self, saved: Option<&State>) {
        self.queue.retain(|_, action| !matches!(action, Action::Master(_) | Action::Probe(_)));
        self.machine = Machine::new(self.now, self.rules.clone(), self.topology.clone(), saved);
        let disk_ok = std::mem::replace(&mut self.disk_ok, true);
        self.drain();
        self.disk_ok = disk_ok;
    }

    pub fn report_by_client(&mut self, subject: u16) {
        self.notice(DatagramKind::ReportFailed, subject);
    }

    pub fn report_ok_by_client(&mut self, subject: u16) {
        self.notice(DatagramKind::ReportOk, subject);
    }

    pub fn report_by_server(&mut self, by: u16, subject: u16) {
        let mut datagram = self.server_says(by, DatagramKind::ReportFailed);
        datagram.subject = subject;
        self.reach_master(by, datagram);
    }

    pub fn leave(&mut self, id: u16) {
        let datagram = self.server_says(id, DatagramKind::Leaving);
        self.reach_master(id, datagram);
    }

    /// Returns a datagram as that server would send it now.
    pub fn server_says(&mut self, id: u16, kind: DatagramKind) -> Datagram {
        let topology_id = self.topology.id;
        let model = self.model(id);
        model.sequence += 1;
        let mut datagram = Datagram::new(kind, id, topology_id, model.boot_id);
        datagram.sequence = model.sequence;
        datagram.epoch = model.epoch;
        datagram
    }

    pub fn run_ms(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until the condition holds, for a minute at most.
    pub fn run_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = self.now + Duration::from_secs(60);
        while !holds(self) {
            assert!(self.step(until), "{what} does not come about; {:?}", self.events);
        }
    }

    pub fn state(&self, id: u16) -> ServerState {
        self.machine.registry().published()[usize::from(id)].state
    }

    pub fn kinds(&self, server: u16) -> Vec<&'static str> {
        let of_server = self.events.iter().filter(|(_, event)| event.server() == Some(server));
        of_server.map(|(_, event)| event.kind()).collect()
    }

    pub fn has(&self, kind: &str, server: u16) -> bool {
        self.kinds(server).contains(&kind)
    }

    pub fn time_of(&self, kind: &str, server: u16) -> Micros {
        let found =
            self.events.iter().find(|(_, e)| e.kind() == kind && e.server() == Some(server));
        found.unwrap_or_else(|| panic!("no {kind} of {server} in {:?}", self.events)).0
    }

    pub fn forget(&mut self) {
        self.events.clear();
        self.verdicts.clear();
        self.announced_to.clear();
        self.fetches.clear();
        self.servers.iter_mut().for_each(|model| model.grants.clear());
    }

    /// Whether every server that is up is online, and every server that can hear has the newest
    /// states and has acknowledged them.
    pub fn is_converged(&self) -> bool {
        let registry = self.machine.registry();
        let epoch = registry.published_epoch();
        registry.epoch() == epoch
            && self.ids().zip(&self.servers).all(|(id, model)| match model.health {
                Health::Up => {
                    self.state(id) == ServerState::Online
                        && registry.published()[usize::from(id)].boot_id == model.boot_id
                        && model.epoch == epoch
                        && !self.is_unacknowledged(id)
                }
                Health::Deaf => true,
                _ => self.state(id) == ServerState::Offline,
            })
    }

    /// Whether a server still has to acknowledge the newest states.
    fn is_unacknowledged(&self, id: u16) -> bool {
        let mut late = self.machine.registry().unacknowledged(self.now, Duration::ZERO);
        late.any(|(server, _)| server == id)
    }

    /// Gives the master an input that nothing has caused.
    pub fn inject(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    /// Gives the master an input, and returns what it sends.
    pub fn hear(&mut self, input: Input) -> Vec<(SocketAddr, Datagram)> {
        self.machine.handle(self.now, input);
        let outputs: Vec<_> = std::iter::from_fn(|| self.machine.poll()).collect();
        let sent = outputs.iter().filter_map(|output| match output {
            Output::Send { to, datagram } => Some((*to, datagram.clone())),
            _ => None,
        });
        let sent = sent.collect();
        self.machine.put_back(outputs);
        self.drain();
        sent
    }

    fn step(&mut self, until: Micros) -> bool {
        let deadline = self.machine.next_deadline();
        let next = self.queue.first_key_value().map_or(Micros::NEVER, |((at, _), _)| *at);
        let at = next.min(deadline);
        if at > until {
            return false;
        }
        self.now = self.now.max(at);
        let mut is_tick = true;
        if next <= deadline
            && let Some((_, action)) = self.queue.pop_first()
        {
            is_tick = false;
            self.act(action);
        } else {
            self.machine.handle(self.now, Input::Tick);
        }
        self.drain();
        self.check_owners();
        let deadline = self.machine.next_deadline();
        assert!(
            !is_tick || deadline > self.now,
            "a tick must leave nothing due, or a shell would loop without end"
        );
        true
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Master(input) => self.machine.handle(self.now, input),
            Action::ToServer(id, datagram) => self.on_server(id, datagram),
            Action::Renew(id, boot_id) => {
                let model = self.model(id);
                if model.boot_id != boot_id {
                    return;
                }
                if matches!(model.health, Health::Up | Health::Gray | Health::Deaf) {
                    let mut datagram = self.server_says(id, DatagramKind::Renew);
                    datagram.nonce = datagram.sequence ^ boot_id;
                    let model = self.model(id);
                    let mode = if model.is_strict { renew_flags::STRICT } else { 0 };
                    datagram.arg = u32::from(model.origin_down) | mode;
                    let now = self.now;
                    let renewals = &mut self.model(id).renewals;
                    renewals.insert(datagram.nonce, now);
                    while renewals.len() > 8 {
                        renewals.pop_first();
                    }
                    self.reach_master(id, datagram);
                }
                self.push(Duration::from_millis(500), Action::Renew(id, boot_id));
            }
            Action::Probe(order) => {
                let input = self.probe(order);
                self.machine.handle(self.now, input);
            }
        }
    }

    fn on_server(&mut self, id: u16, datagram: Datagram) {
        let model = self.model(id);
        match model.health {
            Health::Up | Health::Gray => {}
            // The datagram stays in the socket's buffer until the server resumes.
            Health::Paused => return model.held.push(datagram),
            Health::Dead | Health::Deaf => return,
        }
        match datagram.kind {
            DatagramKind::Announce => {
                if datagram.epoch > model.epoch {
                    model.epoch = datagram.epoch;
                    model.statuses = datagram.statuses;
                }
                if model.is_busy {
                    return;
                }
                model.drained = model.epoch;
                let ack = self.server_says(id, DatagramKind::Ack);
                self.reach_master(id, ack);
            }
            DatagramKind::AskProbe => self.ask(id, &datagram),
            DatagramKind::Grant => {
                let lease = Duration::from_millis(datagram.arg.into());
                if let Some(sent) = model.renewals.remove(&datagram.nonce) {
                    // Its clock is almost as slow as it may be.
                    let until = held_until(sent, lease).0 - sent.0;
                    let until = Micros(sent.0 + until * 12 / 10);
                    model.leases.push(Lease { needs: datagram.epoch, until });
                }
                model.grants.push(datagram);
            }
            _ => self.verdicts.push(datagram),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send { to, datagram } => {
                    self.check(&datagram);
                    let id = self.topology.servers.iter().position(|s| s.address == to);
                    let Some(id) = id.and_then(|id| u16::try_from(id).ok()) else {
                        assert_eq!((to, datagram.recipient), (CLIENT, SENDER_CLIENT));
                        self.verdicts.push(datagram);
                        continue;
                    };
                    if datagram.kind == DatagramKind::Announce {
                        self.announced_to.push((id, datagram.clone()));
                    }
                    let passes = self.servers[usize::from(id)].health == Health::Up;
                    let is_passed_on = datagram.recipient != id && passes;
                    let arrives = !self.servers[usize::from(id)].is_cut
                        && (datagram.recipient == id || is_passed_on);
                    if arrives && !self.is_lost() {
                        self.push(LATENCY, Action::ToServer(datagram.recipient, datagram));
                    }
                }
                Output::Probe(order) => {
                    let health = self.servers[usize::from(order.server)].health;
                    let takes = match health {
                        Health::Paused | Health::Gray => order.timeout,
                        _ if self.servers[usize::from(order.server)].is_cut => order.timeout,
                        _ => LATENCY,
                    };
                    self.push(takes, Action::Probe(order));
                }
                Output::Persist(state) => {
                    assert_eq!(State::from_bytes(state.to_text().as_bytes()), Ok(state.clone()));
                    let (epoch, ok) = (state.epoch, self.disk_ok);
                    self.persisted.insert(epoch, statuses_of(&state));
                    if ok {
                        self.saved = Some(state);
                    }
                    let saved = Action::Master(Input::Persisted { epoch, ok });
                    self.push(Duration::from_millis(1), saved);
                }
                Output::FetchMap { server, .. } => {
                    self.fetches.push(server);
                    let model = &self.servers[usize::from(server)];
                    let statuses = model.statuses.clone();
                    let map = ClusterMap::new(self.topology.clone(), model.epoch, statuses);
                    let map = (model.health == Health::Up && !model.is_cut).then(|| Box::new(map));
                    let fetched = Action::Master(Input::Fetched { server, map });
                    self.push(Duration::from_millis(1), fetched);
                }
                Output::Event(event) => self.events.push((self.now, event)),
            }
        }
    }

    fn check(&mut self, datagram: &Datagram) {
        let says_nothing = matches!(datagram.kind, DatagramKind::Grant | DatagramKind::AskProbe);
        if says_nothing && datagram.epoch == MapEpoch::default() {
            return;
        }
        assert!(datagram.epoch >= self.newest_said, "epochs must not go back: {datagram:?}");
        self.newest_said = datagram.epoch;
        let persisted = &self.persisted;
        let saved =
            persisted.get(&datagram.epoch).expect("states must be saved before they are announced");
        let said = self.said.entry(datagram.epoch).or_insert_with(|| saved.clone());
        assert_eq!(said, saved, "two states in one epoch");
        if datagram.kind != DatagramKind::Grant {
            assert_eq!(*said, datagram.statuses, "two states in one epoch");
        }
    }

    pub fn model(&mut self, id: u16) -> &mut Model {
        &mut self.servers[usize::from(id)]
    }

    fn push(&mut self, after: Duration, action: Action) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), action);
    }

    fn is_lost(&mut self) -> bool {
        self.loss_percent > 0 && self.random() % 100 < self.loss_percent
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

const LATENCY: Duration = Duration::from_micros(200);

fn statuses_of(state: &State) -> Vec<ServerStatus> {
    state.servers.iter().map(|SavedServer { status, .. }| *status).collect()
}
