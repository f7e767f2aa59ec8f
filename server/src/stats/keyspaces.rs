//! Totals of each keyspace in STATS, such as `keyspace_reads{keyspace="items"}`.

use standin_protocol::body::Counter;

use super::StatsHub;
use super::answers::{self, Totals};

impl StatsHub {
    /// The totals of each keyspace of the cluster file.
    pub(super) fn keyspaces(&self) -> Vec<Counter> {
        let Some(layout) = &self.layout else { return Vec::new() };
        let sums = self.answers(layout);
        let counters = answers::by_keyspace(layout, &sums).flat_map(|(keyspace, totals)| {
            let Totals { reads, hits, writes, failed } = totals;
            let of = [("reads", reads), ("hits", hits), ("writes", writes), ("failed", failed)];
            of.map(|(what, value)| Counter {
                name: format!("keyspace_{what}{{keyspace=\"{keyspace}\"}}"),
                value,
            })
        });
        counters.collect()
    }
}
