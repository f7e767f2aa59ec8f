//! What the conditions of an objective are about, and what was measured of it.

use hdrhistogram::Histogram;

use crate::recorder::{Counts, Window};
use crate::report::table::{millis, thousands};

/// Times are in microseconds, numbers as they are, shares in percent: of all requests those that failed, of all that was
/// judged what was stale or wrong, and of the answered reads those that came from a cache. A request for several keys is
/// one, but each of its keys is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Figure {
    Quantile(f64),
    LateP99,
    Count(Kind, Unit),
    Hits,
    /// Servers that a master has announced as out of service, because they did not answer.
    Offline,
    OfEvent(OfEvent),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Failed,
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
    pub(super) fn of(self, measured: Measured<'_>) -> Value {
        match measured {
            Measured::Run { latency, counts, late_p99_us, offline, .. } => match self {
                Self::Quantile(at) => Value::Number(latency.value_at_quantile(at) as f64),
                Self::LateP99 => Value::Number(late_p99_us as f64),
                Self::Count(kind, unit) => Value::Number(unit.of(kind, counts)),
                Self::Hits => share(counts.hits, counts.reads_answered),
                Self::Offline => Value::Number(offline as f64),
                // Nobody asks that of a whole run.
                Self::OfEvent(_) => Value::Never,
            },
            Measured::Since { window, announced_us, silence_us, offline } => match self {
                Self::Quantile(_) => Value::Number(window.max_us as f64),
                Self::Count(kind, unit) => Value::Number(unit.of(kind, &counts_of(window))),
                Self::Hits => share(window.hits, window.reads),
                Self::Offline => Value::Number(offline as f64),
                Self::OfEvent(OfEvent::FirstGood) if window.failed == 0 => Value::Nothing,
                Self::OfEvent(OfEvent::FirstGood) => window.first_good_us.into(),
                Self::OfEvent(OfEvent::LastBad) if window.last_bad_us.is_none() => Value::Nothing,
                Self::OfEvent(OfEvent::LastBad) => window.last_bad_us.into(),
                Self::OfEvent(OfEvent::Announced) => announced_us.into(),
                Self::OfEvent(OfEvent::Silence) => silence_us.into(),
                // Nobody asks that of a part.
                Self::LateP99 => Value::Never,
            },
        }
    }

    /// The figure in words, for one that was not as it should have been.
    pub(super) fn shown(self, measured: Measured<'_>) -> String {
        let time = |value| match value {
            Value::Number(us) => format!("{} ms", millis(us as u64)),
            Value::Nothing | Value::Never => "never".to_owned(),
        };
        match (self, self.of(measured)) {
            (Self::Quantile(_) | Self::LateP99 | Self::OfEvent(_), value) => time(value),
            (Self::Count(kind, _), _) => thousands(match measured {
                Measured::Run { counts, .. } => kind.of(counts),
                Measured::Since { window, .. } => kind.of(&counts_of(window)),
            }),
            (Self::Hits, Value::Number(percent)) => format!("{percent:.1} %"),
            (Self::Hits, _) => "no read was answered".to_owned(),
            (Self::Offline, Value::Number(servers)) => thousands(servers as u64),
            (Self::Offline, _) => "not known".to_owned(),
        }
    }
}

/// As far as a window has them.
fn counts_of(window: &Window) -> Counts {
    let Window { requests, failed, stale, stale_beyond, wrong, .. } = *window;
    Counts { requests, failed, stale, stale_beyond, wrong, ..Counts::default() }
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
        self != Self::Failed
    }

    /// What a share is of.
    fn whole(self, counts: &Counts) -> u64 {
        match self {
            Self::Failed => counts.requests,
            Self::Stale | Self::StaleBeyond | Self::Wrong => counts.checked,
        }
    }

    pub(super) fn of(self, counts: &Counts) -> u64 {
        match self {
            Self::Failed => counts.failed,
            Self::Stale => counts.stale,
            Self::StaleBeyond => counts.stale_beyond,
            Self::Wrong => counts.wrong,
        }
    }
}
