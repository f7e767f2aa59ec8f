//! Counters of all shards, summed when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use standin_protocol::body::{Counter, StatsReply};
use standin_protocol::time::Micros;

use crate::control::agent::AgentCounters;
use crate::node::counters::Counters;

/// Where each shard leaves its counters, a few times a second. A shard writes only its
/// own block, and no request reads one, so no cache line is fought over.
#[derive(Debug)]
pub struct StatsHub {
    server: String,
    boot_id: u64,
    started: Micros,
    shards: Vec<Arc<[AtomicU64]>>,
    agent: [AtomicU64; AgentCounters::COUNT],
}

impl StatsHub {
    /// Blocks for `shards` shards.
    #[must_use]
    pub fn new(server: String, boot_id: u64, shards: u16, started: Micros) -> Self {
        let block = || Counters::NAMES.iter().map(|_| AtomicU64::new(0)).collect();
        let shards = (0..shards).map(|_| block()).collect();
        Self { server, boot_id, started, shards, agent: Default::default() }
    }

    /// Leaves a shard's counters.
    pub fn publish(&self, shard: u16, counters: &Counters) {
        let Some(block) = self.shards.get(usize::from(shard)) else { return };
        for (slot, value) in block.iter().zip(counters.values()) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// Leaves the control thread's counters.
    pub fn publish_agent(&self, counters: &AgentCounters) {
        for (slot, (_, value)) in self.agent.iter().zip(counters.named()) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// The sum over the shards (of `loop_lag_us` the highest), and what the control thread
    /// counts.
    #[must_use]
    pub fn reply(&self, map_epoch: u64, now: Micros) -> StatsReply {
        let values = |index: usize| {
            self.shards.iter().map(move |block| block[index].load(Ordering::Relaxed))
        };
        let counters = Counters::NAMES.iter().enumerate().map(|(index, name)| {
            let value = match *name {
                "loop_lag_us" => values(index).max().unwrap_or(0),
                _ => values(index).sum(),
            };
            Counter { name: (*name).to_owned(), value }
        });
        let agent = AgentCounters::default().named();
        let agent = self.agent.iter().zip(agent).map(|(slot, (name, _))| {
            let value = slot.load(Ordering::Relaxed);
            Counter { name: name.to_owned(), value }
        });
        StatsReply {
            server: self.server.clone(),
            boot_id: self.boot_id,
            uptime_ms: u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX),
            map_epoch,
            counters: counters.chain(agent).collect(),
        }
    }
}
