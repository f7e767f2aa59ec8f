//! Clusters of any size: the shipped master and up to 1,024 shipped agents in virtual time, on a
//! network that loses datagrams. Leases, maps, a dead server, a master that restarts; what that costs
//! is counted (`growth.rs`).
//!
//! The plans of the simulator have six servers at most, whose states fit into one datagram.

pub(crate) mod growth;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_config::Mode;
use standin_master::{Input as MasterInput, Machine, Output as MasterOutput};
use standin_master::{MasterEvent, ProbeFailure, Rules, State};
use standin_protocol::body::PingReply;
use standin_protocol::control::{Datagram, SENDER_MASTER, STATES_PER_DATAGRAM};
use standin_protocol::map::{ServerInfo, ServerState, Topology};
use standin_protocol::time::Micros;
use standin_server::control::agent::{Agent, AgentConfig, Input, Output};
use standin_server::node::PeerProbe;

use crate::random::mix;

/// The servers of a group.
const GROUP: u16 = 4;
/// The first server's port; the master has the one behind the last server's.
const PORT: u16 = 10_000;
/// The datagrams of a hundred that are lost.
const LOSS_PERCENT: u64 = 2;
const PARTITIONS: u32 = 1_024;
const LEASE: Duration = Duration::from_secs(2);
const RENEW: Duration = LEASE.checked_div(4).unwrap();

/// Datagrams that were sent, also those that were lost, and their bytes without the headers of IP and UDP.
#[derive(Debug, Default, Clone, Copy)]
struct Flow {
    datagrams: u64,
    bytes: u64,
}

impl Flow {
    fn add(&mut self, datagram: &Datagram) {
        self.datagrams += 1;
        self.bytes += datagram.to_bytes(None).len() as u64;
    }
}

/// What the control plane has sent.
#[derive(Debug, Default, Clone, Copy)]
struct Traffic {
    to_master: Flow,
    from_master: Flow,
    between_servers: Flow,
    /// Connections that the master has opened to servers to see whether they are alive.
    probes: u64,
}

enum Event {
    ToMaster(MasterInput),
    ToAgent(u16, Input),
    Wake(u16),
    WakeMaster,
}

struct Crowd {
    now: Micros,
    topology: Arc<Topology>,
    master: Machine,
    saved: Option<State>,
    agents: Vec<Option<Agent>>,
    boot_ids: Vec<u64>,
    queue: BTreeMap<(Micros, u64), Event>,
    count: u64,
    /// The time at which each agent is woken, and last the master.
    wakes: Vec<Micros>,
    traffic: Traffic,
    /// Whether datagrams from the master to this agent are lost.
    muted: Option<u16>,
    warnings: usize,
}

/// The master's rules for so many servers: the defaults, but for a lease that does not depend on them.
fn rules(count: u16) -> Rules {
    let ms = Duration::from_millis;
    Rules {
        probe_timeout: ms(100),
        probe_attempts: 2,
        recheck_interval: ms(250),
        lease: LEASE,
        announce_resend: ms(50),
        drain_timeout: ms(1_000),
        offline_servers_max: usize::from(count).div_ceil(2),
        mode: Mode::Available,
    }
}

impl Crowd {
    fn new(count: u16) -> Self {
        let address = |id: u16| SocketAddr::from(([127, 0, 0, 1], PORT + id));
        let server = |id: u16| ServerInfo {
            name: format!("s{id}"),
            group: id / GROUP,
            weight: 1,
            shards: 1,
            address: address(id),
        };
        let servers = (0..count).map(server).collect();
        let topology = Topology::new("crowd".to_owned(), address(count), servers, PARTITIONS);
        let topology = Arc::new(topology.expect("a sound cluster"));
        let ms = Duration::from_millis;
        let now = Micros(1_000_000_000);
        let mut crowd = Self {
            now,
            master: Machine::new(now, rules(count), topology.clone(), None),
            topology,
            saved: None,
            agents: Vec::new(),
            boot_ids: (0..u64::from(count)).map(|id| mix(7, id) | 1).collect(),
            queue: BTreeMap::new(),
            count: 0,
            wakes: vec![Micros::NEVER; usize::from(count) + 1],
            traffic: Traffic::default(),
            muted: None,
            warnings: 0,
        };
        for server in 0..count {
            let boot_id = crowd.boot_ids[usize::from(server)];
            let config = AgentConfig {
                server,
                shards: 1,
                boot_id,
                mode: Mode::Available,
                renew_interval: RENEW,
                lease: LEASE,
                resend: ms(50),
                nonce: mix(boot_id, 1),
            };
            let agent = Agent::new(config, crowd.topology.clone(), now);
            crowd.agents.push(Some(agent));
            // Processes are not all started in the same microsecond.
            let at = now + Duration::from_micros(mix(3, server.into()) % 500_000);
            crowd.push(at, Event::Wake(server));
        }
        crowd.drain_master();
        crowd
    }

    fn push(&mut self, at: Micros, event: Event) {
        self.count += 1;
        self.queue.insert((at, self.count), event);
    }

    /// Delivers a datagram after its latency, unless it is lost.
    fn deliver(&mut self, event: Event) {
        let random = mix(self.now.0, self.count);
        self.count += 1;
        if random % 100 >= LOSS_PERCENT {
            self.push(self.now + Duration::from_micros(50 + (random >> 8) % 200), event);
        }
    }

    fn soon(&mut self, event: Event) {
        self.push(self.now + Duration::from_millis(1), event);
    }

    fn step(&mut self) {
        let ((at, _), event) = self.queue.pop_first().expect("somebody always renews");
        self.now = at;
        match event {
            Event::ToMaster(input) => self.master_takes(input),
            Event::ToAgent(id, input) => self.agent_takes(id, input),
            Event::WakeMaster if self.wakes[self.agents.len()] <= at => {
                self.wakes[self.agents.len()] = Micros::NEVER;
                self.master_takes(MasterInput::Tick);
            }
            Event::Wake(id) if self.wakes[usize::from(id)] <= at || self.is_new(id) => {
                self.wakes[usize::from(id)] = Micros::NEVER;
                self.agent_takes(id, Input::Tick);
            }
            Event::Wake(_) | Event::WakeMaster => {}
        }
    }

    fn is_new(&self, id: u16) -> bool {
        self.wakes[usize::from(id)] == Micros::NEVER
    }

    fn wake(&mut self, id: u16, at: Micros) {
        self.wake_party(usize::from(id), at, Event::Wake(id));
    }

    fn wake_master(&mut self) {
        self.wake_party(self.agents.len(), self.master.next_deadline(), Event::WakeMaster);
    }

    fn wake_party(&mut self, index: usize, at: Micros, event: Event) {
        let at = at.max(self.now + Duration::from_micros(1));
        if at < self.wakes[index] {
            self.wakes[index] = at;
            self.push(at, event);
        }
    }

    fn master_takes(&mut self, input: MasterInput) {
        self.master.handle(self.now, input);
        self.drain_master();
    }

    fn drain_master(&mut self) {
        while let Some(output) = self.master.poll() {
            match output {
                MasterOutput::Send { to, datagram } => {
                    let id = to.port() - PORT;
                    assert!(datagram.statuses.len() <= STATES_PER_DATAGRAM);
                    self.traffic.from_master.add(&datagram);
                    if self.muted != Some(id) {
                        let from = self.topology.master;
                        self.deliver(Event::ToAgent(id, Input::Datagram { from, datagram }));
                    }
                }
                MasterOutput::Probe(order) => {
                    self.traffic.probes += 1;
                    let shards = vec![self.ping(order.server)];
                    let (server, probe_id) = (order.server, order.probe_id);
                    let probed = MasterInput::Probed { server, probe_id, shards };
                    self.soon(Event::ToMaster(probed));
                }
                MasterOutput::FetchMap { server, .. } => {
                    let agent = self.agents[usize::from(server)].as_ref();
                    let map =
                        agent.and_then(|agent| agent.map()).map(|map| Box::new((**map).clone()));
                    self.soon(Event::ToMaster(MasterInput::Fetched { server, map }));
                }
                MasterOutput::Persist(state) => {
                    let epoch = state.epoch;
                    self.saved = Some(state);
                    self.soon(Event::ToMaster(MasterInput::Persisted { epoch, ok: true }));
                }
                MasterOutput::Event(event) => {
                    self.warnings +=
                        usize::from(matches!(event, MasterEvent::Unacknowledged { .. }));
                }
            }
        }
        self.wake_master();
    }

    fn ping(&self, server: u16) -> Result<PingReply, ProbeFailure> {
        let agent = self.agents[usize::from(server)].as_ref().ok_or(ProbeFailure::Refused)?;
        let epoch = agent.map().map_or(0, |map| map.epoch.to_u64());
        Ok(PingReply {
            boot_id: self.boot_ids[usize::from(server)],
            map_epoch: epoch,
            drained_epoch: epoch,
            server,
            origin_up: 1,
            ..PingReply::default()
        })
    }

    fn agent_takes(&mut self, id: u16, input: Input) {
        let Some(mut agent) = self.agents[usize::from(id)].take() else { return };
        agent.handle(self.now, input);
        while let Some(output) = agent.poll() {
            match output {
                Output::Send { to, datagram } => self.agent_sends(id, to, datagram),
                Output::Map(map) => {
                    self.soon(Event::ToAgent(id, Input::Drained { shard: 0, epoch: map.epoch }));
                }
                Output::AskProbe { nonce, server } => {
                    let outcome = match self.ping(server) {
                        Ok(reply) => PeerProbe::Answered {
                            boot_id: reply.boot_id,
                            map_epoch: standin_protocol::map::MapEpoch::from_u64(reply.map_epoch),
                        },
                        Err(_) => PeerProbe::Refused,
                    };
                    self.soon(Event::ToAgent(id, Input::Probed { nonce, server, outcome }));
                }
                Output::Distrust { .. } => panic!("all are who they say they are"),
                Output::Lease(_) | Output::Word(_) | Output::Verdict { .. } | Output::Left => {}
            }
        }
        let deadline = agent.next_deadline();
        self.agents[usize::from(id)] = Some(agent);
        self.wake(id, deadline);
    }

    fn agent_sends(&mut self, id: u16, to: u16, datagram: Datagram) {
        assert!(datagram.statuses.len() <= STATES_PER_DATAGRAM);
        let from = self.topology.servers[usize::from(id)].address;
        let traffic = &mut self.traffic;
        match to {
            SENDER_MASTER => traffic.to_master.add(&datagram),
            _ => traffic.between_servers.add(&datagram),
        }
        self.deliver(match to {
            SENDER_MASTER => Event::ToMaster(MasterInput::Datagram { from, datagram }),
            to => Event::ToAgent(to, Input::Datagram { from, datagram }),
        });
    }

    fn servers(&self) -> u16 {
        self.topology.servers.len() as u16
    }

    fn runs_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    /// Whether every agent has a lease and the newest map, in which exactly these servers are
    /// offline.
    fn is_settled(&self, offline: &[u16]) -> bool {
        let published = self.master.registry().published_epoch();
        let is_told = self.master.registry().is_announcing();
        let knows = |agent: &Agent| {
            agent.map().is_some_and(|map| {
                let state = |id: u16| match offline.contains(&id) {
                    true => ServerState::Offline,
                    false => ServerState::Online,
                };
                map.epoch == published && (0..self.servers()).all(|id| map.state(id) == state(id))
            }) && agent.lease().until > self.now
        };
        is_told && self.agents.iter().flatten().all(knows)
    }

    /// Runs until all is settled, and returns how long that took.
    #[track_caller]
    fn settles(&mut self, within: Duration, offline: &[u16]) -> Duration {
        let (began, deadline) = (self.now, self.now + within);
        let mut look_at = self.now;
        loop {
            if self.now >= look_at {
                if self.is_settled(offline) {
                    return self.now.since(began);
                }
                look_at = self.now + Duration::from_millis(5);
            }
            assert!(self.now < deadline, "not settled within {within:?} of virtual time");
            self.step();
        }
    }
}
