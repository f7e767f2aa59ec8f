//! What looks add up to, from answers that the test makes up.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use standin_client::ClientError;
use standin_config::ClusterConfig;
use standin_master::{MasterEvent, OfflineReason};
use standin_protocol::body::{Counter, StatsReply};
use standin_protocol::map::ServerState::{Offline, Online, Returning};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::time::Micros;

use super::shown::{Server, Shown};
use super::view::{Look, View};
use crate::status::Heard;

/// Two servers, seen once a second.
struct World {
    view: View,
    topology: Arc<Topology>,
    at_s: u64,
    epoch: u32,
    states: [ServerState; 2],
}

impl World {
    fn new(has_events: bool) -> Self {
        let mut config = ClusterConfig::new("test", ([127, 0, 0, 1], 7100).into(), None);
        config.partitions = 16;
        let servers = [7101, 7102].map(|port| ([127, 0, 0, 1], port).into());
        let config = config.with_group("left", ["a1", "a2"].into_iter().zip(servers));
        Self {
            view: View::new(&config, has_events),
            topology: Arc::new(config.topology().unwrap()),
            at_s: 1_000,
            epoch: 1,
            states: [Online; 2],
        }
    }

    fn become_of(&mut self, states: [ServerState; 2]) {
        (self.states, self.epoch) = (states, self.epoch + 1);
    }

    /// A second later, with these answers.
    fn look(&mut self, mut stats: [Heard<StatsReply>; 2]) -> Shown {
        self.at_s += 1;
        let epoch = MapEpoch { term: 1, counter: self.epoch };
        for heard in &mut stats {
            if let Heard::Answer(stats) = heard {
                stats.map_epoch = epoch.to_u64();
            }
        }
        let statuses = self.states.map(|state| ServerStatus { state, since: epoch, boot_id: 1 });
        let map = ClusterMap::new(Arc::clone(&self.topology), epoch, statuses.to_vec());
        self.view.look(&Look {
            now: Micros(self.at_s * 1_000_000),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(self.at_s),
            topology: Arc::clone(&self.topology),
            map: Some(Arc::new(map)),
            master: Heard::Answer(()),
            stats: stats.to_vec(),
        })
    }
}

fn stats(boot_id: u64, counters: &[(&str, u64)]) -> Heard<StatsReply> {
    let common = [("is_leased", 1), ("has_database", 1)];
    let counter = |(name, value): &(&str, u64)| Counter { name: (*name).to_owned(), value: *value };
    let counters = counters.iter().chain(&common).map(counter).collect();
    Heard::Answer(StatsReply { boot_id, counters, ..StatsReply::default() })
}

fn silent() -> Heard<StatsReply> {
    Heard::Failed(ClientError::NoAnswer("a1 does not answer; is it".to_owned()))
}

fn server(shown: &Shown, index: usize) -> &Server {
    &shown.groups[0].servers[index]
}

fn kinds(shown: &Shown) -> Vec<(&str, &str)> {
    shown.events.iter().map(|e| (e.kind, e.server.as_deref().unwrap_or_default())).collect()
}

/// A look at which a1 has just been marked offline, for tests of what shows looks.
pub(crate) fn one_offline() -> Shown {
    let mut world = World::new(false);
    world.look([stats(1, &[]), stats(1, &[])]);
    world.become_of([Offline, Online]);
    world.look([silent(), stats(1, &[])])
}

/// The counter of the requests that a server has timed, all of them hits.
const REQUESTS: &str = "request_duration_us{kind=\"hit\",le=\"+Inf\"}";

#[test]
fn rates_are_those_of_ten_seconds_and_of_one_incarnation() {
    let mut world = World::new(false);
    let idle = || stats(1, &[]);
    let mut shown = world.look([stats(1, &[(REQUESTS, 5_000)]), idle()]);
    assert_eq!(server(&shown, 0).figures.as_ref().unwrap().requests_per_s, None, "no time yet");
    for second in 1..=20_u64 {
        // A hundred per second, then two hundred.
        let requests = 5_000 + 100 * second + 100 * second.saturating_sub(10);
        let counters = [(REQUESTS, requests), ("hits", 3 * second), ("misses", second)];
        shown = world.look([stats(1, &counters), idle()]);
    }
    let figures = server(&shown, 0).figures.clone().unwrap();
    assert_eq!(figures.requests_per_s, Some(200.0));
    assert_eq!(figures.hit_ratio, Some(0.75));
    assert_eq!(shown.totals.requests_per_s, Some(200.0));
    let history = &shown.history.requests_per_s;
    assert_eq!((history[0], history[1], history[20]), (None, Some(100.0), Some(200.0)));
    // Another process counts from zero: what it has not done is not known, and no rate is negative.
    shown = world.look([stats(2, &[(REQUESTS, 7)]), idle()]);
    assert_eq!(server(&shown, 0).figures.as_ref().unwrap().requests_per_s, None);
    assert_eq!(shown.totals.requests_per_s, Some(0.0));
}

#[test]
fn the_timeline_names_who_stands_in_for_whom_until_it_is_over() {
    let mut world = World::new(false);
    let well = || stats(1, &[]);
    let shown = world.look([well(), well()]);
    assert_eq!((shown.severity, kinds(&shown).len()), ("ok", 0));
    assert_eq!((shown.partitions.total, shown.partitions.at_home), (16, 16));

    world.become_of([Offline, Online]);
    let shown = world.look([silent(), well()]);
    assert_eq!(kinds(&shown), [("offline", "a1"), ("stands_in", "a2")]);
    let home = server(&shown, 0).home;
    assert_eq!(shown.events[1].text, format!("a2 stands in for a1: {home} partitions"));
    assert_eq!(server(&shown, 1).stands_in_for[0].server, "a1");
    assert_eq!(server(&shown, 0).stood_in_by[0].partitions, home);
    assert_eq!((shown.partitions.stood_in, shown.severity), (home, "warning"));

    world.become_of([Returning, Online]);
    let shown = world.look([well(), well()]);
    assert_eq!(kinds(&shown)[2..], [("returning", "a1"), ("stood_down", "a2")]);
    assert_eq!((shown.partitions.moving, server(&shown, 0).moving), (home, home));
    world.become_of([Online; 2]);
    let shown = world.look([well(), well()]);
    assert_eq!(kinds(&shown)[4..], [("online", "a1")]);
    assert_eq!((shown.partitions.moving, shown.severity), (0, "ok"));

    world.become_of([Offline; 2]);
    let shown = world.look([silent(), silent()]);
    assert_eq!((shown.partitions.unowned, shown.severity), (16, "critical"));
}

#[test]
fn with_the_events_of_the_master_no_change_is_told_twice() {
    let mut world = World::new(true);
    let well = || stats(1, &[]);
    world.look([well(), well()]);
    let (epoch, server) = (MapEpoch { term: 1, counter: 2 }, 0);
    let reason = OfflineReason::Verdict;
    let topology = Arc::clone(&world.topology);
    for event in [
        MasterEvent::Probing { server, attempt: 1 },
        MasterEvent::MarkedOffline { server, epoch, reason },
        MasterEvent::Announced { server, state: Offline, epoch, told: 1 },
    ] {
        world.view.note(7, &event, &topology);
    }
    world.become_of([Offline, Online]);
    let shown = world.look([silent(), well()]);
    assert_eq!(kinds(&shown), [("offline", "a1"), ("stands_in", "a2")]);
    assert_eq!((shown.events[0].at_ms, shown.events[0].severity), (7, "critical"));
    assert_eq!(shown.events[0].text, "a1 does not answer: offline as of epoch 1.2");
}

#[test]
fn a_silent_server_keeps_its_last_figures_with_their_age() {
    let mut world = World::new(false);
    let well = |items| stats(1, &[("items", items)]);
    world.look([well(41), well(1)]);
    let shown = world.look([well(42), well(1)]);
    assert_eq!((server(&shown, 0).is_stale, server(&shown, 0).age_ms), (false, Some(0)));
    for age_ms in [1_000, 2_000, 3_000] {
        let shown = world.look([silent(), well(1)]);
        let (hung, other) = (server(&shown, 0), server(&shown, 1));
        assert_eq!((hung.is_stale, hung.age_ms, hung.answers), (true, Some(age_ms), false));
        assert_eq!(hung.figures.as_ref().unwrap().items, 42);
        assert!(!other.is_stale && other.answers);
        assert!(shown.findings[0].text.contains("a1 does not answer"), "{:?}", shown.findings);
    }
    // What it has never said is not known.
    let shown = World::new(false).look([Heard::Busy, well(1)]);
    let busy = server(&shown, 0);
    assert_eq!((busy.age_ms, busy.figures.is_none(), busy.answers), (None, true, true));
    assert_eq!(busy.problem.as_deref(), Some("is busy"));
}

#[test]
fn an_outage_of_the_database_is_shown_and_its_ends_are_events() {
    let mut world = World::new(true);
    let (well, down) =
        (|| stats(1, &[]), || stats(1, &[("origin_down_ms{reason=\"refused <b>\"}", 72_000)]));
    world.look([well(), well()]);
    let shown = world.look([well(), down()]);
    let database = shown.database.as_ref().unwrap();
    assert_eq!((database.servers, database.down), (2, 1));
    let own = server(&shown, 1).figures.as_ref().unwrap().database.clone().unwrap();
    assert_eq!(
        (own.up, own.down_ms, own.reason.as_deref()),
        (false, Some(72_000), Some("refused <b>"))
    );
    world.look([well(), down()]);
    let shown = world.look([well(), well()]);
    assert_eq!(kinds(&shown), [("database_down", "a2"), ("database_up", "a2")]);
    assert_eq!(shown.database.as_ref().unwrap().down, 0);
}

#[test]
fn a_cluster_of_which_nothing_is_known_is_shown_as_that() {
    let mut world = World::new(false);
    let topology = Arc::clone(&world.topology);
    let shown = world.view.look(&Look {
        now: Micros(1),
        wall: SystemTime::UNIX_EPOCH,
        topology,
        map: None,
        master: Heard::Failed(ClientError::NoMap),
        stats: vec![silent(), silent()],
    });
    assert_eq!((shown.severity, shown.master.answers), ("critical", false));
    assert_eq!(shown.epoch, None);
    assert_eq!((server(&shown, 0).state, server(&shown, 0).owned), (None, 0));
    assert_eq!(shown.groups[0].name, "left");
    assert!(serde_json::to_string(&shown.totals).unwrap().contains("\"hit_ratio\":null"));
}
