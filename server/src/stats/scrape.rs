//! The metrics of a server or a proxy: what the shards and the control thread have published, read on the
//! thread that asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use standin_protocol::counters::{Figure, FigureKind, Sample, samples};
use standin_protocol::time::Micros;

use super::StatsHub;
use super::answers::{self, Layout};
use super::callers::CallerFigures;
use super::figures::{InfoFigures, QueueFigures, ServerFigures, ShardFigures};
use crate::control::agent::AgentCounters;
use crate::histogram::Histogram;
use crate::node::counters::Counters;
use crate::origin::Origin;

/// What the metrics of a server are read from.
#[derive(Clone)]
pub struct Scrape {
    hub: Arc<StatsHub>,
    origin: Origin,
}

impl Scrape {
    pub(crate) fn new(hub: Arc<StatsHub>, origin: Origin) -> Self {
        Self { hub, origin }
    }

    /// All figures of a server, for documents.
    pub fn figures() -> impl Iterator<Item = &'static Figure> {
        let of_server = [
            AgentCounters::FIGURES,
            ServerFigures::FIGURES,
            InfoFigures::FIGURES,
            QueueFigures::FIGURES,
            &[ORIGIN_DURATION],
            CallerFigures::FIGURES,
        ];
        StatsHub::shard_figures().chain(of_server.into_iter().flatten())
    }

    /// The figures of the server now.
    #[must_use]
    pub fn samples(&self, now: Micros) -> Vec<Sample> {
        let mut all = self.hub.shard_samples(now);
        let agent = self.hub.agent.iter().map(|slot| slot.load(Ordering::Relaxed));
        all.extend(samples(AgentCounters::FIGURES, agent, &[]));
        let figures = self.hub.figures(now, &self.origin.state());
        all.extend(samples(ServerFigures::FIGURES, figures.values(), &[]));
        let info = InfoFigures { server_info: 1 };
        all.extend(samples(
            InfoFigures::FIGURES,
            info.values(),
            &[&*self.hub.server, &*self.hub.cluster],
        ));
        for (calls, (length, bytes)) in self.origin.waiting().into_iter().flatten() {
            let figures =
                QueueFigures { origin_queue: length as u64, origin_queue_bytes: bytes as u64 };
            all.extend(samples(QueueFigures::FIGURES, figures.values(), &[calls]));
        }
        all.extend(self.hub.origin_samples());
        all.extend(self.hub.caller_samples());
        all
    }
}

/// How long calls to the database took.
const ORIGIN_DURATION: Figure = Figure {
    name: "origin_call_duration_us",
    kind: FigureKind::Histogram,
    labels: &["calls"],
    help: "Time from a call to the database to its answer, including the wait for its turn.",
};

impl StatsHub {
    /// The sums of the cells of all shards' answers.
    pub(super) fn answers(&self, layout: &Layout) -> Vec<u64> {
        let mut sums = vec![0_u64; layout.cells()];
        for block in &self.shards {
            for (sum, cell) in sums.iter_mut().zip(&block.answers) {
                *sum = sum.saturating_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }

    /// The times of the calls to the origin.
    pub(super) fn calls(&self) -> [(&'static str, Histogram); 2] {
        let of = |index: usize| {
            let mut all = Histogram::default();
            for block in &self.shards {
                all.add_cells(block.origin[index].iter().map(|cell| cell.load(Ordering::Relaxed)));
            }
            all
        };
        [("read", of(0)), ("write", of(1))]
    }

    fn origin_samples(&self) -> Vec<Sample> {
        let sample = |(calls, times): &(&'static str, Histogram)| {
            answers::of_histogram(ORIGIN_DURATION, times, [*calls])
        };
        self.calls().iter().map(sample).collect()
    }

    /// The figures of [`Self::shard_samples`].
    pub fn shard_figures() -> impl Iterator<Item = &'static Figure> {
        let lists = [Counters::FIGURES, &answers::FIGURES, ShardFigures::FIGURES];
        lists.into_iter().flatten()
    }

    /// The figures of all shards together, and those of each.
    #[must_use]
    pub fn shard_samples(&self, now: Micros) -> Vec<Sample> {
        let shards: Vec<Counters> = self.shards.iter().map(super::Block::load).collect();
        let values: Vec<_> = shards.iter().map(Counters::values).collect();
        let sum = |(index, figure): (usize, &Figure)| {
            figure.of_all(values.iter().map(|values| values[index]))
        };
        let sums = Counters::FIGURES.iter().enumerate().map(sum);
        let mut all: Vec<Sample> = samples(Counters::FIGURES, sums, &[]).collect();
        if let Some(layout) = &self.layout {
            all.extend(answers::samples(layout, &self.answers(layout)));
        }
        for (number, (counters, block)) in shards.iter().zip(&self.shards).enumerate() {
            let figures = ShardFigures {
                shard_requests: counters.requests,
                shard_connections: counters.connections,
                shard_loop_lag_us: counters.loop_lag_us,
                shard_busy_us: counters.busy_us,
                shard_age_us: now.0.saturating_sub(block.at.load(Ordering::Relaxed)),
            };
            let label = number.to_string();
            all.extend(samples(ShardFigures::FIGURES, figures.values(), &[&*label]));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::counters::SampleValue;

    use super::*;
    use crate::control::agent::Since;
    use crate::origin::{Health, LockWait, State};
    use crate::stats::answers::Answers;

    fn number(samples: &[Sample], name: &str, labels: &[&str]) -> u64 {
        let found = samples.iter().find(|s| s.figure.name == name && s.labels == labels);
        match found.map(|sample| &sample.value) {
            Some(SampleValue::Number(number)) => *number,
            other => panic!("{name} {labels:?}: {other:?}"),
        }
    }

    #[test]
    fn shards_are_summed_and_also_shown_one_by_one() {
        let hub = StatsHub::new("a".to_owned(), 1, 2, Micros(1_000));
        let answers = Answers::new(Layout::new([]));
        for (shard, requests, lag) in [(0, 3, 40), (1, 5, 20)] {
            let counters = Counters { requests, loop_lag_us: lag, ..Counters::default() };
            hub.publish(shard, Micros(2_000), &counters, &answers);
        }
        hub.publish(1, Micros(5_000), &Counters { requests: 6, ..Counters::default() }, &answers);
        let samples = hub.shard_samples(Micros(7_000));
        assert_eq!(number(&samples, "requests", &[]), 9);
        assert_eq!(number(&samples, "loop_lag_us", &[]), 40);
        assert_eq!(number(&samples, "shard_requests", &["1"]), 6);
        assert_eq!(number(&samples, "shard_loop_lag_us", &["0"]), 40);
        assert_eq!(number(&samples, "shard_age_us", &["0"]), 5_000, "it hangs");
        assert_eq!(number(&samples, "shard_age_us", &["1"]), 2_000);
    }

    #[test]
    fn ages_count_from_what_the_control_thread_has_seen_last() {
        let hub = StatsHub::new("a".to_owned(), 1, 1, Micros(1_000));
        let ages = |now| {
            let figures = hub.figures(now, &Health::Up.into());
            (figures.lease_age_us, figures.map_age_us, figures.control_age_us)
        };
        assert_eq!(ages(Micros(1_500)), (500, 500, 500), "since the start");
        let since = Since { granted: Micros(2_000), map: Micros(1_700) };
        hub.publish_agent(Micros(3_000), &AgentCounters::default(), since);
        assert_eq!(ages(Micros(4_000)), (2_000, 2_300, 1_000));
    }

    #[test]
    fn a_database_that_is_down_shows_for_how_long() {
        let hub = StatsHub::new("a".to_owned(), 1, 1, Micros(1_000));
        let since = Micros(5_000_000);
        let figures = hub.figures(Micros(8_000_000), &Health::Down { since }.into());
        assert_eq!((figures.origin_up, figures.origin_outage_ms), (0, 3_000));
        let figures = hub.figures(Micros(8_000_000), &Health::Up.into());
        assert_eq!((figures.origin_up, figures.origin_outage_ms), (1, 0));
    }

    #[test]
    fn calls_that_wait_for_a_lock_show_for_how_long_and_who_holds_it() {
        let hub = StatsHub::new("a".to_owned(), 1, 1, Micros(1_000));
        let lock = LockWait { since: Micros(5_000_000), holder: "items, by \"psql\"".to_owned() };
        let locked = State { lock_wait: Some(lock), ..Health::Up.into() };
        let figures = hub.figures(Micros(8_000_000), &locked);
        assert_eq!((figures.origin_up, figures.origin_locked_ms), (1, 3_000));
        assert_eq!(hub.figures(Micros(5_000_000), &locked).origin_locked_ms, 1, "it has begun");
        let stats = hub.reply(1, Micros(8_000_000), &locked);
        assert_eq!(stats.counter("origin_lock_wait_ms{holder=\"items, by  psql \"}"), 3_000);
        assert_eq!(hub.figures(Micros(8_000_000), &Health::Up.into()).origin_locked_ms, 0);
    }
}
