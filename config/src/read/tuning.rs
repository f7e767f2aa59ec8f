//! `[timings]` and `[limits]`, and the timings that would defeat each other.

use std::time::Duration;

use standin_protocol::frame::VALUE_BYTES_MAX;

use crate::mistake::Report;
use crate::model::{Limits, Timings};
use crate::section::{At, Section};
use crate::units::format_duration;

/// No timing may be outside of this: below it every machine is late, above it nobody waits.
const TIMING_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3_600);

/// `[timings]`, as far as it is right.
pub(super) struct TimingsRead {
    pub(super) complete: Option<Timings>,
    pub(super) operation_timeout: Option<At<Duration>>,
}

/// `[limits]`, as far as it is right.
pub(super) struct LimitsRead {
    pub(super) complete: Option<Limits>,
    pub(super) value_bytes: Option<At<u32>>,
}

pub(super) fn read_timings(mut section: Section<'_>, report: &mut Report<'_>) -> TimingsRead {
    let default = Timings::default();
    let mut duration = |key, default, report: &mut Report<'_>| {
        section.duration(key, TIMING_RANGE, default, report)
    };
    let mut found = TimingsFound {
        attempt_timeout: duration("attempt_timeout", default.attempt_timeout, report),
        failover_hold: duration("failover_hold", default.failover_hold, report),
        operation_timeout: duration("operation_timeout", default.operation_timeout, report),
        connect_timeout: duration("connect_timeout", default.connect_timeout, report),
        forward_timeout: duration("forward_timeout", default.forward_timeout, report),
        renew_interval: duration("renew_interval", default.renew_interval, report),
        probe_timeout: duration("probe_timeout", default.probe_timeout, report),
        recheck_interval: duration("recheck_interval", default.recheck_interval, report),
        lease: duration("lease", default.lease, report),
        announce_resend: duration("announce_resend", default.announce_resend, report),
        drain_timeout: duration("drain_timeout", default.drain_timeout, report),
        attempts: None,
        probe_attempts: None,
    };
    found.attempts = section.whole("attempts", 1..=100, default.attempts, report);
    found.probe_attempts = section.whole("probe_attempts", 1..=100, default.probe_attempts, report);
    found.check(Place { section_at: section.at() }, report);
    section.finish(report);
    TimingsRead { complete: found.complete(), operation_timeout: found.operation_timeout }
}

/// The timings as found in the section; `None` where something is wrong with a value.
struct TimingsFound {
    attempt_timeout: Option<At<Duration>>,
    failover_hold: Option<At<Duration>>,
    operation_timeout: Option<At<Duration>>,
    connect_timeout: Option<At<Duration>>,
    forward_timeout: Option<At<Duration>>,
    renew_interval: Option<At<Duration>>,
    probe_timeout: Option<At<Duration>>,
    recheck_interval: Option<At<Duration>>,
    lease: Option<At<Duration>>,
    announce_resend: Option<At<Duration>>,
    drain_timeout: Option<At<Duration>>,
    attempts: Option<At<u32>>,
    probe_attempts: Option<At<u32>>,
}

impl TimingsFound {
    /// Checks the timings against each other, as far as they could be read.
    fn check(&self, place: Place, report: &mut Report<'_>) {
        if let (Some(attempts), Some(attempt), Some(operation)) =
            (self.attempts, self.attempt_timeout, self.operation_timeout)
        {
            check_attempts(attempts, attempt, operation, place, report);
        }
        if let (Some(renew), Some(lease)) = (self.renew_interval, self.lease) {
            check_lease(renew, lease, place, report);
        }
        if let (Some(forward), Some(attempt)) = (self.forward_timeout, self.attempt_timeout)
            && forward.value > attempt.value
        {
            report.warning(
                place.first_given(&[forward.at, attempt.at]),
                "timings.forward_timeout",
                "longer than attempt_timeout, so a client gives up before the server that forwards for it; write a shorter one",
            );
        }
        if let (Some(lease), Some(resend)) = (self.lease, self.announce_resend)
            && resend.value * 4 > lease.value
        {
            report.warning(
                place.first_given(&[resend.at, lease.at]),
                "timings.announce_resend",
                "more than a quarter of the lease, so a few lost datagrams leave servers without one; write a shorter one",
            );
        }
        if let (Some(lease), Some(probe), Some(probes)) =
            (self.lease, self.probe_timeout, self.probe_attempts)
            && probe.value.saturating_mul(probes.value) > lease.value
        {
            report.warning(
                place.first_given(&[probe.at, probes.at, lease.at]),
                "timings.probe_timeout",
                "all probes together take longer than a lease lasts; write a shorter one",
            );
        }
        if let (Some(drain), Some(operation)) = (self.drain_timeout, self.operation_timeout)
            && drain.value >= operation.value
        {
            report.warning(
                place.first_given(&[drain.at, operation.at]),
                "timings.drain_timeout",
                "as long as operation_timeout, so a client gives up while its write waits at a server; write a shorter one",
            );
        }
    }

    fn complete(&self) -> Option<Timings> {
        Some(Timings {
            attempt_timeout: self.attempt_timeout?.value,
            failover_hold: self.failover_hold?.value,
            operation_timeout: self.operation_timeout?.value,
            connect_timeout: self.connect_timeout?.value,
            forward_timeout: self.forward_timeout?.value,
            renew_interval: self.renew_interval?.value,
            probe_timeout: self.probe_timeout?.value,
            recheck_interval: self.recheck_interval?.value,
            lease: self.lease?.value,
            announce_resend: self.announce_resend?.value,
            drain_timeout: self.drain_timeout?.value,
            attempts: self.attempts?.value,
            probe_attempts: self.probe_attempts?.value,
        })
    }
}

/// Picks the place to report a relation at: defaults stand where the section begins,
/// and the reader looks for what he wrote.
#[derive(Clone, Copy)]
struct Place {
    section_at: usize,
}

impl Place {
    fn first_given(self, places: &[usize]) -> usize {
        places.iter().copied().find(|at| *at != self.section_at).unwrap_or(self.section_at)
    }
}

/// Claims 12 and 10: all attempts, and then the stand-in, must fit into one operation.
fn check_attempts(
    attempts: At<u32>,
    attempt: At<Duration>,
    operation: At<Duration>,
    place: Place,
    report: &mut Report<'_>,
) {
    let at = place.first_given(&[operation.at, attempt.at, attempts.at]);
    let key = "timings.operation_timeout";
    let all = attempt.value * attempts.value;
    let with_stand_in = all + attempt.value;
    let (count, each, bound) =
        (attempts.value, format_duration(attempt.value), format_duration(operation.value));
    let wanted = format!(
        "write \"{}\" or more, or fewer or shorter attempts",
        format_duration(with_stand_in)
    );
    if all > operation.value {
        let wrong = format!(
            "{bound} ends before {count} attempts of {each} do, so no stand-in is ever asked"
        );
        report.mistake(at, key, format!("{wrong}; {wanted}"));
    } else if with_stand_in > operation.value {
        let wrong = format!("{bound} leaves no attempt for a stand-in after {count} of {each}");
        report.warning(at, key, format!("{wrong}; {wanted}"));
    }
}

fn check_lease(renew: At<Duration>, lease: At<Duration>, place: Place, report: &mut Report<'_>) {
    let at = place.first_given(&[lease.at, renew.at]);
    let key = "timings.lease";
    let (each, bound) = (format_duration(renew.value), format_duration(lease.value));
    let wanted =
        format!("write \"{}\", or a shorter renew_interval", format_duration(renew.value * 4));
    if renew.value >= lease.value {
        report.mistake(
            at,
            key,
            format!("{bound} ends before the next renewal after {each}; {wanted}"),
        );
    } else if renew.value * 3 >= lease.value {
        let wrong = format!(
            "{bound} is no more than 3 renewals of {each}, so a few lost datagrams start a \
             verification"
        );
        report.warning(at, key, format!("{wrong}; {wanted}"));
    }
}

pub(super) fn read_limits(mut section: Section<'_>, report: &mut Report<'_>) -> LimitsRead {
    let default = Limits::default();
    let connections = section.whole("connections", 1..=1_000_000, default.connections, report);
    let handshakes = section.whole("handshakes", 1..=65_536, default.handshakes, report);
    let key_bytes = section.size("key_bytes", 1..=65_535, default.key_bytes, report);
    let value_bytes =
        section.size("value_bytes", 1..=u64::from(VALUE_BYTES_MAX), default.value_bytes, report);
    let per_connection = section.whole(
        "in_flight_per_connection",
        1..=1 << 20,
        default.in_flight_per_connection,
        report,
    );
    let per_shard =
        section.whole("in_flight_per_shard", 1..=1 << 24, default.in_flight_per_shard, report);
    let output = section.size(
        "output_bytes_per_connection",
        1 << 12..=1 << 30,
        default.output_bytes_per_connection,
        report,
    );
    let output_all: Option<Option<At<u64>>> =
        section.size_or_absent("output_bytes", 1 << 20..=1 << 44, "64MiB", report).optional();
    let output_timeout =
        section.duration("output_timeout", TIMING_RANGE, default.output_timeout, report);
    let handshake_timeout =
        section.duration("handshake_timeout", TIMING_RANGE, default.handshake_timeout, report);
    if let (Some(one), Some(all)) = (per_connection, per_shard)
        && one.value > all.value
    {
        report.warning(
            Place { section_at: section.at() }.first_given(&[one.at, all.at]),
            "limits.in_flight_per_connection",
            format!(
                "more than in_flight_per_shard, so it limits nothing; write {} or less",
                all.value
            ),
        );
    }
    section.finish(report);

    let complete = || {
        Some(Limits {
            connections: connections?.value,
            handshakes: handshakes?.value,
            key_bytes: key_bytes?.value,
            value_bytes: value_bytes?.value,
            in_flight_per_connection: per_connection?.value,
            in_flight_per_shard: per_shard?.value,
            output_bytes_per_connection: output?.value,
            output_bytes: output_all?.map(|bytes| bytes.value),
            output_timeout: output_timeout?.value,
            handshake_timeout: handshake_timeout?.value,
        })
    };
    LimitsRead { complete: complete(), value_bytes }
}
