//! The metrics of a proxy: those figures of its shards that a proxy has.

use std::sync::Arc;

use standin_protocol::counters::{Figure, Sample, samples};
use standin_protocol::hello::Role;
use standin_protocol::time::Micros;
use standin_server::shard::admission::Admission;
use standin_server::stats::StatsHub;

use crate::view::Views;

/// The names of the figures that a proxy has. Its shards are a server's, but their caches, partitions and
/// the database are not here.
const KEPT: [&str; 34] = [
    "requests",
    "data_requests",
    "requests_memcached",
    "requests_redis",
    "hits",
    "misses",
    "outcomes_unknown",
    "overloaded",
    "reports",
    "maps_applied",
    "connections",
    "connections_accepted",
    "connections_refused",
    "clients_refused",
    "handshakes_refused",
    "tls_handshakes",
    "tls_in_kernel",
    "tls_failures",
    "auth_failures_memcached",
    "auth_failures_redis",
    "connections_dropped",
    "output_bytes",
    "in_flight",
    "pauses",
    "loop_lag_us",
    "busy_us",
    "answers",
    "keyspace_hits",
    "request_duration_us",
    "shard_requests",
    "shard_connections",
    "shard_loop_lag_us",
    "shard_busy_us",
    "shard_age_us",
];

standin_protocol::counters! {
    /// The figures of a proxy as a whole.
    pub(crate) struct ProxyFigures {
        /// Log lines that could not be written.
        Counter log_lines_lost,
        /// Connections of clients that there may be at once.
        Gauge connections_max,
        /// Connections of clients, which excludes those that have not said hello.
        Gauge client_connections,
    }
}

/// What the metrics of a proxy are read from.
#[derive(Clone)]
pub struct Scrape {
    pub(crate) hub: Arc<StatsHub>,
    pub(crate) views: Arc<Views>,
    pub(crate) admission: Arc<Admission>,
}

impl Scrape {
    /// All figures of a proxy, for documents.
    pub fn figures() -> impl Iterator<Item = &'static Figure> {
        let of_shards = StatsHub::shard_figures().filter(|figure| is_kept(figure));
        of_shards.chain(ProxyFigures::FIGURES).chain(Views::figures())
    }

    /// The figures of the proxy now.
    #[must_use]
    pub fn samples(&self, now: Micros) -> Vec<Sample> {
        let of_shards = self.hub.shard_samples(now).into_iter();
        let of_shards = of_shards.filter(|sample| is_kept(&sample.figure));
        let own = ProxyFigures {
            log_lines_lost: self.hub.log_lines_lost(),
            connections_max: self.admission.places().clients.into(),
            client_connections: self.admission.taken(Role::Client).into(),
        };
        let own = samples(ProxyFigures::FIGURES, own.values(), &[]);
        of_shards.chain(own).chain(self.views.samples(now)).collect()
    }
}

fn is_kept(figure: &Figure) -> bool {
    KEPT.contains(&figure.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_that_is_kept_exists() {
        for name in KEPT {
            assert!(StatsHub::shard_figures().any(|figure| figure.name == name), "{name}");
        }
        let own = Views::figures().count() + ProxyFigures::FIGURES.len();
        assert_eq!(Scrape::figures().count(), KEPT.len() + own);
    }
}
