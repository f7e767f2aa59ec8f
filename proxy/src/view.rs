//! What each thread's client knows of the cluster, for the metrics: its map, and the servers for which it is in
//! failover mode. A thread writes when one of these changes, which is rare; nobody else writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use standin_client::engine::Engine;
use standin_client::failover::State;
use standin_protocol::counters::{self, Figure, Sample, SampleValue};
use standin_protocol::map::{MapEpoch, ServerState};
use standin_protocol::time::Micros;

standin_protocol::counters! {
    /// The cluster as the threads of a proxy know it.
    pub(crate) struct ClusterFigures {
        /// Epoch of the map that this proxy has: its term times 2^32, plus its number; of several threads', the oldest. 0: one has none yet.
        Gauge map_epoch,
        /// Time since this proxy has its map, or since the start if it has none.
        Gauge map_age_us,
        /// Servers that are not online by the map.
        Gauge servers_not_online,
        /// Times that a thread began to use a server's stand-ins because the server does not answer or is
        /// stopping.
        Counter failovers,
    }
}

standin_protocol::counters! {
    /// The name of the cluster.
    pub(crate) struct InfoFigures by ["cluster"] {
        /// 1; the label says which cluster this proxy uses. Published once it has a map.
        Gauge info,
    }
}

standin_protocol::counters! {
    /// One server of the cluster, as the threads of a proxy see it.
    pub(crate) struct ServerFigures by ["server"] {
        /// Threads of this proxy that use the stand-ins of the server, because it has not answered them or is
        /// stopping.
        Gauge failover_threads,
    }
}

/// The views of all threads.
#[derive(Debug)]
pub(crate) struct Views {
    started: Micros,
    threads: Vec<Mutex<View>>,
}

/// The view of a thread.
#[derive(Debug, Default, Clone)]
struct View {
    map: Option<(MapEpoch, Micros)>,
    /// The name of the map's cluster.
    cluster: String,
    not_online: u64,
    failovers: u64,
    /// All servers of the map, and until when the thread uses their stand-ins; the past, if it does not.
    servers: Vec<(String, Micros)>,
}

impl Views {
    /// No thread knows the cluster yet.
    pub(crate) fn new(started: Micros, threads: u16) -> Self {
        Self { started, threads: (0..threads).map(|_| Mutex::default()).collect() }
    }

    /// Notes that a thread has another map.
    pub(crate) fn map_applied(&self, thread: u16, now: Micros, engine: &Engine) {
        let Some(map) = engine.map() else { return };
        let is_out = |state| state != ServerState::Online;
        let mut view = self.of(thread);
        view.map = Some((map.epoch, now));
        view.cluster.clone_from(&map.topology.name);
        view.not_online =
            map.statuses().iter().filter(|status| is_out(status.state)).count() as u64;
        drop(view);
        self.failover_changed(thread, engine);
    }

    /// Counts that a thread has entered failover mode for a server.
    pub(crate) fn entered_failover(&self, thread: u16, engine: &Engine) {
        self.of(thread).failovers += 1;
        self.failover_changed(thread, engine);
    }

    /// Notes for which servers a thread is in failover mode.
    pub(crate) fn failover_changed(&self, thread: u16, engine: &Engine) {
        let Some(map) = engine.map() else { return };
        let servers = (0..).zip(&map.topology.servers);
        self.of(thread).servers = servers
            .map(|(id, server)| (server.name.clone(), avoided_until(engine.failover_state(id))))
            .collect();
    }

    /// Notes how long a thread still uses stand-ins: a trial that has failed is no event of the client.
    pub(crate) fn refresh(&self, thread: u16, engine: &Engine) {
        let is_avoided = |(_, until): &(String, Micros)| *until != NOT_AVOIDED;
        let has_avoided = self.of(thread).servers.iter().any(is_avoided);
        if has_avoided {
            self.failover_changed(thread, engine);
        }
    }

    /// All figures, for documents.
    pub(crate) fn figures() -> impl Iterator<Item = &'static Figure> {
        [ClusterFigures::FIGURES, InfoFigures::FIGURES, ServerFigures::FIGURES]
            .into_iter()
            .flatten()
    }

    /// The figures now.
    pub(crate) fn samples(&self, now: Micros) -> Vec<Sample> {
        let views: Vec<View> =
            (0..self.threads.len()).map(|at| lock(&self.threads[at]).clone()).collect();
        samples(&views, self.started, now)
    }

    fn of(&self, thread: u16) -> MutexGuard<'_, View> {
        lock(&self.threads[usize::from(thread)])
    }
}

/// The time until which a thread uses the stand-ins of a server to which it sends.
const NOT_AVOIDED: Micros = Micros(0);

/// Returns until when a thread uses the stand-ins of a server. From then on the next request tries the server; if none
/// comes, the client stays in failover mode, although nothing is known any more that speaks against the server.
fn avoided_until(state: Option<State>) -> Micros {
    match state {
        None | Some(State::Home) => NOT_AVOIDED,
        Some(State::Failover { since, hold }) => since + hold,
        Some(State::Trial) => Micros::NEVER,
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

fn samples(views: &[View], started: Micros, now: Micros) -> Vec<Sample> {
    let maps = views.iter().map(|view| view.map.unwrap_or((MapEpoch::default(), started)));
    let oldest = maps.min_by_key(|(epoch, _)| *epoch);
    let (epoch, since) = oldest.unwrap_or((MapEpoch::default(), started));
    let figures = ClusterFigures {
        map_epoch: epoch.to_u64(),
        map_age_us: now.0.saturating_sub(since.0),
        servers_not_online: views.iter().map(|view| view.not_online).max().unwrap_or(0),
        failovers: views.iter().map(|view| view.failovers).sum(),
    };
    let mut threads: BTreeMap<&str, u64> = BTreeMap::new();
    for (server, avoided_until) in views.iter().flat_map(|view| &view.servers) {
        *threads.entry(server).or_default() += u64::from(now < *avoided_until);
    }
    let of_cluster = ClusterFigures::FIGURES.iter().zip(figures.values()).map(|(figure, value)| {
        Sample { figure: *figure, labels: Vec::new(), value: SampleValue::Number(value) }
    });
    let of_servers = threads.into_iter().flat_map(|(server, failover_threads)| {
        let figures = ServerFigures { failover_threads }.values();
        ServerFigures::FIGURES.iter().zip(figures).map(move |(figure, value)| {
            let labels = vec![server.to_owned()];
            Sample { figure: *figure, labels, value: SampleValue::Number(value) }
        })
    });
    let mut all: Vec<Sample> = of_cluster.chain(of_servers).collect();
    if let Some(view) = views.iter().find(|view| view.map.is_some()) {
        let info = InfoFigures { info: 1 }.values();
        all.extend(counters::samples(InfoFigures::FIGURES, info, &[&*view.cluster]));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(counter: u32, failovers: u64, avoided: [bool; 2]) -> View {
        let avoided = avoided.map(|avoided| if avoided { Micros::NEVER } else { NOT_AVOIDED });
        let epoch = MapEpoch { term: 1, counter };
        View {
            map: Some((epoch, Micros(1_000 * u64::from(counter)))),
            cluster: "shop".to_owned(),
            not_online: 1,
            failovers,
            servers: ["a1", "a2"].map(str::to_owned).into_iter().zip(avoided).collect(),
        }
    }

    fn number(samples: &[Sample], name: &str, labels: &[&str]) -> u64 {
        let found = samples.iter().find(|s| s.figure.name == name && s.labels == labels);
        match found.map(|sample| &sample.value) {
            Some(SampleValue::Number(number)) => *number,
            other => panic!("{name} {labels:?}: {other:?}"),
        }
    }

    #[test]
    fn the_oldest_map_counts_and_the_threads_that_avoid_a_server() {
        let views = [view(7, 2, [true, false]), view(6, 1, [true, true])];
        let found = samples(&views, Micros(10), Micros(9_000));
        let epoch = MapEpoch { term: 1, counter: 6 }.to_u64();
        assert_eq!(number(&found, "map_epoch", &[]), epoch);
        assert_eq!(number(&found, "map_age_us", &[]), 3_000);
        assert_eq!(number(&found, "servers_not_online", &[]), 1, "not one for each thread");
        assert_eq!(number(&found, "failovers", &[]), 3);
        assert_eq!(number(&found, "failover_threads", &["a1"]), 2);
        assert_eq!(number(&found, "failover_threads", &["a2"]), 1);
        assert_eq!(number(&found, "info", &["shop"]), 1);
    }

    #[test]
    fn a_proxy_without_a_map_knows_no_cluster() {
        let found = samples(&[View::default()], Micros(10), Micros(9_000));
        assert!(found.iter().all(|sample| sample.figure.name != "info"), "{found:?}");
        let found = samples(&[View::default(), view(7, 0, [false; 2])], Micros(10), Micros(9_000));
        assert_eq!(number(&found, "info", &["shop"]), 1);
    }

    #[test]
    fn a_server_that_nobody_asks_for_is_avoided_no_longer_than_its_time() {
        use std::time::Duration;

        let (since, hold) = (Micros(1_000_000), Duration::from_secs(2));
        let avoided = avoided_until(Some(State::Failover { since, hold }));
        let servers = vec![("a1".to_owned(), avoided)];
        let views = [View { servers, ..View::default() }];
        let threads_at =
            |now| number(&samples(&views, Micros(0), Micros(now)), "failover_threads", &["a1"]);
        assert_eq!([1_000_000, 2_999_999, 3_000_000].map(threads_at), [1, 1, 0]);
        assert_eq!(avoided_until(Some(State::Home)), NOT_AVOIDED);
        assert_eq!(avoided_until(Some(State::Trial)), Micros::NEVER, "until it has an answer");
    }

    #[test]
    fn a_thread_without_a_map_makes_the_proxy_one_without() {
        let found = samples(&[view(7, 0, [false; 2]), View::default()], Micros(10), Micros(9_000));
        assert_eq!(number(&found, "map_epoch", &[]), 0);
        assert_eq!(number(&found, "map_age_us", &[]), 8_990);
        assert_eq!(number(&found, "failover_threads", &["a1"]), 0);
    }
}
