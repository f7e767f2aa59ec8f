//! A look at a cluster as it is shown: what the dashboard's page reads as JSON, and `standin top` draws.
//! docs/DASHBOARD.md describes each field. Times are in the unit at the end of their names; what is not known
//! is `null`.

use serde::Serialize;

/// One look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shown {
    pub(crate) version: &'static str,
    pub(crate) at_ms: u64,
    pub(crate) cluster: String,
    pub(crate) mode: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) epoch: Option<String>,
    pub(crate) master: Master,
    pub(crate) partitions: Partitions,
    pub(crate) totals: Totals,
    pub(crate) database: Option<Database>,
    pub(crate) history: History,
    pub(crate) groups: Vec<Group>,
    pub(crate) findings: Vec<Found>,
    pub(crate) events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Master {
    pub(crate) address: String,
    pub(crate) answers: bool,
    pub(crate) is_learning: bool,
}

/// Where the partitions are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Partitions {
    pub(crate) total: u32,
    pub(crate) at_home: u32,
    pub(crate) stood_in: u32,
    pub(crate) moving: u32,
    pub(crate) unowned: u32,
}

/// All servers that answer, together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Totals {
    pub(crate) requests_per_s: Option<f64>,
    pub(crate) hit_ratio: Option<f64>,
    pub(crate) all: Latency,
}

/// The database, as all servers that answer see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Database {
    pub(crate) servers: usize,
    pub(crate) down: usize,
    pub(crate) reads_per_s: Option<f64>,
    pub(crate) writes_per_s: Option<f64>,
    pub(crate) per_second_max: Option<u64>,
    pub(crate) read: Latency,
    pub(crate) write: Latency,
}

/// How long things took; `null` if there were none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) p999_us: Option<u64>,
}

/// Points of the past, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct History {
    pub(crate) step_ms: u64,
    pub(crate) requests_per_s: Vec<Option<f64>>,
    pub(crate) hit_ratio: Vec<Option<f64>>,
    pub(crate) p99_us: Vec<Option<u64>>,
    pub(crate) origin_reads_per_s: Vec<Option<f64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) servers: Vec<Server>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) state: Option<&'static str>,
    pub(crate) since_epoch: Option<String>,
    pub(crate) answers: bool,
    pub(crate) problem: Option<String>,
    pub(crate) owned: u32,
    pub(crate) home: u32,
    pub(crate) moving: u32,
    pub(crate) unowned: u32,
    pub(crate) stands_in_for: Vec<StandIn>,
    pub(crate) stood_in_by: Vec<StandIn>,
    pub(crate) is_stale: bool,
    pub(crate) age_ms: Option<u64>,
    pub(crate) figures: Option<Figures>,
}

/// The other side of a standing in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StandIn {
    pub(crate) server: String,
    pub(crate) partitions: u32,
}

/// What a server has said of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) version: Option<String>,
    pub(crate) uptime_ms: u64,
    pub(crate) epoch: String,
    pub(crate) requests_per_s: Option<f64>,
    pub(crate) hit_ratio: Option<f64>,
    pub(crate) hit: Latency,
    pub(crate) miss: Latency,
    pub(crate) write: Latency,
    pub(crate) refused_per_s: Option<f64>,
    pub(crate) items: u64,
    pub(crate) items_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) connections: u64,
    pub(crate) in_flight: u64,
    pub(crate) loop_lag_us: u64,
    pub(crate) busy: Option<f64>,
    pub(crate) is_leased: bool,
    pub(crate) is_orphan: bool,
    pub(crate) database: Option<OwnDatabase>,
}

/// The database, as one server sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OwnDatabase {
    pub(crate) up: bool,
    pub(crate) down_ms: Option<u64>,
    pub(crate) reason: Option<String>,
    pub(crate) reads_per_s: Option<f64>,
    pub(crate) writes_per_s: Option<f64>,
    pub(crate) read: Latency,
    pub(crate) write: Latency,
}

/// One sentence about what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    pub(crate) severity: &'static str,
    pub(crate) text: String,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    pub(crate) at_ms: u64,
    pub(crate) severity: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) server: Option<String>,
    pub(crate) text: String,
}
