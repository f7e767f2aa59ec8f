//! The outcome of a run.

use std::sync::LazyLock;

use standin_protocol::counters::FigureKind;
use standin_server::control::agent::AgentCounters;
use standin_server::node::counters::Counters;

use super::server::{Process, Shard};
use super::{Outcome, World};
use crate::plan::MASTERS_MAX;

/// The gauges, in the order in which `look_at_gauges` reads them, and their places among all figures.
const GAUGES: [&str; 4] = ["connections", "items", "items_bytes", "in_flight"];
static GAUGES_AT: LazyLock<[usize; 4]> = LazyLock::new(|| {
    GAUGES.map(|name| {
        let at = Counters::FIGURES.iter().position(|figure| figure.name == name);
        at.expect("a figure of this name")
    })
});

impl World {
    /// Ends the run, and returns its outcome.
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
        for host in &self.servers {
            for (figure, value) in Counters::FIGURES.iter().zip(host.counted) {
                self.counted.add("server ", figure.name, value);
            }
        }
        let orphans = self.servers.iter().filter(|host| host.was_orphan).count();
        let leased = self.servers.iter().filter(|host| host.was_leased).count();
        for client in &self.clients {
            let events = client.events;
            self.counted.add("client ", "failovers", events.failovers);
            self.counted.add("client ", "trials", events.trials);
            self.counted.add("client ", "trials_failed", events.trials_failed);
            self.counted.add("client ", "left_by_trial", events.left_by_trial);
            self.counted.add("client ", "left_by_map", events.left_by_map);
            self.counted.add("client ", "verdicts_online", events.verdicts_online);
            self.counted.add("client ", "verdicts_offline", events.verdicts_offline);
            self.counted.add("client ", "maps", events.maps);
            self.counted.add("client ", "topologies", events.topologies);
        }
        self.counted.add("agent ", "is_orphan", orphans as u64);
        self.counted.add("agent ", "is_leased", leased as u64);
        let counts = self.checker.counts;
        self.counted.add("sim ", "reads", counts.reads);
        self.counted.add("sim ", "hits", counts.hits);
        self.counted.add("sim ", "stand_in_hits", counts.stand_in_hits);
        self.counted.add("sim ", "writes", counts.writes);
        self.counted.add("sim ", "transactions", counts.transactions);
        self.counted.add("sim ", "transactions_refused", counts.transactions_refused);
        self.counted.add("sim ", "pairs_read", counts.pairs_read);
        self.counted.add("sim ", "drops", counts.drops);
        self.counted.add("sim ", "failed", counts.failed);
        self.counted.add("sim ", "unknown", counts.unknown);
        self.counted.add("sim ", "stale_within_bound", counts.stale_within_bound);
        self.counted.add("sim ", "executed_after_ack", counts.executed_after_ack);
        self.counted.add("sim ", "overwrote_newer_ack", counts.overwrote_newer_ack);
        self.counted.add("sim ", "executed_twice", counts.executed_twice);
        self.counted.add("sim ", "datagrams_lost", self.net.lost);
        self.counted.add("sim ", "late_commits", self.origin.late_commits);
        self.counted.add("sim ", "calls_not_begun", self.refused_calls);
    }

    /// Adds what a process has counted to the server's sum.
    pub(crate) fn count_server(&mut self, server: usize, process: &Process) {
        let values = process.agent.counters.values();
        for (figure, value) in AgentCounters::FIGURES.iter().zip(values) {
            let value = if figure.kind == FigureKind::Counter { value } else { 0 };
            self.counted.add("agent ", figure.name, value);
        }
        for shard in &process.shards {
            let counted = &mut self.servers[server].counted;
            let values = Counters::FIGURES.iter().zip(shard.core.node.counters.values());
            for (sum, (figure, value)) in counted.iter_mut().zip(values) {
                *sum += if figure.kind == FigureKind::Gauge { 0 } else { value };
            }
        }
    }

    /// Notes the gauges, of which the highest values are reported.
    pub(crate) fn look_at_gauges(&mut self, server: usize, process: &Process) {
        let host = &mut self.servers[server];
        host.was_orphan |= process.agent.counters.is_orphan > 0;
        host.was_leased |= process.agent.counters.is_leased > 0;
        let now = |shard: &Shard| {
            let counters = &shard.core.node.counters;
            let in_flight = shard.core.node.in_flight() as u64;
            [counters.connections, counters.items, counters.items_bytes, in_flight]
        };
        for (gauge, at) in GAUGES_AT.iter().enumerate() {
            let sum: u64 = process.shards.iter().map(|shard| now(shard)[gauge]).sum();
            host.counted[*at] = host.counted[*at].max(sum);
        }
    }
}
