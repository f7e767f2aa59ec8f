//! An objective: what a run must keep, such as `p99<1ms,failed=0`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::recorder::Counts;
use crate::report::table::{millis, thousands};

/// Everything that can be asked for.
const KNOWN: &str = "write conditions separated by commas: p50<…, p90<…, p95<…, p99<…, p99.9<…, p99.99<… (or any other \
                     percentile), max<… and late<… (the lateness of sending at its 99th percentile) with a time such \
                     as 1ms or 500us; failed=0, stale=0 and wrong=0, or with < or <= a number or a share such as 0.1% \
                     (of the requests, or of the reads that were judged)";

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

/// Times are in microseconds, numbers as they are, shares in percent: of all requests those that failed, and of all that
/// was judged what was stale or wrong. A request for several keys is one, but each of its keys is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Quantile(f64),
    LateP99,
    Count(Kind, Unit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Stale,
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Number,
    Percent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Equal,
}

/// The measurements that an objective judges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'r> {
    pub(super) latency: &'r Histogram<u64>,
    /// The times from sending to the end, without the lateness of the generator.
    pub(super) service: &'r Histogram<u64>,
    pub(super) counts: &'r Counts,
    pub(super) late_p99_us: u64,
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
            is_by_lateness: match one.figure {
                Figure::LateP99 => true,
                Figure::Quantile(quantile) => {
                    one.is_kept(measured.service.value_at_quantile(quantile) as f64)
                }
                Figure::Count(..) => false,
            },
        };
        missed.map(miss).collect()
    }

    /// The conditions on reads that these counts do not keep.
    pub(super) fn misses_of_reads(&self, counts: &Counts) -> Vec<String> {
        let about_reads = self.conditions.iter().filter_map(|one| match one.figure {
            Figure::Count(kind @ (Kind::Stale | Kind::Wrong), unit) => Some((one, kind, unit)),
            _ => None,
        });
        let missed = about_reads.filter(|(one, kind, unit)| !one.is_kept(unit.of(*kind, counts)));
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
        self.conditions.iter().any(|one| matches!(one.figure, Figure::Count(Kind::Failed, _)))
    }

    /// Whether it has conditions on reads, which must be checked for that.
    #[must_use]
    pub fn is_about_reads(&self) -> bool {
        let is =
            |one: &Condition| matches!(one.figure, Figure::Count(Kind::Stale | Kind::Wrong, _));
        self.conditions.iter().any(is)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    fn is_kept(&self, figure: f64) -> bool {
        match self.comparison {
            Comparison::Below => figure < self.limit,
            Comparison::AtMost => figure <= self.limit,
            Comparison::Equal => (figure - self.limit).abs() < f64::EPSILON,
        }
    }
}

impl Figure {
    fn of(self, measured: Measured<'_>) -> f64 {
        match self {
            Self::Quantile(quantile) => measured.latency.value_at_quantile(quantile) as f64,
            Self::LateP99 => measured.late_p99_us as f64,
            Self::Count(kind, unit) => unit.of(kind, measured.counts),
        }
    }

    fn shown(self, measured: Measured<'_>) -> String {
        match self {
            Self::Quantile(_) | Self::LateP99 => format!("{} ms", millis(self.of(measured) as u64)),
            Self::Count(kind, _) => thousands(kind.of(measured.counts)),
        }
    }
}

impl Unit {
    fn of(self, kind: Kind, counts: &Counts) -> f64 {
        let number = kind.of(counts) as f64;
        match self {
            Self::Number => number,
            Self::Percent => number * 100.0 / kind.whole(counts).max(1) as f64,
        }
    }
}

impl Kind {
    /// What a share is of.
    fn whole(self, counts: &Counts) -> u64 {
        match self {
            Self::Failed => counts.requests,
            Self::Stale | Self::Wrong => counts.checked,
        }
    }

    fn of(self, counts: &Counts) -> u64 {
        match self {
            Self::Failed => counts.failed,
            Self::Stale => counts.stale,
            Self::Wrong => counts.wrong,
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
    let (comparison, value) = match rest {
        _ if rest.starts_with("<=") => (Comparison::AtMost, &rest[2..]),
        _ if rest.starts_with('<') => (Comparison::Below, &rest[1..]),
        _ if rest.starts_with("==") => (Comparison::Equal, &rest[2..]),
        _ if rest.starts_with('=') => (Comparison::Equal, &rest[1..]),
        _ => return Err(wrong("only <, <= and = are known")),
    };
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let kind = match name.as_str() {
        "failed" => Some(Kind::Failed),
        "stale" => Some(Kind::Stale),
        "wrong" => Some(Kind::Wrong),
        _ => None,
    };
    let (figure, limit) = if let Some(kind) = kind {
        let (number, unit) = match value.strip_suffix('%') {
            Some(number) => (number.trim_end(), Unit::Percent),
            None => (value, Unit::Number),
        };
        let is_good = |limit: &f64| match unit {
            Unit::Number => (0.0..=1e15).contains(limit) && limit.fract() == 0.0,
            Unit::Percent => (0.0..=100.0).contains(limit),
        };
        let limit = number.parse().ok().filter(is_good);
        let limit: f64 =
            limit.ok_or_else(|| wrong("this is no number, and no share in percent"))?;
        if comparison == Comparison::Equal && limit > 0.0 {
            return Err(wrong("only 0 is asked for exactly; write <="));
        }
        (Figure::Count(kind, unit), limit)
    } else {
        let figure = match name.as_str() {
            "max" => Figure::Quantile(1.0),
            "late" | "lateness" => Figure::LateP99,
            _ => {
                Figure::Quantile(quantile(&name).ok_or_else(|| wrong("this figure is not known"))?)
            }
        };
        if comparison == Comparison::Equal {
            return Err(wrong("a time is never exactly another; write <"));
        }
        let limit: Option<Duration> = humantime::parse_duration(value).ok();
        let limit = limit.ok_or_else(|| wrong("the time has no unit, or is none"))?;
        (figure, limit.as_secs_f64() * 1e6)
    };
    let is_never = comparison == Comparison::Below && limit <= 0.0;
    if is_never {
        return Err(wrong("nothing is below 0"));
    }
    Ok(Condition { text: text.to_owned(), figure, comparison, limit })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    fn objective(text: &str) -> Objective {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn each_condition_is_judged_by_its_figure() {
        let mut latency = histogram();
        latency.record_n(100, 990).unwrap();
        latency.record_n(1_000, 9).unwrap();
        latency.record(5_000).unwrap();
        let counts =
            Counts { requests: 1_000, checked: 200, failed: 2, stale: 1, ..Counts::default() };
        let service = &histogram();
        let measured = Measured { latency: &latency, service, counts: &counts, late_p99_us: 150 };
        for (text, is_kept) in [
            ("p50<101us", true),
            ("p50 < 100us", false),
            ("p50<=100us", true),
            ("p99<=100us,p99.9<=1ms,p999<=1ms", true),
            ("p99.99<1ms", false),
            ("max<5ms", false),
            ("max<6ms", true),
            ("late<200us,lateness<200us", true),
            ("late<=149us", false),
            ("failed=0", false),
            ("failed<=2", true),
            ("failed<2", false),
            ("failed<0.3%", true),
            ("failed<0.2%", false),
            ("stale=0", false),
            ("stale<0.5%", false),
            ("stale<=0.5%", true),
            ("wrong==0", true),
        ] {
            let misses = objective(text).misses(measured);
            assert_eq!(misses.is_empty(), is_kept, "{text}: {misses:?}");
        }
        let misses = objective("p50<50us,failed=0,max<1s").misses(measured);
        let texts: Vec<_> = misses.iter().map(|miss| miss.text.as_str()).collect();
        assert_eq!(texts, ["p50<50us: 0.10 ms", "failed=0: 2"]);
        let of_reads = objective("p50<50us,failed=0,stale=0,wrong=0").misses_of_reads(&counts);
        assert_eq!(of_reads, ["stale=0: 1"]);
        assert!(objective("stale=0").is_about_reads() && !objective("max<1s").is_about_reads());
    }

    #[test]
    fn a_miss_of_lateness_alone_is_told_apart() {
        let (mut latency, mut service) = (histogram(), histogram());
        latency.record_n(240, 100).unwrap();
        service.record_n(90, 100).unwrap();
        let counts = Counts { requests: 100, failed: 1, ..Counts::default() };
        let (latency, service) = (&latency, &service);
        let measured = Measured { latency, service, counts: &counts, late_p99_us: 150 };
        for (text, is_by_lateness) in [
            ("p99<200us", true),
            ("max<=100us", true),
            ("p99<90us", false),
            ("late<100us", true),
            ("failed=0", false),
        ] {
            let misses = objective(text).misses(measured);
            assert_eq!(misses.len(), 1, "{text}");
            assert_eq!(misses[0].is_by_lateness, is_by_lateness, "{text}");
        }
    }

    #[test]
    fn a_percentile_needs_requests_beyond_it() {
        let objective = objective("p50<1s,p99<1s,p99.99<1s,max<1s");
        assert_eq!(objective.too_fine_for(10), ["p99<1s", "p99.99<1s"]);
        assert_eq!(objective.too_fine_for(9_900), ["p99.99<1s"]);
        assert!(objective.too_fine_for(10_000).is_empty());
    }

    #[test]
    fn what_is_no_objective_is_refused_with_what_there_is() {
        for (text, what) in [
            ("", "no condition"),
            ("p99<1ms,", "no condition"),
            ("p99", "no condition"),
            ("p99>1ms", "only <"),
            ("p99=1ms", "write <"),
            ("p99<1", "no unit"),
            ("p99<x", "no unit"),
            ("p99<0ms", "below 0"),
            ("p100<1ms", "not known"),
            ("p0<1ms", "not known"),
            ("pinf<1ms", "not known"),
            ("latency<1ms", "not known"),
            ("<1ms", "not known"),
            ("failed=-1", "no number"),
            ("failed=0.5", "no number"),
            ("failed=2", "write <="),
            ("stale=1%", "write <="),
            ("failed<101%", "no number"),
            ("failed<0", "below 0"),
        ] {
            let error = text.parse::<Objective>().unwrap_err();
            assert!(error.contains(what) && error.contains("p99.9<"), "{text:?}: {error}");
        }
    }
}
