//! What the service manager is told of a role (systemd's `sd_notify` protocol): when it serves, that it lives,
//! and that it stops. Without `NOTIFY_SOCKET` in the environment nobody is told anything.
//!
//! The watchdog is fed by what the threads publish of themselves, the same figures as in the metrics: a
//! process whose watchdog thread lives while a shard hangs is not fed.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use standin_protocol::counters::{Sample, SampleValue};
use standin_protocol::time::Micros;
use tracing::{debug, error, info};

/// The figures that tell when a thread last turned, and its name.
const AGES: [(&str, &str); 3] =
    [("shard_age_us", "shard"), ("control_age_us", "control"), ("loop_age_us", "main")];
/// The time between two status lines without a watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Says that the role serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the role stops.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Says that the role reads its files again, until [`ready`].
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Feeds the watchdog while all threads turn, and keeps the status line, from a thread of its own. If that
/// thread dies, the service manager ends the process.
pub(crate) fn watch(
    place: String,
    samples: impl Fn(Micros) -> Vec<Sample> + Send + 'static,
) -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let limit = sd_notify::watchdog_enabled();
    let every = limit.map_or(STATUS_EVERY, |limit| limit / 4);
    let run = move || {
        let mut was_stuck = false;
        loop {
            let samples = samples(Micros::boottime());
            // Half of the time is left for the manager's own delays.
            let stuck = limit.and_then(|limit| stuck(&samples, limit / 2));
            let status = match &stuck {
                Some(stuck) => stuck.clone(),
                None => format!("serving on {place}{}", summary(&samples)),
            };
            match &stuck {
                Some(stuck) if !was_stuck => {
                    error!("{stuck}; the service manager will end this process if it stays so");
                }
                None if was_stuck => info!("all threads turn again"),
                _ => {}
            }
            was_stuck = stuck.is_some();
            let status = NotifyState::Status(&status);
            match stuck {
                Some(_) => tell(&[status]),
                None => tell(&[NotifyState::Watchdog, status]),
            }
            std::thread::park_timeout(every);
        }
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(run)?;
    Ok(())
}

/// The thread that has not turned for the longest time, if that is too long.
fn stuck(samples: &[Sample], limit: Duration) -> Option<String> {
    let ages = samples.iter().filter_map(|sample| {
        let (_, thread) = AGES.iter().find(|(figure, _)| *figure == sample.figure.name)?;
        let name = [&[(*thread).to_owned()][..], &sample.labels].concat().join(" ");
        Some((Duration::from_micros(number(sample)?), name))
    });
    let (age, name) = ages.max()?;
    (age >= limit).then(|| format!("thread {name} has not turned for {:.1} s", age.as_secs_f64()))
}

/// What an operator looks for first, as far as the role has it.
fn summary(samples: &[Sample]) -> String {
    let of = |name| samples.iter().find(|sample| sample.figure.name == name).and_then(number);
    let mut summary = String::new();
    if let Some(connections) = of("connections") {
        summary.push_str(&format!("; {connections} connections"));
    }
    if of("origin_up") == Some(0) {
        summary.push_str("; the database does not answer");
    }
    if let Some(out) = of("servers_out").filter(|out| *out > 0) {
        summary.push_str(&format!("; {out} servers do not answer"));
    }
    summary
}

fn number(sample: &Sample) -> Option<u64> {
    match sample.value {
        SampleValue::Number(number) => Some(number),
        SampleValue::Histogram { .. } => None,
    }
}

/// A manager that can't be told anything ends the process itself, if it wants to.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager can't be reached at NOTIFY_SOCKET");
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::counters::{Figure, FigureKind};

    use super::*;

    fn sample(name: &'static str, label: Option<&str>, value: u64) -> Sample {
        let figure = Figure { name, kind: FigureKind::Gauge, labels: &[], help: "" };
        let labels = label.into_iter().map(str::to_owned).collect();
        Sample { figure, labels, value: SampleValue::Number(value) }
    }

    #[test]
    fn each_thread_must_have_turned() {
        let limit = Duration::from_secs(2);
        let with = |shard, control| {
            let samples = [
                sample("shard_age_us", Some("0"), 100_000),
                sample("shard_age_us", Some("1"), shard),
                sample("control_age_us", None, control),
                sample("uptime_us", None, 9_000_000),
            ];
            stuck(&samples, limit)
        };
        assert_eq!(with(1_999_999, 1_999_999), None);
        let shard = with(2_000_000, 0).expect("a shard is stuck");
        assert_eq!(shard, "thread shard 1 has not turned for 2.0 s");
        assert!(with(0, 3_000_000).expect("stuck").starts_with("thread control "));
        let of_master = [sample("loop_age_us", None, 2_500_000)];
        assert_eq!(
            stuck(&of_master, limit).expect("stuck"),
            "thread main has not turned for 2.5 s"
        );
    }

    #[test]
    fn a_summary_says_what_is_wrong() {
        let fine = [sample("connections", None, 3), sample("origin_up", None, 1)];
        assert_eq!(summary(&fine), "; 3 connections");
        assert_eq!(summary(&[sample("origin_up", None, 0)]), "; the database does not answer");
        assert_eq!(summary(&[sample("servers_out", None, 0)]), "");
        assert_eq!(summary(&[sample("servers_out", None, 2)]), "; 2 servers do not answer");
    }
}
