//! What came of a run.

use standin_server::node::counters::Counters;

use super::server::{Process, Shard};
use super::{Outcome, World};
use crate::plan::MASTERS_MAX;

/// Counters that also fall.
const GAUGES: [&str; 4] = ["connections", "items", "items_bytes", "in_flight"];

impl World {
    /// The run is over.
    pub(super) fn finish(mut self) -> Outcome {
        for server in 0..self.servers.len() {
            if let Some(process) = self.servers[server].process.take() {
                self.count_server(server, &process);
            }
        }
        for master in 0..MASTERS_MAX {
            if let Some(process) = self.masters[master].process.take() {
                self.count_master(&process);
            }
        }
        self.sum_up();
        Outcome {
            violation: self.violation,
            hash: self.hash,
            time: self.time,
            events: self.queue.count(),
            counted: self.counted,
            lines: self.lines,
            answers: self.answers,
            fetches: self.fetches,
        }
    }

    fn sum_up(&mut self) {
        let names = standin_server::node::counters::Counters::NAMES;
        for host in &self.servers {
            for (name, value) in names.iter().zip(host.counted) {
                *self.counted.entry(format!("server {name}")).or_default() += value;
            }
        }
        let orphans = self.servers.iter().filter(|host| host.was_orphan).count();
        let mut add = |name: &str, value: u64| {
            *self.counted.entry(name.to_owned()).or_default() += value;
        };
        for client in &self.clients {
            let events = client.events;
            add("client failovers", events.failovers);
            add("client trials", events.trials);
            add("client trials_failed", events.trials_failed);
            add("client left_by_trial", events.left_by_trial);
            add("client left_by_map", events.left_by_map);
            add("client verdicts_online", events.verdicts_online);
            add("client verdicts_offline", events.verdicts_offline);
            add("client maps", events.maps);
            add("client topologies", events.topologies);
        }
        add("agent is_orphan", orphans as u64);
        let counts = self.checker.counts;
        add("sim reads", counts.reads);
        add("sim hits", counts.hits);
        add("sim stand_in_hits", counts.stand_in_hits);
        add("sim writes", counts.writes);
        add("sim drops", counts.drops);
        add("sim failed", counts.failed);
        add("sim unknown", counts.unknown);
        add("sim stale_within_bound", counts.stale_within_bound);
        add("sim executed_after_ack", counts.executed_after_ack);
        add("sim overwrote_newer_ack", counts.overwrote_newer_ack);
        add("sim executed_twice", counts.executed_twice);
        add("sim datagrams_lost", self.net.lost);
        add("sim late_commits", self.origin.late_commits);
        add("sim calls_not_begun", self.refused_calls);
    }

    /// Adds what a process has counted to the server's sum.
    pub(crate) fn count_server(&mut self, server: usize, process: &Process) {
        for (name, value) in process.agent.counters.named() {
            let value = if name == "is_orphan" { 0 } else { value };
            *self.counted.entry(format!("agent {name}")).or_default() += value;
        }
        for shard in &process.shards {
            let counted = &mut self.servers[server].counted;
            let values = Counters::NAMES.iter().zip(shard.core.node.counters.values());
            for (sum, (name, value)) in counted.iter_mut().zip(values) {
                *sum += if GAUGES.contains(name) { 0 } else { value };
            }
        }
    }

    /// What shows how it is, and not what has happened, counts by the most that it was.
    pub(crate) fn look_at_gauges(&mut self, server: usize, process: &Process) {
        let host = &mut self.servers[server];
        host.was_orphan |= process.agent.counters.is_orphan > 0;
        let now = |shard: &Shard| {
            let counters = &shard.core.node.counters;
            let in_flight = shard.core.node.in_flight() as u64;
            [counters.connections, counters.items, counters.items_bytes, in_flight]
        };
        for (gauge, name) in GAUGES.iter().enumerate() {
            let sum: u64 = process.shards.iter().map(|shard| now(shard)[gauge]).sum();
            if let Some(at) = Counters::NAMES.iter().position(|other| other == name) {
                host.counted[at] = host.counted[at].max(sum);
            }
        }
    }
}
