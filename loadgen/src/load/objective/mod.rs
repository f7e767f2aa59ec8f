//! An objective: what a run must keep, such as `p99<1ms,failed=0`. A search looks for the highest rate that keeps one, and
//! a scenario expects some of its run, or of what followed one of its faults.
//!
//! ```text
//! figure.rs   what conditions are about: names, and what was measured
//! expect.rs   [[expect]] of a scenario, and whether it was kept
//! ```

pub(super) mod expect;
pub(super) mod figure;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use figure::{Figure, Kind, Kinds, Measured, OfEvent, Rate, Unit, Value};

use crate::recorder::{Counts, FAILURE_KINDS, FailureKind};
use crate::report::table::thousands;

/// Everything that can be asked for.
const KNOWN: &str = "write conditions separated by commas: p50<…, p90<…, p95<…, p99<…, p99.9<…, p99.99<… (or any other \
                     percentile), max<… and late<… (the lateness of sending at its 99th percentile) with a time such \
                     as 1ms or 500us; failed=0, stale=0, stale_beyond=0 and wrong=0, or with < or <= a number or a share \
                     such as 0.1% (of the requests, or of the reads that were judged); failed:KIND+KIND=0, failures of some \
                     kinds, and failed:-KIND-KIND=0, of all others; hits>90%; and what a scenario expects: offline=0, \
                     origin_reads<500/s or <2x, server:COUNTER=0, server:COUNTER@SERVER>0, and of one of its faults \
                     first_good<…, last_bad<…, silence<…, all_answered<… and announced<…";

/// A search that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Find {
    /// What is to be kept.
    pub objective: Objective,
    /// The largest difference of the result to the rate that misses the objective, in percent.
    pub resolution_percent: f64,
    /// The pause between two measurements.
    pub settle: Duration,
}

/// Conditions, all of which must be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    text: String,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    text: String,
    figure: Figure,
    comparison: Comparison,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Equal,
    Above,
    AtLeast,
}

/// A condition that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Miss {
    /// The condition and the figure.
    pub(super) text: String,
    /// Whether only the lateness of the generator was too much.
    pub(super) is_by_lateness: bool,
}

impl Objective {
    /// The conditions that are not kept.
    pub(super) fn misses(&self, measured: Measured<'_>) -> Vec<Miss> {
        let missed = self.conditions.iter().filter(|one| !one.is_kept(one.figure.of(measured)));
        let miss = |one: &Condition| Miss {
            text: format!("{}: {}", one.text, one.figure.shown(measured)),
            is_by_lateness: match (&one.figure, measured) {
                (Figure::LateP99, _) => true,
                (Figure::Quantile(quantile), Measured::Run { service, .. }) => {
                    one.is_kept(Value::Number(service.value_at_quantile(*quantile) as f64))
                }
                _ => false,
            },
        };
        missed.map(miss).collect()
    }

    /// The conditions on reads that these counts do not keep.
    pub(super) fn misses_of_reads(&self, counts: &Counts) -> Vec<String> {
        let about_reads = self.conditions.iter().filter_map(|one| match &one.figure {
            Figure::Count(kind, unit) if kind.is_about_reads() => Some((one, *kind, *unit)),
            _ => None,
        });
        let missed = about_reads
            .filter(|(one, kind, unit)| !one.is_kept(Value::Number(unit.of(*kind, counts))));
        missed
            .map(|(one, kind, _)| format!("{}: {}", one.text, thousands(kind.of(counts))))
            .collect()
    }

    /// The percentiles of which this number of requests has no other value than the longest latency.
    pub(super) fn too_fine_for(&self, requests: u64) -> Vec<&str> {
        let is_too_fine = |one: &&Condition| match one.figure {
            // A hair less than one, because of rounding.
            Figure::Quantile(quantile) if quantile < 1.0 => {
                (1.0 - quantile) * (requests as f64) < 0.999
            }
            _ => false,
        };
        self.conditions.iter().filter(is_too_fine).map(|one| one.text.as_str()).collect()
    }

    /// Whether it says how many requests may fail.
    pub(super) fn is_about_failures(&self) -> bool {
        let all = Kind::Failed(Kinds::ALL);
        self.conditions
            .iter()
            .any(|one| matches!(one.figure, Figure::Count(kind, _) if kind == all))
    }

    /// Whether it has conditions on reads, which must be checked for that.
    #[must_use]
    pub fn is_about_reads(&self) -> bool {
        let is =
            |one: &Condition| matches!(one.figure, Figure::Count(kind, _) if kind.is_about_reads());
        self.conditions.iter().any(is)
    }

    /// Whether it has conditions that only a run with faults has figures for.
    #[must_use]
    pub fn is_about_faults(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|one| matches!(one.figure, Figure::OfEvent(_) | Figure::Offline))
    }

    /// Whether it has conditions on what a search does not look at: the load of the database, and servers' counters.
    #[must_use]
    pub fn is_about_others(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|one| matches!(one.figure, Figure::OriginReads(_) | Figure::Counter { .. }))
    }

    /// Whether it compares with what was before the first event.
    pub(super) fn compares(&self) -> bool {
        let is = |one: &Condition| one.figure == Figure::OriginReads(Rate::Times);
        self.conditions.iter().any(is)
    }

    /// Whether it has conditions about the load of a database.
    pub(super) fn is_about_databases(&self) -> bool {
        self.conditions.iter().any(|one| matches!(one.figure, Figure::OriginReads(_)))
    }

    /// Whether it needs what the master of a cluster announces of a server.
    pub(super) fn announces(&self) -> bool {
        self.conditions.iter().any(|one| one.figure == Figure::OfEvent(OfEvent::Announced))
    }

    /// The names of the counters of servers that it has conditions on.
    pub(super) fn counters(&self) -> impl Iterator<Item = String> + '_ {
        self.conditions.iter().filter_map(|one| match &one.figure {
            Figure::Counter { name, .. } => Some(name.clone()),
            _ => None,
        })
    }

    /// Whether it has conditions about what the master of a cluster announces.
    pub(super) fn is_about_masters(&self) -> bool {
        let of_masters = [Figure::OfEvent(OfEvent::Announced), Figure::Offline];
        self.conditions.iter().any(|one| of_masters.contains(&one.figure))
    }

    /// The first condition of which there is a figure only behind an event.
    pub(super) fn only_of_events(&self) -> Option<&str> {
        let mut conditions = self.conditions.iter();
        let found = conditions.find(|one| matches!(one.figure, Figure::OfEvent(_)));
        found.map(|one| one.text.as_str())
    }

    /// The first condition of which there is a figure only of a whole run.
    pub(super) fn only_of_runs(&self) -> Option<&str> {
        let is_of_runs = |one: &&Condition| match &one.figure {
            Figure::LateP99 => true,
            Figure::Quantile(quantile) => *quantile < 1.0,
            Figure::Count(kind, unit) => kind.is_about_reads() && *unit == Unit::Percent,
            Figure::Counter { .. } => true,
            Figure::Hits | Figure::Offline | Figure::OfEvent(_) | Figure::OriginReads(_) => false,
        };
        self.conditions.iter().find(is_of_runs).map(|one| one.text.as_str())
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    fn is_kept(&self, value: Value) -> bool {
        let figure = match value {
            Value::Number(figure) => figure,
            Value::Nothing => return true,
            Value::Never => return false,
        };
        match self.comparison {
            Comparison::Below => figure < self.limit,
            Comparison::AtMost => figure <= self.limit,
            Comparison::Equal => (figure - self.limit).abs() < f64::EPSILON,
            Comparison::Above => figure > self.limit,
            Comparison::AtLeast => figure >= self.limit,
        }
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions: Result<Vec<_>, _> = text.split(',').map(condition).collect();
        Ok(Self { text: text.trim().to_owned(), conditions: conditions? })
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let text = text.trim();
    let wrong = |what: &str| format!("{text:?}: {what}; {KNOWN}");
    let at = text.find(['<', '=', '>']).ok_or_else(|| wrong("this is no condition"))?;
    let (name, rest) = text.split_at(at);
    let signs = [
        ("<=", Comparison::AtMost),
        ("<", Comparison::Below),
        ("==", Comparison::Equal),
        ("=", Comparison::Equal),
        (">=", Comparison::AtLeast),
        (">", Comparison::Above),
    ];
    let mut signs = signs.into_iter();
    let found = signs.find_map(|(sign, is)| Some((is, rest.strip_prefix(sign)?)));
    let (comparison, value) = found.ok_or_else(|| wrong("this is no condition"))?;
    // Names of counters and servers are as the servers have them.
    let (given, value) = (name.trim(), value.trim());
    let name = given.to_ascii_lowercase();
    let is_at_least = matches!(comparison, Comparison::Above | Comparison::AtLeast);
    let counter = given.strip_prefix("server:");
    if counter.is_none() && is_at_least != (name == "hits") {
        return Err(match is_at_least {
            true => wrong("only <, <= and = are known"),
            false => wrong("write > or >="),
        });
    }
    let (figure, limit) = match name.as_str() {
        _ if counter.is_some() => {
            let (name, server) = match counter.unwrap_or_default().split_once('@') {
                Some((name, server)) => (name.trim(), Some(server.trim())),
                None => (counter.unwrap_or_default().trim(), None),
            };
            if name.is_empty() || server.is_some_and(str::is_empty) {
                return Err(wrong("the counter or the server has no name"));
            }
            let server = server.map(str::to_owned);
            (Figure::Counter { name: name.to_owned(), server }, whole(value))
        }
        "failed" => count(Kind::Failed(Kinds::ALL), value),
        _ if name.starts_with("failed:") => {
            let kinds = kinds(&name["failed:".len()..]).map_err(|error| wrong(&error))?;
            count(Kind::Failed(kinds), value)
        }
        "origin_reads" => match (value.strip_suffix('x'), value.strip_suffix("/s")) {
            (Some(times), _) => (Figure::OriginReads(Rate::Times), number(times)),
            (None, Some(rate)) => (Figure::OriginReads(Rate::PerSecond), number(rate)),
            (None, None) => return Err(wrong("write a rate such as 500/s, or 2x")),
        },
        "stale" => count(Kind::Stale, value),
        "stale_beyond" => count(Kind::StaleBeyond, value),
        "wrong" => count(Kind::Wrong, value),
        "offline" => (Figure::Offline, whole(value)),
        "hits" => (Figure::Hits, value.strip_suffix('%').and_then(percent)),
        _ => {
            let figure = match name.as_str() {
                "max" => Figure::Quantile(1.0),
                "late" | "lateness" => Figure::LateP99,
                "first_good" => Figure::OfEvent(OfEvent::FirstGood),
                "last_bad" => Figure::OfEvent(OfEvent::LastBad),
                "silence" => Figure::OfEvent(OfEvent::Silence),
                "all_answered" => Figure::OfEvent(OfEvent::AllAnswered),
                "announced" => Figure::OfEvent(OfEvent::Announced),
                _ => Figure::Quantile(
                    quantile(&name).ok_or_else(|| wrong("this figure is not known"))?,
                ),
            };
            if comparison == Comparison::Equal {
                return Err(wrong("a time is never exactly another; write <"));
            }
            let limit: Option<Duration> = humantime::parse_duration(value).ok();
            let limit = limit.ok_or_else(|| wrong("the time has no unit, or is none"))?;
            (figure, Some(limit.as_secs_f64() * 1e6))
        }
    };
    let limit = limit.ok_or_else(|| match figure {
        Figure::Hits => wrong("this is no share in percent"),
        _ => wrong("this is no number, and no share in percent"),
    })?;
    if comparison == Comparison::Equal && limit > 0.0 && counter.is_none() {
        return Err(wrong("only 0 is asked for exactly; write <="));
    }
    if comparison == Comparison::Below && limit <= 0.0 {
        return Err(wrong("nothing is below 0"));
    }
    if figure == Figure::Hits && comparison == Comparison::Above && limit >= 100.0 {
        return Err(wrong("nothing is above 100%"));
    }
    Ok(Condition { text: text.to_owned(), figure, comparison, limit })
}

/// A number or a share.
fn count(kind: Kind, value: &str) -> (Figure, Option<f64>) {
    match value.strip_suffix('%') {
        Some(number) => (Figure::Count(kind, Unit::Percent), percent(number)),
        None => (Figure::Count(kind, Unit::Number), whole(value)),
    }
}

/// `KIND+KIND`, or `-KIND-KIND`: all but these.
fn kinds(text: &str) -> Result<Kinds, String> {
    let but = text.strip_prefix('-');
    let sign = if but.is_some() { '-' } else { '+' };
    let mut kinds = [but.is_some(); FAILURE_KINDS];
    for name in but.unwrap_or(text).split(sign).map(str::trim) {
        let kind = FailureKind::ALL.iter().position(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| {
            let known: Vec<&str> = FailureKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no kind {name:?}; the kinds are {}", known.join(", "))
        })?;
        kinds[kind] = but.is_none();
    }
    Ok(Kinds(kinds))
}

fn number(text: &str) -> Option<f64> {
    text.trim_end().parse().ok().filter(|number| (0.0..=1e15).contains(number))
}

fn percent(number: &str) -> Option<f64> {
    number.trim_end().parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

fn whole(number: &str) -> Option<f64> {
    let is_whole = |number: &f64| (0.0..=1e15).contains(number) && number.fract() == 0.0;
    number.parse().ok().filter(is_whole)
}

/// `p99.9`, or in short `p999`.
fn quantile(name: &str) -> Option<f64> {
    let digits = name.strip_prefix('p')?;
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let percent: f64 = match digits {
        "999" => 99.9,
        "9999" => 99.99,
        "99999" => 99.999,
        _ if digits.chars().all(is_digit) => digits.parse().ok()?,
        _ => return None,
    };
    // Rounded once: 99.9 / 100 is more than 0.999.
    (percent > 0.0 && percent < 100.0).then_some((percent * 1e9).round() / 1e11)
}
