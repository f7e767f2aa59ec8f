//! What the conditions of an objective are about, and what was measured of it.

use hdrhistogram::Histogram;

use crate::observer::told::Risen;
use crate::recorder::{Counts, FAILURE_KINDS, Window};
use crate::report::table::{millis, thousands};

/// Times are in microseconds, numbers as they are, shares in percent: of all requests those that failed, of all that was
/// judged what was stale or wrong, and of the answered reads those that came from a cache. A request for several keys is
/// one, but each of its keys is judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Figure {
    Quantile(f64),
    LateP99,
    Count(Kind, Unit),
    Hits,
    /// Servers that a master has announced as out of service, because they did not answer.
    Offline,
    OfEvent(OfEvent),
    /// Rows that the database was asked for in the busiest second.
    OriginReads(Rate),
    /// By how much a counter has risen.
    Counter {
        name: String,
        /// `None`: of all servers together.
        server: Option<String>,
    },
}

/// How a rate is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    PerSecond,
    /// In multiples of what it was before the first event.
    Times,
}

/// Some kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(pub(super) [bool; FAILURE_KINDS]);

impl Kinds {
    pub(super) const ALL: Self = Self([true; FAILURE_KINDS]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Failed(Kinds),
    Stale,
    StaleBeyond,
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    Percent,
}

/// Times from an event on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfEvent {
    /// The first good answer for a key of which a request had failed.
    FirstGood,
    /// The last request that failed, or was stale or wrong.
    LastBad,
    /// The announcement that the server concerned is out of service.
    Announced,
    /// The longest time without a good answer.
    Silence,
    /// A good answer to each load thread.
    AllAnswered,
}

/// What the database was asked for, in rows per second; `None`: that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::load) struct OriginReads {
    /// In the busiest second.
    pub(in crate::load) peak: Option<f64>,
    /// Before the first event.
    pub(in crate::load) before: Option<f64>,
}

impl OriginReads {
    fn of(self, rate: Rate) -> Value {
        let number = match rate {
            Rate::PerSecond => self.peak,
            Rate::Times => self.times(),
        };
        number.map_or(Value::Never, Value::Number)
    }

    fn times(self) -> Option<f64> {
        let (peak, before) = self.peak.zip(self.before.filter(|before| *before > 0.0))?;
        Some(peak / before)
    }
}

/// What an objective judges.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) enum Measured<'r> {
    /// A whole run.
    Run {
        /// From when requests were due.
        latency: &'r Histogram<u64>,
        /// The times from sending to the end, without the lateness of the generator.
        service: &'r Histogram<u64>,
        /// Everything that was counted.
        counts: &'r Counts,
        /// The lateness of sending at its 99th percentile.
        late_p99_us: u64,
        /// Servers that were announced as out of service.
        offline: u64,
        /// The load of the database.
        origin: OriginReads,
        /// By how much counters of the servers have risen.
        risen: &'r Risen,
    },
    /// The requests that were due between an event and the next.
    Since {
        /// What was counted of them.
        window: &'r Window,
        /// From the event to the announcement that its server is out of service.
        announced_us: Option<u64>,
        /// The longest time without a good answer for the keys concerned.
        silence_us: Option<u64>,
        /// Servers that were announced as out of service in this time.
        offline: u64,
        /// The load of the database.
        origin: OriginReads,
    },
}

/// A figure that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Number(f64),
    /// What was to end in time has not begun: nothing failed, or was bad.
    Nothing,
    /// What was to happen has not.
    Never,
}

impl From<Option<u64>> for Value {
    fn from(time: Option<u64>) -> Self {
        time.map_or(Self::Never, |us| Self::Number(us as f64))
    }
}

impl Figure {
    pub(super) fn of(&self, measured: Measured<'_>) -> Value {
        match measured {
            Measured::Run { latency, counts, late_p99_us, offline, origin, risen, .. } => {
                match self {
                    Self::Quantile(at) => Value::Number(latency.value_at_quantile(*at) as f64),
                    Self::LateP99 => Value::Number(late_p99_us as f64),
                    Self::Count(kind, _) if kind.is_unjudged(counts) => Value::Never,
                    Self::Count(kind, unit) => Value::Number(unit.of(*kind, counts)),
                    Self::OriginReads(rate) => origin.of(*rate),
                    Self::Counter { name, server } => rise(risen, name, server.as_deref()),
                    Self::Hits => share(counts.hits, counts.reads_answered),
                    Self::Offline => Value::Number(offline as f64),
                    // Nobody asks that of a whole run.
                    Self::OfEvent(_) => Value::Never,
                }
            }
            Measured::Since { window, announced_us, silence_us, offline, origin } => match self {
                Self::Quantile(_) => Value::Number(window.max_us as f64),
                Self::Count(kind, _) if kind.is_unjudged(&counts_of(window)) => Value::Never,
                Self::Count(kind, unit) => Value::Number(unit.of(*kind, &counts_of(window))),
                Self::OriginReads(rate) => origin.of(*rate),
                Self::Hits => share(window.hits, window.reads),
                Self::Offline => Value::Number(offline as f64),
                Self::OfEvent(OfEvent::FirstGood) if window.failed == 0 => Value::Nothing,
                Self::OfEvent(OfEvent::FirstGood) => window.first_good_us.into(),
                Self::OfEvent(OfEvent::LastBad) if window.last_bad_us.is_none() => Value::Nothing,
                Self::OfEvent(OfEvent::LastBad) => window.last_bad_us.into(),
                Self::OfEvent(OfEvent::Announced) => announced_us.into(),
                Self::OfEvent(OfEvent::Silence) => silence_us.into(),
                Self::OfEvent(OfEvent::AllAnswered) if window.unanswered > 0 => Value::Never,
                Self::OfEvent(OfEvent::AllAnswered) => window.all_answered_us.into(),
                // Nobody asks that of a part.
                Self::LateP99 | Self::Counter { .. } => Value::Never,
            },
        }
    }

    /// The figure in words, for one that was not as it should have been.
    pub(super) fn shown(&self, measured: Measured<'_>) -> String {
        let time = |value| match value {
            Value::Number(us) => format!("{} ms", millis(us as u64)),
            Value::Nothing | Value::Never => "never".to_owned(),
        };
        match (self, self.of(measured)) {
            (Self::Quantile(_) | Self::LateP99 | Self::OfEvent(_), value) => time(value),
            (Self::Count(..), Value::Never) => "no read was judged".to_owned(),
            (Self::Count(kind, _), _) => thousands(match measured {
                Measured::Run { counts, .. } => kind.of(counts),
                Measured::Since { window, .. } => kind.of(&counts_of(window)),
            }),
            (Self::Hits, Value::Number(percent)) => format!("{percent:.1} %"),
            (Self::Hits, _) => "no read was answered".to_owned(),
            (Self::Offline, Value::Number(servers)) => thousands(servers as u64),
            (Self::OriginReads(Rate::PerSecond), Value::Number(rate)) => format!("{rate:.0}/s"),
            (Self::OriginReads(Rate::Times), Value::Number(times)) => {
                let (Measured::Run { origin, .. } | Measured::Since { origin, .. }) = measured;
                let [peak, before] = [origin.peak, origin.before].map(Option::unwrap_or_default);
                format!("{times:.2}x ({peak:.0}/s, and {before:.0}/s before)")
            }
            (Self::Counter { .. }, Value::Number(by)) => thousands(by as u64),
            (Self::Counter { server: None, .. }, _) => "no server has told it".to_owned(),
            (Self::Counter { .. }, _) => "that server has not told it".to_owned(),
            (Self::Offline | Self::OriginReads(_), _) => "not known".to_owned(),
        }
    }
}

/// As far as a window has them.
fn counts_of(window: &Window) -> Counts {
    let Window { requests, failed, stale, stale_beyond, wrong, failures, checked, .. } = *window;
    Counts { requests, failed, stale, stale_beyond, wrong, failures, checked, ..Counts::default() }
}

fn rise(risen: &Risen, name: &str, server: Option<&str>) -> Value {
    let Some(by) = risen.get(name) else { return Value::Never };
    match server {
        None => Value::Number(by.values().sum::<u64>() as f64),
        Some(server) => by.get(server).map_or(Value::Never, |by| Value::Number(*by as f64)),
    }
}

fn share(part: u64, whole: u64) -> Value {
    match whole {
        0 => Value::Never,
        _ => Value::Number(part as f64 * 100.0 / whole as f64),
    }
}

impl Unit {
    pub(super) fn of(self, kind: Kind, counts: &Counts) -> f64 {
        let number = kind.of(counts) as f64;
        match self {
            Self::Number => number,
            Self::Percent => number * 100.0 / kind.whole(counts).max(1) as f64,
        }
    }
}

impl Kind {
    pub(super) fn is_about_reads(self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    /// Whether it says nothing, because nothing was judged that could have been bad.
    fn is_unjudged(self, counts: &Counts) -> bool {
        self.is_about_reads() && counts.checked == 0 && self.of(counts) == 0
    }

    /// What a share is of.
    fn whole(self, counts: &Counts) -> u64 {
        match self {
            Self::Failed(_) => counts.requests,
            Self::Stale | Self::StaleBeyond | Self::Wrong => counts.checked,
        }
    }

    pub(super) fn of(self, counts: &Counts) -> u64 {
        match self {
            Self::Failed(Kinds::ALL) => counts.failed,
            Self::Failed(Kinds(of)) => counts
                .failures
                .iter()
                .zip(of)
                .filter(|(_, is_meant)| *is_meant)
                .map(|(n, _)| n)
                .sum(),
            Self::Stale => counts.stale,
            Self::StaleBeyond => counts.stale_beyond,
            Self::Wrong => counts.wrong,
        }
    }
}
