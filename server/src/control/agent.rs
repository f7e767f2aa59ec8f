//! The server's side of the control protocol: renewals, reports, announcements, leaving.
//! Pure: the thread in `mod.rs` moves the datagrams.
//!
//! Whatever the master has to hear is repeated until it is answered; whatever the master
//! says is full state and is dropped unless it is newer than what is held.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::control::{Datagram, Kind, SENDER_MASTER};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_protocol::time::Micros;

/// What the agent needs to know.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// This server's id.
    pub server: u16,
    /// Its shards: all of them have to have drained before a map is acknowledged.
    pub shards: u16,
    /// This incarnation.
    pub boot_id: u64,
    /// Between two renewals.
    pub renew_interval: Duration,
    /// Before a report or leave without an answer is sent again.
    pub resend: Duration,
    /// First value of the nonces: random.
    pub nonce: u64,
}

/// What happens to the agent.
#[derive(Debug)]
pub enum Input {
    /// A datagram whose code is right; who sent it, it says itself.
    Datagram(Datagram),
    /// A shard could not reach a server (claim 15).
    Report(u16),
    /// A shard has applied this map and finished what was begun before it.
    Drained {
        /// The shard.
        shard: u16,
        /// The map.
        epoch: MapEpoch,
    },
    /// The server is asked to stop.
    Leave,
    /// Time has passed.
    Tick,
}

/// What the thread has to do.
#[derive(Debug)]
pub enum Output {
    /// Send to the master.
    Send(Datagram),
    /// Give all shards a newer map.
    Map(Arc<ClusterMap>),
    /// Tell all shards what the master holds of a server that one of them reported.
    Verdict {
        /// Server id.
        server: u16,
        /// Its state.
        state: ServerState,
    },
    /// The master has taken this server out, and every shard has let go.
    Left,
}

#[derive(Debug)]
struct Question {
    nonce: u64,
    resend_at: Micros,
    tries: u32,
}

/// A report is repeated this often before the agent gives up; a shard that still can't
/// reach the server reports it again.
const REPORT_TRIES: u32 = 10;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    topology: Arc<Topology>,
    map: Option<Arc<ClusterMap>>,
    drained: Vec<MapEpoch>,
    acknowledged: MapEpoch,
    reports: BTreeMap<u16, Question>,
    leaving: Option<Question>,
    has_left: bool,
    renew_at: Micros,
    sequence: u64,
    nonce: u64,
    outputs: VecDeque<Output>,
}

impl Agent {
    /// An agent that renews at once.
    #[must_use]
    pub fn new(config: AgentConfig, topology: Arc<Topology>, now: Micros) -> Self {
        Self {
            drained: vec![MapEpoch::default(); usize::from(config.shards)],
            nonce: config.nonce,
            config,
            topology,
            map: None,
            acknowledged: MapEpoch::default(),
            reports: BTreeMap::new(),
            leaving: None,
            has_left: false,
            renew_at: now,
            sequence: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: Micros, input: Input) {
        match input {
            Input::Datagram(datagram) => self.heard(datagram),
            Input::Report(server) => {
                if !self.reports.contains_key(&server) {
                    let question = self.question(now);
                    self.reports.insert(server, question);
                }
            }
            Input::Drained { shard, epoch } => {
                if let Some(drained) = self.drained.get_mut(usize::from(shard)) {
                    *drained = epoch.max(*drained);
                }
                self.acknowledge();
                self.leave_if_taken_out();
            }
            Input::Leave => {
                if self.leaving.is_none() {
                    self.leaving = Some(self.question(now));
                }
            }
            Input::Tick => {}
        }
        self.tick(now);
    }

    /// What the thread has to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        let questions = self.reports.values().chain(&self.leaving);
        questions.map(|question| question.resend_at).fold(self.renew_at, Micros::min)
    }

    fn question(&mut self, now: Micros) -> Question {
        self.nonce = self.nonce.wrapping_add(1);
        Question { nonce: self.nonce, resend_at: now, tries: 0 }
    }

    fn heard(&mut self, datagram: Datagram) {
        if datagram.sender != SENDER_MASTER {
            return;
        }
        let Datagram { kind, subject, epoch, nonce, statuses, arg, .. } = datagram;
        match kind {
            Kind::Announce | Kind::Verdict => {
                if statuses.len() == self.topology.servers.len() {
                    let held = self.map.as_ref().map(|map| map.epoch);
                    if held.is_none_or(|held| held < epoch) {
                        let map = ClusterMap::new(Arc::clone(&self.topology), epoch, statuses);
                        let map = Arc::new(map);
                        self.map = Some(Arc::clone(&map));
                        self.outputs.push_back(Output::Map(map));
                    }
                }
                if kind == Kind::Verdict {
                    self.answered(subject, nonce, arg);
                }
                // A repeated announcement means that the acknowledgement was lost.
                if held_is(&self.map, epoch) && self.acknowledged == epoch {
                    self.send(Kind::Ack, 0, epoch, 0, 0);
                }
                self.leave_if_taken_out();
            }
            // The lease is granted, but nothing depends on it yet but the master's patience.
            Kind::Grant => {}
            Kind::ReportFailed | Kind::ReportOk | Kind::Renew | Kind::Ack | Kind::Leaving => {}
            Kind::Gossip | Kind::AskProbe | Kind::ProbeResult => {}
        }
    }

    fn answered(&mut self, subject: u16, nonce: u64, arg: u32) {
        if self.reports.get(&subject).is_none_or(|question| question.nonce != nonce) {
            return;
        }
        let state = u8::try_from(arg).ok().and_then(ServerState::from_wire);
        if let Some(state) = state {
            self.reports.remove(&subject);
            self.outputs.push_back(Output::Verdict { server: subject, state });
        }
    }

    fn acknowledge(&mut self) {
        let Some(map) = &self.map else { return };
        let epoch = map.epoch;
        if self.acknowledged < epoch && self.drained.iter().all(|drained| *drained >= epoch) {
            self.acknowledged = epoch;
            self.send(Kind::Ack, 0, epoch, 0, 0);
        }
    }

    /// Gone for good once the map says so and nothing begun before is left.
    fn leave_if_taken_out(&mut self) {
        let Some(map) = &self.map else { return };
        let is_out = map.state(self.config.server) == ServerState::Offline;
        if self.leaving.is_some() && is_out && self.acknowledged == map.epoch && !self.has_left {
            self.has_left = true;
            self.outputs.push_back(Output::Left);
        }
    }

    fn tick(&mut self, now: Micros) {
        let epoch = self.map.as_ref().map_or(MapEpoch::default(), |map| map.epoch);
        if now >= self.renew_at && self.leaving.is_none() {
            self.renew_at = now + self.config.renew_interval;
            self.send(Kind::Renew, 0, epoch, 0, 0);
        }
        let mut due = Vec::new();
        self.reports.retain(|server, question| {
            if now >= question.resend_at {
                question.tries += 1;
                question.resend_at = now + self.config.resend;
                due.push((Kind::ReportFailed, *server, question.nonce, question.tries));
            }
            question.tries <= REPORT_TRIES
        });
        if let Some(question) = &mut self.leaving
            && now >= question.resend_at
        {
            self.renew_at = Micros::NEVER;
            question.tries += 1;
            question.resend_at = now + self.config.resend;
            due.push((Kind::Leaving, self.config.server, question.nonce, question.tries));
        }
        for (kind, subject, nonce, tries) in due {
            self.send(kind, subject, epoch, nonce, tries);
        }
    }

    fn send(&mut self, kind: Kind, subject: u16, epoch: MapEpoch, nonce: u64, arg: u32) {
        self.sequence += 1;
        let datagram =
            Datagram::new(kind, self.config.server, self.topology.id, self.config.boot_id);
        let sequence = self.sequence;
        let datagram = Datagram { subject, epoch, nonce, arg, sequence, ..datagram };
        self.outputs.push_back(Output::Send(datagram));
    }
}

fn held_is(map: &Option<Arc<ClusterMap>>, epoch: MapEpoch) -> bool {
    map.as_ref().is_some_and(|map| map.epoch == epoch)
}

#[cfg(test)]
mod tests {
    use standin_protocol::map::{ServerInfo, ServerStatus};

    use super::*;

    const MS: u64 = 1_000;

    fn topology() -> Arc<Topology> {
        let server = |name: &str, port: u16| ServerInfo {
            name: name.to_owned(),
            group: 0,
            weight: 1,
            shards: 2,
            address: ([127, 0, 0, 1], port).into(),
        };
        let servers = vec![server("a1", 1), server("a2", 2)];
        let master = ([127, 0, 0, 1], 9).into();
        Arc::new(Topology::new("t".to_owned(), master, servers, 16).unwrap())
    }

    fn agent() -> Agent {
        let config = AgentConfig {
            server: 0,
            shards: 2,
            boot_id: 7,
            renew_interval: Duration::from_millis(500),
            resend: Duration::from_millis(50),
            nonce: 100,
        };
        Agent::new(config, topology(), Micros(0))
    }

    fn outputs(agent: &mut Agent) -> Vec<Output> {
        std::iter::from_fn(|| agent.poll()).collect()
    }

    fn sent(agent: &mut Agent) -> Vec<(Kind, u16, u64)> {
        let sends = outputs(agent).into_iter().filter_map(|output| match output {
            Output::Send(d) => Some((d.kind, d.subject, d.nonce)),
            _ => None,
        });
        sends.collect()
    }

    fn from_master(kind: Kind, counter: u32, states: [ServerState; 2]) -> Datagram {
        let epoch = MapEpoch { term: 1, counter };
        let status = |state| ServerStatus { state, since: epoch, boot_id: 0 };
        Datagram {
            epoch,
            statuses: states.map(status).to_vec(),
            ..Datagram::new(kind, SENDER_MASTER, topology().id, 1)
        }
    }

    #[test]
    fn it_renews_at_once_and_then_by_interval() {
        let mut agent = agent();
        agent.handle(Micros(0), Input::Tick);
        assert_eq!(sent(&mut agent), vec![(Kind::Renew, 0, 0)]);
        agent.handle(Micros(499 * MS), Input::Tick);
        assert_eq!(sent(&mut agent), vec![]);
        assert_eq!(agent.next_deadline(), Micros(500 * MS));
    }

    #[test]
    fn a_report_is_repeated_until_the_verdict_with_its_nonce() {
        let mut agent = agent();
        agent.handle(Micros(0), Input::Report(1));
        assert!(sent(&mut agent).contains(&(Kind::ReportFailed, 1, 101)));
        agent.handle(Micros(50 * MS), Input::Tick);
        assert_eq!(sent(&mut agent), vec![(Kind::ReportFailed, 1, 101)]);
        let both = [ServerState::Online; 2];
        let other = Datagram { subject: 1, nonce: 55, ..from_master(Kind::Verdict, 1, both) };
        agent.handle(Micros(60 * MS), Input::Datagram(other));
        agent.handle(Micros(100 * MS), Input::Tick);
        assert_eq!(sent(&mut agent), vec![(Kind::ReportFailed, 1, 101)], "not the answer");
        let answer = Datagram { subject: 1, nonce: 101, ..from_master(Kind::Verdict, 1, both) };
        agent.handle(Micros(110 * MS), Input::Datagram(answer));
        let is_verdict =
            |o: &Output| matches!(o, Output::Verdict { server: 1, state: ServerState::Online });
        assert!(outputs(&mut agent).iter().any(is_verdict));
        agent.handle(Micros(200 * MS), Input::Tick);
        assert_eq!(sent(&mut agent), vec![]);
    }

    #[test]
    fn a_map_is_acknowledged_when_every_shard_has_drained_and_again_if_asked() {
        let mut agent = agent();
        agent.handle(Micros(0), Input::Tick);
        outputs(&mut agent);
        let announce = || from_master(Kind::Announce, 3, [ServerState::Online; 2]);
        agent.handle(Micros(1), Input::Datagram(announce()));
        let out = outputs(&mut agent);
        assert!(matches!(&out[..], [Output::Map(map)] if map.epoch.counter == 3));
        let epoch = MapEpoch { term: 1, counter: 3 };
        agent.handle(Micros(2), Input::Drained { shard: 0, epoch });
        assert_eq!(sent(&mut agent), vec![], "one shard is not enough");
        agent.handle(Micros(3), Input::Drained { shard: 1, epoch });
        assert_eq!(sent(&mut agent), vec![(Kind::Ack, 0, 0)]);
        agent.handle(Micros(4), Input::Datagram(announce()));
        assert_eq!(sent(&mut agent), vec![(Kind::Ack, 0, 0)], "the first one was lost");
        let older = from_master(Kind::Announce, 2, [ServerState::Offline; 2]);
        agent.handle(Micros(5), Input::Datagram(older));
        assert!(outputs(&mut agent).is_empty(), "not newer: dropped");
    }

    #[test]
    fn leaving_ends_when_the_map_says_so_and_all_is_drained() {
        let mut agent = agent();
        agent.handle(Micros(0), Input::Leave);
        assert!(sent(&mut agent).iter().any(|(kind, _, _)| *kind == Kind::Leaving));
        let states = [ServerState::Offline, ServerState::Online];
        agent.handle(Micros(1), Input::Datagram(from_master(Kind::Verdict, 4, states)));
        assert!(!outputs(&mut agent).iter().any(|o| matches!(o, Output::Left)));
        let epoch = MapEpoch { term: 1, counter: 4 };
        for shard in 0..2 {
            agent.handle(Micros(2), Input::Drained { shard, epoch });
        }
        assert!(outputs(&mut agent).iter().any(|o| matches!(o, Output::Left)));
    }
}
