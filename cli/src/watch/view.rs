//! What looks at a cluster add up to: rates and percentiles of the last ten seconds, the past of some minutes,
//! and a timeline. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use standin_config::{ClusterConfig, counted};
use standin_master::MasterEvent;
use standin_protocol::body::StatsReply;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, Topology};
use standin_protocol::time::Micros;

use super::sample::{Growth, Sample, Times, ratio};
use super::shown::{
    Database, Event, Figures, Found, Group, History, Master, OwnDatabase, Server, Shown, StandIn,
    Totals,
};
use super::standing::Standing;
use super::timeline::{self, Timeline};
use crate::status::{Heard, Outage, Report, version};

/// The time between two looks.
pub(crate) const STEP: Duration = Duration::from_secs(1);
/// The time that rates, ratios and percentiles are about.
const WINDOW: Duration = Duration::from_secs(10);
/// The longest time between two looks whose difference is a point of the past.
const GAP: Duration = Duration::from_secs(3);
/// The number of points of the past: five minutes.
const POINTS_MAX: usize = 300;

/// What was heard at one time.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) now: Micros,
    pub(crate) wall: SystemTime,
    /// The topology of the map, or the file's if nobody has a map.
    pub(crate) topology: Arc<Topology>,
    pub(crate) map: Option<Arc<ClusterMap>>,
    pub(crate) master: Heard<()>,
    /// By server.
    pub(crate) stats: Vec<Heard<StatsReply>>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct View {
    cluster: String,
    mode: &'static str,
    groups: Vec<String>,
    /// The master's events are given: changes of states are among them.
    has_events: bool,
    topology_id: u64,
    servers: Vec<Seen>,
    master_answers: Option<bool>,
    standing: Standing,
    map: Option<Arc<ClusterMap>>,
    history: Past,
    timeline: Timeline,
}

/// What is known of a server.
#[derive(Debug, Clone, Default)]
struct Seen {
    boot_id: u64,
    /// The samples of the last [`WINDOW`], the oldest first.
    samples: VecDeque<(Micros, Sample)>,
    figures: Option<(Micros, Figures)>,
    database_is_up: Option<bool>,
}

#[derive(Debug, Default)]
struct Past(VecDeque<Point>);

#[derive(Debug, Clone, Copy, Default)]
struct Point {
    requests_per_s: Option<f64>,
    hit_ratio: Option<f64>,
    p99_us: Option<u64>,
    origin_reads_per_s: Option<f64>,
}

impl View {
    pub(crate) fn new(cluster: &ClusterConfig, has_events: bool) -> Self {
        Self {
            cluster: cluster.name.clone(),
            mode: cluster.mode.name(),
            groups: cluster.groups.clone(),
            has_events,
            topology_id: 0,
            servers: Vec::new(),
            master_answers: None,
            standing: Standing::default(),
            map: None,
            history: Past::default(),
            timeline: Timeline::default(),
        }
    }

    /// Notes an event of the master.
    pub(crate) fn note(&mut self, at_ms: u64, event: &MasterEvent, topology: &Topology) {
        if let Some(event) = timeline::shown(at_ms, event, topology) {
            self.timeline.push(event);
        }
    }

    /// Takes in a look, and returns what there is to show then.
    pub(crate) fn look(&mut self, look: &Look) -> Shown {
        let at_ms = unix_ms(look.wall);
        if self.topology_id != look.topology.id {
            self.topology_id = look.topology.id;
            self.servers = vec![Seen::default(); look.topology.servers.len()];
            (self.map, self.standing) = (None, Standing::default());
        }
        self.note_master(at_ms, look);
        self.note_map(at_ms, look);
        for (id, heard) in (0u16..).zip(&look.stats) {
            if let Heard::Answer(stats) = heard {
                self.note_stats(at_ms, look, id, stats);
            }
        }
        self.history.push(self.point(look));
        self.shown(at_ms, look)
    }

    fn event(
        &mut self,
        at_ms: u64,
        severity: &'static str,
        kind: &'static str,
        server: Option<&str>,
        text: String,
    ) {
        let server = server.map(str::to_owned);
        self.timeline.push(Event { at_ms, severity, kind, server, text });
    }

    fn note_master(&mut self, at_ms: u64, look: &Look) {
        let answers = look.master.is_alive();
        if self.master_answers.replace(answers).is_some_and(|before| before != answers) {
            let (severity, kind, text) = match answers {
                true => ("good", "master_answers", "the master answers again"),
                false => ("critical", "master_silent", "the master does not answer"),
            };
            self.event(at_ms, severity, kind, None, text.to_owned());
        }
    }

    /// Notes what a newer map has changed.
    fn note_map(&mut self, at_ms: u64, look: &Look) {
        let Some(map) = &look.map else { return };
        if self.standing.of == (map.epoch, map.topology.id) {
            return;
        }
        let standing = Standing::of(map);
        let before = std::mem::replace(&mut self.standing, standing);
        let previous = self.map.replace(Arc::clone(map));
        let name = |id: u16| map.topology.servers[usize::from(id)].name.as_str();
        if let Some(previous) = previous.filter(|_| !self.has_events) {
            for (id, info) in (0u16..).zip(&map.topology.servers) {
                let state = map.state(id);
                if state != previous.state(id) {
                    let severity = match state {
                        ServerState::Online => "good",
                        ServerState::Offline => "critical",
                        ServerState::Waiting => "warning",
                        ServerState::Returning | ServerState::Leaving => "info",
                    };
                    let text = format!("{} is {state} as of epoch {}", info.name, map.epoch);
                    self.event(at_ms, severity, state.name(), Some(&info.name), text);
                }
            }
        }
        let now = self.standing.stand_ins.clone();
        for (&(home, by), count) in &now {
            if !before.stand_ins.contains_key(&(home, by)) {
                let (by, home) = (name(by), name(home));
                let text =
                    format!("{by} stands in for {home}: {}", counted(*count as usize, "partition"));
                self.event(at_ms, "warning", "stands_in", Some(by), text);
            }
        }
        for &(home, by) in before.stand_ins.keys().filter(|key| !now.contains_key(key)) {
            let (by, home) = (name(by), name(home));
            let text = format!("{by} no longer stands in for {home}");
            self.event(at_ms, "info", "stood_down", Some(by), text);
        }
    }

    fn note_stats(&mut self, at_ms: u64, look: &Look, id: u16, stats: &StatsReply) {
        let info = &look.topology.servers[usize::from(id)];
        let seen = &mut self.servers[usize::from(id)];
        if seen.boot_id != stats.boot_id {
            *seen = Seen { boot_id: stats.boot_id, ..Seen::default() };
        }
        seen.samples.push_back((look.now, Sample::of(stats)));
        let oldest = look.now - (WINDOW + STEP / 2);
        while seen.samples.front().is_some_and(|(at, _)| *at < oldest) {
            seen.samples.pop_front();
        }
        let figures = figures(stats, seen.growth().as_ref(), info.shards);
        let database = figures.database.as_ref();
        let is_up = database.map(|database| database.up);
        let reason = database.and_then(|database| database.reason.clone()).unwrap_or_default();
        let was_up = std::mem::replace(&mut seen.database_is_up, is_up);
        seen.figures = Some((look.now, figures));
        match (was_up, is_up) {
            (None | Some(true), Some(false)) => {
                let text = format!("{} can't reach the database: {reason}", info.name);
                self.event(at_ms, "critical", "database_down", Some(&info.name), text);
            }
            (Some(false), Some(true)) => {
                let text = format!("{} reaches the database again", info.name);
                self.event(at_ms, "good", "database_up", Some(&info.name), text);
            }
            _ => {}
        }
    }

    /// The servers that have answered at this look.
    fn fresh(&self, look: &Look) -> impl Iterator<Item = &Seen> {
        let at = look.now;
        self.servers.iter().filter(move |seen| seen.figures.as_ref().is_some_and(|f| f.0 == at))
    }

    /// The cluster since the last look.
    fn point(&self, look: &Look) -> Point {
        let steps: Vec<Growth> = self.fresh(look).filter_map(Seen::step).collect();
        let mut all = Times::default();
        steps.iter().for_each(|step| all.add(&step.all()));
        Point {
            requests_per_s: sum(&steps, |of| of.requests),
            hit_ratio: hit_ratio(&steps),
            p99_us: all.latency().p99_us,
            origin_reads_per_s: sum(&steps, |of| of.origin_reads),
        }
    }

    fn shown(&self, at_ms: u64, look: &Look) -> Shown {
        let report = Report {
            topology: &look.topology,
            map: look.map.as_deref(),
            master: look.master.clone(),
            stats: &look.stats,
            now: look.wall,
        };
        let findings = report.findings();
        let found = |finding: &crate::status::Finding| Found {
            severity: finding.severity.name(),
            text: finding.text.clone(),
        };
        let growths: Vec<Growth> = self.fresh(look).filter_map(Seen::growth).collect();
        let mut all = Times::default();
        growths.iter().for_each(|growth| all.add(&growth.all()));
        Shown {
            version: env!("CARGO_PKG_VERSION"),
            at_ms,
            cluster: self.cluster.clone(),
            mode: self.mode,
            severity: report.severity().name(),
            epoch: look.map.as_ref().map(|map| map.epoch.to_string()),
            master: Master {
                address: look.topology.master.to_string(),
                answers: look.master.is_alive(),
                is_learning: look.master == Heard::NotReady,
            },
            partitions: self.standing.all,
            totals: Totals {
                requests_per_s: sum(&growths, |of| of.requests),
                hit_ratio: hit_ratio(&growths),
                all: all.latency(),
            },
            database: self.database(look, &growths, report.reads_per_second()),
            history: self.history.shown(),
            groups: self.groups(look),
            findings: findings.iter().map(found).collect(),
            events: self.timeline.list(),
        }
    }

    fn database(&self, look: &Look, growths: &[Growth], most: Option<u64>) -> Option<Database> {
        let figures = self.fresh(look).filter_map(|seen| Some(&seen.figures.as_ref()?.1));
        let own: Vec<&OwnDatabase> = figures.filter_map(|f| f.database.as_ref()).collect();
        if own.is_empty() {
            return None;
        }
        let (mut read, mut write) = (Times::default(), Times::default());
        for growth in growths {
            read.add(&growth.of.origin_read);
            write.add(&growth.of.origin_write);
        }
        Some(Database {
            servers: own.len(),
            down: own.iter().filter(|database| !database.up).count(),
            reads_per_s: sum(growths, |of| of.origin_reads),
            writes_per_s: sum(growths, |of| of.origin_writes),
            per_second_max: most,
            read: read.latency(),
            write: write.latency(),
        })
    }

    fn groups(&self, look: &Look) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut numbers: Vec<u16> = look.topology.servers.iter().map(|info| info.group).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let name = self.groups.get(usize::from(number)).cloned();
            let ids = (0u16..).zip(&look.topology.servers);
            let servers = ids.filter(|(_, info)| info.group == number);
            groups.push(Group {
                name: name.unwrap_or_else(|| number.to_string()),
                servers: servers.map(|(id, _)| self.server(look, id)).collect(),
            });
        }
        groups
    }

    fn server(&self, look: &Look, id: u16) -> Server {
        let at = usize::from(id);
        let (info, heard, seen) = (&look.topology.servers[at], &look.stats[at], &self.servers[at]);
        let status = look.map.as_ref().map(|map| map.statuses()[at]);
        let own = self.standing.server(id);
        let name = |id: u16| look.topology.servers[usize::from(id)].name.clone();
        let stand_ins = self.standing.stand_ins.iter();
        let side = |of: u16, count: u32| StandIn { server: name(of), partitions: count };
        let problem = match heard {
            Heard::Answer(_) => None,
            Heard::NotReady => Some("is not ready".to_owned()),
            Heard::Busy => Some("is busy".to_owned()),
            Heard::Failed(error) => Some(timeline::cut(&error.to_string())),
        };
        let age = seen.figures.as_ref().map(|(at, _)| look.now.since(*at));
        Server {
            name: info.name.clone(),
            address: info.address.to_string(),
            state: status.map(|status| status.state.name()),
            since_epoch: status.map(|status| status.since.to_string()),
            answers: heard.is_alive(),
            problem,
            owned: own.owned,
            home: own.home,
            moving: own.moving,
            unowned: own.unowned,
            stands_in_for: stand_ins
                .clone()
                .filter(|((_, by), _)| *by == id)
                .map(|((home, _), count)| side(*home, *count))
                .collect(),
            stood_in_by: stand_ins
                .filter(|((home, _), _)| *home == id)
                .map(|((_, by), count)| side(*by, *count))
                .collect(),
            is_stale: age != Some(Duration::ZERO),
            age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            figures: seen.figures.as_ref().map(|(_, figures)| figures.clone()),
        }
    }
}

impl Seen {
    /// The growth in the last [`WINDOW`].
    fn growth(&self) -> Option<Growth> {
        Growth::between(self.samples.front()?, self.samples.back()?)
    }

    /// The growth since the last look.
    fn step(&self) -> Option<Growth> {
        let before = self.samples.iter().rev().nth(1)?;
        Growth::between(before, self.samples.back()?).filter(|growth| growth.time <= GAP)
    }
}

impl Past {
    fn push(&mut self, point: Point) {
        if self.0.len() == POINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    fn shown(&self) -> History {
        let points = || self.0.iter();
        let tenths = |of: Option<f64>| of.map(|of| (of * 10.0).round() / 10.0);
        History {
            step_ms: u64::try_from(STEP.as_millis()).unwrap_or(u64::MAX),
            requests_per_s: points().map(|point| tenths(point.requests_per_s)).collect(),
            hit_ratio: points().map(|p| p.hit_ratio.map(|r| (r * 1e4).round() / 1e4)).collect(),
            p99_us: points().map(|point| point.p99_us).collect(),
            origin_reads_per_s: points().map(|point| tenths(point.origin_reads_per_s)).collect(),
        }
    }
}

fn figures(stats: &StatsReply, growth: Option<&Growth>, shards: u16) -> Figures {
    let of = |name| stats.counter(name);
    let rate = |of: fn(&Sample) -> u64| growth.map(|growth| growth.per_s(of));
    let times = |of: fn(&Sample) -> &Times| growth.map(|g| of(&g.of).latency()).unwrap_or_default();
    let outage = Outage::of(stats);
    let database = (of("has_database") > 0).then(|| OwnDatabase {
        up: outage.is_none(),
        down_ms: outage.as_ref().map(|outage| outage.lasts_ms),
        reason: outage.map(|outage| timeline::cut(&outage.reason)),
        reads_per_s: rate(|of| of.origin_reads),
        writes_per_s: rate(|of| of.origin_writes),
        read: times(|of| &of.origin_read),
        write: times(|of| &of.origin_write),
    });
    Figures {
        version: version(stats).map(timeline::cut),
        uptime_ms: stats.uptime_ms,
        epoch: MapEpoch::from_u64(stats.map_epoch).to_string(),
        requests_per_s: rate(|of| of.requests),
        hit_ratio: growth.and_then(Growth::hit_ratio),
        hit: times(|of| &of.hit),
        miss: times(|of| &of.miss),
        write: times(|of| &of.write),
        refused_per_s: rate(|of| of.refused),
        items: of("items"),
        items_bytes: of("items_bytes"),
        memory_bytes: of("memory_bytes"),
        connections: of("connections"),
        in_flight: of("in_flight"),
        loop_lag_us: of("loop_lag_us"),
        busy: growth.map(|growth| growth.busy(shards)),
        is_leased: of("is_leased") > 0,
        is_orphan: of("is_orphan") > 0,
        database,
    }
}

/// The rate of all servers together, or `None` if none is known.
fn sum(growths: &[Growth], of: fn(&Sample) -> u64) -> Option<f64> {
    (!growths.is_empty()).then(|| growths.iter().map(|growth| growth.per_s(of)).sum())
}

fn hit_ratio(growths: &[Growth]) -> Option<f64> {
    let of = |of: fn(&Sample) -> u64| growths.iter().map(|growth| of(&growth.of)).sum();
    ratio(of(|of| of.hits), of(|of| of.misses))
}

pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
