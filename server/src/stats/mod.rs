//! The counters of all shards, which are summed on request.

pub(crate) mod answers;
mod callers;
mod durations;
mod figures;
mod hottest;
mod keyspaces;
mod recent;
mod scrape;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use standin_config::{ClusterConfig, Mode};
use standin_protocol::body::{Counter, StatsReply};
use standin_protocol::time::Micros;

use self::answers::{Answers, Layout};
pub use self::callers::Caller;
use self::figures::{RecentFigures, ServerFigures};
use self::recent::Recent;
pub use self::scrape::Scrape;
use crate::control::agent::{AgentCounters, Since};
use crate::histogram::{CELLS, Histogram};
use crate::hot::Sketch;
use crate::node::counters::Counters;
use crate::origin::{self, Health};

/// The place where each shard publishes its counters, a few times per second. A shard writes only
/// its own block, and no request reads one, so no cache line is contended.
#[derive(Debug)]
pub struct StatsHub {
    server: String,
    /// The name of its cluster; empty if the cluster file is not known.
    cluster: String,
    boot_id: u64,
    started: Micros,
    shards: Vec<Block>,
    /// What [`Block::answers`] is made of; `None` if the cluster file is not known.
    layout: Option<Layout>,
    agent: [AtomicU64; AgentCounters::FIGURES.len()],
    /// When the control thread last published, and the times of [`Since`].
    agent_at: AtomicU64,
    granted_at: AtomicU64,
    map_at: AtomicU64,
    memory_bytes: u64,
    connections_max: AtomicU64,
    client_connections: AtomicU64,
    reads_per_second: u64,
    is_strict: bool,
    has_database: bool,
    recent: Mutex<Recent>,
    most_connected: Mutex<Option<Caller>>,
    /// The number of lines that the log's writer could not write.
    log_lines_lost: Arc<AtomicU64>,
}

/// What a shard publishes.
#[derive(Debug)]
struct Block {
    counters: [AtomicU64; Counters::FIGURES.len()],
    /// The cells of its answers, none if the cluster file is not known.
    answers: Box<[AtomicU64]>,
    /// The cells of the times of its calls to the origin, reads and writes.
    origin: [[AtomicU64; CELLS]; 2],
    /// When it last published.
    at: AtomicU64,
    /// The table of its hottest keys.
    hot: Mutex<Box<Sketch>>,
}

impl Block {
    fn new(started: Micros) -> Self {
        let counters = std::array::from_fn(|_| AtomicU64::new(0));
        let origin = std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0)));
        let (at, hot) = (AtomicU64::new(started.0), Mutex::default());
        Self { counters, answers: Box::default(), origin, at, hot }
    }

    fn load(&self) -> Counters {
        Counters::from(std::array::from_fn(|index| self.counters[index].load(Ordering::Relaxed)))
    }
}

impl StatsHub {
    /// Creates the blocks for `shards` shards.
    #[must_use]
    pub fn new(server: String, boot_id: u64, shards: u16, started: Micros) -> Self {
        let shards = (0..shards).map(|_| Block::new(started)).collect();
        let at = || AtomicU64::new(started.0);
        Self {
            server,
            cluster: String::new(),
            boot_id,
            started,
            shards,
            layout: None,
            agent: Default::default(),
            agent_at: at(),
            granted_at: at(),
            map_at: at(),
            memory_bytes: 0,
            connections_max: AtomicU64::new(0),
            client_connections: AtomicU64::new(0),
            reads_per_second: 0,
            is_strict: false,
            has_database: true,
            recent: Mutex::default(),
            most_connected: Mutex::default(),
            log_lines_lost: Arc::default(),
        }
    }

    /// Sets what is published of the cluster file.
    #[must_use]
    pub fn with_config(self, cluster: &ClusterConfig, server: u16) -> Self {
        let origin = cluster.origin.as_ref();
        let layout = Layout::of(cluster);
        let answers = || (0..layout.cells()).map(|_| AtomicU64::new(0)).collect();
        let shards = self.shards.into_iter().map(|block| Block { answers: answers(), ..block });
        Self {
            cluster: cluster.name.clone(),
            shards: shards.collect(),
            layout: Some(layout),
            memory_bytes: cluster.servers[usize::from(server)].memory_bytes,
            reads_per_second: origin.and_then(|o| o.reads_per_second).map_or(0, u64::from),
            is_strict: cluster.mode == Mode::Strict,
            has_database: origin.is_some(),
            ..self
        }
    }

    /// Sets the number of connections that clients may have.
    pub fn set_connections_max(&self, connections_max: u32) {
        self.connections_max.store(connections_max.into(), Ordering::Relaxed);
    }

    /// Sets the number of connections that clients have.
    pub(crate) fn set_client_connections(&self, client_connections: u64) {
        self.client_connections.store(client_connections, Ordering::Relaxed);
    }

    /// Takes a sample for the gauges of the last ten seconds, about once a second.
    pub fn sample(&self, now: Micros) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.is_due(now) {
            recent.note(now, self.sums());
        }
    }

    fn sums(&self) -> recent::Sums {
        let mut sums = recent::Sums::default();
        for (sum, name) in sums.iter_mut().zip(recent::names()) {
            let index = Counters::FIGURES.iter().position(|figure| figure.name == name);
            let index = index.expect("a counter of the shards");
            *sum = self.shards.iter().map(|b| b.counters[index].load(Ordering::Relaxed)).sum();
        }
        sums
    }

    /// The figures of the server as a whole.
    fn figures(&self, now: Micros, origin: &origin::State) -> ServerFigures {
        let age_us = |at: &AtomicU64| now.0.saturating_sub(at.load(Ordering::Relaxed));
        ServerFigures {
            log_lines_lost: self.log_lines_lost(),
            memory_bytes: self.memory_bytes,
            reads_per_second: self.reads_per_second,
            is_strict: self.is_strict.into(),
            has_database: self.has_database.into(),
            origin_up: u64::from(origin.health == Health::Up),
            origin_outage_ms: match origin.health {
                Health::Down { since } => lasts_ms(now, since),
                Health::Up => 0,
            },
            // Not 0 in its first millisecond.
            origin_locked_ms: match &origin.lock_wait {
                Some(lock) => lasts_ms(now, lock.since).max(1),
                None => 0,
            },
            connections_max: self.connections_max.load(Ordering::Relaxed),
            client_connections: self.client_connections.load(Ordering::Relaxed),
            lease_age_us: age_us(&self.granted_at),
            map_age_us: age_us(&self.map_at),
            control_age_us: age_us(&self.agent_at),
        }
    }

    /// The growth of some counters in the last ten seconds.
    fn recent(&self) -> RecentFigures {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        RecentFigures::from(recent.since(self.sums()))
    }

    /// The figures with a label, whose names are known only at run time: the version of this build,
    /// the reason why the database is down, who holds the lock that calls to it wait for, and who has the most
    /// connections if they run out.
    fn labelled(&self, now: Micros, origin: &origin::State) -> Vec<Counter> {
        let version = env!("CARGO_PKG_VERSION");
        let mut labelled =
            vec![Counter { name: format!("build_info{{version=\"{version}\"}}"), value: 1 }];
        // A label is one line, as it is to be shown.
        let line = |text: &str| text.replace(['"', '\n', '\r'], " ");
        if let Health::Down { since } = origin.health {
            // Not every failure has a text.
            let reason = line(origin.outage.as_deref().unwrap_or_default());
            let name = format!("origin_down_ms{{reason=\"{reason}\"}}");
            labelled.push(Counter { name, value: lasts_ms(now, since) });
        }
        if let Some(lock) = &origin.lock_wait {
            let name = format!("origin_lock_wait_ms{{holder=\"{}\"}}", line(&lock.holder));
            labelled.push(Counter { name, value: lasts_ms(now, lock.since) });
        }
        if let Some(Caller { address, connections }) = self.most_connected() {
            let name = format!("caller_connections{{address=\"{address}\"}}");
            labelled.push(Counter { name, value: connections });
        }
        labelled
    }

    /// Sets the counter of lines that the process's log has lost.
    #[must_use]
    pub fn with_log_lines_lost(self, log_lines_lost: Arc<AtomicU64>) -> Self {
        Self { log_lines_lost, ..self }
    }

    /// The number of lines that the process's log has lost.
    #[must_use]
    pub fn log_lines_lost(&self) -> u64 {
        self.log_lines_lost.load(Ordering::Relaxed)
    }

    /// Publishes a shard's counters.
    pub(crate) fn publish(&self, shard: u16, now: Micros, counters: &Counters, answers: &Answers) {
        let block = &self.shards[usize::from(shard)];
        for (slot, value) in block.counters.iter().zip(counters.values()) {
            slot.store(value, Ordering::Relaxed);
        }
        for (slot, value) in block.answers.iter().zip(answers.cells()) {
            slot.store(value, Ordering::Relaxed);
        }
        block.at.store(now.0, Ordering::Relaxed);
    }

    /// Publishes how long a shard's calls to the origin took, reads and writes.
    pub(crate) fn publish_origin(&self, shard: u16, times: &[Histogram; 2]) {
        let block = &self.shards[usize::from(shard)];
        for (cells, times) in block.origin.iter().zip(times) {
            cells.iter().zip(times.cells()).for_each(|(cell, value)| {
                cell.store(value, Ordering::Relaxed);
            });
        }
    }

    /// Publishes the control thread's counters and times.
    pub fn publish_agent(&self, now: Micros, counters: &AgentCounters, since: Since) {
        for (slot, value) in self.agent.iter().zip(counters.values()) {
            slot.store(value, Ordering::Relaxed);
        }
        self.agent_at.store(now.0, Ordering::Relaxed);
        self.granted_at.store(since.granted.0, Ordering::Relaxed);
        self.map_at.store(since.map.0, Ordering::Relaxed);
    }

    /// Returns the combined figures of the shards, those of the control thread, and the state of
    /// the database.
    #[must_use]
    pub fn reply(&self, map_epoch: u64, now: Micros, origin: &origin::State) -> StatsReply {
        let values = |index: usize| {
            self.shards.iter().map(move |block| block.counters[index].load(Ordering::Relaxed))
        };
        let counters = Counters::FIGURES
            .iter()
            .enumerate()
            .map(|(index, figure)| figure.with(figure.of_all(values(index))));
        let agent = self.agent.iter().zip(AgentCounters::FIGURES);
        let agent = agent.map(|(slot, figure)| figure.with(slot.load(Ordering::Relaxed)));
        StatsReply {
            server: self.server.clone(),
            boot_id: self.boot_id,
            uptime_ms: u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX),
            map_epoch,
            counters: counters
                .chain(agent)
                .chain(self.recent().list())
                .chain(self.figures(now, origin).list())
                .chain(self.labelled(now, origin))
                .chain(self.durations())
                .chain(self.keyspaces())
                .collect(),
        }
    }
}

/// The time since then.
fn lasts_ms(now: Micros, since: Micros) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}
